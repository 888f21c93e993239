/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * New images: the file, its size, and what is to lie behind it. What stands in the file is the format's.
 */
#include <fcntl.h>
#include <limits.h>
#include <string.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "disk/remote.h"
#include "kvm/log.h"
#include "kvm/option.h"

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), end_length = strlen(end);

	return length > end_length && !strcmp(text + length - end_length, end);
}

const struct disk_format *disk_format_of_new(const struct image_options *options)
{
	const char *name = options->format;
	const struct disk_format *format;

	if (!name)
		name = options->backing || ends_with(options->path, ".qcow2") ? "qcow2" : ends_with(options->path, ".vhd") ? "vhd" : "raw";
	format = disk_format_find(name);
	if (format && format->create)
		return format;
	log_error(EUSAGE, "disk '%s': an image of format '%s' can't be made (say raw, qcow2 or vhd)", options->path, name);
	return NULL;
}

/* What lies behind it is opened once, so that an image is not made that can't be used; that tells size and format, too. */
static int create_ask_backing(struct image_options *options)
{
	char path[PATH_MAX];
	struct disk_options backing = { .path = path, .format = (char *)(uintptr_t)options->backing_format, .read_only = true };
	struct disk *disk;
	int result;

	if (!options->backing)
		return options->size ? 0 : log_error(EUSAGE, "disk '%s': of which size? (say lkvm disk create IMAGE 10G)", options->path);
	result = disk_resolve(options->path, options->backing, path, sizeof(path));
	if (!result)
		result = disk_open(&disk, &backing);
	if (result)
		return result;
	options->backing_format = disk->format->name;
	if (!options->size)
		options->size = disk->info.size;
	disk_close(disk);
	return 0;
}

/* The file is there and empty, and locked; @made: it was not there before. */
static int create_file(const struct image_options *options, struct disk_file **file, bool *made)
{
	const char *at = options->at ? options->at : options->path;
	const struct disk_file_options file_options = { .path = at, .shown = options->path };
	int fd = open(at, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666), result;

	*made = fd >= 0;
	if (fd < 0 && disk_is_remote(at))
		return log_error(EUSAGE, "disk '%s': no image is made on a server (make it here, and have it exported)", options->path);
	if (fd < 0 && errno == EEXIST && !options->force)
		return log_error(EEXIST, "disk '%s': exists already (--force makes it anew)", options->path);
	if (fd < 0 && errno != EEXIST)
		return log_errno(errno, "disk '%s': can't be made", options->path);
	if (fd >= 0)
		close(fd);
	result = disk_file_open(file, &file_options);
	if (!result && !(*file)->block_device)
		result = disk_file_resize(*file, 0);
	return result;
}

int image_create(const struct image_options *given)
{
	struct image_options options = *given;
	const struct disk_format *format = disk_format_of_new(&options);
	struct disk_file *file = NULL;
	bool made = false;
	int result;

	if (!format)
		return -EUSAGE;
	result = create_ask_backing(&options);
	if (result)
		return result;
	if (options.size % 512 || options.size > INT64_MAX)
		return log_error(EUSAGE, "disk '%s': %llu bytes are no size of a disk (say a multiple of 512)", options.path,
				 (unsigned long long)options.size);
	result = create_file(&options, &file, &made);
	if (!result)
		result = format->create(file, &options);
	disk_file_close(file);
	if (result && made)
		unlink(options.at ? options.at : options.path);
	return result;
}
