/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtual to guest physical addresses, by a walk of the guest's own stage 1 tables (Arm ARM, D8): KVM has no call
 * for it. Runs on the vCPU's thread or while it is parked. What the guest's tables say is checked at each step.
 */
#include "arm64.h"

#define SCTLR_M			BIT(0)

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

int cpu_translate(struct kvm_cpu *cpu, uint64_t va, uint64_t *pa)
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
