/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The messages of 9P2000.L that find, make, rename and describe files. What is in a message was checked for its form
 * by nine_get_*(); what it may do, the share decides.
 */
#include <string.h>
#include <sys/sysmacros.h>

#include "virtio/9p.h"

#define NOFID		UINT32_MAX
#define NOUSER		65534		/* nobody */
#define UNLINK_FOLDER	0x200U		/* Tunlinkat's flag */
#define ROOM_MIN	(NINE_HEADER + 4)

_Static_assert(ROOM_MIN == NINE_IO_HEADER, "the smallest reply with an error is as long as Rread's header");

/* ---- the session ---- */

/* The device has waited for all other calls. */
int nine_version(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	uint32_t msize = nine_get32(in);
	char version[32];

	nine_get_string(in, version, sizeof(version));
	if (in->error == -ENAMETOOLONG)
		in->error = 0;
	if (in->error)
		return in->error;
	if (msize < NINE_MSIZE_MIN)
		return -EMSGSIZE;
	nine_fids_clear(call->nine);
	msize = MIN(msize, (uint32_t)NINE_MSIZE_MAX);
	atomic_store(&call->nine->msize, strcmp(version, "9P2000.L") == 0 ? msize : 0);
	nine_put32(out, msize);
	nine_put_string(out, atomic_load(&call->nine->msize) ? version : "unknown");
	return 0;
}

int nine_attach(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	struct nine *nine = call->nine;
	struct share_node *node;
	struct share_attr attr;
	char name[256], path[PATH_MAX];
	uint32_t number = nine_get32(in), uid;
	int result;

	/* There is no authentication: the guest can't choose an afid that exists. */
	if (nine_get32(in) != NOFID)
		return in->error ? in->error : -EOPNOTSUPP;
	nine_get_string(in, name, sizeof(name));
	nine_get_string(in, path, sizeof(path));
	uid = nine_get32(in);
	if (in->error)
		return in->error;
	result = share_at(nine->share, path + strspn(path, "/"), &node);
	if (result)
		return result;
	result = share_stat(nine->share, node, &attr);
	if (result) {
		share_node_put(node);
		return result;
	}
	nine_put_qid(out, &attr);
	return nine_fid_add(nine, number, uid == UINT32_MAX ? NOUSER : uid, node, NULL);
}

/* ---- walking ---- */

/* Gives the fid that is walked from another file; nobody else's call has it for longer than its node. */
static int walk_replace(struct nine_fid *fid, struct share_node *node)
{
	struct share_node *old = node;
	int result = -EINVAL;

	pthread_mutex_lock(&fid->lock);
	if (!fid->open && !fid->xattr) {
		old = fid->node;
		fid->node = node;
		result = 0;
	}
	pthread_mutex_unlock(&fid->lock);
	share_node_put(old);
	return result;
}

/* Goes on from *@node by one name. */
static int walk_step(struct share *share, struct share_node **node, const char *name, struct nine_out *out)
{
	struct share_node *next;
	struct share_attr attr;
	int result = share_lookup(share, *node, name, &next);

	if (result)
		return result;
	result = share_stat(share, next, &attr);
	if (result) {
		share_node_put(next);
		return result;
	}
	share_node_put(*node);
	*node = next;
	nine_put_qid(out, &attr);
	return 0;
}

static void walk_get_name(struct nine_in *in, char name[NAME_MAX + 1])
{
	nine_get_string(in, name, NAME_MAX + 1);
	if (!in->error && strcmp(name, "..") != 0 && !share_name_ok(name, strlen(name)))
		in->error = -EINVAL;
}

int nine_walk(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	struct nine *nine = call->nine;
	uint32_t number = nine_get32(in), newfid = nine_get32(in);
	uint16_t names = nine_get16(in), done = 0;
	char name[NAME_MAX + 1];
	struct share_node *node;
	int result;

	if (in->error || names > NINE_WALK_MAX)
		return -EINVAL;
	result = nine_ref_get(nine, number, &ref);
	if (result)
		return result;
	if (ref.xattr)
		return -EBADF;
	nine_put16(out, 0);
	node = share_node_get(ref.node);
	for (; done < names && !result; done += !result) {
		walk_get_name(in, name);
		result = in->error ? in->error : walk_step(nine->share, &node, name, out);
	}
	/* Stopped on the way: the client hears how far it came, and newfid stays what it was. */
	if (result) {
		share_node_put(node);
		out->data[0] = (uint8_t)done;
		return done && !in->error ? 0 : result;
	}
	out->data[0] = (uint8_t)done;
	if (newfid == number)
		return walk_replace(ref.fid, node);
	return nine_fid_add(nine, newfid, ref.fid->uid, node, NULL);
}

/* ---- making ---- */

/* What Tsymlink, Tmknod, Tmkdir and Tlcreate begin with: a folder and a name in it. */
static int get_place(struct nine_call *call, struct nine_in *in, struct nine_ref *dir, char name[NAME_MAX + 1])
{
	uint32_t number = nine_get32(in);

	nine_get_name(in, name);
	return in->error ? in->error : nine_ref_get(call->nine, number, dir);
}

/* Answers with the qid of what was made, and puts it. */
static int reply_made(struct nine_call *call, struct nine_out *out, struct share_node *node)
{
	struct share_attr attr;
	int result = share_stat(call->nine->share, node, &attr);

	if (!result)
		nine_put_qid(out, &attr);
	share_node_put(node);
	return result;
}

int nine_mkdir(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref dir = { 0 };
	char name[NAME_MAX + 1];
	int result = get_place(call, in, &dir, name);
	uint32_t mode = nine_get32(in), gid = nine_get32(in);
	struct share_node *node;

	if (result || in->error)
		return result ? result : in->error;
	result = share_mkdir(call->nine->share, dir.node, name, mode, (struct share_owner){ dir.fid->uid, gid }, &node);
	return result ? result : reply_made(call, out, node);
}

int nine_mknod(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref dir = { 0 };
	char name[NAME_MAX + 1];
	int result = get_place(call, in, &dir, name);
	uint32_t mode = nine_get32(in), major_ = nine_get32(in), minor_ = nine_get32(in), gid = nine_get32(in);
	struct share_node *node;

	if (result || in->error)
		return result ? result : in->error;
	result = share_mknod(call->nine->share, dir.node, name, mode, makedev(major_, minor_),
			     (struct share_owner){ dir.fid->uid, gid }, &node);
	return result ? result : reply_made(call, out, node);
}

int nine_symlink(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref dir = { 0 };
	char name[NAME_MAX + 1], target[PATH_MAX];
	int result = get_place(call, in, &dir, name);
	struct share_node *node;
	uint32_t gid;

	nine_get_string(in, target, sizeof(target));
	gid = nine_get32(in);
	if (result || in->error)
		return result ? result : in->error;
	result = share_symlink(call->nine->share, dir.node, name, target, (struct share_owner){ dir.fid->uid, gid }, &node);
	return result ? result : reply_made(call, out, node);
}

int nine_lcreate(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref dir = { 0 };
	struct nine *nine = call->nine;
	char name[NAME_MAX + 1];
	int fd, result = get_place(call, in, &dir, name);
	uint32_t flags = nine_get32(in), mode = nine_get32(in), gid = nine_get32(in);
	struct share_node *node;
	struct share_attr attr;

	if (result || in->error)
		return result ? result : in->error;
	if (dir.fd >= 0 || dir.xattr)
		return -EINVAL;
	fd = share_create(nine->share, dir.node, name, nine_host_flags(flags), mode,
			  (struct share_owner){ dir.fid->uid, gid }, &node);
	if (fd < 0)
		return fd;
	result = share_stat(nine->share, node, &attr);
	if (result) {
		close(fd);
	} else {
		nine_put_qid(out, &attr);
		nine_put32(out, 0);
		result = nine_fid_opened(nine, dir.fid, node, fd, flags, S_ISDIR(attr.stat.st_mode));
	}
	share_node_put(node);
	return result;
}

int nine_link(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref dir = { 0 };
	_cleanup_ref_ struct nine_ref ref = { 0 };
	uint32_t to = nine_get32(in), from = nine_get32(in);
	char name[NAME_MAX + 1];
	int result;

	(void)out;
	nine_get_name(in, name);
	if (in->error)
		return in->error;
	result = nine_ref_get(call->nine, to, &dir);
	if (!result)
		result = nine_ref_get(call->nine, from, &ref);
	return result ? result : share_link(call->nine->share, ref.node, dir.node, name);
}

/* ---- names ---- */

int nine_renameat(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref from = { 0 };
	_cleanup_ref_ struct nine_ref to = { 0 };
	char from_name[NAME_MAX + 1], to_name[NAME_MAX + 1];
	int result = get_place(call, in, &from, from_name);

	(void)out;
	if (!result)
		result = get_place(call, in, &to, to_name);
	return result ? result : share_rename(call->nine->share, from.node, from_name, to.node, to_name, 0);
}

int nine_rename(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	_cleanup_ref_ struct nine_ref to = { 0 };
	struct share *share = call->nine->share;
	char from_name[NAME_MAX + 1], to_name[NAME_MAX + 1];
	uint32_t number = nine_get32(in);
	struct share_node *from;
	int result = get_place(call, in, &to, to_name);

	(void)out;
	if (!result)
		result = nine_ref_get(call->nine, number, &ref);
	if (!result)
		result = share_where(share, ref.node, &from, from_name);
	if (result)
		return result;
	result = share_rename(share, from, from_name, to.node, to_name, 0);
	share_node_put(from);
	return result;
}

int nine_unlinkat(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref dir = { 0 };
	char name[NAME_MAX + 1];
	int result = get_place(call, in, &dir, name);
	uint32_t flags = nine_get32(in);

	(void)out;
	if (result || in->error)
		return result ? result : in->error;
	return share_unlink(call->nine->share, dir.node, name, flags & UNLINK_FOLDER);
}

int nine_remove(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	struct share *share = call->nine->share;
	uint32_t number = nine_get32(in);
	char name[NAME_MAX + 1];
	struct share_node *dir;
	struct share_attr attr;
	int result;

	(void)out;
	if (in->error)
		return in->error;
	result = nine_ref_get(call->nine, number, &ref);
	/* The fid goes, whether or not the file does. */
	nine_fid_put(call->nine, nine_fid_remove(call->nine, number));
	if (!result)
		result = share_stat(share, ref.node, &attr);
	if (!result)
		result = share_where(share, ref.node, &dir, name);
	if (result)
		return result;
	result = share_unlink(share, dir, name, S_ISDIR(attr.stat.st_mode));
	share_node_put(dir);
	return result;
}

int nine_readlink(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	uint32_t number = nine_get32(in);
	char target[PATH_MAX];
	int result = in->error ? in->error : nine_ref_get(call->nine, number, &ref);

	if (!result)
		result = share_readlink(call->nine->share, ref.node, target, sizeof(target));
	if (result < 0)
		return result;
	nine_put_string(out, target);
	return 0;
}

/* ---- attributes ---- */

#define GETATTR_BASIC	0x7ffU
#define GETATTR_BTIME	0x800U

static void put_time(struct nine_out *out, const struct timespec *time)
{
	nine_put64(out, (uint64_t)time->tv_sec);
	nine_put64(out, (uint64_t)time->tv_nsec);
}

int nine_getattr(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	uint32_t number = nine_get32(in);
	struct share_attr attr;
	int result;

	/* All of it is as cheap as the part that is asked for. */
	nine_get64(in);
	result = in->error ? in->error : nine_ref_get(call->nine, number, &ref);
	if (!result)
		result = share_stat(call->nine->share, ref.node, &attr);
	if (result)
		return result;
	nine_put64(out, GETATTR_BASIC | (attr.birth.tv_sec ? GETATTR_BTIME : 0));
	nine_put_qid(out, &attr);
	nine_put32(out, attr.stat.st_mode);
	nine_put32(out, attr.stat.st_uid);
	nine_put32(out, attr.stat.st_gid);
	nine_put64(out, attr.stat.st_nlink);
	/* Linux's own packing, which is what a Linux guest unpacks. */
	nine_put64(out, (minor(attr.stat.st_rdev) & 0xff) | (uint64_t)major(attr.stat.st_rdev) << 8 |
		   (uint64_t)(minor(attr.stat.st_rdev) & ~0xffU) << 12);
	nine_put64(out, (uint64_t)attr.stat.st_size);
	nine_put64(out, (uint64_t)attr.stat.st_blksize);
	nine_put64(out, (uint64_t)attr.stat.st_blocks);
	put_time(out, &attr.stat.st_atim);
	put_time(out, &attr.stat.st_mtim);
	put_time(out, &attr.stat.st_ctim);
	put_time(out, &attr.birth);
	nine_put64(out, 0);
	nine_put64(out, 0);
	return 0;
}

#define SETATTR_MODE		BIT(0)
#define SETATTR_UID		BIT(1)
#define SETATTR_GID		BIT(2)
#define SETATTR_SIZE		BIT(3)
#define SETATTR_ATIME		BIT(4)
#define SETATTR_MTIME		BIT(5)
#define SETATTR_CTIME		BIT(6)
#define SETATTR_ATIME_SET	BIT(7)
#define SETATTR_MTIME_SET	BIT(8)

_Static_assert(SETATTR_MODE == SHARE_SET_MODE && SETATTR_UID == SHARE_SET_UID && SETATTR_GID == SHARE_SET_GID &&
	       SETATTR_SIZE == SHARE_SET_SIZE && SETATTR_ATIME == SHARE_SET_ATIME && SETATTR_MTIME == SHARE_SET_MTIME &&
	       SETATTR_CTIME == SHARE_SET_CTIME, "Tsetattr's bits are the share's");

/* A time that isn't set is the server's own. */
static struct timespec get_time(struct nine_in *in, bool set)
{
	struct timespec time = { .tv_sec = (time_t)nine_get64(in) };
	uint64_t nanoseconds = nine_get64(in);

	/* What is no time is refused later, but must not mean "now". */
	time.tv_nsec = !set ? UTIME_NOW : nanoseconds < 1000000000 ? (long)nanoseconds : -1;
	return time;
}

int nine_setattr(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	uint32_t number = nine_get32(in), valid = nine_get32(in);
	struct share_change change = { .set = valid & 0x7f };
	int result;

	(void)out;
	change.mode = nine_get32(in);
	change.uid = nine_get32(in);
	change.gid = nine_get32(in);
	change.size = nine_get64(in);
	change.atime = get_time(in, valid & SETATTR_ATIME_SET);
	change.mtime = get_time(in, valid & SETATTR_MTIME_SET);
	result = in->error ? in->error : nine_ref_get(call->nine, number, &ref);
	return result ? result : share_change(call->nine->share, ref.node, ref.fd, &change);
}

int nine_statfs(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	uint32_t number = nine_get32(in);
	struct statfs fs;
	int result = in->error ? in->error : nine_ref_get(call->nine, number, &ref);

	if (!result)
		result = share_statfs(call->nine->share, ref.node, &fs);
	if (result)
		return result;
	nine_put32(out, (uint32_t)fs.f_type);
	nine_put32(out, (uint32_t)fs.f_bsize);
	nine_put64(out, fs.f_blocks);
	nine_put64(out, fs.f_bfree);
	nine_put64(out, fs.f_bavail);
	nine_put64(out, fs.f_files);
	nine_put64(out, fs.f_ffree);
	nine_put64(out, (uint32_t)fs.f_fsid.__val[0] | (uint64_t)(uint32_t)fs.f_fsid.__val[1] << 32);
	nine_put32(out, (uint32_t)fs.f_namelen);
	return 0;
}
