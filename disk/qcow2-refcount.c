/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Refcounts of host clusters, and finding free ones. The table of blocks is in memory, blocks go through the cache.
 *
 * A refcount that is too high is a leak, and harmless; one too low is damage. So slices of refcounts may be written
 * at any time, as counts are lowered only when nothing on the medium refers to the cluster any more
 * (disk/qcow2-order.c).
 */
#include <string.h>

#include "disk/qcow2.h"

uint64_t qcow2_clusters_in_block(const struct qcow2 *q)
{
	return BIT(q->cluster_bits + 3 - q->refcount_order);
}

int qcow2_read_refcount_table(struct qcow2 *q)
{
	size_t bytes = (size_t)q->refcount_table_clusters << q->cluster_bits;
	int result;

	q->refcount_blocks = bytes / sizeof(uint64_t);
	q->refcount_table = malloc(bytes);
	if (!q->refcount_table)
		return -ENOMEM;
	result = disk_file_read(q->file, q->refcount_table_offset, q->refcount_table, bytes);
	for (size_t i = 0; i < q->refcount_blocks && !result; i++)
		q->refcount_table[i] = be64toh(q->refcount_table[i]);
	return result;
}

/* ---- one entry of 2^order bits ---- */

static uint64_t entry_get(const uint8_t *byte, uint32_t order, uint64_t index)
{
	uint32_t shift = (uint32_t)(index << order) & 7;
	uint64_t value = 0;

	if (order < 3)
		return (*byte >> shift) & (BIT(1u << order) - 1);
	for (uint32_t i = 0; i < 1u << (order - 3); i++)
		value = value << 8 | byte[i];
	return value;
}

static void entry_set(uint8_t *byte, uint32_t order, uint64_t index, uint64_t value)
{
	uint32_t shift = (uint32_t)(index << order) & 7;

	if (order < 3) {
		*byte = (uint8_t)((*byte & ~((BIT(1u << order) - 1) << shift)) | value << shift);
		return;
	}
	for (uint32_t i = 1u << (order - 3); i--; value >>= 8)
		byte[i] = (uint8_t)value;
}

void qcow2_refcount_entry_set(uint8_t *block, uint32_t order, uint64_t index, uint64_t value)
{
	entry_set(block + ((index << order) >> 3), order, index, value);
}

uint64_t qcow2_refcount_entry_get(const uint8_t *block, uint32_t order, uint64_t index)
{
	return entry_get(block + ((index << order) >> 3), order, index);
}

/* Where the refcount of @cluster lies in the file; 0 where no block has it yet. */
static int entry_place(struct qcow2 *q, uint64_t cluster, uint64_t *place)
{
	uint64_t in_block = qcow2_clusters_in_block(q), index = cluster / in_block, block;

	*place = 0;
	block = index < q->refcount_blocks ? q->refcount_table[index] & QCOW2_REFCOUNT_OFFSET : 0;
	if (!block)
		return 0;
	if (qcow2_offset_in_cluster(q, block) || !range_contains(0, q->file->size, block, q->cluster_size))
		return qcow2_broken(q, "a refcount block that is misaligned or past the end of the file", block);
	*place = block + (((cluster % in_block) << q->refcount_order) >> 3);
	return 0;
}

int qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *value)
{
	uint64_t place;
	void *byte;
	int result = entry_place(q, cluster, &place);

	*value = 0;
	if (result || !place)
		return result;
	result = qcow2_cache_get(q, place, &byte);
	if (!result)
		*value = entry_get(byte, q->refcount_order, cluster % qcow2_clusters_in_block(q));
	return result;
}

int qcow2_refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t value)
{
	uint64_t place;
	void *byte;
	int result = entry_place(q, cluster, &place);

	if (!result && !place)
		result = qcow2_broken(q, "a cluster in use without a refcount", cluster << q->cluster_bits);
	if (!result)
		result = qcow2_cache_get_dirty(q, place, false, &byte);
	if (!result)
		entry_set(byte, q->refcount_order, cluster % qcow2_clusters_in_block(q), value);
	return result;
}

int qcow2_refcount_drop(struct qcow2 *q, uint64_t cluster, bool *freed)
{
	uint64_t value;
	int result = qcow2_refcount_get(q, cluster, &value);

	*freed = false;
	if (!result && !value)
		result = qcow2_broken(q, "a cluster in use with refcount 0", cluster << q->cluster_bits);
	if (!result)
		result = qcow2_refcount_set(q, cluster, value - 1);
	if (result || value != 1)
		return result;
	*freed = true;
	q->free_hint = MIN(q->free_hint, cluster);
	return 0;
}

/* ---- allocation ---- */

/* Makes the file reach to @end, in steps, so that not every cluster costs a call. */
int qcow2_file_reach(struct qcow2 *q, uint64_t end)
{
	if (end <= q->file->size)
		return 0;
	if (q->file->block_device)
		return -ENOSPC;
	return disk_file_resize(q->file, ALIGN_UP(end, MAX(QCOW2_GROWTH, (uint64_t)q->cluster_size)));
}

static int cluster_is_free(struct qcow2 *q, uint64_t cluster, bool *is_free)
{
	uint64_t value;
	int result = qcow2_refcount_get(q, cluster, &value);

	*is_free = !value;
	return result;
}

/* The next free cluster from the hint on, with a refcount block that covers it. */
static int find_free(struct qcow2 *q, uint64_t *cluster)
{
	for (;; q->free_hint++) {
		bool is_free;
		int result;

		if (q->free_hint > (q->file->size >> q->cluster_bits) + 2 * qcow2_clusters_in_block(q))
			return qcow2_broken(q, "refcounts of clusters far behind the end of the file", q->free_hint << q->cluster_bits);
		result = qcow2_refcount_cover(q, q->free_hint);
		if (!result)
			result = cluster_is_free(q, q->free_hint, &is_free);
		if (result)
			return result;
		if (is_free)
			break;
	}
	*cluster = q->free_hint;
	return *cluster < (QCOW2_OFFSET >> q->cluster_bits) ? 0 : -EFBIG;
}

int qcow2_allocate(struct qcow2 *q, uint64_t wanted, uint64_t *host, uint64_t *count, bool *zeroed)
{
	uint64_t first = 0, taken = 0;
	bool is_free = true;
	int result = find_free(q, &first);

	while (!result && is_free && taken < wanted) {
		result = qcow2_refcount_set(q, first + taken, 1);
		if (result)
			break;
		taken++;
		if (taken < wanted && (first + taken) % qcow2_clusters_in_block(q))
			result = cluster_is_free(q, first + taken, &is_free);
		else
			break;
	}
	if (!result)
		result = qcow2_file_reach(q, (first + taken) << q->cluster_bits);
	if (result) {
		while (taken--)
			if (qcow2_refcount_set(q, first + taken, 0))
				q->leaked++;
		return result;
	}
	q->free_hint = first + taken;
	*host = first << q->cluster_bits;
	*count = taken;
	*zeroed = *host >= q->fresh;
	q->fresh = MAX(q->fresh, (first + taken) << q->cluster_bits);
	return 0;
}

int qcow2_unallocate(struct qcow2 *q, uint64_t host, int result)
{
	bool freed;

	/* Where even that fails it is leaked. */
	if (qcow2_refcount_drop(q, host >> q->cluster_bits, &freed))
		q->leaked++;
	return result;
}
