/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What KVM_GET_SUPPORTED_CPUID said, kept for the next VM.
 *
 * KVM answers with one CPUID instruction for each leaf. On hardware these cost nothing that anyone would notice; in a
 * VM each leaves to the hypervisor outside, and the sixty or so are a tenth of the CPU time of a VM that ends at
 * once. The answer is KVM's for as long as it is loaded, so a key tells which loading of KVM, in which boot of which
 * kernel, on which CPU, it belongs to.
 */
#ifndef X86_CPUID_CACHE_H
#define X86_CPUID_CACHE_H

#include <linux/kvm.h>

#include "kvm/types.h"

/** struct cpuid_key - whose answer it is: nothing else than the same words will do */
struct cpuid_key {
	char boot_id[40];	/* /proc/sys/kernel/random/boot_id */
	uint64_t kvm;		/* the inode number of kvm in sysfs, never given twice in one boot */
	uint32_t leaves[2][4];	/* of the CPU: 1 without what differs between CPUs, and 7; EAX to EDX */
};

/** cpuid_key_read() - this host's, now; false: it doesn't say, and nothing is to be kept */
bool cpuid_key_read(struct cpuid_key *key);

/** cpuid_cache_load() - what file @path holds for @key, to be freed; NULL: nothing that can be trusted. Says nothing. */
struct kvm_cpuid2 *cpuid_cache_load(const char *path, const struct cpuid_key *key);

/** cpuid_cache_store() - puts it there, whole or not at all, readable by the user alone; a failure costs time only */
void cpuid_cache_store(const char *path, const struct cpuid_key *key, const struct kvm_cpuid2 *cpuid);

#endif
