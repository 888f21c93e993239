/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A whole image made from another. It grows beside the place where it is to be, under a name of its own, and is put
 * there when it is whole: what fails, or is ended, leaves what was there before. On a block device that can't be.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/log.h"
#include "kvm/option.h"

struct place {
	char path[PATH_MAX];		/* what the new image will be called, symbolic links followed */
	char at[PATH_MAX];		/* where it grows; "": at @path itself, a block device */
	struct disk_file *old;		/* kept locked, or NULL: nothing is there yet */
	mode_t mode;
};

/* ---- where ---- */

static int place_take_old(struct place *place, const struct image_options *target)
{
	const struct disk_file_options options = { .path = target->path };
	struct stat status;
	int result;

	if (stat(target->path, &status))
		return 0;
	if (!target->force)
		return log_error(EEXIST, "disk '%s': exists already (--force makes it anew)", target->path);
	result = disk_file_open(&place->old, &options);
	if (result)
		return result;
	place->mode = status.st_mode & 0777;
	if (!realpath(target->path, place->path))
		return log_errno(errno, "disk '%s'", target->path);
	return 0;
}

static int place_find(struct place *place, const struct image_options *target)
{
	int result;

	place->old = NULL;
	place->at[0] = '\0';
	if (snprintf(place->path, sizeof(place->path), "%s", target->path) >= (int)sizeof(place->path))
		return log_error(ENAMETOOLONG, "disk '%s': too long a name", target->path);
	result = place_take_old(place, target);
	if (result)
		return result;
	if (place->old && place->old->block_device) {
		disk_file_close(place->old);
		place->old = NULL;
		return 0;
	}
	/* Left behind only by a process of our number that was killed: nobody's by now. */
	if (snprintf(place->at, sizeof(place->at), "%s.part-%d", place->path, (int)getpid()) >= (int)sizeof(place->at))
		return log_error(ENAMETOOLONG, "disk '%s': too long a name", target->path);
	if (unlink(place->at) && errno != ENOENT)
		return log_errno(errno, "disk '%s': can't be made", target->path);
	return 0;
}

/* @result: whether the image is whole, and if not, why. */
static int place_settle(struct place *place, const char *shown, int result)
{
	if (!result && place->at[0] && place->old && chmod(place->at, place->mode))
		result = log_errno(errno, "disk '%s': can't be given its mode", shown);
	if (!result && place->at[0] && rename(place->at, place->path))
		result = log_errno(errno, "disk '%s': can't be put in its place", shown);
	if (result && place->at[0])
		unlink(place->at);
	disk_file_close(place->old);
	return result;
}

/* ---- what ---- */

static int convert_fill(struct image *from, const struct image_options *target, const struct disk_format *format,
			const struct image_copy *given)
{
	const struct disk_options options = {
		.path = (char *)(uintptr_t)(target->at ? target->at : target->path), .shown = target->path,
		.format = (char *)(uintptr_t)format->name, .alone = true,
	};
	struct image_copy how = *given;
	struct image_extent extent;
	struct image to;
	int result = image_open(&to, &options), closed;

	if (result)
		return result;
	/* all but a raw image on a block device */
	result = image_map(&to, 0, target->size, &extent);
	how.zeroed = !to.disk->file->block_device || extent.zero;
	if (!result)
		result = image_copy(from, &to, &how);
	closed = image_close(&to);
	return result ? result : closed;
}

static int convert_open(struct image *from, const struct image_options *given, const struct image_copy *how)
{
	const struct disk_format *format = disk_format_of_new(given);
	struct image_options target = *given;
	struct place place;
	int result;

	if (!format)
		return -EUSAGE;
	if (how->compress && !format->compress)
		return log_error(EUSAGE, "disk '%s': %s images can't be compressed (say qcow2)", given->path, format->name);
	result = place_find(&place, given);
	if (!result) {
		target.size = disk_info(from->disk)->size;
		target.at = place.at[0] ? place.at : NULL;
		result = image_create(&target);
	}
	if (!result)
		result = convert_fill(from, &target, format, how);
	return place_settle(&place, given->path, result);
}

int image_convert(const struct disk_options *source, const struct image_options *target, const struct image_copy *how)
{
	struct image from;
	int result = image_open(&from, source);

	if (result)
		return result;
	result = convert_open(&from, target, how);
	(void)image_close(&from);
	return result;
}
