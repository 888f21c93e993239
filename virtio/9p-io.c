/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The messages of 9P2000.L on open files: data goes between the guest's buffers and the host's file without a copy,
 * folders' entries straight into the reply.
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>
#include <sys/xattr.h>

#include "virtio/9p.h"

#define ENTRY_HEADER	24U		/* qid[13] offset[8] type[1] name's length[2] */

/* ---- opening ---- */

int nine_host_flags(uint32_t flags)
{
	static const struct { uint32_t nine; int host; } bits[] = {
		{ 0200, O_EXCL }, { 01000, O_TRUNC }, { 02000, O_APPEND }, { 010000, O_DSYNC }, { 04000000, O_SYNC },
		{ 0200000, O_DIRECTORY }, { 01000000, O_NOATIME },
	};
	int host = (int)(flags & 3);

	if (host == 3)
		host = O_RDWR;
	for (size_t i = 0; i < ARRAY_SIZE(bits); i++)
		if (flags & bits[i].nine)
			host |= bits[i].host;
	return host;
}

int nine_lopen(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	struct nine *nine = call->nine;
	uint32_t number = nine_get32(in), flags = nine_get32(in);
	struct share_attr attr;
	int fd, result = in->error ? in->error : nine_ref_get(nine, number, &ref);

	if (result)
		return result;
	if (ref.fd >= 0 || ref.xattr)
		return -EINVAL;
	fd = share_file_open(nine->share, ref.node, nine_host_flags(flags));
	if (fd < 0)
		return fd;
	result = share_stat(nine->share, ref.node, &attr);
	if (result) {
		close(fd);
		return result;
	}
	nine_put_qid(out, &attr);
	nine_put32(out, 0);
	return nine_fid_opened(nine, ref.fid, ref.node, fd, flags, S_ISDIR(attr.stat.st_mode));
}

/* ---- data ---- */

/* How much of @count fits into the reply and the session's messages. */
static uint32_t reply_room(const struct nine_call *call, uint32_t count)
{
	uint32_t room = MIN(call->req->writable_bytes, atomic_load(&call->nine->msize)) - NINE_IO_HEADER;

	return MIN(count, room);
}

static int read_done(struct nine_call *call, struct nine_out *out, size_t length)
{
	call->bulk = (uint32_t)length;
	nine_put32(out, call->bulk);
	return 0;
}

static int read_xattr(struct nine_call *call, struct nine_out *out, const struct nine_xattr *xattr, uint64_t offset, uint32_t count)
{
	if (xattr->writing)
		return -EBADF;
	if (offset >= xattr->size)
		return read_done(call, out, 0);
	return read_done(call, out, virtio_request_write(call->req, NINE_IO_HEADER, xattr->data + offset,
							 MIN((size_t)count, xattr->size - (size_t)offset)));
}

/* What is in the page cache is read at once, on the event loop; what isn't, is for the pool. */
static bool read_is_whole(int fd, uint64_t offset, ssize_t got, uint32_t count)
{
	struct statx file;

	if (got < 0 || (uint32_t)got == count)
		return got >= 0;
	/* A network's file system mustn't ask its server here. */
	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE, &file) == 0 && offset + (uint64_t)got >= file.stx_size;
}

int nine_read(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	uint32_t number = nine_get32(in);
	uint64_t offset = nine_get64(in);
	uint32_t count = nine_get32(in);
	ssize_t got;
	int result = in->error ? in->error : nine_ref_get(call->nine, number, &ref);

	if (result)
		return result;
	count = reply_room(call, count);
	if (ref.xattr)
		return read_xattr(call, out, ref.xattr, offset, count);
	if (ref.fd < 0)
		return -EBADF;
	got = virtio_request_from_file(call->req, NINE_IO_HEADER, ref.fd, offset, count, call->may_block ? 0 : RWF_NOWAIT);
	if (!call->may_block && (got == -EOPNOTSUPP || got == -EAGAIN || (got >= 0 && !read_is_whole(ref.fd, offset, got, count))))
		return NINE_LATER;
	return got < 0 ? (int)got : read_done(call, out, (size_t)got);
}

static int write_xattr(struct nine_call *call, struct nine_fid *fid, uint64_t offset, uint32_t count)
{
	struct nine_xattr *xattr = fid->xattr;
	int result = -ENOSPC;

	/* In order and without gaps, as it is set when all of it is there; two may write at once. */
	pthread_mutex_lock(&fid->lock);
	if (!xattr->writing) {
		result = -EBADF;
	} else if (offset == xattr->filled && count <= xattr->size - xattr->filled) {
		virtio_request_read(call->req, NINE_WRITE_HEADER, xattr->data + xattr->filled, count);
		xattr->filled += count;
		result = 0;
	}
	pthread_mutex_unlock(&fid->lock);
	return result;
}

int nine_write(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	uint32_t number = nine_get32(in);
	uint64_t offset = nine_get64(in);
	uint32_t count = nine_get32(in);
	ssize_t put;
	int result = in->error ? in->error : nine_ref_get(call->nine, number, &ref);

	if (result)
		return result;
	if (count > call->size - NINE_WRITE_HEADER)
		return -EINVAL;
	if (ref.xattr) {
		nine_put32(out, count);
		return write_xattr(call, ref.fid, offset, count);
	}
	if (ref.fd < 0)
		return -EBADF;
	put = virtio_request_to_file(call->req, NINE_WRITE_HEADER, ref.fd, offset, count, 0);
	if (put < 0)
		return (int)put;
	nine_put32(out, (uint32_t)put);
	return 0;
}

int nine_fsync(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	uint32_t number = nine_get32(in);
	/* Older clients leave it out. */
	bool data_only = in->length >= 4 && nine_get32(in);
	int result = in->error ? in->error : nine_ref_get(call->nine, number, &ref);

	(void)out;
	if (result)
		return result;
	if (ref.fd < 0)
		return -EBADF;
	return (data_only ? fdatasync(ref.fd) : fsync(ref.fd)) < 0 ? -errno : 0;
}

/* ---- folders ---- */

/* Puts one entry at @at of the reply's data, unless it has more than @room bytes. */
static size_t put_entry(struct nine_call *call, const struct share_entry *entry, uint32_t at, uint32_t room)
{
	struct nine_out out;

	out.length = 0;
	if (ENTRY_HEADER + strlen(entry->name) > room)
		return 0;
	nine_put8(&out, nine_qid_type(DTTOIF(entry->type)));
	nine_put32(&out, 0);
	nine_put64(&out, entry->id);
	nine_put64(&out, entry->next);
	nine_put8(&out, entry->type);
	nine_put_string(&out, entry->name);
	return virtio_request_write(call->req, NINE_IO_HEADER + at, out.data, out.length);
}

static int read_entries(struct nine_call *call, struct share_dir *dir, uint64_t offset, uint32_t room, uint32_t *filled)
{
	struct share_entry entry;
	size_t length;
	int result;

	for (*filled = 0;; *filled += (uint32_t)length, offset = entry.next) {
		result = share_dir_read(dir, offset, &entry);
		if (result <= 0)
			return *filled ? 0 : result;
		length = put_entry(call, &entry, *filled, room - *filled);
		if (!length)
			return *filled ? 0 : -EINVAL;
	}
}

int nine_readdir(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	uint32_t number = nine_get32(in);
	uint64_t offset = nine_get64(in);
	uint32_t count = nine_get32(in), filled;
	int result = in->error ? in->error : nine_ref_get(call->nine, number, &ref);

	if (result)
		return result;
	count = reply_room(call, count);
	if (!ref.dir)
		return -EBADF;
	pthread_mutex_lock(&ref.fid->dir_lock);
	result = read_entries(call, ref.dir, offset, count, &filled);
	pthread_mutex_unlock(&ref.fid->dir_lock);
	return result ? result : read_done(call, out, filled);
}

/* ---- locks ---- */

enum { LOCK_SUCCESS, LOCK_BLOCKED, LOCK_ERROR };

/* Tlock's types are fcntl()'s in another order. */
static int get_lock(struct nine_in *in, struct flock *lock, bool with_flags)
{
	static const short types[] = { F_RDLCK, F_WRLCK, F_UNLCK };
	uint8_t type = nine_get8(in);
	uint64_t start, length;

	if (with_flags)
		nine_get32(in);
	start = nine_get64(in);
	length = nine_get64(in);
	if (in->error || type >= ARRAY_SIZE(types) || start > INT64_MAX)
		return -EINVAL;
	*lock = (struct flock){ .l_type = types[type], .l_whence = SEEK_SET, .l_start = (off_t)start };
	/* 0 is to the end, and so is what would go past it. */
	lock->l_len = length > INT64_MAX - start ? 0 : (off_t)length;
	return 0;
}

/* Never waits: a client that may, asks again. */
int nine_lock(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	uint32_t number = nine_get32(in);
	struct flock lock;
	int result = get_lock(in, &lock, true);

	if (!result)
		result = nine_ref_get(call->nine, number, &ref);
	if (result)
		return result;
	if (ref.fd < 0)
		return -EBADF;
	if (fcntl(ref.fd, F_OFD_SETLK, &lock) == 0)
		nine_put8(out, LOCK_SUCCESS);
	else if (errno == EAGAIN || errno == EACCES)
		nine_put8(out, LOCK_BLOCKED);
	else
		return -errno;
	return 0;
}

int nine_getlock(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	uint32_t number = nine_get32(in), process;
	char client[256];
	struct flock lock;
	int result = get_lock(in, &lock, false);

	process = nine_get32(in);
	nine_get_string(in, client, sizeof(client));
	if (!result)
		result = in->error ? in->error : nine_ref_get(call->nine, number, &ref);
	if (result)
		return result;
	if (ref.fd < 0)
		return -EBADF;
	if (fcntl(ref.fd, F_OFD_GETLK, &lock) < 0)
		return -errno;
	nine_put8(out, lock.l_type == F_RDLCK ? 0 : lock.l_type == F_WRLCK ? 1 : 2);
	nine_put64(out, (uint64_t)lock.l_start);
	nine_put64(out, (uint64_t)lock.l_len);
	/* The host's processes have no number here. */
	nine_put32(out, lock.l_type == F_UNLCK ? process : 0);
	nine_put_string(out, client);
	return 0;
}

/* ---- extended attributes ---- */

static ssize_t xattr_read(struct nine *nine, struct share_node *node, const char *name, char *data, size_t size)
{
	return *name ? share_xattr_get(nine->share, node, name, data, size) : share_xattr_list(nine->share, node, data, size);
}

int nine_xattrwalk(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	struct nine *nine = call->nine;
	uint32_t number = nine_get32(in), newfid = nine_get32(in);
	struct nine_xattr *xattr;
	char name[256];
	ssize_t size;
	int result;

	nine_get_string(in, name, sizeof(name));
	result = in->error ? in->error : nine_ref_get(nine, number, &ref);
	if (result)
		return result;
	size = xattr_read(nine, ref.node, name, NULL, 0);
	if (size < 0)
		return (int)size;
	xattr = nine_xattr_new(nine, (size_t)size, &result);
	if (!xattr)
		return result;
	size = xattr->size ? xattr_read(nine, ref.node, name, xattr->data, xattr->size) : 0;
	if (size < 0) {
		nine_xattr_free(nine, xattr);
		return (int)size;
	}
	/* It may have shrunk. */
	memset(xattr->data + size, 0, xattr->size - (size_t)size);
	nine_put64(out, xattr->size);
	return nine_fid_add(nine, newfid, ref.fid->uid, share_node_get(ref.node), xattr);
}

int nine_xattrcreate(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	struct nine *nine = call->nine;
	uint32_t number = nine_get32(in), flags;
	struct nine_xattr *xattr;
	char name[256];
	uint64_t size;
	int result;

	(void)out;
	nine_get_string(in, name, sizeof(name));
	size = nine_get64(in);
	flags = nine_get32(in);
	result = in->error ? in->error : nine_ref_get(nine, number, &ref);
	if (result)
		return result;
	if (!*name || flags > 2)
		return -EINVAL;
	if (share_read_only(nine->share))
		return -EROFS;
	xattr = size > NINE_XATTR_MAX ? NULL : nine_xattr_new(nine, (size_t)size, &result);
	if (!xattr)
		return result ? result : -E2BIG;
	memcpy(xattr->name, name, sizeof(name));
	xattr->flags = (int)flags;
	xattr->writing = true;
	pthread_mutex_lock(&ref.fid->lock);
	if (ref.fid->xattr || ref.fid->open) {
		result = -EINVAL;
	} else {
		ref.fid->xattr = xattr;
		result = 0;
	}
	pthread_mutex_unlock(&ref.fid->lock);
	if (result)
		nine_xattr_free(nine, xattr);
	return result;
}

/* Linux has no other message for taking one away than replacing it by nothing. */
static int xattr_finish(struct nine *nine, struct share_node *node, const struct nine_xattr *xattr)
{
	if (!xattr->size && xattr->flags == XATTR_REPLACE)
		return share_xattr_remove(nine->share, node, xattr->name);
	if (xattr->filled != xattr->size)
		return -EINVAL;
	return share_xattr_set(nine->share, node, xattr->name, xattr->data, xattr->size, xattr->flags);
}

int nine_clunk(struct nine_call *call, struct nine_in *in, struct nine_out *out)
{
	_cleanup_ref_ struct nine_ref ref = { 0 };
	uint32_t number = nine_get32(in);
	struct nine_fid *fid;
	int result = 0;

	(void)out;
	if (in->error)
		return in->error;
	fid = nine_fid_remove(call->nine, number);
	if (!fid)
		return -EBADF;
	nine_ref_of(call->nine, fid, &ref);
	if (ref.xattr && ref.xattr->writing && ref.node)
		result = xattr_finish(call->nine, ref.node, ref.xattr);
	return result;
}
