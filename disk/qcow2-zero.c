/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Zeroes and discards: a matter of L2 entries where whole units are covered, of written zeroes at the rest.
 */
#include <string.h>

#include "disk/qcow2.h"

#define ALL_ZERO	0xffffffff00000000ULL

/* Whether what an unmapped cluster reads as comes from somewhere. */
static bool has_backing(const struct qcow2 *q, uint64_t cluster)
{
	return q->disk->backing && cluster << q->cluster_bits < q->disk->backing->info.size;
}

static int entry_replace(struct qcow2 *q, uint64_t cluster, uint64_t old, uint64_t entry, uint64_t bitmap)
{
	int result = qcow2_table_own(q, cluster);

	if (!result)
		result = qcow2_entry_set(q, cluster, entry, bitmap);
	if (!result && ((old & QCOW2_COMPRESSED) || (old & QCOW2_OFFSET) != (entry & QCOW2_OFFSET)))
		qcow2_free_entry_later(q, old);
	return result;
}

/* ---- whole clusters ---- */

static int zero_cluster(struct qcow2 *q, uint64_t cluster, bool may_unmap)
{
	bool backing = has_backing(q, cluster), keep;
	uint64_t entry, bitmap, next;
	int result = qcow2_entry_get(q, cluster, &entry, &bitmap);

	if (result || (!entry && !bitmap && !backing))
		return result;
	if (q->version < 3)
		return backing ? qcow2_write_now(q, cluster << q->cluster_bits, NULL, q->cluster_size) :
		       entry_replace(q, cluster, entry, 0, 0);
	keep = !may_unmap && (entry & QCOW2_COPIED) && (entry & QCOW2_OFFSET) && !(entry & QCOW2_COMPRESSED);
	next = keep ? (entry & QCOW2_OFFSET) | QCOW2_COPIED : 0;
	if (q->extended)
		return entry == next && bitmap == ALL_ZERO ? 0 : entry_replace(q, cluster, entry, next, ALL_ZERO);
	return entry == (next | QCOW2_ZERO) ? 0 : entry_replace(q, cluster, entry, next | QCOW2_ZERO, 0);
}

static int discard_cluster(struct qcow2 *q, uint64_t cluster)
{
	bool backing = has_backing(q, cluster);
	uint64_t entry, bitmap;
	int result = qcow2_entry_get(q, cluster, &entry, &bitmap);

	/* Version 2 can't say that the backing file's data is gone. */
	if (result || (backing && q->version < 3) || !(entry & (QCOW2_OFFSET | QCOW2_COMPRESSED)))
		return result;
	if (q->extended)
		return entry_replace(q, cluster, entry, 0, backing ? ALL_ZERO : 0);
	return entry_replace(q, cluster, entry, backing ? QCOW2_ZERO : 0, 0);
}

/* ---- parts of a cluster ---- */

/* Subclusters can be zero each by itself, whoever else has the host cluster. */
static int zero_subclusters(struct qcow2 *q, uint64_t offset, uint64_t length, bool *done)
{
	uint64_t unit = BIT(q->unit_bits), cluster = offset >> q->cluster_bits, entry, bitmap, mask;
	int result = 0;

	*done = false;
	if (!q->extended || ((offset | length) & (unit - 1)))
		return 0;
	result = qcow2_entry_get(q, cluster, &entry, &bitmap);
	if (result || (entry & QCOW2_COMPRESSED))
		return result;
	mask = (BIT(length >> q->unit_bits) - 1) << (qcow2_offset_in_cluster(q, offset) >> q->unit_bits);
	*done = true;
	return entry_replace(q, cluster, entry, entry, (bitmap & ~mask) | mask << QCOW2_SUBCLUSTERS);
}

/* Within one cluster. */
static int zero_part(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	bool done = false;
	int result = disk_reads_as_zeroes(q->disk, offset, length, &done);

	if (!result && !done)
		result = zero_subclusters(q, offset, length, &done);
	return result || done ? result : qcow2_write_now(q, offset, NULL, length);
}

/* ---- requests ---- */

/* The disk may end inside a cluster, and then that end counts for the cluster's. */
static uint64_t range_end(const struct qcow2 *q, uint64_t end)
{
	return end == q->disk->info.size ? ALIGN_UP(end, (uint64_t)q->cluster_size) : end;
}

int qcow2_zero_range(struct qcow2 *q, uint64_t offset, uint64_t length, bool may_unmap)
{
	uint64_t end = offset + length, whole_end = range_end(q, end);
	int result = 0;

	for (uint64_t next; offset < end && !result; offset = next) {
		next = ALIGN_DOWN(offset, (uint64_t)q->cluster_size) + q->cluster_size;
		if (!qcow2_offset_in_cluster(q, offset) && next <= whole_end)
			result = zero_cluster(q, offset >> q->cluster_bits, may_unmap);
		else
			result = zero_part(q, offset, MIN(next, end) - offset);
	}
	return result;
}

int qcow2_discard_range(struct qcow2 *q, uint64_t offset, uint64_t length)
{
	uint64_t first = ALIGN_UP(offset, (uint64_t)q->cluster_size) >> q->cluster_bits;
	uint64_t end = range_end(q, offset + length) >> q->cluster_bits;
	int result = 0;

	for (uint64_t cluster = first; cluster < end && !result; cluster++)
		result = discard_cluster(q, cluster);
	return result;
}
