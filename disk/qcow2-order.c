/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * In which order tables reach the medium, so that a power cut at any write leaves an image that is whole but for
 * leaked clusters, and that has every write which the guest saw flushed:
 *
 *	1. refcounts that were raised, and new L2 tables (written when they were made)
 *	2. a flush: those and the data of guest writes that are done
 *	3. L2 entries and L1 entries, which refer to them
 *	4. a flush
 *	5. refcounts that are lowered, as nothing refers to those clusters any more; only now may they be used again
 *
 * An entry is put into the cached L2 table when its data is written, not before.
 */
#include <string.h>

#include "disk/qcow2.h"

/* ---- what is given back at step 5 ---- */

void qcow2_free_later(struct qcow2 *q, uint64_t host, uint64_t count)
{
	uint64_t cluster = host >> q->cluster_bits;
	struct qcow2_freed *last = q->freed_count ? &q->freed[q->freed_count - 1] : NULL;

	if (last && last->cluster + last->count == cluster) {
		last->count += count;
		return;
	}
	if (!q->freed || q->freed_count == q->freed_room) {
		size_t room = MAX(2 * q->freed_room, (size_t)64);
		struct qcow2_freed *grown = reallocarray(q->freed, room, sizeof(*grown));

		/* Without memory they are leaked, which harms nothing. */
		if (!grown) {
			q->leaked += count;
			return;
		}
		q->freed = grown;
		q->freed_room = room;
	}
	q->freed[q->freed_count++] = (struct qcow2_freed){ cluster, count };
}

void qcow2_free_entry_later(struct qcow2 *q, uint64_t entry)
{
	uint64_t offset, length;

	if (!(entry & QCOW2_COMPRESSED)) {
		if (entry & QCOW2_OFFSET)
			qcow2_free_later(q, entry & QCOW2_OFFSET, 1);
		return;
	}
	qcow2_compressed_place(q, entry, &offset, &length);
	for (uint64_t at = ALIGN_DOWN(offset, (uint64_t)q->cluster_size); at < offset + length; at += q->cluster_size)
		qcow2_free_later(q, at, 1);
}

static int freed_apply_one(struct qcow2 *q, const struct qcow2_freed *freed)
{
	uint64_t hole = 0;
	int result = 0;

	for (uint64_t i = 0; i <= freed->count && !result; i++) {
		bool gone = false;

		if (i < freed->count)
			result = qcow2_refcount_drop(q, freed->cluster + i, &gone);
		if (gone) {
			hole++;
			continue;
		}
		if (hole && !result)
			result = disk_file_discard(q->file, (freed->cluster + i - hole) << q->cluster_bits, hole << q->cluster_bits);
		hole = 0;
	}
	return result;
}

static int freed_apply(struct qcow2 *q)
{
	struct qcow2_freed *freed = q->freed;
	size_t count = q->freed_count;
	int result = 0;

	/* Its place may soon hold another cluster. */
	q->decompressed_entry = 0;
	q->freed = NULL;
	q->freed_count = q->freed_room = 0;
	for (size_t i = 0; i < count && !result; i++)
		result = freed_apply_one(q, &freed[i]);
	free(freed);
	return result;
}

/* ---- the steps ---- */

void qcow2_l1_set(struct qcow2 *q, uint32_t index, uint64_t entry)
{
	q->l1[index] = entry;
	if (q->l1_dirty_first >= q->l1_dirty_end)
		q->l1_dirty_first = q->l1_dirty_end = index;
	q->l1_dirty_first = MIN(q->l1_dirty_first, index);
	q->l1_dirty_end = MAX(q->l1_dirty_end, index + 1);
}

static int l1_write(struct qcow2 *q)
{
	uint8_t raw[512];
	int result = 0;

	for (size_t at = q->l1_dirty_first; at < q->l1_dirty_end && !result;) {
		size_t count = MIN(q->l1_dirty_end - at, sizeof(raw) / 8);

		for (size_t i = 0; i < count; i++)
			be64_store(raw + i * 8, q->l1[at + i]);
		result = disk_file_write(q->file, q->l1_offset + at * 8, raw, count * 8);
		at += count;
	}
	if (!result)
		q->l1_dirty_first = q->l1_dirty_end = 0;
	return result;
}

bool qcow2_maps_dirty(const struct qcow2 *q)
{
	return q->cache.dirty_maps || q->l1_dirty_first < q->l1_dirty_end || q->freed_count;
}

int qcow2_write_maps(struct qcow2 *q)
{
	int result;

	if (!q->cache.dirty_maps && q->l1_dirty_first >= q->l1_dirty_end)
		return 0;
	result = qcow2_cache_write(q, false);
	if (!result)
		result = disk_file_flush(q->file);
	if (!result)
		result = qcow2_cache_write(q, true);
	return result ? result : l1_write(q);
}

int qcow2_write_back(struct qcow2 *q)
{
	int result = qcow2_write_maps(q);

	if (!result)
		result = disk_file_flush(q->file);
	return result ? result : freed_apply(q);
}

int qcow2_write_all(struct qcow2 *q)
{
	int result = 0;

	if (qcow2_maps_dirty(q))
		result = qcow2_write_back(q);
	if (result || !q->cache.dirty)
		return result;
	result = qcow2_cache_write(q, false);
	return result ? result : disk_file_flush(q->file);
}
