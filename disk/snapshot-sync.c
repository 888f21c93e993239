/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QMP's blockdev-snapshot-sync: a disk goes on in a new image over the one that it has been in so far, which from then on is as
 * the guest had it at that moment.
 *
 * The guest stands still for it. The image is flushed and unlocked, as for another process (disk/hand-over.c), and opened anew
 * behind the overlay, for reading; until that has gone well the disk can be taken back. So whatever ends it, a crash too, leaves the
 * image whole. Main thread.
 */
#include <string.h>

#include "disk/disks.h"
#include "disk/engine.h"
#include "disk/file.h"
#include "disk/limits.h"
#include "kvm/control.h"
#include "kvm/kvm.h"
#include "kvm/migrate.h"

/* Why it can't be, or NULL. */
static const char *refusal(struct kvm *kvm, size_t index)
{
	const struct disks_item *item = disks_of(kvm)->items[index];
	struct disk *disk = item->disk;
	struct disk_options options;
	const char *why = NULL;

	if (migration_is_active(kvm))
		return "The VM moves to another process";
	if (item->option == SIZE_MAX || !disk->owner || !disk->owner->replace)
		return "It can be done to virtio-blk disks of -d only";
	if (disk->info.read_only)
		return "It is read-only";
	if (disk->file->remote_ops)
		return "Its image is a server's";
	if (disk_kept(disk))
		return "It has requests that failed, and wait for the guest to go on";
	if (disk_options_parse(&options, config_item(kvm->config, "disk", item->option)))
		return "Its option can't be read";
	if (options.throw_away || options.overlay)
		why = "It has an overlay of its option's (snapshot=on, overlay=)";
	disk_options_free(&options);
	return why;
}

static int make_overlay(const struct disk *disk, const char *path)
{
	_cleanup_free_ char *real = disk_file_real_path(disk->file);
	const struct image_options options = { .path = path, .format = "qcow2", .size = disk->info.size, .backing = real,
					       .backing_format = disk->format->name };

	return real ? image_create(&options) : log_errno(ENOMEM, "disk '%s'", disk->file->path);
}

/* Of the image that it is meant for, which an existing one need not be. */
static int check_overlay(const struct disk *overlay, const struct disk *disk)
{
	struct disk_identity behind, now;
	int result = disk_identify(overlay, 1, &behind);

	if (result <= 0)
		return result ? result : log_error(EINVAL, "disk '%s': nothing lies behind it", overlay->file->path);
	result = disk_identify(disk, 0, &now);
	if (result > 0) {
		result = strcmp(behind.path, now.path) || overlay->info.size != disk->info.size ||
			 overlay->info.block_size > disk->info.block_size ?
			 log_error(EINVAL, "disk '%s': lies over another image than '%s', or has another size or larger blocks", overlay->file->path, now.path) : 0;
		free(now.path);
	}
	free(behind.path);
	return result;
}

/* The disk is quiesced, and nobody's. */
static int replace(struct kvm *kvm, size_t index, struct disk *disk, struct disks_medium *medium)
{
	const struct disk_limits *limits = disk_throttle_limits(disk);
	struct disk_limits copy = { 0 };
	int result = check_overlay(medium->disk, disk);

	if (limits)
		copy = *limits;
	if (!result)
		result = disk_set_limits(medium->disk, &copy);
	if (!result)
		result = disk->owner->replace(disk->owner, medium->disk);
	if (result)
		return result;
	/* it was ours all the time: its close may finish it */
	disk->handed_over = false;
	if (disks_medium_use(kvm, index, medium))
		log_warn("disk '%s': no memory to remember that it is '%s' now", disk->file->path, disks_get(kvm, index)->file->path);
	return 0;
}

static int go_over(struct kvm *kvm, size_t index, const char *path, bool exists)
{
	struct disk *disk = disks_get(kvm, index);
	struct disks_medium medium = { 0 };
	bool made = false;
	int result;

	/* what was in flight until now may have failed, and belongs to this disk */
	if (disk_kept(disk))
		return log_error(EBUSY, "disk '%s': has requests that failed, and wait for the guest to go on", disk->file->path);
	result = disk_sync(disk);
	if (result)
		return result;
	disk_hand_over(disk);
	if (!exists) {
		result = make_overlay(disk, path);
		made = !result;
	}
	if (!result)
		result = disks_medium_open(kvm, index, path, "qcow2", &medium);
	if (!result)
		result = replace(kvm, index, disk, &medium);
	/* the new one, if it is not used; else what was there */
	disks_medium_close(&medium);
	if (!result)
		return 0;
	if (made)
		unlink(path);
	if (disk_take_back(disk)) {
		log_warn("disk '%s': is in use by another process now; the guest stands still", disk->file->path);
		(void)!kvm_error_pause(kvm);
	}
	return result;
}

static int snapshot_sync(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *name = json_string_value(json_object_get(arguments, "device"));
	const char *path = json_string_value(json_object_get(arguments, "snapshot-file"));
	const char *format = json_string_value(json_object_get(arguments, "format"));
	const char *mode = json_string_value(json_object_get(arguments, "mode")), *why;
	size_t index;
	int status;

	(void)result;
	if (!name)
		name = json_string_value(json_object_get(arguments, "node-name"));
	index = name ? disks_index(kvm, name) : SIZE_MAX;
	if (index == SIZE_MAX)
		return qmp_fail(error, ENODEV, "There is no disk '%s' (say disk0 for the first)", name ? name : "");
	if (!path || *path != '/' || (format && strcmp(format, "qcow2") != 0))
		return qmp_fail(error, EINVAL, "Parameter '%s'", !path || *path != '/' ? "snapshot-file' has to be an absolute path" :
				"format' can be 'qcow2' only");
	why = refusal(kvm, index);
	if (why)
		return qmp_fail(error, ENOTSUP, "%s can't go on in another image: %s", name, why);
	status = kvm_pause(kvm);
	if (status)
		return status;
	log_forget_error();
	status = go_over(kvm, index, path, mode && !strcmp(mode, "existing"));
	kvm_resume(kvm);
	return status ? qmp_fail(error, -status, "%s", *log_first_error() ? log_first_error() : strerrordesc_np(-status)) : 0;
}

static const char *const sync_arguments[] = { "device?:str", "node-name?:str", "snapshot-file?:str", "snapshot-node-name?:str",
					      "format?:str", "mode?:absolute-paths|existing", NULL };
static struct qmp_command sync_command = {
	.name = "blockdev-snapshot-sync", .help = "A disk goes on in a new image over its own", .arguments = sync_arguments,
	.run = snapshot_sync };
QMP_COMMAND(sync_command);
