/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * New refcount blocks, and a larger refcount table. Rare, so that each step waits for the medium: a block is there
 * before the table names it, a table before the header does.
 */
#include <string.h>

#include "disk/qcow2.h"

/* A new block in the first cluster that it is for: nothing else can be there yet. */
static int block_add(struct qcow2 *q, uint64_t index, uint64_t cluster)
{
	uint64_t offset = cluster << q->cluster_bits;
	int result = qcow2_file_reach(q, offset + q->cluster_size);
	_cleanup_free_ uint8_t *block = NULL;
	uint8_t entry[8];

	if (result)
		return result;
	block = calloc(1, q->cluster_size);
	if (!block)
		return -ENOMEM;
	qcow2_refcount_entry_set(block, q->refcount_order, cluster % qcow2_clusters_in_block(q), 1);
	qcow2_cache_drop(q, offset, q->cluster_size);
	result = disk_file_write(q->file, offset, block, q->cluster_size);
	if (!result)
		result = disk_file_flush(q->file);
	if (result)
		return result;
	be64_store(entry, offset);
	result = disk_file_write(q->file, q->refcount_table_offset + index * sizeof(entry), entry, sizeof(entry));
	if (result)
		return result;
	q->refcount_table[index] = offset;
	q->fresh = MAX(q->fresh, offset + q->cluster_size);
	return 0;
}

/* ---- the table ---- */

struct growth {
	uint64_t *table;
	uint64_t blocks, old_blocks;	/* entries */
	uint64_t start;			/* cluster: new blocks there, the table behind them */
	uint64_t new_blocks, table_clusters;
};

/* Half as large again, with blocks enough for itself and for them, all behind what the old table could cover. */
static int growth_measure(const struct qcow2 *q, struct growth *growth)
{
	uint64_t in_block = qcow2_clusters_in_block(q), entries = q->cluster_size / sizeof(uint64_t);

	growth->old_blocks = q->refcount_blocks;
	growth->start = q->refcount_blocks * in_block;
	growth->table_clusters = q->refcount_table_clusters + MAX(q->refcount_table_clusters / 2, 1u);
	for (growth->new_blocks = 1;; growth->new_blocks++) {
		uint64_t needed = growth->old_blocks + growth->new_blocks;

		growth->table_clusters = MAX(growth->table_clusters, (needed + entries - 1) / entries);
		if (growth->new_blocks * in_block >= growth->new_blocks + growth->table_clusters)
			break;
	}
	growth->blocks = growth->table_clusters * entries;
	return growth->table_clusters << q->cluster_bits > QCOW2_MAX_REFCOUNT_TABLE ? -EFBIG : 0;
}

static int growth_write_blocks(struct qcow2 *q, const struct growth *growth)
{
	uint64_t in_block = qcow2_clusters_in_block(q), left = growth->new_blocks + growth->table_clusters;
	int result = qcow2_file_reach(q, (growth->start + left) << q->cluster_bits);

	for (uint64_t i = 0; i < growth->new_blocks && !result; i++) {
		_cleanup_free_ uint8_t *block = calloc(1, q->cluster_size);
		uint64_t used = MIN(left, in_block), offset = (growth->start + i) << q->cluster_bits;

		if (!block)
			return -ENOMEM;
		for (uint64_t n = 0; n < used; n++)
			qcow2_refcount_entry_set(block, q->refcount_order, n, 1);
		left -= used;
		qcow2_cache_drop(q, offset, q->cluster_size);
		result = disk_file_write(q->file, offset, block, q->cluster_size);
	}
	return result;
}

static int growth_write_table(struct qcow2 *q, const struct growth *growth)
{
	uint64_t offset = (growth->start + growth->new_blocks) << q->cluster_bits;
	size_t bytes = (size_t)(growth->table_clusters << q->cluster_bits);
	_cleanup_free_ uint8_t *raw = malloc(bytes);
	uint8_t field[12];
	int result;

	if (!raw)
		return -ENOMEM;
	for (uint64_t i = 0; i < growth->blocks; i++)
		be64_store(raw + i * sizeof(uint64_t), growth->table[i]);
	result = disk_file_write(q->file, offset, raw, bytes);
	if (!result)
		result = disk_file_flush(q->file);
	if (result)
		return result;
	/* Offset and length lie in one sector, so that the header has both or neither. */
	be64_store(field, offset);
	be32_store(field + 8, (uint32_t)growth->table_clusters);
	result = disk_file_write(q->file, QCOW2_AT_REFCOUNT_TABLE, field, sizeof(field));
	return result ? result : disk_file_flush(q->file);
}

static int table_grow(struct qcow2 *q)
{
	uint64_t old = q->refcount_table_offset >> q->cluster_bits, old_clusters = q->refcount_table_clusters;
	struct growth growth = { .table = NULL };
	int result = growth_measure(q, &growth);

	if (result)
		return result;
	growth.table = calloc(growth.blocks, sizeof(uint64_t));
	if (!growth.table)
		return -ENOMEM;
	memcpy(growth.table, q->refcount_table, growth.old_blocks * sizeof(uint64_t));
	for (uint64_t i = 0; i < growth.new_blocks; i++)
		growth.table[growth.old_blocks + i] = (growth.start + i) << q->cluster_bits;
	result = growth_write_blocks(q, &growth);
	if (!result)
		result = growth_write_table(q, &growth);
	if (result) {
		free(growth.table);
		return result;
	}
	free(q->refcount_table);
	q->refcount_table = growth.table;
	q->refcount_blocks = growth.blocks;
	q->refcount_table_offset = (growth.start + growth.new_blocks) << q->cluster_bits;
	q->refcount_table_clusters = (uint32_t)growth.table_clusters;
	q->fresh = MAX(q->fresh, (growth.start + growth.new_blocks + growth.table_clusters) << q->cluster_bits);
	qcow2_free_later(q, old << q->cluster_bits, old_clusters);
	return 0;
}

int qcow2_refcount_cover(struct qcow2 *q, uint64_t cluster)
{
	uint64_t index = cluster / qcow2_clusters_in_block(q);
	int result = 0;

	if (index >= q->refcount_blocks)
		result = table_grow(q);
	if (!result && index < q->refcount_blocks && !(q->refcount_table[index] & QCOW2_REFCOUNT_OFFSET))
		result = block_add(q, index, cluster);
	return result;
}
