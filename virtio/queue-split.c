/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Split rings (VirtIO 1.3, 2.7): a table of descriptors, a ring of those that are available, and one of those used.
 *
 * A descriptor is copied once, then checked, then used. The event loop that owns the device calls; nothing locks.
 */
#include <linux/virtio_ring.h>
#include <string.h>

#include "virtio/queue.h"

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

int split_start(struct virtqueue *vq)
{
	uint64_t size = vq->size;

	if (!size || size > VIRTQUEUE_SIZE_MAX || !IS_POWER_OF_2(size))
		return virtqueue_fail(vq, "its size is no power of 2 up to the largest");
	if ((vq->desc.value & 15) || (vq->avail.value & 1) || (vq->used.value & 3))
		return virtqueue_fail(vq, "its rings are not aligned");
	vq->desc_host = memory_window(vq->memory, vq->desc, 16 * size);
	vq->avail_host = memory_window(vq->memory, vq->avail, 6 + 2 * size);
	vq->used_host = memory_window(vq->memory, vq->used, 6 + 8 * size);
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

static int chain_enter_indirect(struct chain *chain, const struct queue_desc *desc)
{
	if (chain->in_indirect)
		return virtqueue_fail(chain->vq, "an indirect table in an indirect table");
	if (le16_get(desc->flags) & VRING_DESC_F_NEXT)
		return virtqueue_fail(chain->vq, "an indirect table that goes on");
	chain->table = virtqueue_indirect_table(chain->vq, le64_get(desc->address), le32_get(desc->length), &chain->entries);
	if (!chain->table)
		return -EPROTO;
	chain->left = chain->entries;
	chain->in_indirect = true;
	return 0;
}

static int chain_walk(struct chain *chain, uint32_t index)
{
	for (;;) {
		struct queue_desc desc;
		uint16_t flags;
		int result;

		if (index >= chain->entries)
			return virtqueue_fail(chain->vq, "a descriptor index past the table");
		if (!chain->left--)
			return virtqueue_fail(chain->vq, "a chain that is longer than its table");
		desc = desc_load(&chain->table[index]);
		flags = le16_get(desc.flags);
		if (flags & VRING_DESC_F_INDIRECT) {
			result = chain_enter_indirect(chain, &desc);
			if (result)
				return result;
			index = 0;
			continue;
		}
		result = virtqueue_add_buffer(chain->vq, chain->req, le64_get(desc.address), le32_get(desc.length),
					      flags & VRING_DESC_F_WRITE);
		if (result || !(flags & VRING_DESC_F_NEXT))
			return result;
		index = le16_get(desc.next);
	}
}

/* ---- requests ---- */

uint16_t split_waiting(const struct virtqueue *vq)
{
	return (uint16_t)(avail_index(vq) - vq->last_avail);
}

int split_retake(struct virtqueue *vq, uint16_t head, struct virtio_request **out)
{
	struct chain chain = { .vq = vq, .table = vq->desc_host, .entries = vq->size, .left = vq->size };
	int result;

	if (vq->in_flight >= vq->size)
		return virtqueue_fail(vq, "more requests than the queue's size");
	chain.req = request_take(vq);
	if (!chain.req)
		return -ENOMEM;
	chain.req->head = head;
	result = chain_walk(&chain, head);
	if (result) {
		request_give(vq, chain.req);
		return result;
	}
	vq->in_flight++;
	*out = chain.req;
	return 0;
}

int split_pop(struct virtqueue *vq, struct virtio_request **out)
{
	uint16_t waiting = split_waiting(vq);
	int result;

	if (!waiting)
		return 0;
	if (waiting > vq->size)
		return virtqueue_fail(vq, "the available index jumped by more than the queue's size");
	result = split_retake(vq, ring_load(avail_word(vq, 2 + (vq->last_avail & (vq->size - 1U)))), out);
	if (result)
		return result;
	vq->last_avail++;
	return 1;
}

void split_push(struct virtqueue *vq, struct virtio_request *req, uint32_t written)
{
	struct queue_used used = { .id = le32_of(req->head), .length = le32_of(written) };

	if (vq->used_host)
		memcpy((char *)vq->used_host + 4 + (vq->used_index & (vq->size - 1U)) * sizeof(used), &used, sizeof(used));
	vq->used_index++;
	request_done(vq, req, written);
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

void split_flush(struct virtqueue *vq)
{
	if (ring_load(used_word(vq, 2)) == vq->used_index)
		return;
	/* The driver sees the elements before the index that covers them. */
	__atomic_store_n(used_word(vq, 2), htole16(vq->used_index), __ATOMIC_RELEASE);
	/* The index must be out before the driver's wish is read, or both sides may sleep. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (wants_interrupt(vq))
		queue_interrupt(vq);
}

void split_ask_kick(struct virtqueue *vq)
{
	if (vq->event_index)
		ring_store(used_word(vq, 4 + 8U * vq->size), vq->last_avail);
	else
		ring_store(used_word(vq, 0), 0);
}

void split_ask_no_kick(struct virtqueue *vq)
{
	/* With event indexes an avail_event that lies behind asks for nothing. */
	if (!vq->event_index)
		ring_store(used_word(vq, 0), VRING_USED_F_NO_NOTIFY);
}

/* ---- rings that somebody else works on ---- */

static uint16_t used_index(const struct virtqueue *vq)
{
	return vq->used_host ? le16toh(__atomic_load_n(used_word(vq, 2), __ATOMIC_ACQUIRE)) : vq->last_avail;
}

static void set_base(struct virtqueue *vq, uint16_t last_avail)
{
	vq->last_avail = last_avail;
	vq->used_index = used_index(vq);
	vq->signalled_valid = false;
}

int split_set_base(struct virtqueue *vq, uint32_t base)
{
	if (base > UINT16_MAX)
		return -EPROTO;
	set_base(vq, (uint16_t)base);
	return vq->avail_host && split_waiting(vq) > vq->size ? -EPROTO : 0;
}

/*
 * Compares the sets that lie in both rings before the used index: each head as often in the one as in the other. What
 * was never written is 0 in both. With everything in flight there is nothing to compare, and no doubt either.
 */
static bool in_order(const struct virtqueue *vq, uint16_t used)
{
	int16_t balance[VIRTQUEUE_SIZE_MAX] = { 0 };
	uint16_t waiting;

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

bool split_take_again(struct virtqueue *vq)
{
	set_base(vq, used_index(vq));
	return in_order(vq, vq->used_index);
}
