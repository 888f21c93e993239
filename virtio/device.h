/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of all virtio devices share: device.c, device-queues.c, kicks.c, device-state.c. */
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

/**
 * virtio_device_quiesce() - nothing of it is in flight, and its doorbells aren't heard; not 0: it goes on
 * virtio_device_resume() - it goes on, and looks at all its queues. Both on its loop.
 */
int __must_check virtio_device_quiesce(struct virtio_device *device);
void virtio_device_resume(struct virtio_device *device);

/** virtio_queue_start() - the device runs, and @vq is enabled; on its loop */
void virtio_queue_start(struct virtio_device *device, struct virtqueue *vq);

/** virtio_queues_make() - as many as queue_count says, or its ops; virtio_queues_free() - also what it left half made */
int __must_check virtio_queues_make(struct virtio_device *device);
void virtio_queues_free(struct virtio_device *device);

extern const struct device_ops virtio_base_ops;

#endif
