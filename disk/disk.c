/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks: options, opening, choosing the format, and the way of requests from a device to the engine.
 *
 * A disk is opened on the main thread and then owned by the loop that it is attached to.
 */
#include "kvm/disk.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "disk/engine.h"
#include "kvm/log.h"
#include "kvm/option.h"

#define HEAD_BYTES	4096

static struct disk_format_item *disk_formats;

void disk_format_register(struct disk_format_item *item)
{
	item->next = disk_formats;
	disk_formats = item;
}

/* ---- options ---- */

static int option_copy(char **to, const char *from)
{
	if (!from)
		return 0;
	*to = strdup(from);
	return *to ? 0 : log_errno(ENOMEM, "--disk");
}

static int options_fill(struct disk_options *options, struct keyval *keyval)
{
	const char *serial = keyval_get(keyval, "serial");
	int result;

	if (!*keyval->first)
		return log_error(EUSAGE, "--disk: no image named (say -d FILE[,ro][,direct][,serial=TEXT][,format=raw])");
	if (serial && strlen(serial) > 20)
		return log_error(EUSAGE, "--disk: serial '%s' has more than 20 characters", serial);
	result = keyval_bool(keyval, "--disk", "ro", &options->read_only);
	if (!result)
		result = keyval_bool(keyval, "--disk", "direct", &options->direct);
	if (!result)
		result = option_copy(&options->format, keyval_get(keyval, "format"));
	if (!result)
		result = option_copy(&options->serial, serial);
	if (!result)
		result = option_copy(&options->path, keyval->first);
	return result ? result : keyval_done(keyval, "--disk", "ro, direct, serial=, format=");
}

int disk_options_parse(struct disk_options *options, const char *text)
{
	struct keyval keyval;
	int result = keyval_parse(&keyval, "--disk", text, true);

	memset(options, 0, sizeof(*options));
	if (result)
		return result;
	result = options_fill(options, &keyval);
	keyval_free(&keyval);
	if (result)
		disk_options_free(options);
	return result;
}

void disk_options_free(struct disk_options *options)
{
	free(options->path);
	free(options->format);
	free(options->serial);
	memset(options, 0, sizeof(*options));
}

/* ---- opening ---- */

static int disk_open_refused(const struct disk_options *options, int error)
{
	const char *path = options->path;

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

static int disk_check_kind(struct disk *disk)
{
	struct stat status;

	if (fstat(disk->fd, &status))
		return log_errno(errno, "disk '%s'", disk->path);
	if (S_ISDIR(status.st_mode))
		return log_error(EISDIR, "disk '%s': a folder as a disk is not built yet (storage); give an image or a block device",
				 disk->path);
	if (!S_ISREG(status.st_mode) && !S_ISBLK(status.st_mode))
		return log_error(EINVAL, "disk '%s': neither a file nor a block device", disk->path);
	disk->info.block_device = S_ISBLK(status.st_mode);
	return 0;
}

/*
 * What it is can be told for sure once it is open only: O_PATH neither waits for a FIFO's other end nor wakes a
 * device, and the descriptor is then opened for use, whatever the name means by now.
 */
static int disk_open_file(struct disk *disk, const struct disk_options *options)
{
	int flags = O_CLOEXEC | (options->read_only ? O_RDONLY : O_RDWR) | (options->direct ? O_DIRECT : 0);
	_cleanup_close_ int path_fd = -1;
	char name[32];
	int result;

	disk->fd = open(options->path, O_PATH | O_CLOEXEC);
	if (disk->fd < 0)
		return disk_open_refused(options, errno);
	result = disk_check_kind(disk);
	if (result)
		return result;
	disk->info.read_only = options->read_only;
	/* Exclusive on a block device means: not while it is mounted. */
	if (disk->info.block_device && !options->read_only)
		flags |= O_EXCL;
	path_fd = disk->fd;
	snprintf(name, sizeof(name), "/proc/self/fd/%d", path_fd);
	disk->fd = open(name, flags);
	if (disk->fd < 0)
		return disk_open_refused(options, errno);
	return disk_lock(disk);
}

static int disk_measure(struct disk *disk)
{
	struct disk_info *info = &disk->info;
	unsigned int physical = 0;
	struct stat status;
	int logical = 0;

	info->block_size = info->physical_block_size = 512;
	if (info->block_device) {
		if (ioctl(disk->fd, BLKGETSIZE64, &info->size) || ioctl(disk->fd, BLKSSZGET, &logical))
			return log_errno(errno, "disk '%s': no size", disk->path);
		info->block_size = (uint32_t)logical;
		info->physical_block_size = ioctl(disk->fd, BLKPBSZGET, &physical) ? info->block_size : physical;
		return 0;
	}
	if (fstat(disk->fd, &status))
		return log_errno(errno, "disk '%s'", disk->path);
	info->size = (uint64_t)status.st_size;
	if (status.st_blksize >= 512 && IS_POWER_OF_2((uint32_t)status.st_blksize))
		info->physical_block_size = MIN((uint32_t)status.st_blksize, 4096U);
	return 0;
}

/* O_DIRECT reads need an aligned buffer of whole blocks. */
static ssize_t disk_read_head(const struct disk *disk, uint8_t *head)
{
	void *buffer = NULL;
	ssize_t got;

	if (posix_memalign(&buffer, 4096, HEAD_BYTES))
		return -ENOMEM;
	got = pread(disk->fd, buffer, HEAD_BYTES, 0);
	if (got < 0)
		got = -errno;
	else
		memcpy(head, buffer, (size_t)got);
	free(buffer);
	return got;
}

static int disk_choose_format(struct disk *disk, const char *name)
{
	uint8_t head[HEAD_BYTES] = { 0 };
	ssize_t length = name ? 0 : disk_read_head(disk, head);
	int best = 0;

	if (length < 0)
		return log_errno((int)-length, "disk '%s': can't be read", disk->path);
	for (struct disk_format_item *item = disk_formats; item; item = item->next) {
		int sure = name ? !strcmp(item->format->name, name) : item->format->probe(head, (size_t)length);

		if (sure > best) {
			best = sure;
			disk->format = item->format;
		}
	}
	return disk->format ? 0 : log_error(EUSAGE, "--disk: format '%s' is not known (say raw)", name ? name : "?");
}

int disk_open(struct disk **out, const struct disk_options *options)
{
	struct disk *disk = calloc(1, sizeof(*disk));
	int result;

	if (!disk)
		return log_errno(ENOMEM, "disk '%s'", options->path);
	disk->fd = -1;
	disk->direct = options->direct;
	disk->queued_tail = &disk->queued;
	disk->path = strdup(options->path);
	result = disk->path ? disk_open_file(disk, options) : log_errno(ENOMEM, "disk '%s'", options->path);
	if (!result)
		result = disk_measure(disk);
	if (!result)
		result = disk_choose_format(disk, options->format);
	if (!result)
		result = disk->format->open(disk);
	if (result) {
		disk->format = NULL;
		disk_close(disk);
		return result;
	}
	if (options->serial)
		strncpy(disk->info.serial, options->serial, sizeof(disk->info.serial) - 1);
	*out = disk;
	return 0;
}

void disk_close(struct disk *disk)
{
	if (!disk)
		return;
	if (disk->format && disk->format->close)
		disk->format->close(disk);
	if (disk->fd >= 0)
		close(disk->fd);
	free(disk->path);
	free(disk);
}

const struct disk_info *disk_info(const struct disk *disk)
{
	return &disk->info;
}

/* ---- requests ---- */

static void disk_start_on_loop(void *opaque)
{
	struct disk *disk = opaque;

	if (disk_aio_start(disk))
		disk->loop = NULL;
}

int disk_attach(struct disk *disk, struct event_loop *loop, void (*batch_done)(void *opaque), void *opaque)
{
	disk->loop = loop;
	disk->batch_done = batch_done;
	disk->opaque = opaque;
	event_loop_call(loop, disk_start_on_loop, disk);
	return disk->loop ? 0 : -EIO;
}

static void disk_stop_on_loop(void *opaque)
{
	struct disk *disk = opaque;

	disk_drain(disk);
	disk_worker_stop(disk);
	disk_aio_stop(disk);
}

void disk_detach(struct disk *disk)
{
	if (!disk->loop)
		return;
	event_loop_call(disk->loop, disk_stop_on_loop, disk);
	disk->loop = NULL;
}

void disk_queue(struct disk *disk, struct disk_request *request)
{
	request->disk = disk;
	request->next = NULL;
	*disk->queued_tail = request;
	disk->queued_tail = &request->next;
	disk->in_flight++;
}

void disk_submit(struct disk *disk)
{
	if (disk->queued)
		disk->format->submit(disk);
}

void disk_complete(struct disk_request *request, int result)
{
	request->disk->in_flight--;
	request->done(request, result);
}

void disk_batch_done(struct disk *disk)
{
	if (disk->batch_done)
		disk->batch_done(disk->opaque);
}

void disk_drain(struct disk *disk)
{
	disk_submit(disk);
	while (disk->in_flight)
		disk_aio_wait(disk);
}
