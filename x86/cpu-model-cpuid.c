/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a CPU model makes of CPUID and of the MSRs beside it: features, and all that hangs on them.
 *
 * Intel SDM volume 1 chapter 13 (XSAVE), volume 2 (CPUID); AMD APM volume 3 appendix E. Main thread.
 */
#include <stdio.h>
#include <string.h>

#include "kvm/log.h"
#include "x86/cpu-model.h"
#include "x86/cpuid.h"
#include "x86/state.h"

#define MSR_CORE_CAPABILITIES	0xcf
#define MSR_ARCH_CAPABILITIES	0x10a
#define MSR_PERF_CAPABILITIES	0x345

/* Bits of the 0x80000001 EDX of AMD's that say leaf 1's EDX again */
#define EDX_AGAIN	0x0183f3ffU

/* ---- CPUID ---- */

/* Each state of XSAVE with what it belongs to: bits of XCR0, and those of XSS. */
static const struct {
	uint64_t bits;
	const char *feature;
	bool xss;
} xsave_states[] = {
	{ 1ULL << 2, "avx", false }, { 3ULL << 3, "mpx", false }, { 7ULL << 5, "avx512f", false }, { 1ULL << 9, "pku", false },
	{ 3ULL << 17, "amx_tile", false }, { 1ULL << 8, "intel_pt", true }, { 3ULL << 11, "shstk", true },
	{ 1ULL << 15, "arch_lbr", true },
};

static uint64_t xsave_without(const struct feature_set *features, uint64_t there, bool xss)
{
	for (size_t i = 0; i < ARRAY_SIZE(xsave_states); i++) {
		const char *name = xsave_states[i].feature;
		struct feature_bit bit = { 0, 0 };

		if (xsave_states[i].xss == xss && feature_find(name, strlen(name), &bit) && !feature_has(features, bit))
			there &= ~xsave_states[i].bits;
	}
	return there;
}

/* A state's size and place stay what they are, for there is one standard format; without the last ones it ends earlier. */
static void fill_xsave(struct kvm_cpuid2 *cpuid, const struct feature_set *features)
{
	struct kvm_cpuid_entry2 *all = cpuid_find(cpuid, 0xd, 0), *more = cpuid_find(cpuid, 0xd, 1);
	struct feature_bit xsave = { 0, 0 }, xsaves = { 0, 0 };
	uint64_t xcr0, xss;
	uint32_t size = 576;		/* the legacy area and the header */

	if (!all || !feature_find("xsave", 5, &xsave) || !feature_find("xsaves", 6, &xsaves))
		return;
	xcr0 = feature_has(features, xsave) ? xsave_without(features, (uint64_t)all->edx << 32 | all->eax, false) : 0;
	xss = more && feature_has(features, xsaves) ? xsave_without(features, (uint64_t)more->edx << 32 | more->ecx, true) : 0;
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];

		if (entry->function != 0xd || entry->index < 2 || entry->index > 63)
			continue;
		if (xcr0 >> entry->index & 1)
			size = MAX(size, entry->eax + entry->ebx);
		else if (!(xss >> entry->index & 1))
			entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
	}
	all->eax = (uint32_t)xcr0;
	all->edx = (uint32_t)(xcr0 >> 32);
	all->ecx = xcr0 ? size : 0;
	all->ebx = xcr0 ? 576 : 0;	/* as XCR0 has it after a reset; KVM keeps it so */
	if (more) {
		more->ecx = (uint32_t)xss;
		more->edx = (uint32_t)(xss >> 32);
		more->ebx = 0;		/* likewise KVM's */
	}
}

static void clear_leaf(struct kvm_cpuid_entry2 *entry)
{
	entry->eax = entry->ebx = entry->ecx = entry->edx = 0;
}

/* A named model's leaves: those that its features describe, and what topology and caches need. */
static bool leaf_belongs(uint32_t function, const struct feature_set *features)
{
	static const uint32_t always[] = {
		0, 1, 2, 4, 6, 7, 0xb, 0xd, 0x1f, 0x40000000, 0x40000001, 0x80000000, 0x80000001, 0x80000002, 0x80000003, 0x80000004,
		0x80000005, 0x80000006, 0x80000007, 0x80000008, 0x8000001d, 0x8000001e, 0x80000021,
	};
	static const struct {
		uint32_t function;
		const char *feature;
	} with[] = {
		{ 5, "monitor" }, { 0xa, "pdcm" }, { 0x12, "sgx" }, { 0x14, "intel_pt" }, { 0x19, "keylocker" }, { 0x1d, "amx_tile" },
		{ 0x1e, "amx_tile" }, { 0x8000000a, "svm" }, { 0x80000022, "perfmon_v2" },
	};
	struct feature_bit bit = { 0, 0 };

	for (size_t i = 0; i < ARRAY_SIZE(always); i++)
		if (always[i] == function)
			return true;
	for (size_t i = 0; i < ARRAY_SIZE(with); i++)
		if (with[i].function == function)
			return feature_find(with[i].feature, strlen(with[i].feature), &bit) && feature_has(features, bit);
	return false;
}

/* Family, model and stepping, and the name that the guest's user reads. */
static void fill_identity(struct kvm_cpuid2 *cpuid, const struct cpu_model_def *def)
{
	struct kvm_cpuid_entry2 *one = cpuid_find(cpuid, 1, 0);
	char brand[48] = "";

	if (one && def->signature)
		one->eax = def->signature;
	snprintf(brand, sizeof(brand), "%s", def->name);
	for (size_t i = 0; i < 3; i++) {
		struct kvm_cpuid_entry2 *entry = cpuid_find(cpuid, 0x80000002 + (uint32_t)i, 0);

		if (entry) {
			memcpy(&entry->eax, brand + 16 * i, 4);
			memcpy(&entry->ebx, brand + 16 * i + 4, 4);
			memcpy(&entry->ecx, brand + 16 * i + 8, 4);
			memcpy(&entry->edx, brand + 16 * i + 12, 4);
		}
	}
}

void cpu_model_apply(const struct cpu_model *model, struct kvm_cpuid2 *cpuid)
{
	struct feature_set host, features = model->features;
	struct kvm_cpuid_entry2 *power = cpuid_find(cpuid, 6, 0);

	if (!model->given)
		return;
	features_read(cpuid, &host);
	for (unsigned int word = 0; word < FEATURE_WORDS; word++)
		features.words[word] |= host.words[word] & feature_words[word].own;
	features.words[WORD_80000001_EDX] &= ~EDX_AGAIN;
	features.words[WORD_80000001_EDX] |= host.words[WORD_80000001_EDX] & features.words[WORD_1_EDX] & EDX_AGAIN;
	for (uint32_t i = 0; model->def && i < cpuid->nent; i++)
		if (!leaf_belongs(cpuid->entries[i].function, &features))
			clear_leaf(&cpuid->entries[i]);
	/* of thermal and power management only that APIC timers don't stop */
	if (model->def && power) {
		power->eax &= 1U << 2;
		power->ebx = power->ecx = power->edx = 0;
	}
	for (unsigned int word = WORD_XCR0; word <= WORD_XSS; word++)
		if (word != WORD_XSS - 1)
			features.words[word] = host.words[word];
	features_write(cpuid, &features);
	fill_xsave(cpuid, &features);
	if (model->def)
		fill_identity(cpuid, model->def);
}

void cpu_model_finish(const struct cpu_model *model, struct kvm_cpuid2 *cpuid)
{
	struct kvm_cpuid_entry2 *one = cpuid_find(cpuid, 1, 0);
	const uint32_t ours = 1U << 31 | 1U << 24;	/* the hypervisor, the TSC's deadline */

	if (model->given && one)
		one->ecx &= model->features.words[WORD_1_ECX] | ~ours;
}

/* ---- MSRs ---- */

/* KVM's own value is the host's. One that the feature's absence hides is saved and restored all the same: 0 fits everywhere. */
void cpu_model_set_msrs(const struct cpu_model *model, struct kvm_cpu *cpu)
{
	static const struct {
		uint32_t msr;
		const char *feature;
	} msrs[] = {
		{ MSR_ARCH_CAPABILITIES, "arch_capabilities" },
		{ MSR_CORE_CAPABILITIES, "core_capabilities" },
		{ MSR_PERF_CAPABILITIES, "pdcm" },
	};

	for (size_t i = 0; model->given && i < ARRAY_SIZE(msrs); i++) {
		struct feature_bit bit = { 0, 0 };
		bool there = feature_find(msrs[i].feature, strlen(msrs[i].feature), &bit) && feature_has(&model->features, bit);
		bool narrow = model->def && model->def->arch_capabilities && msrs[i].msr == MSR_ARCH_CAPABILITIES;
		uint64_t host, value = 0;

		/* a KVM that hasn't the MSR, or hides it with the feature, has nothing to be masked */
		if (msr_read(cpu, msrs[i].msr, &host) || (there && !narrow))
			continue;
		value = there ? host & model->def->arch_capabilities : 0;
		if (host != value && msr_write(cpu, msrs[i].msr, value))
			log_debug("vCPU %u: KVM keeps MSR 0x%x", cpu->index, msrs[i].msr);
	}
}
