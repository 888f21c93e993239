/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside the qcow2 format (QEMU's docs/interop/qcow2.txt, versions 2 and 3): what its files share.
 *
 * Tables are read and written synchronously on the disk's loop, through one bounded cache of slices; guest data
 * goes through the engine. Every number of the image is hostile until it was checked here.
 */
#ifndef DISK_QCOW2_H
#define DISK_QCOW2_H

#include "disk/engine.h"
#include "disk/file.h"

#define QCOW2_MAGIC			0x514649fbu

enum {
	QCOW2_DIRTY			= 1u << 0,
	QCOW2_CORRUPT			= 1u << 1,
	QCOW2_DATA_FILE			= 1u << 2,
	QCOW2_COMPRESSION_TYPE		= 1u << 3,
	QCOW2_EXTENDED_L2		= 1u << 4,
	QCOW2_INCOMPATIBLE_KNOWN	= (1u << 5) - 1,
};

#define QCOW2_COPIED			(1ULL << 63)
#define QCOW2_COMPRESSED		(1ULL << 62)
#define QCOW2_ZERO			1ULL
#define QCOW2_OFFSET			0x00fffffffffffe00ULL	/* of an L1 entry, and of an L2 entry for a standard cluster */
#define QCOW2_REFCOUNT_OFFSET		0xfffffffffffffe00ULL

#define QCOW2_MAX_L1_BYTES		MIB(32)			/* as QEMU's */
#define QCOW2_MAX_REFCOUNT_TABLE	MIB(8)
#define QCOW2_MAX_SNAPSHOTS		65536u
#define QCOW2_SUBCLUSTERS		32u
/* The whole cache of a disk: 256 slices of 4 KiB map 8 GiB at the usual cluster size. */
#define QCOW2_CACHE_BYTES		MIB(1)
#define QCOW2_CACHE_WAYS		8u

/* Offsets of the header's fields that are written. */
enum {
	QCOW2_AT_SIZE			= 24,
	QCOW2_AT_L1			= 36,
	QCOW2_AT_REFCOUNT_TABLE		= 48,
	QCOW2_AT_INCOMPATIBLE		= 72,
	QCOW2_AT_AUTOCLEAR		= 88,
};

struct qcow2_slice {
	uint64_t offset;		/* 0: free, since the header lies there */
	uint64_t used;			/* when, on the cache's clock */
	bool dirty;
	bool is_map;			/* dirty and part of an L2 table: ordered behind refcounts and data */
};

struct qcow2_cache {
	uint32_t slice_bits, sets;
	uint64_t clock;
	unsigned int dirty, dirty_maps;
	struct qcow2_slice *slices;	/* sets x QCOW2_CACHE_WAYS */
	uint8_t *memory;
};

struct qcow2 {
	struct disk *disk;
	struct disk_file *file;
	struct disk_file *data_file;	/* where guest clusters lie: @file, or the external data file */

	/* the header */
	uint32_t version, cluster_bits, refcount_order, header_length, snapshots;
	uint64_t snapshots_offset, size, incompatible, compatible, autoclear;
	uint32_t l1_size;
	uint64_t l1_offset;
	uint64_t refcount_table_offset;
	uint32_t refcount_table_clusters;
	uint8_t compression_type;
	char *backing_name, *backing_format, *data_file_name;

	/* what follows from it */
	uint32_t cluster_size;
	bool extended;
	uint32_t entry_size;		/* of L2: 8 or 16 */
	uint32_t l2_bits;		/* log2 of the entries of an L2 table */
	uint32_t unit_bits;		/* what can be mapped by itself: a cluster, or a subcluster */

	uint64_t *l1;			/* in the host's byte order, as the two below */
	struct qcow2_cache cache;

	const struct disk_decompressor *decompressor;
	uint8_t *decompressed;		/* the cluster that was last expanded */
	uint64_t decompressed_entry;	/* its L2 entry; 0: none */
	bool complained;		/* one line about a broken image is enough */
};

/* ---- the header (disk/qcow2-header.c) ---- */

/** qcow2_read_header() - reads and checks it; says one line on failure */
int __must_check qcow2_read_header(struct qcow2 *q);

/* ---- cached slices of tables (disk/qcow2-cache.c) ---- */

int __must_check qcow2_cache_init(struct qcow2 *q);
void qcow2_cache_exit(struct qcow2 *q);
/** qcow2_cache_get() - the slice in which the file's @offset lies, at that offset; valid until the next call */
int __must_check qcow2_cache_get(struct qcow2 *q, uint64_t offset, void **at);

/* ---- where guest clusters lie (disk/qcow2-map.c) ---- */

enum qcow2_kind { QCOW2_KIND_HOLE, QCOW2_KIND_ZERO, QCOW2_KIND_DATA, QCOW2_KIND_COMPRESSED };

/** struct qcow2_run - a run of the guest's disk that is mapped alike, and in a row */
struct qcow2_run {
	enum qcow2_kind kind;
	uint64_t length;
	uint64_t host;			/* DATA: where in the data file */
	uint64_t entry, bitmap;		/* the first cluster's L2 entry */
};

int __must_check qcow2_read_l1(struct qcow2 *q);
/** qcow2_lookup() - how the image itself maps the bytes from @offset on, at most @length (not 0) of them */
int __must_check qcow2_lookup(struct qcow2 *q, uint64_t offset, uint64_t length, struct qcow2_run *run);
/** qcow2_broken() - says once what is wrong with the image; returns -EIO */
int qcow2_broken(struct qcow2 *q, const char *what, uint64_t where);

/* ---- compressed clusters (disk/qcow2-compressed.c) ---- */

/** qcow2_compressed_place() - the bytes of the file that an L2 entry names */
void qcow2_compressed_place(const struct qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *length);
/** qcow2_decompress() - expands the cluster of @entry into q->decompressed */
int __must_check qcow2_decompress(struct qcow2 *q, uint64_t entry);

/* ---- for tools (disk/qcow2-create.c, disk/qcow2-describe.c) ---- */

int __must_check qcow2_create(struct disk_file *file, const struct image_options *options);
int __must_check qcow2_describe(struct disk *disk, json_t *facts);

static inline uint64_t qcow2_offset_in_cluster(const struct qcow2 *q, uint64_t offset)
{
	return offset & (q->cluster_size - 1);
}

#endif
