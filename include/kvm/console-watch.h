/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Watches what a guest prints: for its kernel's panic, its oopses, the start of user space, and as a sign of life.
 */
#ifndef KVM_CONSOLE_WATCH_H
#define KVM_CONSOLE_WATCH_H

#include "kvm/types.h"

struct kvm;

/** struct console_watch - one a console; zero-initialised is ready; guarded by its owner */
struct console_watch {
	uint32_t candidates;	/* bits: the known lines that what came since the line's start may become */
	uint8_t matched;	/* characters of them that have come */
	uint8_t at;		/* where in its line the next character is: enum line_at of console-watch.c */
	bool logging;		/* trouble was seen: what comes goes to kvm/trouble-log.h as well */
};

/** console_watch_write() - the next bytes that the guest printed; tells kvm/guest-life.h and kvm_panic_seen() */
void console_watch_write(struct console_watch *watch, struct kvm *kvm, const void *data, size_t length);

static inline void console_watch_reset(struct console_watch *watch)
{
	*watch = (struct console_watch){ 0 };
}

#endif
