/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CPUID: the host's, as KVM offers it, with the identity and topology of each vCPU put in.
 *
 * Intel SDM volume 2 (CPUID), AMD APM volume 3 appendix E.
 */
#include "x86/cpuid.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/runtime-directory.h"
#include "x86/cpuid-cache.h"

static struct kvm_cpuid2 *cpuid_ask(const struct kvm *kvm)
{
	for (unsigned int count = 128; count <= CPUID_MAX; count *= 2) {
		struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + count * sizeof(cpuid->entries[0]));

		if (!cpuid)
			break;
		cpuid->nent = count;
		if (!ioctl(kvm->dev_fd, KVM_GET_SUPPORTED_CPUID, cpuid))
			return cpuid;
		free(cpuid);
		if (errno != E2BIG)
			break;
	}
	log_errno(errno ? errno : ENOMEM, "KVM_GET_SUPPORTED_CPUID");
	return NULL;
}

struct kvm_cpuid2 *cpuid_host(const struct kvm *kvm)
{
	_cleanup_free_ char *directory = NULL, *path = NULL;
	struct kvm_cpuid2 *cpuid;
	struct cpuid_key key;

	if (runtime_directory(&directory, true) < 0 || !cpuid_key_read(&key))
		return cpuid_ask(kvm);
	if (asprintf(&path, "%s/cpuid.cache", directory) < 0) {
		path = NULL;
		return cpuid_ask(kvm);
	}
	cpuid = cpuid_cache_load(path, &key);
	if (cpuid)
		return cpuid;
	cpuid = cpuid_ask(kvm);
	if (cpuid)
		cpuid_cache_store(path, &key, cpuid);
	return cpuid;
}

struct kvm_cpuid2 *cpuid_for_vcpu(const struct kvm_cpuid2 *host)
{
	size_t used = sizeof(*host) + host->nent * sizeof(host->entries[0]);
	struct kvm_cpuid2 *cpuid = calloc(1, used + CPUID_SPARE * sizeof(host->entries[0]));

	if (cpuid)
		memcpy(cpuid, host, used);
	return cpuid;
}

unsigned int cpuid_physical_bits(const struct kvm_cpuid2 *host)
{
	for (uint32_t i = 0; i < host->nent; i++)
		if (host->entries[i].function == 0x80000008)
			return MAX(host->entries[i].eax & 0xff, 36U);
	return 36;
}

/* Bits that are needed to number @count things. */
static unsigned int width(unsigned int count)
{
	return count > 1 ? 32 - (unsigned int)__builtin_clz(count - 1) : 0;
}

static void set_field(uint32_t *reg, unsigned int low, unsigned int bits, uint32_t value)
{
	uint32_t mask = ((1U << bits) - 1) << low;

	*reg = (*reg & ~mask) | ((value << low) & mask);
}

/* Cache leaves: L3 is the socket's, what is nearer is a core's. Level in EAX[7:5]. */
static void fill_cache(struct kvm_cpuid_entry2 *entry, const struct cpu_topology *topology, bool intel)
{
	unsigned int level = (entry->eax >> 5) & 7;
	unsigned int sharing = level >= 3 ? topology->threads * topology->cores : topology->threads;

	if (!(entry->eax & 0x1f))
		return;
	set_field(&entry->eax, 14, 12, (1U << width(sharing)) - 1);
	if (intel)
		set_field(&entry->eax, 26, 6, MIN((1U << width(topology->cores)) - 1, 63U));
}

static void fill_leaf_1(struct kvm_cpuid_entry2 *entry, const struct cpu_topology *topology, uint32_t apic_id,
			bool tsc_deadline)
{
	unsigned int logical = topology->threads * topology->cores;

	set_field(&entry->ebx, 24, 8, MIN(apic_id, 255U));
	set_field(&entry->ebx, 16, 8, MIN(1U << width(logical), 255U));
	set_field(&entry->edx, 28, 1, logical > 1);
	set_field(&entry->ecx, 24, 1, tsc_deadline);
	entry->ecx |= 1U << 31;
}

/* A PMU with no counters is none: kernels stumble over it. */
static void fill_leaf_a(struct kvm_cpuid_entry2 *entry)
{
	unsigned int version = entry->eax & 0xff, counters = (entry->eax >> 8) & 0xff;

	if (!version || !counters || counters > 18)
		entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
}

static void fill_leaf_8000001e(struct kvm_cpuid_entry2 *entry, const struct cpu_topology *topology, uint32_t apic_id)
{
	entry->eax = apic_id;
	entry->ebx = ((apic_id >> width(topology->threads)) & 0xff) | ((topology->threads - 1) << 8);
	entry->ecx = 0;
	entry->edx = 0;
}

static void fill_entry(struct kvm_cpuid_entry2 *entry, const struct cpu_topology *topology, uint32_t apic_id,
		       bool tsc_deadline)
{
	unsigned int logical = topology->threads * topology->cores;

	switch (entry->function) {
	case 1:
		fill_leaf_1(entry, topology, apic_id, tsc_deadline);
		break;
	case 4:
		fill_cache(entry, topology, true);
		break;
	case 0xa:
		fill_leaf_a(entry);
		break;
	case 0x80000001:
		set_field(&entry->ecx, 1, 1, 0);	/* CmpLegacy */
		break;
	case 0x80000008:
		set_field(&entry->ecx, 0, 8, MIN(logical - 1, 255U));
		set_field(&entry->ecx, 12, 4, width(logical));
		break;
	case 0x8000001d:
		fill_cache(entry, topology, false);
		break;
	case 0x8000001e:
		fill_leaf_8000001e(entry, topology, apic_id);
		break;
	}
}

static void remove_topology_leaves(struct kvm_cpuid2 *cpuid)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function != 0xb && cpuid->entries[i].function != 0x1f)
			cpuid->entries[kept++] = cpuid->entries[i];
	cpuid->nent = kept;
}

/* Leaf 0xB or 0x1F: threads in a core, then cores in a socket, then the end. */
static void add_topology_leaf(struct kvm_cpuid2 *cpuid, uint32_t function, const struct cpu_topology *topology,
			      uint32_t apic_id)
{
	const unsigned int counts[] = { topology->threads, topology->threads * topology->cores };

	for (uint32_t index = 0; index < 3; index++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[cpuid->nent++];

		memset(entry, 0, sizeof(*entry));
		entry->function = function;
		entry->index = index;
		entry->flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX;
		entry->ecx = index;
		entry->edx = apic_id;
		if (index == 2)
			continue;
		entry->eax = index ? width(topology->threads) + width(topology->cores) : width(topology->threads);
		entry->ebx = counts[index];
		entry->ecx |= (index + 1) << 8;
	}
}

int cpuid_fill(struct kvm_cpuid2 *cpuid, size_t capacity, const struct cpu_topology *topology, uint32_t apic_id,
	       bool tsc_deadline)
{
	uint32_t highest = 0;

	for (uint32_t i = 0; i < cpuid->nent; i++) {
		if (!cpuid->entries[i].function)
			highest = cpuid->entries[i].eax;
		fill_entry(&cpuid->entries[i], topology, apic_id, tsc_deadline);
	}
	remove_topology_leaves(cpuid);
	if (cpuid->nent + 6 > capacity)
		return -E2BIG;
	if (highest >= 0xb)
		add_topology_leaf(cpuid, 0xb, topology, apic_id);
	if (highest >= 0x1f)
		add_topology_leaf(cpuid, 0x1f, topology, apic_id);
	return 0;
}
