/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * For tests: a qcow2 image in memory, checked and read by code that shares nothing with disk/: references against
 * refcounts, and the sectors that a guest would see. No compressed clusters, no external data file.
 */
#ifndef TESTS_UNIT_QCOW2_IMAGE_H
#define TESTS_UNIT_QCOW2_IMAGE_H

#include <check.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/types.h"

struct qcow2_image {
	uint8_t *bytes;
	uint64_t size;
	const uint8_t *backing;		/* raw, or NULL */
	uint64_t backing_size;
	/* read from the header by qcow2_image_check() */
	unsigned int cluster_bits, order, entry_size, l2_bits;
	uint64_t clusters;
	uint64_t *references;
	char wrong[200];		/* the first thing found; "" when it is whole */
	uint64_t leaks;
};

static inline void image_wrong(struct qcow2_image *image, const char *format, ...) printf_like(2, 3);
static inline void image_wrong(struct qcow2_image *image, const char *format, ...)
{
	va_list arguments;

	if (image->wrong[0])
		return;
	va_start(arguments, format);
	vsnprintf(image->wrong, sizeof(image->wrong), format, arguments);
	va_end(arguments);
}

static inline uint64_t image_be64(const struct qcow2_image *image, uint64_t at)
{
	return at + 8 <= image->size ? be64_load(image->bytes + at) : 0;
}

static inline uint32_t image_be32(const struct qcow2_image *image, uint64_t at)
{
	return at + 4 <= image->size ? be32_load(image->bytes + at) : 0;
}

static inline uint64_t image_refcount(const struct qcow2_image *image, uint64_t cluster)
{
	uint64_t per_block = 1ULL << (image->cluster_bits + 3 - image->order), value = 0;
	uint64_t block = image_be64(image, image_be64(image, 48) + cluster / per_block * 8) & ~0x1ffULL;
	unsigned int bits = 1u << image->order;

	if (cluster / per_block >= (uint64_t)image_be32(image, 56) << image->cluster_bits >> 3 || !block)
		return 0;
	if (bits >= 8) {
		for (unsigned int i = 0; i < bits / 8; i++) {
			uint64_t at = block + cluster % per_block * (bits / 8) + i;

			value = value << 8 | (at < image->size ? image->bytes[at] : 0);
		}
		return value;
	}
	block += cluster % per_block * bits / 8;
	return block < image->size ? image->bytes[block] >> (cluster % per_block * bits % 8) & ((1u << bits) - 1) : 0;
}

/* Counts one reference to the clusters of a table or of data. */
static inline void image_reference(struct qcow2_image *image, uint64_t offset, uint64_t length, const char *what)
{
	uint64_t cluster = 1ULL << image->cluster_bits;
	/* the last cluster of those may be cut by the end of the file */
	bool is_table = strcmp(what, "data") && strcmp(what, "snapshots");

	if (offset % cluster || offset > image->size || (is_table && length > image->size - offset)) {
		image_wrong(image, "%s at %#llx: misaligned or outside of %#llx", what, (unsigned long long)offset,
			    (unsigned long long)image->size);
		return;
	}
	for (uint64_t at = offset; at < offset + length; at += cluster)
		if (at >> image->cluster_bits < image->clusters)
			image->references[at >> image->cluster_bits]++;
}

static inline void image_check_copied(struct qcow2_image *image, uint64_t entry, const char *what)
{
	uint64_t offset = entry & 0x00fffffffffffe00ULL, count = image_refcount(image, offset >> image->cluster_bits);

	if (!!(entry >> 63) != (count == 1))
		image_wrong(image, "%s %#llx: refcount %llu against its flag", what, (unsigned long long)entry, (unsigned long long)count);
}

static inline void image_walk(struct qcow2_image *image, uint64_t l1, uint32_t l1_size, bool active)
{
	uint64_t cluster = 1ULL << image->cluster_bits;

	image_reference(image, l1, l1_size * 8ULL, "L1");
	for (uint32_t i = 0; i < l1_size; i++) {
		uint64_t table = image_be64(image, l1 + i * 8ULL), l2 = table & 0x00fffffffffffe00ULL;

		if (!l2)
			continue;
		image_reference(image, l2, cluster, "L2");
		if (active)
			image_check_copied(image, table, "L1 entry");
		for (uint64_t n = 0; n < 1ULL << image->l2_bits; n++) {
			uint64_t entry = image_be64(image, l2 + n * image->entry_size);

			if (entry & (1ULL << 62))
				image_wrong(image, "a compressed cluster");
			if (!(entry & 0x00fffffffffffe00ULL))
				continue;
			image_reference(image, entry & 0x00fffffffffffe00ULL, cluster, "data");
			if (active)
				image_check_copied(image, entry, "L2 entry");
		}
	}
}

static inline void image_walk_snapshots(struct qcow2_image *image)
{
	uint64_t at = image_be64(image, 64), start = at;
	uint32_t count = image_be32(image, 60);

	for (uint32_t i = 0; i < count && at + 40 < image->size; i++) {
		image_walk(image, image_be64(image, at), image_be32(image, at + 8), false);
		at += 40 + image_be32(image, at + 36) + (image_be32(image, at + 12) >> 16) + (image_be32(image, at + 12) & 0xffff);
		at = ALIGN_UP(at, 8);
	}
	if (count)
		image_reference(image, start, at - start, "snapshots");
}

/* Fills @image->wrong and @image->leaks. */
static inline void qcow2_image_check(struct qcow2_image *image)
{
	uint64_t table = image_be64(image, 48), table_bytes;
	bool extended;

	image->wrong[0] = 0;
	image->leaks = 0;
	image->cluster_bits = image_be32(image, 20);
	if (image_be32(image, 0) != 0x514649fb || image->cluster_bits < 9 || image->cluster_bits > 21) {
		image_wrong(image, "no header");
		return;
	}
	extended = image_be32(image, 4) == 3 && image_be64(image, 72) & 16;
	image->order = image_be32(image, 4) == 3 ? image_be32(image, 96) : 4;
	image->entry_size = extended ? 16 : 8;
	image->l2_bits = image->cluster_bits - (extended ? 4 : 3);
	image->clusters = (image->size >> image->cluster_bits) + 1;
	image->references = calloc(image->clusters, sizeof(uint64_t));
	table_bytes = (uint64_t)image_be32(image, 56) << image->cluster_bits;
	image_reference(image, 0, 1, "header");
	image_reference(image, table, table_bytes, "refcount table");
	for (uint64_t i = 0; i < table_bytes; i += 8)
		if (image_be64(image, table + i))
			image_reference(image, image_be64(image, table + i), 1ULL << image->cluster_bits, "refcount block");
	image_walk(image, image_be64(image, 40), image_be32(image, 36), true);
	image_walk_snapshots(image);
	for (uint64_t i = 0; i < image->clusters; i++) {
		uint64_t count = image_refcount(image, i);

		if (count < image->references[i])
			image_wrong(image, "cluster %#llx: refcount %llu, referred to %llu times", (unsigned long long)i << image->cluster_bits,
				    (unsigned long long)count, (unsigned long long)image->references[i]);
		image->leaks += count > image->references[i];
	}
	free(image->references);
}

/* The 512 bytes of the guest's disk at @offset, of a checked image; NULL: zeroes. */
static inline const uint8_t *qcow2_image_sector(const struct qcow2_image *image, uint64_t offset)
{
	uint64_t cluster = offset >> image->cluster_bits, in_cluster = offset & ((1ULL << image->cluster_bits) - 1);
	uint64_t l2 = image_be64(image, image_be64(image, 40) + (cluster >> image->l2_bits) * 8) & 0x00fffffffffffe00ULL;
	uint64_t at = l2 + (cluster & ((1ULL << image->l2_bits) - 1)) * image->entry_size;
	uint64_t entry = l2 ? image_be64(image, at) : 0, host = entry & 0x00fffffffffffe00ULL;
	bool zero = entry & 1, data = host != 0;

	if (image->entry_size == 16) {
		uint64_t bitmap = l2 ? image_be64(image, at + 8) : 0;
		unsigned int unit = (unsigned int)(in_cluster >> (image->cluster_bits - 5));

		zero = bitmap >> (unit + 32) & 1;
		data = bitmap >> unit & 1;
	}
	if (zero)
		return NULL;
	if (data)
		return host + in_cluster + 512 <= image->size ? image->bytes + host + in_cluster : NULL;
	return image->backing && offset + 512 <= image->backing_size ? image->backing + offset : NULL;
}

#endif
