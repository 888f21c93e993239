/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Saved state of virtio-fs: the session, its nodes by path, and its handles by their nodes. A file that has no path any
 * more, or none when the state is loaded, answers ESTALE.
 */
#include <fcntl.h>
#include <string.h>

#include "kvm/log.h"
#include "virtio/fs.h"

/* Of nodes and handles: the next one is the last one's and one, and must never come round to the root's. */
#define NUMBER_MAX	INT64_MAX

struct fs_session {
	uint32_t minor, nodes, handles;
	uint64_t last_node, last_handle;
};

static const struct state_field session_fields[] = {
	STATE_U32(struct fs_session, minor),
	STATE_U32(struct fs_session, nodes),
	STATE_U32(struct fs_session, handles),
	STATE_U64_MAX(struct fs_session, last_node, NUMBER_MAX),
	STATE_U64_MAX(struct fs_session, last_handle, NUMBER_MAX),
};
STATE_TABLE(session_table, "fs", 1, session_fields);

struct fs_saved {
	uint64_t number, lookups;
	bool gone;
};

static const struct state_field node_fields[] = {
	STATE_U64_MAX(struct fs_saved, number, NUMBER_MAX),
	STATE_U64(struct fs_saved, lookups),
	STATE_BOOL(struct fs_saved, gone),
};
STATE_TABLE(node_table, "fs-node", 1, node_fields);

struct fs_saved_handle {
	uint64_t number, of;
	uint32_t flags;
	bool folder;
};

static const struct state_field handle_fields[] = {
	STATE_U64_MAX(struct fs_saved_handle, number, NUMBER_MAX),
	STATE_U64(struct fs_saved_handle, of),
	STATE_U32(struct fs_saved_handle, flags),
	STATE_BOOL(struct fs_saved_handle, folder),
};
STATE_TABLE(handle_table, "fs-handle", 1, handle_fields);

/* ---- saving ---- */

static int node_compare(const void *a, const void *b)
{
	uint64_t left = (*(struct fs_node *const *)a)->number, right = (*(struct fs_node *const *)b)->number;

	return left < right ? -1 : left > right;
}

static int handle_compare(const void *a, const void *b)
{
	uint64_t left = (*(struct fs_handle *const *)a)->number, right = (*(struct fs_handle *const *)b)->number;

	return left < right ? -1 : left > right;
}

static void node_save(struct fs *fs, const struct fs_node *entry, struct state_writer *writer)
{
	struct fs_saved saved = { .number = entry->number, .lookups = entry->lookups };
	char path[PATH_MAX] = "";

	saved.gone = !entry->node || share_path(fs->share, entry->node, path);
	if (saved.gone)
		path[0] = '\0';
	state_save(writer, &node_table, &saved);
	state_save_blob(writer, "path", path, strlen(path));
}

static void handle_save(const struct fs_handle *handle, struct state_writer *writer)
{
	const struct fs_saved_handle saved = {
		.number = handle->number, .of = handle->of, .flags = handle->flags, .folder = handle->dir != NULL,
	};

	state_save(writer, &handle_table, &saved);
}

void fs_save(struct fs *fs, struct state_writer *writer)
{
	struct fs_session session = { .minor = atomic_load(&fs->minor), .last_node = fs->last_node, .last_handle = fs->last_handle };
	/* Quiesced: nobody else has them. */
	_cleanup_free_ struct fs_node **nodes = calloc(fs->nodes + 1, sizeof(*nodes));
	_cleanup_free_ struct fs_handle **handles = calloc(fs->opened + 1, sizeof(*handles));

	if (!nodes || !handles) {
		writer->error = -ENOMEM;
		return;
	}
	for (size_t i = 0; i < FS_BUCKETS; i++) {
		for (struct fs_node *entry = fs->by_number[i]; entry; entry = entry->next_number)
			nodes[session.nodes++] = entry;
		for (struct fs_handle *handle = fs->handles[i]; handle; handle = handle->next)
			handles[session.handles++] = handle;
	}
	qsort(nodes, session.nodes, sizeof(*nodes), node_compare);
	qsort(handles, session.handles, sizeof(*handles), handle_compare);
	state_save(writer, &session_table, &session);
	for (uint32_t i = 0; i < session.nodes; i++)
		node_save(fs, nodes[i], writer);
	for (uint32_t i = 0; i < session.handles; i++)
		handle_save(handles[i], writer);
}

/* ---- loading ---- */

static int node_load(struct fs *fs, struct state_reader *reader)
{
	struct fs_saved saved = { 0 };
	struct share_node *node = NULL;
	struct share_attr attr = { 0 };
	char path[PATH_MAX];
	size_t length;
	int result = state_load(reader, &node_table, &saved);

	if (!result)
		result = state_load_blob(reader, "path", path, sizeof(path) - 1, &length);
	if (result)
		return result;
	path[length] = '\0';
	if (strlen(path) != length)
		return log_error(EINVAL, "saved state: fs: a path with a NUL inside");
	if (saved.gone || share_at(fs->share, path, &node))
		node = NULL;
	if (node && share_stat(fs->share, node, &attr)) {
		share_node_put(node);
		node = NULL;
	}
	result = fs_node_load(fs, saved.number, saved.lookups, node, &attr);
	/* By this path there is another node's file now. */
	if (result == -EEXIST)
		result = fs_node_load(fs, saved.number, saved.lookups, NULL, &attr);
	return result ? log_errno(result, "saved state: fs: node %llu", (unsigned long long)saved.number) : 0;
}

static int handle_load(struct fs *fs, struct state_reader *reader)
{
	struct fs_saved_handle saved = { 0 };
	struct share_node *node = NULL;
	int fd = -1, result = state_load(reader, &handle_table, &saved);

	if (!result && !saved.number)
		result = log_error(EINVAL, "saved state: fs: a handle without a number");
	if (result)
		return result;
	/* Without its file it is there, to be released. */
	if (fs_node_get(fs, saved.of, &node) == 0)
		fd = share_file_open(fs->share, node, (int)((saved.flags & ~(uint32_t)(O_EXCL | O_TRUNC)) | (saved.folder ? O_DIRECTORY : 0)));
	fs_handle_add(fs, &saved.number, saved.of, node, fd, saved.flags, fd >= 0 && saved.folder, &result);
	share_node_put(node);
	return result ? log_errno(result, "saved state: fs: handle %llu", (unsigned long long)saved.number) : 0;
}

int fs_load(struct fs *fs, struct state_reader *reader)
{
	struct fs_session session = { 0 };
	int result = state_load(reader, &session_table, &session);

	if (result)
		return result;
	if (session.minor ? session.minor < FS_MINOR_MIN : session.nodes || session.handles)
		return log_error(EINVAL, "saved state: fs: version 7.%u of FUSE", session.minor);
	for (uint32_t i = 0; i < session.nodes && !result; i++)
		result = node_load(fs, reader);
	for (uint32_t i = 0; i < session.handles && !result; i++)
		result = handle_load(fs, reader);
	if (result)
		return result;
	fs->last_node = MAX(fs->last_node, session.last_node);
	fs->last_handle = MAX(fs->last_handle, session.last_handle);
	atomic_store(&fs->minor, session.minor);
	return 0;
}
