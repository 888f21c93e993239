/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * CPUID of a vCPU, saved and loaded. The guest sees the same after as before, whatever this host has more; what this
 * host lacks is named, and nothing is loaded: a kernel that found a feature at its start will use it for life.
 *
 * Main thread, before the vCPU first runs.
 */
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/log.h"
#include "x86/cpu-features.h"
#include "x86/state.h"

#define CPUID_MAX	256
#define CPUID_WORDS	7	/* function, index, flags, EAX to EDX */

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

static int cpuid_check(const struct kvm_cpuid2 *host, const struct kvm_cpuid2 *saved)
{
	struct feature_set has, needs;
	char missing[256] = "";

	features_read(host, &has);
	features_read(saved, &needs);
	for (unsigned int word = 0; word < FEATURE_WORDS; word++)
		needs.words[word] &= ~(has.words[word] | feature_words[word].own);
	if (!feature_append_all(missing, sizeof(missing), &needs))
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
