/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-vsock: connections between programs in the guest and on the host (VirtIO 1.3, 5.10), which are Unix sockets
 * here: no module of the host's kernel is needed.
 *
 * The guest's connection to port N of the host goes to the socket PATH_N; a host program gets to a port of the guest
 * over PATH. Streams only. Connections don't outlive a reset or a load: the driver is told by an event. All on the
 * main loop, so many bytes at a turn.
 */
#include "vsock.h"

#include <stdio.h>
#include <string.h>

#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/runtime-directory.h"
#include "kvm/vhost-option.h"

enum { RECEIVE, TRANSMIT, EVENT, VSOCK_QUEUES };

#define HEADER_SIZE	sizeof(struct virtio_vsock_hdr)
#define TURN_BYTES	MIB(1)
#define PORT_BASE	0x40000000U

_Static_assert(sizeof(struct virtio_vsock_hdr) == 44, "VirtIO 1.3, 5.10.6");

static const char vsock_key[] = "virtio-vsock";

static struct vsock *vsock_of(struct virtio_device *device)
{
	return container_of(device, struct vsock, device);
}

void vsock_wake(struct vsock *vsock)
{
	virtio_kick(&vsock->device, RECEIVE);
}

/* True when this turn has had its share: the queue looks again when others have had theirs. */
static bool vsock_must_yield(struct vsock *vsock, struct virtqueue *vq, struct virtio_request *req)
{
	if (vsock->turn_bytes < TURN_BYTES)
		return false;
	virtqueue_unpop(vq, req);
	virtio_notify(&vsock->device, vq->index);
	return true;
}

/* ---- to the guest ---- */

static uint32_t vsock_send_reset(struct vsock *vsock, struct virtio_request *req)
{
	const struct vsock_packet packet = {
		.source_port = vsock->resets[0].host_port, .destination_port = vsock->resets[0].guest_port,
		.operation = VIRTIO_VSOCK_OP_RST,
	};

	memmove(vsock->resets, vsock->resets + 1, --vsock->reset_count * sizeof(vsock->resets[0]));
	return vsock_packet_write(vsock, req, &packet);
}

/* The connections take turns. Returns 0 if nobody has anything to say. */
static uint32_t vsock_send_next(struct vsock *vsock, struct virtio_request *req)
{
	if (vsock->reset_count)
		return vsock_send_reset(vsock, req);
	for (unsigned int i = 0; i < vsock->count; i++) {
		struct vsock_connection *connection;
		uint32_t written;

		vsock->next = (vsock->next + 1) % vsock->count;
		connection = vsock->connections[vsock->next];
		written = vsock_connection_send(connection, req);
		if (written)
			return written;
	}
	return 0;
}

static int vsock_receive(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct vsock *vsock = vsock_of(device);
	uint32_t written;

	if (vsock_must_yield(vsock, vq, req))
		return 0;
	/* A buffer that holds no header is no use to anybody. */
	written = req->writable_bytes < HEADER_SIZE ? 0 : vsock_send_next(vsock, req);
	if (!written && req->writable_bytes >= HEADER_SIZE) {
		virtqueue_unpop(vq, req);
		return 0;
	}
	vsock->turn_bytes += written;
	virtqueue_push(vq, req, written);
	return 1;
}

/* ---- from the guest ---- */

static bool vsock_packet_read(struct vsock *vsock, const struct virtio_request *req, struct vsock_packet *packet)
{
	struct virtio_vsock_hdr header;

	if (virtio_request_read(req, 0, &header, HEADER_SIZE) < HEADER_SIZE)
		return false;
	*packet = (struct vsock_packet){
		.source_cid = le64toh(header.src_cid), .destination_cid = le64toh(header.dst_cid),
		.source_port = le32toh(header.src_port), .destination_port = le32toh(header.dst_port),
		.length = le32toh(header.len), .type = le16toh(header.type), .operation = le16toh(header.op),
		.flags = le32toh(header.flags), .buffer_size = le32toh(header.buf_alloc),
		.forwarded = le32toh(header.fwd_cnt),
	};
	if (packet->operation != VIRTIO_VSOCK_OP_RW)
		return true;
	return packet->length <= VSOCK_PACKET_MAX &&
	       virtio_request_read(req, HEADER_SIZE, vsock->bounce, packet->length) == packet->length;
}

static void vsock_take(struct vsock *vsock, const struct vsock_packet *packet)
{
	struct vsock_connection *connection;

	/* 5.10.6.4.2: what isn't from or for this context is dropped; what is of no known type is answered. */
	if (packet->source_cid != vsock->guest.cid || packet->destination_cid != VSOCK_CID_HOST)
		return;
	connection = vsock_connection_find(vsock, packet->source_port, packet->destination_port);
	if (connection && packet->type == VIRTIO_VSOCK_TYPE_STREAM)
		vsock_connection_receive(connection, packet);
	else if (packet->operation == VIRTIO_VSOCK_OP_REQUEST && packet->type == VIRTIO_VSOCK_TYPE_STREAM)
		vsock_connect_host(vsock, packet);
	else if (packet->operation != VIRTIO_VSOCK_OP_RST)
		vsock_reset_unknown(vsock, packet->source_port, packet->destination_port);
}

static int vsock_transmit(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct vsock *vsock = vsock_of(device);
	struct vsock_packet packet;

	if (vsock_must_yield(vsock, vq, req))
		return 0;
	if (vsock->reset_count == VSOCK_RESETS_MAX) {
		vsock->transmit_stalled = true;
		virtqueue_unpop(vq, req);
		return 0;
	}
	if (vsock_packet_read(vsock, req, &packet))
		vsock_take(vsock, &packet);
	vsock->turn_bytes += HEADER_SIZE + req->readable_bytes;
	virtqueue_push(vq, req, 0);
	return 1;
}

/* ---- events ---- */

static int vsock_event(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	return vsock_guest_event(&vsock_of(device)->guest, vq, req);
}

static void vsock_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	static int (*const handlers[VSOCK_QUEUES])(struct virtio_device *device, struct virtqueue *vq,
						   struct virtio_request *req) = {
		[RECEIVE] = vsock_receive, [TRANSMIT] = vsock_transmit, [EVENT] = vsock_event,
	};
	struct vsock *vsock = vsock_of(device);

	vsock->turn_bytes = 0;
	virtio_process(device, vq, handlers[vq->index]);
	if (vq->index == TRANSMIT)
		vsock_wake(vsock);
	if (vsock->transmit_stalled && vsock->reset_count < VSOCK_RESETS_MAX) {
		vsock->transmit_stalled = false;
		virtio_notify(device, TRANSMIT);
	}
}

static void vsock_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	vsock_guest_config(&vsock_of(device)->guest, offset, buffer, size);
}

/* ---- life ---- */

static void vsock_reset(struct virtio_device *device)
{
	struct vsock *vsock = vsock_of(device);

	while (vsock->count)
		vsock_connection_free(vsock->connections[0]);
	vsock->reset_count = vsock->next = 0;
	vsock->transmit_stalled = vsock->guest.transport_reset = false;
}

static int vsock_quiesce(struct virtio_device *device)
{
	struct vsock *vsock = vsock_of(device);

	vsock->quiesced = true;
	event_timer_cancel(&vsock->listen_again);
	vsock_listen_watch(vsock, false);
	for (unsigned int i = 0; i < vsock->count; i++)
		vsock_connection_watch(vsock->connections[i]);
	return 0;
}

static void vsock_resume(struct virtio_device *device)
{
	struct vsock *vsock = vsock_of(device);

	vsock->quiesced = false;
	vsock_listen_watch(vsock, true);
	for (unsigned int i = 0; i < vsock->count; i++)
		vsock_connection_watch(vsock->connections[i]);
}

static const struct state_field vsock_fields[] = {
	STATE_U32_MAX(struct vsock, guest.cid, UINT32_MAX - 1),
};
STATE_TABLE(vsock_table, "virtio-vsock", 1, vsock_fields);

static void vsock_save(struct virtio_device *device, struct state_writer *writer)
{
	state_save(writer, &vsock_table, vsock_of(device));
}

static int vsock_load(struct virtio_device *device, struct state_reader *reader)
{
	struct vsock *vsock = vsock_of(device);
	uint32_t before = vsock->guest.cid;
	int result = state_load(reader, &vsock_table, vsock);

	if (!result && vsock->guest.cid < VSOCK_CID_FIRST) {
		result = log_error(EINVAL, "saved state: a guest's CID of %u", vsock->guest.cid);
		vsock->guest.cid = before;
	}
	if (result)
		return result;
	/* two that run at once are told apart, and the driver asks behind the event */
	if (device->kvm->origin)
		vsock->guest.cid = before;
	vsock_reset(device);
	vsock->guest.transport_reset = true;
	return 0;
}

static const struct virtio_device_ops vsock_ops = {
	.name		= "virtio-vsock",
	.id		= VIRTIO_ID_VSOCK,
	.class_code	= 0x078000,
	.queues		= VSOCK_QUEUES,
	.queue_size	= 128,
	.config_size	= sizeof(struct virtio_vsock_config),
	.in_order	= true,
	.handle_queue	= vsock_handle_queue,
	.config_read	= vsock_config_read,
	.reset		= vsock_reset,
	.quiesce	= vsock_quiesce,
	.resume		= vsock_resume,
	.save		= vsock_save,
	.load		= vsock_load,
};

static void vsock_free(struct vsock *vsock)
{
	vsock_listen_close(vsock);
	free(vsock->path);
	free(vsock);
}

static void vsock_exit(struct kvm *kvm)
{
	struct vsock *vsock = kvm_get_state(kvm, vsock_key);

	virtio_device_del(&vsock->device);
	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, vsock_key, NULL))
		vsock_free(vsock);
}

static int vsock_default_path(struct vsock *vsock, const struct kvm *kvm)
{
	_cleanup_free_ char *folder = NULL;
	int result = runtime_directory(&folder, true);

	if (result)
		return log_errno(result, "option --vsock: no folder for its socket%s%s (say path=)", folder ? ": " : "",
				 folder ? folder : "");
	if (asprintf(&vsock->path, "%s/%s.vsock", folder, kvm->name) < 0) {
		vsock->path = NULL;
		return log_errno(ENOMEM, "virtio-vsock");
	}
	return 0;
}

static int vsock_parse(struct vsock *vsock, const struct kvm *kvm, const char *text)
{
	struct keyval keyval;
	const char *path;
	int result = keyval_parse(&keyval, "vsock", text, true);

	if (result)
		return result;
	path = keyval_get(&keyval, "path");
	/* vhost=0 is what this is. */
	(void)keyval_get(&keyval, "vhost");
	result = keyval_done(&keyval, "vsock", "path, vhost");
	if (!result)
		result = vsock_guest_parse(&vsock->guest, keyval.first);
	if (!result && path && *path) {
		vsock->path = strdup(path);
		result = vsock->path ? 0 : log_errno(ENOMEM, "virtio-vsock");
	} else if (!result) {
		result = vsock_default_path(vsock, kvm);
	}
	keyval_free(&keyval);
	return result;
}

static int vsock_add(struct kvm *kvm, struct vsock *vsock)
{
	int result;

	vsock->device.loop = kvm->loop;
	vsock->next_port = PORT_BASE;
	result = vsock_listen_open(vsock);
	if (!result)
		result = virtio_device_add(kvm, &vsock->device, &vsock_ops, "virtio-vsock");
	if (result)
		return result;
	result = kvm_set_state(kvm, vsock_key, vsock);
	if (result)
		virtio_device_del(&vsock->device);
	return result;
}

static int vsock_init(struct kvm *kvm)
{
	const char *text = config_string(kvm->config, "vsock");
	struct vsock *vsock;
	int result;

	if (!text || vsock_is_vhost(text))
		return INIT_SKIP;
	vsock = calloc(1, sizeof(*vsock));
	if (!vsock)
		return log_errno(ENOMEM, "virtio-vsock");
	vsock->listener.fd = -1;
	result = vsock_parse(vsock, kvm, text);
	if (!result)
		result = vsock_add(kvm, vsock);
	if (result)
		vsock_free(vsock);
	return result;
}

static const struct option_def vsock_options[] = {
	{ .name = "vsock", .type = OPTION_STRING, .argument = "CID[,path=FILE|,vhost=1]",
	  .help = "Sockets between guest and host; CID is a number from 3 on, or auto; the guest's port N is reached by "
		  "`CONNECT N' on the Unix socket FILE (default: NAME.vsock beside the control socket), port N of the "
		  "host is the socket FILE_N; vhost=1: by the host's kernel and its AF_VSOCK" },
};
RUN_OPTIONS(vsock_options_group, "Device options", vsock_options);

virtio_dev_init(vsock_init);
virtio_dev_exit(vsock_exit);
