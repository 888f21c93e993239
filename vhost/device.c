/* SPDX-License-Identifier: BSD-2-Clause */
#include "vhost/device.h"

void vhost_device_handle_queue(struct virtio_device *virtio, struct virtqueue *vq)
{
	(void)virtio;
	(void)vq;
}

int vhost_device_start(struct virtio_device *virtio)
{
	return virtio->quiesced ? 0 : vhost_start(vhost_device_of(virtio)->vhost);
}

void vhost_device_interrupts_moved(struct virtio_device *virtio)
{
	vhost_interrupts_moved(vhost_device_of(virtio)->vhost);
}

void vhost_device_reset(struct virtio_device *virtio)
{
	vhost_reset(vhost_device_of(virtio)->vhost);
}

int vhost_device_quiesce(struct virtio_device *virtio)
{
	vhost_stop(vhost_device_of(virtio)->vhost);
	return 0;
}

void vhost_device_resume(struct virtio_device *virtio)
{
	if (virtio->running && vhost_start(vhost_device_of(virtio)->vhost))
		virtio_needs_reset(virtio);
}
