/* SPDX-License-Identifier: BSD-2-Clause */
/* What tools need of a qcow2 image beyond a guest's requests: tables in a row, and a header that points to others. */
#include "disk/qcow2-snapshot.h"

int qcow2_begin_tool(struct qcow2 *q)
{
	int result = q->disk->info.read_only ? -EROFS : qcow2_begin_writing(q);

	return result ? result : qcow2_write_all(q);
}

int qcow2_allocate_row(struct qcow2 *q, uint64_t length, uint64_t *host)
{
	uint64_t needed = (length + q->cluster_size - 1) >> q->cluster_bits, have = 0;

	/* A new refcount block lies in the first cluster that it counts. */
	if (needed >= qcow2_clusters_in_block(q))
		return -EFBIG;
	while (have < needed) {
		uint64_t at, count;
		bool zeroed;
		int result = qcow2_allocate(q, needed - have, &at, &count, &zeroed);

		if (have && (result || at != *host + (have << q->cluster_bits))) {
			qcow2_free_later(q, *host, have);
			have = 0;
		}
		if (result)
			return result;
		*host = have ? *host : at;
		have += count;
	}
	qcow2_cache_drop(q, *host, needed << q->cluster_bits);
	return 0;
}

int qcow2_l1_write(struct qcow2 *q, const uint64_t *l1, uint32_t entries, uint64_t *offset)
{
	int result = qcow2_allocate_row(q, MAX(entries * 8ULL, 8ULL), offset);
	_cleanup_free_ uint8_t *raw = NULL;

	if (result)
		return result;
	raw = malloc(MAX(entries * (size_t)8, (size_t)8));
	if (!raw)
		return -ENOMEM;
	for (uint32_t i = 0; i < entries; i++)
		be64_store(raw + i * (size_t)8, l1[i]);
	return disk_file_write(q->file, *offset, raw, entries * (size_t)8);
}

/* Size, length and place of the L1 table lie in one sector of the header, so that it has all of the old or of the new. */
int qcow2_header_switch(struct qcow2 *q, uint64_t size, uint32_t entries, uint64_t offset)
{
	uint8_t field[24] = { 0 };
	int result = qcow2_cache_write(q, false);

	be64_store(field, size);
	be32_store(field + 12, entries);
	be64_store(field + 16, offset);
	if (!result)
		result = disk_file_flush(q->file);
	if (!result)
		result = disk_file_write(q->file, QCOW2_AT_SIZE, field, sizeof(field));
	return result ? result : disk_file_flush(q->file);
}
