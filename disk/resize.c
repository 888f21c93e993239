/* SPDX-License-Identifier: BSD-2-Clause */
/* Other sizes: of images that tools have open, and of disks that a guest is using. */
#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/log.h"
#include "kvm/option.h"

int disk_change_size(struct disk *disk, uint64_t size, bool shrink)
{
	const char *path = disk->file->path;
	uint32_t block = disk->info.block_size;

	if (!size || size % block || size > INT64_MAX)
		return log_error(EUSAGE, "disk '%s': %llu bytes are no size of a disk (say a multiple of %u)", path,
				 (unsigned long long)size, block);
	if (!disk->format->resize)
		return log_error(ENOTSUP, "disk '%s': the size of %s images can't be changed", path, disk->format->name);
	if (size < disk->info.size && !shrink)
		return log_error(EUSAGE, "disk '%s': has %llu bytes, and what lies past %llu would be lost (--shrink if that is meant)",
				 path, (unsigned long long)disk->info.size, (unsigned long long)size);
	return size == disk->info.size ? 0 : disk->format->resize(disk, size);
}

struct resize_call {
	struct disk *disk;
	uint64_t size;
	int result;
};

/* With nothing in flight, as the formats want it. What an error keeps lies inside the old size, and inside the new. */
static void resize_on_loop(void *opaque)
{
	struct resize_call *call = opaque;
	struct disk *disk = call->disk;
	uint64_t old = disk->info.size;

	disk_drain(disk);
	call->result = disk_change_size(disk, call->size, false);
	if (disk->info.size != old && disk->owner && disk->owner->resized)
		disk->owner->resized(disk->owner);
}

int disk_grow(struct disk *disk, uint64_t size)
{
	struct resize_call call = { disk, size, 0 };

	/* nor is there anybody to tell the guest of it */
	if (!disk->owner)
		return -ENOTSUP;
	if (disk->info.read_only)
		return -EROFS;
	event_loop_call(disk->engine->loop, resize_on_loop, &call);
	return call.result;
}
