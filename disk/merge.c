/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Neighbours of one batch become one request: a read or write behind the other in the file is one call to the host
 * instead of two. On the disk's loop.
 *
 * Guests merge what they have in their own queues; what is left for here comes from several queues, from guests that
 * don't, and from formats, whose parts lie side by side more often than the guest's requests. It stops at a size from
 * which on a call more is no matter, so that nothing waits for a long transfer that isn't its own.
 */
#include <stdlib.h>
#include <string.h>

#include "disk/engine.h"
#include "disk/file.h"

#define MERGE_BYTES	KIB(256)
#define MERGE_SEGMENTS	128u

struct merged {
	struct disk_request io;
	struct disk_request *parts;
	struct iovec iov[];
};

/* Of all that failed none may suffer for its neighbour: each is tried by itself. */
static void merged_done(struct disk_request *io, int result)
{
	struct merged *merged = container_of(io, struct merged, io);
	struct disk_engine *engine = io->engine;
	struct disk_request *part = merged->parts, *next;

	free(merged);
	for (; part; part = next) {
		next = part->next;
		if (result)
			disk_engine_again(engine, part);
		else
			disk_complete(part, 0);
	}
}

static bool mergeable(const struct disk_request *request)
{
	return (request->op == DISK_READ || request->op == DISK_WRITE) && request->length && !request->alone;
}

/* How many requests from @first on make one; what they have in segments and bytes. */
static unsigned int run_length(const struct disk_request *first, unsigned int *segments, uint64_t *length)
{
	unsigned int count = 1;

	*segments = first->iov_count;
	*length = first->length;
	for (const struct disk_request *next = first->next; next; next = next->next, count++) {
		if (next->op != first->op || next->fua != first->fua || next->offset != first->offset + *length ||
		    next->iov_count > MERGE_SEGMENTS - *segments || next->length > MERGE_BYTES - *length || !mergeable(next) ||
		    (first->file->direct && !disk_request_aligned(next)))
			break;
		*segments += next->iov_count;
		*length += next->length;
	}
	return count;
}

/* The first request of a list, or one made of it and those behind it; *@rest is what is left. */
static struct disk_request *merge_first(struct disk_engine *engine, struct disk_request *first, struct disk_request **rest)
{
	struct disk_request *last = first;
	struct merged *merged = NULL;
	unsigned int segments, count = 1;
	uint64_t length;

	if (mergeable(first) && first->next && first->iov_count < MERGE_SEGMENTS && first->length < MERGE_BYTES &&
	    (!first->file->direct || disk_request_aligned(first)))
		count = run_length(first, &segments, &length);
	if (count > 1)
		merged = malloc(sizeof(*merged) + segments * sizeof(merged->iov[0]));
	if (!merged) {
		*rest = first->next;
		return first;
	}
	merged->io = *first;
	merged->io.length = length;
	merged->io.iov = merged->iov;
	merged->io.iov_count = 0;
	merged->io.done = merged_done;
	merged->parts = first;
	for (struct disk_request *part = first; count--; part = part->next) {
		memcpy(merged->iov + merged->io.iov_count, part->iov, part->iov_count * sizeof(merged->iov[0]));
		merged->io.iov_count += part->iov_count;
		last = part;
	}
	*rest = last->next;
	last->next = NULL;
	engine->in_flight++;
	return &merged->io;
}

struct disk_request *disk_merge(struct disk_engine *engine, struct disk_request *requests)
{
	struct disk_request *list = NULL, **tail = &list;

	while (requests) {
		struct disk_request *request = merge_first(engine, requests, &requests);

		request->next = NULL;
		*tail = request;
		tail = &request->next;
	}
	return list;
}
