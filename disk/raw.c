/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Raw images and block devices: the guest's offsets are the file's.
 *
 * Other formats are recognized here only to be refused by name: opened as raw, the first write of a guest
 * would destroy them.
 */
#include <string.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/log.h"
#include "kvm/option.h"

static const struct { const char *name, *magic; size_t offset, length; } raw_foreign[] = {
	{ "qcow2", "QFI\xfb", 0, 4 },
	{ "VMDK", "KDMV", 0, 4 },
	{ "VMDK", "# Disk DescriptorFile", 0, 21 },
	{ "VHDX", "vhdxfile", 0, 8 },
	{ "VHD", "conectix", 0, 8 },
	{ "QED", "QED\0", 0, 4 },
	{ "VDI", "\x7f\x10\xda\xbe", 64, 4 },
	{ "LUKS", "LUKS\xba\xbe", 0, 6 },
};

static const char *raw_find_foreign(const uint8_t *head, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(raw_foreign); i++)
		if (length >= raw_foreign[i].offset + raw_foreign[i].length &&
		    !memcmp(head + raw_foreign[i].offset, raw_foreign[i].magic, raw_foreign[i].length))
			return raw_foreign[i].name;
	return NULL;
}

static int raw_probe(const uint8_t *head, size_t length)
{
	return raw_find_foreign(head, length) ? 0 : 1;
}

static int raw_open(struct disk *disk)
{
	struct disk_info *info = &disk->info;
	uint64_t size = ALIGN_DOWN(info->size, (uint64_t)info->block_size);
	const char *path = disk->file->path;

	if (!size)
		return log_error(EINVAL, "disk '%s': empty (make it larger: truncate -s 1G '%s')", path, path);
	if (size != info->size)
		log_warn("disk '%s': its last %llu bytes are no whole block and stay out of sight", path,
			 (unsigned long long)(info->size - size));
	info->size = size;
	info->discard = !info->read_only;
	info->write_zeroes = !info->read_only && !disk->file->no_zeroes;
	return 0;
}

static void raw_submit(struct disk *disk)
{
	struct disk_request *requests = disk_take_queued(disk);

	if (disk->guessed)
		requests = disk_guard_head(disk, requests);
	if (requests)
		disk_engine_submit(disk->engine, disk->file, requests);
}

static int raw_map(struct disk *disk, uint64_t offset, uint64_t length, struct disk_extent *extent)
{
	*extent = (struct disk_extent){ .kind = DISK_EXTENT_DATA, .length = length, .file = disk->file, .offset = offset };
	return 0;
}

/* ---- for tools ---- */

static int raw_create(struct disk_file *file, const struct image_options *options)
{
	int result;

	if (options->backing || options->cluster_size || options->extended_l2 || options->lazy_refcounts || options->zstd ||
	    options->subformat)
		return log_error(EUSAGE, "disk '%s': a raw image has only a size (say --format qcow2 for more)", options->path);
	if (file->block_device)
		return file->size >= options->size ? 0 : log_error(ENOSPC, "disk '%s': smaller than %llu bytes", options->path,
								   (unsigned long long)options->size);
	result = disk_file_resize(file, options->size);
	return result ? log_errno(result, "disk '%s': can't be made %llu bytes long", options->path,
				  (unsigned long long)options->size) : 0;
}

static int raw_resize(struct disk *disk, uint64_t size)
{
	int result;

	/* Somebody else makes those larger, as lvextend does. */
	if (disk->file->block_device) {
		result = disk_file_measure(disk->file);
		result = result ? result : disk->file->size < size ? -ENOSPC : 0;
	} else {
		result = disk_file_resize(disk->file, size);
	}
	if (result)
		return log_errno(result, "disk '%s': can't be made %llu bytes long", disk->file->path, (unsigned long long)size);
	disk->info.size = size;
	return 0;
}

static const struct disk_format raw_format = {
	.name = "raw",
	.probe = raw_probe,
	.open = raw_open,
	.submit = raw_submit,
	.map = raw_map,
	.create = raw_create,
	.resize = raw_resize,
};
DISK_FORMAT(raw_format);

/* ---- formats that are known but not built yet ---- */

static int foreign_probe(const uint8_t *head, size_t length)
{
	return raw_find_foreign(head, length) ? 2 : 0;
}

static int foreign_open(struct disk *disk)
{
	uint8_t head[128] = { 0 };
	const char *name = NULL;

	if (!disk_file_read(disk->file, 0, head, sizeof(head)))
		name = raw_find_foreign(head, sizeof(head));
	return log_error(EMEDIUMTYPE, "disk '%s': %s%s image, which is not built yet (storage); ',format=raw' uses its bytes as they are",
			 disk->file->path, name ? "a " : "not a raw", name ? name : "");
}

static const struct disk_format foreign_format = {
	.name = "",
	.probe = foreign_probe,
	.open = foreign_open,
};
DISK_FORMAT(foreign_format);
