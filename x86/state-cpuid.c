/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CPUID of a vCPU, saved and loaded. The guest sees the same after as before, whatever this host has more; what this
 * host lacks is named, and nothing is loaded: a kernel that found a feature at its start will use it for life.
 *
 * Main thread, before the vCPU first runs.
 */
#include <linux/kvm.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/log.h"
#include "x86/state.h"

#define CPUID_MAX	256
#define CPUID_WORDS	7	/* function, index, flags, EAX to EDX */

enum { EAX, EBX, ECX, EDX };

/* The registers that are sets of features; @own: bits that follow the vCPU's state or are ours to set */
static const struct cpuid_features {
	uint32_t function, index;
	unsigned int reg;
	uint32_t own;
} cpuid_features[] = {
	{ 0x1, 0, ECX, 1U << 31 | 1U << 27 | 1U << 24 | 1U << 3 },	/* hypervisor, OSXSAVE, TSC deadline, MONITOR */
	{ 0x1, 0, EDX, 1U << 28 | 1U << 9 },				/* HTT, APIC */
	{ 0x7, 0, EBX, 0 }, { 0x7, 0, ECX, 1U << 4 /* OSPKE */ }, { 0x7, 0, EDX, 0 },
	{ 0x7, 1, EAX, 0 }, { 0x7, 1, EDX, 0 }, { 0x7, 2, EDX, 0 },
	{ 0xd, 0, EAX, 0 }, { 0xd, 0, EDX, 0 }, { 0xd, 1, EAX, 0 }, { 0xd, 1, ECX, 0 },
	{ 0x40000001, 0, EAX, 0 },
	{ 0x80000001, 0, ECX, 1U << 1 }, { 0x80000001, 0, EDX, 1U << 9 },
	{ 0x80000007, 0, EDX, 0 }, { 0x80000008, 0, EBX, 0 }, { 0x8000000a, 0, EDX, 0 }, { 0x80000021, 0, EAX, 0 },
};

/* Names for those that guests are built for; any other is said by its place. */
static const struct {
	uint32_t function, index;
	unsigned int reg, bit;
	const char *name;
} cpuid_names[] = {
	{ 0x1, 0, ECX, 0, "sse3" }, { 0x1, 0, ECX, 1, "pclmulqdq" }, { 0x1, 0, ECX, 5, "vmx" }, { 0x1, 0, ECX, 9, "ssse3" },
	{ 0x1, 0, ECX, 12, "fma" }, { 0x1, 0, ECX, 13, "cx16" }, { 0x1, 0, ECX, 17, "pcid" }, { 0x1, 0, ECX, 19, "sse4.1" },
	{ 0x1, 0, ECX, 20, "sse4.2" }, { 0x1, 0, ECX, 21, "x2apic" }, { 0x1, 0, ECX, 22, "movbe" }, { 0x1, 0, ECX, 23, "popcnt" },
	{ 0x1, 0, ECX, 25, "aes" }, { 0x1, 0, ECX, 26, "xsave" }, { 0x1, 0, ECX, 28, "avx" }, { 0x1, 0, ECX, 29, "f16c" },
	{ 0x1, 0, ECX, 30, "rdrand" }, { 0x1, 0, EDX, 25, "sse" }, { 0x1, 0, EDX, 26, "sse2" },
	{ 0x7, 0, EBX, 0, "fsgsbase" }, { 0x7, 0, EBX, 1, "tsc_adjust" }, { 0x7, 0, EBX, 3, "bmi1" }, { 0x7, 0, EBX, 5, "avx2" },
	{ 0x7, 0, EBX, 7, "smep" }, { 0x7, 0, EBX, 8, "bmi2" }, { 0x7, 0, EBX, 9, "erms" }, { 0x7, 0, EBX, 10, "invpcid" },
	{ 0x7, 0, EBX, 16, "avx512f" }, { 0x7, 0, EBX, 17, "avx512dq" }, { 0x7, 0, EBX, 18, "rdseed" }, { 0x7, 0, EBX, 19, "adx" },
	{ 0x7, 0, EBX, 20, "smap" }, { 0x7, 0, EBX, 28, "avx512cd" }, { 0x7, 0, EBX, 29, "sha_ni" },
	{ 0x7, 0, EBX, 30, "avx512bw" }, { 0x7, 0, EBX, 31, "avx512vl" }, { 0x7, 0, ECX, 2, "umip" }, { 0x7, 0, ECX, 3, "pku" },
	{ 0x7, 0, ECX, 16, "la57" }, { 0x7, 0, EDX, 26, "spec_ctrl" }, { 0x7, 0, EDX, 29, "arch_capabilities" },
	{ 0x80000001, 0, ECX, 2, "svm" }, { 0x80000001, 0, ECX, 5, "abm" }, { 0x80000001, 0, EDX, 20, "nx" },
	{ 0x80000001, 0, EDX, 26, "pdpe1gb" }, { 0x80000001, 0, EDX, 27, "rdtscp" }, { 0x80000007, 0, EDX, 8, "invariant TSC" },
};

static struct kvm_cpuid2 *cpuid_new(void)
{
	struct kvm_cpuid2 *cpuid = calloc(1, sizeof(*cpuid) + CPUID_MAX * sizeof(cpuid->entries[0]));

	if (cpuid)
		cpuid->nent = CPUID_MAX;
	return cpuid;
}

int state_cpuid_save(struct kvm_cpu *cpu, struct state_writer *writer)
{
	_cleanup_free_ struct kvm_cpuid2 *cpuid = cpuid_new();
	_cleanup_free_ le32 *words = calloc(CPUID_MAX, CPUID_WORDS * sizeof(*words));
	size_t used = 0;
	int result;

	if (!cpuid || !words)
		return log_errno(ENOMEM, "vCPU %u: CPUID", cpu->index);
	result = x86_cpu_ioctl(cpu, KVM_GET_CPUID2, cpuid, "KVM_GET_CPUID2");
	for (uint32_t i = 0; !result && i < MIN(cpuid->nent, (uint32_t)CPUID_MAX); i++) {
		const struct kvm_cpuid_entry2 *entry = &cpuid->entries[i];
		const uint32_t values[CPUID_WORDS] = { entry->function, entry->index, entry->flags,
						       entry->eax, entry->ebx, entry->ecx, entry->edx };

		for (size_t n = 0; n < CPUID_WORDS; n++)
			words[used++] = le32_of(values[n]);
	}
	state_save_blob(writer, "x86-cpuid", words, used * sizeof(*words));
	return result;
}

/* ---- what the host must have ---- */

static uint32_t cpuid_register(const struct kvm_cpuid_entry2 *entry, unsigned int reg)
{
	const uint32_t values[] = { entry->eax, entry->ebx, entry->ecx, entry->edx };

	return values[reg];
}

static uint32_t cpuid_value(const struct kvm_cpuid2 *cpuid, const struct cpuid_features *at)
{
	for (uint32_t i = 0; i < cpuid->nent; i++)
		if (cpuid->entries[i].function == at->function && cpuid->entries[i].index == at->index)
			return cpuid_register(&cpuid->entries[i], at->reg);
	return 0;
}

static void feature_append(char *text, size_t size, const struct cpuid_features *at, unsigned int bit)
{
	static const char *const registers[] = { "EAX", "EBX", "ECX", "EDX" };
	size_t used = strlen(text);

	for (size_t i = 0; i < ARRAY_SIZE(cpuid_names); i++) {
		if (cpuid_names[i].function != at->function || cpuid_names[i].index != at->index ||
		    cpuid_names[i].reg != at->reg || cpuid_names[i].bit != bit)
			continue;
		snprintf(text + used, size - used, "%s%s", used ? ", " : "", cpuid_names[i].name);
		return;
	}
	snprintf(text + used, size - used, "%sCPUID 0x%x.%u %s bit %u", used ? ", " : "", at->function, at->index,
		 registers[at->reg], bit);
}

static int cpuid_check(const struct kvm_cpuid2 *host, const struct kvm_cpuid2 *saved)
{
	char missing[256] = "";

	for (size_t i = 0; i < ARRAY_SIZE(cpuid_features); i++) {
		const struct cpuid_features *at = &cpuid_features[i];
		uint32_t lacks = cpuid_value(saved, at) & ~(cpuid_value(host, at) | at->own);

		for (unsigned int bit = 0; bit < 32; bit++)
			if (lacks >> bit & 1)
				feature_append(missing, sizeof(missing), at, bit);
	}
	if (!*missing)
		return 0;
	return log_error(ENOTSUP, "saved state: this host's CPU or KVM lacks what the guest uses: %s", missing);
}

int state_cpuid_load(struct kvm_cpu *cpu, struct state_reader *reader)
{
	_cleanup_free_ struct kvm_cpuid2 *cpuid = cpuid_new(), *host = cpuid_new();
	_cleanup_free_ le32 *words = calloc(CPUID_MAX, CPUID_WORDS * sizeof(*words));
	size_t length, max = CPUID_MAX * sizeof(*words) * CPUID_WORDS;
	int result;

	if (!cpuid || !host || !words)
		return log_errno(ENOMEM, "vCPU %u: CPUID", cpu->index);
	result = state_load_blob(reader, "x86-cpuid", words, max, &length);
	if (result)
		return result;
	if (length % (CPUID_WORDS * sizeof(*words)))
		return log_error(EINVAL, "saved state: vCPU %u: x86-cpuid is cut off", cpu->index);
	cpuid->nent = (uint32_t)(length / (CPUID_WORDS * sizeof(*words)));
	for (uint32_t i = 0; i < cpuid->nent; i++) {
		const le32 *at = words + (size_t)i * CPUID_WORDS;

		cpuid->entries[i] = (struct kvm_cpuid_entry2){
			.function = le32_get(at[0]), .index = le32_get(at[1]), .flags = le32_get(at[2]),
			.eax = le32_get(at[3]), .ebx = le32_get(at[4]), .ecx = le32_get(at[5]), .edx = le32_get(at[6]),
		};
	}
	/* what a new vCPU has is what this host can give: KVM may add to what it was told */
	if (!cpu->index)
		result = x86_cpu_ioctl(cpu, KVM_GET_CPUID2, host, "KVM_GET_CPUID2");
	if (!cpu->index && !result)
		result = cpuid_check(host, cpuid);
	return result ? result : x86_cpu_ioctl(cpu, KVM_SET_CPUID2, cpuid, "KVM_SET_CPUID2");
}
