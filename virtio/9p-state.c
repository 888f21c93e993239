/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Saved state of virtio-9p: the session, and its fids by path. A file that has no path any more, or none when the
 * state is loaded, leaves a fid that answers ESTALE, as NFS would. Locks are not kept.
 */
#include "virtio/9p.h"

#include <string.h>

#include "kvm/log.h"

struct nine_session {
	uint32_t msize, fids;
};

static const struct state_field session_fields[] = {
	STATE_U32_MAX(struct nine_session, msize, NINE_MSIZE_MAX),
	STATE_U32(struct nine_session, fids),
};
STATE_TABLE(session_table, "9p", 1, session_fields);

struct nine_saved {
	uint32_t number, uid, flags;
	bool gone, open, xattr, writing;
	uint8_t xattr_flags;
	uint32_t size, filled;
};

static const struct state_field saved_fields[] = {
	STATE_U32(struct nine_saved, number),
	STATE_U32(struct nine_saved, uid),
	STATE_U32(struct nine_saved, flags),
	STATE_BOOL(struct nine_saved, gone),
	STATE_BOOL(struct nine_saved, open),
	STATE_BOOL(struct nine_saved, xattr),
	STATE_BOOL(struct nine_saved, writing),
	STATE_U8_MAX(struct nine_saved, xattr_flags, 2),
	STATE_U32_MAX(struct nine_saved, size, NINE_XATTR_MAX),
	STATE_U32_MAX(struct nine_saved, filled, NINE_XATTR_MAX),
};
STATE_TABLE(saved_table, "9p-fid", 1, saved_fields);

/* ---- saving ---- */

static void fid_save(struct nine *nine, struct nine_fid *fid, struct state_writer *writer)
{
	const struct nine_xattr *xattr = fid->xattr;
	struct nine_saved saved = { .number = fid->number, .uid = fid->uid, .flags = fid->flags, .open = fid->open, .xattr = xattr };
	char path[PATH_MAX] = "";

	saved.gone = !fid->node || share_path(nine->share, fid->node, path);
	if (saved.gone)
		path[0] = '\0';
	if (xattr) {
		saved.writing = xattr->writing;
		saved.xattr_flags = (uint8_t)xattr->flags;
		saved.size = (uint32_t)xattr->size;
		saved.filled = (uint32_t)xattr->filled;
	}
	state_save(writer, &saved_table, &saved);
	state_save_blob(writer, "path", path, strlen(path));
	if (!xattr)
		return;
	state_save_blob(writer, "name", xattr->name, strlen(xattr->name));
	state_save_blob(writer, "value", xattr->data, xattr->size);
}

static int fid_compare(const void *a, const void *b)
{
	uint32_t left = (*(struct nine_fid *const *)a)->number, right = (*(struct nine_fid *const *)b)->number;

	return left < right ? -1 : left > right;
}

void nine_save(struct nine *nine, struct state_writer *writer)
{
	struct nine_session session = { .msize = atomic_load(&nine->msize) };
	/* Quiesced: nobody else has them. The handles count each fid once at least. */
	_cleanup_free_ struct nine_fid **fids = calloc(nine->handles + 1, sizeof(*fids));

	if (!fids) {
		writer->error = -ENOMEM;
		return;
	}
	for (unsigned int i = 0; i < NINE_FID_BUCKETS; i++)
		for (struct nine_fid *fid = nine->fids[i]; fid; fid = fid->next)
			fids[session.fids++] = fid;
	qsort(fids, session.fids, sizeof(*fids), fid_compare);
	state_save(writer, &session_table, &session);
	for (uint32_t i = 0; i < session.fids; i++)
		fid_save(nine, fids[i], writer);
}

/* ---- loading ---- */

static int text_load(struct state_reader *reader, const char *name, char *text, size_t size)
{
	size_t length;
	int result = state_load_blob(reader, name, text, size - 1, &length);

	if (result)
		return result;
	text[length] = '\0';
	return strlen(text) == length ? 0 : log_error(EINVAL, "saved state: 9p: a %s with a NUL inside", name);
}

static int xattr_load(struct nine *nine, struct state_reader *reader, const struct nine_saved *saved, struct nine_xattr **out)
{
	struct nine_xattr *xattr;
	size_t length;
	int result;

	if (saved->filled > saved->size)
		return log_error(EINVAL, "saved state: 9p: an attribute with more than its size");
	xattr = nine_xattr_new(nine, saved->size, &result);
	if (!xattr)
		return log_errno(result, "saved state: 9p");
	xattr->flags = saved->xattr_flags;
	xattr->writing = saved->writing;
	xattr->filled = saved->filled;
	result = text_load(reader, "name", xattr->name, sizeof(xattr->name));
	if (!result)
		result = state_load_blob(reader, "value", xattr->data, xattr->size, &length);
	if (!result && length != xattr->size)
		result = log_error(EINVAL, "saved state: 9p: an attribute of another size");
	if (result)
		nine_xattr_free(nine, xattr);
	else
		*out = xattr;
	return result;
}

/* The file, open if it was; else the fid stays without one. */
static struct share_node *node_load(struct nine *nine, const struct nine_saved *saved, const char *path, int *fd, bool *folder)
{
	struct share_node *node;
	struct share_attr attr;

	*fd = -1;
	if (saved->gone || share_at(nine->share, path, &node))
		return NULL;
	if (share_stat(nine->share, node, &attr) == 0) {
		*folder = S_ISDIR(attr.stat.st_mode);
		if (!saved->open)
			return node;
		*fd = share_file_open(nine->share, node, nine_host_flags(saved->flags & ~01200U));
		if (*fd >= 0)
			return node;
	}
	share_node_put(node);
	return NULL;
}

/* @xattr is taken. */
static int fid_add(struct nine *nine, const struct nine_saved *saved, const char *path, struct nine_xattr *xattr)
{
	bool folder = false;
	int fd, result;
	struct share_node *node = node_load(nine, saved, path, &fd, &folder);
	struct nine_fid *fid;

	/* The fid has its own. */
	result = nine_fid_add(nine, saved->number, saved->uid, node ? share_node_get(node) : NULL, xattr);
	if (!result && fd >= 0) {
		fid = nine_fid_get(nine, saved->number);
		result = nine_fid_opened(nine, fid, node, fd, saved->flags, folder);
		nine_fid_put(nine, fid);
	} else if (fd >= 0) {
		close(fd);
	}
	share_node_put(node);
	return result ? log_errno(result, "saved state: 9p: fid %u", saved->number) : 0;
}

static int fid_load(struct nine *nine, struct state_reader *reader)
{
	struct nine_saved saved = { 0 };
	struct nine_xattr *xattr = NULL;
	char path[PATH_MAX];
	int result = state_load(reader, &saved_table, &saved);

	if (!result)
		result = text_load(reader, "path", path, sizeof(path));
	if (!result && saved.open && saved.xattr)
		result = log_error(EINVAL, "saved state: 9p: fid %u is a file's and an attribute's", saved.number);
	if (!result && saved.xattr)
		result = xattr_load(nine, reader, &saved, &xattr);
	return result ? result : fid_add(nine, &saved, path, xattr);
}

int nine_load(struct nine *nine, struct state_reader *reader)
{
	struct nine_session session = { 0 };
	int result = state_load(reader, &session_table, &session);

	if (result)
		return result;
	if ((session.msize && session.msize < NINE_MSIZE_MIN) || (!session.msize && session.fids))
		return log_error(EINVAL, "saved state: 9p: messages of %u bytes", session.msize);
	for (uint32_t i = 0; i < session.fids && !result; i++)
		result = fid_load(nine, reader);
	if (!result)
		atomic_store(&nine->msize, session.msize);
	return result;
}
