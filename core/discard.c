/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory given back to the host: holes punched into the RAM file, for balloons and their like.
 *
 * The guest's next touch of such a page gets a fresh one, of zeroes. A host page goes as a whole or not at all. Any
 * thread, inside RCU read sections, as core/memory.c.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "kvm/memory.h"
#include "kvm/rcu.h"

/* The whole pages in [offset, offset + length) of @region, which the caller has found there. */
static int64_t region_discard(const struct region *region, uint64_t offset, uint64_t length)
{
	uint64_t page = region->discard_page;
	/* The file's pages are aligned in the file; anonymous memory's in the address space. */
	uint64_t origin = region->fd >= 0 ? region->fd_offset : (uintptr_t)region->host;
	uint64_t begin = ALIGN_UP(origin + offset, page), end = ALIGN_DOWN(origin + offset + length, page);
	int result;

	if (end <= begin)
		return 0;
	if (region->fd >= 0)
		result = fallocate(region->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, (off_t)begin,
				   (off_t)(end - begin));
	else
		result = madvise((char *)region->host + (begin - origin), end - begin, MADV_DONTNEED);
	return result < 0 ? -errno : (int64_t)(end - begin);
}

static bool may_discard(const struct flat_range *range)
{
	return range->region->kind == REGION_RAM && range->region->discard_page;
}

int64_t memory_discard(struct address_space *space, gpa_t from, uint64_t length)
{
	uint64_t at = from.value, part;
	int64_t sum = 0, given;
	RCU_READ_SCOPE();

	if (length && at + (length - 1) < at)
		return -EFAULT;
	for (; length; at += part, length -= part) {
		const struct flat_range *range = address_space_find(space, at);

		if (!range || !may_discard(range))
			return -EFAULT;
		part = MIN(length, range->size - (at - range->base));
		given = region_discard(range->region, range->offset + (at - range->base), part);
		if (given < 0)
			return given;
		sum += given;
	}
	return sum;
}

int64_t memory_discard_segment(struct address_space *space, const struct iovec *segment)
{
	const uintptr_t from = (uintptr_t)segment->iov_base, to = from + segment->iov_len;
	const struct flat_view *view;
	int64_t sum = 0, given;
	RCU_READ_SCOPE();

	view = atomic_load(&space->view);
	for (size_t i = 0; i < view->count; i++) {
		const struct flat_range *range = &view->ranges[i];
		uintptr_t host = (uintptr_t)range->region->host + range->offset;
		uintptr_t begin = MAX(from, host), end = MIN(to, host + (uintptr_t)range->size);

		if (!may_discard(range) || begin >= end)
			continue;
		given = region_discard(range->region, range->offset + (begin - host), end - begin);
		if (given < 0)
			return given;
		sum += given;
	}
	return sum;
}
