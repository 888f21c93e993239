/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A disk that goes to another process, which opens its files anew: nothing is written here any more, not even when it is
 * closed, and its locks are free. It can be taken back as long as nobody has written to it elsewhere.
 *
 * Main thread, the disk synced and its device quiesced.
 */
#include <sys/stat.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/log.h"

static int files_each(const struct disk *disk, int (*each)(struct disk_file *file))
{
	int result = 0;

	/* a server's files have no locks */
	for (; disk && !result; disk = disk->backing) {
		if (disk->file && !disk->file->remote_ops)
			result = each(disk->file);
		if (disk->beside && !result)
			result = each(disk->beside);
	}
	return result;
}

static int file_unlock(struct disk_file *file)
{
	disk_file_unlock(file);
	return 0;
}

static int file_lock(struct disk_file *file)
{
	return disk_file_try_lock(file);
}

/* A device's time of change is that of its node. */
static struct timespec file_changed(const struct disk_file *file)
{
	struct timespec never = { 0 };
	struct stat status;

	if (fstat(file->fd, &status) || !S_ISREG(status.st_mode))
		return never;
	return status.st_mtim;
}

static int file_note(struct disk_file *file)
{
	file->handed_over = file_changed(file);
	return file_unlock(file);
}

static int file_check(struct disk_file *file)
{
	const struct timespec changed = file_changed(file);

	if (file->read_only || (changed.tv_sec == file->handed_over.tv_sec && changed.tv_nsec == file->handed_over.tv_nsec))
		return 0;
	return log_error(ESTALE, "disk '%s': was written to elsewhere, and the guest here would not know", file->path);
}

static void set_handed_over(struct disk *disk, bool is)
{
	for (; disk; disk = disk->backing)
		disk->handed_over = is;
}

bool disk_is_held(const struct disk *disk)
{
	return disk->file && !disk->file->remote_ops && !disk->file->read_only && disk_file_is_locked(disk->file);
}

void disk_hand_over(struct disk *disk)
{
	set_handed_over(disk, true);
	(void)files_each(disk, file_note);
}

int disk_take_back(struct disk *disk)
{
	int result = files_each(disk, file_lock);

	if (!result)
		result = files_each(disk, file_check);
	if (result)
		(void)files_each(disk, file_unlock);
	else
		set_handed_over(disk, false);
	return result;
}
