/* SPDX-License-Identifier: BSD-2-Clause */
/* Between the files that save and load what KVM holds of a PC. */
#ifndef X86_STATE_H
#define X86_STATE_H

#include "kvm/kvm-cpu.h"
#include "kvm/state.h"

#define MSR_TSC			0x10
#define MSR_TSC_DEADLINE	0x6e0

/** x86_cpu_ioctl() - 0 or negative errno (said, by @name) */
int __must_check x86_cpu_ioctl(const struct kvm_cpu *cpu, unsigned long request, void *argument, const char *name);

/** msr_read(), msr_write() - one; 0 or negative errno without a message */
int __must_check msr_read(const struct kvm_cpu *cpu, uint32_t index, uint64_t *value);
int __must_check msr_write(const struct kvm_cpu *cpu, uint32_t index, uint64_t value);

/** x86_cpu_loaded() - a reset must undo all of it from now on (x86/cpu.c) */
void x86_cpu_loaded(struct kvm_cpu *cpu);

/** state_cpuid_save() - as the vCPU has it; state_cpuid_load() - gives it that, if the host has all of its features */
int __must_check state_cpuid_save(struct kvm_cpu *cpu, struct state_writer *writer);
int __must_check state_cpuid_load(struct kvm_cpu *cpu, struct state_reader *reader);

/** state_msrs_save(), state_msrs_load() - the host's list, but for what belongs to time */
int __must_check state_msrs_save(struct kvm_cpu *cpu, struct state_writer *writer);
int __must_check state_msrs_load(struct kvm_cpu *cpu, struct state_reader *reader);

#endif
