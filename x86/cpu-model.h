/* SPDX-License-Identifier: BSD-2-Clause */
/* --cpu: which features a guest's CPUs have, out of those of its host. Main thread. */
#ifndef X86_CPU_MODEL_H
#define X86_CPU_MODEL_H

#include "x86/cpu-features.h"

struct kvm;
struct kvm_cpu;

/* The last four letters of a vendor's name, as in leaf 0's ECX */
#define VENDOR_ANY	0
#define VENDOR_INTEL	0x6c65746e
#define VENDOR_AMD	0x444d4163
#define VENDOR_HYGON	0x656e6975

/** struct cpu_model_def - a model by name */
struct cpu_model_def {
	const char *name, *base;	/* @base: a model further up, or NULL */
	uint32_t vendor, signature;	/* leaf 1's EAX; 0: the host's */
	uint64_t arch_capabilities;
	const char *features;		/* besides @base's */
};

/** struct cpu_model - what --cpu comes to on this host; all zero without it */
struct cpu_model {
	bool given;
	struct feature_set features;
	const struct cpu_model_def *def;	/* NULL: host or max */
};

/**
 * cpu_model_choose() - reads --cpu's @text
 * @host: what KVM offers here
 * Returns 0, -EUSAGE for what makes no sense, or -ENOTSUP for what this host lacks, each said in one line.
 */
int __must_check cpu_model_choose(const char *text, const struct kvm_cpuid2 *host, struct cpu_model *model);

/** cpu_model_apply() - makes @cpuid, which is the host's, that of @model: features, identity, and what hangs on features */
void cpu_model_apply(const struct cpu_model *model, struct kvm_cpuid2 *cpuid);

/** cpu_model_finish() - takes out again what every vCPU is given, if --cpu doesn't want it */
void cpu_model_finish(const struct cpu_model *model, struct kvm_cpuid2 *cpuid);

/** cpu_model_set_msrs() - MSRs that tell more of features, on a vCPU that has its CPUID */
void cpu_model_set_msrs(const struct cpu_model *model, struct kvm_cpu *cpu);

/** cpu_model_help() - prints models, with what @host (NULL: not known) lacks of each, and the names of features */
void cpu_model_help(const struct kvm_cpuid2 *host);

/** x86_cpu_model() - the VM's (x86/vm.c) */
const struct cpu_model *x86_cpu_model(const struct kvm *kvm);

#endif
