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
#include "kvm/x86.h"
#include "x86/cpuid-cache.h"

#define CPUID_AMD_ECX	0x444d4163	/* the last four letters of "AuthenticAMD" */
#define CPUID_HYGON_ECX	0x656e6975	/* of "HygonGenuine" */
#define CPUID_TOPOEXT	(1U << 22)

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

/* ---- topology ---- */

/* Bits of an APIC id below a core, a cluster, a die, a socket: how far to shift right for its number. */
static unsigned int core_shift(const struct cpu_topology *topology)
{
	return width(topology->threads);
}

static unsigned int cluster_shift(const struct cpu_topology *topology)
{
	return core_shift(topology) + width(topology->cores);
}

static unsigned int die_shift(const struct cpu_topology *topology)
{
	return cluster_shift(topology) + width(topology->clusters);
}

static unsigned int socket_shift(const struct cpu_topology *topology)
{
	return die_shift(topology) + width(topology->dies);
}

static unsigned int logical_per_socket(const struct cpu_topology *topology)
{
	return topology->threads * topology->cores * topology->clusters * topology->dies;
}

uint32_t cpuid_apic_id(const struct cpu_topology *topology, const struct cpu_place *place)
{
	return place->socket << socket_shift(topology) | place->die << die_shift(topology) |
	       place->cluster << cluster_shift(topology) | place->core << core_shift(topology) | place->thread;
}

uint32_t x86_apic_id(const struct kvm *kvm, unsigned int index)
{
	struct cpu_topology topology;
	struct cpu_place place;

	/* what can't be was refused when the VM was made */
	if (cpu_topology_parse(kvm->config, &topology))
		return index;
	place = cpu_topology_place(&topology, index);
	return cpuid_apic_id(&topology, &place);
}

/*
 * Cache leaves: L3 is the die's, L2 the cluster's where there are clusters (that is what they are made by, and how Linux
 * tells them before it reads leaf 0x1F's modules), what is nearer is a core's. Level in EAX[7:5].
 */
static void fill_cache(struct kvm_cpuid_entry2 *entry, const struct cpu_topology *topology, bool intel)
{
	unsigned int level = (entry->eax >> 5) & 7;
	unsigned int shift = level >= 3 ? die_shift(topology) :
			     level == 2 && topology->clusters > 1 ? cluster_shift(topology) : core_shift(topology);

	if (!(entry->eax & 0x1f))
		return;
	set_field(&entry->eax, 14, 12, MIN((1U << shift) - 1, 0xfffU));
	if (intel)
		set_field(&entry->eax, 26, 6, MIN((1U << (socket_shift(topology) - core_shift(topology))) - 1, 63U));
}

static void fill_leaf_1(struct kvm_cpuid_entry2 *entry, const struct cpu_topology *topology, uint32_t apic_id,
			bool tsc_deadline)
{
	set_field(&entry->ebx, 24, 8, MIN(apic_id, 255U));
	set_field(&entry->ebx, 16, 8, MIN(1U << socket_shift(topology), 255U));
	set_field(&entry->edx, 28, 1, logical_per_socket(topology) > 1);
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
	entry->ebx = ((apic_id >> core_shift(topology)) & 0xff) | (((topology->threads - 1) & 0xff) << 8);
	/* One node: before family 0x17 Linux divides by their number what dies it knows of by leaf 0x1F, and may come to 0. */
	entry->ecx = 0;
	entry->edx = 0;
}

static void fill_entry(struct kvm_cpuid_entry2 *entry, const struct cpu_topology *topology, uint32_t apic_id,
		       bool tsc_deadline)
{
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
	case 7:
		if (!entry->index)
			set_field(&entry->edx, 15, 1, 0);	/* hybrid: all vCPUs are alike, wherever they run */
		break;
	case 0x1a:
		entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
		break;
	case 0x80000001:
		set_field(&entry->ecx, 1, 1, 0);	/* CmpLegacy */
		break;
	case 0x80000008:
		set_field(&entry->ecx, 0, 8, MIN(logical_per_socket(topology) - 1, 255U));
		set_field(&entry->ecx, 12, 4, MIN(socket_shift(topology), 15U));
		break;
	case 0x8000001d:
		fill_cache(entry, topology, false);
		break;
	case 0x8000001e:
		fill_leaf_8000001e(entry, topology, apic_id);
		break;
	}
}

/* The host's own: Intel's two, and AMD's of the same kind, which is left to leaf 0x1F. */
static void remove_topology_leaves(struct kvm_cpuid2 *cpuid)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function != 0xb && cpuid->entries[i].function != 0x1f &&
		    cpuid->entries[i].function != 0x80000026)
			cpuid->entries[kept++] = cpuid->entries[i];
	cpuid->nent = kept;
}

/* The next subleaf of a topology leaf: @count vCPUs in one of what APIC ids number above @shift. */
static void add_topology_level(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index, unsigned int type,
			       unsigned int shift, unsigned int count, uint32_t apic_id)
{
	cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2){
		.function = function, .index = index, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		.eax = shift, .ebx = count & 0xffff, .ecx = index | type << 8, .edx = apic_id,
	};
}

enum { LEVEL_END, LEVEL_THREAD, LEVEL_CORE, LEVEL_MODULE, LEVEL_TILE, LEVEL_DIE };

/* Threads in a core, then cores in a socket, then the end. */
static void add_leaf_b(struct kvm_cpuid2 *cpuid, const struct cpu_topology *topology, uint32_t apic_id)
{
	add_topology_level(cpuid, 0xb, 0, LEVEL_THREAD, core_shift(topology), topology->threads, apic_id);
	add_topology_level(cpuid, 0xb, 1, LEVEL_CORE, socket_shift(topology), logical_per_socket(topology), apic_id);
	add_topology_level(cpuid, 0xb, 2, LEVEL_END, 0, 0, apic_id);
}

/* The same, with levels between for what there is more than one of. */
static void add_leaf_1f(struct kvm_cpuid2 *cpuid, const struct cpu_topology *topology, uint32_t apic_id)
{
	const struct level {
		unsigned int type, there, shift, count;
	} levels[] = {
		{ LEVEL_THREAD, 2, core_shift(topology), topology->threads },
		{ LEVEL_CORE, 2, cluster_shift(topology), topology->threads * topology->cores },
		{ LEVEL_MODULE, topology->clusters, die_shift(topology), topology->threads * topology->cores * topology->clusters },
		{ LEVEL_DIE, topology->dies, socket_shift(topology), logical_per_socket(topology) },
		{ LEVEL_END, 2, 0, 0 },
	};
	uint32_t index = 0;

	for (size_t i = 0; i < ARRAY_SIZE(levels); i++)
		if (levels[i].there > 1)
			add_topology_level(cpuid, 0x1f, index++, levels[i].type, levels[i].shift, levels[i].count, apic_id);
}

struct kvm_cpuid_entry2 *cpuid_find(struct kvm_cpuid2 *cpuid, uint32_t function, uint32_t index)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == function && cpuid->entries[i].index == index)
			return &cpuid->entries[i];
	return NULL;
}

/*
 * On AMD's, Linux reads no topology leaf without TOPOEXT, which is a matter of CPUID alone. A CPU that hasn't it (before
 * family 0x15, and emulated ones) gets it for what can't be said otherwise; of its caches the guest then sees nothing.
 */
static void add_topoext(struct kvm_cpuid2 *cpuid)
{
	struct kvm_cpuid_entry2 *vendor = cpuid_find(cpuid, 0, 0), *highest = cpuid_find(cpuid, 0x80000000, 0);
	struct kvm_cpuid_entry2 *features = cpuid_find(cpuid, 0x80000001, 0);

	if (!vendor || !highest || !features || (vendor->ecx != CPUID_AMD_ECX && vendor->ecx != CPUID_HYGON_ECX) ||
	    features->ecx & CPUID_TOPOEXT)
		return;
	features->ecx |= CPUID_TOPOEXT;
	highest->eax = MAX(highest->eax, 0x8000001eU);
	if (!cpuid_find(cpuid, 0x8000001d, 0))
		cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2){
			.function = 0x8000001d, .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
		};
	if (!cpuid_find(cpuid, 0x8000001e, 0))
		cpuid->entries[cpuid->nent++] = (struct kvm_cpuid_entry2){ .function = 0x8000001e };
}

int cpuid_fill(struct kvm_cpuid2 *cpuid, size_t capacity, const struct cpu_topology *topology, uint32_t apic_id,
	       bool tsc_deadline)
{
	/* only leaf 0x1F can say these: hosts that haven't any end before it */
	bool needs_1f = topology->dies > 1 || topology->clusters > 1;
	uint32_t highest = 0;

	remove_topology_leaves(cpuid);
	if (cpuid->nent + CPUID_SPARE > capacity)
		return -E2BIG;
	if (needs_1f || topology->threads > 1)
		add_topoext(cpuid);
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		if (!cpuid->entries[i].function) {
			highest = MAX(cpuid->entries[i].eax, needs_1f ? 0x1fU : 0U);
			cpuid->entries[i].eax = highest;
		}
		fill_entry(&cpuid->entries[i], topology, apic_id, tsc_deadline);
	}
	if (highest >= 0xb)
		add_leaf_b(cpuid, topology, apic_id);
	if (highest >= 0x1f)
		add_leaf_1f(cpuid, topology, apic_id);
	return 0;
}
