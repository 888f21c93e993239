/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * I/O limits by leaky buckets, as QEMU's users know them: for requests and for bytes, in all or reads and writes
 * apart. What is done is poured into a bucket that leaks at the limit's rate; a request must wait while it is over its
 * brim, and may then be of any size. No clock is read here.
 *
 * Without a burst the brim is a tenth of a second's worth. With one of `max` a second for `length` seconds it is all of
 * that, and where the length is more than a second, a second bucket that leaks at `max` keeps the burst to that rate.
 */
#include "disk/limits.h"

#include <stdio.h>
#include <string.h>

#define LIMIT_MAX	1000000000000000ULL	/* QEMU's */
#define LENGTH_MAX	86400u
#define SLICE		10.0			/* a bucket holds this part of a second without a burst */

static const char *const suffixes[DISK_LIMIT_KINDS] = {
	[DISK_LIMIT_TOTAL] = "", [DISK_LIMIT_READ] = "_rd", [DISK_LIMIT_WRITE] = "_wr",
};

/* ---- what users say ---- */

static int fill_one(struct disk_limit *limit, const char *what, const char *suffix,
		    int (*get)(void *opaque, const char *name, uint64_t *value), void *opaque)
{
	const struct { const char *end; uint64_t *to; } parts[] = {
		{ "", &limit->rate }, { "_max", &limit->max }, { "_max_length", &limit->max_length },
	};
	char name[32];
	int result = 0;

	for (size_t i = 0; i < ARRAY_SIZE(parts) && result >= 0; i++) {
		snprintf(name, sizeof(name), "%s%s%s", what, suffix, parts[i].end);
		result = get(opaque, name, parts[i].to);
	}
	return result < 0 ? result : 0;
}

int disk_limits_fill(struct disk_limits *limits, int (*get)(void *opaque, const char *name, uint64_t *value), void *opaque)
{
	int result = 0;

	*limits = (struct disk_limits){ 0 };
	for (size_t i = 0; i < DISK_LIMIT_KINDS && !result; i++) {
		result = fill_one(&limits->ops[i], "iops", suffixes[i], get, opaque);
		if (!result)
			result = fill_one(&limits->bytes[i], "bps", suffixes[i], get, opaque);
	}
	if (!result)
		result = get(opaque, "iops_size", &limits->ops_size);
	return result < 0 ? result : 0;
}

static const char *limit_is_wrong(const struct disk_limit *limit)
{
	if (limit->rate > LIMIT_MAX || limit->max > LIMIT_MAX)
		return " is above 1000000000000000 a second";
	if (limit->max && !limit->rate)
		return "_max is there without the limit itself";
	if (limit->max && limit->max < limit->rate)
		return "_max is below the limit itself";
	if (limit->max_length && !limit->max)
		return "_max_length is there without _max";
	return limit->max_length > LENGTH_MAX ? "_max_length is above 86400 seconds" : NULL;
}

static int check_kinds(const struct disk_limit limits[DISK_LIMIT_KINDS], const char *what, char *why, size_t size)
{
	const struct disk_limit *total = &limits[DISK_LIMIT_TOTAL], *rd = &limits[DISK_LIMIT_READ], *wr = &limits[DISK_LIMIT_WRITE];

	for (size_t i = 0; i < DISK_LIMIT_KINDS; i++) {
		const char *wrong = limit_is_wrong(&limits[i]);

		if (wrong) {
			snprintf(why, size, "%s%s%s", what, suffixes[i], wrong);
			return -EINVAL;
		}
	}
	if (!total->rate || (!rd->rate && !wr->rate))
		return 0;
	snprintf(why, size, "%s is both limited as a whole and for reads or writes (say one of the two)", what);
	return -EINVAL;
}

int disk_limits_check(const struct disk_limits *limits, char *why, size_t size)
{
	int result = check_kinds(limits->ops, "iops", why, size);

	if (!result)
		result = check_kinds(limits->bytes, "bps", why, size);
	if (!result && limits->ops_size &&
	    !limits->ops[DISK_LIMIT_TOTAL].rate && !limits->ops[DISK_LIMIT_READ].rate && !limits->ops[DISK_LIMIT_WRITE].rate) {
		snprintf(why, size, "iops_size is there without a limit of iops");
		result = -EINVAL;
	}
	return result;
}

bool disk_limits_any(const struct disk_limits *limits)
{
	for (size_t i = 0; i < DISK_LIMIT_KINDS; i++)
		if (limits->ops[i].rate || limits->bytes[i].rate)
			return true;
	return false;
}

/* ---- buckets ---- */

void disk_buckets_set(struct disk_buckets *buckets, const struct disk_limits *limits, uint64_t now_ns)
{
	*buckets = (struct disk_buckets){ .limits = *limits, .now_ns = now_ns };
}

static void bucket_leak(const struct disk_limit *limit, struct disk_bucket *bucket, double seconds)
{
	bucket->level = MAX(0.0, bucket->level - (double)limit->rate * seconds);
	bucket->burst_level = MAX(0.0, bucket->burst_level - (double)limit->max * seconds);
}

/* In seconds. */
static double bucket_wait(const struct disk_limit *limit, const struct disk_bucket *bucket)
{
	double brim = limit->max ? (double)limit->max * (double)MAX(limit->max_length, 1U) : (double)limit->rate / SLICE;
	double wait = 0;

	if (!limit->rate)
		return 0;
	if (bucket->level > brim)
		wait = (bucket->level - brim) / (double)limit->rate;
	if (limit->max_length > 1 && bucket->burst_level > (double)limit->max / SLICE)
		wait = MAX(wait, (bucket->burst_level - (double)limit->max / SLICE) / (double)limit->max);
	return wait;
}

uint64_t disk_buckets_wait(struct disk_buckets *buckets, bool write, uint64_t now_ns)
{
	const enum disk_limit_kind kinds[] = { DISK_LIMIT_TOTAL, write ? DISK_LIMIT_WRITE : DISK_LIMIT_READ };
	double seconds = (double)(now_ns - buckets->now_ns) / 1e9, wait = 0;

	buckets->now_ns = now_ns;
	for (size_t i = 0; i < DISK_LIMIT_KINDS && seconds > 0; i++) {
		bucket_leak(&buckets->limits.ops[i], &buckets->ops[i], seconds);
		bucket_leak(&buckets->limits.bytes[i], &buckets->bytes[i], seconds);
	}
	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		wait = MAX(wait, bucket_wait(&buckets->limits.ops[kinds[i]], &buckets->ops[kinds[i]]));
		wait = MAX(wait, bucket_wait(&buckets->limits.bytes[kinds[i]], &buckets->bytes[kinds[i]]));
	}
	/* A nanosecond more than it takes, so that rounding can't make it wait twice. */
	return wait > 0 ? (uint64_t)(wait * 1e9) + 1 : 0;
}

static void bucket_pour(struct disk_bucket *bucket, double amount)
{
	bucket->level += amount;
	bucket->burst_level += amount;
}

void disk_buckets_charge(struct disk_buckets *buckets, bool write, uint64_t bytes)
{
	const enum disk_limit_kind kinds[] = { DISK_LIMIT_TOTAL, write ? DISK_LIMIT_WRITE : DISK_LIMIT_READ };
	uint64_t unit = buckets->limits.ops_size;
	double ops = unit && bytes > unit ? (double)bytes / (double)unit : 1;

	for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
		bucket_pour(&buckets->ops[kinds[i]], ops);
		bucket_pour(&buckets->bytes[kinds[i]], (double)bytes);
	}
}
