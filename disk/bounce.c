/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bounce buffers: for direct I/O from and to memory that isn't aligned to the file's blocks, and for the rest of a
 * request that came back short. On the disk's loop.
 *
 * A guest chooses the size of its requests, but not how much memory they take here.
 */
#include <stdlib.h>
#include <string.h>

#include "disk/engine.h"
#include "disk/file.h"

#define BOUNCE_BYTES	MIB(1)		/* a longer request goes through in pieces */
#define BOUNCES		16		/* at once; what is more waits */

bool disk_request_aligned(const struct disk_request *request)
{
	size_t mask = request->file->block_size - 1;

	for (unsigned int i = 0; i < request->iov_count; i++)
		if (((uintptr_t)request->iov[i].iov_base | request->iov[i].iov_len) & mask)
			return false;
	return true;
}

/* Moves @left bytes of the request, behind what is done: to the buffer (@out) or from it. */
static void bounce_copy(struct disk_request *request, uint64_t left, bool out)
{
	uint64_t skip = request->moved;
	char *at = request->bounce;

	for (unsigned int i = 0; i < request->iov_count && left; i++) {
		size_t skipped = (size_t)MIN(skip, (uint64_t)request->iov[i].iov_len);
		size_t part = (size_t)MIN((uint64_t)request->iov[i].iov_len - skipped, left);
		char *guest = (char *)request->iov[i].iov_base + skipped;

		memcpy(out ? at : guest, out ? guest : at, part);
		skip -= skipped;
		at += part;
		left -= part;
	}
}

int disk_bounce_make(struct disk_engine *engine, struct disk_request *request)
{
	size_t length = (size_t)MIN(request->length - request->moved, BOUNCE_BYTES);

	if (engine->bounces == BOUNCES)
		return -EAGAIN;
	if (posix_memalign(&request->bounce, 4096, length)) {
		request->bounce = NULL;
		return -ENOMEM;
	}
	engine->bounces++;
	request->bounce_iov = (struct iovec){ request->bounce, length };
	if (request->op == DISK_WRITE)
		bounce_copy(request, length, true);
	return 0;
}

void disk_bounce_end(struct disk_engine *engine, struct disk_request *request, uint64_t length)
{
	if (request->op == DISK_READ)
		bounce_copy(request, length, false);
	free(request->bounce);
	request->bounce = NULL;
	engine->bounces--;
}
