/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of arm64/ tell each other: the VM's and the vCPU's own state.
 */
#ifndef ARM64_ARM64_H
#define ARM64_ARM64_H

#include <linux/kvm.h>

#include "gic.h"
#include "kvm/arch.h"
#include "kvm/kvm.h"
#include "map.h"

/** struct arm64_vm - the architecture's state of a VM; main thread, constant once the machine is built */
struct arm64_vm {
	struct platform_layout layout;
	struct gic gic;
	struct log_limit nisv_log;
	bool mte;
	/* stolen time: NULL without it */
	void *pvtime;
	struct region pvtime_region;
};

/** arm64_vm() - the VM's, from arch_vm_init() on */
struct arm64_vm *arm64_vm(const struct kvm *kvm);

struct kvm_cpu_arch {
	struct kvm_vcpu_init init;	/* the same at every reset: KVM wants that */
	uint64_t mpidr;			/* affinity fields only */
	/* while gdb steps: the interrupts that are masked for it, and where it began; gdb-step.c */
	uint64_t step_masked, step_pc;
};

/** cpu_get_register(), cpu_set_register() - one register by KVM's ID; no message; vCPU not running */
int __must_check cpu_get_register(const struct kvm_cpu *cpu, uint64_t id, uint64_t *value);
int __must_check cpu_set_register(const struct kvm_cpu *cpu, uint64_t id, uint64_t value);

/** cpu_translate() - the guest physical address of @va, as the CPU's EL1 sees it now; or -EFAULT */
int __must_check cpu_translate(struct kvm_cpu *cpu, uint64_t va, uint64_t *pa);

#define PSTATE_AARCH32		BIT(4)

/**
 * step_mask() - before a single step: interrupts wait, unless the instruction itself is about their masks
 * step_unmask() - behind it, or when it is given up: nothing of that is left in the guest's registers
 */
void step_mask(struct kvm_cpu *cpu);
int __must_check step_unmask(struct kvm_cpu *cpu);

#define CPU_CORE_REGISTER(member) \
	(KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | \
	 (offsetof(struct kvm_regs, member) / sizeof(uint32_t)))
#define CPU_REGISTER_X(n)	(CPU_CORE_REGISTER(regs.regs[0]) + 2ULL * (n))
#define CPU_MPIDR_EL1		ARM64_SYS_REG(3, 0, 0, 0, 5)
#define CPU_SCTLR_EL1		ARM64_SYS_REG(3, 0, 1, 0, 0)
#define CPU_TTBR0_EL1		ARM64_SYS_REG(3, 0, 2, 0, 0)
#define CPU_TTBR1_EL1		ARM64_SYS_REG(3, 0, 2, 0, 1)
#define CPU_TCR_EL1		ARM64_SYS_REG(3, 0, 2, 0, 2)
#define CPU_ESR_EL1		ARM64_SYS_REG(3, 0, 5, 2, 0)
#define CPU_FAR_EL1		ARM64_SYS_REG(3, 0, 6, 0, 0)
#define CPU_VBAR_EL1		ARM64_SYS_REG(3, 0, 12, 0, 0)

/** cpu_set_attribute() - a vCPU attribute by group; 0, or negative errno without a message */
int __must_check cpu_set_attribute(const struct kvm_cpu *cpu, uint32_t group, uint64_t attribute,
				   const void *value);
bool cpu_has_attribute(const struct kvm_cpu *cpu, uint32_t group, uint64_t attribute);

/** struct boot_entry - where vCPU 0 starts, decided by the boot protocol: boot->private points to it */
struct boot_entry {
	uint64_t pstate, pc;
	uint64_t x[4];		/* r0 to r3 of a 32-bit guest */
};

#endif
