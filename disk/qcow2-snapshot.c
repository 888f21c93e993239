/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Internal snapshots of a qcow2 disk: made, applied and deleted, while nothing else happens on it.
 *
 * A snapshot is a copy of the L1 table, and one more reference to all that it leads to. References are added before
 * the header knows of who has them, and taken away after it has forgotten: a power cut in between leaks clusters.
 */
#include "disk/qcow2-snapshot.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kvm/log.h"

/* ---- tables ---- */

/* A copy of an L1 table in clusters of its own; whoever has it shares all that it leads to. */
static int write_copy(struct qcow2 *q, const uint64_t *l1, uint32_t entries, uint64_t *offset)
{
	_cleanup_free_ uint64_t *shared = NULL;

	shared = malloc(MAX(entries * sizeof(*shared), sizeof(*shared)));
	if (!shared)
		return -ENOMEM;
	for (uint32_t i = 0; i < entries; i++)
		shared[i] = l1[i] & ~QCOW2_COPIED;
	return qcow2_l1_write(q, shared, entries, offset);
}

static void l1_free_later(struct qcow2 *q, uint64_t offset, uint32_t entries)
{
	qcow2_free_later(q, offset, (MAX(entries * 8ULL, 8ULL) + q->cluster_size - 1) >> q->cluster_bits);
}

/* ---- all that an L1 table leads to ---- */

/* Does something for an L2 table (@entry 0), or for what one of its entries leads to. */
typedef int (*visit_fn)(struct qcow2 *q, uint64_t table, uint64_t entry);

static int visit_table(struct qcow2 *q, uint64_t table, visit_fn visit, uint8_t *bytes)
{
	int result = 0;

	if (qcow2_offset_in_cluster(q, table) || !range_contains(0, q->file->size, table, q->cluster_size))
		return qcow2_broken(q, "an L2 table that is misaligned or past the end of the file", table);
	result = disk_file_read(q->file, table, bytes, q->cluster_size);
	for (uint32_t at = 0; at < q->cluster_size && !result; at += q->entry_size) {
		uint64_t entry = be64_load(bytes + at);

		if (!(entry & QCOW2_COMPRESSED) && qcow2_offset_in_cluster(q, entry & QCOW2_OFFSET))
			return qcow2_broken(q, "a cluster that is not aligned", entry & QCOW2_OFFSET);
		if (entry & (QCOW2_COMPRESSED | QCOW2_OFFSET))
			result = visit(q, table, entry);
	}
	return result ? result : visit(q, table, 0);
}

static int visit_all(struct qcow2 *q, const uint64_t *l1, uint32_t entries, visit_fn visit)
{
	_cleanup_free_ uint8_t *bytes = malloc(q->cluster_size);
	int result = bytes ? 0 : -ENOMEM;

	for (uint32_t i = 0; i < entries && !result; i++)
		if (l1[i] & QCOW2_OFFSET)
			result = visit_table(q, l1[i] & QCOW2_OFFSET, visit, bytes);
	return result;
}

/* Each host cluster that @entry leads to; a compressed one may lie in two. */
static void entry_clusters(const struct qcow2 *q, uint64_t table, uint64_t entry, uint64_t *first, uint64_t *last)
{
	uint64_t offset = entry ? entry & QCOW2_OFFSET : table, length = 1;

	if (entry & QCOW2_COMPRESSED)
		qcow2_compressed_place(q, entry, &offset, &length);
	*first = offset >> q->cluster_bits;
	*last = (offset + length - 1) >> q->cluster_bits;
}

/* Before any is raised: whether all can be. What several compressed clusters share may have to be doubled. */
static int ask_room(struct qcow2 *q, uint64_t table, uint64_t entry)
{
	uint64_t max = q->refcount_order == 6 ? UINT64_MAX : BIT(1u << q->refcount_order) - 1, first, last, value;
	int result = 0;

	entry_clusters(q, table, entry, &first, &last);
	for (; first <= last && !result; first++) {
		result = qcow2_refcount_get(q, first, &value);
		if (!result && !value)
			result = qcow2_broken(q, "a cluster in use with refcount 0", first << q->cluster_bits);
		if (!result && value > max - (entry & QCOW2_COMPRESSED ? value : 1))
			result = log_error(EOVERFLOW, "disk '%s': qcow2: its refcounts of %u bits leave no room for another snapshot",
					   q->file->path, 1u << q->refcount_order);
	}
	return result;
}

static int raise(struct qcow2 *q, uint64_t table, uint64_t entry)
{
	uint64_t first, last, value;
	int result = 0;

	entry_clusters(q, table, entry, &first, &last);
	for (; first <= last && !result; first++) {
		result = qcow2_refcount_get(q, first, &value);
		if (!result)
			result = qcow2_refcount_set(q, first, value + 1);
	}
	return result;
}

static int lower(struct qcow2 *q, uint64_t table, uint64_t entry)
{
	if (entry)
		qcow2_free_entry_later(q, entry);
	else
		qcow2_free_later(q, table, 1);
	return 0;
}

static int raise_all(struct qcow2 *q, const uint64_t *l1, uint32_t entries)
{
	int result = visit_all(q, l1, entries, ask_room);

	return result ? result : visit_all(q, l1, entries, raise);
}

int qcow2_unreference(struct qcow2 *q, const uint64_t *l1, uint32_t entries)
{
	return visit_all(q, l1, entries, lower);
}

/* ---- whose clusters are the active disk's alone ---- */

static int with_copied(struct qcow2 *q, uint64_t entry, uint64_t *with)
{
	uint64_t value;
	int result = qcow2_refcount_get(q, (entry & QCOW2_OFFSET) >> q->cluster_bits, &value);

	*with = value == 1 ? entry | QCOW2_COPIED : entry & ~QCOW2_COPIED;
	return result;
}

static int table_mark(struct qcow2 *q, uint32_t l1_index)
{
	uint64_t first = (uint64_t)l1_index << q->l2_bits, with, entry, bitmap;
	int result = with_copied(q, q->l1[l1_index], &with);

	if (!result && with != q->l1[l1_index])
		qcow2_l1_set(q, l1_index, with);
	for (uint64_t i = 0; i < BIT(q->l2_bits) && !result; i++) {
		result = qcow2_entry_get(q, first + i, &entry, &bitmap);
		if (result || (entry & QCOW2_COMPRESSED) || !(entry & QCOW2_OFFSET))
			continue;
		result = with_copied(q, entry, &with);
		if (!result && with != entry)
			result = qcow2_entry_set(q, first + i, with, bitmap);
	}
	return result;
}

static int mark_copied(struct qcow2 *q)
{
	int result = 0;

	for (uint32_t i = 0; i < q->l1_size && !result; i++)
		if (q->l1[i] & QCOW2_OFFSET)
			result = table_mark(q, i);
	return result ? result : qcow2_write_all(q);
}

/* ---- the table of snapshots ---- */

static int named(struct qcow2 *q, struct qcow2_snapshots *snapshots, const char *name, uint32_t *index)
{
	int result = qcow2_snapshots_read(q, snapshots);

	if (result)
		return result;
	*index = qcow2_snapshots_find(snapshots, name);
	return *index == UINT32_MAX ? log_error(ENOENT, "disk '%s': no snapshot '%s' in it (lkvm disk snapshot list)", q->file->path, name) : 0;
}

static unsigned long next_id(const struct qcow2_snapshots *snapshots)
{
	unsigned long highest = 0;

	for (uint32_t i = 0; i < snapshots->count; i++)
		highest = MAX(highest, strtoul(snapshots->list[i].id, NULL, 10));
	return highest < INT32_MAX ? highest + 1 : snapshots->count + 1UL;
}

static int append(struct qcow2 *q, struct qcow2_snapshots *snapshots, const char *name)
{
	struct qcow2_snapshot *grown = reallocarray(snapshots->list, snapshots->count + 1, sizeof(*grown)), *added;
	struct timespec now;

	if (!grown)
		return -ENOMEM;
	snapshots->list = grown;
	added = &grown[snapshots->count];
	clock_gettime(CLOCK_REALTIME, &now);
	*added = (struct qcow2_snapshot){ .l1_size = q->l1_size, .disk_size = q->size, .date_s = (uint32_t)now.tv_sec,
					  .date_ns = (uint32_t)now.tv_nsec, .name = strdup(name) };
	if (asprintf(&added->id, "%lu", next_id(snapshots)) < 0)
		added->id = NULL;
	snapshots->count++;
	return added->name && added->id ? 0 : -ENOMEM;
}

static int said(const struct qcow2 *q, int result, const char *what)
{
	/* what is damaged, too full or not there was said where it was found */
	if (!result || result == -EIO || result == -EOVERFLOW || result == -ENOENT || result == -EEXIST || result == -EINVAL)
		return result;
	return log_errno(result, "disk '%s': the snapshot can't be %s", q->file->path, what);
}

/* ---- the operations ---- */

static int create(struct qcow2 *q, struct qcow2_snapshots *snapshots, const char *name)
{
	struct qcow2_snapshot *added;
	int result = append(q, snapshots, name);

	if (result)
		return result;
	added = &snapshots->list[snapshots->count - 1];
	result = raise_all(q, q->l1, q->l1_size);
	if (!result)
		result = write_copy(q, q->l1, q->l1_size, &added->l1_offset);
	/* from here on a write copies what it changes */
	if (!result)
		result = mark_copied(q);
	if (!result)
		result = qcow2_snapshots_write(q, snapshots);
	return result ? result : qcow2_write_all(q);
}

static int snapshot_create(struct disk *disk, const char *name)
{
	struct qcow2 *q = disk->format_state;
	struct qcow2_snapshots snapshots = { .count = 0 };
	int result = qcow2_begin_tool(q);

	if (!result)
		result = qcow2_snapshots_read(q, &snapshots);
	if (!result && qcow2_snapshots_find(&snapshots, name) != UINT32_MAX)
		result = log_error(EEXIST, "disk '%s': has a snapshot '%s' already", q->file->path, name);
	if (!result && snapshots.count >= QCOW2_MAX_SNAPSHOTS)
		result = -EFBIG;
	if (!result)
		result = create(q, &snapshots, name);
	qcow2_snapshots_free(&snapshots);
	return said(q, result, "made");
}

static int apply(struct qcow2 *q, const struct qcow2_snapshot *snapshot, uint64_t **l1)
{
	uint32_t l1_shift = q->cluster_bits + q->l2_bits, old_entries = q->l1_size;
	uint64_t *old = q->l1, old_offset = q->l1_offset, offset = 0;
	int result = qcow2_l1_read(q, snapshot->l1_offset, snapshot->l1_size, l1);

	if (result)
		return result;
	if (!snapshot->disk_size || snapshot->disk_size > INT64_MAX || (snapshot->disk_size - 1) >> l1_shift >= snapshot->l1_size)
		return qcow2_complain(q, "a snapshot whose L1 table is too short for its size", snapshot->disk_size);
	result = raise_all(q, *l1, snapshot->l1_size);
	if (!result)
		result = write_copy(q, *l1, snapshot->l1_size, &offset);
	if (!result)
		result = qcow2_header_switch(q, snapshot->disk_size, snapshot->l1_size, offset);
	if (result)
		return result;
	q->l1 = *l1;
	q->l1_size = snapshot->l1_size;
	q->l1_offset = offset;
	q->size = snapshot->disk_size;
	q->disk->info.size = ALIGN_DOWN(q->size, 512);
	*l1 = old;
	result = qcow2_unreference(q, old, old_entries);
	l1_free_later(q, old_offset, old_entries);
	if (!result)
		result = qcow2_write_back(q);
	return result ? result : mark_copied(q);
}

static int snapshot_apply(struct disk *disk, const char *name)
{
	_cleanup_free_ uint64_t *l1 = NULL;
	struct qcow2 *q = disk->format_state;
	struct qcow2_snapshots snapshots = { .count = 0 };
	uint32_t index;
	int result = qcow2_begin_tool(q);

	if (!result)
		result = named(q, &snapshots, name, &index);
	if (!result)
		result = apply(q, &snapshots.list[index], &l1);
	qcow2_snapshots_free(&snapshots);
	return said(q, result, "applied");
}

static int delete(struct qcow2 *q, struct qcow2_snapshots *snapshots, uint32_t index)
{
	struct qcow2_snapshot gone = snapshots->list[index];
	_cleanup_free_ uint64_t *l1 = NULL;
	int result = qcow2_l1_read(q, gone.l1_offset, gone.l1_size, &l1);

	if (result)
		return result;
	snapshots->count--;
	memmove(&snapshots->list[index], &snapshots->list[index + 1], (snapshots->count - index) * sizeof(gone));
	result = qcow2_snapshots_write(q, snapshots);
	if (!result)
		result = qcow2_unreference(q, l1, gone.l1_size);
	if (!result)
		l1_free_later(q, gone.l1_offset, gone.l1_size);
	if (!result)
		result = qcow2_write_back(q);
	qcow2_snapshot_free(&gone);
	return result ? result : mark_copied(q);
}

static int snapshot_delete(struct disk *disk, const char *name)
{
	struct qcow2 *q = disk->format_state;
	struct qcow2_snapshots snapshots = { .count = 0 };
	uint32_t index;
	int result = qcow2_begin_tool(q);

	if (!result)
		result = named(q, &snapshots, name, &index);
	if (!result)
		result = delete(q, &snapshots, index);
	qcow2_snapshots_free(&snapshots);
	return said(q, result, "deleted");
}

static json_t *text_of(const char *text)
{
	json_t *value = json_string(text);

	return value ? value : json_string("?");
}

static int snapshot_list(struct disk *disk, json_t *list)
{
	struct qcow2 *q = disk->format_state;
	struct qcow2_snapshots snapshots;
	int result = qcow2_snapshots_read(q, &snapshots);

	for (uint32_t i = 0; i < snapshots.count && !result; i++) {
		const struct qcow2_snapshot *snapshot = &snapshots.list[i];
		json_t *entry = json_pack("{s:o,s:o,s:I,s:I,s:I,s:I,s:I,s:I}", "id", text_of(snapshot->id), "name", text_of(snapshot->name),
					  "vm-state-size", (json_int_t)snapshot->vm_state_size, "date-sec", (json_int_t)snapshot->date_s,
					  "date-nsec", (json_int_t)snapshot->date_ns,
					  "vm-clock-sec", (json_int_t)(snapshot->vm_clock_ns / 1000000000),
					  "vm-clock-nsec", (json_int_t)(snapshot->vm_clock_ns % 1000000000),
					  "virtual-size", (json_int_t)snapshot->disk_size);

		if (json_array_append_new(list, entry))
			result = log_errno(ENOMEM, "disk '%s'", q->file->path);
	}
	qcow2_snapshots_free(&snapshots);
	return result;
}

const struct disk_snapshots qcow2_snapshot_operations = {
	.list = snapshot_list,
	.create = snapshot_create,
	.apply = snapshot_apply,
	.delete = snapshot_delete,
};
