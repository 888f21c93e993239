/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files opened, made, renamed and taken away, by a folder's fd and one name each.
 *
 * A new file's owner is set by an fd of it, after it was made: whoever swaps the name meanwhile has another file of
 * the share changed, never one beside it.
 */
#include <fcntl.h>
#include <string.h>

#include "share/share.h"

#define OPEN_FLAGS	(O_ACCMODE | O_TRUNC | O_APPEND | O_DSYNC | O_SYNC | O_NOATIME | O_DIRECTORY)
/* No waiting for a lease's holder, nor for what /proc/kmsg and its like may have to say. */
#define OPEN_ALWAYS	(O_CLOEXEC | O_NOCTTY | O_NONBLOCK)

/* ---- opening ---- */

int share_file_open(struct share *share, struct share_node *node, int flags)
{
	struct share_attr attr;
	bool writes = (flags & O_ACCMODE) != O_RDONLY || (flags & O_TRUNC);
	int fd, result = share_stat(share, node, &attr);

	if (result)
		return result;
	if (share->read_only && writes)
		return -EROFS;
	if (S_ISLNK(attr.stat.st_mode))
		return -ELOOP;
	if (!S_ISREG(attr.stat.st_mode) && !S_ISDIR(attr.stat.st_mode))
		return -ENXIO;
	if (S_ISDIR(attr.stat.st_mode) && writes)
		return -EISDIR;
	fd = open(proc_path(node).text, (flags & OPEN_FLAGS) | OPEN_ALWAYS);
	/* Only a file's owner may ask for it; the guest's check was against another one. */
	if (fd < 0 && errno == EPERM && (flags & O_NOATIME))
		fd = open(proc_path(node).text, (flags & OPEN_FLAGS & ~O_NOATIME) | OPEN_ALWAYS);
	return fd < 0 ? -errno : fd;
}

/* ---- making ---- */

/* Whether @dir takes a new file called @name. */
static int make_refused(const struct share *share, const char *name)
{
	if (share->read_only)
		return -EROFS;
	return share_name_ok(name, strlen(name)) ? 0 : strlen(name) > NAME_MAX ? -ENAMETOOLONG : -EINVAL;
}

static int own(struct share *share, struct share_node *node, uint32_t mode, struct share_owner owner)
{
	struct share_change change = { .set = SHARE_SET_UID | SHARE_SET_GID, .mode = mode, .uid = owner.uid, .gid = owner.gid };
	struct stat stat;

	if (share->security == SHARE_MAPPED) {
		const struct share_mapped mapped = {
			.set = SHARE_SET_MODE | SHARE_SET_UID | SHARE_SET_GID,
			.mode = mode, .uid = share_uid(share, owner.uid), .gid = share_gid(share, owner.gid),
		};

		return share_mapped_set(node, &mapped);
	}
	if (fstat(node->fd, &stat) < 0)
		return -errno;
	if (stat.st_uid == share_uid(share, owner.uid) && stat.st_gid == share_gid(share, owner.gid))
		return 0;
	if (!S_ISLNK(mode) && (mode & (S_ISUID | S_ISGID)))
		change.set |= SHARE_SET_MODE;
	return share_change(share, node, -1, &change);
}

/*
 * Gives what was just made at @name to its owner; if that fails, it is taken away again. @fd: the file itself where
 * it is open already, so that whatever became of the name doesn't matter; or -1.
 */
static int made(struct share *share, struct share_node *dir, const char *name, int fd, uint32_t mode, struct share_owner owner,
		struct share_node **node)
{
	struct proc_path path = proc_path_of(fd);
	int result = fd < 0 ? share_lookup(share, dir, name, node) : share_node_new(open(path.text, O_PATH | O_CLOEXEC), node);

	if (!result) {
		result = own(share, *node, mode, owner);
		if (result)
			share_node_put(*node);
	}
	if (result)
		unlinkat(dir->fd, name, S_ISDIR(mode) ? AT_REMOVEDIR : 0);
	return result;
}

/* The mode on the host: a mapped share's files are their host user's alone. */
static mode_t host_mode(const struct share *share, uint32_t mode, mode_t mapped)
{
	return share->security == SHARE_MAPPED ? mapped : mode & 07777;
}

int share_create(struct share *share, struct share_node *dir, const char *name, int flags, uint32_t mode,
		 struct share_owner owner, struct share_node **node)
{
	int fd, result = make_refused(share, name);
	int create = (flags & OPEN_FLAGS & ~(O_DIRECTORY | O_TRUNC)) | OPEN_ALWAYS | O_CREAT | O_EXCL | O_NOFOLLOW;

	if (result)
		return result;
	fd = openat(dir->fd, name, create, host_mode(share, mode, 0600));
	if (fd >= 0) {
		result = made(share, dir, name, fd, S_IFREG | (mode & 07777), owner, node);
		if (result)
			close(fd);
		return result ? result : fd;
	}
	if (errno != EEXIST || (flags & O_EXCL))
		return -errno;
	result = share_lookup(share, dir, name, node);
	if (result)
		return result;
	fd = share_file_open(share, *node, flags);
	if (fd < 0)
		share_node_put(*node);
	return fd;
}

int share_mkdir(struct share *share, struct share_node *dir, const char *name, uint32_t mode, struct share_owner owner,
		struct share_node **node)
{
	int result = make_refused(share, name);

	if (result)
		return result;
	if (mkdirat(dir->fd, name, host_mode(share, mode, 0700)) < 0)
		return -errno;
	return made(share, dir, name, -1, S_IFDIR | (mode & 07777), owner, node);
}

static bool device_allowed(const struct share *share, uint32_t mode, dev_t device)
{
	/* Overlay file systems mark what is gone by device 0, which is none. */
	return share->security != SHARE_NONE || !(S_ISCHR(mode) || S_ISBLK(mode)) || (S_ISCHR(mode) && !device);
}

/* A regular file that has an attribute for what it stands for. */
static int make_mapped(struct share *share, struct share_node *dir, const char *name, uint32_t mode, dev_t device,
		       const char *content, struct share_owner owner, struct share_node **node)
{
	const struct share_mapped mapped = { .set = SHARE_MAPPED_DEVICE, .device = device };
	_cleanup_close_ int fd = openat(dir->fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	size_t length = strlen(content);
	ssize_t written = fd < 0 ? -1 : write(fd, content, length);
	int result = written < 0 ? -errno : 0;

	if (fd < 0)
		return result;
	if (written != (ssize_t)length) {
		unlinkat(dir->fd, name, 0);
		return result ? result : -ENOSPC;
	}
	result = made(share, dir, name, fd, mode, owner, node);
	if (result || !device)
		return result;
	result = share_mapped_set(*node, &mapped);
	if (result) {
		unlinkat(dir->fd, name, 0);
		share_node_put(*node);
	}
	return result;
}

int share_mknod(struct share *share, struct share_node *dir, const char *name, uint32_t mode, dev_t device,
		struct share_owner owner, struct share_node **node)
{
	int result = make_refused(share, name);

	if (result)
		return result;
	if (!(mode & S_IFMT))
		mode |= S_IFREG;
	if (!S_ISREG(mode) && !S_ISFIFO(mode) && !S_ISSOCK(mode) && !S_ISCHR(mode) && !S_ISBLK(mode))
		return -EINVAL;
	if (!S_ISCHR(mode) && !S_ISBLK(mode))
		device = 0;
	if (!device_allowed(share, mode, device))
		return -EPERM;
	if (share->security == SHARE_MAPPED)
		return make_mapped(share, dir, name, mode & (S_IFMT | 07777), device, "", owner, node);
	if (mknodat(dir->fd, name, mode & (S_IFMT | 07777), device) < 0)
		return -errno;
	return made(share, dir, name, -1, mode & (S_IFMT | 07777), owner, node);
}

int share_symlink(struct share *share, struct share_node *dir, const char *name, const char *target, struct share_owner owner,
		  struct share_node **node)
{
	int result = make_refused(share, name);

	if (result)
		return result;
	if (!*target || strlen(target) >= PATH_MAX)
		return *target ? -ENAMETOOLONG : -ENOENT;
	if (share->security == SHARE_MAPPED)
		return make_mapped(share, dir, name, S_IFLNK | 0777, 0, target, owner, node);
	if (symlinkat(target, dir->fd, name) < 0)
		return -errno;
	return made(share, dir, name, -1, S_IFLNK | 0777, owner, node);
}

/* A mapped share's symlinks are files that hold the target. */
static int readlink_mapped(const struct share_node *node, char *target, size_t size)
{
	_cleanup_close_ int fd = open(proc_path(node).text, O_RDONLY | OPEN_ALWAYS);
	ssize_t length = fd < 0 ? -1 : pread(fd, target, size - 1, 0);

	if (length < 0)
		return -errno;
	target[length] = '\0';
	return (int)strlen(target);
}

int share_readlink(struct share *share, struct share_node *node, char *target, size_t size)
{
	struct share_attr attr;
	int result = share_stat(share, node, &attr);
	struct stat host;
	ssize_t length;

	if (result)
		return result;
	if (!S_ISLNK(attr.stat.st_mode))
		return -EINVAL;
	if (fstat(node->fd, &host) < 0)
		return -errno;
	if (!S_ISLNK(host.st_mode))
		return readlink_mapped(node, target, size);
	length = readlinkat(node->fd, "", target, size);
	if (length < 0)
		return -errno;
	if ((size_t)length >= size)
		return -ENAMETOOLONG;
	target[length] = '\0';
	return (int)length;
}

/* ---- names ---- */

int share_link(struct share *share, struct share_node *node, struct share_node *dir, const char *name)
{
	int result = make_refused(share, name);

	/* AT_EMPTY_PATH would need a capability; the magic link doesn't. */
	if (!result && linkat(AT_FDCWD, proc_path(node).text, dir->fd, name, AT_SYMLINK_FOLLOW) < 0)
		result = -errno;
	return result;
}

int share_rename(struct share *share, struct share_node *from, const char *from_name, struct share_node *to,
		 const char *to_name, unsigned int flags)
{
	int result = make_refused(share, to_name);

	if (!result)
		result = make_refused(share, from_name);
	if (!result && renameat2(from->fd, from_name, to->fd, to_name, flags) < 0)
		result = -errno;
	return result;
}

int share_unlink(struct share *share, struct share_node *dir, const char *name, bool folder)
{
	int result = make_refused(share, name);

	if (!result && unlinkat(dir->fd, name, folder ? AT_REMOVEDIR : 0) < 0)
		result = -errno;
	return result;
}
