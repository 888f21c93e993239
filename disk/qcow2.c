/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * qcow2 images: opening them and what they refer to, and how the rest of disk/ reads them.
 */
#include "disk/qcow2.h"

#include <string.h>

#include "disk/job.h"
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

static int open_rest(struct qcow2 *q)
{
	struct disk_info *info = &q->disk->info;
	int result = qcow2_cache_init(q);

	if (!result)
		result = qcow2_read_l1(q);
	if (result)
		return log_errno(result, "disk '%s': its tables can't be read", q->file->path);
	info->size = ALIGN_DOWN(q->size, 512);
	if (!info->size)
		return log_error(EINVAL, "disk '%s': qcow2: a disk of no size", q->file->path);
	if (q->disk->direct && q->cluster_size < 4096)
		return log_error(EINVAL, "disk '%s': qcow2: its clusters of %u bytes are too small for direct I/O (leave ',direct' out)",
				 q->file->path, q->cluster_size);
	result = open_data_file(q);
	if (!result && q->backing_name)
		result = disk_open_backing(q->disk, q->backing_name, q->backing_format);
	return result;
}

static void qcow2_close(struct disk *disk)
{
	struct qcow2 *q = disk->format_state;

	if (q->data_file != q->file)
		disk_file_close(q->data_file);
	qcow2_cache_exit(q);
	free(q->l1);
	free(q->decompressed);
	free(q->backing_name);
	free(q->backing_format);
	free(q->data_file_name);
	free(q);
}

static int qcow2_open(struct disk *disk)
{
	struct qcow2 *q = calloc(1, sizeof(*q));
	int result;

	if (!q)
		return log_errno(ENOMEM, "disk '%s'", disk->file->path);
	q->disk = disk;
	q->file = q->data_file = disk->file;
	disk->format_state = q;
	result = qcow2_read_header(q);
	if (!result && !disk->info.read_only)
		result = log_error(EROFS, "disk '%s': qcow2 images can be read only so far (add ',ro')", disk->file->path);
	if (!result)
		result = open_rest(q);
	if (result)
		qcow2_close(disk);
	return result;
}

static const struct disk_format qcow2_format = {
	.name = "qcow2",
	.probe = qcow2_probe,
	.open = qcow2_open,
	.close = qcow2_close,
	.submit = disk_submit_mapped,
	.map = qcow2_map,
	.expand = qcow2_expand,
	.create = qcow2_create,
	.describe = qcow2_describe,
};
DISK_FORMAT(qcow2_format);
