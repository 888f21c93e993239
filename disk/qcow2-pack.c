/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing compressed clusters: packed one behind the other, so that several share a host cluster, which counts a
 * reference for each. For tools that fill an image, each cluster once.
 */
#include <string.h>

#include "disk/compression.h"
#include "disk/qcow2.h"
#include "kvm/log.h"

#define SECTOR	512u

static uint64_t refcount_max(const struct qcow2 *q)
{
	return q->refcount_order == 6 ? UINT64_MAX : BIT(1u << q->refcount_order) - 1;
}

/* One more reference to the host cluster that the last compressed one ends in; *shared: there is room for that. */
static int share_cluster(struct qcow2 *q, bool *shared)
{
	uint64_t cluster = q->packed_end >> q->cluster_bits, value;
	int result = qcow2_refcount_get(q, cluster, &value);

	*shared = !result && value && value < refcount_max(q);
	return *shared ? qcow2_refcount_set(q, cluster, value + 1) : result;
}

/* @length bytes of the file, less than a cluster. */
static int take_bytes(struct qcow2 *q, size_t length, uint64_t *host)
{
	uint64_t room = q->packed_end ? q->cluster_size - qcow2_offset_in_cluster(q, q->packed_end) : 0, fresh = 0, count;
	bool shared = false, zeroed;
	int result = 0;

	if (room >= length)
		result = share_cluster(q, &shared);
	if (!result && !shared) {
		result = qcow2_allocate(q, 1, &fresh, &count, &zeroed);
		if (result)
			return result;
		/* it may begin in the old one and end in this */
		if (room && room < length && fresh == q->packed_end + room)
			result = share_cluster(q, &shared);
		if (result)
			return qcow2_unallocate(q, fresh, result);
	}
	if (result)
		return result;
	*host = shared ? q->packed_end : fresh;
	q->packed_end = *host + length;
	if (!qcow2_offset_in_cluster(q, q->packed_end))
		q->packed_end = 0;
	return 0;
}

static int store(struct qcow2 *q, uint64_t cluster, const uint8_t *packed, size_t length)
{
	uint32_t offset_bits = 62 - (q->cluster_bits - 8);
	uint64_t host = 0, old, bitmap, sectors;
	int result = qcow2_table_own(q, cluster);

	if (!result)
		result = qcow2_entry_get(q, cluster, &old, &bitmap);
	if (!result)
		result = take_bytes(q, length, &host);
	if (result)
		return result;
	if (host + length > BIT(offset_bits))
		return -EFBIG;
	result = disk_file_write(q->file, host, packed, length);
	sectors = (host + length - 1) / SECTOR - host / SECTOR;
	if (!result)
		result = qcow2_entry_set(q, cluster, QCOW2_COMPRESSED | sectors << offset_bits | host, 0);
	if (!result)
		qcow2_free_entry_later(q, old);
	return result;
}

/* The guest's disk may end inside its last cluster: zeroes follow. */
static int compress_cluster(struct qcow2 *q, uint64_t offset, const uint8_t *data, size_t length)
{
	_cleanup_free_ uint8_t *packed = malloc(q->cluster_size), *whole = NULL;
	ssize_t packed_length;

	if (length < q->cluster_size)
		whole = calloc(1, q->cluster_size);
	if (!packed || (length < q->cluster_size && !whole))
		return -ENOMEM;
	if (whole)
		memcpy(whole, data, length);
	packed_length = q->compression->pack(whole ? whole : data, q->cluster_size, packed, q->cluster_size - 1);
	if (packed_length < 0)
		return (int)packed_length;
	return packed_length ? store(q, offset >> q->cluster_bits, packed, (size_t)packed_length) :
	       qcow2_write_now(q, offset, data, length);
}

int qcow2_compress(struct disk *disk, uint64_t offset, const uint8_t *data, size_t length)
{
	struct qcow2 *q = disk->format_state;
	int result = disk->info.read_only ? -EROFS : qcow2_begin_writing(q);

	if (!result)
		result = compress_cluster(q, offset, data, length);
	return result ? log_errno(result, "disk '%s': can't be written", q->file->path) : 0;
}
