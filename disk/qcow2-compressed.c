/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Compressed clusters: read whole and expanded into one buffer, which stays for the reads that follow.
 */
#include "disk/compression.h"
#include "disk/qcow2.h"
#include "kvm/log.h"

#define SECTOR	512u

void qcow2_compressed_place(const struct qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *length)
{
	uint32_t offset_bits = 62 - (q->cluster_bits - 8);
	uint64_t sectors = (entry & (QCOW2_COMPRESSED - 1)) >> offset_bits;

	*offset = entry & (BIT(offset_bits) - 1);
	*length = (sectors + 1) * SECTOR - (*offset & (SECTOR - 1));
}

int qcow2_decompress(struct qcow2 *q, uint64_t entry)
{
	_cleanup_free_ uint8_t *from = NULL;
	uint64_t offset, length;
	int result;

	if (q->decompressed_entry == entry)
		return 0;
	qcow2_compressed_place(q, entry, &offset, &length);
	if (offset < q->cluster_size || !range_contains(0, q->file->size, offset, 1))
		return qcow2_broken(q, "a compressed cluster past the end of the file", offset);
	/* The last sector may be cut by the end of the file. */
	length = MIN(length, q->file->size - offset);
	q->decompressed_entry = 0;
	if (!q->decompressed)
		q->decompressed = malloc(q->cluster_size);
	from = malloc(length);
	if (!from || !q->decompressed)
		return -ENOMEM;
	result = disk_file_read(q->file, offset, from, length);
	if (!result)
		result = q->compression->expand(from, length, q->decompressed, q->cluster_size);
	if (result == -EIO)
		return qcow2_complain(q, "a compressed cluster that can't be expanded", offset);
	if (!result)
		q->decompressed_entry = entry;
	return result;
}
