/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Between virtio/queue.c (what all virtqueues share), queue-split.c and queue-packed*.c (what lies in guest memory).
 * The functions of a ring are those of kvm/virtqueue.h that are called so, for a queue of that kind.
 */
#ifndef VIRTIO_QUEUE_H
#define VIRTIO_QUEUE_H

#include "kvm/virtio.h"

/* ---- requests ---- */

/** virtqueue_request_new() - a request with room for some segments, of no pool; NULL: no memory */
struct virtio_request *virtqueue_request_new(void);
/** virtqueue_add_pieces() - of virtqueue_add_buffer(): the number of segments, or its error */
int __must_check virtqueue_add_pieces(struct virtqueue *vq, struct virtio_request *req, uint64_t address, uint32_t length,
				      bool writable, int count);
/** virtqueue_indirect_table() - the indirect table of @length bytes, of @entries descriptors; NULL: the queue is broken */
const void *virtqueue_indirect_table(struct virtqueue *vq, uint64_t address, uint32_t length, uint32_t *entries);

/* An empty one. */
static inline struct virtio_request *request_take(struct virtqueue *vq)
{
	struct virtio_request *req = vq->pool;

	if (req)
		vq->pool = req->next;
	else
		req = virtqueue_request_new();
	if (!req)
		return NULL;
	req->readable = req->writable = 0;
	req->readable_bytes = req->writable_bytes = 0;
	return req;
}

static inline void request_give(struct virtqueue *vq, struct virtio_request *req)
{
	req->next = vq->pool;
	vq->pool = req;
}

/**
 * virtqueue_add_buffer() - the segments of one buffer of guest memory, behind those that @req has
 * Returns 0, -EPROTO (the device is in NEEDS_RESET) or -ENOMEM. In each request's way, so it is here.
 */
static inline int virtqueue_add_buffer(struct virtqueue *vq, struct virtio_request *req, uint64_t address, uint32_t length,
				       bool writable)
{
	uint32_t *total = writable ? &req->writable_bytes : &req->readable_bytes;
	unsigned int used = req->readable + req->writable;
	int count;

	if (!writable && req->writable)
		return virtqueue_fail(vq, "a readable buffer stands behind a writable one");
	if (__builtin_add_overflow(*total, length, total))
		return virtqueue_fail(vq, "a chain of more than 4 GiB");
	count = memory_iov(vq->memory, gpa(address), length, writable, req->segments + used, (int)(req->capacity - used));
	if (count < 0)
		count = virtqueue_add_pieces(vq, req, address, length, writable, count);
	if (count < 0)
		return count;
	*(writable ? &req->writable : &req->readable) += (unsigned int)count;
	return 0;
}

/* The only writer, so that no locked instruction is needed. */
static inline void request_count_one(atomic_ulong *counter, unsigned long more)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more, memory_order_relaxed);
}

/* The device, or the kernel for it, has written to the segments: to how much of them it need not say truly. */
static inline void request_dirty(struct virtqueue *vq, const struct virtio_request *req)
{
	for (unsigned int i = 0; i < req->writable; i++)
		memory_dirty(vq->memory, req->segments[req->readable + i].iov_base, req->segments[req->readable + i].iov_len);
}

/* @req was pushed. */
static inline void request_done(struct virtqueue *vq, struct virtio_request *req, uint32_t written)
{
	vq->in_flight--;
	if (__builtin_expect(atomic_load_explicit(&vq->memory->written, memory_order_relaxed) != NULL, 0))
		request_dirty(vq, req);
	request_count_one(&vq->requests, 1);
	request_count_one(&vq->bytes_read, req->readable_bytes);
	request_count_one(&vq->bytes_written, written);
	request_give(vq, req);
}

static inline void queue_interrupt(struct virtqueue *vq)
{
	if (vq->device && vq->device->transport_ops)
		vq->device->transport_ops->interrupt_queue(vq->device, vq->index);
}

/* ---- split rings ---- */

int split_start(struct virtqueue *vq);
int split_pop(struct virtqueue *vq, struct virtio_request **out);
int split_retake(struct virtqueue *vq, uint16_t head, struct virtio_request **out);
void split_push(struct virtqueue *vq, struct virtio_request *req, uint32_t written);
void split_flush(struct virtqueue *vq);
uint16_t split_waiting(const struct virtqueue *vq);
/** split_ask_kick() - tells the driver; split_ask_no_kick() - that it need not */
void split_ask_kick(struct virtqueue *vq);
void split_ask_no_kick(struct virtqueue *vq);
int split_set_base(struct virtqueue *vq, uint32_t base);
bool split_take_again(struct virtqueue *vq);

/* ---- packed rings ---- */

int packed_start(struct virtqueue *vq);
void packed_reset(struct virtqueue *vq);
int packed_pop(struct virtqueue *vq, struct virtio_request **out);
int packed_retake(struct virtqueue *vq, uint16_t head, struct virtio_request **out);
void packed_unpop(struct virtqueue *vq, struct virtio_request *req);
void packed_push(struct virtqueue *vq, struct virtio_request *req, uint32_t written);
void packed_flush(struct virtqueue *vq);
uint16_t packed_waiting(const struct virtqueue *vq);
/** packed_any_waiting() - whether there is one; at once */
bool packed_any_waiting(const struct virtqueue *vq);
void packed_ask_kick(struct virtqueue *vq);
void packed_ask_no_kick(struct virtqueue *vq);
uint32_t packed_base(const struct virtqueue *vq);
int packed_set_base(struct virtqueue *vq, uint32_t base);
/** packed_save() - where in the ring it is, and what was popped and isn't pushed, which may be overwritten there */
void packed_save(const struct virtqueue *vq, struct state_writer *writer);
int packed_load(struct virtqueue *vq, struct state_reader *reader);

#endif
