/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of virtio-9p know of each other: 9p.c is the device, 9p-fid.c its fids, 9p-wire.c the messages'
 * coding, 9p-tree.c and 9p-io.c what the messages do, 9p-state.c saving and loading.
 */
#ifndef VIRTIO_9P_H
#define VIRTIO_9P_H

#include <pthread.h>

#include "kvm/calls.h"
#include "kvm/share.h"
#include "kvm/virtio.h"

#define NINE_HEADER		7U		/* size[4] type[1] tag[2] */
#define NINE_IO_HEADER		11U		/* Rread's and Rreaddir's, with the count */
#define NINE_WRITE_HEADER	23U		/* Twrite's, up to its data */
#define NINE_TVERSION		100
#define NINE_TFLUSH		108
#define NINE_TREAD		116
#define NINE_TWRITE		118
#define NINE_MSIZE_MAX		KIB(1024)
#define NINE_MSIZE_MIN		KIB(4)
#define NINE_BODY_MAX		KIB(9)		/* of a message besides Twrite: two names and a path are less */
#define NINE_WALK_MAX		16U
#define NINE_MEMORY_MAX		MIB(64)		/* folders' buffers and extended attributes, a device */
#define NINE_XATTR_MAX		KIB(64)

/* ---- fids ---- */

/** struct nine_xattr - an attribute that is read through a fid, or gathered by one to be set when it is clunked */
struct nine_xattr {
	char name[256];
	int flags;
	bool writing;
	size_t size, filled;
	char data[];
};

struct nine_fid {
	uint32_t number, uid;
	atomic_uint refs;
	struct nine_fid *next;		/* guarded by nine->lock */
	pthread_mutex_t lock;		/* guards what is below; innermost */
	struct share_node *node;	/* NULL: it could not be opened again when the state was loaded */
	int fd;				/* for I/O, or -1; once set it stays until the fid is freed */
	uint32_t flags;			/* Tlopen's, if it is open, but for what opening it once more must not do */
	bool open;
	struct share_dir *dir;		/* owns its fd */
	struct nine_xattr *xattr;
	pthread_mutex_t dir_lock;	/* guards the folder's position; held over reading it */
};

#define NINE_TAG_MAX	126U

/** struct nine_config - how the driver sees it */
struct nine_config {
	le16 length;
	char tag[NINE_TAG_MAX];
};

#define NINE_FID_BUCKETS	4096U	/* a power of 2 */

struct nine {
	struct virtio_device device;
	struct share *share;
	struct calls calls;		/* on threads of its own: one share's slow files are no other's */
	struct nine_config config;	/* constant once added */
	atomic_uint msize;		/* 0: no Tversion yet; changed while nothing is in flight */
	size_t handles_max;

	pthread_mutex_t lock;		/* guards the table and the counts; innermost */
	struct nine_fid *fids[NINE_FID_BUCKETS];
	size_t handles;			/* fids, and those that are open once more: each may keep an fd of the host's */
	size_t memory;

	/* owned by the loop */
	struct nine_call *in_flight;
	struct nine_call *spare;
	struct nine_call *version;	/* a Tversion that waits for all other calls, or runs; nothing is popped meanwhile */
	bool version_runs;
	bool stopped;			/* there may be more in the queue, which was not popped */
	struct nine *next;
};

/** nine_fid_get() - NULL if there is none; nine_fid_put() what it returned */
struct nine_fid *nine_fid_get(struct nine *nine, uint32_t number);
void nine_fid_put(struct nine *nine, struct nine_fid *fid);
/** nine_fid_add() - takes @node; -EINVAL for a number in use, -ENFILE past the ceiling. @node is put on failure, too */
int __must_check nine_fid_add(struct nine *nine, uint32_t number, uint32_t uid, struct share_node *node, struct nine_xattr *xattr);
/** nine_fid_remove() - the number is free from now on; NULL if there was none. The caller puts the fid */
struct nine_fid *nine_fid_remove(struct nine *nine, uint32_t number);
void nine_fids_clear(struct nine *nine);
/** nine_fid_opened() - @fid is @node from now on, open by @fd, which is closed on failure: -EINVAL if it was open before */
int __must_check nine_fid_opened(struct nine *nine, struct nine_fid *fid, struct share_node *node, int fd, uint32_t flags,
				 bool folder);
struct nine_xattr *nine_xattr_new(struct nine *nine, size_t size, int *error);
void nine_xattr_free(struct nine *nine, struct nine_xattr *xattr);

/** struct nine_ref - a fid in use by one call, with what it was when the call looked */
struct nine_ref {
	struct nine *nine;
	struct nine_fid *fid;
	struct share_node *node;
	struct nine_xattr *xattr;
	struct share_dir *dir;
	int fd;
};
/** nine_ref_of() - takes the caller's reference to @fid over; @ref's node may be NULL then */
void nine_ref_of(struct nine *nine, struct nine_fid *fid, struct nine_ref *ref);
/** nine_ref_get() - -EBADF for no such fid, -ESTALE for one whose file is gone since the state was loaded */
int __must_check nine_ref_get(struct nine *nine, uint32_t number, struct nine_ref *ref);
void nine_ref_put(struct nine_ref *ref);
#define _cleanup_ref_ __attribute__((cleanup(nine_ref_put)))

/* ---- messages ---- */

/** struct nine_in - what is left to read of a message's copy; the first error sticks, and all later values are 0 */
struct nine_in {
	const uint8_t *data;
	size_t length;
	int error;
};

uint8_t nine_get8(struct nine_in *in);
uint16_t nine_get16(struct nine_in *in);
uint32_t nine_get32(struct nine_in *in);
uint64_t nine_get64(struct nine_in *in);
/** nine_get_string() - -ENAMETOOLONG if it doesn't fit, -EINVAL with a NUL inside */
void nine_get_string(struct nine_in *in, char *to, size_t size);
/** nine_get_name() - one that can be a file's */
void nine_get_name(struct nine_in *in, char name[NAME_MAX + 1]);

/** struct nine_out - a reply without its header; large data goes to the guest directly */
struct nine_out {
	size_t length;
	uint8_t data[KIB(4) + 16];
};

void nine_put8(struct nine_out *out, uint8_t value);
void nine_put16(struct nine_out *out, uint16_t value);
void nine_put32(struct nine_out *out, uint32_t value);
void nine_put64(struct nine_out *out, uint64_t value);
void nine_put_string(struct nine_out *out, const char *text);
void nine_put_qid(struct nine_out *out, const struct share_attr *attr);
/** nine_qid_type() - of a mode's file type */
uint8_t nine_qid_type(uint32_t mode);

struct nine_call {
	struct call call;
	struct nine *nine;
	struct virtqueue *vq;
	struct virtio_request *req;
	uint32_t size;			/* the message's, checked against what is readable */
	uint16_t tag;
	uint8_t type;
	bool may_block;			/* not on the event loop */
	uint32_t bulk;			/* bytes of the reply that are in the guest's memory already, behind NINE_IO_HEADER */
	uint32_t written;
	/* owned by the loop */
	struct nine_call *next, **link;	/* in flight, or spare */
	struct nine_call *flushes;	/* Tflushes that wait for this one, by their next */
};

/** NINE_LATER - an operation's result: it would block, so call it again on a thread of the pool */
#define NINE_LATER	1

/** nine_op - how a message is carried out; the result is 0, NINE_LATER (nothing has happened) or a negative errno */
typedef int nine_op(struct nine_call *call, struct nine_in *in, struct nine_out *out);
/** nine_op_of() - NULL: there is no such message */
nine_op *nine_op_of(uint8_t type);

/** nine_run() - carries a call out, reply included; the result is 0 or NINE_LATER. On the loop or in the pool */
int nine_run(struct nine_call *call);

nine_op nine_version, nine_attach, nine_walk, nine_lopen, nine_lcreate, nine_symlink, nine_mknod, nine_mkdir,
	nine_link, nine_rename, nine_renameat, nine_unlinkat, nine_remove, nine_readlink, nine_getattr, nine_setattr,
	nine_statfs, nine_clunk, nine_read, nine_write, nine_readdir, nine_fsync, nine_lock, nine_getlock,
	nine_xattrwalk, nine_xattrcreate;

/** nine_host_flags() - open()'s flags as 9P2000.L numbers them, which is Linux's way on most architectures */
int nine_host_flags(uint32_t flags);

/* ---- saved state: the session and its fids, by path; locks are not kept ---- */

void nine_save(struct nine *nine, struct state_writer *writer);
int __must_check nine_load(struct nine *nine, struct state_reader *reader);

#endif
