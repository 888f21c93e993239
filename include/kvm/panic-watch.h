/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watches what a guest prints for the kernel's panic line, so that the exit status can tell of it.
 */
#ifndef KVM_PANIC_WATCH_H
#define KVM_PANIC_WATCH_H

#include "kvm/types.h"

struct kvm;

/** struct panic_watch - one a console; zero-initialised is ready; guarded by its owner */
struct panic_watch {
	uint8_t matched;	/* characters of the line that have come */
	uint8_t before[2];	/* the last two characters: the line starts a line, or follows a "] " */
};

/** panic_watch_write() - the next bytes that the guest printed; calls kvm_panic_seen() when the line is among them */
void panic_watch_write(struct panic_watch *watch, struct kvm *kvm, const void *data, size_t length);

static inline void panic_watch_reset(struct panic_watch *watch)
{
	*watch = (struct panic_watch){ 0 };
}

#endif
