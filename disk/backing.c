/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An image and what lies behind it: what the one holds is written to the other, or something else is put behind it.
 */
#include <limits.h>
#include <string.h>
#include <sys/stat.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/log.h"
#include "kvm/option.h"

#define PIECE	MIB(1)

static int tell(struct image_progress *progress, uint64_t done, uint64_t total)
{
	return progress ? progress->at(progress, done, total) : 0;
}

/* ---- commit ---- */

static int commit_extent(struct image *from, struct image *to, uint64_t at, struct image_extent *extent, uint8_t *buffer)
{
	int result;

	if (!extent->allocated)
		return 0;
	if (extent->zero)
		return image_write_zeroes(to, at, extent->length);
	extent->length = MIN(extent->length, PIECE);
	result = image_read(from, at, buffer, (size_t)extent->length);
	return result ? result : image_write(to, at, buffer, (size_t)extent->length);
}

static int commit_all(struct image *from, struct image *to, struct image_progress *progress)
{
	uint64_t size = disk_info(from->disk)->size;
	_cleanup_free_ uint8_t *buffer = NULL;
	struct image_extent extent = { .length = 0 };
	int result = disk_info(to->disk)->size < size ? image_resize(to, size, false) : 0;

	if (result)
		return result;
	buffer = malloc(PIECE);
	if (!buffer)
		return log_errno(ENOMEM, "disk '%s'", from->disk->file->path);
	for (uint64_t at = 0; at < size && !result; at += extent.length) {
		result = tell(progress, at, size);
		if (!result)
			result = image_map(from, at, size - at, &extent);
		if (!result)
			result = commit_extent(from, to, at, &extent, buffer);
	}
	return result ? result : image_flush(to);
}

static int commit_open(struct image *image, struct image_progress *progress)
{
	const struct disk *disk = image->disk;
	char path[PATH_MAX];
	struct disk_options options = { .path = path, .format = (char *)(uintptr_t)disk->backing_format, .beneath = disk->folder,
					.backing_any = disk->backing_any };
	struct image to;
	int result, closed;

	if (!disk->backing_name)
		return log_error(EINVAL, "disk '%s': nothing lies behind it that it could be written to", disk->file->path);
	result = disk_resolve(disk->file->path, disk->backing_name, path, sizeof(path));
	if (!result)
		result = image_open(&to, &options);
	if (result)
		return result;
	result = commit_all(image, &to, progress);
	closed = image_close(&to);
	return result ? result : closed;
}

int image_commit(const struct disk_options *given, bool keep, struct image_progress *progress)
{
	struct disk_options options = *given;
	struct image image;
	int result, closed;

	/* what is behind it is written to: it can't be open here as well */
	options.alone = true;
	result = image_open(&image, &options);
	if (result)
		return result;
	result = commit_open(&image, progress);
	if (!result && !keep)
		result = image.disk->format->empty(image.disk);
	closed = image_close(&image);
	return result ? result : closed;
}

/* ---- rebase ---- */

static int extent_of(struct image *image, uint64_t at, uint64_t length, struct image_extent *extent)
{
	uint64_t size = image->disk ? disk_info(image->disk)->size : 0;

	if (at < size)
		return image_map(image, at, MIN(length, size - at), extent);
	*extent = (struct image_extent){ .length = length, .zero = true };
	return 0;
}

/* What @image showed at a place that is not its own it goes on showing, with @behind behind it. */
static int rebase_extent(struct image *image, struct image *behind, uint64_t at, struct image_extent *shown, uint8_t *buffer)
{
	struct image_extent extent = { .length = 0 };
	int result = extent_of(behind, at, shown->length, &extent);

	if (result)
		return result;
	shown->length = MIN(shown->length, extent.length);
	if (shown->zero)
		return extent.zero ? 0 : image_write_zeroes(image, at, shown->length);
	shown->length = MIN(shown->length, PIECE);
	result = image_read(image, at, buffer, (size_t)shown->length);
	if (!result && !extent.zero)
		result = image_read(behind, at, buffer + PIECE, (size_t)shown->length);
	if (result || (!extent.zero && !memcmp(buffer, buffer + PIECE, (size_t)shown->length)))
		return result;
	return image_write(image, at, buffer, (size_t)shown->length);
}

static int rebase_all(struct image *image, struct image *behind, struct image_progress *progress)
{
	uint64_t size = disk_info(image->disk)->size;
	_cleanup_free_ uint8_t *buffer = malloc(2 * PIECE);
	struct image_extent extent = { .length = 0 };
	int result = 0;

	if (!buffer)
		return log_errno(ENOMEM, "disk '%s'", image->disk->file->path);
	for (uint64_t at = 0; at < size && !result; at += extent.length) {
		result = tell(progress, at, size);
		if (!result)
			result = image_map(image, at, size - at, &extent);
		if (!result && !(extent.allocated && !extent.depth))
			result = rebase_extent(image, behind, at, &extent, buffer);
	}
	return result ? result : image_flush(image);
}

/* The name as it is to stand in the image; what is there must be an image, and a chain that doesn't come back. */
static int rebase_open(struct image *image, const struct image_rebase *how, struct image *behind)
{
	char path[PATH_MAX];
	struct disk_options options = { .path = path, .format = (char *)(uintptr_t)how->format, .read_only = true,
					.backing_any = image->disk->backing_any };
	struct stat status, other;
	int result = disk_resolve(image->disk->file->path, how->name, path, sizeof(path));

	if (result)
		return result;
	if (!stat(path, &status) && !fstat(image->disk->file->fd, &other) && status.st_dev == other.st_dev && status.st_ino == other.st_ino)
		return log_error(ELOOP, "disk '%s': can't lie behind itself", image->disk->file->path);
	return image_open(behind, &options);
}

static int rebase(struct image *image, const struct image_rebase *how, struct image_progress *progress)
{
	const char *format = how->format;
	struct image behind = { NULL, NULL };
	int result = 0;

	if (!image->disk->format->set_backing)
		return log_error(ENOTSUP, "disk '%s': nothing can lie behind a %s image (but behind a qcow2 one)", image->disk->file->path,
				 image->disk->format->name);
	if (how->name && (!how->unsafe || !format))
		result = rebase_open(image, how, &behind);
	if (!result && behind.disk)
		format = behind.disk->format->name;
	if (!result && !how->unsafe)
		result = rebase_all(image, &behind, progress);
	(void)image_close(&behind);
	return result ? result : image->disk->format->set_backing(image->disk, how->name, format);
}

int image_rebase(const struct disk_options *given, const struct image_rebase *how, struct image_progress *progress)
{
	struct disk_options options = *given;
	struct image image;
	int result, closed;

	options.alone = how->unsafe;
	result = image_open(&image, &options);
	if (result)
		return result;
	result = rebase(&image, how, progress);
	closed = image_close(&image);
	return result ? result : closed;
}
