/* SPDX-License-Identifier: BSD-2-Clause */
/* Between queue-packed.c (the ring) and queue-packed-state.c (where it is, and what is in flight, for others). */
#ifndef VIRTIO_QUEUE_PACKED_H
#define VIRTIO_QUEUE_PACKED_H

#include "virtio/queue.h"

#define ODD_LAP		0x8000U

/* As it lies in guest memory, and in saved state. */
struct packed_desc {
	le64 address;
	le32 length;
	le16 id, flags;
};
_Static_assert(sizeof(struct packed_desc) == 16, "VirtIO 1.3, 2.8.13");

/* ---- places in the ring ---- */

static inline uint16_t slot_of(uint16_t at)
{
	return at & (uint16_t)~ODD_LAP;
}

static inline bool wrap_of(uint16_t at)
{
	return !(at & ODD_LAP);
}

static inline uint16_t at_forward(const struct virtqueue *vq, uint16_t at, uint16_t slots)
{
	unsigned int slot = slot_of(at) + (unsigned int)slots;

	if (slot < vq->size)
		return (uint16_t)(at + slots);
	return (uint16_t)((slot - vq->size) | ((at & ODD_LAP) ^ ODD_LAP));
}

static inline uint16_t at_back(const struct virtqueue *vq, uint16_t at, uint16_t slots)
{
	if (slot_of(at) >= slots)
		return (uint16_t)(at - slots);
	return (uint16_t)((slot_of(at) + vq->size - (unsigned int)slots) | ((at & ODD_LAP) ^ ODD_LAP));
}

/* From @used to @avail; negative or more than the size of the ring: they can't be so. */
static inline int slots_between(const struct virtqueue *vq, uint16_t used, uint16_t avail)
{
	return (wrap_of(used) == wrap_of(avail) ? 0 : vq->size) + slot_of(avail) - slot_of(used);
}

static inline bool places_possible(const struct virtqueue *vq, uint16_t used, uint16_t avail)
{
	int out = slots_between(vq, used, avail);

	return slot_of(used) < vq->size && slot_of(avail) < vq->size && out >= 0 && out <= vq->size;
}

static inline unsigned int slots_out(const struct virtqueue *vq)
{
	return (unsigned int)slots_between(vq, vq->used_at, vq->avail_at);
}

/** packed_reserve() - room for one more than @slots descriptors in the copy of a chain; -ENOMEM */
int __must_check packed_reserve(struct virtio_request *req, unsigned int slots);
/** packed_map() - the segments of what that copy says; -EPROTO, -ENOMEM */
int __must_check packed_map(struct virtqueue *vq, struct virtio_request *req);
/** packed_link() - @req is in flight */
void packed_link(struct virtqueue *vq, struct virtio_request *req);

#endif
