/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * I/O limits of a disk. disk/limits.c is the arithmetic, without a clock of its own; disk/throttle.c holds requests
 * back by it.
 */
#ifndef DISK_LIMITS_H
#define DISK_LIMITS_H

#include "kvm/disk.h"

/* How full a limit's two buckets are; see disk_buckets_wait(). */
struct disk_bucket {
	double level, burst_level;
};

struct disk_buckets {
	struct disk_limits limits;
	struct disk_bucket ops[DISK_LIMIT_KINDS], bytes[DISK_LIMIT_KINDS];
	uint64_t now_ns;		/* as of when */
};

/** disk_limits_check() - whether they can be together; if not, @why says it with the options' names */
int __must_check disk_limits_check(const struct disk_limits *limits, char *why, size_t size);
/** disk_limits_any() - whether there is a limit at all */
bool disk_limits_any(const struct disk_limits *limits);
/**
 * disk_limits_fill() - all zero, and then what @get knows by the names that QEMU gives them: "bps_rd_max" and the like
 * @get: 1 with a value, 0: that is not set, or a negative errno (said), which is passed on
 */
int __must_check disk_limits_fill(struct disk_limits *limits, int (*get)(void *opaque, const char *name, uint64_t *value),
				  void *opaque);

/** disk_buckets_set() - from now on these limits, and empty buckets */
void disk_buckets_set(struct disk_buckets *buckets, const struct disk_limits *limits, uint64_t now_ns);
/** disk_buckets_wait() - for how many nanoseconds from @now_ns on a read or write must wait; 0: none */
uint64_t disk_buckets_wait(struct disk_buckets *buckets, bool write, uint64_t now_ns);
/** disk_buckets_charge() - a read or write of so many bytes goes */
void disk_buckets_charge(struct disk_buckets *buckets, bool write, uint64_t bytes);

/* ---- on a disk's loop (disk/throttle.c) ---- */

/** disk_throttle_set() - limits, or none */
int __must_check disk_throttle_set(struct disk *disk, const struct disk_limits *limits);
/** disk_throttle_limits() - those that are set, or NULL */
const struct disk_limits *disk_throttle_limits(const struct disk *disk);
/** disk_throttle_attach() - disk->engine->loop is there; disk_throttle_detach() with nothing held */
void disk_throttle_attach(struct disk *disk);
void disk_throttle_detach(struct disk *disk);
/** disk_throttle_pass() - leaves in disk->queued what may go now, and keeps the rest for later */
void disk_throttle_pass(struct disk *disk);
/** disk_throttle_open() - while @open, all may go */
void disk_throttle_open(struct disk *disk, bool open);
void disk_throttle_free(struct disk *disk);

#endif
