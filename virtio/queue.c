/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Split virtqueues (VirtIO 1.3, 2.7): popping chains, pushing used buffers, notifications both ways.
 *
 * The only code that walks descriptor chains. A descriptor is copied once, then checked, then used; segments
 * come out of the checked accessors. Runs on the event loop that owns the device; nothing locks.
 */
#include "kvm/virtqueue.h"

#include <linux/virtio_ring.h>
#include <string.h>

#include "kvm/log.h"
#include "kvm/virtio.h"

#define SEGMENTS_FIRST	16

/* As they lie in guest memory; the UAPI's own types are sparse-annotated integers. */
struct queue_desc {
	le64 address;
	le32 length;
	le16 flags, next;
};
_Static_assert(sizeof(struct queue_desc) == 16, "VirtIO 1.3, 2.7.5");

struct queue_used {
	le32 id, length;
};
_Static_assert(sizeof(struct queue_used) == 8, "VirtIO 1.3, 2.7.8");

/* ---- the rings ---- */

/* avail: flags, idx, ring[size], used_event. used: flags, idx, ring[size] of 8 bytes, avail_event. */
static uint16_t *avail_word(const struct virtqueue *vq, size_t index)
{
	return (uint16_t *)vq->avail_host + index;
}

static uint16_t *used_word(const struct virtqueue *vq, size_t byte_offset)
{
	return (uint16_t *)((char *)vq->used_host + byte_offset);
}

static uint16_t ring_load(const uint16_t *word)
{
	return le16toh(__atomic_load_n(word, __ATOMIC_RELAXED));
}

static void ring_store(uint16_t *word, uint16_t value)
{
	__atomic_store_n(word, htole16(value), __ATOMIC_RELAXED);
}

/* Pairs with the driver's barrier between filling the ring and moving the index. */
static uint16_t avail_index(const struct virtqueue *vq)
{
	return le16toh(__atomic_load_n(avail_word(vq, 1), __ATOMIC_ACQUIRE));
}

int virtqueue_start(struct virtqueue *vq, struct address_space *memory)
{
	uint64_t size = vq->size;

	if (!size || size > VIRTQUEUE_SIZE_MAX || !IS_POWER_OF_2(size))
		return virtqueue_fail(vq, "its size is no power of 2 up to the largest");
	if ((vq->desc.value & 15) || (vq->avail.value & 1) || (vq->used.value & 3))
		return virtqueue_fail(vq, "its rings are not aligned");
	vq->memory = memory;
	vq->desc_host = memory_window(memory, vq->desc, 16 * size);
	vq->avail_host = memory_window(memory, vq->avail, 6 + 2 * size);
	vq->used_host = memory_window(memory, vq->used, 6 + 8 * size);
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
	vq->size = vq->size_max;
	vq->desc = vq->avail = vq->used = gpa(0);
	atomic_store(&vq->enabled, false);
	vq->event_index = vq->indirect = false;
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

static struct virtio_request *request_take(struct virtqueue *vq)
{
	struct virtio_request *req = vq->pool;

	if (req) {
		vq->pool = req->next;
		return req;
	}
	req = calloc(1, sizeof(*req));
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

static void request_give(struct virtqueue *vq, struct virtio_request *req)
{
	req->next = vq->pool;
	vq->pool = req;
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

/* ---- walking a chain ---- */

struct chain {
	struct virtqueue *vq;
	struct virtio_request *req;
	const struct queue_desc *table;	/* the queue's, or an indirect one */
	uint32_t entries;
	uint32_t left;			/* descriptors that may still come: bounds loops */
	bool in_indirect;
};

/*
 * One fetch: the compiler may not read the guest's copy again. It races with drivers that break the rules, which
 * is no news to ThreadSanitizer; what was read is checked.
 */
__attribute__((no_sanitize("thread")))
static struct queue_desc desc_load(const struct queue_desc *at)
{
	struct queue_desc desc;

	memcpy(&desc, at, sizeof(desc));
	__asm__ volatile("" : : : "memory");
	return desc;
}

static int chain_add_buffer(struct chain *chain, const struct queue_desc *desc)
{
	struct virtio_request *req = chain->req;
	bool writable = le16_get(desc->flags) & VRING_DESC_F_WRITE;
	uint32_t length = le32_get(desc->length);
	uint32_t *total = writable ? &req->writable_bytes : &req->readable_bytes;
	int count;

	if (!writable && req->writable)
		return virtqueue_fail(chain->vq, "a readable buffer stands behind a writable one");
	if (__builtin_add_overflow(*total, length, total))
		return virtqueue_fail(chain->vq, "a chain of more than 4 GiB");
	for (;;) {
		unsigned int used = req->readable + req->writable;
		int grown;

		count = memory_iov(chain->vq->memory, gpa(le64_get(desc->address)), length, writable,
				   req->segments + used, (int)(req->capacity - used));
		if (count != -E2BIG)
			break;
		grown = request_grow(req);
		if (grown == -ENOMEM)
			return grown;
		if (grown)
			return virtqueue_fail(chain->vq, "a chain over too many pieces of RAM");
	}
	if (count < 0)
		return virtqueue_fail(chain->vq, "a buffer doesn't lie in RAM");
	*(writable ? &req->writable : &req->readable) += (unsigned int)count;
	return 0;
}

static int chain_enter_indirect(struct chain *chain, const struct queue_desc *desc)
{
	uint32_t length = le32_get(desc->length);

	if (!chain->vq->indirect)
		return virtqueue_fail(chain->vq, "an indirect table without VIRTIO_F_INDIRECT_DESC");
	if (chain->in_indirect)
		return virtqueue_fail(chain->vq, "an indirect table in an indirect table");
	if (le16_get(desc->flags) & VRING_DESC_F_NEXT)
		return virtqueue_fail(chain->vq, "an indirect table that goes on");
	if (!length || length % sizeof(*desc) || length / sizeof(*desc) > VIRTQUEUE_SIZE_MAX)
		return virtqueue_fail(chain->vq, "an indirect table of a wrong length");
	chain->table = memory_window(chain->vq->memory, gpa(le64_get(desc->address)), length);
	if (!chain->table)
		return virtqueue_fail(chain->vq, "an indirect table that doesn't lie in RAM");
	chain->entries = (uint32_t)(length / sizeof(*desc));
	chain->left = chain->entries;
	chain->in_indirect = true;
	return 0;
}

static int chain_walk(struct chain *chain, uint32_t index)
{
	for (;;) {
		struct queue_desc desc;
		int result;

		if (index >= chain->entries)
			return virtqueue_fail(chain->vq, "a descriptor index past the table");
		if (!chain->left--)
			return virtqueue_fail(chain->vq, "a chain that is longer than its table");
		desc = desc_load(&chain->table[index]);
		if (le16_get(desc.flags) & VRING_DESC_F_INDIRECT) {
			result = chain_enter_indirect(chain, &desc);
			if (result)
				return result;
			index = 0;
			continue;
		}
		result = chain_add_buffer(chain, &desc);
		if (result || !(le16_get(desc.flags) & VRING_DESC_F_NEXT))
			return result;
		index = le16_get(desc.next);
	}
}

uint16_t virtqueue_waiting(const struct virtqueue *vq)
{
	return vq->avail_host ? (uint16_t)(avail_index(vq) - vq->last_avail) : 0;
}

int virtqueue_retake(struct virtqueue *vq, uint16_t head, struct virtio_request **out)
{
	struct chain chain = { .vq = vq, .table = vq->desc_host, .entries = vq->size, .left = vq->size };
	int result;

	if (vq->broken || !vq->desc_host)
		return -EPROTO;
	if (vq->in_flight >= vq->size)
		return virtqueue_fail(vq, "more requests than the queue's size");
	chain.req = request_take(vq);
	if (!chain.req)
		return -ENOMEM;
	chain.req->head = head;
	chain.req->readable = chain.req->writable = 0;
	chain.req->readable_bytes = chain.req->writable_bytes = 0;
	result = chain_walk(&chain, head);
	if (result) {
		request_give(vq, chain.req);
		return result;
	}
	vq->in_flight++;
	*out = chain.req;
	return 0;
}

int virtqueue_pop(struct virtqueue *vq, struct virtio_request **out)
{
	uint16_t waiting, head;
	int result;

	if (vq->broken)
		return -EPROTO;
	if (!vq->avail_host)
		return 0;
	waiting = (uint16_t)(avail_index(vq) - vq->last_avail);
	if (!waiting)
		return 0;
	if (waiting > vq->size)
		return virtqueue_fail(vq, "the available index jumped by more than the queue's size");
	head = ring_load(avail_word(vq, 2 + (vq->last_avail & (vq->size - 1U))));
	result = virtqueue_retake(vq, head, out);
	if (result)
		return result;
	vq->last_avail++;
	return 1;
}

void virtqueue_unpop(struct virtqueue *vq, struct virtio_request *req)
{
	vq->last_avail--;
	vq->in_flight--;
	request_give(vq, req);
}

/* The only writer, so that no locked instruction is needed. */
static void count(atomic_ulong *counter, unsigned long more)
{
	atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + more, memory_order_relaxed);
}

void virtqueue_push(struct virtqueue *vq, struct virtio_request *req, uint32_t written)
{
	struct queue_used used = { .id = le32_of(req->head), .length = le32_of(written) };

	if (vq->used_host)
		memcpy((char *)vq->used_host + 4 + (vq->used_index & (vq->size - 1U)) * sizeof(used), &used, sizeof(used));
	vq->used_index++;
	vq->in_flight--;
	count(&vq->requests, 1);
	count(&vq->bytes_read, req->readable_bytes);
	count(&vq->bytes_written, written);
	request_give(vq, req);
}

/* ---- notifications ---- */

/* Whether @event lies in (old, now]: VirtIO 1.3, 2.7.7.2. */
static bool event_passed(uint16_t event, uint16_t now, uint16_t old)
{
	return (uint16_t)(now - event - 1) < (uint16_t)(now - old);
}

static bool wants_interrupt(struct virtqueue *vq)
{
	uint16_t old = vq->signalled_used, now = vq->used_index;
	bool valid = vq->signalled_valid;

	if (!vq->event_index)
		return !(ring_load(avail_word(vq, 0)) & VRING_AVAIL_F_NO_INTERRUPT);
	vq->signalled_used = now;
	vq->signalled_valid = true;
	return !valid || event_passed(ring_load(avail_word(vq, 2U + vq->size)), now, old);
}

void virtqueue_flush(struct virtqueue *vq)
{
	if (!vq->used_host || ring_load(used_word(vq, 2)) == vq->used_index)
		return;
	/* The driver sees the elements before the index that covers them. */
	__atomic_store_n(used_word(vq, 2), htole16(vq->used_index), __ATOMIC_RELEASE);
	/* The index must be out before the driver's wish is read, or both sides may sleep. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (wants_interrupt(vq) && vq->device && vq->device->transport_ops)
		vq->device->transport_ops->interrupt_queue(vq->device, vq->index);
}

bool virtqueue_enable_kick(struct virtqueue *vq)
{
	if (!vq->used_host || vq->broken)
		return false;
	vq->kick_wanted = true;
	if (vq->polled)
		return avail_index(vq) != vq->last_avail;
	if (vq->event_index)
		ring_store(used_word(vq, 4 + 8U * vq->size), vq->last_avail);
	else
		ring_store(used_word(vq, 0), 0);
	/* The wish must be out before the index is read, or both sides may sleep. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return avail_index(vq) != vq->last_avail;
}

void virtqueue_disable_kick(struct virtqueue *vq)
{
	vq->kick_wanted = false;
	if (vq->polled)
		return;
	/* With event indexes an avail_event that lies behind asks for nothing. */
	if (vq->used_host && !vq->event_index)
		ring_store(used_word(vq, 0), VRING_USED_F_NO_NOTIFY);
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
	return vq->polled && vq->kick_wanted && virtqueue_waiting(vq);
}

/* ---- rings that somebody else works on ---- */

uint16_t virtqueue_base_of_used(const struct virtqueue *vq)
{
	return vq->used_host ? le16toh(__atomic_load_n(used_word(vq, 2), __ATOMIC_ACQUIRE)) : vq->last_avail;
}

void virtqueue_set_base(struct virtqueue *vq, uint16_t last_avail)
{
	vq->last_avail = last_avail;
	vq->used_index = virtqueue_base_of_used(vq);
	vq->signalled_valid = false;
}

/*
 * Compares the sets that lie in both rings before the used index: each head as often in the one as in the other. What
 * was never written is 0 in both. With everything in flight there is nothing to compare, and no doubt either.
 */
bool virtqueue_in_order(const struct virtqueue *vq)
{
	int16_t balance[VIRTQUEUE_SIZE_MAX] = { 0 };
	uint16_t used = virtqueue_base_of_used(vq), waiting;

	if (!vq->avail_host)
		return true;
	waiting = (uint16_t)(avail_index(vq) - used);
	for (unsigned int back = 1; waiting <= vq->size && back + waiting <= vq->size; back++) {
		unsigned int slot = (uint16_t)(used - back) & (vq->size - 1U);

		balance[ring_load(avail_word(vq, 2 + slot)) & (VIRTQUEUE_SIZE_MAX - 1)]++;
		balance[ring_load(used_word(vq, 4 + 8 * (size_t)slot)) & (VIRTQUEUE_SIZE_MAX - 1)]--;
	}
	for (unsigned int i = 0; i < VIRTQUEUE_SIZE_MAX; i++)
		if (balance[i])
			return false;
	return waiting <= vq->size;
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

void virtqueue_save(const struct virtqueue *vq, struct state_writer *writer)
{
	state_save(writer, &queue_table, vq);
}

int virtqueue_load(struct virtqueue *vq, struct state_reader *reader)
{
	int result = state_load(reader, &queue_table, vq);

	if (!result && (vq->size > vq->size_max || !IS_POWER_OF_2(vq->size)))
		result = log_error(EINVAL, "saved state: a virtqueue of size %u", vq->size);
	return result;
}
