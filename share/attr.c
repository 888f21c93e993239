/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is known of a node and what changes it: attributes, and the extended ones.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#include "share/share.h"

static struct timespec timespec_of(const struct statx_timestamp *from)
{
	return (struct timespec){ .tv_sec = (time_t)from->tv_sec, .tv_nsec = from->tv_nsec };
}

static void stat_from(struct stat *stat, const struct statx *from)
{
	*stat = (struct stat){
		.st_dev = makedev(from->stx_dev_major, from->stx_dev_minor),
		.st_ino = from->stx_ino,
		.st_mode = from->stx_mode,
		.st_nlink = from->stx_nlink,
		.st_uid = from->stx_uid,
		.st_gid = from->stx_gid,
		.st_rdev = makedev(from->stx_rdev_major, from->stx_rdev_minor),
		.st_size = (off_t)from->stx_size,
		.st_blksize = (blksize_t)from->stx_blksize,
		.st_blocks = (blkcnt_t)from->stx_blocks,
		.st_atim = timespec_of(&from->stx_atime),
		.st_mtim = timespec_of(&from->stx_mtime),
		.st_ctim = timespec_of(&from->stx_ctime),
	};
}

int share_stat(struct share *share, struct share_node *node, struct share_attr *attr)
{
	struct statx from;

	if (statx(node->fd, "", AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &from) < 0)
		return -errno;
	stat_from(&attr->stat, &from);
	attr->birth = from.stx_mask & STATX_BTIME ? timespec_of(&from.stx_btime) : (struct timespec){ 0 };
	attr->id = share_id(share, attr->stat.st_dev, attr->stat.st_ino);
	if (share->security == SHARE_MAPPED)
		share_mapped_stat(node, &attr->stat);
	attr->stat.st_uid = share_uid(share, attr->stat.st_uid);
	attr->stat.st_gid = share_gid(share, attr->stat.st_gid);
	return 0;
}

int share_statfs(struct share *share, struct share_node *node, struct statfs *fs)
{
	(void)share;
	return fstatfs(node->fd, fs) < 0 ? -errno : 0;
}

/* ---- changes ---- */

static int change_mapped(struct share_node *node, const struct share_change *change, const struct share_mapped *owner)
{
	struct share_mapped mapped = *owner;
	struct stat stat;

	if (fstat(node->fd, &stat) < 0)
		return -errno;
	share_mapped_stat(node, &stat);
	mapped.mode = (stat.st_mode & S_IFMT) | (change->mode & 07777);
	return share_mapped_set(node, &mapped);
}

static int change_owner(struct share *share, struct share_node *node, const struct share_mapped *owner)
{
	uid_t uid = owner->set & SHARE_SET_UID ? owner->uid : (uid_t)-1;
	gid_t gid = owner->set & SHARE_SET_GID ? owner->gid : (gid_t)-1;

	if (fchownat(node->fd, "", uid, gid, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) == 0)
		return 0;
	return errno == EPERM && share->security == SHARE_NONE ? 0 : -errno;
}

static int change_ids(struct share *share, struct share_node *node, const struct share_change *change)
{
	struct share_mapped owner = {
		.set = change->set & (SHARE_SET_MODE | SHARE_SET_UID | SHARE_SET_GID),
		.uid = share_uid(share, change->uid), .gid = share_gid(share, change->gid),
	};
	int result = 0;

	if (share->security == SHARE_MAPPED)
		return owner.set ? change_mapped(node, change, &owner) : 0;
	/* The owner first: changing it takes set-user-ID away. */
	if (owner.set & (SHARE_SET_UID | SHARE_SET_GID))
		result = change_owner(share, node, &owner);
	if (!result && (owner.set & SHARE_SET_MODE) && chmod(proc_path(node).text, change->mode & 07777) < 0)
		result = -errno;
	return result;
}

static int change_size(struct share_node *node, int fd, uint64_t size)
{
	struct stat stat;

	if (size > INT64_MAX)
		return -EFBIG;
	if (fd >= 0 && ftruncate(fd, (off_t)size) == 0)
		return 0;
	/* Opening a device or a pipe, as truncate() does, may wait for ever. */
	if (fstat(node->fd, &stat) < 0)
		return -errno;
	if (!S_ISREG(stat.st_mode))
		return S_ISDIR(stat.st_mode) ? -EISDIR : -EINVAL;
	return truncate(proc_path(node).text, (off_t)size) < 0 ? -errno : 0;
}

static bool time_ok(const struct timespec *time)
{
	return time->tv_nsec == UTIME_NOW || (time->tv_nsec >= 0 && time->tv_nsec < 1000000000);
}

static int change_times(struct share_node *node, const struct share_change *change)
{
	struct timespec times[2] = { { .tv_nsec = UTIME_OMIT }, { .tv_nsec = UTIME_OMIT } };

	if (change->set & SHARE_SET_ATIME)
		times[0] = change->atime;
	if (change->set & SHARE_SET_MTIME)
		times[1] = change->mtime;
	if (((change->set & SHARE_SET_ATIME) && !time_ok(&times[0])) || ((change->set & SHARE_SET_MTIME) && !time_ok(&times[1])))
		return -EINVAL;
	return utimensat(AT_FDCWD, proc_path(node).text, times, 0) < 0 ? -errno : 0;
}

int share_change(struct share *share, struct share_node *node, int fd, const struct share_change *change)
{
	int result = 0;

	if (share->read_only)
		return -EROFS;
	if (change->set & (SHARE_SET_MODE | SHARE_SET_UID | SHARE_SET_GID))
		result = change_ids(share, node, change);
	if (!result && (change->set & SHARE_SET_SIZE))
		result = change_size(node, fd, change->size);
	if (!result && (change->set & (SHARE_SET_ATIME | SHARE_SET_MTIME)))
		result = change_times(node, change);
	else if (!result && change->set == SHARE_SET_CTIME &&
		 fchownat(node->fd, "", (uid_t)-1, (gid_t)-1, AT_EMPTY_PATH | AT_SYMLINK_NOFOLLOW) < 0)
		result = -errno;
	return result;
}

/* ---- extended attributes ---- */

static int xattr_refused(const struct share *share, const char *name)
{
	if (!*name || strlen(name) > XATTR_NAME_MAX)
		return -EINVAL;
	return share->security == SHARE_MAPPED && share_mapped_hides(name) ? -EOPNOTSUPP : 0;
}

ssize_t share_xattr_get(struct share *share, struct share_node *node, const char *name, void *value, size_t size)
{
	int refused = xattr_refused(share, name);
	ssize_t length = refused ? refused : getxattr(proc_path(node).text, name, value, size);

	return length < 0 && !refused ? -errno : length;
}

/* Squeezes out of @names what the share keeps for itself. */
static size_t names_filter(char *names, size_t length)
{
	size_t kept = 0, part;

	for (size_t at = 0; at < length; at += part) {
		part = strnlen(names + at, length - at);
		part += at + part < length;
		if (names[at + part - 1] || share_mapped_hides(names + at))
			continue;
		memmove(names + kept, names + at, part);
		kept += part;
	}
	return kept;
}

ssize_t share_xattr_list(struct share *share, struct share_node *node, char *names, size_t size)
{
	/* Asked for the length alone, overlayfs counts names that it then leaves out. */
	_cleanup_free_ char *all = malloc(XATTR_LIST_MAX);
	ssize_t length;

	if (!all)
		return -ENOMEM;
	length = listxattr(proc_path(node).text, all, XATTR_LIST_MAX);
	if (length < 0)
		return -errno;
	if (share->security == SHARE_MAPPED)
		length = (ssize_t)names_filter(all, (size_t)length);
	if (!size)
		return length;
	if ((size_t)length > size)
		return -ERANGE;
	memcpy(names, all, (size_t)length);
	return length;
}

int share_xattr_set(struct share *share, struct share_node *node, const char *name, const void *value, size_t size, int flags)
{
	int refused = share->read_only ? -EROFS : xattr_refused(share, name);

	if (!refused && setxattr(proc_path(node).text, name, value, size, flags) < 0)
		refused = -errno;
	return refused;
}

int share_xattr_remove(struct share *share, struct share_node *node, const char *name)
{
	int refused = share->read_only ? -EROFS : xattr_refused(share, name);

	if (!refused && removexattr(proc_path(node).text, name) < 0)
		refused = -errno;
	return refused;
}
