/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Images outside of VMs: making, describing, copying and mending them, for `lkvm disk`.
 *
 * Every call waits until it is done, and says one line when it fails. An image is in use by its locks while it is
 * open here, as it is in a VM.
 */
#ifndef KVM_IMAGE_H
#define KVM_IMAGE_H

#include <jansson.h>

#include "kvm/disk.h"

struct image_options {
	const char *path;
	const char *at;			/* where the file is made until it is whole, in the same folder; NULL: @path */
	const char *format;		/* NULL: qcow2 when the name ends so or there is a backing image, else raw */
	uint64_t size;			/* bytes; 0: the backing image's */
	const char *backing;		/* as it is to stand in the image: a relative name is relative to the image */
	const char *backing_format;	/* NULL: probed, and what is found stands in the image */
	uint32_t cluster_size;		/* 0: the format's own choice */
	const char *subformat;		/* VHD: "dynamic" (NULL) or "fixed" */
	bool extended_l2, lazy_refcounts, zstd;
	bool force;			/* over a file that exists */
};

/** image_create() - a file that was made for an image that can't be is taken away again */
int __must_check image_create(const struct image_options *options);

/** struct image - an open image, as disk_open() opens it, and a loop of its own when it is written */
struct image {
	struct disk *disk;
	struct event_loop *loop;
};

int __must_check image_open(struct image *image, const struct disk_options *options);
/** image_close() - writes what is left to write; 0 if @image was never opened */
int image_close(struct image *image);

/* What a range of an image is, with what lies behind the image. */
struct image_extent {
	uint64_t length;
	bool zero;			/* reads as zeroes */
	bool allocated;			/* by an image of the chain; holes are not */
	bool compressed;
	unsigned int depth;		/* of the image that has it: 0 is the one in front */
	const char *file;		/* DATA: where it lies, else NULL */
	uint64_t offset;		/* DATA: in that file */
};

/** image_map() - what lies at @offset, at most @length bytes of it, which lie inside the disk */
int __must_check image_map(struct image *image, uint64_t offset, uint64_t length, struct image_extent *extent);
/** image_read() - zeroes past the end */
int __must_check image_read(struct image *image, uint64_t offset, void *buffer, size_t length);
int __must_check image_write(struct image *image, uint64_t offset, const void *buffer, size_t length);
int __must_check image_write_zeroes(struct image *image, uint64_t offset, uint64_t length);
int __must_check image_flush(struct image *image);

/** image_describe() - the facts of disk @depth of the chain, by QEMU's names; NULL: no such depth, or no memory */
json_t *image_describe(struct image *image, unsigned int depth);

/** image_resize() - gains read as zeroes; a smaller size needs @shrink */
int __must_check image_resize(struct image *image, uint64_t size, bool shrink);

/**
 * struct image_progress - how far a long call has come
 * @at: @done of @total bytes, the latter never 0; a negative errno ends the call with that, and it says nothing more
 */
struct image_progress {
	int (*at)(struct image_progress *progress, uint64_t done, uint64_t total);
};

struct image_check {
	/* the caller's, or NULL: hears of each problem; is told how far it has come */
	void (*say)(struct image_check *check, const char *line);
	struct image_progress *progress;
	/* found */
	bool checked;			/* the format has something to check */
	uint64_t corruptions, leaks;	/* those that are left */
	uint64_t corruptions_fixed, leaks_fixed;
	uint64_t clusters, allocated;
};

/**
 * image_check() - looks for what is wrong; a disk whose format has nothing to check is as it should be
 * @repair: mends what can be mended without a guess; the image was opened with repair set
 */
int __must_check image_check(struct image *image, bool repair, struct image_check *found);

/** image_snapshots() - those inside of the image, oldest first, by QEMU's names; NULL (said) */
json_t *image_snapshots(struct image *image);

enum image_snapshot_change { IMAGE_SNAPSHOT_CREATE, IMAGE_SNAPSHOT_APPLY, IMAGE_SNAPSHOT_DELETE };

/** image_snapshot() - of the disk as it is; the disk as it was then; that one no more */
int __must_check image_snapshot(struct image *image, enum image_snapshot_change change, const char *name);

/* ---- whole images ---- */

struct image_copy {
	struct image_progress *progress;	/* or NULL */
	bool compress;
	bool zeroed;				/* the target reads as zeroes: those need not be written */
};

/** image_copy() - the disk in @from to that in @to, which is no smaller; blocks of zeroes become holes */
int __must_check image_copy(struct image *from, struct image *to, const struct image_copy *how);

/**
 * image_convert() - makes image @target with the disk of @source; how->zeroed is found out
 *
 * What is at the target's path stays until the new image is whole, except on a block device.
 */
int __must_check image_convert(const struct disk_options *source, const struct image_options *target, const struct image_copy *how);

/** image_commit() - writes what an image holds to the one behind it; then that is all it shows, unless @keep */
int __must_check image_commit(const struct disk_options *options, bool keep, struct image_progress *progress);

struct image_rebase {
	const char *name;			/* as it is to stand in the image; NULL: nothing lies behind it */
	const char *format;			/* NULL: probed, and what is found stands in the image */
	bool unsafe;				/* what is there shows the same as what was */
};

/** image_rebase() - puts something else behind an image, which first takes over what would not be seen any more */
int __must_check image_rebase(const struct disk_options *options, const struct image_rebase *how, struct image_progress *progress);

struct image_difference {
	bool sizes, contents;
	uint64_t offset;			/* of the first byte that differs */
};

/** image_compare() - what lies past the end of the smaller disk counts as zeroes */
int __must_check image_compare(struct image *a, struct image *b, struct image_progress *progress, struct image_difference *found);

#endif
