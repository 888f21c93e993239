/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtqueues (VirtIO 1.3, 2.6): what split rings (queue-split.c) and packed ones (queue-packed.c) share.
 *
 * Together the only code that reads descriptors. Segments come out of the checked accessors. Runs on the event loop
 * that owns the device; nothing locks.
 */
#include <string.h>

#include "kvm/log.h"
#include "virtio/queue.h"

#define SEGMENTS_FIRST	16

/* ---- life ---- */

int virtqueue_start(struct virtqueue *vq, struct address_space *memory)
{
	int result;

	vq->memory = memory;
	result = vq->packed ? packed_start(vq) : split_start(vq);
	if (result)
		return result;
	if (!vq->desc_host || !vq->avail_host || !vq->used_host) {
		virtqueue_stop(vq);
		virtqueue_fail(vq, "its rings don't lie in RAM");
		return -EFAULT;
	}
	return 0;
}

void virtqueue_stop(struct virtqueue *vq)
{
	vq->desc_host = vq->avail_host = vq->used_host = NULL;
}

static void request_free(struct virtio_request *req)
{
	free(req->segments);
	free(req->chain);
	free(req);
}

void virtqueue_reset(struct virtqueue *vq)
{
	struct virtio_request *req;

	virtqueue_stop(vq);
	while ((req = vq->pool)) {
		vq->pool = req->next;
		request_free(req);
	}
	packed_reset(vq);
	vq->size = vq->size_max;
	vq->desc = vq->avail = vq->used = gpa(0);
	atomic_store(&vq->enabled, false);
	vq->event_index = vq->indirect = vq->packed = false;
	vq->last_avail = vq->used_index = vq->signalled_used = 0;
	vq->signalled_valid = vq->broken = false;
	vq->kick_wanted = vq->polled = false;
	vq->in_flight = 0;
}

int virtqueue_fail(struct virtqueue *vq, const char *what)
{
	vq->broken = true;
	if (vq->device) {
		log_guest(&vq->device->log_limit, "%s: queue %u: %s; it waits for a reset",
			  vq->device->device.name ? vq->device->device.name : "virtio", vq->index, what);
		virtio_needs_reset(vq->device);
	}
	return -EPROTO;
}

/* ---- requests ---- */

struct virtio_request *virtqueue_request_new(void)
{
	struct virtio_request *req = calloc(1, sizeof(*req));

	if (!req)
		return NULL;
	req->capacity = SEGMENTS_FIRST;
	req->segments = calloc(req->capacity, sizeof(*req->segments));
	if (!req->segments) {
		free(req);
		return NULL;
	}
	return req;
}

static int request_grow(struct virtio_request *req)
{
	unsigned int capacity = req->capacity * 2;
	struct iovec *grown;

	if (capacity > 2 * VIRTIO_SEGMENTS_MAX)
		return -E2BIG;
	grown = realloc(req->segments, capacity * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	req->segments = grown;
	req->capacity = capacity;
	return 0;
}

/* What virtqueue_add_buffer() does when memory_iov() returned @count, which is no number of segments. */
int virtqueue_add_pieces(struct virtqueue *vq, struct virtio_request *req, uint64_t address, uint32_t length, bool writable,
			 int count)
{
	while (count == -E2BIG) {
		unsigned int used = req->readable + req->writable;
		int grown = request_grow(req);

		if (grown == -ENOMEM)
			return grown;
		if (grown)
			return virtqueue_fail(vq, "a chain over too many pieces of RAM");
		count = memory_iov(vq->memory, gpa(address), length, writable, req->segments + used, (int)(req->capacity - used));
	}
	return count < 0 ? virtqueue_fail(vq, "a buffer doesn't lie in RAM") : count;
}

const void *virtqueue_indirect_table(struct virtqueue *vq, uint64_t address, uint32_t length, uint32_t *entries)
{
	const void *table = NULL;

	*entries = length / 16;
	if (!vq->indirect)
		virtqueue_fail(vq, "an indirect table without VIRTIO_F_INDIRECT_DESC");
	else if (!length || length % 16 || length / 16 > VIRTQUEUE_SIZE_MAX)
		virtqueue_fail(vq, "an indirect table of a wrong length");
	else {
		table = memory_window(vq->memory, gpa(address), length);
		if (!table)
			virtqueue_fail(vq, "an indirect table that doesn't lie in RAM");
	}
	return table;
}

int virtqueue_pop(struct virtqueue *vq, struct virtio_request **out)
{
	if (vq->broken)
		return -EPROTO;
	if (!vq->desc_host)
		return 0;
	return vq->packed ? packed_pop(vq, out) : split_pop(vq, out);
}

int virtqueue_retake(struct virtqueue *vq, uint16_t head, struct virtio_request **out)
{
	if (vq->broken || !vq->desc_host)
		return -EPROTO;
	return vq->packed ? packed_retake(vq, head, out) : split_retake(vq, head, out);
}

void virtqueue_unpop(struct virtqueue *vq, struct virtio_request *req)
{
	if (vq->packed)
		packed_unpop(vq, req);
	vq->last_avail--;
	vq->in_flight--;
	request_give(vq, req);
}

void virtqueue_push(struct virtqueue *vq, struct virtio_request *req, uint32_t written)
{
	if (vq->packed)
		packed_push(vq, req, written);
	else
		split_push(vq, req, written);
}

uint16_t virtqueue_waiting(const struct virtqueue *vq)
{
	if (!vq->desc_host)
		return 0;
	return vq->packed ? packed_waiting(vq) : split_waiting(vq);
}

static bool any_waiting(const struct virtqueue *vq)
{
	return vq->packed ? packed_any_waiting(vq) : split_waiting(vq);
}

/* ---- notifications ---- */

void virtqueue_flush(struct virtqueue *vq)
{
	if (!vq->desc_host)
		return;
	if (vq->packed)
		packed_flush(vq);
	else
		split_flush(vq);
}

bool virtqueue_enable_kick(struct virtqueue *vq)
{
	if (!vq->desc_host || vq->broken)
		return false;
	vq->kick_wanted = true;
	if (vq->polled)
		return any_waiting(vq);
	if (vq->packed)
		packed_ask_kick(vq);
	else
		split_ask_kick(vq);
	/* The wish must be out before the ring is read, or both sides may sleep. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return any_waiting(vq);
}

void virtqueue_disable_kick(struct virtqueue *vq)
{
	vq->kick_wanted = false;
	if (vq->polled || !vq->desc_host)
		return;
	if (vq->packed)
		packed_ask_no_kick(vq);
	else
		split_ask_no_kick(vq);
}

void virtqueue_poll_begin(struct virtqueue *vq)
{
	if (!vq->kick_wanted)
		return;
	virtqueue_disable_kick(vq);
	vq->kick_wanted = vq->polled = true;
}

bool virtqueue_poll_end(struct virtqueue *vq)
{
	bool polled = vq->polled;

	vq->polled = false;
	return polled && vq->kick_wanted && virtqueue_enable_kick(vq);
}

bool virtqueue_poll_waiting(const struct virtqueue *vq)
{
	return vq->polled && vq->kick_wanted && vq->desc_host && any_waiting(vq);
}

/* ---- rings that somebody else works on ---- */

uint32_t virtqueue_base(const struct virtqueue *vq)
{
	return vq->packed ? packed_base(vq) : vq->last_avail;
}

int virtqueue_set_base(struct virtqueue *vq, uint32_t base)
{
	return vq->packed ? packed_set_base(vq, base) : split_set_base(vq, base);
}

bool virtqueue_take_again(struct virtqueue *vq)
{
	return !vq->packed && split_take_again(vq);
}

/* ---- data ---- */

static size_t segments_copy(const struct iovec *segments, unsigned int count, size_t offset, void *buffer,
			    size_t length, bool write)
{
	size_t done = 0;

	for (unsigned int i = 0; i < count && done < length; i++) {
		size_t part;

		if (offset >= segments[i].iov_len) {
			offset -= segments[i].iov_len;
			continue;
		}
		part = MIN(segments[i].iov_len - offset, length - done);
		if (write)
			memcpy((char *)segments[i].iov_base + offset, (char *)buffer + done, part);
		else
			memcpy((char *)buffer + done, (char *)segments[i].iov_base + offset, part);
		done += part;
		offset = 0;
	}
	return done;
}

size_t virtio_request_read(const struct virtio_request *req, size_t offset, void *buffer, size_t length)
{
	return segments_copy(req->segments, req->readable, offset, buffer, length, false);
}

size_t virtio_request_write(const struct virtio_request *req, size_t offset, const void *buffer, size_t length)
{
	return segments_copy(req->segments + req->readable, req->writable, offset, (void *)buffer, length, true);
}

/* ---- saved state ---- */

static const struct state_field queue_fields[] = {
	STATE_U16_MAX(struct virtqueue, size, VIRTQUEUE_SIZE_MAX),
	STATE_U64(struct virtqueue, desc),
	STATE_U64(struct virtqueue, avail),
	STATE_U64(struct virtqueue, used),
	STATE_BOOL(struct virtqueue, enabled),
	STATE_BOOL(struct virtqueue, event_index),
	STATE_BOOL(struct virtqueue, indirect),
	STATE_U16(struct virtqueue, last_avail),
	STATE_U16(struct virtqueue, used_index),
	STATE_U16(struct virtqueue, signalled_used),
	STATE_BOOL(struct virtqueue, signalled_valid),
	STATE_BOOL(struct virtqueue, broken),
};
STATE_TABLE(queue_table, "virtqueue", 1, queue_fields);
_Static_assert(sizeof(gpa_t) == 8, "the addresses are saved as 64-bit integers");

/* At each request would be too often: once they are saved the device writes no more. */
static void rings_dirty(const struct virtqueue *vq)
{
	const gpa_t at[] = { vq->used, vq->desc };
	/* a split ring's flags, index, elements and avail_event; a packed ring itself */
	const uint64_t length[] = { vq->packed ? 4 : 6 + 8 * (uint64_t)vq->size, vq->packed ? 16 * (uint64_t)vq->size : 0 };

	for (size_t i = 0; i < ARRAY_SIZE(at) && vq->memory && vq->enabled; i++) {
		const void *ring = memory_window(vq->memory, at[i], length[i]);

		if (ring)
			memory_dirty(vq->memory, ring, (size_t)length[i]);
	}
}

void virtqueue_save(const struct virtqueue *vq, struct state_writer *writer)
{
	rings_dirty(vq);
	state_save(writer, &queue_table, vq);
	if (vq->packed)
		packed_save(vq, writer);
}

int virtqueue_load(struct virtqueue *vq, struct state_reader *reader)
{
	int result = state_load(reader, &queue_table, vq);

	if (!result && (!vq->size || vq->size > vq->size_max || (!vq->packed && !IS_POWER_OF_2(vq->size))))
		result = log_error(EINVAL, "saved state: a virtqueue of size %u", vq->size);
	return !result && vq->packed ? packed_load(vq, reader) : result;
}
