/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Image locks as QEMU takes them, so that the two never write one image at once.
 *
 * Open-file-description locks on single bytes: a shared lock on byte 100 + p says "I use permission p", one
 * on byte 200 + p "I let nobody else use it". Both are taken first, then looked for at others; closing the fd
 * gives all of them back.
 */
#include <fcntl.h>
#include <string.h>

#include "disk/file.h"
#include "kvm/log.h"

#define PERMISSION_BASE	100
#define UNSHARED_BASE	200

enum permission { CONSISTENT_READ, WRITE, WRITE_UNCHANGED, RESIZE, PERMISSIONS };

static int lock_byte(int fd, off_t byte)
{
	struct flock lock = { .l_type = F_RDLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	return fcntl(fd, F_OFD_SETLK, &lock) < 0 ? -errno : 0;
}

/* Whether someone else has a lock there: a write lock of ours would collide with any of theirs. */
static bool byte_is_locked(int fd, off_t byte)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = byte, .l_len = 1 };

	return !fcntl(fd, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
}

int disk_file_lock(const struct disk_file *file)
{
	const bool uses[PERMISSIONS] = { [CONSISTENT_READ] = true, [WRITE] = !file->read_only };
	const bool unshared[PERMISSIONS] = { [WRITE] = true, [RESIZE] = true };

	for (int p = 0; p < PERMISSIONS; p++) {
		int result = 0;

		if (uses[p])
			result = lock_byte(file->fd, PERMISSION_BASE + p);
		if (!result && unshared[p])
			result = lock_byte(file->fd, UNSHARED_BASE + p);
		if (result == -ENOLCK || result == -EOPNOTSUPP || result == -EINVAL) {
			log_warn("disk '%s': its file system has no locks, so nothing keeps another program from using it too",
				 file->path);
			return 0;
		}
		if (result)
			return log_error(EBUSY, "disk '%s': in use by another program", file->path);
	}
	for (int p = 0; p < PERMISSIONS; p++)
		if ((uses[p] && byte_is_locked(file->fd, UNSHARED_BASE + p)) ||
		    (unshared[p] && byte_is_locked(file->fd, PERMISSION_BASE + p)))
			return log_error(EBUSY, "disk '%s': in use by another VM or QEMU (',ro' on both sides would let them share it)",
					 file->path);
	return 0;
}
