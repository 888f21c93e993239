/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of share/ know of each other. */
#ifndef SHARE_SHARE_H
#define SHARE_SHARE_H

#include <stdatomic.h>
#include <stdio.h>

#include "kvm/share.h"

struct share {
	struct share_node *root;
	enum share_security security;
	bool read_only, map;
	uint32_t host_uid, host_gid, map_uid, map_gid;
	dev_t device;			/* the root's */
};

struct share_node {
	atomic_uint refs;
	int fd;				/* O_PATH */
};

/*
 * The magic link to a node's file: for what no call takes an O_PATH fd for. It leads to that very file, be it a symlink
 * or have no name any more.
 */
struct proc_path {
	char text[32];
};

static inline struct proc_path proc_path_of(int fd)
{
	struct proc_path path;

	snprintf(path.text, sizeof(path.text), "/proc/self/fd/%d", fd);
	return path;
}

static inline struct proc_path proc_path(const struct share_node *node)
{
	return proc_path_of(node->fd);
}

/** share_node_new() - takes @fd, a negative one being an errno of -1 */
int __must_check share_node_new(int fd, struct share_node **node);

/** share_uid_to_host(), ... - the exchange that map= asks for: its own inverse */
static inline uint32_t share_exchange(const struct share *share, uint32_t id, uint32_t host, uint32_t guest)
{
	if (!share->map)
		return id;
	return id == host ? guest : id == guest ? host : id;
}

static inline uint32_t share_uid(const struct share *share, uint32_t uid)
{
	return share_exchange(share, uid, share->host_uid, share->map_uid);
}

static inline uint32_t share_gid(const struct share *share, uint32_t gid)
{
	return share_exchange(share, gid, share->host_gid, share->map_gid);
}

/** share_id() - an inode number that no other file system of the share has */
uint64_t share_id(const struct share *share, dev_t device, ino_t inode);

/** share_mapped_stat() - puts what the attributes of a mapped share say into @stat */
void share_mapped_stat(const struct share_node *node, struct stat *stat);
/** share_mapped_set() - keeps the mode (with its type), owner and device of @change in attributes */
enum { SHARE_MAPPED_DEVICE = 1 << 16 };
struct share_mapped {
	unsigned int set;		/* SHARE_SET_MODE, _UID, _GID, SHARE_MAPPED_DEVICE */
	uint32_t mode, uid, gid;
	uint64_t device;
};
int __must_check share_mapped_set(const struct share_node *node, const struct share_mapped *mapped);
/** share_mapped_hides() - whether @name is an attribute that a mapped share keeps for itself, or that it has no place for */
bool share_mapped_hides(const char *name);

#endif
