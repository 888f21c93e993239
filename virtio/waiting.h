/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that failed and wait for the VM to go on (rerror=stop, werror=stop), over a save and a load: their virtqueues
 * can give them again, so what the driver knows each by is all that is saved of them here.
 */
#ifndef VIRTIO_WAITING_H
#define VIRTIO_WAITING_H

#include "kvm/virtio.h"

struct virtio_waiting_entry {
	le16 queue, head;
};
_Static_assert(sizeof(struct virtio_waiting_entry) == 4, "as it is saved");

/** struct virtio_waiting - zero-initialise; owned by the device's loop */
struct virtio_waiting {
	struct virtio_waiting_entry *entries;
	size_t count, capacity;
};

/** virtio_waiting_add() - @req was popped from @vq, and is in flight; or -ENOMEM */
int __must_check virtio_waiting_add(struct virtio_waiting *waiting, const struct virtqueue *vq, const struct virtio_request *req);
void virtio_waiting_free(struct virtio_waiting *waiting);
/** virtio_waiting_save(), virtio_waiting_load() - the section @name; what is loaded names queues that @device has, from @first on */
void virtio_waiting_save(const struct virtio_waiting *waiting, const char *name, struct state_writer *writer);
int __must_check virtio_waiting_load(struct virtio_waiting *waiting, const char *name, const struct virtio_device *device,
				     unsigned int first, struct state_reader *reader);
/**
 * virtio_waiting_retake() - hands each to @handle as if it had just been popped, and forgets them all
 * @handle: as virtio_process()'s: 0 where there is no memory, and it was put back; the device is then in NEEDS_RESET
 */
void virtio_waiting_retake(struct virtio_waiting *waiting, struct virtio_device *device,
			   int (*handle)(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req));

#endif
