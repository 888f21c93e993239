/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The header of a qcow2 image and its extensions, read and checked: nothing is allocated by a size that the image
 * says and this file has not bounded.
 */
#include <stdio.h>
#include <string.h>

#include "disk/compression.h"
#include "disk/qcow2.h"
#include "kvm/log.h"

#define EXTENSION_END		0u
#define EXTENSION_BACKING	0xe2792acau
#define EXTENSION_FEATURES	0x6803f857u
#define EXTENSION_DATA_FILE	0x44415441u

struct header {
	be32 magic, version;
	be64 backing_offset;
	be32 backing_size, cluster_bits;
	be64 size;
	be32 crypt_method, l1_size;
	be64 l1_offset, refcount_table_offset;
	be32 refcount_table_clusters, snapshots;
	be64 snapshots_offset;
	/* version 3 */
	be64 incompatible, compatible, autoclear;
	be32 refcount_order, header_length;
	uint8_t compression_type, padding[7];
} __packed;
_Static_assert(sizeof(struct header) == 112, "qcow2: the header with its first additional field");

#define HEADER_V2	72u
#define HEADER_V3	104u

struct feature {
	uint8_t type, bit;
	char name[46];
} __packed;

/* ---- refusals ---- */

static int refuse(const struct qcow2 *q, int error, const char *format, ...) printf_like(3, 4);
static int refuse(const struct qcow2 *q, int error, const char *format, ...)
{
	va_list arguments;
	char what[256];

	va_start(arguments, format);
	vsnprintf(what, sizeof(what), format, arguments);
	va_end(arguments);
	return log_error(error, "disk '%s': qcow2: %s", q->file->path, what);
}

static int header_check_shape(struct qcow2 *q, const struct header *header)
{
	uint32_t crypt = be32_get(header->crypt_method);

	if (be32_get(header->magic) != QCOW2_MAGIC)
		return refuse(q, EMEDIUMTYPE, "not a qcow2 image");
	if (q->version < 2 || q->version > 3)
		return refuse(q, ENOTSUP, "version %u is not known (2 and 3 are)", q->version);
	if (q->cluster_bits < 9 || q->cluster_bits > 21)
		return refuse(q, EINVAL, "clusters of 2^%u bytes (512 to 2 MiB can be)", q->cluster_bits);
	if (q->header_length < (q->version == 3 ? HEADER_V3 : HEADER_V2) || q->header_length % 8 || q->header_length > q->cluster_size)
		return refuse(q, EINVAL, "a header of %u bytes", q->header_length);
	if (crypt)
		return refuse(q, ENOTSUP, "encrypted (%s), which can't be read", crypt == 1 ? "AES" : crypt == 2 ? "LUKS" : "unknown method");
	if (q->refcount_order > 6)
		return refuse(q, EINVAL, "refcounts of 2^%u bits", q->refcount_order);
	return 0;
}

/* Whether [@offset, @offset + @length) can be a table: a cluster's start, not the header, inside the file. */
static bool table_fits(const struct qcow2 *q, uint64_t offset, uint64_t length)
{
	return offset && !qcow2_offset_in_cluster(q, offset) && range_contains(0, q->file->size, offset, length);
}

int qcow2_check_l1(const struct qcow2 *q)
{
	uint32_t l1_shift = q->cluster_bits + q->l2_bits;
	uint64_t needed = l1_shift > 62 ? 1 : (q->size >> l1_shift) + !!(q->size & (BIT(l1_shift) - 1));

	if (q->size > INT64_MAX)
		return refuse(q, EFBIG, "a disk of %llu bytes", (unsigned long long)q->size);
	if (q->l1_size > QCOW2_MAX_L1_BYTES / sizeof(uint64_t))
		return refuse(q, EFBIG, "an L1 table of %u entries (%llu can be)", q->l1_size,
			      QCOW2_MAX_L1_BYTES / sizeof(uint64_t) + 0ULL);
	if (q->l1_size < needed)
		return refuse(q, EINVAL, "its L1 table has %u entries, and its size needs %llu", q->l1_size, (unsigned long long)needed);
	if (q->l1_size && !table_fits(q, q->l1_offset, q->l1_size * sizeof(uint64_t)))
		return refuse(q, EINVAL, "its L1 table lies at %llu, misaligned or past the end of the file",
			      (unsigned long long)q->l1_offset);
	return 0;
}

static int header_check_tables(struct qcow2 *q)
{
	uint64_t refcounts = (uint64_t)q->refcount_table_clusters << q->cluster_bits;
	int result = qcow2_check_l1(q);

	if (result)
		return result;
	if (!refcounts || refcounts > QCOW2_MAX_REFCOUNT_TABLE)
		return refuse(q, EFBIG, "a refcount table of %u clusters", q->refcount_table_clusters);
	if (!table_fits(q, q->refcount_table_offset, refcounts))
		return refuse(q, EINVAL, "its refcount table lies at %llu, misaligned or past the end of the file",
			      (unsigned long long)q->refcount_table_offset);
	if (q->snapshots > QCOW2_MAX_SNAPSHOTS)
		return refuse(q, EFBIG, "%u snapshots", q->snapshots);
	if (q->snapshots && !table_fits(q, q->snapshots_offset, 1))
		return refuse(q, EINVAL, "its snapshot table lies at %llu, misaligned or past the end of the file",
			      (unsigned long long)q->snapshots_offset);
	return 0;
}

/* ---- features ---- */

/* The image's own name for incompatible feature @bit, from its table of @length bytes at @table. */
static int refuse_feature(struct qcow2 *q, unsigned int bit, const uint8_t *table, size_t length)
{
	for (; length >= sizeof(struct feature); table += sizeof(struct feature), length -= sizeof(struct feature)) {
		const struct feature *feature = (const struct feature *)table;
		char name[sizeof(feature->name) + 1] = "";

		if (feature->type || feature->bit != bit)
			continue;
		for (size_t i = 0; i < sizeof(feature->name) && feature->name[i]; i++)
			name[i] = feature->name[i] < ' ' || feature->name[i] > '~' ? '?' : feature->name[i];
		return refuse(q, ENOTSUP, "needs the feature '%s', which is not known", name);
	}
	return refuse(q, ENOTSUP, "needs incompatible feature bit %u, which is not known", bit);
}

static int header_check_features(struct qcow2 *q, const uint8_t *table, size_t length)
{
	uint64_t unknown = q->incompatible & ~(uint64_t)QCOW2_INCOMPATIBLE_KNOWN;
	bool read_only = q->disk->info.read_only;

	if (unknown)
		return refuse_feature(q, (unsigned int)__builtin_ctzll(unknown), table, length);
	if (q->extended && q->cluster_bits < 14)
		return refuse(q, EINVAL, "extended L2 entries with clusters of %u bytes", q->cluster_size);
	if (!!(q->incompatible & QCOW2_COMPRESSION_TYPE) != !!q->compression_type)
		return refuse(q, EINVAL, "compression type %u against its feature bit", q->compression_type);
	q->compression = disk_compression(q->compression_type);
	if (!q->compression)
		return refuse(q, ENOTSUP, "compressed by %s",
			      q->compression_type == 1 ? "zstd, which needs libzstd.so.1 (install libzstd1)" : "an unknown method");
	if ((q->incompatible & QCOW2_CORRUPT) && !read_only)
		return refuse(q, EROFS, "marked corrupt: repair it (lkvm disk check --repair), or add ',ro'");
	if ((q->incompatible & QCOW2_DATA_FILE) && !read_only)
		return refuse(q, EROFS, "has an external data file, which can be read only (add ',ro')");
	return 0;
}

/* ---- extensions and names ---- */

static int take_string(struct qcow2 *q, char **to, const uint8_t *from, size_t length, const char *what)
{
	if (*to || length > 1023 || memchr(from, 0, length))
		return refuse(q, EINVAL, "%s that is twice there, too long or no string", what);
	*to = strndup((const char *)from, length);
	return *to ? 0 : refuse(q, ENOMEM, "no memory");
}

struct extensions {
	const uint8_t *features;
	size_t features_length;
};

static int header_read_extensions(struct qcow2 *q, const uint8_t *cluster, size_t end, struct extensions *found)
{
	size_t at = q->header_length;
	int result = 0;

	while (!result && at + 8 <= end) {
		uint32_t type = be32_load(cluster + at), length = be32_load(cluster + at + 4);

		at += 8;
		if (type == EXTENSION_END)
			break;
		if (length > end - at)
			return refuse(q, EINVAL, "a header extension of %u bytes, past the header's end", length);
		if (type == EXTENSION_BACKING)
			result = take_string(q, &q->backing_format, cluster + at, length, "a backing format");
		else if (type == EXTENSION_DATA_FILE)
			result = take_string(q, &q->data_file_name, cluster + at, length, "a data file's name");
		else if (type == EXTENSION_FEATURES)
			*found = (struct extensions){ cluster + at, length };
		at += ALIGN_UP((size_t)length, 8);
	}
	return result;
}

static int header_read_backing(struct qcow2 *q, const struct header *header, const uint8_t *cluster)
{
	uint64_t offset = be64_get(header->backing_offset);
	uint32_t length = be32_get(header->backing_size);

	if (!offset || !length)
		return 0;
	if (length > 1023 || offset < q->header_length || !range_contains(0, q->cluster_size, offset, length))
		return refuse(q, EINVAL, "a backing file's name of %u bytes at %llu", length, (unsigned long long)offset);
	return take_string(q, &q->backing_name, cluster + offset, length, "a backing file's name");
}

/* ---- the whole ---- */

static void header_take(struct qcow2 *q, const struct header *header)
{
	q->version = be32_get(header->version);
	q->cluster_bits = be32_get(header->cluster_bits);
	q->cluster_size = q->cluster_bits < 32 ? 1u << q->cluster_bits : 0;
	q->size = be64_get(header->size);
	q->l1_size = be32_get(header->l1_size);
	q->l1_offset = be64_get(header->l1_offset);
	q->refcount_table_offset = be64_get(header->refcount_table_offset);
	q->refcount_table_clusters = be32_get(header->refcount_table_clusters);
	q->snapshots = be32_get(header->snapshots);
	q->snapshots_offset = be64_get(header->snapshots_offset);
	q->refcount_order = 4;
	q->header_length = HEADER_V2;
	if (q->version < 3)
		return;
	q->incompatible = be64_get(header->incompatible);
	q->compatible = be64_get(header->compatible);
	q->autoclear = be64_get(header->autoclear);
	q->refcount_order = be32_get(header->refcount_order);
	q->header_length = be32_get(header->header_length);
	if (q->header_length > offsetof(struct header, compression_type))
		q->compression_type = header->compression_type;
}

static void header_derive(struct qcow2 *q)
{
	q->extended = q->incompatible & QCOW2_EXTENDED_L2;
	q->entry_size = q->extended ? 16 : 8;
	q->l2_bits = q->cluster_bits - (q->extended ? 4 : 3);
	q->unit_bits = q->cluster_bits - (q->extended ? 5 : 0);
}

static int header_read_rest(struct qcow2 *q, const struct header *header)
{
	_cleanup_free_ uint8_t *cluster = malloc(MAX(q->cluster_size, 512u));
	uint64_t backing = be64_get(header->backing_offset);
	struct extensions found = { NULL, 0 };
	int result;

	if (!cluster)
		return refuse(q, ENOMEM, "no memory");
	result = disk_file_read(q->file, 0, cluster, q->cluster_size);
	if (result)
		return log_errno(result, "disk '%s': can't be read", q->file->path);
	result = header_read_extensions(q, cluster, backing && backing < q->cluster_size ? backing : q->cluster_size, &found);
	if (!result)
		result = header_check_features(q, found.features, found.features_length);
	if (!result)
		result = header_read_backing(q, header, cluster);
	return result ? result : header_check_tables(q);
}

int qcow2_read_header(struct qcow2 *q)
{
	struct header header;
	int result = disk_file_read(q->file, 0, &header, sizeof(header));

	if (result)
		return log_errno(result, "disk '%s': can't be read", q->file->path);
	header_take(q, &header);
	result = header_check_shape(q, &header);
	if (result)
		return result;
	header_derive(q);
	return header_read_rest(q, &header);
}
