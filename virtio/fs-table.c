/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtio-fs session's nodes and handles. The guest counts how often it heard of a node, and forgets it so many times;
 * one file is one node, by whatever names it was found. What a guest can pile up has a ceiling.
 */
#include "virtio/fs.h"

#define FOLDER_MEMORY	KIB(33)

static size_t bucket_of(uint64_t number)
{
	return (size_t)(number * 0x9e3779b97f4a7c15ULL >> 32) & (FS_BUCKETS - 1);
}

static size_t inode_bucket(dev_t device, ino_t inode)
{
	return bucket_of(inode ^ (uint64_t)device << 32);
}

/* ---- nodes ---- */

static struct fs_node *node_find_locked(struct fs *fs, uint64_t number)
{
	struct fs_node *entry = fs->by_number[bucket_of(number)];

	while (entry && entry->number != number)
		entry = entry->next_number;
	return entry;
}

static struct fs_node *inode_find_locked(struct fs *fs, const struct share_attr *attr)
{
	struct fs_node *entry = fs->by_inode[inode_bucket(attr->stat.st_dev, attr->stat.st_ino)];

	while (entry && (entry->device != attr->stat.st_dev || entry->inode != attr->stat.st_ino))
		entry = entry->next_inode;
	return entry;
}

int fs_node_get(struct fs *fs, uint64_t number, struct share_node **node)
{
	struct fs_node *entry;
	int result = -ENOENT;

	pthread_mutex_lock(&fs->lock);
	entry = node_find_locked(fs, number);
	if (entry && entry->node) {
		*node = share_node_get(entry->node);
		result = 0;
	} else if (entry) {
		result = -ESTALE;
	}
	pthread_mutex_unlock(&fs->lock);
	return result;
}

static void node_insert_locked(struct fs *fs, struct fs_node *entry)
{
	struct fs_node **bucket = &fs->by_number[bucket_of(entry->number)];

	entry->next_number = *bucket;
	*bucket = entry;
	fs->nodes++;
	if (!entry->node)
		return;
	bucket = &fs->by_inode[inode_bucket(entry->device, entry->inode)];
	entry->next_inode = *bucket;
	*bucket = entry;
}

static void node_remove_locked(struct fs *fs, struct fs_node *entry)
{
	struct fs_node **at = &fs->by_number[bucket_of(entry->number)];

	while (*at != entry)
		at = &(*at)->next_number;
	*at = entry->next_number;
	fs->nodes--;
	if (!entry->node)
		return;
	at = &fs->by_inode[inode_bucket(entry->device, entry->inode)];
	while (*at != entry)
		at = &(*at)->next_inode;
	*at = entry->next_inode;
}

static bool has_room_locked(const struct fs *fs)
{
	return fs->nodes + fs->opened < fs->handles_max;
}

static struct fs_node *node_new(uint64_t lookups, struct share_node *node, const struct share_attr *attr)
{
	struct fs_node *entry = calloc(1, sizeof(*entry));

	if (!entry)
		return NULL;
	entry->lookups = lookups;
	entry->node = node;
	if (node) {
		entry->device = attr->stat.st_dev;
		entry->inode = attr->stat.st_ino;
	}
	return entry;
}

int fs_node_enter(struct fs *fs, struct share_node *node, const struct share_attr *attr, uint64_t *number)
{
	struct fs_node *fresh = node_new(1, node, attr), *known;
	int result = 0;

	pthread_mutex_lock(&fs->lock);
	known = inode_find_locked(fs, attr);
	if (known) {
		known->lookups++;
		*number = known->number;
	} else if (!fresh || !has_room_locked(fs)) {
		result = -ENFILE;
	} else {
		fresh->number = *number = ++fs->last_node;
		node_insert_locked(fs, fresh);
	}
	pthread_mutex_unlock(&fs->lock);
	if (known || result) {
		free(fresh);
		share_node_put(node);
	}
	return result;
}

void fs_node_forget(struct fs *fs, uint64_t number, uint64_t lookups)
{
	struct fs_node *entry;

	pthread_mutex_lock(&fs->lock);
	entry = number == FUSE_ROOT_ID ? NULL : node_find_locked(fs, number);
	if (entry) {
		entry->lookups -= MIN(lookups, entry->lookups);
		if (entry->lookups)
			entry = NULL;
		else
			node_remove_locked(fs, entry);
	}
	pthread_mutex_unlock(&fs->lock);
	if (!entry)
		return;
	share_node_put(entry->node);
	free(entry);
}

int fs_node_load(struct fs *fs, uint64_t number, uint64_t lookups, struct share_node *node, const struct share_attr *attr)
{
	struct fs_node *entry = node_new(lookups, node, attr);
	int result = entry ? 0 : -ENOMEM;

	pthread_mutex_lock(&fs->lock);
	if (!result && (!number || node_find_locked(fs, number)))
		result = -EINVAL;
	if (!result && node && inode_find_locked(fs, attr))
		result = -EEXIST;
	if (!result && !has_room_locked(fs))
		result = -ENFILE;
	if (!result) {
		entry->number = number;
		fs->last_node = MAX(fs->last_node, number);
		node_insert_locked(fs, entry);
	}
	pthread_mutex_unlock(&fs->lock);
	if (result) {
		share_node_put(node);
		free(entry);
	}
	return result;
}

/* ---- handles ---- */

static void handle_free(struct fs *fs, struct fs_handle *handle)
{
	pthread_mutex_lock(&fs->lock);
	fs->opened--;
	fs->folders -= handle->dir != NULL;
	pthread_mutex_unlock(&fs->lock);
	if (handle->dir)
		share_dir_close(handle->dir);
	else if (handle->fd >= 0)
		close(handle->fd);
	share_node_put(handle->node);
	pthread_mutex_destroy(&handle->dir_lock);
	free(handle);
}

void fs_handle_put(struct fs *fs, struct fs_handle *handle)
{
	if (handle && atomic_fetch_sub(&handle->refs, 1) == 1)
		handle_free(fs, handle);
}

static struct fs_handle **handle_find_locked(struct fs *fs, uint64_t number)
{
	struct fs_handle **at = &fs->handles[bucket_of(number)];

	while (*at && (*at)->number != number)
		at = &(*at)->next;
	return at;
}

struct fs_handle *fs_handle_get(struct fs *fs, uint64_t number)
{
	struct fs_handle *handle;

	pthread_mutex_lock(&fs->lock);
	handle = *handle_find_locked(fs, number);
	if (handle)
		atomic_fetch_add(&handle->refs, 1);
	pthread_mutex_unlock(&fs->lock);
	return handle;
}

struct fs_handle *fs_handle_remove(struct fs *fs, uint64_t number)
{
	struct fs_handle **at, *handle;

	pthread_mutex_lock(&fs->lock);
	at = handle_find_locked(fs, number);
	handle = *at;
	if (handle)
		*at = handle->next;
	pthread_mutex_unlock(&fs->lock);
	return handle;
}

/* Takes a place for one more open file, or folder. */
static bool handle_charge(struct fs *fs, bool folder)
{
	bool fits;

	pthread_mutex_lock(&fs->lock);
	fits = has_room_locked(fs) && (!folder || fs->folders < FS_MEMORY_MAX / FOLDER_MEMORY);
	if (fits) {
		fs->opened++;
		fs->folders += folder;
	}
	pthread_mutex_unlock(&fs->lock);
	return fits;
}

static bool handle_insert(struct fs *fs, struct fs_handle *handle, uint64_t *number)
{
	struct fs_handle **at;
	bool fresh;

	pthread_mutex_lock(&fs->lock);
	if (!*number)
		*number = fs->last_handle + 1;
	at = handle_find_locked(fs, *number);
	fresh = !*at;
	if (fresh) {
		handle->number = *number;
		fs->last_handle = MAX(fs->last_handle, *number);
		*at = handle;
	}
	pthread_mutex_unlock(&fs->lock);
	return fresh;
}

struct fs_handle *fs_handle_add(struct fs *fs, uint64_t *number, uint64_t of, struct share_node *node, int fd, uint32_t flags,
				bool folder, int *error)
{
	struct fs_handle *handle = calloc(1, sizeof(*handle));
	struct share_dir *dir = NULL;

	*error = handle && handle_charge(fs, folder) ? 0 : -ENFILE;
	if (*error) {
		free(handle);
		if (fd >= 0)
			close(fd);
		return NULL;
	}
	atomic_init(&handle->refs, 1);
	handle->of = of;
	handle->fd = fd;
	handle->flags = flags;
	handle->node = node ? share_node_get(node) : NULL;
	pthread_mutex_init(&handle->dir_lock, NULL);
	if (folder)
		*error = share_dir_open(fs->share, node, fd, &dir);
	if (!*error && !handle_insert(fs, handle, number))
		*error = -EINVAL;
	handle->dir = dir;
	if (!*error)
		return handle;
	if (folder && !dir) {
		/* handle_free() counts by the folder that there isn't. */
		pthread_mutex_lock(&fs->lock);
		fs->folders--;
		pthread_mutex_unlock(&fs->lock);
	}
	handle_free(fs, handle);
	return NULL;
}

int fs_use_get(struct fs *fs, uint64_t number, struct fs_use *use)
{
	*use = (struct fs_use){ .fs = fs, .handle = fs_handle_get(fs, number) };
	if (!use->handle)
		return -EBADF;
	return use->handle->fd < 0 ? -ESTALE : 0;
}

void fs_use_put(struct fs_use *use)
{
	if (use->handle)
		fs_handle_put(use->fs, use->handle);
}

/* ---- the session ---- */

static void nodes_clear(struct fs *fs)
{
	struct fs_node *entry, *next;

	for (size_t i = 0; i < FS_BUCKETS; i++) {
		pthread_mutex_lock(&fs->lock);
		entry = fs->by_number[i];
		for (struct fs_node *at = entry; at; at = next) {
			next = at->next_number;
			node_remove_locked(fs, at);
			at->next_number = next;
		}
		pthread_mutex_unlock(&fs->lock);
		for (; entry; entry = next) {
			next = entry->next_number;
			share_node_put(entry->node);
			free(entry);
		}
	}
}

static void handles_clear(struct fs *fs)
{
	struct fs_handle *handle, *next;

	for (size_t i = 0; i < FS_BUCKETS; i++) {
		pthread_mutex_lock(&fs->lock);
		handle = fs->handles[i];
		fs->handles[i] = NULL;
		pthread_mutex_unlock(&fs->lock);
		for (; handle; handle = next) {
			next = handle->next;
			fs_handle_put(fs, handle);
		}
	}
}

void fs_session_end(struct fs *fs)
{
	atomic_store(&fs->minor, 0);
	handles_clear(fs);
	nodes_clear(fs);
}

int fs_session_start(struct fs *fs)
{
	struct share_node *root = share_root(fs->share);
	struct share_attr attr;
	int result = share_stat(fs->share, root, &attr);

	fs_session_end(fs);
	if (!result)
		return fs_node_load(fs, FUSE_ROOT_ID, 1, root, &attr);
	share_node_put(root);
	return result;
}
