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
#define QCOW2_GROWTH			MIB(1)			/* the file grows by steps, and is cut at the close */

/* Offsets of the header's fields that are written. */
enum {
	QCOW2_AT_SIZE			= 24,
	QCOW2_AT_L1			= 36,
	QCOW2_AT_REFCOUNT_TABLE		= 48,
	QCOW2_AT_SNAPSHOTS		= 60,
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

/* Clusters that nothing will refer to once the tables are written. */
struct qcow2_freed {
	uint64_t cluster, count;
};

struct qcow2_job;

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
	uint64_t *refcount_table;
	uint64_t refcount_blocks;	/* its entries */
	struct qcow2_cache cache;

	/* writing */
	uint64_t free_hint;		/* cluster: none below it is free */
	uint64_t fresh;			/* from here on the file was never used, and reads as zeroes */
	uint32_t l1_dirty_first, l1_dirty_end;
	struct qcow2_freed *freed;
	size_t freed_count, freed_room;
	uint64_t leaked;		/* clusters that couldn't be given back */
	bool begun;			/* the header says that we write */

	/* requests, in the order of their coming */
	struct qcow2_job *jobs, **jobs_tail;
	unsigned int exclusive, waiting;	/* among them */
	uint64_t bounced;		/* bytes of copy-on-write buffers */
	bool retrying, ended;		/* the waiting ones are being looked at; one has ended since */

	const struct disk_compression *compression;
	uint8_t *decompressed;		/* the cluster that was last expanded */
	uint64_t decompressed_entry;	/* its L2 entry; 0: none */
	uint64_t packed_end;		/* where in the file the last one written ends, with room behind it; 0: none */
	bool complained;		/* one line about a broken image is enough */
};

/* ---- the header (disk/qcow2-header.c) ---- */

/** qcow2_read_header() - reads and checks it; says one line on failure */
int __must_check qcow2_read_header(struct qcow2 *q);
/** qcow2_check_l1() - whether q->l1_offset and q->l1_size can be, and are enough for q->size; says one line if not */
int __must_check qcow2_check_l1(const struct qcow2 *q);

/* ---- marks (disk/qcow2-marks.c) ---- */

/** qcow2_broken() - says once what is wrong with the tables; who writes the image writes no more; returns -EIO */
int qcow2_broken(struct qcow2 *q, const char *what, uint64_t where);
/** qcow2_complain() - the same where only data is lost, or a snapshot */
int qcow2_complain(struct qcow2 *q, const char *what, uint64_t where);
/** qcow2_mend_dirty() - makes the refcounts of an image that was not closed what its references say; says why not */
int __must_check qcow2_mend_dirty(struct qcow2 *q);

/* ---- cached slices of tables (disk/qcow2-cache.c) ---- */

int __must_check qcow2_cache_init(struct qcow2 *q);
void qcow2_cache_exit(struct qcow2 *q);
/** qcow2_cache_get() - the slice in which the file's @offset lies, at that offset; valid until the next call */
int __must_check qcow2_cache_get(struct qcow2 *q, uint64_t offset, void **at);

/** qcow2_cache_get_dirty() - as qcow2_cache_get(), for a change; @is_map: of an L2 table */
int __must_check qcow2_cache_get_dirty(struct qcow2 *q, uint64_t offset, bool is_map, void **at);
/** qcow2_cache_write() - writes dirty slices: of L2 tables, or of refcounts; see disk/qcow2-order.c */
int __must_check qcow2_cache_write(struct qcow2 *q, bool maps);
/** qcow2_cache_drop() - forgets whatever is cached of a range that becomes something else */
void qcow2_cache_drop(struct qcow2 *q, uint64_t offset, uint64_t length);

/* ---- refcounts (disk/qcow2-refcount.c, disk/qcow2-grow.c) ---- */

uint64_t qcow2_clusters_in_block(const struct qcow2 *q);
int __must_check qcow2_read_refcount_table(struct qcow2 *q);
int __must_check qcow2_refcount_get(struct qcow2 *q, uint64_t cluster, uint64_t *value);
int __must_check qcow2_refcount_set(struct qcow2 *q, uint64_t cluster, uint64_t value);
/** qcow2_refcount_drop() - one less; @freed: that was the last */
int __must_check qcow2_refcount_drop(struct qcow2 *q, uint64_t cluster, bool *freed);
void qcow2_refcount_entry_set(uint8_t *block, uint32_t order, uint64_t index, uint64_t value);
uint64_t qcow2_refcount_entry_get(const uint8_t *block, uint32_t order, uint64_t index);
/** qcow2_refcount_cover() - there is a refcount block for @cluster, if need be in that very cluster */
int __must_check qcow2_refcount_cover(struct qcow2 *q, uint64_t cluster);
/**
 * qcow2_allocate() - takes up to @wanted free clusters that lie in a row
 * @zeroed: they read as zeroes
 */
int __must_check qcow2_allocate(struct qcow2 *q, uint64_t wanted, uint64_t *host, uint64_t *count, bool *zeroed);
/** qcow2_unallocate() - gives one back that nothing refers to yet; returns @result, as it is for error paths */
int qcow2_unallocate(struct qcow2 *q, uint64_t host, int result);
/** qcow2_file_reach() - the file is at least @end bytes long */
int __must_check qcow2_file_reach(struct qcow2 *q, uint64_t end);

/* ---- the order of writes (disk/qcow2-order.c) ---- */

/** qcow2_free_later() - drops a reference to each of @count clusters once the tables that had them are written */
void qcow2_free_later(struct qcow2 *q, uint64_t host, uint64_t count);
/** qcow2_free_entry_later() - the same for what an L2 entry refers to */
void qcow2_free_entry_later(struct qcow2 *q, uint64_t entry);
void qcow2_l1_set(struct qcow2 *q, uint32_t index, uint64_t entry);
/** qcow2_maps_dirty() - whether a flush by the guest must write tables */
bool qcow2_maps_dirty(const struct qcow2 *q);
/** qcow2_write_maps() - steps 1 to 3 of the order */
int __must_check qcow2_write_maps(struct qcow2 *q);
/** qcow2_write_back() - all steps; what the guest has written is then on the medium */
int __must_check qcow2_write_back(struct qcow2 *q);
/** qcow2_write_all() - lowered refcounts too, at the close */
int __must_check qcow2_write_all(struct qcow2 *q);

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
/** qcow2_entry_get() - the L2 entry of a guest cluster; 0 where there is no table */
int __must_check qcow2_entry_get(struct qcow2 *q, uint64_t cluster, uint64_t *entry, uint64_t *bitmap);
/** qcow2_entry_set() - in the cache; qcow2_table_own() came before */
int __must_check qcow2_entry_set(struct qcow2 *q, uint64_t cluster, uint64_t entry, uint64_t bitmap);
/** qcow2_table_own() - the L2 table of a guest cluster is there, and no snapshot's too */
int __must_check qcow2_table_own(struct qcow2 *q, uint64_t cluster);

/* ---- compressed clusters (disk/qcow2-compressed.c) ---- */

/** qcow2_compressed_place() - the bytes of the file that an L2 entry names */
void qcow2_compressed_place(const struct qcow2 *q, uint64_t entry, uint64_t *offset, uint64_t *length);
/** qcow2_decompress() - expands the cluster of @entry into q->decompressed */
int __must_check qcow2_decompress(struct qcow2 *q, uint64_t entry);
/** qcow2_compress() - struct disk_format's */
int __must_check qcow2_compress(struct disk *disk, uint64_t offset, const uint8_t *data, size_t length);

/* ---- for tools (disk/qcow2-create.c, disk/qcow2-describe.c) ---- */

int __must_check qcow2_create(struct disk_file *file, const struct image_options *options);
int __must_check qcow2_describe(struct disk *disk, json_t *facts);
int __must_check qcow2_check(struct disk *disk, bool repair, struct image_check *found);
int __must_check qcow2_set_backing(struct disk *disk, const char *name, const char *format);
int __must_check qcow2_empty(struct disk *disk);
int __must_check qcow2_resize(struct disk *disk, uint64_t size);
extern const struct disk_snapshots qcow2_snapshot_operations;

/* ---- writing guest clusters (disk/qcow2-plan.c, disk/qcow2-zero.c) ---- */

struct qcow2_change {
	uint64_t cluster;		/* the guest's */
	uint64_t entry, bitmap;		/* what its L2 entry becomes */
	uint64_t old_entry;
	bool allocated;			/* entry's host cluster is new */
};

struct qcow2_place {
	uint64_t host, length;
};

/*
 * How a write will go: the guest's data, with what copy-on-write puts in front of it and behind, to places in the
 * file; and when all that is written, what changes in L2.
 */
struct qcow2_plan {
	uint64_t start, end;		/* of the guest's disk, with what is copied */
	uint8_t *head, *tail;
	size_t head_length, tail_length;
	struct qcow2_change *changes;
	size_t change_count;
	struct qcow2_place *places;
	size_t place_count;
};

/** qcow2_write_in_place() - whether a write needs no plan: all its clusters are there and nobody else's */
int __must_check qcow2_write_in_place(struct qcow2 *q, uint64_t offset, uint64_t length, bool *in_place);
/** qcow2_plan_write() - allocates, and reads what must be copied; on failure nothing is left */
int __must_check qcow2_plan_write(struct qcow2 *q, uint64_t offset, uint64_t length, struct qcow2_plan *plan);
/** qcow2_plan_end() - enters the changes, or with a @result that is an error gives back what was allocated */
int __must_check qcow2_plan_end(struct qcow2 *q, struct qcow2_plan *plan, int result);
/** qcow2_write_now() - writes synchronously, @data NULL: zeroes; nothing else may be under way on these clusters */
int __must_check qcow2_write_now(struct qcow2 *q, uint64_t offset, const uint8_t *data, uint64_t length);
/** qcow2_zero_range(), qcow2_discard_range() - for a whole request; as qcow2_write_now() */
int __must_check qcow2_zero_range(struct qcow2 *q, uint64_t offset, uint64_t length, bool may_unmap);
int __must_check qcow2_discard_range(struct qcow2 *q, uint64_t offset, uint64_t length);

/* ---- requests (disk/qcow2-io.c) ---- */

void qcow2_submit(struct disk *disk);
/** qcow2_begin_writing() - before the first change of an open image */
int __must_check qcow2_begin_writing(struct qcow2 *q);

static inline uint64_t qcow2_offset_in_cluster(const struct qcow2 *q, uint64_t offset)
{
	return offset & (q->cluster_size - 1);
}

#endif
