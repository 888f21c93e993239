/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which pages of guest memory were written since they were last asked for, whoever wrote them.
 *
 * The guest's own writes, and KVM's for it, are in KVM's log of each memory slot. What lkvm writes is marked where it is
 * written: the accessors of kvm/memory.h, a request's segments when it is pushed, rings when they are saved. What vhost
 * back ends write is in a log of theirs, which they share with us.
 */
#ifndef KVM_DIRTY_H
#define KVM_DIRTY_H

#include "kvm/kvm.h"

#define DIRTY_OUTSIDE_PAGE	4096	/* vhost's, on any host */

/** struct dirty_map - hangs from the address space while pages are tracked (space->written); made and freed with the VM paused */
struct dirty_map {
	const char *ram;		/* guest memory here: kvm->ram_host */
	uint64_t size;
	unsigned int page_shift;	/* a page is the host's */
	size_t words;			/* of the bitmap, and of what dirty_collect() fills */
	atomic_bool blind;		/* somebody writes whom nobody sees: all may have been written */
	/* vhost's log: a bit for DIRTY_OUTSIDE_PAGE bytes of guest physical memory from 0 on, in a file that can be shared */
	int outside_fd;
	atomic_ulong *outside;
	size_t outside_size;		/* bytes */
	atomic_ulong marked[];
};

/** dirty_start() - all is tracked from here on; the VM is paused. 0 or negative errno (said) */
int __must_check dirty_start(struct kvm *kvm);
/** dirty_stop() - nothing is; the VM is paused; not started is fine */
void dirty_stop(struct kvm *kvm);

/**
 * dirty_collect() - sets the bit of each page that was written since the last call, or the start, in @pages
 * @pages: a bit a page, dirty_words() of them. Any thread, one at a time. 0 or negative errno (said).
 */
int __must_check dirty_collect(struct kvm *kvm, unsigned long *pages);
size_t dirty_words(const struct kvm *kvm);
unsigned int dirty_page_size(const struct kvm *kvm);

#endif
