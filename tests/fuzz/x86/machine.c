/* SPDX-License-Identifier: BSD-2-Clause */
/* What x86/vm.c has only with KVM: where the kernel is entered, and what the host's CPUs can (--wrap in rules.mk). */
#include <string.h>

#include "kvm/x86.h"
#include "x86/cpuid.h"

struct x86_entry *__wrap_x86_entry(const struct kvm *kvm);
const struct kvm_cpuid2 *__wrap_x86_host_cpuid(const struct kvm *kvm);

struct x86_entry *__wrap_x86_entry(const struct kvm *kvm)
{
	static struct x86_entry entry;

	(void)kvm;
	return &entry;
}

/* No leaves: a CPU of the first days. */
const struct kvm_cpuid2 *__wrap_x86_host_cpuid(const struct kvm *kvm)
{
	static const struct kvm_cpuid2 none;

	(void)kvm;
	return &none;
}
