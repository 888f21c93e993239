/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QMP's eject, blockdev-open-tray, blockdev-close-tray, blockdev-remove-medium and blockdev-change-medium, with QEMU's
 * meaning: of CD-ROM drives (virtio/scsi-drive.c). The event DEVICE_TRAY_MOVED comes from there. Main thread.
 */
#include <string.h>

#include "kvm/control.h"
#include "kvm/disk.h"

struct drive {
	size_t index;			/* as disks_get() counts */
	struct disk_owner *owner;
};

/* ---- which one ---- */

static struct disk_owner *owner_of(struct kvm *kvm, size_t index)
{
	struct disk *disk = disks_get(kvm, index);
	struct disk_owner *owner = disk ? disk_owner(disk) : NULL;

	return owner && owner->drive ? owner : NULL;
}

/* The only one that there is need not be named. */
static size_t find_only(struct kvm *kvm, char **error)
{
	size_t found = 0, index = SIZE_MAX;

	for (size_t i = 0; i < disks_count(kvm); i++) {
		if (!owner_of(kvm, i))
			continue;
		found++;
		index = i;
	}
	if (found == 1)
		return index;
	qmp_fail(error, EINVAL, found ? "Parameter 'id' is missing, and there are %zu drives" :
	     "There are %zu drives of CD-ROMs (make one: -d ,cdrom)", found);
	return SIZE_MAX;
}

/* false: there is no such drive, and *@error says so */
static bool find_drive(struct kvm *kvm, const json_t *arguments, struct drive *drive, char **error)
{
	const char *name = json_string_value(json_object_get(arguments, "id"));

	if (!name)
		name = json_string_value(json_object_get(arguments, "device"));
	drive->index = name ? disks_index(kvm, name) : find_only(kvm, error);
	drive->owner = owner_of(kvm, drive->index);
	if (!drive->owner && name)
		qmp_fail(error, EINVAL, drive->index == SIZE_MAX ? "Device '%s' not found (say disk0 for the first)" :
		     "Device '%s' is not removable", name);
	return drive->owner;
}

/* ---- what is done ---- */

static int open_tray(const struct drive *drive, const json_t *arguments)
{
	return drive->owner->drive->open_tray(drive->owner, json_is_true(json_object_get(arguments, "force")));
}

static int say_locked(const struct drive *drive, char **error)
{
	return qmp_fail(error, EBUSY, "Device '%s' is locked and force was not specified, wait for tray to open and try again",
		    drive->owner->name);
}

/* Closes what was in the drive. */
static int exchange(struct kvm *kvm, const struct drive *drive, struct disks_medium *medium, char **error)
{
	int result = drive->owner->drive->exchange(drive->owner, medium->disk);

	if (result)
		result = qmp_fail(error, -result, "Device '%s' can't take that medium: %s", drive->owner->name, strerrordesc_np(-result));
	else if (disks_medium_use(kvm, drive->index, medium))
		result = qmp_fail(error, ENOMEM, "No memory");
	disks_medium_close(medium);
	return result;
}

static int remove_medium(struct kvm *kvm, const struct drive *drive, char **error)
{
	struct disks_medium nothing;

	if (disk_info(disks_get(kvm, drive->index))->no_medium)
		return 0;
	if (disks_medium_open(kvm, drive->index, NULL, NULL, &nothing))
		return qmp_fail(error, ENOMEM, "No memory");
	return exchange(kvm, drive, &nothing, error);
}

/* ---- the commands ---- */

static int eject(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	struct drive drive;

	(void)result;
	if (!find_drive(kvm, arguments, &drive, error))
		return -EINVAL;
	return open_tray(&drive, arguments) ? say_locked(&drive, error) : remove_medium(kvm, &drive, error);
}

/* That a guest has locked its tray is no error: it was asked, and the event tells when it has let go. */
static int blockdev_open_tray(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	struct drive drive;

	(void)result;
	if (!find_drive(kvm, arguments, &drive, error))
		return -EINVAL;
	open_tray(&drive, arguments);
	return 0;
}

static int blockdev_close_tray(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	struct drive drive;

	(void)result;
	if (!find_drive(kvm, arguments, &drive, error))
		return -EINVAL;
	drive.owner->drive->close_tray(drive.owner);
	return 0;
}

static int blockdev_remove_medium(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	struct drive drive;

	(void)result;
	if (!find_drive(kvm, arguments, &drive, error))
		return -EINVAL;
	if (!drive.owner->drive->tray_is_open(drive.owner))
		return qmp_fail(error, EINVAL, "Tray of device '%s' is not open", drive.owner->name);
	return remove_medium(kvm, &drive, error);
}

static int check_change(const json_t *arguments, char **error)
{
	const char *mode = json_string_value(json_object_get(arguments, "read-only-mode"));

	if (mode && strcmp(mode, "retain") != 0 && strcmp(mode, "read-only") != 0)
		return qmp_fail(error, EINVAL, "Parameter 'read-only-mode' can be 'retain' or 'read-only' here: discs aren't written");
	if (!json_string_length(json_object_get(arguments, "filename")))
		return qmp_fail(error, EINVAL, "Parameter 'filename' is missing");
	return 0;
}

/* The new one is opened before anything moves. */
static int blockdev_change_medium(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const char *path = json_string_value(json_object_get(arguments, "filename"));
	struct disks_medium medium;
	struct drive drive;
	int status;

	(void)result;
	if (!find_drive(kvm, arguments, &drive, error))
		return -EINVAL;
	status = check_change(arguments, error);
	if (status)
		return status;
	status = disks_medium_open(kvm, drive.index, path, json_string_value(json_object_get(arguments, "format")), &medium);
	if (status)
		return qmp_fail(error, -status, "Could not open '%s': %s", path, status == -EUSAGE ? "it can't be in a drive" :
			    strerrordesc_np(-status));
	if (open_tray(&drive, arguments)) {
		disks_medium_close(&medium);
		return say_locked(&drive, error);
	}
	status = exchange(kvm, &drive, &medium, error);
	drive.owner->drive->close_tray(drive.owner);
	return status;
}

#define MEDIUM_COMMAND(function, name_, help_, ...)						\
	static const char *const function##_arguments[] = { "device?:str", "id?:str", __VA_ARGS__ };	\
	static struct qmp_command function##_command = {					\
		.name = (name_), .help = (help_), .arguments = function##_arguments, .run = (function) };	\
	QMP_COMMAND(function##_command)

MEDIUM_COMMAND(eject, "eject", "Take the disc out of a drive", "force?:bool", NULL);
MEDIUM_COMMAND(blockdev_open_tray, "blockdev-open-tray", "Open the tray of a drive", "force?:bool", NULL);
MEDIUM_COMMAND(blockdev_close_tray, "blockdev-close-tray", "Shut the tray of a drive", NULL);
MEDIUM_COMMAND(blockdev_remove_medium, "blockdev-remove-medium", "Take the disc out of a drive whose tray is open", NULL);
MEDIUM_COMMAND(blockdev_change_medium, "blockdev-change-medium", "Put another disc into a drive", "filename:str", "format?:str",
	       "force?:bool", "read-only-mode?:retain|read-only|read-write", NULL);
