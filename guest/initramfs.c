/* SPDX-License-Identifier: BSD-2-Clause */
/* An initramfs in memory. One thread at a time. */
#include "guest/initramfs.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>

#include "kvm/io.h"

int initramfs_begin(struct initramfs *image)
{
	int fd = memfd_create("lkvm-initramfs", MFD_CLOEXEC);
	int error;

	*image = (struct initramfs){ .count = 0 };
	if (fd < 0)
		return -errno;
	image->file = fdopen(fd, "w+");
	if (image->file)
		return 0;
	error = errno;
	close(fd);
	return -error;
}

static void pad(struct initramfs *image)
{
	static const char zeroes[4];
	long at = ftell(image->file);

	if (at > 0 && at % 4)
		fwrite(zeroes, 1, (size_t)(4 - at % 4), image->file);
}

static void add_header(struct initramfs *image, const char *path, mode_t mode, size_t length, unsigned int major, unsigned int minor)
{
	size_t name = strlen(path) + 1;

	fprintf(image->file, "070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X", ++image->count, (unsigned int)mode, 0u, 0u,
		1u, 0u, (unsigned int)length, 0u, 0u, major, minor, (unsigned int)name, 0u);
	fwrite(path, 1, name, image->file);
	pad(image);
}

void initramfs_add(struct initramfs *image, const char *path, mode_t mode, const void *bytes, size_t length)
{
	add_header(image, path, mode, length, 0, 0);
	if (length)
		fwrite(bytes, 1, length, image->file);
	pad(image);
}

void initramfs_add_device(struct initramfs *image, const char *path, unsigned int major, unsigned int minor)
{
	add_header(image, path, S_IFCHR | 0600, 0, major, minor);
}

int initramfs_copy(struct initramfs *image, const char *path, const char *from)
{
	_cleanup_close_ int fd = open(from, O_RDONLY | O_CLOEXEC);
	_cleanup_free_ char *bytes = NULL;
	struct stat status;
	ssize_t length;

	if (fd < 0 || fstat(fd, &status) < 0)
		return -errno;
	if (!S_ISREG(status.st_mode) || status.st_size > (off_t)MIB(256))
		return -EINVAL;
	bytes = malloc(MAX((size_t)status.st_size, 1u));
	if (!bytes)
		return -ENOMEM;
	length = fd_read_at(fd, 0, bytes, (size_t)status.st_size);
	if (length != status.st_size)
		return length < 0 ? (int)length : -EIO;
	initramfs_add(image, path, S_IFREG | 0644, bytes, (size_t)length);
	return 0;
}

int initramfs_end(struct initramfs *image)
{
	int fd, error = 0;

	add_header(image, "TRAILER!!!", 0, 0, 0, 0);
	if (fflush(image->file) || ferror(image->file))
		error = errno ? errno : EIO;
	fd = error ? -1 : fcntl(fileno(image->file), F_DUPFD_CLOEXEC, 3);
	if (!error && fd < 0)
		error = errno;
	fclose(image->file);
	return error ? -error : fd;
}
