/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory balloon, for those who ask about it: QMP and `lkvm stat`. Main thread.
 */
#ifndef KVM_BALLOON_H
#define KVM_BALLOON_H

#include "kvm/kvm.h"

/** BALLOON_STATS - how many statistics drivers have names for: VirtIO 1.3, 5.5.6.4, and what Linux added since */
#define BALLOON_STATS	16

struct balloon_info {
	uint64_t target;		/* bytes the guest is asked to keep */
	uint64_t actual;		/* bytes it has, as its driver says */
	uint64_t given_back;		/* bytes that went to the host since the start; the guest may have fetched them back */
	bool driven;			/* a driver runs */
	uint64_t hinted;		/* bytes that it hinted at as free since balloon_hint_start() */
	bool hints_finished;		/* it has no more of them */
	/* what the guest says of itself; bit n of stats_valid: stats[n] was there */
	unsigned int stats_round;	/* counts the answers; 0: none yet */
	uint64_t stats_ns;		/* event_now_ns() of the last one */
	uint32_t stats_valid;
	uint64_t stats[BALLOON_STATS];
};

/** balloon_query() - false if the VM has no balloon */
bool balloon_query(struct kvm *kvm, struct balloon_info *info);
/** balloon_set_target() - asks the guest to keep @bytes, at most all its RAM; -ENODEV without a balloon */
int __must_check balloon_set_target(struct kvm *kvm, uint64_t bytes);
/** balloon_ask_stats() - the driver will answer soon, if there is one: stats_round counts up */
void balloon_ask_stats(struct kvm *kvm);
/**
 * balloon_hint_start() - asks the driver for the pages that are free; it holds them until balloon_hint_done()
 *
 * -ENODEV without a driver that knows of hints. It answers as time goes on: balloon_query() says how far it is. Save no
 * state and reset nothing in between: both end it, without hints.
 */
int __must_check balloon_hint_start(struct kvm *kvm);
/** balloon_hint_done() - the driver may use its pages again; balloon_hinted() keeps its answers until the next start */
void balloon_hint_done(struct kvm *kvm);
/**
 * balloon_hinted() - whether the page at @ram_offset of the RAM file was hinted at
 *
 * The guest may have taken it back since. Its contents may be dropped only by who knows that it wasn't written to since
 * balloon_hint_start().
 */
bool balloon_hinted(struct kvm *kvm, uint64_t ram_offset);
/** balloon_stat_name() - of stats[@index]: "free-memory"; QEMU's word behind its "stat-" */
const char *balloon_stat_name(unsigned int index);

#endif
