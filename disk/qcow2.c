/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qcow2 images: opening them and what they refer to, and how the rest of disk/ reads them.
 */
#include "disk/qcow2-snapshot.h"

#include <string.h>

#include "kvm/log.h"

static int qcow2_probe(const uint8_t *head, size_t length)
{
	return length >= 8 && be32_load(head) == QCOW2_MAGIC ? 3 : 0;
}

static int qcow2_map(struct disk *disk, uint64_t offset, uint64_t length, struct disk_extent *extent)
{
	struct qcow2 *q = disk->format_state;
	struct qcow2_run run;
	int result = qcow2_lookup(q, offset, length, &run);

	if (result)
		return result;
	*extent = (struct disk_extent){ .kind = DISK_EXTENT_HOLE, .length = run.length, .file = q->data_file, .offset = run.host };
	if (run.kind == QCOW2_KIND_DATA) {
		extent->kind = DISK_EXTENT_DATA;
	} else if (run.kind == QCOW2_KIND_ZERO) {
		extent->kind = DISK_EXTENT_ZERO;
	} else if (run.kind == QCOW2_KIND_COMPRESSED) {
		extent->kind = DISK_EXTENT_COMPRESSED;
		extent->entry = run.entry;
		extent->skip = (uint32_t)qcow2_offset_in_cluster(q, offset);
	}
	return 0;
}

static int qcow2_expand(struct disk *disk, uint64_t entry, const uint8_t **bytes)
{
	struct qcow2 *q = disk->format_state;
	int result = qcow2_decompress(q, entry);

	*bytes = q->decompressed;
	return result;
}

static int open_data_file(struct qcow2 *q)
{
	q->data_file = q->file;
	if (!(q->incompatible & QCOW2_DATA_FILE))
		return 0;
	if (!q->data_file_name)
		return log_error(EINVAL, "disk '%s': qcow2: its data file has no name", q->file->path);
	return disk_open_beside(q->disk, q->data_file_name, &q->data_file);
}

static int check_counted(struct qcow2 *q, uint64_t offset, uint64_t clusters, const char *what)
{
	for (uint64_t i = 0; i < clusters; i++) {
		uint64_t value;
		int result = qcow2_refcount_get(q, (offset >> q->cluster_bits) + i, &value);

		if (result)
			return result;
		if (!value)
			return qcow2_broken(q, what, offset);
	}
	return 0;
}

/*
 * What is about to be written must count its own tables: else a new cluster could be one of them. Checked once here,
 * it stays true.
 */
static int check_tables_counted(struct qcow2 *q)
{
	uint64_t l1_clusters = (q->l1_size * 8ULL + q->cluster_size - 1) >> q->cluster_bits;
	int result = check_counted(q, 0, 1, "a header with refcount 0");

	if (!result)
		result = check_counted(q, q->l1_offset, l1_clusters, "an L1 table with refcount 0");
	if (!result)
		result = check_counted(q, q->refcount_table_offset, q->refcount_table_clusters, "a refcount table with refcount 0");
	for (uint32_t i = 0; i < q->l1_size && !result; i++)
		if (q->l1[i] & QCOW2_OFFSET)
			result = check_counted(q, q->l1[i] & QCOW2_OFFSET, 1, "an L2 table with refcount 0");
	for (uint64_t i = 0; i < q->refcount_blocks && !result; i++)
		if (q->refcount_table[i] & QCOW2_REFCOUNT_OFFSET)
			result = check_counted(q, q->refcount_table[i] & QCOW2_REFCOUNT_OFFSET, 1, "a refcount block with refcount 0");
	return result;
}

static int open_for_writing(struct qcow2 *q)
{
	struct disk_info *info = &q->disk->info;
	int result;

	if (info->read_only)
		return 0;
	result = qcow2_read_refcount_table(q);
	if (result)
		return log_errno(result, "disk '%s': its refcount table can't be read", q->file->path);
	result = q->incompatible & QCOW2_DIRTY ? qcow2_mend_dirty(q) : 0;
	if (result)
		return result;
	q->fresh = q->file->block_device ? UINT64_MAX : ALIGN_UP(q->file->size, (uint64_t)q->cluster_size);
	info->discard = info->write_zeroes = true;
	return check_tables_counted(q);
}

/* The disk as it was then: by another L1 table, and perhaps of another size. */
static int open_snapshot(struct qcow2 *q, const char *name)
{
	struct qcow2_snapshots snapshots;
	int result = qcow2_snapshots_read(q, &snapshots);
	uint32_t index = result ? 0 : qcow2_snapshots_find(&snapshots, name);

	if (!result && index >= snapshots.count)
		result = log_error(ENOENT, "disk '%s': has no snapshot '%s' (lkvm disk snapshot lists what it has)", q->file->path, name);
	if (!result) {
		q->l1_offset = snapshots.list[index].l1_offset;
		q->l1_size = snapshots.list[index].l1_size;
		q->size = snapshots.list[index].disk_size;
		result = qcow2_check_l1(q);
	}
	qcow2_snapshots_free(&snapshots);
	return result;
}

static int open_rest(struct qcow2 *q)
{
	struct disk_info *info = &q->disk->info;
	int result = q->disk->snapshot ? open_snapshot(q, q->disk->snapshot) : 0;

	if (result)
		return result;
	result = qcow2_cache_init(q);

	if (!result)
		result = qcow2_read_l1(q);
	if (result)
		return log_errno(result, "disk '%s': its tables can't be read", q->file->path);
	info->size = ALIGN_DOWN(q->size, 512);
	q->disk->compress_unit = q->cluster_size;
	q->disk->backing_name = q->backing_name;
	q->disk->backing_format = q->backing_format;
	if (!info->size)
		return log_error(EINVAL, "disk '%s': qcow2: a disk of no size", q->file->path);
	if (q->disk->direct && q->cluster_size < 4096)
		return log_error(EINVAL, "disk '%s': qcow2: its clusters of %u bytes are too small for direct I/O (leave ',direct' out)",
				 q->file->path, q->cluster_size);
	result = open_data_file(q);
	if (!result)
		result = open_for_writing(q);
	if (!result && q->backing_name)
		result = disk_open_backing(q->disk, q->backing_name, q->backing_format);
	return result;
}

/* What the file has grown by in advance is cut off again. */
static void finish_writing(struct qcow2 *q)
{
	int result = qcow2_write_all(q);

	if (!result && q->fresh < q->file->size && !q->file->block_device)
		result = disk_file_resize(q->file, q->fresh);
	if (result)
		log_errno(result, "disk '%s': its last changes are lost", q->file->path);
}

static void qcow2_free(struct qcow2 *q)
{
	if (q->data_file != q->file)
		disk_file_close(q->data_file);
	qcow2_cache_exit(q);
	free(q->l1);
	free(q->decompressed);
	free(q->backing_name);
	free(q->backing_format);
	free(q->data_file_name);
	free(q->refcount_table);
	free(q->freed);
	free(q);
}

static void qcow2_close(struct disk *disk)
{
	struct qcow2 *q = disk->format_state;

	/* one that is somebody else's by now may have grown there */
	if (q->begun && !disk->handed_over)
		finish_writing(q);
	qcow2_free(q);
}

static int qcow2_open(struct disk *disk)
{
	struct qcow2 *q = calloc(1, sizeof(*q));
	int result;

	if (!q)
		return log_errno(ENOMEM, "disk '%s'", disk->file->path);
	q->disk = disk;
	q->file = q->data_file = disk->file;
	q->jobs_tail = &q->jobs;
	disk->format_state = q;
	result = qcow2_read_header(q);
	if (!result)
		result = open_rest(q);
	if (result)
		qcow2_free(q);
	return result;
}

static const struct disk_format qcow2_format = {
	.name = "qcow2",
	.probe = qcow2_probe,
	.open = qcow2_open,
	.close = qcow2_close,
	.submit = qcow2_submit,
	.map = qcow2_map,
	.expand = qcow2_expand,
	.create = qcow2_create,
	.describe = qcow2_describe,
	.check = qcow2_check,
	.resize = qcow2_resize,
	.empty = qcow2_empty,
	.set_backing = qcow2_set_backing,
	.compress = qcow2_compress,
	.snapshots = &qcow2_snapshot_operations,
};
DISK_FORMAT(qcow2_format);
