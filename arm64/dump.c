/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vCPU's registers and the code at its program counter, as text, for `lkvm debug` and for a VM that ends
 * badly. The code is found by walking the guest's own stage 1 tables (Arm ARM, D8): KVM has no call for it.
 * Runs on the vCPU's thread or while it is parked. What the guest's tables say is checked at each step.
 */
#include "arm64.h"

#include <inttypes.h>
#include <stdio.h>

#define PSTATE_AARCH32		BIT(4)
#define SCTLR_M			BIT(0)
#define CODE_BEFORE		16
#define CODE_BYTES		64

#define DESCRIPTOR_VALID	BIT(0)
#define DESCRIPTOR_TABLE	BIT(1)	/* at the last level: a page */
#define DESCRIPTOR_ADDRESS	0x0000fffffffff000ULL

/* granule_shift() - log2 of the page size that TCR_EL1's TG0 or TG1 names, 0 for a reserved value */
static unsigned int granule_shift(uint64_t tcr, bool upper)
{
	static const uint8_t tg0[] = { 12, 16, 14, 0 }, tg1[] = { 0, 14, 12, 16 };

	return upper ? tg1[tcr >> 30 & 3] : tg0[tcr >> 14 & 3];
}

static int walk(struct kvm_cpu *cpu, uint64_t table, unsigned int page_shift, unsigned int va_bits,
		uint64_t va, uint64_t *pa)
{
	unsigned int stride = page_shift - 3;
	/* How many bits above the page are to be resolved, rounded up to levels: the first may be smaller. */
	unsigned int levels = (va_bits - page_shift + stride - 1) / stride;
	unsigned int top = va_bits;

	for (unsigned int left = levels; left > 0; left--) {
		unsigned int shift = page_shift + stride * (left - 1);
		uint64_t index = va >> shift & (BIT(top - shift) - 1);
		le64 raw;
		uint64_t descriptor;

		if (memory_read(&cpu->kvm->memory, gpa(table + 8 * index), &raw, sizeof(raw)) < 0)
			return -EFAULT;
		descriptor = le64_get(raw);
		if (!(descriptor & DESCRIPTOR_VALID))
			return -EFAULT;
		if (left == 1 || !(descriptor & DESCRIPTOR_TABLE)) {
			*pa = (descriptor & DESCRIPTOR_ADDRESS & ~(BIT(shift) - 1)) | (va & (BIT(shift) - 1));
			return 0;
		}
		table = descriptor & DESCRIPTOR_ADDRESS & ~(BIT(page_shift) - 1);
		top = shift;
	}
	return -EFAULT;
}

/* cpu_translate() - the guest physical address of @va, as the CPU's EL1 sees it now */
static int cpu_translate(struct kvm_cpu *cpu, uint64_t va, uint64_t *pa)
{
	bool upper = va >> 55 & 1;
	uint64_t pstate, sctlr, tcr, ttbr;
	unsigned int page_shift, va_bits;

	/* In AArch32 the tables have other formats. */
	if (cpu_get_register(cpu, CPU_CORE_REGISTER(regs.pstate), &pstate) < 0 ||
	    (pstate & PSTATE_AARCH32))
		return -EFAULT;
	if (cpu_get_register(cpu, CPU_SCTLR_EL1, &sctlr) < 0 ||
	    cpu_get_register(cpu, CPU_TCR_EL1, &tcr) < 0 ||
	    cpu_get_register(cpu, upper ? CPU_TTBR1_EL1 : CPU_TTBR0_EL1, &ttbr) < 0)
		return -EFAULT;
	if (!(sctlr & SCTLR_M)) {
		*pa = va;
		return 0;
	}
	page_shift = granule_shift(tcr, upper);
	va_bits = 64 - (unsigned int)(tcr >> (upper ? 16 : 0) & 0x3f);
	/* 52-bit addresses are laid out differently; kernels fall back to 48 in most VMs. */
	if (!page_shift || va_bits <= page_shift || va_bits > 48)
		return -EFAULT;
	return walk(cpu, ttbr & DESCRIPTOR_ADDRESS & ~1ULL, page_shift, va_bits, va, pa);
}

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
