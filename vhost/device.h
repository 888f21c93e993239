/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtio device whose life its rings' back end follows: the operations of struct virtio_device_ops that do no more
 * than tell struct vhost. On the device's loop.
 */
#ifndef VHOST_DEVICE_H
#define VHOST_DEVICE_H

#include "kvm/vhost.h"

/** struct vhost_device - embedded in a device, for which it is what virtio calls */
struct vhost_device {
	struct virtio_device virtio;
	struct vhost *vhost;
};

static inline struct vhost_device *vhost_device_of(struct virtio_device *virtio)
{
	return container_of(virtio, struct vhost_device, virtio);
}

/** vhost_device_handle_queue() - of a device with no ring of its own: there is nothing to do */
void vhost_device_handle_queue(struct virtio_device *virtio, struct virtqueue *vq);
int vhost_device_start(struct virtio_device *virtio);
void vhost_device_interrupts_moved(struct virtio_device *virtio);
void vhost_device_reset(struct virtio_device *virtio);
int vhost_device_quiesce(struct virtio_device *virtio);
void vhost_device_resume(struct virtio_device *virtio);

#endif
