/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Image locks as QEMU takes them, so that the two never write one image at once.
 *
 * Open-file-description locks on single bytes: a shared lock on byte 100 + p says "I use permission p", one
 * on byte 200 + p "I let nobody else use it". Both are taken first, then looked for at others; closing the fd
 * gives all of them back.
 */
#include <fcntl.h>
#include <stdio.h>

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

void disk_file_unlock(const struct disk_file *file)
{
	struct flock none = { .l_type = F_UNLCK, .l_whence = SEEK_SET, .l_start = PERMISSION_BASE,
			      .l_len = UNSHARED_BASE + PERMISSIONS - PERMISSION_BASE };

	/* where there are no locks, there is none to give back */
	(void)!fcntl(file->fd, F_OFD_SETLK, &none);
}

/* -EBUSY: somebody has it; -ENOLCK: nobody can have it */
static int lock_all(const struct disk_file *file, const char **why)
{
	const bool uses[PERMISSIONS] = { [CONSISTENT_READ] = true, [WRITE] = !file->read_only };
	const bool unshared[PERMISSIONS] = { [WRITE] = true, [RESIZE] = true };

	*why = "in use by another program";
	for (int p = 0; p < PERMISSIONS; p++) {
		int result = 0;

		if (uses[p])
			result = lock_byte(file->fd, PERMISSION_BASE + p);
		if (!result && unshared[p])
			result = lock_byte(file->fd, UNSHARED_BASE + p);
		if (result)
			return result == -ENOLCK || result == -EOPNOTSUPP || result == -EINVAL ? -ENOLCK : -EBUSY;
	}
	*why = "in use by another VM or QEMU (',ro' on both sides would let them share it)";
	for (int p = 0; p < PERMISSIONS; p++)
		if ((uses[p] && byte_is_locked(file->fd, UNSHARED_BASE + p)) ||
		    (unshared[p] && byte_is_locked(file->fd, PERMISSION_BASE + p)))
			return -EBUSY;
	return 0;
}

int disk_file_lock(const struct disk_file *file)
{
	const char *why;
	int result = lock_all(file, &why);

	if (result == -EBUSY)
		return log_error(EBUSY, "disk '%s': %s", file->path, why);
	if (result)
		log_warn("disk '%s': its file system has no locks, so nothing keeps another program from using it too",
			 file->path);
	return 0;
}

int disk_file_try_lock(const struct disk_file *file)
{
	const char *why;
	int result = lock_all(file, &why);

	return result == -EBUSY ? result : 0;
}

bool disk_file_is_locked(const struct disk_file *file)
{
	struct flock lock = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = UNSHARED_BASE + WRITE, .l_len = 1 };
	_cleanup_close_ int other = -1;
	char name[32];

	/* as another sees it: a description's own locks are none to itself */
	snprintf(name, sizeof(name), "/proc/self/fd/%d", file->fd);
	other = open(name, O_RDWR | O_CLOEXEC);
	return other >= 0 && !fcntl(other, F_OFD_GETLK, &lock) && lock.l_type != F_UNLCK;
}
