/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vCPU's registers and the code at its program counter, as text, for `lkvm debug` and for a VM that ends
 * badly. Runs on the vCPU's thread or while it is parked.
 */
#include "arm64.h"

#include <inttypes.h>
#include <stdio.h>

#define CODE_BEFORE		16
#define CODE_BYTES		64

static void dump_code(struct kvm_cpu *cpu, int fd, uint64_t pc)
{
	uint8_t code[CODE_BYTES];
	uint64_t pa;

	if (cpu_translate(cpu, pc, &pa) < 0 || pa < CODE_BEFORE ||
	    memory_read(&cpu->kvm->memory, gpa(pa - CODE_BEFORE), code, sizeof(code)) < 0) {
		dprintf(fd, " Code: not readable\n");
		return;
	}
	dprintf(fd, " Code at 0x%016" PRIx64 " (physical 0x%" PRIx64 "):", pc - CODE_BEFORE,
		pa - CODE_BEFORE);
	for (unsigned int i = 0; i < sizeof(code); i += 4) {
		uint32_t word = code[i] | code[i + 1] << 8 | code[i + 2] << 16 |
				(uint32_t)code[i + 3] << 24;

		dprintf(fd, "%s%s%08x%s", i % 32 ? " " : "\n  ", i == CODE_BEFORE ? "<" : "", word,
			i == CODE_BEFORE ? ">" : "");
	}
	dprintf(fd, "\n");
}

static void dump_register(struct kvm_cpu *cpu, int fd, const char *name, uint64_t id,
			  const char *end)
{
	uint64_t value;

	if (cpu_get_register(cpu, id, &value) < 0)
		dprintf(fd, " %-8s                   ?%s", name, end);
	else
		dprintf(fd, " %-8s  0x%016" PRIx64 "%s", name, value, end);
}

void arch_cpu_dump(struct kvm_cpu *cpu, int fd)
{
	static const struct {
		const char *name;
		uint64_t id;
	} special[] = {
		{ "pc", CPU_CORE_REGISTER(regs.pc) },
		{ "pstate", CPU_CORE_REGISTER(regs.pstate) },
		{ "sp_el0", CPU_CORE_REGISTER(regs.sp) },
		{ "sp_el1", CPU_CORE_REGISTER(sp_el1) },
		{ "elr_el1", CPU_CORE_REGISTER(elr_el1) },
		{ "spsr_el1", CPU_CORE_REGISTER(spsr[0]) },
		{ "esr_el1", CPU_ESR_EL1 },
		{ "far_el1", CPU_FAR_EL1 },
		{ "sctlr", CPU_SCTLR_EL1 },
		{ "tcr", CPU_TCR_EL1 },
		{ "ttbr0", CPU_TTBR0_EL1 },
		{ "ttbr1", CPU_TTBR1_EL1 },
		{ "vbar", CPU_VBAR_EL1 },
		{ "mpidr", CPU_MPIDR_EL1 },
	};
	uint64_t pc;

	dprintf(fd, "\n vCPU %u registers:\n", cpu->index);
	for (unsigned int n = 0; n <= 30; n++) {
		char name[8];

		snprintf(name, sizeof(name), "x%u", n);
		dump_register(cpu, fd, name, CPU_REGISTER_X(n), n % 2 || n == 30 ? "\n" : "");
	}
	for (size_t i = 0; i < ARRAY_SIZE(special); i++)
		dump_register(cpu, fd, special[i].name, special[i].id, i % 2 ? "\n" : "");
	if (cpu_get_register(cpu, CPU_CORE_REGISTER(regs.pc), &pc) == 0)
		dump_code(cpu, fd, pc);
}
