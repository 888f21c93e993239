/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Single steps that don't end in an interrupt's handler.
 *
 * A guest that stood still has a timer interrupt pending, so that each step would end at the vector, and one from a
 * breakpoint would come back to it, for ever. KVM/arm64 can't block interrupts, so they are masked in PSTATE for the
 * one instruction, and the mask is taken back: from PSTATE, or, if the instruction made an exception, from what
 * that saved in SPSR_EL1.
 */
#include "arm64.h"

#define PSTATE_IF	(BIT(7) | BIT(6))
#define VECTOR_SIZE	0x80
#define VECTORS_SIZE	0x800
#define CPU_PC		CPU_CORE_REGISTER(regs.pc)
#define CPU_PSTATE	CPU_CORE_REGISTER(regs.pstate)
#define CPU_ELR_EL1	CPU_CORE_REGISTER(elr_el1)
#define CPU_SPSR_EL1	CPU_CORE_REGISTER(spsr[0])

/* Those that read or write the masks, where ours would show or be lost (Arm ARM, C6.2) */
static const struct {
	uint32_t mask, value;
} mask_instructions[] = {
	{ 0xfffff0ff, 0xd50340df },	/* MSR DAIFSet, #imm */
	{ 0xfffff0ff, 0xd50340ff },	/* MSR DAIFClr, #imm */
	{ 0xffdfffe0, 0xd51b4220 },	/* MSR DAIF, Xt and MRS Xt, DAIF */
	{ 0xfffff000, 0xd69f0000 },	/* ERET, ERETAA, ERETAB */
};

static bool touches_masks(struct kvm_cpu *cpu, uint64_t pc)
{
	uint64_t physical;
	le32 instruction;

	if (cpu_translate(cpu, pc, &physical) < 0 ||
	    memory_read(&cpu->kvm->memory, gpa(physical), &instruction, sizeof(instruction)) < 0)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(mask_instructions); i++)
		if ((le32_get(instruction) & mask_instructions[i].mask) == mask_instructions[i].value)
			return true;
	return false;
}

void step_mask(struct kvm_cpu *cpu)
{
	struct kvm_cpu_arch *arch = cpu->arch;
	uint64_t pstate;

	if (cpu_get_register(cpu, CPU_PC, &arch->step_pc) || cpu_get_register(cpu, CPU_PSTATE, &pstate) ||
	    (pstate & PSTATE_AARCH32) || touches_masks(cpu, arch->step_pc))
		return;
	if (!cpu_set_register(cpu, CPU_PSTATE, pstate | PSTATE_IF))
		arch->step_masked = ~pstate & PSTATE_IF;
}

/* Whether the vCPU stands at a vector, having come there from the instruction that was stepped */
static bool took_exception(struct kvm_cpu *cpu)
{
	uint64_t pc, vbar, elr, start = cpu->arch->step_pc;

	return !cpu_get_register(cpu, CPU_PC, &pc) && !cpu_get_register(cpu, CPU_VBAR_EL1, &vbar) &&
	       !cpu_get_register(cpu, CPU_ELR_EL1, &elr) && range_contains(vbar, VECTORS_SIZE, pc, 4) &&
	       pc % VECTOR_SIZE == 0 && pc != start && (elr == start || elr == start + 4);
}

int step_unmask(struct kvm_cpu *cpu)
{
	struct kvm_cpu_arch *arch = cpu->arch;
	uint64_t id = CPU_PSTATE, value;
	int result;

	if (!arch->step_masked)
		return 0;
	if (took_exception(cpu))
		id = CPU_SPSR_EL1;
	result = cpu_get_register(cpu, id, &value);
	if (!result)
		result = cpu_set_register(cpu, id, value & ~arch->step_masked);
	arch->step_masked = 0;
	return result;
}
