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
/** balloon_stat_name() - of stats[@index]: "free-memory"; QEMU's word behind its "stat-" */
const char *balloon_stat_name(unsigned int index);

#endif
