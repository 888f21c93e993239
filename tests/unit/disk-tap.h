/* SPDX-License-Identifier: BSD-2-Clause */
/* Counts what a disk's file is asked to take to the medium: writes that wait for it (FUA), and flushes. */
#ifndef TESTS_UNIT_DISK_TAP_H
#define TESTS_UNIT_DISK_TAP_H

#include "disk/file.h"
#include "kvm/disk.h"
#include "tests/unit/suite.h"

static atomic_uint tap_fua, tap_flushes;

static int tap_change(struct disk_file_tap *tap, enum disk_op op, uint64_t offset, uint64_t length, const struct iovec *iov,
		      unsigned int iov_count, bool fua)
{
	(void)tap, (void)offset, (void)length, (void)iov, (void)iov_count;
	atomic_fetch_add(&tap_fua, fua);
	atomic_fetch_add(&tap_flushes, op == DISK_FLUSH);
	return 0;
}

static struct disk_file_tap tap = { .change = tap_change };

static inline void tap_start(struct disk *disk)
{
	atomic_store(&tap_fua, 0);
	atomic_store(&tap_flushes, 0);
	disk->file->tap = &tap;
}

static inline void tap_stop(struct disk *disk)
{
	disk->file->tap = NULL;
}

static inline void tap_expect(unsigned int fua, unsigned int flushes)
{
	ck_assert_uint_eq(atomic_load(&tap_fua), fua);
	ck_assert_uint_eq(atomic_load(&tap_flushes), flushes);
}

#endif
