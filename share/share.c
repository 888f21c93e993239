/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A share's root and nodes, and the ways to them; see kvm/share.h.
 *
 * One name from an O_PATH fd with O_NOFOLLOW can't leave the folder that fd is; only ".." could, so it is never given
 * to the kernel: the node's path is asked for, and its parent resolved beneath the root. If the folder moves meanwhile,
 * that finds another folder of the share, or none.
 */
#include "share/share.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sched.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/xattr.h>

#include "kvm/log.h"

/* ---- nodes ---- */

int share_node_new(int fd, struct share_node **out)
{
	struct share_node *node;

	if (fd < 0)
		return -errno;
	node = malloc(sizeof(*node));
	if (!node) {
		close(fd);
		return -ENOMEM;
	}
	atomic_init(&node->refs, 1);
	node->fd = fd;
	*out = node;
	return 0;
}

struct share_node *share_node_get(struct share_node *node)
{
	atomic_fetch_add_explicit(&node->refs, 1, memory_order_relaxed);
	return node;
}

void share_node_put(struct share_node *node)
{
	if (!node || atomic_fetch_sub_explicit(&node->refs, 1, memory_order_acq_rel) != 1)
		return;
	close(node->fd);
	free(node);
}

struct share_node *share_root(struct share *share)
{
	return share_node_get(share->root);
}

bool share_read_only(const struct share *share)
{
	return share->read_only;
}

/* Numbers of the root's file system are left as they are; those of others get its number mixed in, above. */
uint64_t share_id(const struct share *share, dev_t device, ino_t inode)
{
	uint64_t mixed = (uint64_t)device * 0x9e3779b97f4a7c15ULL;

	return device == share->device ? inode : inode ^ (mixed & ~0xffffffffULL);
}

/* ---- ways ---- */

bool share_name_ok(const char *name, size_t length)
{
	if (!length || length > NAME_MAX || memchr(name, '/', length) || memchr(name, '\0', length))
		return false;
	return name[0] != '.' || (length != 1 && (length != 2 || name[1] != '.'));
}

int share_at(struct share *share, const char *path, struct share_node **node)
{
	struct open_how how = {
		.flags = O_PATH | O_CLOEXEC | O_NOFOLLOW,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_SYMLINKS,
	};
	int fd;

	if (!*path) {
		*node = share_root(share);
		return 0;
	}
	/* For O_PATH with O_NOFOLLOW the last component may be a symlink, which is then the node. */
	fd = (int)syscall(SYS_openat2, share->root->fd, path, &how, sizeof(how));
	return share_node_new(fd, node);
}

int share_path(struct share *share, struct share_node *node, char path[PATH_MAX])
{
	char root[PATH_MAX];
	struct proc_path link = proc_path(share->root);
	struct stat stat;
	ssize_t root_length, length;

	root_length = readlink(link.text, root, sizeof(root));
	link = proc_path(node);
	length = readlink(link.text, path, PATH_MAX);
	if (root_length < 0 || length < 0)
		return -errno;
	if (length == PATH_MAX || root_length == PATH_MAX)
		return -ENAMETOOLONG;
	if (root_length == 1)
		root_length = 0;
	if (length < root_length || memcmp(path, root, (size_t)root_length) != 0)
		return -ENOENT;
	/* The link's text says so of an unlinked file; a file may be called that, too. */
	if (fstat(node->fd, &stat) < 0)
		return -errno;
	if (!stat.st_nlink)
		return -ENOENT;
	path[length] = '\0';
	if (path[root_length] == '\0' || strcmp(path, "/") == 0) {
		path[0] = '\0';
		return 0;
	}
	if (path[root_length] != '/')
		return -ENOENT;
	memmove(path, path + root_length + 1, (size_t)(length - root_length));
	return 0;
}

/* The folder that @node lies in, by path; *@name is the part of @path behind it. */
static int node_above(struct share *share, struct share_node *node, char path[PATH_MAX], const char **name,
		      struct share_node **dir)
{
	int result = share_path(share, node, path);
	char *slash;

	if (result)
		return result;
	slash = strrchr(path, '/');
	*name = slash ? slash + 1 : path;
	if (!slash) {
		*dir = share_root(share);
		return 0;
	}
	*slash = '\0';
	return share_at(share, path, dir);
}

int share_lookup(struct share *share, struct share_node *dir, const char *name, struct share_node **node)
{
	char path[PATH_MAX];

	if (strcmp(name, "..") == 0)
		return node_above(share, dir, path, &name, node);
	if (!share_name_ok(name, strlen(name)))
		return -ENOENT;
	return share_node_new(openat(dir->fd, name, O_PATH | O_NOFOLLOW | O_CLOEXEC), node);
}

/* Whether @node is what @name in the folder @dir means. */
static int is_called(const struct share_node *node, const struct share_node *dir, const char *name)
{
	struct stat here, there;

	if (!*name)
		return -EBUSY;
	if (fstatat(dir->fd, name, &there, AT_SYMLINK_NOFOLLOW) < 0 || fstat(node->fd, &here) < 0)
		return -errno;
	return here.st_dev == there.st_dev && here.st_ino == there.st_ino ? 0 : -ENOENT;
}

int share_where(struct share *share, struct share_node *node, struct share_node **dir, char name[NAME_MAX + 1])
{
	char path[PATH_MAX];
	const char *last;
	int result = node_above(share, node, path, &last, dir);

	if (result)
		return result;
	result = strlen(last) > NAME_MAX ? -ENAMETOOLONG : is_called(node, *dir, last);
	if (result)
		share_node_put(*dir);
	else
		memcpy(name, last, strlen(last) + 1);
	return result;
}

/* ---- the share ---- */

void share_thread_enter(void)
{
	/* File modes are the guest's; the process has files of its own to make, with its user's umask. */
	if (unshare(CLONE_FS) == 0)
		umask(0);
}

static int share_open_root(struct share *share, const char *option, const char *path)
{
	_cleanup_close_ int fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct stat stat;

	if (fd < 0 && errno == ENOTDIR)
		return log_error(ENOTDIR, "--%s: '%s' is not a folder", option, path);
	if (fd < 0 || fstat(fd, &stat) < 0)
		return log_errno(errno, "--%s: folder '%s' can't be shared", option, path);
	share->device = stat.st_dev;
	return share_node_new(take_fd(&fd), &share->root) ? log_errno(ENOMEM, "--%s", option) : 0;
}

/* What shares are built on, so that its lack is said now, not by a guest's errors. */
static int share_check_host(struct share *share, const char *option, const char *path)
{
	struct share_node *self = NULL;
	int result = share_at(share, ".", &self);

	if (result == -ENOSYS)
		return log_error(ENOSYS, "--%s: the host's kernel has no openat2 (Linux 5.6 has)", option);
	if (result)
		return log_errno(result, "--%s: folder '%s' can't be shared", option, path);
	share_node_put(self);
	if (access(proc_path(share->root).text, F_OK) < 0)
		return log_errno(errno, "--%s: sharing a folder needs /proc", option);
	if (share->security == SHARE_MAPPED && getxattr(proc_path(share->root).text, "user.virtfs.mode", NULL, 0) < 0 &&
	    errno == EOPNOTSUPP)
		return log_error(EOPNOTSUPP, "--%s: '%s' lies on a file system without extended attributes of users, which "
				 "security=mapped needs", option, path);
	return 0;
}

int share_open(struct share **out, const char *option, const struct share_options *options)
{
	struct share *share = calloc(1, sizeof(*share));
	int result;

	if (!share)
		return log_errno(ENOMEM, "--%s", option);
	share->security = options->security;
	share->read_only = options->read_only;
	share->map = options->map;
	share->map_uid = options->map_uid;
	share->map_gid = options->map_gid;
	share->host_uid = geteuid();
	share->host_gid = getegid();
	result = share_open_root(share, option, options->path);
	if (!result)
		result = share_check_host(share, option, options->path);
	if (result)
		share_close(share);
	else
		*out = share;
	return result;
}

void share_close(struct share *share)
{
	if (!share)
		return;
	share_node_put(share->root);
	free(share);
}
