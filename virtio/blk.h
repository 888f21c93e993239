/* SPDX-License-Identifier: BSD-2-Clause */
/* Between virtio/blk.c (requests) and virtio/blk-device.c (configuration, life, saved state). */
#ifndef VIRTIO_BLK_H
#define VIRTIO_BLK_H

#include <linux/virtio_blk.h>

#include "kvm/disk.h"
#include "kvm/virtio.h"
#include "virtio/waiting.h"

#define BLK_SECTOR		512ULL
#define BLK_QUEUE_SIZE		256
#define BLK_DISCARD_SECTORS	(GIB(1) / BLK_SECTOR)

struct blk_request;

/* Owned by its loop, but for what is atomic or constant: all queues are served there. */
struct blk {
	struct virtio_device device;
	struct disk *disk;
	struct disk_owner owner;
	struct virtio_blk_config config;	/* constant once added, but for what follows */
	_Atomic uint64_t capacity;		/* config's, in sectors */
	_Atomic uint8_t write_back;		/* config's wce: the driver may change it */
	struct blk_request *pool;
	uint64_t pushed;			/* queues with completions that the driver wasn't told of */
	struct virtio_waiting waiting;		/* loaded, until the device resumes */
	struct blk *next;
};
_Static_assert(VIRTIO_QUEUES_MAX <= 64, "a bit for each queue");

/** blk_handle_queue() - the device's handle_queue */
void blk_handle_queue(struct virtio_device *device, struct virtqueue *vq);
/** blk_batch_done() - tells the driver of what was completed; behind each batch */
void blk_batch_done(void *opaque);
/** blk_waiting() - adds those that the disk keeps until the VM goes on; or -ENOMEM */
int __must_check blk_waiting(const struct blk *blk, struct virtio_waiting *waiting);
/** blk_resume_requests() - they are tried again */
void blk_resume_requests(struct blk *blk);
/** blk_drop_queue() - those of @vq are given back, the others tried again when the device resumes */
void blk_drop_queue(struct blk *blk, struct virtqueue *vq);
/** blk_drop_requests() - they and the memory of all others are given back; none is in flight */
void blk_drop_requests(struct blk *blk);

#endif
