/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Folders read in the order and by the positions of the host's file system, many entries a system call.
 *
 * A reader that goes on where it stopped is served from the buffer; any other position is sought for. So what stays in
 * the folder while it is read comes once, as on the host.
 */
#include <dirent.h>
#include <string.h>

#include "share/share.h"

#define DIR_BUFFER	KIB(32)

struct share_dir {
	struct share *share;
	struct share_node *node;
	int fd;
	dev_t device;
	uint64_t position;		/* of the entry at @at */
	uint64_t before;		/* and of the one in front of it, at @before_at; 0: none */
	size_t at, before_at, filled;
	_Alignas(struct dirent64) char buffer[DIR_BUFFER];
};

int share_dir_open(struct share *share, struct share_node *node, int fd, struct share_dir **out)
{
	struct share_dir *dir = malloc(sizeof(*dir));
	struct stat stat;

	if (!dir)
		return -ENOMEM;
	if (fstat(fd, &stat) < 0 || !S_ISDIR(stat.st_mode)) {
		free(dir);
		return -ENOTDIR;
	}
	dir->share = share;
	dir->node = share_node_get(node);
	dir->fd = fd;
	dir->device = stat.st_dev;
	dir->position = dir->before = dir->at = dir->filled = 0;
	*out = dir;
	return 0;
}

void share_dir_close(struct share_dir *dir)
{
	if (!dir)
		return;
	share_node_put(dir->node);
	close(dir->fd);
	free(dir);
}

int share_dir_fd(const struct share_dir *dir)
{
	return dir->fd;
}

/* Whether the buffer has an entry at dir->at; reads on if not. */
static int dir_fill(struct share_dir *dir)
{
	ssize_t got;

	if (dir->at < dir->filled)
		return 1;
	dir->at = dir->filled = dir->before = 0;
	got = getdents64(dir->fd, dir->buffer, sizeof(dir->buffer));
	if (got < 0)
		return -errno;
	dir->filled = (size_t)got;
	return got > 0;
}

static int dir_seek(struct share_dir *dir, uint64_t position)
{
	/* From the start, it is to be read anew. */
	if (position == dir->position && position)
		return 0;
	/* The last one had no room in the reader's reply. */
	if (position == dir->before && position) {
		dir->position = position;
		dir->at = dir->before_at;
		return 0;
	}
	if (position > INT64_MAX || lseek(dir->fd, (off_t)position, SEEK_SET) < 0)
		return -EINVAL;
	dir->position = position;
	dir->at = dir->filled = dir->before = 0;
	return 0;
}

/* The folder above the root is none of the guest's business. */
static uint64_t entry_id(const struct share_dir *dir, const struct dirent64 *entry)
{
	struct stat root;

	if (strcmp(entry->d_name, "..") != 0 || fstat(dir->share->root->fd, &root) < 0)
		return share_id(dir->share, dir->device, entry->d_ino);
	return share_id(dir->share, root.st_dev, root.st_ino);
}

static unsigned char entry_type(const struct share_dir *dir, const struct dirent64 *entry)
{
	struct share_attr attr;
	struct share_node *node;
	unsigned char type = entry->d_type;

	/* A mapped share's symlinks and special files are regular ones on the host. */
	if (type != DT_UNKNOWN && (type != DT_REG || dir->share->security != SHARE_MAPPED))
		return type;
	if (share_lookup(dir->share, dir->node, entry->d_name, &node))
		return type;
	if (share_stat(dir->share, node, &attr) == 0)
		type = IFTODT(attr.stat.st_mode);
	share_node_put(node);
	return type;
}

int share_dir_read(struct share_dir *dir, uint64_t position, struct share_entry *entry)
{
	const struct dirent64 *found;
	int result = dir_seek(dir, position);

	if (result)
		return result;
	result = dir_fill(dir);
	if (result <= 0)
		return result;
	found = (const struct dirent64 *)(dir->buffer + dir->at);
	entry->name = found->d_name;
	entry->id = entry_id(dir, found);
	entry->type = entry_type(dir, found);
	entry->next = (uint64_t)found->d_off;
	dir->before = dir->position;
	dir->before_at = dir->at;
	dir->at += found->d_reclen;
	dir->position = entry->next;
	return 1;
}
