/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * New qcow2 images, of version 3: header, L1, refcount table and refcount blocks in a row, no guest cluster yet. The
 * header comes last, so that what was cut short is no image.
 */
#include <string.h>

#include "disk/compression.h"
#include "disk/qcow2.h"
#include "kvm/log.h"
#include "kvm/option.h"

#define HEADER_BYTES	112u
#define REFCOUNT_ORDER	4u
#define NAME_MAX_BYTES	1023u

enum { COMPATIBLE_LAZY_REFCOUNTS = 1 };

/* In clusters. */
struct layout {
	uint32_t cluster_bits;
	uint64_t l1_entries, l1, table, blocks, total;
};

/* ---- where what will lie ---- */

static uint64_t divide_up(uint64_t value, uint64_t by)
{
	return value / by + !!(value % by);
}

static void layout_count(struct layout *layout)
{
	uint64_t cluster = BIT(layout->cluster_bits), in_block = cluster * 8 >> REFCOUNT_ORDER;

	layout->l1 = MAX(divide_up(layout->l1_entries * 8, cluster), 1ULL);
	layout->table = layout->blocks = 1;
	/* The refcounts count themselves: larger until they do. */
	for (;;) {
		layout->total = 1 + layout->l1 + layout->table + layout->blocks;
		if (layout->blocks * in_block < layout->total)
			layout->blocks = divide_up(layout->total, in_block);
		else if (layout->table * cluster < layout->blocks * 8)
			layout->table++;
		else
			break;
	}
}

static int layout_make(const struct image_options *options, struct layout *layout)
{
	uint32_t cluster = options->cluster_size ? options->cluster_size : 65536, l1_shift;

	if (!IS_POWER_OF_2(cluster) || cluster < 512 || cluster > MIB(2))
		return log_error(EUSAGE, "disk '%s': clusters of %u bytes can't be (a power of 2 from 512 to 2M)", options->path, cluster);
	layout->cluster_bits = (uint32_t)__builtin_ctz(cluster);
	if (options->extended_l2 && layout->cluster_bits < 14)
		return log_error(EUSAGE, "disk '%s': subclusters need clusters of 16K or more", options->path);
	l1_shift = 2 * layout->cluster_bits - (options->extended_l2 ? 4 : 3);
	layout->l1_entries = divide_up(options->size, BIT(l1_shift));
	if (layout->l1_entries > QCOW2_MAX_L1_BYTES / 8)
		return log_error(EFBIG, "disk '%s': clusters of %u bytes reach to %llu bytes only (say larger ones)", options->path,
				 cluster, (unsigned long long)(QCOW2_MAX_L1_BYTES / 8) << l1_shift);
	layout_count(layout);
	return 0;
}

/* ---- the header ---- */

static uint8_t *put_extension(uint8_t *at, uint32_t type, const void *data, size_t length)
{
	be32_store(at, type);
	be32_store(at + 4, (uint32_t)length);
	memcpy(at + 8, data, length);
	return at + 8 + ALIGN_UP(length, 8);
}

static void put_numbers(uint8_t *header, const struct image_options *options, const struct layout *layout)
{
	uint64_t features = (options->extended_l2 ? QCOW2_EXTENDED_L2 : 0) | (options->zstd ? QCOW2_COMPRESSION_TYPE : 0);

	be32_store(header, QCOW2_MAGIC);
	be32_store(header + 4, 3);
	be32_store(header + 20, layout->cluster_bits);
	be64_store(header + QCOW2_AT_SIZE, options->size);
	be32_store(header + QCOW2_AT_L1, (uint32_t)layout->l1_entries);
	be64_store(header + QCOW2_AT_L1 + 4, (1 + layout->table + layout->blocks) << layout->cluster_bits);
	be64_store(header + QCOW2_AT_REFCOUNT_TABLE, BIT(layout->cluster_bits));
	be32_store(header + QCOW2_AT_REFCOUNT_TABLE + 8, (uint32_t)layout->table);
	be64_store(header + QCOW2_AT_INCOMPATIBLE, features);
	be64_store(header + QCOW2_AT_INCOMPATIBLE + 8, options->lazy_refcounts ? COMPATIBLE_LAZY_REFCOUNTS : 0);
	be32_store(header + 96, REFCOUNT_ORDER);
	be32_store(header + 100, HEADER_BYTES);
	header[104] = options->zstd;
}

/* So that a program which lacks one of these refuses the image by its name. */
static uint8_t *put_feature_names(uint8_t *at)
{
	static const struct { uint8_t type, bit; char name[46]; } features[] = {
		{ 0, 0, "dirty bit" }, { 0, 1, "corrupt bit" }, { 0, 2, "external data file" }, { 0, 3, "compression type" },
		{ 0, 4, "extended L2 entries" }, { 1, 0, "lazy refcounts" },
	};

	return put_extension(at, 0x6803f857, features, sizeof(features));
}

static int write_header(struct disk_file *file, const struct image_options *options, const struct layout *layout)
{
	size_t cluster = (size_t)BIT(layout->cluster_bits), length = options->backing ? strlen(options->backing) : 0;
	/* names and table are 1.5 KiB at most; what doesn't fit a cluster of 512 bytes is left out or refused */
	_cleanup_free_ uint8_t *header = calloc(1, MAX(cluster, (size_t)4096));
	uint8_t *at;

	if (!header)
		return -ENOMEM;
	put_numbers(header, options, layout);
	at = header + HEADER_BYTES;
	if (options->backing)
		at = put_extension(at, 0xe2792aca, options->backing_format, strlen(options->backing_format));
	if (cluster >= 4096)
		at = put_feature_names(at);
	at += 8;
	if (length > NAME_MAX_BYTES || (size_t)(at - header) + length > cluster)
		return log_error(ENAMETOOLONG, "disk '%s': the backing image's name is too long for its header", options->path);
	if (length) {
		memcpy(at, options->backing, length);
		be64_store(header + 8, (uint64_t)(at - header));
		be32_store(header + 16, (uint32_t)length);
	}
	return disk_file_write(file, 0, header, cluster);
}

/* ---- refcounts ---- */

static int write_refcounts(struct disk_file *file, const struct layout *layout)
{
	size_t cluster = (size_t)BIT(layout->cluster_bits), in_block = cluster / 2;
	_cleanup_free_ uint8_t *block = calloc(1, cluster);
	_cleanup_free_ uint8_t *table = calloc(layout->table, cluster);
	int result = block && table ? 0 : -ENOMEM;

	for (uint64_t i = 0; i < layout->blocks && !result; i++) {
		uint64_t at = (1 + layout->table + i) << layout->cluster_bits;

		memset(block, 0, cluster);
		for (size_t n = 0; n < in_block && i * in_block + n < layout->total; n++)
			block[2 * n + 1] = 1;
		be64_store(table + 8 * i, at);
		result = disk_file_write(file, at, block, cluster);
	}
	return result ? result : disk_file_write(file, cluster, table, (size_t)layout->table << layout->cluster_bits);
}

/* A block device keeps what was there: L1 must read as zeroes. */
static int write_l1(struct disk_file *file, const struct layout *layout)
{
	return disk_file_write_zeroes(file, (1 + layout->table + layout->blocks) << layout->cluster_bits,
				      layout->l1 << layout->cluster_bits, true);
}

int qcow2_create(struct disk_file *file, const struct image_options *options)
{
	struct layout layout = { 0 };
	int result = options->subformat ? log_error(EUSAGE, "disk '%s': a qcow2 image has no subformat (a VHD image has)", options->path) :
		     layout_make(options, &layout);

	if (!result && options->zstd && !disk_compression(1))
		result = log_error(ENOTSUP, "disk '%s': zstd needs libzstd.so.1 (install libzstd1)", options->path);
	if (result)
		return result;
	if (!file->block_device)
		result = disk_file_resize(file, layout.total << layout.cluster_bits);
	else if (file->size < layout.total << layout.cluster_bits)
		result = -ENOSPC;
	if (!result)
		result = write_l1(file, &layout);
	if (!result)
		result = write_refcounts(file, &layout);
	if (!result)
		result = disk_file_flush(file);
	if (!result)
		result = write_header(file, options, &layout);
	if (!result)
		result = disk_file_flush(file);
	return result == -ENAMETOOLONG || !result ? result : log_errno(result, "disk '%s': can't be written", options->path);
}
