/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Control messages of the ports' device (VirtIO 1.3, 5.3.6.2): which ports there are, and who opens and closes what.
 *
 * What the guest is to be told isn't queued: each port has a set of facts that are due (port->tell), so that a guest
 * that gives no buffers costs nothing. A close and a later open both are told; what repeats itself meanwhile is one.
 */
#include <linux/virtio_console.h>
#include <string.h>

#include "ports.h"

struct control_message {
	struct virtio_console_control header;
	char name[PORT_NAME_MAX];	/* without a zero behind it */
};

static struct ports *ports_of(struct virtio_device *device)
{
	return container_of(device, struct ports, device);
}

/* ---- to the guest ---- */

static struct port *next_to_tell(struct ports *ports)
{
	for (unsigned int id = 1; id <= ports->count; id++)
		if (ports->port[id]->tell)
			return ports->port[id];
	return NULL;
}

static size_t message_fill(struct control_message *message, const struct port *port, uint16_t event, uint16_t value)
{
	size_t name = event == VIRTIO_CONSOLE_PORT_NAME ? strlen(port->name) : 0;

	message->header = (struct virtio_console_control){
		.id = htole32(port->id), .event = htole16(event), .value = htole16(value),
	};
	memcpy(message->name, port->name, name);
	return sizeof(message->header) + name;
}

/* The first of PORT_TELL_* that is due: it becomes @message, whose length is returned. */
static size_t port_next_message(const struct port *port, struct control_message *message, uint8_t *fact)
{
	*fact = (uint8_t)(port->tell & -port->tell);
	switch (*fact) {
	case PORT_TELL_ADD:
		return message_fill(message, port, VIRTIO_CONSOLE_PORT_ADD, 1);
	case PORT_TELL_CLOSE:
		return message_fill(message, port, VIRTIO_CONSOLE_PORT_OPEN, 0);
	case PORT_TELL_OPEN:
		return message_fill(message, port, VIRTIO_CONSOLE_PORT_OPEN, 1);
	default:
		return message_fill(message, port, VIRTIO_CONSOLE_PORT_NAME, 1);
	}
}

static void port_was_told(struct port *port, uint8_t fact)
{
	port->tell &= (uint8_t)~fact;
	if (fact & (PORT_TELL_OPEN | PORT_TELL_CLOSE))
		port->host_told = fact == PORT_TELL_OPEN;
	/* Now the owner may write. */
	if (port->wants_room && !port->tell)
		virtio_notify(&port->ports->device, 2 * port->id + 2);
}

static int control_send(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct port *port = next_to_tell(ports_of(device));
	struct control_message message;
	size_t length;
	uint8_t fact;

	if (!port) {
		virtqueue_unpop(vq, req);
		return 0;
	}
	length = port_next_message(port, &message, &fact);
	if (req->writable_bytes < length) {
		log_guest(&device->log_limit, "%s: a buffer of %u bytes for control messages is too small",
			  device->device.name, req->writable_bytes);
		virtqueue_push(vq, req, 0);
		return 1;
	}
	virtqueue_push(vq, req, (uint32_t)virtio_request_write(req, 0, &message, length));
	port_was_told(port, fact);
	return 1;
}

void ports_control_send(struct ports *ports)
{
	virtio_process(&ports->device, &ports->device.queues[PORTS_CONTROL_RECEIVE], control_send);
}

void ports_control_wake(struct ports *ports)
{
	if (ports->added)
		virtio_notify(&ports->device, PORTS_CONTROL_RECEIVE);
}

/* ---- from the guest ---- */

static void driver_is_ready(struct ports *ports, bool ready)
{
	if (!ready) {
		log_guest(&ports->device.log_limit, "%s: the guest's driver has failed", ports->device.device.name);
		return;
	}
	for (unsigned int id = 1; id <= ports->count; id++)
		ports->port[id]->tell |= PORT_TELL_ADD;
	ports_control_wake(ports);
}

static void message_handle(struct ports *ports, const struct virtio_console_control *message)
{
	uint32_t id = le32toh(message->id);
	uint16_t event = le16toh(message->event);
	bool value = le16toh(message->value);
	struct port *port = id <= ports->count ? ports->port[id] : NULL;

	if (event == VIRTIO_CONSOLE_DEVICE_READY)
		driver_is_ready(ports, value);
	else if (port && event == VIRTIO_CONSOLE_PORT_READY)
		port_guest_ready(port, value);
	else if (port && event == VIRTIO_CONSOLE_PORT_OPEN && port->ready)
		port_guest_open(port, value);
	else
		log_guest(&ports->device.log_limit, "%s: control message %u for port %u makes no sense",
			  ports->device.device.name, event, id);
}

static int control_receive(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct virtio_console_control message;

	if (virtio_request_read(req, 0, &message, sizeof(message)) == sizeof(message))
		message_handle(ports_of(device), &message);
	else
		log_guest(&device->log_limit, "%s: a control message of %u bytes", device->device.name, req->readable_bytes);
	virtqueue_push(vq, req, 0);
	return 1;
}

void ports_control_receive(struct ports *ports)
{
	virtio_process(&ports->device, &ports->device.queues[PORTS_CONTROL_TRANSMIT], control_receive);
}
