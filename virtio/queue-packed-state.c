/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a packed ring is, and what of it is in flight: for back ends, and as saved state.
 *
 * What was popped can't be read from the ring again, as a split one's can: used descriptors may lie there. So the copies
 * of the chains are saved, and packed_retake() takes a request out of these.
 */
#include <string.h>

#include "kvm/log.h"
#include "virtio/queue-packed.h"

#define SAVED_SECTION	"virtqueue in flight"

/* Requests that were saved, as read: each a head, a number of descriptors, and these. */
struct packed_saved {
	size_t length;
	uint8_t bytes[];
};

struct saved_request {
	le16 head, slots;
};

void packed_reset(struct virtqueue *vq)
{
	free(vq->saved);
	vq->saved = NULL;
	vq->taken = NULL;
	vq->avail_at = vq->used_at = 0;
	vq->unsignalled = vq->pending_at = vq->pending_flags = vq->kick_flags = 0;
	vq->pending = false;
}

/* ---- rings that somebody else works on ---- */

uint32_t packed_base(const struct virtqueue *vq)
{
	return (uint32_t)(vq->used_at ^ ODD_LAP) << 16 | (vq->avail_at ^ ODD_LAP);
}

int packed_set_base(struct virtqueue *vq, uint32_t base)
{
	const uint16_t avail = (uint16_t)(base ^ ODD_LAP), used = (uint16_t)(base >> 16 ^ ODD_LAP);

	vq->signalled_valid = false;
	if (!places_possible(vq, used, avail))
		return -EPROTO;
	vq->avail_at = avail;
	vq->used_at = used;
	return 0;
}

/* ---- saved state ---- */

static const struct state_field place_fields[] = {
	STATE_U16(struct virtqueue, avail_at),
	STATE_U16(struct virtqueue, used_at),
};
STATE_TABLE(place_table, "virtqueue packed", 1, place_fields);

/* The one of them that begins at byte @at; 0: none does. */
static size_t saved_at(const struct packed_saved *saved, size_t at, struct saved_request *request)
{
	size_t length;

	if (saved->length - at < sizeof(*request))
		return 0;
	memcpy(request, saved->bytes + at, sizeof(*request));
	length = sizeof(*request) + le16_get(request->slots) * sizeof(struct packed_desc);
	return le16_get(request->slots) && saved->length - at >= length ? length : 0;
}

int packed_retake(struct virtqueue *vq, uint16_t head, struct virtio_request **out)
{
	struct virtio_request *req;
	struct saved_request saved;
	size_t at = 0, length = 0;
	int result;

	while (vq->saved && (length = saved_at(vq->saved, at, &saved)) && le16_get(saved.head) != head)
		at += length;
	if (!length)
		return virtqueue_fail(vq, "a request that was not in flight");
	req = request_take(vq);
	if (!req)
		return -ENOMEM;
	req->head = head;
	req->slots = le16_get(saved.slots);
	result = packed_reserve(req, req->slots);
	if (!result) {
		memcpy(req->chain, vq->saved->bytes + at + sizeof(saved), length - sizeof(saved));
		result = packed_map(vq, req);
	}
	if (result) {
		request_give(vq, req);
		return result;
	}
	vq->saved->length -= length;
	memmove(vq->saved->bytes + at, vq->saved->bytes + at + length, vq->saved->length - at);
	packed_link(vq, req);
	*out = req;
	return 0;
}

static size_t request_saved_length(const struct virtio_request *req)
{
	return sizeof(struct saved_request) + req->slots * sizeof(*req->chain);
}

void packed_save(const struct virtqueue *vq, struct state_writer *writer)
{
	size_t length = vq->saved ? vq->saved->length : 0;
	_cleanup_free_ uint8_t *bytes = NULL;
	uint8_t *at;

	for (const struct virtio_request *req = vq->taken; req; req = req->next)
		length += request_saved_length(req);
	bytes = at = malloc(MAX(length, (size_t)1));
	if (!bytes) {
		writer->error = -ENOMEM;
		return;
	}
	if (vq->saved) {
		memcpy(at, vq->saved->bytes, vq->saved->length);
		at += vq->saved->length;
	}
	for (const struct virtio_request *req = vq->taken; req; req = req->next) {
		const struct saved_request saved = { le16_of(req->head), le16_of(req->slots) };

		memcpy(at, &saved, sizeof(saved));
		memcpy(at + sizeof(saved), req->chain, req->slots * sizeof(*req->chain));
		at += request_saved_length(req);
	}
	state_save(writer, &place_table, vq);
	state_save_blob(writer, SAVED_SECTION, bytes, length);
}

/* Their descriptors lie between the two places: more would let the used one overtake the other. */
static int saved_check(const struct virtqueue *vq)
{
	unsigned int slots = 0;
	struct saved_request saved;
	size_t at = 0, length;

	while ((length = saved_at(vq->saved, at, &saved))) {
		slots += le16_get(saved.slots);
		at += length;
	}
	if (at != vq->saved->length || slots > slots_out(vq))
		return log_error(EINVAL, "saved state: requests of a packed virtqueue that it can't have");
	return 0;
}

int packed_load(struct virtqueue *vq, struct state_reader *reader)
{
	const size_t most = (sizeof(struct packed_desc) + sizeof(struct saved_request)) * (size_t)vq->size;
	int result = state_load(reader, &place_table, vq);

	if (result)
		return result;
	if (!places_possible(vq, vq->used_at, vq->avail_at))
		return log_error(EINVAL, "saved state: a packed virtqueue that can't be where it is");
	free(vq->saved);
	vq->saved = malloc(sizeof(*vq->saved) + most);
	if (!vq->saved)
		return -ENOMEM;
	result = state_load_blob(reader, SAVED_SECTION, vq->saved->bytes, most, &vq->saved->length);
	return result ? result : saved_check(vq);
}
