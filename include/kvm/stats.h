/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What KVM counts of a VM and of its vCPUs: its binary statistics (api.rst, 4.133, KVM_GET_STATS_FD).
 */
#ifndef KVM_STATS_H
#define KVM_STATS_H

#include "kvm/types.h"

struct kvm;

/**
 * kvm_stats_open() - gets hold of the statistics; the first call on a VM that runs stops its vCPUs for a moment,
 * since KVM hands a vCPU's file out while that is not in the guest only
 *
 * 0, -EOPNOTSUPP if this KVM has none (before Linux 5.14), or another error; says nothing. Main thread.
 */
int __must_check kvm_stats_open(struct kvm *kvm);

/** KVM_STATS_VM - instead of a vCPU's number: what is counted for the VM as a whole */
#define KVM_STATS_VM (-1)

/** struct kvm_stat - one number: @flags as KVM has them, KVM_STATS_TYPE_* and KVM_STATS_UNIT_*; its unit is times 2 or 10 to @exponent */
struct kvm_stat {
	const char *name;
	uint64_t value;
	uint32_t flags;
	int exponent;
};

/**
 * kvm_stats_each() - calls @each for each number that KVM has of vCPU @cpu: "exits", "halt_exits"; histograms are left out
 *
 * Needs kvm_stats_open(). Doesn't disturb the guest. 0, or a negative errno of the host. Main thread.
 */
int __must_check kvm_stats_each(struct kvm *kvm, int cpu, void (*each)(const struct kvm_stat *stat, void *opaque), void *opaque);

#endif
