/* SPDX-License-Identifier: BSD-2-Clause */
/* Between x86/cpu.c and x86/msr.c. */
#ifndef X86_MSR_H
#define X86_MSR_H

#include "kvm/kvm-cpu.h"

/**
 * msr_set_power_on() - the vCPU's MSRs to what they are at power-on; 0 or negative errno (said)
 * @again: the vCPU has run, so that those which KVM had made right may be wrong now
 */
int __must_check msr_set_power_on(struct kvm_cpu *cpu, bool again);

#endif
