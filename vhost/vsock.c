/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --vsock CID,vhost=1: the guest's sockets and the host's AF_VSOCK, by the host's kernel (VirtIO 1.3, 5.10).
 *
 * The kernel has the receive and transmit rings. The event queue is ours: by it the driver hears that its connections
 * are gone, behind a load, and reads its CID again, which is the host's to give. virtio/vsock.c is what needs no module.
 */
#include <linux/virtio_vsock.h>

#include "kvm/kvm.h"
#include "kvm/vhost-option.h"
#include "vhost/device.h"
#include "virtio/vsock-guest.h"

enum { RECEIVE, TRANSMIT, EVENT, VSOCK_QUEUES };

static const char vsock_key[] = "vhost-vsock";

struct vhost_vsock {
	struct vhost_device base;
	struct vsock_guest guest;
};

static struct vhost_vsock *vsock_of(struct virtio_device *device)
{
	return container_of(device, struct vhost_vsock, base.virtio);
}

static int vsock_event(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	return vsock_guest_event(&vsock_of(device)->guest, vq, req);
}

static void vsock_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	if (vq->index == EVENT)
		virtio_process(device, vq, vsock_event);
}

static void vsock_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	vsock_guest_config(&vsock_of(device)->guest, offset, buffer, size);
}

static void vsock_reset(struct virtio_device *device)
{
	vsock_of(device)->guest.transport_reset = false;
	vhost_device_reset(device);
}

static int vsock_load(struct virtio_device *device, struct state_reader *reader)
{
	(void)reader;
	vsock_of(device)->guest.transport_reset = true;
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
	.start		= vhost_device_start,
	.interrupts_moved = vhost_device_interrupts_moved,
	.reset		= vsock_reset,
	.quiesce	= vhost_device_quiesce,
	.resume		= vhost_device_resume,
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
	struct keyval keyval;
	bool vhost = true;
	int result = keyval_parse(&keyval, "vsock", text, true);

	if (result)
		return result;
	result = keyval_bool(&keyval, "vsock", "vhost", &vhost);
	if (!result)
		result = keyval_done(&keyval, "vsock", "vhost (there is no path= with it: the host has sockets of the family)");
	if (!result)
		result = vsock_guest_parse(&vsock->guest, keyval.first);
	keyval_free(&keyval);
	return result;
}

static void vsock_free(struct vhost_vsock *vsock)
{
	virtio_device_del(&vsock->base.virtio);
	vhost_close(vsock->base.vhost);
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
		result = vhost_vsock_open(&vsock->base.vhost, vsock->guest.cid);
	if (result)
		return result;
	vsock->base.virtio.features_offered = vsock->base.vhost->features;
	vsock->base.virtio.features_refused = ~vsock->base.vhost->features;
	result = virtio_device_add(kvm, &vsock->base.virtio, &vsock_ops, "virtio-vsock");
	if (!result)
		result = vhost_attach(vsock->base.vhost, &vsock->base.virtio, RECEIVE, EVENT);
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
