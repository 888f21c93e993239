/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --vsock CID,vhost=1: the guest's sockets and the host's AF_VSOCK, by the host's kernel (VirtIO 1.3, 5.10).
 *
 * The kernel has the receive and transmit rings. The event queue is ours: by it the driver hears that its connections
 * are gone, behind a load, and reads its CID again, which is the host's to give. virtio/vsock.c is what needs no module.
 */
#include <linux/virtio_vsock.h>
#include <string.h>

#include "kvm/kvm.h"
#include "kvm/vhost-option.h"
#include "kvm/vhost.h"

enum { RECEIVE, TRANSMIT, EVENT, VSOCK_QUEUES };

#define CID_FIRST	3U

static const char vsock_key[] = "vhost-vsock";

struct vhost_vsock {
	struct virtio_device device;
	struct vhost *vhost;
	uint32_t cid;
	bool transport_reset;		/* the driver is to be told that all connections are gone */
};

static struct vhost_vsock *vsock_of(struct virtio_device *device)
{
	return container_of(device, struct vhost_vsock, device);
}

static int vsock_event(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	const struct virtio_vsock_event event = { .id = htole32(VIRTIO_VSOCK_EVENT_TRANSPORT_RESET) };
	struct vhost_vsock *vsock = vsock_of(device);

	if (!vsock->transport_reset) {
		virtqueue_unpop(vq, req);
		return 0;
	}
	vsock->transport_reset = false;
	virtqueue_push(vq, req, (uint32_t)virtio_request_write(req, 0, &event, sizeof(event)));
	return 1;
}

static void vsock_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	if (vq->index == EVENT)
		virtio_process(device, vq, vsock_event);
}

static void vsock_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	const struct virtio_vsock_config config = { .guest_cid = htole64(vsock_of(device)->cid) };

	memcpy(buffer, (const char *)&config + offset, size);
}

static int vsock_start(struct virtio_device *device)
{
	return device->quiesced ? 0 : vhost_start(vsock_of(device)->vhost);
}

static void vsock_interrupts_moved(struct virtio_device *device)
{
	vhost_interrupts_moved(vsock_of(device)->vhost);
}

static void vsock_reset(struct virtio_device *device)
{
	vsock_of(device)->transport_reset = false;
	vhost_reset(vsock_of(device)->vhost);
}

static int vsock_quiesce(struct virtio_device *device)
{
	vhost_stop(vsock_of(device)->vhost);
	return 0;
}

static void vsock_resume(struct virtio_device *device)
{
	if (device->running && vhost_start(vsock_of(device)->vhost))
		virtio_needs_reset(device);
}

static int vsock_load(struct virtio_device *device, struct state_reader *reader)
{
	(void)reader;
	vsock_of(device)->transport_reset = true;
	return 0;
}

static const struct virtio_device_ops vsock_ops = {
	.name		= "virtio-vsock",
	.id		= VIRTIO_ID_VSOCK,
	.class_code	= 0x078000,
	.queues		= VSOCK_QUEUES,
	.queue_size	= 128,
	.config_size	= sizeof(struct virtio_vsock_config),
	.handle_queue	= vsock_handle_queue,
	.config_read	= vsock_config_read,
	.start		= vsock_start,
	.interrupts_moved = vsock_interrupts_moved,
	.reset		= vsock_reset,
	.quiesce	= vsock_quiesce,
	.resume		= vsock_resume,
	.load		= vsock_load,
};

/* ---- life ---- */

bool vsock_is_vhost(const char *text)
{
	struct keyval keyval;
	bool vhost = false;

	if (keyval_parse(&keyval, "vsock", text, true))
		return false;
	/* Nonsense is said by whose option it then is. */
	if (keyval_bool(&keyval, "vsock", "vhost", &vhost))
		vhost = true;
	keyval_free(&keyval);
	return vhost;
}

static int vsock_parse(struct vhost_vsock *vsock, const char *text)
{
	uint64_t cid = (uint64_t)getpid() + CID_FIRST;
	struct keyval keyval;
	bool vhost = true;
	int result = keyval_parse(&keyval, "vsock", text, true);

	if (result)
		return result;
	result = keyval_bool(&keyval, "vsock", "vhost", &vhost);
	if (!result)
		result = keyval_done(&keyval, "vsock", "vhost (there is no path= with it: the host has sockets of the family)");
	if (!result && strcmp(keyval.first, "auto") && (parse_uint(keyval.first, &cid) || cid < CID_FIRST || cid >= UINT32_MAX))
		result = log_error(EUSAGE, "option --vsock: '%s' is no CID of a guest (auto, or 3 to 4294967294)", keyval.first);
	vsock->cid = (uint32_t)cid;
	keyval_free(&keyval);
	return result;
}

static void vsock_free(struct vhost_vsock *vsock)
{
	virtio_device_del(&vsock->device);
	vhost_close(vsock->vhost);
	free(vsock);
}

static void vhost_vsock_exit(struct kvm *kvm)
{
	struct vhost_vsock *vsock = kvm_get_state(kvm, vsock_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, vsock_key, NULL))
		vsock_free(vsock);
}

static int vsock_make(struct kvm *kvm, struct vhost_vsock *vsock, const char *text)
{
	int result = vsock_parse(vsock, text);

	if (!result)
		result = vhost_vsock_open(&vsock->vhost, vsock->cid);
	if (result)
		return result;
	vsock->device.features_offered = vsock->vhost->features;
	vsock->device.features_refused = ~vsock->vhost->features;
	result = virtio_device_add(kvm, &vsock->device, &vsock_ops, "virtio-vsock");
	if (!result)
		result = vhost_attach(vsock->vhost, &vsock->device, RECEIVE, EVENT);
	return result ? result : kvm_set_state(kvm, vsock_key, vsock);
}

static int vhost_vsock_init(struct kvm *kvm)
{
	const char *text = config_string(kvm->config, "vsock");
	struct vhost_vsock *vsock;
	int result;

	if (!text || !vsock_is_vhost(text))
		return INIT_SKIP;
	vsock = calloc(1, sizeof(*vsock));
	if (!vsock)
		return log_errno(ENOMEM, "virtio-vsock");
	result = vsock_make(kvm, vsock, text);
	if (result)
		vsock_free(vsock);
	return result;
}
virtio_dev_init(vhost_vsock_init);
virtio_dev_exit(vhost_vsock_exit);
