/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The messages of FUSE on open files and folders, and on extended attributes: data goes between the guest's buffers and
 * the host's file without a copy, folders' entries straight into the reply.
 */
#include <dirent.h>
#include <fcntl.h>
#include <string.h>
#include <sys/uio.h>

#include "virtio/fs.h"

#define COPY_MAX	MIB(128)	/* a call of FUSE_COPY_FILE_RANGE: the guest goes on with the rest */

/* ---- opening ---- */

/* The number of what was opened; @fd is taken. */
static int put_handle(struct fs_call *call, struct fs_out *out, struct share_node *node, uint64_t of, int fd, uint32_t flags, bool folder)
{
	struct fuse_open_out reply = { 0 };
	int result;

	fs_handle_add(call->fs, &reply.fh, of, node, fd, flags & ~(uint32_t)(O_EXCL | O_TRUNC), folder, &result);
	if (!result)
		fs_put(out, &reply, sizeof(reply));
	return result;
}

static int open_node(struct fs_call *call, struct fs_in *in, struct fs_out *out, uint32_t more, bool folder)
{
	_cleanup_node_ struct share_node *node = NULL;
	struct fuse_open_in asked;
	int fd, result;

	fs_get(in, &asked, sizeof(asked));
	result = in->error ? in->error : fs_node_get(call->fs, call->header.nodeid, &node);
	if (result)
		return result;
	asked.flags |= more;
	fd = share_file_open(call->fs->share, node, (int)asked.flags);
	return fd < 0 ? fd : put_handle(call, out, node, call->header.nodeid, fd, asked.flags, folder);
}

int fs_open(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	return open_node(call, in, out, 0, false);
}

int fs_opendir(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	return open_node(call, in, out, O_DIRECTORY, true);
}

int fs_create(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_node_ struct share_node *dir = NULL;
	struct fuse_create_in asked;
	struct fuse_entry_out entry;
	char name[NAME_MAX + 1];
	struct share_node *node;
	int fd, result;

	fs_get(in, &asked, sizeof(asked));
	fs_get_name(in, name);
	result = in->error ? in->error : fs_node_get(call->fs, call->header.nodeid, &dir);
	if (result)
		return result;
	fd = share_create(call->fs->share, dir, name, (int)asked.flags, asked.mode, fs_owner(call), &node);
	if (fd < 0)
		return fd;
	share_node_get(node);
	result = fs_put_entry(call, out, node);
	if (result) {
		close(fd);
	} else {
		memcpy(&entry, out->data, sizeof(entry));
		result = put_handle(call, out, node, entry.nodeid, fd, asked.flags, false);
		if (result)
			fs_node_forget(call->fs, entry.nodeid, 1);
	}
	share_node_put(node);
	return result;
}

int fs_release(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	struct fuse_release_in asked;
	struct fs_handle *handle;

	(void)out;
	fs_get(in, &asked, sizeof(asked));
	if (in->error)
		return in->error;
	handle = fs_handle_remove(call->fs, asked.fh);
	fs_handle_put(call->fs, handle);
	return handle ? 0 : -EBADF;
}

/* ---- data ---- */

/* What is in the page cache is read at once, on the event loop; what isn't, is for the pool. */
static bool read_is_whole(int fd, uint64_t offset, ssize_t got, uint32_t count)
{
	struct statx file;

	if (got < 0 || (uint32_t)got == count)
		return got >= 0;
	/* A network's file system mustn't ask its server here. */
	return statx(fd, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, STATX_SIZE, &file) == 0 && offset + (uint64_t)got >= file.stx_size;
}

int fs_read(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_use_ struct fs_use use = { 0 };
	struct fuse_read_in asked;
	uint32_t count;
	ssize_t got;
	int result, fd;

	(void)out;
	fs_get(in, &asked, sizeof(asked));
	result = in->error ? in->error : fs_use_get(call->fs, asked.fh, &use);
	if (result)
		return result;
	fd = use.handle->fd;
	count = fs_room(call, asked.size);
	got = virtio_request_from_file(call->req, FS_HEADER, fd, asked.offset, count, call->may_block ? 0 : RWF_NOWAIT);
	if (!call->may_block && (got == -EOPNOTSUPP || got == -EAGAIN || (got >= 0 && !read_is_whole(fd, asked.offset, got, count))))
		return FS_LATER;
	if (got < 0)
		return (int)got;
	call->bulk = (uint32_t)got;
	return 0;
}

int fs_write(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	const size_t data = sizeof(call->header) + sizeof(struct fuse_write_in);
	_cleanup_use_ struct fs_use use = { 0 };
	struct fuse_write_out reply = { 0 };
	struct fuse_write_in asked;
	ssize_t put;
	int result;

	fs_get(in, &asked, sizeof(asked));
	result = in->error ? in->error : fs_use_get(call->fs, asked.fh, &use);
	if (result)
		return result;
	if (asked.size > call->header.len - data)
		return -EINVAL;
	put = virtio_request_to_file(call->req, data, use.handle->fd, asked.offset, asked.size, 0);
	if (put < 0)
		return (int)put;
	reply.size = (uint32_t)put;
	fs_put(out, &reply, sizeof(reply));
	return 0;
}

int fs_fsync(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_use_ struct fs_use use = { 0 };
	struct fuse_fsync_in asked;
	int result;

	(void)out;
	fs_get(in, &asked, sizeof(asked));
	result = in->error ? in->error : fs_use_get(call->fs, asked.fh, &use);
	if (!result && (asked.fsync_flags & FUSE_FSYNC_FDATASYNC ? fdatasync(use.handle->fd) : fsync(use.handle->fd)) < 0)
		result = -errno;
	return result;
}

int fs_fallocate(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_use_ struct fs_use use = { 0 };
	struct fuse_fallocate_in asked;
	int result;

	(void)out;
	fs_get(in, &asked, sizeof(asked));
	result = in->error ? in->error : fs_use_get(call->fs, asked.fh, &use);
	if (!result && fallocate(use.handle->fd, (int)asked.mode, (off_t)asked.offset, (off_t)asked.length) < 0)
		result = -errno;
	return result;
}

int fs_lseek(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_use_ struct fs_use use = { 0 };
	struct fuse_lseek_out reply;
	struct fuse_lseek_in asked;
	off_t found;
	int result;

	fs_get(in, &asked, sizeof(asked));
	result = in->error ? in->error : fs_use_get(call->fs, asked.fh, &use);
	if (result)
		return result;
	/* The guest keeps positions itself; ours doesn't matter, but a folder's does. */
	if ((asked.whence != SEEK_DATA && asked.whence != SEEK_HOLE) || use.handle->dir)
		return -EINVAL;
	found = lseek(use.handle->fd, (off_t)asked.offset, (int)asked.whence);
	if (found < 0)
		return -errno;
	reply.offset = (uint64_t)found;
	fs_put(out, &reply, sizeof(reply));
	return 0;
}

int fs_copy_file_range(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_use_ struct fs_use from = { 0 };
	_cleanup_use_ struct fs_use to = { 0 };
	struct fuse_copy_file_range_in asked;
	struct fuse_write_out reply = { 0 };
	off_t from_offset, to_offset;
	ssize_t copied;
	int result;

	fs_get(in, &asked, sizeof(asked));
	result = in->error ? in->error : fs_use_get(call->fs, asked.fh_in, &from);
	if (!result)
		result = fs_use_get(call->fs, asked.fh_out, &to);
	if (result)
		return result;
	from_offset = (off_t)asked.off_in;
	to_offset = (off_t)asked.off_out;
	copied = copy_file_range(from.handle->fd, &from_offset, to.handle->fd, &to_offset, (size_t)MIN(asked.len, COPY_MAX), 0);
	if (copied < 0)
		return -errno;
	reply.size = (uint32_t)copied;
	fs_put(out, &reply, sizeof(reply));
	return 0;
}

/* ---- folders ---- */

/* The guest doesn't hear of "." and "..", nor of what is gone again: its number is 0 then. */
static void entry_look(struct fs_call *call, struct share_node *dir, const struct share_entry *from, struct fuse_entry_out *entry)
{
	struct share_node *node;
	struct fs_out out;

	out.length = 0;
	if (!share_name_ok(from->name, strlen(from->name)) || share_lookup(call->fs->share, dir, from->name, &node))
		return;
	if (fs_put_entry(call, &out, node) == 0)
		memcpy(entry, out.data, sizeof(*entry));
}

/* Puts one entry behind @filled bytes of the reply: how long it is, 0 if it has no room. */
static size_t put_entry(struct fs_call *call, struct share_node *dir, const struct share_entry *from, uint32_t filled, uint32_t room,
			bool plus)
{
	size_t name = strlen(from->name), front = plus ? sizeof(struct fuse_entry_out) : 0;
	size_t size = FUSE_REC_ALIGN(front + FUSE_NAME_OFFSET + name);
	struct fuse_dirent dirent = { .ino = from->id, .off = from->next, .namelen = (uint32_t)name, .type = from->type };
	struct fuse_entry_out entry = { .attr.ino = from->id, .attr.mode = DTTOIF(from->type) };
	uint8_t bytes[sizeof(entry) + sizeof(dirent) + NAME_MAX + 1 + 8] = { 0 };

	if (size > room - filled || size > sizeof(bytes))
		return 0;
	if (plus)
		entry_look(call, dir, from, &entry);
	memcpy(bytes, &entry, front);
	memcpy(bytes + front, &dirent, FUSE_NAME_OFFSET);
	memcpy(bytes + front + FUSE_NAME_OFFSET, from->name, name);
	return virtio_request_write(call->req, FS_HEADER + filled, bytes, size);
}

static int read_entries(struct fs_call *call, struct fs_handle *handle, uint64_t offset, uint32_t room, bool plus)
{
	struct share_entry entry;
	size_t length;
	int result;

	for (call->bulk = 0;; call->bulk += (uint32_t)length, offset = entry.next) {
		result = share_dir_read(handle->dir, offset, &entry);
		if (result <= 0)
			return call->bulk ? 0 : result;
		length = put_entry(call, handle->node, &entry, call->bulk, room, plus);
		if (!length)
			return call->bulk ? 0 : -EINVAL;
	}
}

static int read_folder(struct fs_call *call, struct fs_in *in, bool plus)
{
	_cleanup_use_ struct fs_use use = { 0 };
	struct fuse_read_in asked;
	int result;

	fs_get(in, &asked, sizeof(asked));
	result = in->error ? in->error : fs_use_get(call->fs, asked.fh, &use);
	if (result)
		return result;
	if (!use.handle->dir)
		return -ENOTDIR;
	pthread_mutex_lock(&use.handle->dir_lock);
	result = read_entries(call, use.handle, asked.offset, fs_room(call, asked.size), plus);
	pthread_mutex_unlock(&use.handle->dir_lock);
	return result;
}

int fs_readdir(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	(void)out;
	return read_folder(call, in, false);
}

int fs_readdirplus(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	(void)out;
	return read_folder(call, in, true);
}

/* ---- extended attributes ---- */

static ssize_t xattr_read(struct share *share, struct share_node *node, const char *name, char *data, size_t size)
{
	return name ? share_xattr_get(share, node, name, data, size) : share_xattr_list(share, node, data, size);
}

/* The value of @name, or the names; with a size of 0 only how much it is. */
static int put_xattr(struct fs_call *call, struct fs_out *out, struct share_node *node, const char *name, uint32_t size)
{
	_cleanup_free_ char *data = NULL;
	struct fuse_getxattr_out reply = { 0 };
	ssize_t got;

	size = MIN(fs_room(call, size), (uint32_t)FS_XATTR_MAX);
	data = size ? malloc(size) : NULL;
	if (size && !data)
		return -ENOMEM;
	got = xattr_read(call->fs->share, node, name, data, size);
	if (got < 0)
		return (int)got;
	if (size) {
		call->bulk = (uint32_t)virtio_request_write(call->req, FS_HEADER, data, (size_t)got);
		return 0;
	}
	reply.size = (uint32_t)got;
	fs_put(out, &reply, sizeof(reply));
	return 0;
}

static int get_xattr(struct fs_call *call, struct fs_in *in, struct fs_out *out, bool names)
{
	_cleanup_node_ struct share_node *node = NULL;
	struct fuse_getxattr_in asked;
	char name[256] = "";
	int result;

	fs_get(in, &asked, sizeof(asked));
	if (!names)
		fs_get_string(in, name, sizeof(name));
	result = in->error ? in->error : fs_node_get(call->fs, call->header.nodeid, &node);
	return result ? result : put_xattr(call, out, node, names ? NULL : name, asked.size);
}

int fs_getxattr(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	return get_xattr(call, in, out, false);
}

int fs_listxattr(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	return get_xattr(call, in, out, true);
}

int fs_setxattr(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	/* The short form: the longer one wasn't agreed on. */
	struct { uint32_t size, flags; } asked;
	_cleanup_node_ struct share_node *node = NULL;
	_cleanup_free_ char *value = NULL;
	size_t at = sizeof(call->header) + sizeof(asked);
	char name[256];
	int result;

	_Static_assert(sizeof(asked) == FUSE_COMPAT_SETXATTR_IN_SIZE, "linux/fuse.h");
	(void)out;
	fs_get(in, &asked, sizeof(asked));
	fs_get_string(in, name, sizeof(name));
	result = in->error ? in->error : fs_node_get(call->fs, call->header.nodeid, &node);
	if (result)
		return result;
	at += strlen(name) + 1;
	if (asked.size > FS_XATTR_MAX)
		return -E2BIG;
	if (asked.size > call->header.len - at)
		return -EINVAL;
	value = malloc(asked.size + 1U);
	if (!value)
		return -ENOMEM;
	virtio_request_read(call->req, at, value, asked.size);
	return share_xattr_set(call->fs->share, node, name, value, asked.size, (int)asked.flags);
}

int fs_removexattr(struct fs_call *call, struct fs_in *in, struct fs_out *out)
{
	_cleanup_node_ struct share_node *node = NULL;
	char name[256];
	int result;

	(void)out;
	fs_get_string(in, name, sizeof(name));
	result = in->error ? in->error : fs_node_get(call->fs, call->header.nodeid, &node);
	return result ? result : share_xattr_remove(call->fs->share, node, name);
}
