/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The snapshot table: entries of varying length, one behind the other. All of it is read into memory, which a damaged
 * or malicious image must not fill: as many entries and as many bytes as QEMU allows.
 */
#include <stdio.h>
#include <string.h>

#include "disk/qcow2-snapshot.h"
#include "kvm/log.h"

#define TABLE_MAX	MIB(64)
#define EXTRA_MAX	1024u

struct entry {
	be64 l1_offset;
	be32 l1_size;
	uint8_t id_size[2], name_size[2];
	be32 date_s, date_ns;
	be64 vm_clock_ns;
	be32 vm_state_size, extra_size;
} __packed;
_Static_assert(sizeof(struct entry) == 40, "qcow2: the fixed part of a snapshot's entry");

#define EXTRA_DISK_SIZE	8u		/* offsets in the extra data */
#define EXTRA_LENGTH	24u		/* of what we write: state size, disk size, instruction count */

static uint32_t be16_load(const uint8_t *from)
{
	return (uint32_t)from[0] << 8 | from[1];
}

static uint64_t entry_length(const struct entry *entry)
{
	return ALIGN_UP(sizeof(*entry) + be32_get(entry->extra_size) + be16_load(entry->id_size) + be16_load(entry->name_size), 8ULL);
}

/* ---- reading ---- */

static int refuse(const struct qcow2 *q, uint32_t index, const char *what)
{
	return log_error(EINVAL, "disk '%s': qcow2: entry %u of its snapshot table %s", q->file->path, index + 1, what);
}

static int entry_take(const struct qcow2 *q, const struct entry *entry, const uint8_t *rest, struct qcow2_snapshot *to)
{
	uint32_t id = be16_load(entry->id_size), name = be16_load(entry->name_size);

	*to = (struct qcow2_snapshot){
		.l1_offset = be64_get(entry->l1_offset), .l1_size = be32_get(entry->l1_size),
		.date_s = be32_get(entry->date_s), .date_ns = be32_get(entry->date_ns),
		.vm_clock_ns = be64_get(entry->vm_clock_ns), .vm_state_size = be32_get(entry->vm_state_size),
		.extra_length = be32_get(entry->extra_size), .disk_size = q->size,
	};
	to->extra = malloc(to->extra_length + 1ULL);
	to->id = strndup((const char *)rest + to->extra_length, id);
	to->name = strndup((const char *)rest + to->extra_length + id, name);
	if (!to->extra || !to->id || !to->name)
		return log_errno(ENOMEM, "disk '%s'", q->file->path);
	memcpy(to->extra, rest, to->extra_length);
	if (to->extra_length >= 8)
		to->vm_state_size = be64_load(to->extra);
	if (to->extra_length >= EXTRA_DISK_SIZE + 8)
		to->disk_size = be64_load(to->extra + EXTRA_DISK_SIZE);
	return 0;
}

static int entry_read(struct qcow2 *q, struct qcow2_snapshots *snapshots)
{
	_cleanup_free_ uint8_t *rest = NULL;
	uint64_t at = q->snapshots_offset + snapshots->length, length;
	struct entry entry;
	int result = disk_file_read(q->file, at, &entry, sizeof(entry));

	if (result)
		return log_errno(result, "disk '%s': its snapshot table can't be read", q->file->path);
	if (be32_get(entry.extra_size) > EXTRA_MAX)
		return refuse(q, snapshots->count, "has too much extra data");
	length = entry_length(&entry);
	if (snapshots->length + length > TABLE_MAX || !range_contains(0, q->file->size, at, length - 7))
		return refuse(q, snapshots->count, "is too long, or past the end of the file");
	rest = malloc((size_t)length);
	if (!rest)
		return log_errno(ENOMEM, "disk '%s'", q->file->path);
	result = disk_file_read(q->file, at + sizeof(entry), rest, (size_t)(length - sizeof(entry)));
	if (result)
		return log_errno(result, "disk '%s': its snapshot table can't be read", q->file->path);
	snapshots->length += length;
	return entry_take(q, &entry, rest, &snapshots->list[snapshots->count++]);
}

int qcow2_snapshots_read(struct qcow2 *q, struct qcow2_snapshots *snapshots)
{
	int result = 0;

	*snapshots = (struct qcow2_snapshots){ .count = 0 };
	snapshots->list = calloc(MAX(q->snapshots, 1u), sizeof(snapshots->list[0]));
	if (!snapshots->list)
		return log_errno(ENOMEM, "disk '%s'", q->file->path);
	for (uint32_t i = 0; i < q->snapshots && !result; i++)
		result = entry_read(q, snapshots);
	return result;
}

void qcow2_snapshot_free(struct qcow2_snapshot *snapshot)
{
	free(snapshot->extra);
	free(snapshot->id);
	free(snapshot->name);
}

void qcow2_snapshots_free(struct qcow2_snapshots *snapshots)
{
	for (uint32_t i = 0; i < snapshots->count; i++)
		qcow2_snapshot_free(&snapshots->list[i]);
	free(snapshots->list);
	*snapshots = (struct qcow2_snapshots){ .count = 0 };
}

uint32_t qcow2_snapshots_find(const struct qcow2_snapshots *snapshots, const char *name)
{
	for (uint32_t i = 0; i < snapshots->count; i++)
		if (!strcmp(snapshots->list[i].name, name))
			return i;
	for (uint32_t i = 0; i < snapshots->count; i++)
		if (!strcmp(snapshots->list[i].id, name))
			return i;
	return UINT32_MAX;
}

int qcow2_l1_read(struct qcow2 *q, uint64_t offset, uint32_t entries, uint64_t **l1)
{
	uint64_t bytes = entries * 8ULL;
	int result;

	*l1 = NULL;
	if (bytes > QCOW2_MAX_L1_BYTES || !offset || qcow2_offset_in_cluster(q, offset) ||
	    !range_contains(0, q->file->size, offset, bytes))
		return qcow2_complain(q, "a snapshot's L1 table that is too long, misaligned or past the end of the file", offset);
	*l1 = malloc(MAX((size_t)bytes, (size_t)8));
	if (!*l1)
		return -ENOMEM;
	result = disk_file_read(q->file, offset, *l1, (size_t)bytes);
	for (uint32_t i = 0; i < entries; i++)
		(*l1)[i] = be64toh((*l1)[i]);
	return result;
}

/* ---- writing ---- */

static void be16_store(uint8_t *to, size_t value)
{
	to[0] = (uint8_t)(value >> 8);
	to[1] = (uint8_t)value;
}

/* The extra data is kept, whatever is in it that isn't known here; but it says the disk's size. */
static int extra_complete(struct qcow2_snapshot *snapshot)
{
	uint8_t *extra;

	if (snapshot->extra_length >= EXTRA_DISK_SIZE + 8)
		return 0;
	extra = calloc(1, EXTRA_LENGTH);
	if (!extra)
		return -ENOMEM;
	be64_store(extra, snapshot->vm_state_size);
	be64_store(extra + EXTRA_DISK_SIZE, snapshot->disk_size);
	/* "not counted" */
	be64_store(extra + 16, UINT64_MAX);
	free(snapshot->extra);
	snapshot->extra = extra;
	snapshot->extra_length = EXTRA_LENGTH;
	return 0;
}

static uint8_t *entry_put(uint8_t *at, const struct qcow2_snapshot *snapshot)
{
	size_t id = strlen(snapshot->id), name = strlen(snapshot->name);
	uint32_t state = snapshot->vm_state_size > UINT32_MAX ? 0 : (uint32_t)snapshot->vm_state_size;
	struct entry entry = {
		.l1_offset = be64_of(snapshot->l1_offset), .l1_size = be32_of(snapshot->l1_size),
		.date_s = be32_of(snapshot->date_s), .date_ns = be32_of(snapshot->date_ns),
		.vm_clock_ns = be64_of(snapshot->vm_clock_ns), .vm_state_size = be32_of(state),
		.extra_size = be32_of(snapshot->extra_length),
	};

	be16_store(entry.id_size, id);
	be16_store(entry.name_size, name);
	memcpy(at, &entry, sizeof(entry));
	memcpy(at + sizeof(entry), snapshot->extra, snapshot->extra_length);
	memcpy(at + sizeof(entry) + snapshot->extra_length, snapshot->id, id);
	memcpy(at + sizeof(entry) + snapshot->extra_length + id, snapshot->name, name);
	return at + entry_length(&entry);
}

static int table_make(struct qcow2_snapshots *snapshots, uint8_t **table, uint64_t *length)
{
	uint8_t *at;

	*length = 0;
	for (uint32_t i = 0; i < snapshots->count; i++) {
		struct qcow2_snapshot *snapshot = &snapshots->list[i];

		if (extra_complete(snapshot))
			return -ENOMEM;
		*length += ALIGN_UP(sizeof(struct entry) + snapshot->extra_length + strlen(snapshot->id) + strlen(snapshot->name), 8ULL);
	}
	if (*length > TABLE_MAX)
		return -EFBIG;
	*table = at = calloc(1, MAX((size_t)*length, (size_t)1));
	if (!at)
		return -ENOMEM;
	for (uint32_t i = 0; i < snapshots->count; i++)
		at = entry_put(at, &snapshots->list[i]);
	return 0;
}

/* Number and offset lie side by side, so that the header has the old table or the new one. */
static int table_switch(struct qcow2 *q, uint32_t count, uint64_t offset)
{
	uint8_t field[12];
	int result = disk_file_flush(q->file);

	be32_store(field, count);
	be64_store(field + 4, offset);
	if (!result)
		result = disk_file_write(q->file, QCOW2_AT_SNAPSHOTS, field, sizeof(field));
	return result ? result : disk_file_flush(q->file);
}

int qcow2_snapshots_write(struct qcow2 *q, struct qcow2_snapshots *snapshots)
{
	_cleanup_free_ uint8_t *table = NULL;
	uint64_t length, offset = 0, old_clusters = (snapshots->length + q->cluster_size - 1) >> q->cluster_bits;
	int result = table_make(snapshots, &table, &length);

	if (!result && length)
		result = qcow2_allocate_row(q, length, &offset);
	if (!result && length)
		result = disk_file_write(q->file, offset, table, (size_t)length);
	/* its refcounts come first, and with them those of what its entries refer to */
	if (!result)
		result = qcow2_cache_write(q, false);
	if (!result)
		result = table_switch(q, snapshots->count, offset);
	if (result)
		return result;
	if (snapshots->length)
		qcow2_free_later(q, q->snapshots_offset, old_clusters);
	q->snapshots = snapshots->count;
	q->snapshots_offset = offset;
	snapshots->length = length;
	return 0;
}
