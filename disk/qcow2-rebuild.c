/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Refcounts of a qcow2 image made anew, where the old ones can't be mended in place. Table and blocks are written
 * behind all that is used, and the header is switched to them last: until then the image is what it was.
 */
#include <string.h>

#include "disk/qcow2-survey.h"
#include "kvm/log.h"

struct layout {
	uint64_t start;				/* cluster: the blocks, and the table behind them */
	uint64_t blocks, table_clusters;
};

static uint64_t last_used(const struct qcow2_counts *used)
{
	uint64_t last = 0, cluster = 0;

	while ((cluster = qcow2_counts_next(used, cluster, used->clusters)) < used->clusters)
		last = cluster++;
	return last;
}

/* How many blocks what lies before @end needs. */
static uint64_t blocks_below(const struct qcow2_counts *used, uint64_t end, uint64_t in_block)
{
	uint64_t blocks = 0, cluster = 0;

	while ((cluster = qcow2_counts_next(used, cluster, end)) < MIN(end, used->clusters)) {
		blocks++;
		cluster = (cluster / in_block + 1) * in_block;
	}
	return blocks;
}

static int layout_make(const struct qcow2_survey *survey, struct layout *layout)
{
	const struct qcow2 *q = survey->q;
	uint64_t in_block = qcow2_clusters_in_block(q), first, below, total;

	layout->start = q->file->block_device ? last_used(&survey->used) + 1 : survey->used.clusters;
	first = layout->start / in_block;
	below = blocks_below(&survey->used, first * in_block, in_block);
	/* They count themselves: larger until they do. */
	for (total = 2;; total = layout->blocks + layout->table_clusters) {
		uint64_t last = (layout->start + total - 1) / in_block;

		layout->blocks = below + last - first + 1;
		layout->table_clusters = ((last + 1) * 8 + q->cluster_size - 1) >> q->cluster_bits;
		if (layout->blocks + layout->table_clusters <= total)
			break;
	}
	/* a little room may be left over: it is counted, and the table has it */
	layout->table_clusters = total - layout->blocks;
	if (layout->table_clusters << q->cluster_bits > QCOW2_MAX_REFCOUNT_TABLE)
		return -EFBIG;
	return q->file->block_device && (layout->start + total) << q->cluster_bits > q->file->size ? -ENOSPC : 0;
}

static int block_fill(const struct qcow2_survey *survey, const struct layout *layout, uint64_t index, uint8_t *block, bool *any)
{
	const struct qcow2 *q = survey->q;
	uint64_t in_block = qcow2_clusters_in_block(q), first = index * in_block;
	uint64_t end = layout->start + layout->blocks + layout->table_clusters;
	uint64_t max = q->refcount_order == 6 ? UINT64_MAX : BIT(1u << q->refcount_order) - 1;

	memset(block, 0, q->cluster_size);
	*any = false;
	for (uint64_t n = 0; n < in_block; n++) {
		bool ours = first + n >= layout->start && first + n < end;
		uint64_t value = ours ? 1 : qcow2_counts_get(&survey->used, first + n);

		if (value > max)
			return -EOVERFLOW;
		if (value)
			qcow2_refcount_entry_set(block, q->refcount_order, n, value);
		*any |= value;
	}
	return 0;
}

static int write_blocks(const struct qcow2_survey *survey, const struct layout *layout, uint8_t *table)
{
	struct qcow2 *q = survey->q;
	uint64_t in_block = qcow2_clusters_in_block(q), at = layout->start;
	uint64_t end = layout->start + layout->blocks + layout->table_clusters;
	_cleanup_free_ uint8_t *block = malloc(q->cluster_size);
	int result = block ? 0 : -ENOMEM;

	for (uint64_t index = 0; index * in_block < end && !result; index++) {
		bool any = false;

		/* Nothing there: skip to where something is. */
		if (index < layout->start / in_block)
			index = qcow2_counts_next(&survey->used, index * in_block, layout->start) / in_block;
		result = block_fill(survey, layout, index, block, &any);
		if (result || !any)
			continue;
		be64_store(table + index * 8, at << q->cluster_bits);
		result = disk_file_write(q->file, at++ << q->cluster_bits, block, q->cluster_size);
	}
	return result;
}

static int rebuild(struct qcow2_survey *survey)
{
	struct qcow2 *q = survey->q;
	_cleanup_free_ uint8_t *table = NULL;
	struct layout layout;
	uint64_t offset, bytes;
	uint8_t field[12];
	int result = layout_make(survey, &layout);

	if (result)
		return result;
	bytes = layout.table_clusters << q->cluster_bits;
	offset = (layout.start + layout.blocks) << q->cluster_bits;
	table = calloc(1, (size_t)bytes);
	if (!table)
		return -ENOMEM;
	result = write_blocks(survey, &layout, table);
	if (!result)
		result = disk_file_write(q->file, offset, table, (size_t)bytes);
	if (!result)
		result = disk_file_flush(q->file);
	be64_store(field, offset);
	be32_store(field + 8, (uint32_t)layout.table_clusters);
	if (!result)
		result = disk_file_write(q->file, QCOW2_AT_REFCOUNT_TABLE, field, sizeof(field));
	if (!result)
		result = disk_file_flush(q->file);
	if (result)
		return result;
	q->refcount_table_offset = offset;
	q->refcount_table_clusters = (uint32_t)layout.table_clusters;
	free(q->refcount_table);
	q->refcount_table = NULL;
	return qcow2_read_refcount_table(q);
}

int qcow2_rebuild_refcounts(struct qcow2 *q)
{
	struct image_check silent = { .checked = true };
	struct qcow2_survey survey;
	int result = qcow2_survey(&survey, q, &silent);

	if (!result)
		result = rebuild(&survey);
	qcow2_survey_end(&survey);
	return result;
}
