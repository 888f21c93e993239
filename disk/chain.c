/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks behind disks: opening what an image refers to, and where in the chain a range lies.
 *
 * The names stand in images and are hostile: see disk_confine() for where they may lead.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "disk/remote.h"
#include "kvm/log.h"

/* ---- names ---- */

int disk_resolve(const char *image, const char *name, char *path, size_t size)
{
	const char *slash = strrchr(image, '/'), *colon = strchr(name, ':');
	int folder = slash && *name != '/' ? (int)(slash - image) + 1 : 0;

	if (colon && (!strchr(name, '/') || colon < strchr(name, '/'))) {
		if (strncmp(name, "file:", 5))
			return log_error(ENOTSUP, "disk '%s': refers to '%s', which is not a file", image, name);
		return disk_resolve(image, name + 5, path, size);
	}
	if (disk_is_remote(image) && *name != '/')
		return log_error(ENOTSUP, "disk '%s': refers to '%s', and a server's image has no folder where that could be", image, name);
	if (!*name || snprintf(path, size, "%.*s%s", folder, image, name) >= (int)size)
		return log_error(ENAMETOOLONG, "disk '%s': the name of a file it refers to is empty or too long", image);
	return 0;
}

static bool same_file(const struct disk_file *a, const struct disk_file *b)
{
	struct stat first, second;

	return !fstat(a->fd, &first) && !fstat(b->fd, &second) && first.st_dev == second.st_dev && first.st_ino == second.st_ino;
}

/* ---- opening ---- */

/* Before the file is opened: a loop would stop at a lock, which says less. */
static int chain_check(const struct disk *disk, const char *path)
{
	const struct disk *front = disk;
	struct stat status, other;
	unsigned int depth = 1;

	for (; front->parent; front = front->parent)
		depth++;
	if (depth >= DISK_CHAIN_MAX)
		return log_error(ELOOP, "disk '%s': more than %d images behind one another", front->file->path, DISK_CHAIN_MAX);
	if (stat(path, &status))
		return 0;
	for (front = disk; front; front = front->parent)
		if (!fstat(front->file->fd, &other) && other.st_dev == status.st_dev && other.st_ino == status.st_ino)
			return log_error(ELOOP, "disk '%s': lies behind itself (by its backing file '%s')", front->file->path, path);
	return 0;
}

int disk_open_backing(struct disk *disk, const char *name, const char *format)
{
	struct disk_options options = {
		.format = (char *)(uintptr_t)format, .read_only = true, .direct = disk->direct, .backing_any = disk->backing_any,
	};
	char path[PATH_MAX];
	int result;

	if (disk->alone)
		return 0;
	result = disk_resolve(disk->file->path, name, path, sizeof(path));
	if (!result)
		result = chain_check(disk, path);
	options.path = path;
	return result ? result : disk_open_chained(&disk->backing, &options, disk);
}

int disk_open_beside(struct disk *disk, const char *name, struct disk_file **file)
{
	char path[PATH_MAX];
	const struct disk_file_options options = {
		.path = path, .beneath = disk->folder, .read_only = disk->info.read_only, .direct = disk->direct,
	};
	int result = disk_resolve(disk->file->path, name, path, sizeof(path));

	if (!result)
		result = disk_file_open(file, &options);
	if (!result && !same_file(*file, disk->file))
		disk->beside = *file;
	if (result || disk->beside)
		return result;
	disk_file_close(*file);
	*file = NULL;
	return log_error(ELOOP, "disk '%s': its data file is the image itself", disk->file->path);
}

/* ---- reading ---- */

/* A file may end inside what an image says it holds. */
static void extent_clip(struct disk_extent *extent)
{
	if (extent->kind != DISK_EXTENT_DATA)
		return;
	if (extent->offset >= extent->file->size)
		extent->kind = DISK_EXTENT_ZERO;
	else
		extent->length = MIN(extent->length, extent->file->size - extent->offset);
}

int disk_map(struct disk *disk, uint64_t offset, uint64_t length, struct disk_extent *extent)
{
	for (;; disk = disk->backing, length = extent->length) {
		int result;

		/* A backing disk may be the shorter one. */
		if (!disk || offset >= disk->info.size) {
			*extent = (struct disk_extent){ .kind = DISK_EXTENT_ZERO, .length = length };
			return 0;
		}
		result = disk->format->map(disk, offset, MIN(length, disk->info.size - offset), extent);
		if (result)
			return result;
		extent->disk = disk;
		if (extent->kind != DISK_EXTENT_HOLE)
			break;
	}
	extent_clip(extent);
	return 0;
}

int disk_reads_as_zeroes(struct disk *disk, uint64_t offset, uint64_t length, bool *zeroes)
{
	*zeroes = true;
	while (length && *zeroes) {
		struct disk_extent extent;
		int result = disk_map(disk, offset, length, &extent);

		if (result)
			return result;
		*zeroes = extent.kind == DISK_EXTENT_ZERO;
		offset += extent.length;
		length -= extent.length;
	}
	return 0;
}

static int extent_read(const struct disk_extent *extent, uint8_t *buffer, size_t length)
{
	const uint8_t *expanded;
	int result;

	switch (extent->kind) {
	case DISK_EXTENT_DATA:
		return disk_file_read(extent->file, extent->offset, buffer, length);
	case DISK_EXTENT_COMPRESSED:
		result = extent->disk->format->expand(extent->disk, extent->entry, &expanded);
		if (!result)
			memcpy(buffer, expanded + extent->skip, length);
		return result;
	default:
		memset(buffer, 0, length);
		return 0;
	}
}

int disk_read(struct disk *disk, uint64_t offset, void *buffer, size_t length)
{
	uint8_t *at = buffer;
	int result = 0;

	while (length && !result) {
		struct disk_extent extent;

		result = disk_map(disk, offset, length, &extent);
		if (result)
			break;
		result = extent_read(&extent, at, (size_t)extent.length);
		at += extent.length;
		offset += extent.length;
		length -= (size_t)extent.length;
	}
	return result;
}
