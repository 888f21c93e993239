/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What lies behind a qcow2 image, changed: its name in the header, and the image's own clusters given up when they
 * have gone there. For tools.
 */
#include <string.h>

#include "disk/qcow2-snapshot.h"
#include "kvm/log.h"

#define EXTENSION_END		0u
#define EXTENSION_BACKING	0xe2792acau
#define NAME_MAX_BYTES		1023u

/* ---- its name ---- */

struct header {
	uint8_t *old, *new;		/* a cluster each */
	size_t room, at;
};

static int put(struct header *header, const void *data, size_t length)
{
	if (length > header->room - header->at)
		return -ENAMETOOLONG;
	memcpy(header->new + header->at, data, length);
	header->at += length;
	return 0;
}

static int put_extension(struct header *header, uint32_t type, const void *data, size_t length)
{
	static const uint8_t padding[8];
	uint8_t head[8];
	int result;

	be32_store(head, type);
	be32_store(head + 4, (uint32_t)length);
	result = put(header, head, sizeof(head));
	if (!result)
		result = put(header, data, length);
	return result ? result : put(header, padding, ALIGN_UP(length, (size_t)8) - length);
}

/* All of the old ones but that on the backing file; they were checked when the image was opened. */
static int keep_extensions(const struct qcow2 *q, struct header *header)
{
	uint64_t backing = be64_load(header->old + 8);
	size_t at = q->header_length, end = backing && backing < header->room ? (size_t)backing : header->room;
	int result = 0;

	while (!result && at + 8 <= end) {
		uint32_t type = be32_load(header->old + at), length = be32_load(header->old + at + 4);

		at += 8;
		if (type == EXTENSION_END || length > end - at)
			break;
		if (type != EXTENSION_BACKING)
			result = put_extension(header, type, header->old + at, length);
		at += ALIGN_UP((size_t)length, (size_t)8);
	}
	return result;
}

static int header_make(const struct qcow2 *q, struct header *header, const char *name, const char *format)
{
	size_t length = name ? strlen(name) : 0;
	int result = length > NAME_MAX_BYTES ? -ENAMETOOLONG : put(header, header->old, q->header_length);

	if (!result && name && format)
		result = put_extension(header, EXTENSION_BACKING, format, strlen(format));
	if (!result)
		result = keep_extensions(q, header);
	if (!result)
		result = put_extension(header, EXTENSION_END, "", 0);
	if (result)
		return result;
	be64_store(header->new + 8, name ? header->at : 0);
	be32_store(header->new + 16, (uint32_t)length);
	return name ? put(header, name, length) : 0;
}

static int header_rewrite(struct qcow2 *q, const char *name, const char *format)
{
	_cleanup_free_ uint8_t *old = malloc(q->cluster_size), *new = calloc(1, q->cluster_size);
	struct header header = { .old = old, .new = new, .room = q->cluster_size };
	int result = old && new ? disk_file_read(q->file, 0, old, q->cluster_size) : -ENOMEM;

	if (!result)
		result = header_make(q, &header, name, format);
	if (!result)
		result = disk_file_flush(q->file);
	if (!result)
		result = disk_file_write(q->file, 0, new, q->cluster_size);
	return result ? result : disk_file_flush(q->file);
}

int qcow2_set_backing(struct disk *disk, const char *name, const char *format)
{
	struct qcow2 *q = disk->format_state;
	int result = qcow2_begin_tool(q);

	if (!result)
		result = header_rewrite(q, name, format);
	if (result == -ENAMETOOLONG)
		return log_error(ENAMETOOLONG, "disk '%s': the backing image's name is too long for its header", q->file->path);
	return result ? log_errno(result, "disk '%s': its header can't be written", q->file->path) : 0;
}

/* ---- its own clusters ---- */

int qcow2_empty(struct disk *disk)
{
	struct qcow2 *q = disk->format_state;
	_cleanup_free_ uint64_t *l1 = NULL;
	int result = qcow2_begin_tool(q);

	l1 = malloc(MAX(q->l1_size * sizeof(*l1), sizeof(*l1)));
	if (!result && !l1)
		result = -ENOMEM;
	if (!result)
		memcpy(l1, q->l1, q->l1_size * sizeof(*l1));
	for (uint32_t i = 0; i < q->l1_size && !result; i++)
		if (q->l1[i])
			qcow2_l1_set(q, i, 0);
	/* nothing refers to them on the medium before they are given up */
	if (!result)
		result = qcow2_write_back(q);
	if (!result)
		result = qcow2_unreference(q, l1, q->l1_size);
	if (!result)
		result = qcow2_write_back(q);
	return result ? log_errno(result, "disk '%s': can't be emptied", q->file->path) : 0;
}

/* ---- its size ---- */

/* A longer L1 table goes elsewhere. */
static int grow(struct qcow2 *q, uint64_t size, uint32_t entries)
{
	_cleanup_free_ uint64_t *l1 = calloc(entries, sizeof(*l1));
	uint64_t offset, old_offset = q->l1_offset, old_bytes = MAX(q->l1_size * 8ULL, 8ULL);
	int result;

	if (!l1)
		return -ENOMEM;
	memcpy(l1, q->l1, q->l1_size * sizeof(*l1));
	result = qcow2_l1_write(q, l1, entries, &offset);
	if (!result)
		result = qcow2_header_switch(q, size, entries, offset);
	if (result)
		return result;
	qcow2_free_later(q, old_offset, (old_bytes + q->cluster_size - 1) >> q->cluster_bits);
	free(q->l1);
	q->l1 = take_pointer(&l1);
	q->l1_size = entries;
	q->l1_offset = offset;
	return qcow2_write_back(q);
}

int qcow2_resize(struct disk *disk, uint64_t size)
{
	struct qcow2 *q = disk->format_state;
	uint32_t l1_shift = q->cluster_bits + q->l2_bits;
	uint64_t entries = ((size - 1) >> l1_shift) + 1, old = disk->info.size;
	int result = qcow2_begin_tool(q);

	if (q->version < 3 && q->snapshots)
		return log_error(ENOTSUP, "disk '%s': qcow2: snapshots of version 2 don't keep their size (delete them first)", q->file->path);
	if (entries > QCOW2_MAX_L1_BYTES / 8)
		return log_error(EFBIG, "disk '%s': clusters of %u bytes reach to %llu bytes only", q->file->path, q->cluster_size,
				 (unsigned long long)(QCOW2_MAX_L1_BYTES / 8) << l1_shift);
	/* what a larger disk would show again */
	if (!result && size < old)
		result = qcow2_discard_range(q, ALIGN_UP(size, (uint64_t)q->cluster_size), old - MIN(old, ALIGN_UP(size, (uint64_t)q->cluster_size)));
	if (!result && size < old && size % q->cluster_size)
		result = qcow2_zero_range(q, size, MIN(old, ALIGN_UP(size, (uint64_t)q->cluster_size)) - size, false);
	if (!result)
		result = qcow2_write_all(q);
	if (!result)
		result = entries > q->l1_size ? grow(q, size, (uint32_t)entries) : qcow2_header_switch(q, size, q->l1_size, q->l1_offset);
	if (result)
		return log_errno(result, "disk '%s': can't be made %llu bytes long", q->file->path, (unsigned long long)size);
	q->size = disk->info.size = size;
	/* nor is what lies further back in the backing image part of this disk */
	if (size > old && disk->backing && disk->backing->info.size > old)
		result = qcow2_zero_range(q, old, MIN(size, disk->backing->info.size) - old, true);
	return result ? log_errno(result, "disk '%s': can't be written", q->file->path) : 0;
}
