/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks that leave their image as it is: what is written goes to a qcow2 image over it, one that is kept by name or
 * one that has lost its name already and goes with the disk.
 */
#include <limits.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/image.h"
#include "kvm/io.h"
#include "kvm/log.h"
#include "kvm/option.h"

/* The image as the overlay will read it; its chain is followed as far as @options let it. */
static struct disk_options base_options(const struct disk_options *options)
{
	return (struct disk_options){ .path = options->path, .format = options->format, .read_only = true,
				      .direct = options->direct, .backing_any = options->backing_any };
}

/* ---- one that goes ---- */

#define LAYER_PATH	32

/* What was written to such an overlay before: image @index of those, 0 being the newest. */
static struct disk_options layer_options(const struct disk_options *options, size_t index, char path[LAYER_PATH])
{
	snprintf(path, LAYER_PATH, "/proc/self/fd/%d", options->written[index]);
	return (struct disk_options){ .path = path, .shown = options->path, .format = (char *)(uintptr_t)"qcow2", .read_only = true,
				      .alone = true };
}

/* The disk may have grown since the image was made. */
static int size_of_newest(const struct disk_options *options, uint64_t *size)
{
	char path[LAYER_PATH];
	const struct disk_options layer = layer_options(options, 0, path);
	struct disk *disk;
	int result = disk_open(&disk, &layer);

	if (result)
		return result;
	*size = disk->info.size;
	disk_close(disk);
	return 0;
}

static int make_nameless(const struct disk *base, const struct disk_options *given, char *path, size_t size)
{
	struct image_options options = { .path = path, .format = "qcow2", .size = base->info.size, .force = true };
	int fd, result = given->written_count ? size_of_newest(given, &options.size) : 0;

	if (result)
		return result;
	fd = temporary_file(temporary_folder(), path, size);
	if (fd < 0)
		return log_errno(fd, "disk '%s': its overlay can't be made in '%s' (set $TMPDIR)", base->file->path, temporary_folder());
	close(fd);
	return image_create(&options);
}

/* ---- one that stays ---- */

static int make_named(const struct disk *base, const char *path)
{
	_cleanup_free_ char *real = disk_file_real_path(base->file);
	const struct image_options options = { .path = path, .format = "qcow2", .size = base->info.size, .backing = real,
					       .backing_format = base->format->name };

	if (base->file->remote_ops)
		return log_error(EUSAGE, "disk '%s': overlay= would refer to a server's image (say snapshot=on without it)",
				 base->file->path);
	if (!real)
		return log_errno(ENOMEM, "disk '%s'", base->file->path);
	return image_create(&options);
}

/* Of this image, and of no other: else the guest would see neither. */
static int check_named(const struct disk *overlay, const struct disk *base)
{
	struct stat status, other;
	char path[PATH_MAX];

	if (overlay->backing_name && !disk_resolve(overlay->file->path, overlay->backing_name, path, sizeof(path)) &&
	    !stat(path, &status) && !fstat(base->file->fd, &other) && status.st_dev == other.st_dev && status.st_ino == other.st_ino)
		return 0;
	return log_error(EUSAGE, "disk '%s': overlay '%s' is one of '%s' (say another name)", base->file->path, overlay->file->path,
			 overlay->backing_name ? overlay->backing_name : "no other image");
}

/* ---- both ---- */

/* What was written before lies between the image and the overlay. */
static int open_behind(struct disk *disk, const struct disk_options *options)
{
	const struct disk_options behind = base_options(options);
	char path[LAYER_PATH];
	int result = 0;

	for (size_t i = 0; i < options->written_count && !result; i++) {
		const struct disk_options layer = layer_options(options, i, path);

		result = disk_open_chained(&disk->backing, &layer, disk);
		disk = result ? disk : disk->backing;
	}
	return result ? result : disk_open_chained(&disk->backing, &behind, disk);
}

static int open_over(struct disk **out, const struct disk_options *options, const struct disk *base, const char *path)
{
	struct disk_options front = *options;
	struct disk *disk;
	int result;

	front.path = (char *)(uintptr_t)path;
	front.format = (char *)(uintptr_t)"qcow2";
	front.overlay = NULL;
	front.throw_away = false;
	front.written_count = 0;
	/* what is behind it is opened below, by what the user said of that */
	front.alone = true;
	/* of what goes with the disk, nothing has to reach a medium */
	front.no_flush |= options->throw_away;
	front.direct &= !options->throw_away;
	front.write_through &= !options->throw_away;
	result = disk_open(&disk, &front);
	if (result)
		return result;
	if (!options->throw_away)
		result = check_named(disk, base);
	if (!result)
		result = open_behind(disk, options);
	if (result)
		disk_close(disk);
	else
		*out = disk;
	return result;
}

int disk_open_overlay(struct disk **out, const struct disk_options *options)
{
	const struct disk_options behind = base_options(options);
	const char *path = options->overlay;
	char nameless[PATH_MAX] = "";
	struct disk *base;
	int result;

	if (options->read_only)
		return log_error(EUSAGE, "disk '%s': ,ro and an overlay, which is there to be written (say one of the two)", options->path);
	result = disk_open(&base, &behind);
	if (result)
		return result;
	if (options->throw_away) {
		result = make_nameless(base, options, nameless, sizeof(nameless));
		path = nameless;
	} else if (access(path, F_OK)) {
		result = make_named(base, path);
	}
	if (!result)
		result = open_over(out, options, base, path);
	if (*nameless)
		unlink(nameless);
	disk_close(base);
	return result;
}
