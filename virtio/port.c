/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One port of the ports' device: what its owner calls, and the two queues that carry its bytes (kvm/port.h).
 *
 * Bytes are copied between the owner and the guest's buffers, and kept nowhere. A request that the owner took a part
 * of goes back in front of its queue, with the offset remembered; so none is ever in flight. What the owner does
 * from a callback takes effect by a notification of our own, in a later turn of the loop: callbacks don't nest.
 */
#include <stdio.h>
#include <string.h>

#include "kvm/kvm.h"
#include "ports.h"

#define TURN_BYTES	MIB(1)	/* from one port before others have their turn */
#define WRITE_BUFFERS	1024u	/* of the guest's, filled by one call */

static const char ports_key[] = "virtio-ports";

static unsigned int receive_queue(const struct port *port)
{
	return 2 * port->id + 2;
}

static unsigned int transmit_queue(const struct port *port)
{
	return 2 * port->id + 3;
}

static void port_notify(struct port *port, unsigned int queue)
{
	if (port->ports->added)
		virtio_notify(&port->ports->device, queue);
}

/* ---- to the owner: opened and closed ---- */

static void port_tell_owner(struct port *port, bool open)
{
	if (port->told_open == open)
		return;
	port->told_open = open;
	if (open) {
		if (port->wants_room)
			port_notify(port, receive_queue(port));
		if (port->ops->opened)
			port->ops->opened(port, port->opaque);
		return;
	}
	port->stopped = false;
	if (port->ops->closed)
		port->ops->closed(port, port->opaque);
}

/* Indices of the available ring, which wrap. */
static bool index_before(uint16_t index, uint16_t other)
{
	return (int16_t)(uint16_t)(index - other) < 0;
}

/* The index behind all that the guest has sent so far. */
static uint16_t port_sent_to(const struct port *port)
{
	const struct virtqueue *vq = &port->ports->device.queues[transmit_queue(port)];

	return (uint16_t)(vq->last_avail + virtqueue_waiting(vq));
}

/* What the guest sent before it closed comes first: the owner is told when the queue has moved on to here. */
static void port_begin_closing(struct port *port)
{
	port->closing = true;
	port->close_at = port_sent_to(port);
	port_notify(port, transmit_queue(port));
}

/* @next: the index of the next request that would be received */
static void port_settle(struct port *port, uint16_t next)
{
	if (!port->closing || index_before(next, port->close_at))
		return;
	port->closing = false;
	port_tell_owner(port, false);
	if (!port->reopened)
		return;
	port->reopened = false;
	port_tell_owner(port, true);
	if (!port->open)
		port_begin_closing(port);
}

void port_guest_open(struct port *port, bool open)
{
	if (port->open == open)
		return;
	port->open = open;
	if (port->closing)
		port->reopened |= open;
	else if (open)
		port_tell_owner(port, true);
	else
		port_begin_closing(port);
}

void port_guest_ready(struct port *port, bool ready)
{
	port->ready = ready;
	port->tell = 0;
	port->host_told = false;
	if (!ready) {
		port_guest_open(port, false);
		return;
	}
	port->tell = (uint8_t)(PORT_TELL_NAME | (port->host_open ? PORT_TELL_OPEN : 0));
	ports_control_wake(port->ports);
}

void port_reset(struct port *port)
{
	port->ready = port->open = port->host_told = false;
	port->closing = port->reopened = port->dropping = port->stopped = false;
	port->tell = 0;
	port->offset = 0;
	port->close_at = port->drop_to = 0;
	port_tell_owner(port, false);
}

void port_loaded(struct port *port)
{
	bool will_know = port->tell & PORT_TELL_OPEN || (port->host_told && !(port->tell & PORT_TELL_CLOSE));

	if (port->ready && will_know != port->host_open)
		port->tell = (uint8_t)(port->host_open ? port->tell | PORT_TELL_OPEN
						       : (port->tell & ~PORT_TELL_OPEN) | PORT_TELL_CLOSE);
	port_tell_owner(port, port->open || port->closing);
}

/* ---- guest to owner ---- */

static size_t port_give(struct port *port, const char *data, size_t length)
{
	if (!port->ops->receive)
		return length;
	return MIN(port->ops->receive(port, port->opaque, data, length), length);
}

/* Whether the request at @index of the available ring is for nobody: an end is closed, or was when it came. */
static bool port_drops(struct port *port, uint16_t index)
{
	/* First: an index that is not looked at in time comes round again. */
	port->dropping = port->dropping && index_before(index, port->drop_to);
	return port->dropping || !port->told_open || !port->host_open;
}

/* Hands over what is left of @req; false if it isn't done with. */
static bool port_receive(struct port *port, uint16_t index, struct virtio_request *req)
{
	struct ports *ports = port->ports;
	size_t got, taken;

	while (!port_drops(port, index)) {
		if (ports->turn >= TURN_BYTES) {
			port_notify(port, transmit_queue(port));
			return false;
		}
		got = virtio_request_read(req, port->offset, ports->chunk, sizeof(ports->chunk));
		if (!got)
			return true;
		taken = port_give(port, ports->chunk, got);
		port->offset += (uint32_t)taken;
		ports->turn += taken;
		if (taken < got && !port_drops(port, index)) {
			port->stopped = true;
			return false;
		}
	}
	return true;
}

static struct port *port_of_queue(struct virtqueue *vq)
{
	return container_of(vq->device, struct ports, device)->port[vq->index / 2 - 1];
}

static int port_transmit(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct port *port = port_of_queue(vq);
	uint16_t index = (uint16_t)(vq->last_avail - 1);

	(void)device;
	port_settle(port, index);
	if (port->stopped || !port_receive(port, index, req)) {
		virtqueue_unpop(vq, req);
		return 0;
	}
	port->offset = 0;
	virtqueue_push(vq, req, 0);
	return 1;
}

void port_handle_transmit(struct port *port, struct virtqueue *vq)
{
	/* The message that the port was opened comes by another queue, and may have been overtaken. */
	if (!port->open)
		ports_control_receive(port->ports);
	port->ports->turn = 0;
	virtio_process(&port->ports->device, vq, port_transmit);
	port_settle(port, vq->last_avail);
}

void port_resume(struct port *port)
{
	if (!port->stopped)
		return;
	port->stopped = false;
	port_notify(port, transmit_queue(port));
}

/* Indexes begin anew, and what wasn't received is gone. */
void port_transmit_reset(struct port *port)
{
	port_settle(port, port->close_at);
	port->dropping = false;
	port->offset = 0;
	port->close_at = port->drop_to = 0;
}

/* ---- owner to guest ---- */

/* The queue that leads to the guest's reader, if there is one, and all that went before has been told. */
static struct virtqueue *port_open_queue(struct port *port)
{
	struct ports *ports = port->ports;
	struct virtqueue *vq;

	if (!ports->added || !ports->device.running || ports->device.quiesced)
		return NULL;
	if (!port->open || !port->told_open || port->closing || !port->host_open || !port->host_told || port->tell)
		return NULL;
	vq = &ports->device.queues[receive_queue(port)];
	return atomic_load(&vq->enabled) ? vq : NULL;
}

/* Pops the next buffer, or asks the driver to say when there is one. */
static int port_pop_room(struct virtqueue *vq, struct virtio_request **req)
{
	int popped = virtqueue_pop(vq, req);

	if (!popped && virtqueue_enable_kick(vq))
		popped = virtqueue_pop(vq, req);
	return popped;
}

size_t port_write(struct port *port, const void *data, size_t length)
{
	struct virtqueue *vq = port_open_queue(port);
	struct virtio_request *req;
	size_t done = 0, part;

	port->wants_room = true;
	if (!vq)
		return 0;
	for (unsigned int count = 0; done < length && port_pop_room(vq, &req) > 0; count++) {
		if (count == WRITE_BUFFERS) {
			virtqueue_unpop(vq, req);
			port_notify(port, vq->index);
			break;
		}
		part = virtio_request_write(req, 0, (const char *)data + done, length - done);
		virtqueue_push(vq, req, (uint32_t)part);
		done += part;
	}
	virtqueue_flush(vq);
	port->wants_room = done < length;
	return done;
}

size_t port_room(struct port *port)
{
	struct virtqueue *vq = port_open_queue(port);
	struct virtio_request *req;
	size_t room = 0;

	for (unsigned int count = 0; vq && !room && count < WRITE_BUFFERS; count++) {
		if (port_pop_room(vq, &req) <= 0)
			break;
		room = req->writable_bytes;
		if (room)
			virtqueue_unpop(vq, req);
		else
			virtqueue_push(vq, req, 0);
	}
	if (vq)
		virtqueue_flush(vq);
	port->wants_room = !room;
	return room;
}

void port_handle_receive(struct port *port, struct virtqueue *vq)
{
	virtqueue_disable_kick(vq);
	if (!port->wants_room || !port_open_queue(port))
		return;
	port->wants_room = false;
	if (port->ops->writable)
		port->ops->writable(port, port->opaque);
}

/* ---- life ---- */

void port_open(struct port *port)
{
	if (port->host_open)
		return;
	port->host_open = true;
	if (!port->ready)
		return;
	port->tell |= PORT_TELL_OPEN;
	ports_control_wake(port->ports);
}

void port_close(struct port *port)
{
	if (!port->host_open)
		return;
	port->host_open = port->stopped = false;
	if (port->ports->added) {
		port->dropping = true;
		port->drop_to = port_sent_to(port);
		port_notify(port, transmit_queue(port));
	}
	if (!port->ready)
		return;
	port->tell = (uint8_t)((port->tell & ~PORT_TELL_OPEN) | PORT_TELL_CLOSE);
	ports_control_wake(port->ports);
}

bool port_is_open(const struct port *port)
{
	return port->told_open;
}

const char *port_name(const struct port *port)
{
	return port->name;
}

static int check_name(const struct ports *ports, const char *name)
{
	size_t length = strlen(name);

	for (const char *at = name; *at; at++)
		if (*at <= ' ' || *at > '~' || *at == '/')
			length = 0;
	if (!length || length > PORT_NAME_MAX)
		return log_error(EUSAGE, "port '%s': that is no name for a port (1 to %d characters of ASCII, no blanks, "
				 "no '/')", name, PORT_NAME_MAX);
	for (unsigned int id = 1; id <= ports->count; id++)
		if (strcmp(ports->port[id]->name, name) == 0)
			return log_error(EUSAGE, "port '%s': there is a port of that name already", name);
	if (ports->added)
		return log_error(EBUSY, "port '%s': the guest's devices are made already", name);
	if (ports->count == PORTS_MAX)
		return log_error(ENOSPC, "port '%s': a machine has no more than %d ports", name, PORTS_MAX);
	return 0;
}

/* The VM's ports, made with the first of them, and gone with the last. */
static struct ports *ports_get(struct kvm *kvm)
{
	struct ports *ports = ports_find(kvm);

	if (ports)
		return ports;
	ports = calloc(1, sizeof(*ports));
	if (!ports)
		return NULL;
	ports->kvm = kvm;
	if (!kvm_set_state(kvm, ports_key, ports))
		return ports;
	free(ports);
	return NULL;
}

static void ports_put(struct ports *ports)
{
	/* Taking state away can't fail: only a new key needs memory. */
	if (!ports->count && !kvm_set_state(ports->kvm, ports_key, NULL))
		free(ports);
}

struct ports *ports_find(struct kvm *kvm)
{
	return kvm_get_state(kvm, ports_key);
}

int port_create(struct kvm *kvm, const char *name, const struct port_ops *ops, void *opaque, struct port **out)
{
	struct ports *ports = ports_get(kvm);
	struct port *port = NULL;
	int result = ports ? check_name(ports, name) : log_errno(ENOMEM, "port '%s'", name);

	if (!result) {
		port = calloc(1, sizeof(*port));
		result = port ? 0 : log_errno(ENOMEM, "port '%s'", name);
	}
	if (result) {
		if (ports)
			ports_put(ports);
		return result;
	}
	port->ports = ports;
	port->ops = ops;
	port->opaque = opaque;
	snprintf(port->name, sizeof(port->name), "%s", name);
	port->id = ++ports->count;
	ports->port[port->id] = port;
	*out = port;
	return 0;
}

void port_destroy(struct port *port)
{
	struct ports *ports;

	if (!port)
		return;
	ports = port->ports;
	for (unsigned int id = port->id; id < ports->count; id++) {
		ports->port[id] = ports->port[id + 1];
		ports->port[id]->id = id;
	}
	ports->port[ports->count--] = NULL;
	ports_put(ports);
	free(port);
}
