/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of virtio-fs know of each other: fs.c is the device, fs-table.c the nodes and handles of a session,
 * fs-wire.c the way of a message, fs-tree.c and fs-io.c what messages do, fs-state.c saving and loading.
 *
 * The messages are FUSE's (linux/fuse.h), in the guest's byte order, which is little-endian, as ours.
 */
#ifndef VIRTIO_FS_H
#define VIRTIO_FS_H

#include <linux/fuse.h>
#include <pthread.h>

#include "kvm/calls.h"
#include "kvm/share.h"
#include "kvm/virtio.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "virtio-fs passes on what little-endian guests write");

#define FS_HEADER	sizeof(struct fuse_out_header)
#define FS_BODY_MAX	KIB(9)		/* of a message besides data: two names, or a name and a path, are less */
#define FS_WRITE_MAX	MIB(1)
#define FS_XATTR_MAX	KIB(64)
#define FS_MEMORY_MAX	MIB(64)		/* folders' buffers, a device */
#define FS_MINOR_MIN	31U

/* ---- the session ---- */

/** struct fs_node - a file that the guest remembers: found by its number, and by its inode */
struct fs_node {
	uint64_t number, lookups;
	dev_t device;
	ino_t inode;
	struct share_node *node;	/* NULL: it is gone since the state was saved */
	struct fs_node *next_number, *next_inode;
};

struct fs_handle {
	uint64_t number;
	atomic_uint refs;
	uint64_t of;			/* the node's number */
	struct share_node *node;	/* NULL: it could not be opened again when the state was loaded */
	uint32_t flags;
	int fd;
	struct share_dir *dir;		/* owns the fd */
	pthread_mutex_t dir_lock;	/* guards the folder's position; held over reading it */
	struct fs_handle *next;
};

#define FS_BUCKETS	4096U		/* a power of 2 */
#define FS_TAG_MAX	36U

/** struct fs_config - VirtIO 1.3, 5.11.4 */
struct fs_config {
	char tag[FS_TAG_MAX];
	le32 request_queues;
};

struct fs {
	struct virtio_device device;
	struct share *share;
	struct calls calls;		/* on threads of its own */
	struct fs_config config;	/* constant once added */
	size_t handles_max;
	atomic_uint minor;		/* the guest's FUSE version; 0: no FUSE_INIT yet */

	pthread_mutex_t lock;		/* guards all of these; innermost */
	struct fs_node *by_number[FS_BUCKETS], *by_inode[FS_BUCKETS];
	struct fs_handle *handles[FS_BUCKETS];
	uint64_t last_node, last_handle;
	size_t nodes, opened;		/* each keeps an fd of the host's */
	size_t folders;			/* of the open ones */

	/* owned by the loop */
	struct fs_call *spare;
	bool stopped;			/* there may be more in the queues, which was not popped */
	struct fs *next;
};

/** fs_session_start() - only the root is known from now on */
int __must_check fs_session_start(struct fs *fs);
void fs_session_end(struct fs *fs);

/** fs_node_get() - with a reference for the caller; -ENOENT for no such number, -ESTALE for a file that is gone */
int __must_check fs_node_get(struct fs *fs, uint64_t number, struct share_node **node);
/** fs_node_enter() - the guest hears of @node, which is taken: *@number is the one it has, or gets */
int __must_check fs_node_enter(struct fs *fs, struct share_node *node, const struct share_attr *attr, uint64_t *number);
/** fs_node_forget() - undoes so many fs_node_enter()s; more than there were are all */
void fs_node_forget(struct fs *fs, uint64_t number, uint64_t lookups);
/** fs_node_load() - as it was saved; -EINVAL for a number in use, -EEXIST for a file. @node is taken, NULL: it is gone */
int __must_check fs_node_load(struct fs *fs, uint64_t number, uint64_t lookups, struct share_node *node,
			      const struct share_attr *attr);

/** fs_handle_add() - takes @fd; @number 0: a new one, which is put there. NULL: *@error says why */
struct fs_handle *fs_handle_add(struct fs *fs, uint64_t *number, uint64_t of, struct share_node *node, int fd, uint32_t flags,
				bool folder, int *error);
/** fs_handle_get() - NULL if there is none; fs_handle_put() what it returned */
struct fs_handle *fs_handle_get(struct fs *fs, uint64_t number);
void fs_handle_put(struct fs *fs, struct fs_handle *handle);
/** fs_handle_remove() - the caller puts it once more */
struct fs_handle *fs_handle_remove(struct fs *fs, uint64_t number);

static inline void fs_node_cleanup_(struct share_node **node)
{
	share_node_put(*node);
}
#define _cleanup_node_ __attribute__((cleanup(fs_node_cleanup_)))

/** struct fs_use - a handle in use by one call */
struct fs_use {
	struct fs *fs;
	struct fs_handle *handle;
};
/** fs_use_get() - -EBADF for no such handle, -ESTALE for one whose file is gone */
int __must_check fs_use_get(struct fs *fs, uint64_t number, struct fs_use *use);
void fs_use_put(struct fs_use *use);
#define _cleanup_use_ __attribute__((cleanup(fs_use_put)))

/* ---- messages ---- */

struct fs_call {
	struct call call;
	struct fs *fs;
	struct virtqueue *vq;
	struct virtio_request *req;
	struct fuse_in_header header;	/* its length checked against what is readable */
	bool may_block;			/* not on the event loop */
	bool silent;			/* no reply */
	uint32_t bulk;			/* bytes of the reply that are in the guest's memory already, behind its header */
	uint32_t written;
	struct fs_call *next;		/* spare */
};

/** struct fs_in - what is left to read of a message's copy; the first error sticks */
struct fs_in {
	const uint8_t *data;
	size_t length;
	int error;
};

/** fs_get() - the next @size bytes, zeroes if they aren't there */
void fs_get(struct fs_in *in, void *to, size_t size);
/** fs_get_string() - up to its NUL: -EINVAL without one, -ENAMETOOLONG if it doesn't fit; fs_get_name() - a file's */
void fs_get_string(struct fs_in *in, char *to, size_t size);
void fs_get_name(struct fs_in *in, char name[NAME_MAX + 1]);

/** struct fs_out - a reply without its header; large data goes to the guest directly */
struct fs_out {
	size_t length;
	uint8_t data[KIB(4)];
};

void fs_put(struct fs_out *out, const void *data, size_t size);
void fs_attr_of(const struct share_attr *from, struct fuse_attr *to);
/** fs_put_entry() - the guest hears of @node, which is taken */
int __must_check fs_put_entry(struct fs_call *call, struct fs_out *out, struct share_node *node);
/** fs_owner() - who asks */
struct share_owner fs_owner(const struct fs_call *call);
/** fs_room() - how much of @size fits into the reply */
uint32_t fs_room(const struct fs_call *call, uint32_t size);

/** FS_LATER - an operation's result: it would block, so call it again on a thread of the pool */
#define FS_LATER	1

/** fs_run() - carries a call out, reply included; the result is 0 or FS_LATER. On the loop or in the pool */
int fs_run(struct fs_call *call);

typedef int fs_op(struct fs_call *call, struct fs_in *in, struct fs_out *out);

fs_op fs_init_, fs_destroy, fs_lookup, fs_forget, fs_batch_forget, fs_getattr, fs_setattr, fs_readlink, fs_symlink, fs_mknod, fs_mkdir,
	fs_unlink, fs_rmdir, fs_rename, fs_rename2, fs_link, fs_statfs, fs_open, fs_create, fs_read, fs_write, fs_release, fs_fsync,
	fs_opendir, fs_readdir, fs_readdirplus, fs_setxattr, fs_getxattr, fs_listxattr, fs_removexattr, fs_fallocate, fs_lseek,
	fs_copy_file_range;

/* ---- saved state: the session, nodes and handles by path ---- */

void fs_save(struct fs *fs, struct state_writer *writer);
int __must_check fs_load(struct fs *fs, struct state_reader *reader);

#endif
