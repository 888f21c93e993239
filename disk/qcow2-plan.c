/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writes that change the map: which host clusters they go to, what must be copied around them, and which L2 entries
 * change when the data is there.
 *
 * A guest's cluster keeps its host cluster where that is its own; else it gets a new one. What is copied goes up to
 * the borders of a unit (a cluster, or a subcluster), or of the cluster where the old host cluster is given up.
 */
#include <string.h>

#include "disk/qcow2.h"

#define ALL_ALLOCATED	0xffffffffULL

static uint64_t change_mask(const struct qcow2 *q, uint64_t from, uint64_t to)
{
	uint64_t first = from >> q->unit_bits, end = (to + BIT(q->unit_bits) - 1) >> q->unit_bits;

	return (BIT(end) - 1) & ~(BIT(first) - 1);
}

static bool entry_is_own(uint64_t entry)
{
	return (entry & QCOW2_COPIED) && (entry & QCOW2_OFFSET) && !(entry & QCOW2_COMPRESSED);
}

/* Whether the bytes [@from, @to) of a cluster can be written where they are, with no change in L2. */
static bool entry_in_place(const struct qcow2 *q, uint64_t entry, uint64_t bitmap, uint64_t from, uint64_t to)
{
	if (!entry_is_own(entry))
		return false;
	if (!q->extended)
		return !(entry & QCOW2_ZERO);
	return !(change_mask(q, from, to) & ~bitmap);
}

/* Whether giving up the host cluster means to copy all of it: parts of it have data that the write leaves. */
static bool entry_copies_all(const struct qcow2 *q, uint64_t entry, uint64_t bitmap)
{
	return !entry_is_own(entry) && (!q->extended || (entry & QCOW2_COMPRESSED) || (bitmap & ALL_ALLOCATED));
}

/* Tables in the way of guest data: a damaged image, or a malicious one. */
static int check_host(struct qcow2 *q, uint64_t host, uint64_t length)
{
	if (host < q->cluster_size || ranges_overlap(host, length, q->l1_offset, MAX(q->l1_size * 8ULL, 1ULL)) ||
	    ranges_overlap(host, length, q->refcount_table_offset, (uint64_t)q->refcount_table_clusters << q->cluster_bits))
		return qcow2_broken(q, "a guest cluster that lies on the image's tables", host);
	return qcow2_file_reach(q, host + length);
}

int qcow2_write_in_place(struct qcow2 *q, uint64_t offset, uint64_t length, bool *in_place)
{
	*in_place = false;
	while (length) {
		struct qcow2_run run;
		int result = qcow2_lookup(q, offset, length, &run);

		if (!result && (run.kind != QCOW2_KIND_DATA || !(run.entry & QCOW2_COPIED)))
			return 0;
		if (!result)
			result = check_host(q, run.host, run.length);
		if (result)
			return result;
		offset += run.length;
		length -= run.length;
	}
	*in_place = true;
	return 0;
}

/* ---- one cluster ---- */

static void plan_add_place(struct qcow2_plan *plan, uint64_t host, uint64_t length)
{
	struct qcow2_place *last = plan->place_count ? &plan->places[plan->place_count - 1] : NULL;

	if (last && last->host + last->length == host)
		last->length += length;
	else
		plan->places[plan->place_count++] = (struct qcow2_place){ host, length };
}

/* Cluster @cluster, of which [@from, @to) will be written, what is copied included. */
static int plan_cluster(struct qcow2 *q, struct qcow2_plan *plan, uint64_t cluster, uint64_t from, uint64_t to, bool *zeroed)
{
	struct qcow2_change change = { .cluster = cluster };
	uint64_t entry, bitmap, host, count;
	int result = qcow2_entry_get(q, cluster, &entry, &bitmap);

	*zeroed = false;
	if (result)
		return result;
	host = entry & QCOW2_OFFSET;
	if (entry_is_own(entry)) {
		result = check_host(q, host, q->cluster_size);
	} else {
		result = qcow2_allocate(q, 1, &host, &count, zeroed);
		change.allocated = !result;
	}
	if (result)
		return result;
	change.old_entry = entry;
	change.entry = host | QCOW2_COPIED;
	if (q->extended) {
		uint64_t mask = change_mask(q, from, to);

		bitmap = entry & QCOW2_COMPRESSED ? 0 : bitmap;
		change.bitmap = ((entry_copies_all(q, entry, bitmap) ? 0 : bitmap) | mask) & ~(mask << QCOW2_SUBCLUSTERS);
	}
	if (change.allocated || !entry_in_place(q, entry, bitmap, from, to))
		plan->changes[plan->change_count++] = change;
	plan_add_place(plan, host + from, to - from);
	return 0;
}

/* ---- the borders ---- */

/* From where the first cluster's bytes must be copied, and up to where the last one's. */
static int plan_borders(struct qcow2 *q, uint64_t offset, uint64_t length, struct qcow2_plan *plan)
{
	uint64_t end = offset + length, entry, bitmap, unit = BIT(q->unit_bits), cluster = q->cluster_size;
	int result = qcow2_entry_get(q, offset >> q->cluster_bits, &entry, &bitmap);

	if (result)
		return result;
	plan->start = offset;
	if (entry_copies_all(q, entry, bitmap))
		plan->start = ALIGN_DOWN(offset, cluster);
	else if (!entry_in_place(q, entry, bitmap, qcow2_offset_in_cluster(q, offset), qcow2_offset_in_cluster(q, offset) + 1))
		plan->start = ALIGN_DOWN(offset, unit);
	result = qcow2_entry_get(q, (end - 1) >> q->cluster_bits, &entry, &bitmap);
	if (result)
		return result;
	plan->end = end;
	if (entry_copies_all(q, entry, bitmap))
		plan->end = ALIGN_UP(end, cluster);
	else if (!entry_in_place(q, entry, bitmap, qcow2_offset_in_cluster(q, end - 1), qcow2_offset_in_cluster(q, end - 1) + 1))
		plan->end = ALIGN_UP(end, unit);
	return 0;
}

/* What is copied from @offset on, into *@bytes; nothing (length 0) when the new place reads as zeroes as it should. */
static int plan_copy(struct qcow2 *q, uint64_t offset, uint64_t length, bool zeroed, uint8_t **bytes, size_t *copied)
{
	void *memory = NULL;
	bool zeroes = false;
	int result = length && zeroed ? disk_reads_as_zeroes(q->disk, offset, length, &zeroes) : 0;

	*copied = 0;
	if (result || !length || zeroes)
		return result;
	/* Whole blocks, for direct I/O. */
	if (posix_memalign(&memory, 4096, (size_t)length))
		return -ENOMEM;
	*bytes = memory;
	*copied = (size_t)length;
	return disk_read(q->disk, offset, memory, (size_t)length);
}

/* Cuts what need not be copied off the first and the last place. */
static int plan_copies(struct qcow2 *q, uint64_t offset, uint64_t end, struct qcow2_plan *plan, bool head_zeroed, bool tail_zeroed)
{
	uint64_t head = offset - plan->start, tail = plan->end - end;
	int result = plan_copy(q, plan->start, head, head_zeroed, &plan->head, &plan->head_length);

	if (!result)
		result = plan_copy(q, end, tail, tail_zeroed, &plan->tail, &plan->tail_length);
	if (result)
		return result;
	if (!plan->head_length) {
		plan->places[0].host += head;
		plan->places[0].length -= head;
		plan->start = offset;
	}
	if (!plan->tail_length) {
		plan->places[plan->place_count - 1].length -= tail;
		plan->end = end;
	}
	return 0;
}

/* ---- the plan ---- */

static void plan_free(struct qcow2_plan *plan)
{
	free(plan->head);
	free(plan->tail);
	free(plan->changes);
	free(plan->places);
	*plan = (struct qcow2_plan){ .start = 0 };
}

static int plan_clusters(struct qcow2 *q, struct qcow2_plan *plan, bool *head_zeroed, bool *tail_zeroed)
{
	uint64_t first = plan->start >> q->cluster_bits, last = (plan->end - 1) >> q->cluster_bits;
	int result = 0;

	plan->changes = calloc(last - first + 1, sizeof(plan->changes[0]));
	plan->places = calloc(last - first + 1, sizeof(plan->places[0]));
	if (!plan->changes || !plan->places)
		return -ENOMEM;
	for (uint64_t cluster = first; cluster <= last && !result; cluster++) {
		uint64_t base = cluster << q->cluster_bits, from = MAX(plan->start, base) - base;
		uint64_t to = MIN(plan->end - base, (uint64_t)q->cluster_size);

		result = qcow2_table_own(q, cluster);
		if (!result)
			result = plan_cluster(q, plan, cluster, from, to, tail_zeroed);
		if (cluster == first)
			*head_zeroed = *tail_zeroed;
	}
	return result;
}

int qcow2_plan_write(struct qcow2 *q, uint64_t offset, uint64_t length, struct qcow2_plan *plan)
{
	bool head_zeroed = false, tail_zeroed = false;
	int result;

	*plan = (struct qcow2_plan){ .start = 0 };
	result = plan_borders(q, offset, length, plan);
	if (!result)
		result = plan_clusters(q, plan, &head_zeroed, &tail_zeroed);
	if (!result)
		result = plan_copies(q, offset, offset + length, plan, head_zeroed, tail_zeroed);
	return result ? qcow2_plan_end(q, plan, result) : 0;
}

int qcow2_plan_end(struct qcow2 *q, struct qcow2_plan *plan, int result)
{
	for (size_t i = 0; i < plan->change_count; i++) {
		const struct qcow2_change *change = &plan->changes[i];

		if (!result)
			result = qcow2_entry_set(q, change->cluster, change->entry, change->bitmap);
		if (result && change->allocated)
			result = qcow2_unallocate(q, change->entry & QCOW2_OFFSET, result);
		else if (!result && change->allocated)
			qcow2_free_entry_later(q, change->old_entry);
	}
	plan_free(plan);
	return result;
}

int qcow2_write_now(struct qcow2 *q, uint64_t offset, const uint8_t *data, uint64_t length)
{
	struct qcow2_plan plan;
	uint64_t end = offset + length, at;
	int result = qcow2_plan_write(q, offset, length, &plan);

	if (result)
		return result;
	at = plan.start;
	for (size_t i = 0; i < plan.place_count && !result; i++) {
		uint64_t host = plan.places[i].host, left = plan.places[i].length;

		while (left && !result) {
			uint64_t part = at < offset ? offset - at : at < end ? end - at : plan.end - at;

			part = MIN(part, left);
			if (at < offset)
				result = disk_file_write(q->file, host, plan.head + (at - plan.start), (size_t)part);
			else if (at >= end)
				result = disk_file_write(q->file, host, plan.tail + (at - end), (size_t)part);
			else if (data)
				result = disk_file_write(q->file, host, data + (at - offset), (size_t)part);
			else
				result = disk_file_write_zeroes(q->file, host, part, false);
			at += part;
			host += part;
			left -= part;
		}
	}
	return qcow2_plan_end(q, &plan, result);
}
