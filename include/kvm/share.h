/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shares: folders of the host that a guest may use, and nothing beside them.
 *
 * What 9p and virtio-fs have in common, without a word of either protocol. A node is a file of the share, held open
 * by O_PATH: it stays the same file through renames, and lives on when it is unlinked. Each step goes by one name from
 * a node, never through a symlink, and paths are resolved by the kernel beneath the root's fd (openat2), so that no
 * name, symlink, rename or race leads out. A symlink is the guest's to follow.
 *
 * Any thread that called share_thread_enter() may call, several at once: a share is constant once it is open, and a
 * node but for its count.
 * All return 0 or a positive result, or a negative errno that is the guest's answer; nothing is said, but by
 * share_options_parse() and share_open().
 */
#ifndef KVM_SHARE_H
#define KVM_SHARE_H

#include <limits.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>

#include "kvm/types.h"

struct config;
struct event_loop;
struct kvm;
struct share;
struct share_node;

/**
 * enum share_security - what becomes of the guest's owners and modes
 *
 * NONE: set on the host's files, and where the host doesn't let us set an owner, that is passed over. No devices.
 * PASSTHROUGH: set on the host's files, or the operation fails.
 * MAPPED: kept in extended attributes (user.virtfs.*, as QEMU's mapped-xattr has them); the files are the host user's,
 * readable by nobody else, and symlinks and special files are regular ones: nothing of the guest works on the host.
 */
enum share_security { SHARE_NONE, SHARE_PASSTHROUGH, SHARE_MAPPED };

/** struct share_options - "DIR[,ro][,security=MODEL][,map=UID[:GID]]" */
struct share_options {
	char *path;
	char *tag;			/* the name the guest knows it by */
	enum share_security security;
	bool read_only;
	bool map;			/* the host's user and group are @map_uid and @map_gid in the guest, and the reverse */
	uint32_t map_uid, map_gid;
};

/**
 * share_options_parse() - @option names it in messages: "9p"
 * @tag: NULL: the second word of @text is the tag
 */
int __must_check share_options_parse(struct share_options *options, const char *option, const char *text, const char *tag);
void share_options_free(struct share_options *options);

/** share_names_folder() - whether the first word of @text ("DIR[,...]") is a folder, which -d makes the root file system */
bool share_names_folder(const char *text);
/** share_root_option() - the first folder among --disk's arguments, or NULL; its tag is SHARE_ROOT_TAG */
const char *share_root_option(const struct config *config);
#define SHARE_ROOT_TAG "/dev/root"

/** shares_loop(), shares_handles() - from dev_base on: the loop that a VM's shares have, and how many open files each may keep */
struct event_loop *shares_loop(const struct kvm *kvm);
size_t shares_handles(const struct kvm *kvm);

/** share_open() - opens the root; says what is wrong with the folder */
int __must_check share_open(struct share **share, const char *option, const struct share_options *options);
/** share_close() - every node must have been put */
void share_close(struct share *share);
bool share_read_only(const struct share *share);

/** share_thread_enter() - gives the calling thread a umask of its own, which takes nothing from a file's mode */
void share_thread_enter(void);

/* ---- nodes ---- */

/** share_root() - with a reference for the caller */
struct share_node *share_root(struct share *share);
struct share_node *share_node_get(struct share_node *node);
/** share_node_put() - NULL is fine */
void share_node_put(struct share_node *node);

/** share_name_ok() - one component that is neither "." nor "..": 1 to 255 bytes without '/' and NUL */
bool share_name_ok(const char *name, size_t length);

/**
 * share_lookup() - @name in the folder @dir; ".." is the folder above, and the root's is the root
 * @node receives a reference.
 */
int __must_check share_lookup(struct share *share, struct share_node *dir, const char *name, struct share_node **node);
/** share_at() - @path beneath the root, "" being the root itself; only its last component may be a symlink, the node then */
int __must_check share_at(struct share *share, const char *path, struct share_node **node);
/** share_path() - where @node is now, for share_at(): -ENOENT if it is unlinked or was moved out of the share */
int __must_check share_path(struct share *share, struct share_node *node, char path[PATH_MAX]);
/** share_where() - the folder that @node is in now (a reference) and its name there; -EBUSY for the root */
int __must_check share_where(struct share *share, struct share_node *node, struct share_node **dir, char name[NAME_MAX + 1]);

/* ---- attributes ---- */

/** struct share_attr - as the guest sees it: mapped identities and modes */
struct share_attr {
	struct stat stat;
	uint64_t id;			/* of the inode, unique over all file systems mounted in the share */
	struct timespec birth;		/* 0 where the host doesn't know it */
};

int __must_check share_stat(struct share *share, struct share_node *node, struct share_attr *attr);
int __must_check share_statfs(struct share *share, struct share_node *node, struct statfs *fs);

/** enum share_set - which members of a struct share_change count */
enum share_set {
	SHARE_SET_MODE	= 1 << 0,
	SHARE_SET_UID	= 1 << 1,
	SHARE_SET_GID	= 1 << 2,
	SHARE_SET_SIZE	= 1 << 3,
	SHARE_SET_ATIME	= 1 << 4,
	SHARE_SET_MTIME	= 1 << 5,
	SHARE_SET_CTIME	= 1 << 6,	/* to now */
};

struct share_change {
	unsigned int set;
	uint32_t mode, uid, gid;
	uint64_t size;
	struct timespec atime, mtime;	/* tv_nsec may be UTIME_NOW */
};

/** share_change() - @fd: the node opened for writing, or -1; with it a file whose mode forbids it can be truncated */
int __must_check share_change(struct share *share, struct share_node *node, int fd, const struct share_change *change);

int __must_check share_readlink(struct share *share, struct share_node *node, char *target, size_t size);

/** share_xattr_get(), share_xattr_list() - as lgetxattr() and llistxattr(); with a @size of 0 they return how much it is */
ssize_t share_xattr_get(struct share *share, struct share_node *node, const char *name, void *value, size_t size);
ssize_t share_xattr_list(struct share *share, struct share_node *node, char *names, size_t size);
int __must_check share_xattr_set(struct share *share, struct share_node *node, const char *name, const void *value,
				 size_t size, int flags);
int __must_check share_xattr_remove(struct share *share, struct share_node *node, const char *name);

/* ---- files and names ---- */

/** struct share_owner - who makes a file, as the guest knows them */
struct share_owner {
	uint32_t uid, gid;
};

/**
 * share_file_open() - an fd for I/O; @flags: O_RDONLY, O_WRONLY, O_RDWR, O_TRUNC, O_APPEND, O_DSYNC, O_SYNC, O_NOATIME
 * and O_DIRECTORY count. Regular files and folders only (-ENXIO): the guest has its own devices, pipes and sockets.
 */
int __must_check share_file_open(struct share *share, struct share_node *node, int flags);
/** share_create() - O_EXCL counts in @flags, too; @node receives a reference, the result is an fd for I/O */
int __must_check share_create(struct share *share, struct share_node *dir, const char *name, int flags, uint32_t mode,
			      struct share_owner owner, struct share_node **node);
int __must_check share_mkdir(struct share *share, struct share_node *dir, const char *name, uint32_t mode,
			     struct share_owner owner, struct share_node **node);
/** share_mknod() - regular files, pipes and sockets; devices where SHARE_PASSTHROUGH or SHARE_MAPPED is, else -EPERM */
int __must_check share_mknod(struct share *share, struct share_node *dir, const char *name, uint32_t mode, dev_t device,
			     struct share_owner owner, struct share_node **node);
int __must_check share_symlink(struct share *share, struct share_node *dir, const char *name, const char *target,
			       struct share_owner owner, struct share_node **node);
int __must_check share_link(struct share *share, struct share_node *node, struct share_node *dir, const char *name);
/** share_rename() - @flags as renameat2()'s */
int __must_check share_rename(struct share *share, struct share_node *from, const char *from_name, struct share_node *to,
			      const char *to_name, unsigned int flags);
/** share_unlink() - @folder: it must be an empty folder; else it must be none */
int __must_check share_unlink(struct share *share, struct share_node *dir, const char *name, bool folder);

/* ---- folders ---- */

/** struct share_entry - one name of a folder; @type is DT_*, @next the position behind it */
struct share_entry {
	const char *name;
	uint64_t id, next;
	unsigned char type;
};

struct share_dir;
/**
 * share_dir_open() - takes @fd, which share_file_open() returned, unless it fails
 * It reads ahead by KiBs at a time, and is not to be shared by threads.
 */
int __must_check share_dir_open(struct share *share, struct share_node *node, int fd, struct share_dir **dir);
void share_dir_close(struct share_dir *dir);
int share_dir_fd(const struct share_dir *dir);
/** share_dir_read() - the entry at @position: 0 or an entry's next; 1, or 0 at the end. Stays valid until the next call */
int __must_check share_dir_read(struct share_dir *dir, uint64_t position, struct share_entry *entry);

#endif
