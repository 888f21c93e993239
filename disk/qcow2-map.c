/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where guest clusters lie: L1 in memory, L2 through the cache. The unit is a cluster, or with extended L2 entries a
 * subcluster. On the disk's loop.
 */
#include <string.h>

#include "disk/qcow2.h"

int qcow2_read_l1(struct qcow2 *q)
{
	size_t bytes = q->l1_size * sizeof(uint64_t);
	int result;

	q->l1 = malloc(MAX(bytes, sizeof(uint64_t)));
	if (!q->l1)
		return -ENOMEM;
	result = disk_file_read(q->file, q->l1_offset, q->l1, bytes);
	for (uint32_t i = 0; i < q->l1_size && !result; i++)
		q->l1[i] = be64toh(q->l1[i]);
	return result;
}

/* ---- one entry ---- */

struct unit {
	enum qcow2_kind kind;
	uint64_t host;
};

static int unit_of_subcluster(struct qcow2 *q, uint64_t bitmap, unsigned int index, uint64_t host, struct unit *unit)
{
	bool allocated = bitmap & BIT(index), zero = bitmap & BIT(index + QCOW2_SUBCLUSTERS);

	if ((allocated && zero) || (allocated && !host && q->data_file == q->file))
		return qcow2_broken(q, "an L2 entry's bitmap contradicts itself", bitmap);
	unit->kind = zero ? QCOW2_KIND_ZERO : allocated ? QCOW2_KIND_DATA : QCOW2_KIND_HOLE;
	unit->host = host + ((uint64_t)index << q->unit_bits);
	return 0;
}

/* What unit @index of a cluster is by its L2 entry. */
static int unit_decode(struct qcow2 *q, uint64_t entry, uint64_t bitmap, unsigned int index, struct unit *unit)
{
	uint64_t host = entry & QCOW2_OFFSET;
	bool external = q->data_file != q->file;

	unit->host = 0;
	if (entry & QCOW2_COMPRESSED) {
		if (external)
			return qcow2_broken(q, "a compressed cluster beside an external data file", entry);
		unit->kind = QCOW2_KIND_COMPRESSED;
		return 0;
	}
	if (host & (q->cluster_size - 1))
		return qcow2_broken(q, "a cluster that is not aligned", host);
	if (q->extended)
		return unit_of_subcluster(q, bitmap, index, host, unit);
	if ((entry & QCOW2_ZERO) && q->version < 3)
		return qcow2_broken(q, "a zero cluster in version 2", entry);
	unit->host = host;
	if (entry & QCOW2_ZERO)
		unit->kind = QCOW2_KIND_ZERO;
	else if (host || (external && (entry & QCOW2_COPIED)))
		unit->kind = QCOW2_KIND_DATA;
	else
		unit->kind = QCOW2_KIND_HOLE;
	return 0;
}

/* ---- runs ---- */

/* The entry of the guest's @offset in the L2 table at @table, and how many follow it in the cached slice. */
static int entries_get(struct qcow2 *q, uint64_t table, uint64_t offset, const uint8_t **entries, uint64_t *count)
{
	uint64_t index = (offset >> q->cluster_bits) & (BIT(q->l2_bits) - 1);
	uint64_t at = table + index * q->entry_size;
	void *slice;
	int result = qcow2_cache_get(q, at, &slice);

	if (result)
		return result;
	*entries = slice;
	*count = (BIT(q->cache.slice_bits) - (at & (BIT(q->cache.slice_bits) - 1))) / q->entry_size;
	return 0;
}

/* Goes on for as long as what follows is of the run's kind and lies behind it. */
static int run_extend(struct qcow2 *q, uint64_t offset, uint64_t length, const uint8_t *entries, uint64_t count,
		      struct qcow2_run *run)
{
	uint32_t units = 1u << (q->cluster_bits - q->unit_bits);
	uint32_t index = (uint32_t)(qcow2_offset_in_cluster(q, offset) >> q->unit_bits);
	uint64_t in_unit = offset & (BIT(q->unit_bits) - 1), unit_size = BIT(q->unit_bits);

	run->length = 0;
	for (; count && run->length < length; count--, entries += q->entry_size, index = 0) {
		uint64_t entry = be64_load(entries), bitmap = q->extended ? be64_load(entries + 8) : 0;

		for (; index < units && run->length < length; index++) {
			struct unit unit = { QCOW2_KIND_HOLE, 0 };
			int result = unit_decode(q, entry, bitmap, index, &unit);

			if (result)
				return result;
			if (!run->length) {
				*run = (struct qcow2_run){ unit.kind, 0, unit.host + in_unit, entry, bitmap };
				run->length = unit_size - in_unit;
				if (unit.kind != QCOW2_KIND_COMPRESSED)
					continue;
				run->length = q->cluster_size - qcow2_offset_in_cluster(q, offset);
				return 0;
			}
			if (unit.kind != run->kind || ((entry ^ run->entry) & QCOW2_COPIED) ||
			    (unit.kind == QCOW2_KIND_DATA && unit.host != run->host + run->length))
				return 0;
			run->length += unit_size;
		}
	}
	return 0;
}

int qcow2_lookup(struct qcow2 *q, uint64_t offset, uint64_t length, struct qcow2_run *run)
{
	uint32_t l1_shift = q->cluster_bits + q->l2_bits;
	uint64_t l1_index = offset >> l1_shift, table, count;
	const uint8_t *entries;
	int result;

	if (l1_index >= q->l1_size)
		return qcow2_broken(q, "the L1 table is too short for the guest's offset", offset);
	table = q->l1[l1_index] & QCOW2_OFFSET;
	if (!table) {
		*run = (struct qcow2_run){ .kind = QCOW2_KIND_HOLE };
		run->length = MIN(length, BIT(l1_shift) - (offset & (BIT(l1_shift) - 1)));
		return 0;
	}
	if (qcow2_offset_in_cluster(q, table) || !range_contains(0, q->file->size, table, q->cluster_size))
		return qcow2_broken(q, "an L2 table that is misaligned or past the end of the file", table);
	result = entries_get(q, table, offset, &entries, &count);
	if (!result)
		result = run_extend(q, offset, length, entries, count, run);
	run->length = MIN(run->length, length);
	return result;
}

/* ---- single entries, for writing ---- */

static int table_of(struct qcow2 *q, uint64_t cluster, uint32_t *l1_index, uint64_t *at)
{
	uint64_t index = cluster >> q->l2_bits, table;

	*at = 0;
	if (index >= q->l1_size)
		return qcow2_broken(q, "the L1 table is too short for the guest's cluster", cluster);
	*l1_index = (uint32_t)index;
	table = q->l1[index] & QCOW2_OFFSET;
	if (!table)
		return 0;
	if (qcow2_offset_in_cluster(q, table) || !range_contains(0, q->file->size, table, q->cluster_size))
		return qcow2_broken(q, "an L2 table that is misaligned or past the end of the file", table);
	*at = table + (cluster & (BIT(q->l2_bits) - 1)) * q->entry_size;
	return 0;
}

int qcow2_entry_get(struct qcow2 *q, uint64_t cluster, uint64_t *entry, uint64_t *bitmap)
{
	uint32_t l1_index = 0;
	uint64_t at;
	void *raw;
	int result = table_of(q, cluster, &l1_index, &at);

	*entry = *bitmap = 0;
	if (!result && at)
		result = qcow2_cache_get(q, at, &raw);
	if (result || !at)
		return result;
	*entry = be64_load(raw);
	*bitmap = q->extended ? be64_load((uint8_t *)raw + 8) : 0;
	if (!(*entry & QCOW2_COMPRESSED) && qcow2_offset_in_cluster(q, *entry & QCOW2_OFFSET))
		return qcow2_broken(q, "a cluster that is not aligned", *entry & QCOW2_OFFSET);
	return 0;
}

int qcow2_entry_set(struct qcow2 *q, uint64_t cluster, uint64_t entry, uint64_t bitmap)
{
	uint32_t l1_index = 0;
	uint64_t at;
	void *raw;
	int result = table_of(q, cluster, &l1_index, &at);

	if (!result && !at)
		result = -EIO;
	if (!result)
		result = qcow2_cache_get_dirty(q, at, true, &raw);
	if (result)
		return result;
	be64_store(raw, entry);
	if (q->extended)
		be64_store((uint8_t *)raw + 8, bitmap);
	return 0;
}

/* What a new L2 table begins with: nothing, or what the shared one has. */
static int table_fill(struct qcow2 *q, uint64_t table, uint64_t old, bool zeroed)
{
	_cleanup_free_ uint8_t *bytes = NULL;
	int result = 0;

	qcow2_cache_drop(q, table, q->cluster_size);
	if (!old && zeroed)
		return 0;
	bytes = calloc(1, q->cluster_size);
	if (!bytes)
		return -ENOMEM;
	if (old)
		result = disk_file_read(q->file, old, bytes, q->cluster_size);
	return result ? result : disk_file_write(q->file, table, bytes, q->cluster_size);
}

int qcow2_table_own(struct qcow2 *q, uint64_t cluster)
{
	uint64_t at, old, table, count;
	uint32_t l1_index = 0;
	bool zeroed;
	int result = table_of(q, cluster, &l1_index, &at);

	if (result || (at && (q->l1[l1_index] & QCOW2_COPIED)))
		return result;
	old = q->l1[l1_index] & QCOW2_OFFSET;
	result = qcow2_allocate(q, 1, &table, &count, &zeroed);
	if (result)
		return result;
	result = table_fill(q, table, old, zeroed);
	if (result)
		return qcow2_unallocate(q, table, result);
	qcow2_l1_set(q, l1_index, table | QCOW2_COPIED);
	if (old)
		qcow2_free_later(q, old, 1);
	return 0;
}
