/* SPDX-License-Identifier: BSD-2-Clause */
#include "kvm/io.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>

ssize_t fd_read_at(int fd, uint64_t offset, void *buffer, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t got = pread(fd, (char *)buffer + done, length - done, (off_t)(offset + done));

		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		if (!got)
			break;
		done += (size_t)got;
	}
	return (ssize_t)done;
}

int fd_write_at(int fd, uint64_t offset, const void *buffer, size_t length)
{
	size_t done = 0;

	while (done < length) {
		ssize_t put = pwrite(fd, (const char *)buffer + done, length - done, (off_t)(offset + done));

		if (put < 0 && errno == EINTR)
			continue;
		if (put <= 0)
			return put ? -errno : -EIO;
		done += (size_t)put;
	}
	return 0;
}

const char *temporary_folder(void)
{
	const char *folder = getenv("TMPDIR");

	return folder && *folder ? folder : "/var/tmp";
}

int temporary_file(const char *folder, char *path, size_t size)
{
	int fd;

	if (snprintf(path, size, "%s/lkvm-XXXXXX", folder) >= (int)size)
		return -ENAMETOOLONG;
	fd = mkostemp(path, O_CLOEXEC);
	return fd < 0 ? -errno : fd;
}

bool bytes_are_zero(const void *bytes, size_t length)
{
	const char *first = bytes;

	return !length || (!*first && !memcmp(first, first + 1, length - 1));
}
