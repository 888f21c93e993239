/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The way of a FUSE message: it is copied once and then checked, an operation carries it out, and the reply's header is
 * written last.
 */
#include "virtio/fs.h"

#include <string.h>
#include <sys/sysmacros.h>

#define VALID_SECONDS	1		/* for so long the guest may go without asking for names and attributes again */

/* ---- reading ---- */

void fs_get(struct fs_in *in, void *to, size_t size)
{
	memset(to, 0, size);
	if (in->error)
		return;
	if (size > in->length) {
		in->error = -EINVAL;
		return;
	}
	memcpy(to, in->data, size);
	in->data += size;
	in->length -= size;
}

void fs_get_string(struct fs_in *in, char *to, size_t size)
{
	size_t length = strnlen((const char *)in->data, in->length);

	to[0] = '\0';
	if (!in->error && length == in->length)
		in->error = -EINVAL;
	else if (!in->error && length >= size)
		in->error = -ENAMETOOLONG;
	if (in->error)
		return;
	memcpy(to, in->data, length + 1);
	in->data += length + 1;
	in->length -= length + 1;
}

void fs_get_name(struct fs_in *in, char name[NAME_MAX + 1])
{
	fs_get_string(in, name, NAME_MAX + 1);
	if (!in->error && !share_name_ok(name, strlen(name)))
		in->error = -EINVAL;
}

/* ---- writing ---- */

void fs_put(struct fs_out *out, const void *data, size_t size)
{
	/* No reply comes near the buffer's size, by the sizes of what is put into it. */
	if (size > sizeof(out->data) - out->length)
		return;
	memcpy(out->data + out->length, data, size);
	out->length += size;
}

void fs_attr_of(const struct share_attr *from, struct fuse_attr *to)
{
	const struct stat *stat = &from->stat;

	*to = (struct fuse_attr){
		.ino = from->id,
		.size = (uint64_t)stat->st_size,
		.blocks = (uint64_t)stat->st_blocks,
		.atime = (uint64_t)stat->st_atim.tv_sec, .atimensec = (uint32_t)stat->st_atim.tv_nsec,
		.mtime = (uint64_t)stat->st_mtim.tv_sec, .mtimensec = (uint32_t)stat->st_mtim.tv_nsec,
		.ctime = (uint64_t)stat->st_ctim.tv_sec, .ctimensec = (uint32_t)stat->st_ctim.tv_nsec,
		.mode = stat->st_mode,
		.nlink = (uint32_t)stat->st_nlink,
		.uid = stat->st_uid, .gid = stat->st_gid,
		/* Linux's own packing */
		.rdev = (minor(stat->st_rdev) & 0xff) | major(stat->st_rdev) << 8 | (minor(stat->st_rdev) & ~0xffU) << 12,
		.blksize = (uint32_t)stat->st_blksize,
	};
}

int fs_put_entry(struct fs_call *call, struct fs_out *out, struct share_node *node)
{
	struct fuse_entry_out entry = { .entry_valid = VALID_SECONDS, .attr_valid = VALID_SECONDS };
	struct share_attr attr;
	int result = share_stat(call->fs->share, node, &attr);

	if (result) {
		share_node_put(node);
		return result;
	}
	result = fs_node_enter(call->fs, node, &attr, &entry.nodeid);
	if (result)
		return result;
	fs_attr_of(&attr, &entry.attr);
	fs_put(out, &entry, sizeof(entry));
	return 0;
}

struct share_owner fs_owner(const struct fs_call *call)
{
	return (struct share_owner){ call->header.uid, call->header.gid };
}

uint32_t fs_room(const struct fs_call *call, uint32_t size)
{
	uint32_t room = call->req->writable_bytes - (uint32_t)FS_HEADER;

	return MIN(size, room);
}

/* ---- calls ---- */

static fs_op *const fs_ops[] = {
	[FUSE_LOOKUP] = fs_lookup,	[FUSE_FORGET] = fs_forget,	[FUSE_GETATTR] = fs_getattr,	[FUSE_SETATTR] = fs_setattr,
	[FUSE_READLINK] = fs_readlink,	[FUSE_SYMLINK] = fs_symlink,	[FUSE_MKNOD] = fs_mknod,	[FUSE_MKDIR] = fs_mkdir,
	[FUSE_UNLINK] = fs_unlink,	[FUSE_RMDIR] = fs_rmdir,	[FUSE_RENAME] = fs_rename,	[FUSE_LINK] = fs_link,
	[FUSE_OPEN] = fs_open,		[FUSE_READ] = fs_read,		[FUSE_WRITE] = fs_write,	[FUSE_STATFS] = fs_statfs,
	[FUSE_RELEASE] = fs_release,	[FUSE_FSYNC] = fs_fsync,	[FUSE_SETXATTR] = fs_setxattr,	[FUSE_GETXATTR] = fs_getxattr,
	[FUSE_LISTXATTR] = fs_listxattr, [FUSE_REMOVEXATTR] = fs_removexattr, [FUSE_INIT] = fs_init_, [FUSE_OPENDIR] = fs_opendir,
	[FUSE_READDIR] = fs_readdir,	[FUSE_RELEASEDIR] = fs_release,	[FUSE_FSYNCDIR] = fs_fsync,	[FUSE_CREATE] = fs_create,
	[FUSE_DESTROY] = fs_destroy,	[FUSE_BATCH_FORGET] = fs_batch_forget, [FUSE_FALLOCATE] = fs_fallocate,
	[FUSE_READDIRPLUS] = fs_readdirplus, [FUSE_RENAME2] = fs_rename2, [FUSE_LSEEK] = fs_lseek,
	[FUSE_COPY_FILE_RANGE] = fs_copy_file_range,
};

/* What stands in front of data that isn't copied. */
static size_t body_length(const struct fs_call *call)
{
	size_t length = call->header.len - sizeof(call->header);

	switch (call->header.opcode) {
	case FUSE_WRITE:
		return MIN(length, sizeof(struct fuse_write_in));
	case FUSE_BATCH_FORGET:
		return MIN(length, sizeof(struct fuse_batch_forget_in));
	case FUSE_SETXATTR:
		return MIN(length, (size_t)FS_BODY_MAX);
	default:
		return length;
	}
}

static int call_execute(struct fs_call *call, struct fs_out *out)
{
	uint32_t opcode = call->header.opcode;
	fs_op *op = opcode < ARRAY_SIZE(fs_ops) ? fs_ops[opcode] : NULL;
	size_t length = body_length(call);
	uint8_t body[FS_BODY_MAX];
	struct fs_in in = { .data = body };

	/* Which the guest takes for "don't ask again". */
	if (!op)
		return -ENOSYS;
	if (!atomic_load(&call->fs->minor) && op != fs_init_)
		return -EPROTO;
	if (length > sizeof(body))
		return -EMSGSIZE;
	in.length = virtio_request_read(call->req, sizeof(call->header), body, length);
	return op(call, &in, out);
}

static void call_reply(struct fs_call *call, int error, const struct fs_out *out)
{
	struct fuse_out_header header = {
		.len = (uint32_t)(FS_HEADER + out->length) + call->bulk, .error = error, .unique = call->header.unique,
	};

	virtio_request_write(call->req, FS_HEADER, out->data, out->length);
	virtio_request_write(call->req, 0, &header, sizeof(header));
	call->written = header.len;
}

int fs_run(struct fs_call *call)
{
	struct fs_out out;
	int result;

	out.length = 0;
	call->bulk = 0;
	result = call_execute(call, &out);
	if (result == FS_LATER && !call->may_block)
		return result;
	call->written = 0;
	if (call->silent)
		return 0;
	if (!result && FS_HEADER + out.length + call->bulk > call->req->writable_bytes)
		result = -EMSGSIZE;
	if (result) {
		out.length = 0;
		call->bulk = 0;
	}
	call_reply(call, MIN(result, 0), &out);
	return 0;
}
