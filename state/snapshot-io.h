/* SPDX-License-Identifier: BSD-2-Clause */
/* Between the reader and the writer of snapshots' files. */
#ifndef STATE_SNAPSHOT_IO_H
#define STATE_SNAPSHOT_IO_H

#include "kvm/types.h"

/** snapshot_sum() - the checksum of a block of memory: 0 if it is all zero, and of no other */
uint32_t snapshot_sum(const void *data, size_t length);

#endif
