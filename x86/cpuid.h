/* SPDX-License-Identifier: BSD-2-Clause */
/* Between x86/cpu.c and x86/cpuid.c: what CPUID tells the guest. */
#ifndef X86_CPUID_H
#define X86_CPUID_H

#include <linux/kvm.h>

#include "kvm/types.h"

struct kvm;

/** struct cpu_topology - how vCPUs make threads, cores and sockets; each at least 1 */
struct cpu_topology {
	unsigned int threads, cores, sockets;
};

/** cpuid_host() - what KVM can offer, to be freed; NULL when it fails (said) */
struct kvm_cpuid2 *cpuid_host(const struct kvm *kvm);

/**
 * cpuid_fill() - makes @cpuid, with room for @capacity entries, right for one vCPU
 * Leaves 1, 4, 0xB, 0x1F, 0x80000008, 0x8000001D and 0x8000001E follow @topology and @apic_id; 0xA goes when it
 * makes no sense. Returns 0 or -E2BIG.
 */
int __must_check cpuid_fill(struct kvm_cpuid2 *cpuid, size_t capacity, const struct cpu_topology *topology,
			    uint32_t apic_id, bool tsc_deadline);

/** CPUID_SPARE - entries that cpuid_fill() may add */
#define CPUID_SPARE 8

#endif
