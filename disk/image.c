/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Images outside of VMs: one disk on one event loop, both of the calling thread, and each request waited for.
 */
#include "kvm/image.h"

#include <string.h>
#include <sys/stat.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/log.h"
#include "kvm/option.h"

/* ---- open and close ---- */

int image_open(struct image *image, const struct disk_options *options)
{
	int result;

	*image = (struct image){ NULL, NULL };
	result = disk_open(&image->disk, options);
	if (result || options->read_only)
		return result;
	result = event_loop_create(&image->loop, "image");
	if (!result)
		result = disk_attach(image->disk, image->loop, NULL, NULL);
	if (result)
		(void)image_close(image);
	return result;
}

int image_close(struct image *image)
{
	int result = 0;

	if (!image->disk)
		return 0;
	if (!image->disk->info.read_only && image->loop)
		result = image_flush(image);
	disk_detach(image->disk);
	disk_close(image->disk);
	event_loop_destroy(image->loop);
	*image = (struct image){ NULL, NULL };
	return result;
}

/* ---- requests ---- */

struct waited {
	struct disk_request io;
	int result;
};

static void waited_done(struct disk_request *io, int result)
{
	container_of(io, struct waited, io)->result = result;
}

static int image_request(struct image *image, struct disk_request io, const char *what)
{
	struct waited waited = { .io = io };

	waited.io.done = waited_done;
	disk_queue(image->disk, &waited.io);
	disk_drain(image->disk);
	if (waited.result)
		log_errno(waited.result, "disk '%s': can't be %s", image->disk->file->path, what);
	return waited.result;
}

int image_read(struct image *image, uint64_t offset, void *buffer, size_t length)
{
	int result = disk_read(image->disk, offset, buffer, length);

	return result ? log_errno(result, "disk '%s': can't be read at %llu", image->disk->file->path, (unsigned long long)offset) : 0;
}

int image_write(struct image *image, uint64_t offset, const void *buffer, size_t length)
{
	struct iovec iov = { (void *)(uintptr_t)buffer, length };

	return image_request(image, (struct disk_request){ .op = DISK_WRITE, .offset = offset, .length = length, .iov = &iov,
							   .iov_count = 1 }, "written");
}

int image_write_zeroes(struct image *image, uint64_t offset, uint64_t length)
{
	return image_request(image, (struct disk_request){ .op = DISK_WRITE_ZEROES, .offset = offset, .length = length,
							   .may_unmap = true }, "written");
}

int image_flush(struct image *image)
{
	return image_request(image, (struct disk_request){ .op = DISK_FLUSH }, "flushed");
}

/* ---- maps ---- */

int image_map(struct image *image, uint64_t offset, uint64_t length, struct image_extent *out)
{
	struct disk_extent extent;
	int result = disk_map(image->disk, offset, length, &extent);
	bool hole = false;

	if (!result && extent.kind == DISK_EXTENT_DATA)
		result = disk_file_find_hole(extent.file, extent.offset, extent.length, &extent.length, &hole);
	if (result)
		return log_errno(result, "disk '%s': can't be read at %llu", image->disk->file->path, (unsigned long long)offset);
	*out = (struct image_extent){ .length = extent.length, .zero = hole || extent.kind == DISK_EXTENT_ZERO,
				      .allocated = extent.disk, .compressed = extent.kind == DISK_EXTENT_COMPRESSED };
	/* what nobody has is said to be the last one's */
	for (const struct disk *disk = image->disk; disk != extent.disk && disk->backing; disk = disk->backing)
		out->depth++;
	if (extent.kind == DISK_EXTENT_DATA && !hole) {
		out->file = extent.file->path;
		out->offset = extent.offset;
	}
	return 0;
}

/* ---- what it is ---- */

static int set_string(json_t *facts, const char *key, const char *text)
{
	/* a file's name need not be text */
	json_t *value = json_string(text);

	return json_object_set_new(facts, key, value ? value : json_string("?"));
}

static int describe_file(const struct disk *disk, json_t *facts)
{
	struct stat status;
	int failed = set_string(facts, "filename", disk->file->path);

	failed |= set_string(facts, "format", disk->format->name);
	failed |= json_object_set_new(facts, "virtual-size", json_integer((json_int_t)disk->info.size));
	if (!fstat(disk->file->fd, &status))
		failed |= json_object_set_new(facts, "actual-size", json_integer((json_int_t)status.st_blocks * 512));
	return failed ? -ENOMEM : 0;
}

json_t *image_describe(struct image *image, unsigned int depth)
{
	struct disk *disk = image->disk;
	json_t *facts;
	int result;

	while (depth && disk->backing) {
		disk = disk->backing;
		depth--;
	}
	facts = depth ? NULL : json_object();
	if (!facts)
		return NULL;
	result = describe_file(disk, facts);
	if (!result && disk->format->describe)
		result = disk->format->describe(disk, facts);
	if (!result)
		return facts;
	log_errno(result, "disk '%s'", disk->file->path);
	json_decref(facts);
	return NULL;
}

/* ---- changes ---- */

int image_resize(struct image *image, uint64_t size, bool shrink)
{
	return disk_change_size(image->disk, size, shrink);
}

static const struct disk_snapshots *snapshots_of(const struct disk *disk)
{
	if (!disk->format->snapshots)
		log_error(ENOTSUP, "disk '%s': %s images have no snapshots inside (qcow2 ones do)", disk->file->path, disk->format->name);
	return disk->format->snapshots;
}

json_t *image_snapshots(struct image *image)
{
	const struct disk_snapshots *snapshots = snapshots_of(image->disk);
	json_t *list = snapshots ? json_array() : NULL;

	if (list && !snapshots->list(image->disk, list))
		return list;
	json_decref(list);
	return NULL;
}

int image_snapshot(struct image *image, enum image_snapshot_change change, const char *name)
{
	const struct disk_snapshots *snapshots = snapshots_of(image->disk);

	if (!snapshots)
		return -ENOTSUP;
	if (!*name || strlen(name) > 255)
		return log_error(EUSAGE, "'%s' is no name of a snapshot (1 to 255 bytes)", name);
	switch (change) {
	case IMAGE_SNAPSHOT_CREATE:
		return snapshots->create(image->disk, name);
	case IMAGE_SNAPSHOT_APPLY:
		return snapshots->apply(image->disk, name);
	default:
		return snapshots->delete(image->disk, name);
	}
}

int image_check(struct image *image, bool repair, struct image_check *found)
{
	struct disk *disk = image->disk;

	*found = (struct image_check){ .say = found->say, .progress = found->progress, .checked = disk->format->check };
	return found->checked ? disk->format->check(disk, repair, found) : 0;
}
