/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files under formats: calls that wait. For tables and tools on the disk's loop or with no loop at all, and for
 * threads (disk/threads.c), which call those whose names end in _now.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>

#include "disk/file.h"
#include "disk/remote.h"
#include "kvm/io.h"

#define DIRECT_ALIGN	4096ULL		/* no file system or device asks for more */
#define DIRECT_PIECE	KIB(256)

/* What lies past the end reads as zeroes. */
static int read_all(int fd, uint64_t offset, char *buffer, size_t length)
{
	ssize_t got = fd_read_at(fd, offset, buffer, length);

	if (got < 0)
		return (int)got;
	memset(buffer + got, 0, length - (size_t)got);
	return 0;
}

/* ---- direct I/O: whole blocks, in aligned memory ---- */

/* One piece of a transfer, through @bounce. */
static int direct_piece(int fd, uint64_t offset, char *data, size_t length, char *bounce, bool write)
{
	uint64_t start = ALIGN_DOWN(offset, DIRECT_ALIGN);
	size_t span = (size_t)(ALIGN_UP(offset + length, DIRECT_ALIGN) - start);
	int result = 0;

	if (!write || span != length)
		result = read_all(fd, start, bounce, span);
	if (result)
		return result;
	if (!write) {
		memcpy(data, bounce + (offset - start), length);
		return 0;
	}
	memcpy(bounce + (offset - start), data, length);
	return fd_write_at(fd, start, bounce, span);
}

static int direct_transfer(int fd, uint64_t offset, char *data, size_t length, bool write)
{
	_cleanup_free_ void *bounce = NULL;
	int result = 0;

	if (posix_memalign(&bounce, DIRECT_ALIGN, DIRECT_PIECE))
		return -ENOMEM;
	while (length && !result) {
		size_t room = (size_t)(DIRECT_PIECE - (offset & (DIRECT_ALIGN - 1)));
		size_t part = MIN(length, room);

		result = direct_piece(fd, offset, data, part, bounce, write);
		data += part;
		offset += part;
		length -= part;
	}
	return result;
}

/* ---- a server's ---- */

static int remote_read(struct disk_file *file, uint64_t offset, char *buffer, size_t length)
{
	size_t inside = offset < file->size ? (size_t)MIN((uint64_t)length, file->size - offset) : 0;

	memset(buffer + inside, 0, length - inside);
	return inside ? file->remote_ops->call(file, DISK_READ, offset, buffer, inside, false) : 0;
}

static int remote_write(struct disk_file *file, uint64_t offset, const void *buffer, size_t length)
{
	return file->remote_ops->call(file, DISK_WRITE, offset, (void *)(uintptr_t)buffer, length, false);
}

static int remote_write_zeroes(struct disk_file *file, uint64_t offset, uint64_t length, bool may_unmap)
{
	int result = file->remote_ops->call(file, DISK_WRITE_ZEROES, offset, NULL, length, may_unmap);

	if (result != -EOPNOTSUPP)
		return result;
	result = 0;
	for (uint64_t done = 0; done < length && !result; done += DISK_ZEROES_SIZE)
		result = remote_write(file, offset + done, disk_zeroes, (size_t)MIN(length - done, (uint64_t)DISK_ZEROES_SIZE));
	return result;
}

/* ---- the calls ---- */

int disk_file_read(struct disk_file *file, uint64_t offset, void *buffer, size_t length)
{
	if (offset > INT64_MAX - length)
		return -EFBIG;
	if (file->remote_ops)
		return remote_read(file, offset, buffer, length);
	return file->direct ? direct_transfer(file->fd, offset, buffer, length, false) :
	       read_all(file->fd, offset, buffer, length);
}

int disk_file_find_hole(struct disk_file *file, uint64_t offset, uint64_t length, uint64_t *run, bool *hole)
{
	off_t next;

	*run = length;
	*hole = false;
	if (file->block_device || offset > INT64_MAX)
		return 0;
	next = lseek(file->fd, (off_t)offset, SEEK_DATA);
	/* nothing but a hole up to the end, or no file system that knows */
	if (next < 0)
		*hole = errno == ENXIO;
	else if ((uint64_t)next > offset)
		*hole = true;
	else
		next = lseek(file->fd, (off_t)offset, SEEK_HOLE);
	if (next > (off_t)offset)
		*run = MIN(length, (uint64_t)next - offset);
	return 0;
}

int disk_file_write(struct disk_file *file, uint64_t offset, const void *buffer, size_t length)
{
	struct iovec iov = { (void *)(uintptr_t)buffer, length };
	int result;

	if (offset > INT64_MAX - length)
		return -EFBIG;
	result = disk_file_change(file, DISK_WRITE, offset, length, &iov, 1, false);
	if (!result && file->remote_ops)
		return remote_write(file, offset, buffer, length);
	if (!result)
		result = file->direct ? direct_transfer(file->fd, offset, iov.iov_base, length, true) :
			 fd_write_at(file->fd, offset, buffer, length);
	if (!result && offset + length > file->size)
		file->size = file->direct ? ALIGN_UP(offset + length, DIRECT_ALIGN) : offset + length;
	return result;
}

static int file_allocate(const struct disk_file *file, int mode, uint64_t offset, uint64_t length)
{
	int result;

	do {
		result = fallocate(file->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)offset, (off_t)length);
	} while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : 0;
}

/* Not const itself: that would be 16 KiB of zeroes in the program's file. */
static uint8_t zeroes[DISK_ZEROES_SIZE] __attribute__((aligned(4096)));
const uint8_t *const disk_zeroes = zeroes;

/* Where nothing better is offered. */
static int zero_by_writing(int fd, uint64_t offset, uint64_t length)
{
	int result = 0;

	for (uint64_t done = 0; done < length && !result; done += DISK_ZEROES_SIZE)
		result = fd_write_at(fd, offset + done, disk_zeroes,
				   (size_t)MIN(length - done, (uint64_t)DISK_ZEROES_SIZE));
	return result;
}

int disk_file_write_zeroes_now(const struct disk_file *file, uint64_t offset, uint64_t length, bool may_unmap)
{
	uint64_t range[2] = { offset, length };
	int result;

	if (file->block_device)
		result = ioctl(file->fd, BLKZEROOUT, range) < 0 ? -errno : 0;
	else
		result = file_allocate(file, may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE, offset, length);
	if (result == -EOPNOTSUPP || result == -ENOTTY)
		result = zero_by_writing(file->fd, offset, length);
	return result;
}

int disk_file_discard_now(const struct disk_file *file, uint64_t offset, uint64_t length)
{
	uint64_t range[2] = { offset, length };
	int result;

	if (file->block_device)
		result = ioctl(file->fd, BLKDISCARD, range) < 0 ? -errno : 0;
	else
		result = file_allocate(file, FALLOC_FL_PUNCH_HOLE, offset, length);
	return result == -EOPNOTSUPP || result == -ENOTTY ? 0 : result;
}

int disk_file_write_zeroes(struct disk_file *file, uint64_t offset, uint64_t length, bool may_unmap)
{
	int result = disk_file_change(file, DISK_WRITE_ZEROES, offset, length, NULL, 0, false);

	if (!result && file->remote_ops)
		return remote_write_zeroes(file, offset, length, may_unmap);
	return result ? result : disk_file_write_zeroes_now(file, offset, length, may_unmap);
}

int disk_file_discard(struct disk_file *file, uint64_t offset, uint64_t length)
{
	int result = disk_file_change(file, DISK_DISCARD, offset, length, NULL, 0, false);

	if (!result && file->remote_ops)
		return file->remote_ops->call(file, DISK_DISCARD, offset, NULL, length, false);
	return result ? result : disk_file_discard_now(file, offset, length);
}

int disk_file_flush(struct disk_file *file)
{
	int result;

	if (file->no_flush)
		return 0;
	result = disk_file_change(file, DISK_FLUSH, 0, 0, NULL, 0, false);
	if (!result && file->remote_ops)
		return file->remote_ops->call(file, DISK_FLUSH, 0, NULL, 0, false);
	if (!result && fdatasync(file->fd) < 0)
		result = -errno;
	return result;
}

int disk_file_resize(struct disk_file *file, uint64_t size)
{
	int result;

	if (file->block_device)
		return -ENOTSUP;
	if (size > INT64_MAX)
		return -EFBIG;
	result = disk_file_change(file, DISK_DISCARD, size, 0, NULL, 0, false);
	if (!result && ftruncate(file->fd, (off_t)size) < 0)
		result = -errno;
	if (!result)
		file->size = size;
	return result;
}
