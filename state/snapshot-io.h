/* SPDX-License-Identifier: BSD-2-Clause */
/* Between the reader and the writer of snapshots' files. */
#ifndef STATE_SNAPSHOT_IO_H
#define STATE_SNAPSHOT_IO_H

#include "kvm/types.h"

/** snapshot_read(), snapshot_write() - all of it; 0 or negative errno without a message (-EIO: the file is too short) */
int __must_check snapshot_read(int fd, uint64_t offset, void *data, size_t length);
int __must_check snapshot_write(int fd, uint64_t offset, const void *data, size_t length);

/** snapshot_is_zero() - whether @length bytes, a multiple of 8, are all zero */
bool snapshot_is_zero(const void *data, size_t length);
/** snapshot_sum() - the checksum of a block of memory: 0 if it is all zero, and of no other */
uint32_t snapshot_sum(const void *data, size_t length);

#endif
