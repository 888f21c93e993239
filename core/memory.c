/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Look-ups in an address space: device I/O for vCPU exits, and the checked accessors to guest memory.
 *
 * All of it runs on any thread without a lock, inside RCU read sections.
 */
#include "kvm/memory.h"

#include <string.h>

#include "kvm/rcu.h"

/* The view of now, for one whole access: it must not change between a check and the use. Inside a read section. */
static const struct flat_view *space_view(struct address_space *space)
{
	/* seq_cst: see space_update_locked(). */
	return atomic_load(&space->view);
}

const struct flat_range *flat_view_find(const struct flat_view *view, uint64_t address)
{
	size_t low = 0, high = view->count;

	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const struct flat_range *range = &view->ranges[middle];

		if (address < range->base)
			high = middle;
		else if (address - range->base < range->size)
			return range;
		else
			low = middle + 1;
	}
	return NULL;
}

const struct flat_range *address_space_find(struct address_space *space, uint64_t address)
{
	return flat_view_find(space_view(space), address);
}

/* ---- device I/O ---- */

/* The largest piece a device takes at @offset with @left bytes to go; 0 if it takes none. */
static unsigned int io_piece(const struct io_ops *ops, uint64_t offset, unsigned int left)
{
	unsigned int size = ops->max_size ? ops->max_size : 8;

	while (size > left || (offset & (size - 1)))
		size >>= 1;
	return size < ops->min_size ? 0 : size;
}

static uint64_t io_mask(unsigned int size)
{
	return size >= 8 ? ~0ULL : (1ULL << (size * 8)) - 1;
}

static uint64_t region_read(const struct flat_range *range, uint64_t offset, unsigned int size)
{
	const struct region *region = range->region;
	uint64_t value = 0;

	if (region->kind != REGION_IO) {
		memcpy(&value, (const char *)region->host + offset, size);
		return le64toh(value);
	}
	for (unsigned int done = 0, piece; done < size; done += piece) {
		piece = region->ops->read ? io_piece(region->ops, offset + done, size - done) : 0;
		if (!piece)
			return value | ~io_mask(done);
		value |= (region->ops->read(region->device, offset + done, piece) & io_mask(piece)) << (done * 8);
	}
	return value;
}

static void region_write(struct address_space *space, const struct flat_range *range, uint64_t offset, unsigned int size, uint64_t value)
{
	struct region *region = range->region;

	if (region->kind == REGION_ROM)
		return;
	if (region->kind == REGION_RAM) {
		value = htole64(value);
		memcpy((char *)region->host + offset, &value, size);
		memory_dirty(space, (char *)region->host + offset, size);
		return;
	}
	for (unsigned int done = 0, piece; done < size; done += piece) {
		piece = region->ops->write ? io_piece(region->ops, offset + done, size - done) : 0;
		if (!piece)
			return;
		region->ops->write(region->device, offset + done, (value >> (done * 8)) & io_mask(piece), piece);
	}
	if (region->coalesced)
		region_count_coalesced(region, offset);
}

/*
 * The next piece of an access of @left bytes at @address, of which @done are through: *@part bytes in one range, or
 * one byte that nobody takes (NULL), as all past 2^64.
 */
static const struct flat_range *io_part(const struct flat_view *view, uint64_t address, unsigned int done,
					unsigned int left, unsigned int *part)
{
	uint64_t at = address + done;
	const struct flat_range *range = at < address ? NULL : flat_view_find(view, at);

	*part = range ? (unsigned int)MIN((uint64_t)left, range->size - (at - range->base)) : 1;
	return range;
}

bool space_io_read(struct address_space *space, uint64_t address, unsigned int size, uint64_t *value)
{
	const struct flat_view *view;
	bool taken = false;
	RCU_READ_SCOPE();

	view = space_view(space);
	*value = 0;
	for (unsigned int done = 0, part; done < size; done += part) {
		const struct flat_range *range = io_part(view, address, done, size - done, &part);
		uint64_t bytes = ~0ULL;

		if (range) {
			bytes = region_read(range, range->offset + (address + done - range->base), part);
			taken = true;
		}
		*value |= (bytes & io_mask(part)) << (done * 8);
	}
	return taken;
}

bool space_io_write(struct address_space *space, uint64_t address, unsigned int size, uint64_t value)
{
	const struct flat_view *view;
	bool taken = false;
	RCU_READ_SCOPE();

	view = space_view(space);
	for (unsigned int done = 0, part; done < size; done += part) {
		const struct flat_range *range = io_part(view, address, done, size - done, &part);

		if (range) {
			region_write(space, range, range->offset + (address + done - range->base), part, value >> (done * 8));
			taken = true;
		}
	}
	return taken;
}

/* ---- guest memory ---- */

/*
 * The host memory behind the guest's [at, at + length), as far as it is contiguous: *@part bytes.
 * NULL if @at is no memory of that kind.
 */
static char *memory_part(const struct flat_view *view, uint64_t at, uint64_t length, bool for_write, uint64_t *part)
{
	const struct flat_range *range = flat_view_find(view, at);
	uint64_t offset;

	if (!range || range->region->kind == REGION_IO || (for_write && range->region->kind != REGION_RAM))
		return NULL;
	offset = at - range->base;
	*part = MIN(length, range->size - offset);
	return (char *)range->region->host + range->offset + offset;
}

/* Whether all of it is memory of that kind. */
static bool memory_check(const struct flat_view *view, uint64_t at, uint64_t length, bool for_write)
{
	uint64_t part;

	if (length && at + (length - 1) < at)
		return false;
	for (; length; at += part, length -= part)
		if (!memory_part(view, at, length, for_write, &part))
			return false;
	return true;
}

int memory_read(struct address_space *space, gpa_t from, void *buffer, size_t length)
{
	const struct flat_view *view;
	uint64_t at = from.value, part;
	RCU_READ_SCOPE();

	view = space_view(space);
	if (length && at + (length - 1) < at)
		return -EFAULT;
	for (char *to = buffer; length; at += part, to += part, length -= part) {
		const char *host = memory_part(view, at, length, false, &part);

		if (!host)
			return -EFAULT;
		memcpy(to, host, part);
	}
	return 0;
}

int memory_write(struct address_space *space, gpa_t to, const void *buffer, size_t length)
{
	const struct flat_view *view;
	uint64_t at = to.value, part;
	RCU_READ_SCOPE();

	view = space_view(space);
	if (!memory_check(view, at, length, true))
		return -EFAULT;
	for (const char *from = buffer; length; at += part, from += part, length -= part) {
		char *host = memory_part(view, at, length, true, &part);

		if (!host)
			return -EFAULT;
		memcpy(host, from, part);
		memory_dirty(space, host, part);
	}
	return 0;
}

int memory_set(struct address_space *space, gpa_t to, int byte, size_t length)
{
	const struct flat_view *view;
	uint64_t at = to.value, part;
	RCU_READ_SCOPE();

	view = space_view(space);
	if (!memory_check(view, at, length, true))
		return -EFAULT;
	for (; length; at += part, length -= part) {
		char *host = memory_part(view, at, length, true, &part);

		if (!host)
			return -EFAULT;
		memset(host, byte, part);
		memory_dirty(space, host, part);
	}
	return 0;
}

int memory_iov(struct address_space *space, gpa_t at_gpa, uint64_t length, bool for_write,
	       struct iovec *iov, int max)
{
	const struct flat_view *view;
	uint64_t at = at_gpa.value, part;
	int count = 0;
	RCU_READ_SCOPE();

	view = space_view(space);
	if (length && at + (length - 1) < at)
		return -EFAULT;
	for (; length; at += part, length -= part) {
		char *host = memory_part(view, at, length, for_write, &part);

		if (!host)
			return -EFAULT;
		if (count && (char *)iov[count - 1].iov_base + iov[count - 1].iov_len == host) {
			iov[count - 1].iov_len += part;
			continue;
		}
		if (count == max)
			return -E2BIG;
		iov[count++] = (struct iovec){ .iov_base = host, .iov_len = part };
	}
	return count;
}

void *memory_window(struct address_space *space, gpa_t at, uint64_t length)
{
	uint64_t part;
	char *host;
	RCU_READ_SCOPE();

	host = memory_part(space_view(space), at.value, length, true, &part);
	return host && part == length ? host : NULL;
}
