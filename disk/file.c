/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files under formats: opening and measuring. Called on the main thread, before a loop owns the disk.
 */
#include "disk/file.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "disk/remote.h"
#include "kvm/log.h"
#include "kvm/option.h"

static int file_refused(const struct disk_file_options *options, int error)
{
	const char *path = options->shown ? options->shown : options->path;

	switch (error) {
	case ENOENT:
		return log_error(error, "disk '%s': no such file", path);
	case EACCES: case EPERM: case EROFS:
		return options->read_only ? log_error(error, "disk '%s': no permission to read it", path) :
		       log_error(error, "disk '%s': no permission to write it (add ',ro' to open it read-only)", path);
	case EBUSY:
		return log_error(error, "disk '%s': in use: mounted, or part of another device", path);
	case EINVAL:
		if (options->direct)
			return log_error(error, "disk '%s': its file system can't do direct I/O (leave ',direct' out)", path);
		__attribute__((fallthrough));
	default:
		return log_errno(error, "disk '%s'", path);
	}
}

static int file_check_kind(struct disk_file *file)
{
	struct stat status;

	if (fstat(file->fd, &status))
		return log_errno(errno, "disk '%s'", file->path);
	if (S_ISDIR(status.st_mode))
		return log_error(EISDIR, "disk '%s': a folder as a disk is not built yet (storage); give an image or a block device",
				 file->path);
	if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
		return log_error(EINVAL, "disk '%s': neither a file nor a block device", file->path);
	file->block_device = S_ISBLK(status.st_mode);
	return 0;
}

char *disk_file_real_path(const struct disk_file *file)
{
	char name[32], real[PATH_MAX];
	ssize_t length;

	snprintf(name, sizeof(name), "/proc/self/fd/%d", file->fd);
	length = readlink(name, real, sizeof(real));
	return length <= 0 || length == sizeof(real) ? NULL : strndup(real, (size_t)length);
}

/* By the descriptor, so that it is the file that is opened, whatever its name means a moment later. */
static int file_check_place(const struct disk_file *file, const char *folder)
{
	_cleanup_free_ char *real = disk_file_real_path(file);
	size_t length = strlen(folder);

	if (real && !strncmp(real, folder, length) && (real[length] == '/' || !strcmp(folder, "/")))
		return 0;
	return log_error(EPERM, "disk '%s': outside the folder of the image that refers to it; say ',backing=any' or the image's "
			 "format if you trust the image", file->path);
}

/*
 * What it is can be told for sure once it is open only: O_PATH neither waits for a FIFO's other end nor wakes a
 * device, and the descriptor is then opened for use, whatever the name means by now.
 */
static int file_open(struct disk_file *file, const struct disk_file_options *options)
{
	int flags = O_CLOEXEC | (options->read_only ? O_RDONLY : O_RDWR) | (options->direct ? O_DIRECT : 0);
	_cleanup_close_ int path_fd = -1;
	char name[32];
	int result;

	file->fd = open(options->path, O_PATH | O_CLOEXEC);
	if (file->fd < 0)
		return file_refused(options, errno);
	result = file_check_kind(file);
	if (!result && options->beneath)
		result = file_check_place(file, options->beneath);
	if (result)
		return result;
	/* Exclusive on a block device means: not while it is mounted. */
	if (file->block_device && !options->read_only)
		flags |= O_EXCL;
	path_fd = file->fd;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", path_fd);
	file->fd = open(name, flags);
	if (file->fd < 0)
		return file_refused(options, errno);
	return disk_file_lock(file);
}

int disk_file_measure(struct disk_file *file)
{
	unsigned int physical = 0;
	struct stat status;
	int logical = 0;

	file->block_size = file->physical_block_size = 512;
	if (file->block_device) {
		if (ioctl(file->fd, BLKGETSIZE64, &file->size) || ioctl(file->fd, BLKSSZGET, &logical))
			return log_errno(errno, "disk '%s': no size", file->path);
		file->block_size = (uint32_t)logical;
		file->physical_block_size = ioctl(file->fd, BLKPBSZGET, &physical) ? file->block_size : physical;
		return 0;
	}
	if (fstat(file->fd, &status))
		return log_errno(errno, "disk '%s'", file->path);
	file->size = (uint64_t)status.st_size;
	if (status.st_blksize >= 512 && IS_POWER_OF_2((uint32_t)status.st_blksize))
		file->physical_block_size = MIN((uint32_t)status.st_blksize, 4096U);
	return 0;
}

static int file_open_remote(struct disk_file *file, const struct disk_file_options *options)
{
	const struct disk_remote_ops *ops = disk_remote_find(options->path);

	if (!ops)
		return log_error(EUSAGE, "disk '%s': disks of such servers are not in this build (nbd:// wants libnbd)", file->path);
	if (options->beneath)
		return log_error(EPERM, "disk '%s': a server's, which an image may not refer to", file->path);
	/* As a block device its size is what it is; and there is no page cache to go past. */
	file->block_device = true;
	file->direct = false;
	file->block_size = file->physical_block_size = 512;
	file->remote_ops = ops;
	return ops->open(file, options->path);
}

int disk_file_open(struct disk_file **out, const struct disk_file_options *options)
{
	struct disk_file *file = calloc(1, sizeof(*file));
	const char *shown = options->shown ? options->shown : options->path;
	int result;

	if (!file)
		return log_errno(ENOMEM, "disk '%s'", shown);
	file->fd = -1;
	file->direct = options->direct;
	file->read_only = options->read_only;
	file->no_flush = options->no_flush;
	file->path = strdup(shown);
	result = file->path ? 0 : log_errno(ENOMEM, "disk '%s'", shown);
	if (!result && disk_is_remote(options->path)) {
		result = file_open_remote(file, options);
	} else if (!result) {
		result = file_open(file, options);
		if (!result)
			result = disk_file_measure(file);
	}
	if (result)
		disk_file_close(file);
	else
		*out = file;
	return result;
}

void disk_file_close(struct disk_file *file)
{
	if (!file)
		return;
	if (file->remote_ops)
		file->remote_ops->close(file);
	if (file->fd >= 0)
		close(file->fd);
	free(file->path);
	free(file);
}
