/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of all virtio devices share: device.c, kicks.c, device-state.c. */
#ifndef VIRTIO_DEVICE_H
#define VIRTIO_DEVICE_H

#include "kvm/virtio.h"

/**
 * virtio_kicks_watch() - the queues that are enabled, and not worked on elsewhere, are heard of; on the device's loop
 * virtio_kicks_unwatch() - none is any more
 */
void virtio_kicks_watch(struct virtio_device *device);
void virtio_kicks_unwatch(struct virtio_device *device);

/** virtio_device_reset() - @opaque, a struct virtio_device, is as before its driver came; on its loop */
void virtio_device_reset(void *opaque);

extern const struct device_ops virtio_base_ops;

#endif
