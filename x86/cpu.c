/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * x86 vCPUs: CPUID, the local APIC's wiring, power-on state and how vCPU 0 begins.
 *
 * Power-on state is what KVM made, read back once after creation; a reset sets it again whole, so that it
 * can't forget a register. Main thread, vCPU not running.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/arch.h"
#include "kvm/log.h"
#include "kvm/x86.h"
#include "x86/cpuid.h"

#define LAPIC_LVT_LINT0		0x350
#define LAPIC_LVT_LINT1		0x360
#define LVT_EXTINT		0x700
#define LVT_NMI			0x400

#define MSR_TSC			0x00000010
#define MSR_SYSENTER_CS		0x00000174
#define MSR_SYSENTER_ESP	0x00000175
#define MSR_SYSENTER_EIP	0x00000176
#define MSR_MISC_ENABLE		0x000001a0
#define MISC_ENABLE_FAST_STRING	0x1
#define MSR_MTRR_DEF_TYPE	0x000002ff
#define MTRR_ENABLED_WRITEBACK	0x806
#define MSR_STAR		0xc0000081
#define MSR_LSTAR		0xc0000082
#define MSR_CSTAR		0xc0000083
#define MSR_FMASK		0xc0000084
#define MSR_KERNEL_GS_BASE	0xc0000102

struct kvm_cpu_arch {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	struct kvm_lapic_state lapic;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debug;
	struct kvm_xcrs xcrs;
	bool has_xcrs;
	bool has_run;			/* a reset later than the first */
};

static int cpu_ioctl(struct kvm_cpu *cpu, unsigned long request, void *argument, const char *name)
{
	if (ioctl(cpu->fd, request, argument) < 0)
		return log_errno(errno, "vCPU %u: %s", cpu->index, name);
	return 0;
}

/* ---- CPUID ---- */

static int cpu_set_cpuid(struct kvm_cpu *cpu)
{
	struct cpu_topology topology = { 1, 1, 1 };
	uint64_t count = config_uint(cpu->kvm->config, "cpus");
	_cleanup_free_ struct kvm_cpuid2 *cpuid = cpuid_host(cpu->kvm);

	if (!cpuid)
		return -EIO;
	topology.cores = count ? (unsigned int)count : 1;
	if (cpuid_fill(cpuid, cpuid->nent + CPUID_SPARE, &topology, x86_apic_id(cpu->index),
		       kvm_check_extension(cpu->kvm, KVM_CAP_TSC_DEADLINE_TIMER) > 0))
		return log_error(E2BIG, "vCPU %u: CPUID doesn't fit", cpu->index);
	return cpu_ioctl(cpu, KVM_SET_CPUID2, cpuid, "KVM_SET_CPUID2");
}

/* ---- power-on state ---- */

static void lapic_write(struct kvm_lapic_state *lapic, unsigned int offset, uint32_t value)
{
	memcpy(lapic->regs + offset, &value, sizeof(value));
}

static int cpu_take_power_on_state(struct kvm_cpu *cpu)
{
	struct kvm_cpu_arch *arch = cpu->arch;
	int result;

	arch->has_xcrs = kvm_check_extension(cpu->kvm, KVM_CAP_XCRS) > 0;
	result = cpu_ioctl(cpu, KVM_GET_REGS, &arch->regs, "KVM_GET_REGS");
	if (!result)
		result = cpu_ioctl(cpu, KVM_GET_SREGS, &arch->sregs, "KVM_GET_SREGS");
	if (!result)
		result = cpu_ioctl(cpu, KVM_GET_LAPIC, &arch->lapic, "KVM_GET_LAPIC");
	if (!result)
		result = cpu_ioctl(cpu, KVM_GET_VCPU_EVENTS, &arch->events, "KVM_GET_VCPU_EVENTS");
	if (!result)
		result = cpu_ioctl(cpu, KVM_GET_DEBUGREGS, &arch->debug, "KVM_GET_DEBUGREGS");
	if (!result && arch->has_xcrs)
		result = cpu_ioctl(cpu, KVM_GET_XCRS, &arch->xcrs, "KVM_GET_XCRS");
	/* Wired as a BIOS leaves them, or a PIC's timer interrupt never arrives. */
	lapic_write(&arch->lapic, LAPIC_LVT_LINT0, LVT_EXTINT);
	lapic_write(&arch->lapic, LAPIC_LVT_LINT1, LVT_NMI);
	return result;
}

static int cpu_set_msrs(struct kvm_cpu *cpu)
{
	static const struct kvm_msr_entry power_on[] = {
		{ .index = MSR_TSC },		/* on all vCPUs close together, so that KVM keeps them in step */
		{ .index = MSR_SYSENTER_CS }, { .index = MSR_SYSENTER_ESP }, { .index = MSR_SYSENTER_EIP },
		{ .index = MSR_STAR }, { .index = MSR_LSTAR }, { .index = MSR_CSTAR }, { .index = MSR_FMASK },
		{ .index = MSR_KERNEL_GS_BASE },
		{ .index = MSR_MISC_ENABLE, .data = MISC_ENABLE_FAST_STRING },
		{ .index = MSR_MTRR_DEF_TYPE, .data = MTRR_ENABLED_WRITEBACK },
	};
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entries[ARRAY_SIZE(power_on)];
	} msrs = { .head.nmsrs = ARRAY_SIZE(power_on) };
	int set;

	memcpy(msrs.entries, power_on, sizeof(power_on));
	set = ioctl(cpu->fd, KVM_SET_MSRS, &msrs);
	if (set < 0)
		return log_errno(errno, "vCPU %u: KVM_SET_MSRS", cpu->index);
	if (set < (int)ARRAY_SIZE(power_on))
		log_debug("vCPU %u: KVM doesn't take MSR 0x%x", cpu->index, power_on[set].index);
	return 0;
}

static int cpu_set_power_on_state(struct kvm_cpu *cpu)
{
	struct kvm_mp_state state = { cpu->index ? KVM_MP_STATE_UNINITIALIZED : KVM_MP_STATE_RUNNABLE };
	struct kvm_fpu fpu = { .fcw = 0x37f, .mxcsr = 0x1f80 };
	struct kvm_cpu_arch *arch = cpu->arch;
	int result = cpu_ioctl(cpu, KVM_SET_MP_STATE, &state, "KVM_SET_MP_STATE");

	if (!result && arch->has_run) {
		result = cpu_ioctl(cpu, KVM_SET_SREGS, &arch->sregs, "KVM_SET_SREGS");
		if (!result)
			result = cpu_ioctl(cpu, KVM_SET_REGS, &arch->regs, "KVM_SET_REGS");
		if (!result)
			result = cpu_ioctl(cpu, KVM_SET_VCPU_EVENTS, &arch->events, "KVM_SET_VCPU_EVENTS");
		if (!result)
			result = cpu_ioctl(cpu, KVM_SET_DEBUGREGS, &arch->debug, "KVM_SET_DEBUGREGS");
		if (!result && arch->has_xcrs)
			result = cpu_ioctl(cpu, KVM_SET_XCRS, &arch->xcrs, "KVM_SET_XCRS");
	}
	if (!result)
		result = cpu_ioctl(cpu, KVM_SET_FPU, &fpu, "KVM_SET_FPU");
	if (!result)
		result = cpu_set_msrs(cpu);
	if (!result)
		result = cpu_ioctl(cpu, KVM_SET_LAPIC, &arch->lapic, "KVM_SET_LAPIC");
	arch->has_run = true;
	return result;
}

/* ---- how vCPU 0 begins ---- */

static void segment_flat(struct kvm_segment *segment, uint16_t selector, uint8_t type, bool code64)
{
	*segment = (struct kvm_segment){
		.limit = 0xffffffff, .selector = selector, .type = type, .present = 1, .s = 1, .g = 1,
		.l = code64, .db = !code64,
	};
}

static void sregs_flat(struct kvm_sregs *sregs, bool code64)
{
	segment_flat(&sregs->cs, 0x10, 0xb, code64);
	segment_flat(&sregs->ds, 0x18, 0x3, false);
	sregs->es = sregs->fs = sregs->gs = sregs->ss = sregs->ds;
	sregs->gdt.base = X86_BOOT_GDT;
	sregs->gdt.limit = 4 * 8 - 1;
}

static void sregs_real(struct kvm_sregs *sregs, uint16_t cs, uint16_t ds)
{
	sregs->cs.selector = cs;
	sregs->cs.base = (uint64_t)cs << 4;
	sregs->ds.selector = ds;
	sregs->ds.base = (uint64_t)ds << 4;
	sregs->es = sregs->fs = sregs->gs = sregs->ss = sregs->ds;
}

static void sregs_enter(struct kvm_sregs *sregs, const struct x86_entry *entry)
{
	switch (entry->mode) {
	case X86_REAL:
		sregs_real(sregs, entry->cs, entry->ds);
		return;
	case X86_PROTECTED:
		sregs_flat(sregs, false);
		sregs->cr0 = (sregs->cr0 | 0x1) & ~0x80000000ULL;
		return;
	case X86_LONG:
		sregs_flat(sregs, true);
		sregs->cr3 = X86_BOOT_PML4;
		sregs->cr4 |= 0x20;
		sregs->cr0 |= 0x80000001ULL;
		sregs->efer |= 0x500;
		return;
	}
}

static int cpu_enter(struct kvm_cpu *cpu, const struct x86_entry *entry)
{
	struct kvm_sregs sregs = cpu->arch->sregs;
	struct kvm_regs regs = {
		.rip = entry->rip, .rsp = entry->rsp, .rsi = entry->rsi, .rbx = entry->rbx, .rflags = 0x2,
	};
	int result;

	sregs_enter(&sregs, entry);
	result = cpu_ioctl(cpu, KVM_SET_SREGS, &sregs, "KVM_SET_SREGS");
	return result ? result : cpu_ioctl(cpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");
}

int arch_cpu_reset(struct kvm_cpu *cpu)
{
	int result = cpu_set_power_on_state(cpu);

	/* The others wait for INIT and SIPI. */
	return result || cpu->index ? result : cpu_enter(cpu, x86_entry(cpu->kvm));
}

int x86_load_long_mode(struct kvm *kvm)
{
	/* null, null, 64-bit code at 0x10, data at 0x18: what the Linux boot protocol asks for */
	static const uint64_t gdt[] = { 0, 0, 0x00af9b000000ffffULL, 0x00cf93000000ffffULL };
	uint64_t pml4[1] = { (X86_BOOT_PML4 + 0x1000) | 3 };
	uint64_t pdpt[4], directory[512];
	int result;

	result = memory_write(&kvm->memory, gpa(X86_BOOT_GDT), gdt, sizeof(gdt));
	if (!result)
		result = memory_write(&kvm->memory, gpa(X86_BOOT_PML4), pml4, sizeof(pml4));
	for (unsigned int i = 0; i < 4; i++) {
		pdpt[i] = (X86_BOOT_PML4 + 0x2000 + i * 0x1000ULL) | 3;
		for (unsigned int n = 0; n < 512; n++)
			directory[n] = ((uint64_t)i << 30) | ((uint64_t)n << 21) | 0x83;
		if (!result)
			result = memory_write(&kvm->memory, gpa(X86_BOOT_PML4 + 0x2000 + i * 0x1000ULL), directory,
					      sizeof(directory));
	}
	if (!result)
		result = memory_write(&kvm->memory, gpa(X86_BOOT_PML4 + 0x1000), pdpt, sizeof(pdpt));
	return result ? log_errno(result, "boot: no room for page tables below 1 MiB") : 0;
}

/* ---- life ---- */

int arch_cpu_init(struct kvm_cpu *cpu)
{
	int result;

	cpu->arch = calloc(1, sizeof(*cpu->arch));
	if (!cpu->arch)
		return log_errno(ENOMEM, "vCPU %u", cpu->index);
	result = cpu_set_cpuid(cpu);
	return result ? result : cpu_take_power_on_state(cpu);
}

void arch_cpu_exit(struct kvm_cpu *cpu)
{
	free(cpu->arch);
	cpu->arch = NULL;
}

int arch_cpu_nmi(struct kvm_cpu *cpu)
{
	return ioctl(cpu->fd, KVM_NMI) < 0 ? -errno : 0;
}
