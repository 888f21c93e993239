/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A copy of what a guest has written to a disk whose writes go with it, for another VM that goes on from there.
 *
 * The overlay's file is cloned where its file system can do that, else its data is copied; so neither of the two adds to
 * the other's chain, however often this is done. The VM stands still meanwhile, which bounds what is copied.
 *
 * Main thread, the disk's device quiesced and the disk synced.
 */
#include <fcntl.h>
#include <limits.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/io.h"
#include "kvm/log.h"

#define COPY_MAX	GIB(1)		/* about a second */

static int copy_range(int from, int to, off_t at, off_t end)
{
	while (at < end) {
		off_t in = at, out = at;
		ssize_t length = copy_file_range(from, &in, to, &out, (size_t)(end - at), 0);

		if (length < 0 && errno == EINTR)
			continue;
		if (length <= 0)
			return length ? -errno : -EIO;
		at += length;
	}
	return 0;
}

static int copy_data(int from, int to, off_t size)
{
	off_t at = 0, end;
	int result = ftruncate(to, size) ? -errno : 0;

	while (!result) {
		at = lseek(from, at, SEEK_DATA);
		if (at < 0 || at >= size)
			return at < 0 && errno != ENXIO ? -errno : 0;
		end = lseek(from, at, SEEK_HOLE);
		result = end < 0 ? -errno : copy_range(from, to, at, MIN(end, size));
		at = end;
	}
	return result;
}

static int copy_file(const struct disk_file *file)
{
	const char *folder = temporary_folder();
	_cleanup_close_ int fd = -1;
	char path[PATH_MAX];
	struct stat status;
	int result;

	fd = temporary_file(folder, path, sizeof(path));
	if (fd < 0)
		return log_errno(fd, "disk '%s': no copy of what was written can be made in '%s' (set $TMPDIR)", file->path, folder);
	unlink(path);
	if (ioctl(fd, FICLONE, file->fd) == 0)
		return take_fd(&fd);
	if (fstat(file->fd, &status))
		return log_errno(errno, "disk '%s'", file->path);
	if ((uint64_t)status.st_blocks * 512 > COPY_MAX)
		return log_error(EFBIG, "disk '%s': the guest has written %llu MiB, which is too much to be copied (1 GiB; set $TMPDIR "
				 "to a file system that clones files, as btrfs and XFS)", file->path,
				 (unsigned long long)status.st_blocks / 2048);
	result = copy_data(file->fd, fd, status.st_size);
	return result ? log_errno(result, "disk '%s': what was written can't be copied to '%s'", file->path, folder) : take_fd(&fd);
}

int disk_copy_writes(const struct disk *disk, int *fd)
{
	const struct disk_file *file = disk->file;
	struct stat status;

	*fd = -1;
	if (disk->info.read_only)
		return 0;
	if (file->remote_ops || fstat(file->fd, &status) || status.st_nlink)
		return log_error(ENOTSUP, "disk '%s': its guest writes to it, and can't be two (run it with snapshot=on)", file->path);
	*fd = copy_file(file);
	return MIN(*fd, 0);
}
