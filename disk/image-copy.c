/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Copying and comparing the disks in images, by what their maps say is there: neither holes nor blocks of zeroes are
 * written, and holes are not read.
 */
#include <string.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/io.h"
#include "kvm/log.h"
#include "kvm/option.h"

#define PIECE	MIB(2)		/* read, written and compared at once; a multiple of every unit */
#define BLOCK	4096u		/* zeroes of which are left out */

static int tell(struct image_progress *progress, uint64_t done, uint64_t total)
{
	return progress ? progress->at(progress, done, total) : 0;
}

/* ---- copies ---- */

/* Writes the runs of @bytes that are not zero, block by block. */
static int copy_sparse(struct image *to, uint64_t offset, const uint8_t *bytes, size_t length)
{
	int result = 0;

	for (size_t at = 0, end; at < length && !result; at = end) {
		bool zero = bytes_are_zero(bytes + at, MIN(length - at, (size_t)BLOCK));

		for (end = at + BLOCK; end < length; end += BLOCK)
			if (bytes_are_zero(bytes + end, MIN(length - end, (size_t)BLOCK)) != zero)
				break;
		end = MIN(end, length);
		if (!zero)
			result = image_write(to, offset + at, bytes + at, end - at);
	}
	return result;
}

/* @length bytes of data; zeroes among them too where the target doesn't have them by itself. */
static int copy_data(struct image *from, struct image *to, uint64_t offset, size_t length, bool zeroed, uint8_t *buffer)
{
	int result = image_read(from, offset, buffer, length);

	if (result)
		return result;
	if (!zeroed && bytes_are_zero(buffer, length))
		return image_write_zeroes(to, offset, length);
	return zeroed ? copy_sparse(to, offset, buffer, length) : image_write(to, offset, buffer, length);
}

static int copy_plain(struct image *from, struct image *to, const struct image_copy *how, uint8_t *buffer)
{
	uint64_t size = disk_info(from->disk)->size;
	struct image_extent extent;
	int result = 0;

	for (uint64_t at = 0; at < size && !result; at += extent.length) {
		result = tell(how->progress, at, size);
		if (!result)
			result = image_map(from, at, MIN(size - at, GIB(1)), &extent);
		if (result)
			break;
		if (!extent.zero)
			extent.length = MIN(extent.length, PIECE - (at & (PIECE - 1)));
		if (!extent.zero)
			result = copy_data(from, to, at, (size_t)extent.length, how->zeroed, buffer);
		else if (!how->zeroed)
			result = image_write_zeroes(to, at, extent.length);
	}
	return result;
}

/* How far, from @offset on, there is nothing but zeroes by the map. */
static int zeroes_at(struct image *image, uint64_t offset, uint64_t length, uint64_t *zeroes)
{
	struct image_extent extent;

	for (*zeroes = 0; *zeroes < length; *zeroes += extent.length) {
		int result = image_map(image, offset + *zeroes, length - *zeroes, &extent);

		if (result)
			return result;
		if (!extent.zero)
			break;
	}
	return 0;
}

static int copy_compressed(struct image *from, struct image *to, const struct image_copy *how, uint8_t *buffer)
{
	uint64_t size = disk_info(from->disk)->size, unit = to->disk->compress_unit, zeroes;
	int result = 0;

	for (uint64_t at = 0; at < size && !result;) {
		size_t length = (size_t)MIN(unit, size - at);

		result = tell(how->progress, at, size);
		if (!result)
			result = zeroes_at(from, at, MIN(size - at, ALIGN_UP(GIB(1), unit)), &zeroes);
		if (result)
			break;
		if (zeroes >= length) {
			at += zeroes == size - at ? zeroes : ALIGN_DOWN(zeroes, unit);
			continue;
		}
		result = image_read(from, at, buffer, length);
		if (!result && !bytes_are_zero(buffer, length))
			result = to->disk->format->compress(to->disk, at, buffer, length);
		at += length;
	}
	return result;
}

int image_copy(struct image *from, struct image *to, const struct image_copy *how)
{
	const struct disk *disk = to->disk;
	_cleanup_free_ uint8_t *buffer = NULL;

	if (how->compress && (!disk->format->compress || !how->zeroed))
		return log_error(EUSAGE, "disk '%s': %s images can't be compressed (say qcow2)", disk->file->path, disk->format->name);
	buffer = malloc(PIECE);
	if (!buffer)
		return log_errno(ENOMEM, "disk '%s'", disk->file->path);
	return how->compress ? copy_compressed(from, to, how, buffer) : copy_plain(from, to, how, buffer);
}

/* ---- comparisons ---- */

/* As image_map(), zeroes past the end. */
static int compare_map(struct image *image, uint64_t offset, uint64_t length, struct image_extent *extent)
{
	uint64_t size = disk_info(image->disk)->size;

	if (offset < size)
		return image_map(image, offset, MIN(length, size - offset), extent);
	*extent = (struct image_extent){ .length = length, .zero = true };
	return 0;
}

static int compare_piece(struct image *a, struct image *b, uint64_t offset, size_t length, uint8_t *buffer,
			 struct image_difference *found)
{
	uint8_t *other = buffer + PIECE;
	int result = image_read(a, offset, buffer, length);

	if (!result)
		result = image_read(b, offset, other, length);
	if (result || !memcmp(buffer, other, length))
		return result;
	found->contents = true;
	found->offset = offset;
	for (size_t i = 0; buffer[i] == other[i]; i++)
		found->offset++;
	return 0;
}

int image_compare(struct image *a, struct image *b, struct image_progress *progress, struct image_difference *found)
{
	uint64_t size = MAX(disk_info(a->disk)->size, disk_info(b->disk)->size);
	_cleanup_free_ uint8_t *buffer = malloc(2 * PIECE);
	struct image_extent first, second;
	int result = 0;

	if (!buffer)
		return log_errno(ENOMEM, "disk '%s'", a->disk->file->path);
	*found = (struct image_difference){ .sizes = disk_info(a->disk)->size != disk_info(b->disk)->size };
	for (uint64_t at = 0, length; at < size && !result && !found->contents; at += length) {
		result = tell(progress, at, size);
		if (!result)
			result = compare_map(a, at, size - at, &first);
		if (!result)
			result = compare_map(b, at, size - at, &second);
		if (result)
			break;
		length = MIN(first.length, second.length);
		if (first.zero && second.zero)
			continue;
		length = MIN(length, PIECE);
		result = compare_piece(a, b, at, (size_t)length, buffer, found);
	}
	return result;
}
