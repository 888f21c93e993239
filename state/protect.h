/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory as it is now, read later: writes wait until the block that they are for has been saved.
 */
#ifndef STATE_PROTECT_H
#define STATE_PROTECT_H

#include "kvm/kvm.h"

/** memory_is_shared() - whether another process has the guest's memory too (vhost-user): it has to be a shared file then */
bool memory_is_shared(const struct config *config);

struct protect;

/**
 * protect_start() - from now on whoever first writes to a block waits until @save has been called for it
 * @block: bytes, a power of 2 of whole pages
 * @save: 0 or negative errno; any thread, several at once, once a block; must write to no guest memory
 *
 * The VM is paused. Returns -EOPNOTSUPP, without a message, where the host has no write protection for such memory.
 */
int __must_check protect_start(struct protect **protect, struct kvm *kvm, uint64_t block,
			       int (*save)(void *opaque, uint64_t offset, size_t length), void *opaque);

/** userfault_open() - one that doesn't block, and catches the kernel's faults too; -EOPNOTSUPP without a message if there is none */
int __must_check userfault_open(uint64_t features);

/** protect_save() - saves the block at @offset unless it was saved, and lets writes to it go on; any thread; no message */
int __must_check protect_save(struct protect *protect, uint64_t offset);

/** protect_error() - the first error that @save had, whoever called it, or 0; any thread */
int protect_error(struct protect *protect);

/** protect_stop() - all of memory can be written again, saved or not; main thread */
void protect_stop(struct protect *protect);

#endif
