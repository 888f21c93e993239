/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The messages of FUSE that begin and end a session, and that find, make, rename and describe files. What is in a
 * message was checked for its form by fs_get*(); what it may do, the share decides.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/sysmacros.h>

#include "virtio/fs.h"

/* ---- the session ---- */

#define WANTED	(FUSE_ASYNC_READ | FUSE_BIG_WRITES | FUSE_ATOMIC_O_TRUNC | FUSE_AUTO_INVAL_DATA | FUSE_DO_READDIRPLUS | \
		 FUSE_READDIRPLUS_AUTO | FUSE_ASYNC_DIO | FUSE_PARALLEL_DIROPS | FUSE_MAX_PAGES)

int fs_init_(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	struct fuse_init_in asked;
	struct fuse_init_out reply = { .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION };
	int result;

	/* Before 7.36 it ended behind the flags. */
	memset(&asked, 0, sizeof(asked));
	fs_get(in, &asked, offsetof(struct fuse_init_in, flags2));
	if (in->error)
		return in->error;
	/* A later guest asks again, by our version. */
	if (asked.major > FUSE_KERNEL_VERSION) {
		fs_put(out, &reply, sizeof(reply));
		return 0;
	}
	if (asked.major < FUSE_KERNEL_VERSION || asked.minor < FS_MINOR_MIN)
		return -EPROTO;
	result = fs_session_start(call->fs);
	if (result)
		return result;
	atomic_store(&call->fs->minor, asked.minor);
	reply.flags = asked.flags & WANTED;
	reply.max_readahead = asked.max_readahead;
	reply.max_background = 64;
	reply.congestion_threshold = 48;
	reply.max_write = FS_WRITE_MAX;
	reply.max_pages = FS_WRITE_MAX / 4096;
	reply.time_gran = 1;
	fs_put(out, &reply, sizeof(reply));
	return 0;
}

int fs_destroy(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	(void)in;
	(void)out;
	fs_session_end(call->fs);
	return 0;
}

int fs_forget(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	struct fuse_forget_in forget;

	(void)out;
	fs_get(in, &forget, sizeof(forget));
	if (!in->error)
		fs_node_forget(call->fs, call->header.nodeid, forget.nlookup);
	return in->error;
}

int fs_batch_forget(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	size_t at = sizeof(call->header) + sizeof(struct fuse_batch_forget_in);
	struct fuse_batch_forget_in batch;
	struct fuse_forget_one one;

	(void)out;
	fs_get(in, &batch, sizeof(batch));
	/* No more than the message has. */
	for (; batch.count && at + sizeof(one) <= call->header.len; batch.count--, at += sizeof(one)) {
		if (virtio_request_read(call->req, at, &one, sizeof(one)) != sizeof(one))
			break;
		fs_node_forget(call->fs, one.nodeid, one.nlookup);
	}
	return in->error;
}

/* ---- finding ---- */

/* The folder that most messages are about, and a name in it. */
static int get_place(struct fs_call *call, struct fs_in *in, struct share_node **dir, char name[NAME_MAX + 1])
{
	fs_get_name(in, name);
	return in->error ? in->error : fs_node_get(call->fs, call->header.nodeid, dir);
}

int fs_lookup(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_node_ struct share_node *dir = NULL;
	char name[NAME_MAX + 1];
	struct share_node *node;
	int result = get_place(call, in, &dir, name);

	if (!result)
		result = share_lookup(call->fs->share, dir, name, &node);
	return result ? result : fs_put_entry(call, out, node);
}

int fs_readlink(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_node_ struct share_node *node = NULL;
	char target[PATH_MAX];
	int result = fs_node_get(call->fs, call->header.nodeid, &node);

	(void)in;
	if (!result)
		result = share_readlink(call->fs->share, node, target, sizeof(target));
	if (result < 0)
		return result;
	fs_put(out, target, strlen(target));
	return 0;
}

/* ---- making ---- */

int fs_mkdir(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_node_ struct share_node *dir = NULL;
	struct fuse_mkdir_in asked;
	char name[NAME_MAX + 1];
	struct share_node *node;
	int result;

	fs_get(in, &asked, sizeof(asked));
	result = get_place(call, in, &dir, name);
	if (!result)
		result = share_mkdir(call->fs->share, dir, name, asked.mode, fs_owner(call), &node);
	return result ? result : fs_put_entry(call, out, node);
}

int fs_mknod(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_node_ struct share_node *dir = NULL;
	struct fuse_mknod_in asked;
	char name[NAME_MAX + 1];
	struct share_node *node;
	dev_t device;
	int result;

	fs_get(in, &asked, sizeof(asked));
	device = makedev(asked.rdev >> 8 & 0xfff, (asked.rdev & 0xff) | (asked.rdev >> 12 & 0xfff00));
	result = get_place(call, in, &dir, name);
	if (!result)
		result = share_mknod(call->fs->share, dir, name, asked.mode, device, fs_owner(call), &node);
	return result ? result : fs_put_entry(call, out, node);
}

int fs_symlink(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_node_ struct share_node *dir = NULL;
	char name[NAME_MAX + 1], target[PATH_MAX];
	struct share_node *node;
	int result = get_place(call, in, &dir, name);

	if (result)
		return result;
	fs_get_string(in, target, sizeof(target));
	result = in->error;
	if (!result)
		result = share_symlink(call->fs->share, dir, name, target, fs_owner(call), &node);
	return result ? result : fs_put_entry(call, out, node);
}

int fs_link(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_node_ struct share_node *dir = NULL;
	_cleanup_node_ struct share_node *node = NULL;
	struct fuse_link_in asked;
	char name[NAME_MAX + 1];
	int result;

	fs_get(in, &asked, sizeof(asked));
	result = get_place(call, in, &dir, name);
	if (!result)
		result = fs_node_get(call->fs, asked.oldnodeid, &node);
	if (!result)
		result = share_link(call->fs->share, node, dir, name);
	return result ? result : fs_put_entry(call, out, share_node_get(node));
}

/* ---- names ---- */

static int rename_to(struct fs_call *call, struct fs_in *in, uint64_t to_number, unsigned int flags)
{
	_cleanup_node_ struct share_node *from = NULL;
	_cleanup_node_ struct share_node *to = NULL;
	char from_name[NAME_MAX + 1], to_name[NAME_MAX + 1];
	int result = get_place(call, in, &from, from_name);

	if (result)
		return result;
	fs_get_name(in, to_name);
	result = in->error ? in->error : fs_node_get(call->fs, to_number, &to);
	return result ? result : share_rename(call->fs->share, from, from_name, to, to_name, flags);
}

int fs_rename(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	struct fuse_rename_in asked;

	(void)out;
	fs_get(in, &asked, sizeof(asked));
	return rename_to(call, in, asked.newdir, 0);
}

int fs_rename2(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	struct fuse_rename2_in asked;

	(void)out;
	fs_get(in, &asked, sizeof(asked));
	/* Not a whiteout, which is a device. */
	if (asked.flags & ~(RENAME_NOREPLACE | RENAME_EXCHANGE))
		return -EINVAL;
	return rename_to(call, in, asked.newdir, asked.flags);
}

static int unlink_one(struct fs_call *call, struct fs_in *in, bool folder)
{
	_cleanup_node_ struct share_node *dir = NULL;
	char name[NAME_MAX + 1];
	int result = get_place(call, in, &dir, name);

	return result ? result : share_unlink(call->fs->share, dir, name, folder);
}

int fs_unlink(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	(void)out;
	return unlink_one(call, in, false);
}

int fs_rmdir(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	(void)out;
	return unlink_one(call, in, true);
}

/* ---- attributes ---- */

static int put_attr(struct fs_call *call, struct fs_out *out, struct share_node *node)
{
	struct fuse_attr_out reply = { .attr_valid = 1 };
	struct share_attr attr;
	int result = share_stat(call->fs->share, node, &attr);

	if (result)
		return result;
	fs_attr_of(&attr, &reply.attr);
	fs_put(out, &reply, sizeof(reply));
	return 0;
}

int fs_getattr(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_node_ struct share_node *node = NULL;
	int result = fs_node_get(call->fs, call->header.nodeid, &node);

	/* By a handle it is the same file. */
	(void)in;
	return result ? result : put_attr(call, out, node);
}

_Static_assert(FATTR_MODE == SHARE_SET_MODE && FATTR_UID == SHARE_SET_UID && FATTR_GID == SHARE_SET_GID &&
	       FATTR_SIZE == SHARE_SET_SIZE && FATTR_ATIME == SHARE_SET_ATIME && FATTR_MTIME == SHARE_SET_MTIME,
	       "FUSE_SETATTR's bits are the share's");

static struct timespec time_of(uint64_t seconds, uint32_t nanoseconds, bool now)
{
	/* What is no time is refused later, but must not mean "now". */
	return (struct timespec){ .tv_sec = (time_t)seconds, .tv_nsec = now ? UTIME_NOW : nanoseconds < 1000000000 ? (long)nanoseconds : -1 };
}

static void change_of(const struct fuse_setattr_in *asked, struct share_change *change)
{
	*change = (struct share_change){
		.set = (asked->valid & 0x3f) | (asked->valid & FATTR_CTIME ? SHARE_SET_CTIME : 0U),
		.mode = asked->mode, .uid = asked->uid, .gid = asked->gid, .size = asked->size,
		.atime = time_of(asked->atime, asked->atimensec, asked->valid & FATTR_ATIME_NOW),
		.mtime = time_of(asked->mtime, asked->mtimensec, asked->valid & FATTR_MTIME_NOW),
	};
}

int fs_setattr(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_node_ struct share_node *node = NULL;
	_cleanup_use_ struct fs_use use = { 0 };
	struct fuse_setattr_in asked;
	struct share_change change;
	int result;

	fs_get(in, &asked, sizeof(asked));
	result = in->error ? in->error : fs_node_get(call->fs, call->header.nodeid, &node);
	if (!result && (asked.valid & FATTR_FH))
		result = fs_use_get(call->fs, asked.fh, &use);
	/* A handle of another file is no right to change this one. */
	if (!result && use.handle && use.handle->of != call->header.nodeid)
		result = -EBADF;
	if (result)
		return result;
	change_of(&asked, &change);
	result = share_change(call->fs->share, node, use.handle && !use.handle->dir ? use.handle->fd : -1, &change);
	return result ? result : put_attr(call, out, node);
}

int fs_statfs(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_node_ struct share_node *node = NULL;
	struct fuse_statfs_out reply = { 0 };
	struct statfs fs;
	int result = fs_node_get(call->fs, call->header.nodeid, &node);

	(void)in;
	if (!result)
		result = share_statfs(call->fs->share, node, &fs);
	if (result)
		return result;
	reply.st = (struct fuse_kstatfs){
		.blocks = fs.f_blocks, .bfree = fs.f_bfree, .bavail = fs.f_bavail, .files = fs.f_files, .ffree = fs.f_ffree,
		.bsize = (uint32_t)fs.f_bsize, .namelen = (uint32_t)fs.f_namelen, .frsize = (uint32_t)fs.f_frsize,
	};
	fs_put(out, &reply, sizeof(reply));
	return 0;
}
