/* SPDX-License-Identifier: BSD-2-Clause */
/* Between x86/cpu.c and x86/cpuid.c: what CPUID tells the guest. */
#ifndef X86_CPUID_H
#define X86_CPUID_H

#include <linux/kvm.h>

#include "kvm/topology.h"
#include "kvm/types.h"

struct kvm;

/** CPUID_MAX - entries that KVM may name before lkvm gives up */
#define CPUID_MAX	1024

/** cpuid_host() - what KVM can offer, to be freed; NULL when it fails (said); from cpuid-cache.h where it can. */
struct kvm_cpuid2 *cpuid_host(const struct kvm *kvm);

/** x86_host_cpuid() - cpuid_host() of when the VM was made, as far as --cpu has it (x86/vm.c) */
const struct kvm_cpuid2 *x86_host_cpuid(const struct kvm *kvm);

/** cpuid_for_vcpu() - a copy of @host with room for what cpuid_fill() adds, to be freed; NULL: out of memory */
struct kvm_cpuid2 *cpuid_for_vcpu(const struct kvm_cpuid2 *host);

/** cpuid_physical_bits() - the width of a guest-physical address (leaf 0x80000008), at least 36 */
unsigned int cpuid_physical_bits(const struct kvm_cpuid2 *host);

/**
 * cpuid_fill() - makes @cpuid, with room for @capacity entries, right for one vCPU
 * Leaves 1, 4, 0xB, 0x1F, 0x80000008, 0x8000001D and 0x8000001E follow @topology and @apic_id; 0xA goes when it
 * makes no sense. Returns 0 or -E2BIG.
 */
int __must_check cpuid_fill(struct kvm_cpuid2 *cpuid, size_t capacity, const struct cpu_topology *topology,
			    uint32_t apic_id, bool tsc_deadline);

/** cpuid_apic_id() - of the vCPU that is at @place of @topology */
uint32_t cpuid_apic_id(const struct cpu_topology *topology, const struct cpu_place *place);

/** cpuid_find() - the entry of a leaf, or NULL */
struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index);

/** CPUID_SPARE - entries that cpuid_fill() may add */
#define CPUID_SPARE 10

#endif
