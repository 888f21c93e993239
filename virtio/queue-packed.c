/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Packed rings (VirtIO 1.3, 2.8): one ring of descriptors, which driver and device overwrite in turn.
 *
 * Two bits of a descriptor's flags say whose it is, against a wrap counter that changes with each lap. A request has one
 * or more descriptors in a row; used, it is one descriptor at the place where the device is, which may belong to another
 * request that is still in flight. So each keeps copies of its own, for saved state, which is in queue-packed-state.c. A
 * descriptor is copied once, then checked, then used. The event loop that owns the device calls; nothing locks.
 */
#include <linux/virtio_ring.h>
#include <string.h>

#include "virtio/queue-packed.h"

#define CHAIN_FIRST	4
#define AVAIL		BIT(VRING_PACKED_DESC_F_AVAIL)
#define USED		BIT(VRING_PACKED_DESC_F_USED)

/* The event suppression structures, read and written as one word: the place, then the flags (2.8.14). */
union packed_event {
	struct { le16 place, flags; };
	uint32_t word;
};
_Static_assert(sizeof(union packed_event) == 4, "VirtIO 1.3, 2.8.14");

/* ---- the ring ---- */

static struct packed_desc *desc_at(const struct virtqueue *vq, uint16_t at)
{
	return (struct packed_desc *)vq->desc_host + slot_of(at);
}

/* Pairs with the driver's barrier between a chain's descriptors and the flags of the first. */
static uint16_t flags_load(const struct virtqueue *vq, uint16_t at)
{
	return le16toh(__atomic_load_n(&desc_at(vq, at)->flags.raw, __ATOMIC_ACQUIRE));
}

/* 2.8.1: a descriptor is available if the one bit is the driver's wrap counter, and the other isn't. */
static bool is_available(uint16_t flags, uint16_t at)
{
	return !!(flags & AVAIL) == wrap_of(at) && !!(flags & USED) != wrap_of(at);
}

/* ---- life ---- */

int packed_start(struct virtqueue *vq)
{
	if (!vq->size || vq->size > VIRTQUEUE_SIZE_MAX)
		return virtqueue_fail(vq, "its size is 0, or more than the largest");
	if ((vq->desc.value & 15) || (vq->avail.value & 3) || (vq->used.value & 3))
		return virtqueue_fail(vq, "its ring or its event structures are not aligned");
	vq->desc_host = memory_window(vq->memory, vq->desc, sizeof(struct packed_desc) * (uint64_t)vq->size);
	vq->avail_host = memory_window(vq->memory, vq->avail, sizeof(union packed_event));
	vq->used_host = memory_window(vq->memory, vq->used, sizeof(union packed_event));
	/* No value of the flags: they are written before anything relies on them. */
	vq->kick_flags = UINT16_MAX;
	return 0;
}

/* ---- taking requests ---- */

/*
 * One fetch: the compiler may not read the guest's copy again. It races with drivers that break the rules, which
 * is no news to ThreadSanitizer; what was read is checked.
 */
__attribute__((no_sanitize("thread")))
static struct packed_desc desc_load(const struct packed_desc *at)
{
	struct packed_desc desc;

	memcpy(&desc, at, sizeof(desc));
	__asm__ volatile("" : : : "memory");
	return desc;
}

/* Room for one more descriptor in the request's copy of its chain; the queue's size bounds how often this grows. */
int packed_reserve(struct virtio_request *req, unsigned int slots)
{
	unsigned int capacity = req->chain_capacity ? req->chain_capacity * 2 : CHAIN_FIRST;
	struct packed_desc *grown;

	if (slots < req->chain_capacity)
		return 0;
	grown = realloc(req->chain, MAX(capacity, slots + 1) * sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	req->chain = grown;
	req->chain_capacity = MAX(capacity, slots + 1);
	return 0;
}

/* Copies the descriptors from avail_at on, of which the first has the flags @flags. */
static int chain_copy(struct virtqueue *vq, struct virtio_request *req, uint16_t flags)
{
	const unsigned int most = vq->size - slots_out(vq);
	uint16_t at = vq->avail_at, slots = 0;

	for (;;) {
		struct packed_desc desc;
		int result = packed_reserve(req, slots);

		if (result)
			return result;
		if (slots == most)
			return virtqueue_fail(vq, "a chain of more descriptors than the ring has left");
		desc = desc_load(desc_at(vq, at));
		/* What made it available is what it is taken for. */
		if (!slots)
			desc.flags = le16_of(flags);
		req->chain[slots++] = desc;
		if (!(le16_get(desc.flags) & VRING_DESC_F_NEXT))
			break;
		at = at_forward(vq, at, 1);
	}
	req->slots = slots;
	/* 2.8.6: the last one names the buffer. */
	req->head = le16_get(req->chain[slots - 1].id);
	return 0;
}

static int add_desc(struct virtqueue *vq, struct virtio_request *req, const struct packed_desc *desc)
{
	return virtqueue_add_buffer(vq, req, le64_get(desc->address), le32_get(desc->length),
				    le16_get(desc->flags) & VRING_DESC_F_WRITE);
}

/* 2.8.7: the whole table, from its beginning to its end; of the flags only WRITE means something. */
static int add_indirect(struct virtqueue *vq, struct virtio_request *req, const struct packed_desc *desc)
{
	uint32_t entries;
	const struct packed_desc *table = virtqueue_indirect_table(vq, le64_get(desc->address), le32_get(desc->length), &entries);
	int result = table ? 0 : -EPROTO;

	for (uint32_t i = 0; i < entries && !result; i++) {
		const struct packed_desc entry = desc_load(&table[i]);

		result = le16_get(entry.flags) & VRING_DESC_F_INDIRECT ?
			 virtqueue_fail(vq, "an indirect table in an indirect table") : add_desc(vq, req, &entry);
	}
	return result;
}

/* The segments of what chain_copy() copied. */
int packed_map(struct virtqueue *vq, struct virtio_request *req)
{
	int result = 0;

	if (req->slots == 1 && (le16_get(req->chain->flags) & VRING_DESC_F_INDIRECT))
		return add_indirect(vq, req, req->chain);
	for (unsigned int i = 0; i < req->slots && !result; i++)
		result = le16_get(req->chain[i].flags) & VRING_DESC_F_INDIRECT ?
			 virtqueue_fail(vq, "an indirect table in a chain") : add_desc(vq, req, &req->chain[i]);
	return result;
}

void packed_link(struct virtqueue *vq, struct virtio_request *req)
{
	req->next = vq->taken;
	req->link = &vq->taken;
	if (req->next)
		req->next->link = &req->next;
	vq->taken = req;
	vq->in_flight++;
}

static void request_unlink(struct virtio_request *req)
{
	*req->link = req->next;
	if (req->next)
		req->next->link = req->link;
}

int packed_pop(struct virtqueue *vq, struct virtio_request **out)
{
	const uint16_t flags = flags_load(vq, vq->avail_at);
	struct virtio_request *req;
	int result;

	if (!is_available(flags, vq->avail_at))
		return 0;
	req = request_take(vq);
	if (!req)
		return -ENOMEM;
	result = chain_copy(vq, req, flags);
	if (!result)
		result = packed_map(vq, req);
	if (result) {
		request_give(vq, req);
		return result;
	}
	vq->avail_at = at_forward(vq, vq->avail_at, req->slots);
	vq->last_avail++;
	packed_link(vq, req);
	*out = req;
	return 1;
}

void packed_unpop(struct virtqueue *vq, struct virtio_request *req)
{
	request_unlink(req);
	vq->avail_at = at_back(vq, vq->avail_at, req->slots);
}

bool packed_any_waiting(const struct virtqueue *vq)
{
	return is_available(flags_load(vq, vq->avail_at), vq->avail_at);
}

uint16_t packed_waiting(const struct virtqueue *vq)
{
	unsigned int left = vq->size - slots_out(vq);
	uint16_t at = vq->avail_at, count = 0, flags;

	while (left && is_available(flags_load(vq, at), at)) {
		do {
			flags = flags_load(vq, at);
			at = at_forward(vq, at, 1);
			left--;
		} while (left && (flags & VRING_DESC_F_NEXT));
		count++;
	}
	return count;
}

/* ---- giving them back ---- */

/* The driver sees the first of a batch last of all: it looks at no other before that. */
void packed_push(struct virtqueue *vq, struct virtio_request *req, uint32_t written)
{
	const uint16_t flags = (uint16_t)((wrap_of(vq->used_at) ? AVAIL | USED : 0) | (written ? VRING_DESC_F_WRITE : 0));

	if (vq->desc_host) {
		struct packed_desc *desc = desc_at(vq, vq->used_at);

		desc->length = le32_of(written);
		desc->id = le16_of(req->head);
		if (vq->pending) {
			__atomic_store_n(&desc->flags.raw, htole16(flags), __ATOMIC_RELAXED);
		} else {
			vq->pending = true;
			vq->pending_at = vq->used_at;
			vq->pending_flags = flags;
		}
	}
	vq->used_at = at_forward(vq, vq->used_at, req->slots);
	vq->unsignalled = (uint16_t)(vq->unsignalled + req->slots);
	request_unlink(req);
	request_done(vq, req, written);
}

/* ---- notifications ---- */

static union packed_event event_load(const void *at)
{
	return (union packed_event){ .word = __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED) };
}

/* 2.8.10: whether the place that the driver named was passed since it was asked last. */
static bool wants_interrupt(struct virtqueue *vq)
{
	const union packed_event event = event_load(vq->avail_host);
	const uint16_t place = le16_get(event.place) ^ ODD_LAP, flags = le16_get(event.flags) & 3;
	const int passed = vq->unsignalled, back = slots_between(vq, place, vq->used_at);
	const bool valid = vq->signalled_valid;

	vq->unsignalled = 0;
	if (!vq->event_index || flags != VRING_PACKED_EVENT_FLAG_DESC)
		return flags != VRING_PACKED_EVENT_FLAG_DISABLE;
	vq->signalled_valid = true;
	return !valid || (back > 0 && back <= passed);
}

void packed_flush(struct virtqueue *vq)
{
	if (!vq->pending)
		return;
	vq->pending = false;
	/* The driver sees the batch before what shows it the batch. */
	__atomic_store_n(&desc_at(vq, vq->pending_at)->flags.raw, htole16(vq->pending_flags), __ATOMIC_RELEASE);
	/* That must be out before the driver's wish is read, or both sides may sleep. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (wants_interrupt(vq))
		queue_interrupt(vq);
}

static void event_store(struct virtqueue *vq, uint16_t place, uint16_t flags)
{
	const union packed_event event = { .place = le16_of(place), .flags = le16_of(flags) };

	__atomic_store_n((uint32_t *)vq->used_host, event.word, __ATOMIC_RELAXED);
	vq->kick_flags = flags;
}

void packed_ask_kick(struct virtqueue *vq)
{
	if (vq->event_index)
		event_store(vq, vq->avail_at ^ ODD_LAP, VRING_PACKED_EVENT_FLAG_DESC);
	else if (vq->kick_flags != VRING_PACKED_EVENT_FLAG_ENABLE)
		event_store(vq, 0, VRING_PACKED_EVENT_FLAG_ENABLE);
}

/* A place that lies behind asks for nothing, but once a lap. */
void packed_ask_no_kick(struct virtqueue *vq)
{
	if (vq->kick_flags != VRING_PACKED_EVENT_FLAG_DESC && vq->kick_flags != VRING_PACKED_EVENT_FLAG_DISABLE)
		event_store(vq, 0, VRING_PACKED_EVENT_FLAG_DISABLE);
}
