/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * x86 vCPUs: CPUID, the local APIC's wiring, power-on state and how vCPU 0 begins.
 *
 * Power-on state is what KVM made: what a model decides of it is read back once after creation, the rest is
 * the manual's. A reset sets it again whole. Each call on a vCPU loads it, so that the first start leaves what is as
 * KVM made it. Main thread, vCPU not running.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/arch.h"
#include "kvm/log.h"
#include "kvm/x86.h"
#include "x86/cpu-model.h"
#include "x86/cpuid.h"
#include "x86/msr.h"
#include "x86/state.h"

#define LAPIC_LVT_LINT0		0x350
#define LAPIC_LVT_LINT1		0x360
#define LVT_EXTINT		0x700
#define LVT_NMI			0x400

/* Offsets in the XSAVE area (Intel SDM volume 1, 13.4) */
#define XSAVE_FCW		0
#define XSAVE_MXCSR		24
#define XSAVE_XSTATE_BV		512
#define XSTATE_FP_SSE		3

/* Registers behind RESET (Intel SDM volume 3, table 9-1) */
#define RESET_RIP		0xfff0
#define RESET_RFLAGS		0x2
#define RESET_RDX		0x600
#define RESET_DR6		0xffff0ff0
#define RESET_DR7		0x400
#define RESET_XCR0		0x1

struct kvm_cpu_arch {
	struct kvm_sregs sregs;
	struct kvm_lapic_state lapic;
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
	struct cpu_topology topology;
	int result;
	_cleanup_free_ struct kvm_cpuid2 *cpuid = cpuid_for_vcpu(x86_host_cpuid(cpu->kvm));

	if (!cpuid)
		return log_errno(ENOMEM, "vCPU %u: CPUID", cpu->index);
	if (cpu_topology_parse(cpu->kvm->config, &topology))
		return -EUSAGE;
	if (cpuid_fill(cpuid, cpuid->nent + CPUID_SPARE, &topology, x86_apic_id(cpu->kvm, cpu->index),
		       kvm_check_extension(cpu->kvm, KVM_CAP_TSC_DEADLINE_TIMER) > 0))
		return log_error(E2BIG, "vCPU %u: CPUID doesn't fit", cpu->index);
	cpu_model_finish(x86_cpu_model(cpu->kvm), cpuid);
	result = cpu_ioctl(cpu, KVM_SET_CPUID2, cpuid, "KVM_SET_CPUID2");
	if (!result)
		cpu_model_set_msrs(x86_cpu_model(cpu->kvm), cpu);
	return result;
}

/* ---- power-on state ---- */

static void lapic_write(struct kvm_lapic_state *lapic, unsigned int offset, uint32_t value)
{
	memcpy(lapic->regs + offset, &value, sizeof(value));
}

static int cpu_take_power_on_state(struct kvm_cpu *cpu)
{
	struct kvm_cpu_arch *arch = cpu->arch;
	int result = cpu_ioctl(cpu, KVM_GET_SREGS, &arch->sregs, "KVM_GET_SREGS");

	if (!result)
		result = cpu_ioctl(cpu, KVM_GET_LAPIC, &arch->lapic, "KVM_GET_LAPIC");
	/* Wired as a BIOS leaves them, or a PIC's timer interrupt never arrives. */
	lapic_write(&arch->lapic, LAPIC_LVT_LINT0, LVT_EXTINT);
	lapic_write(&arch->lapic, LAPIC_LVT_LINT1, LVT_NMI);
	return result;
}

/* Everything but x87 and SSE goes to its initial state, as XSTATE_BV says that it isn't there. */
static int cpu_clear_xsave(struct kvm_cpu *cpu)
{
	struct kvm_xcrs xcrs = { .nr_xcrs = 1, .xcrs[0] = { .xcr = 0, .value = RESET_XCR0 } };
	const uint64_t present = XSTATE_FP_SSE;
	const uint32_t mxcsr = 0x1f80;
	const uint16_t fcw = 0x37f;
	struct kvm_xsave xsave;
	int result;

	if (kvm_check_extension(cpu->kvm, KVM_CAP_XCRS) <= 0)
		return 0;
	memset(&xsave, 0, sizeof(xsave));
	memcpy((uint8_t *)xsave.region + XSAVE_FCW, &fcw, sizeof(fcw));
	memcpy((uint8_t *)xsave.region + XSAVE_MXCSR, &mxcsr, sizeof(mxcsr));
	memcpy((uint8_t *)xsave.region + XSAVE_XSTATE_BV, &present, sizeof(present));
	result = cpu_ioctl(cpu, KVM_SET_XSAVE, &xsave, "KVM_SET_XSAVE");
	return result ? result : cpu_ioctl(cpu, KVM_SET_XCRS, &xcrs, "KVM_SET_XCRS");
}

/* What KVM_CREATE_VCPU does of itself. */
static int cpu_undo_run(struct kvm_cpu *cpu)
{
	struct kvm_mp_state state = { cpu->index ? KVM_MP_STATE_UNINITIALIZED : KVM_MP_STATE_RUNNABLE };
	struct kvm_regs regs = { .rip = RESET_RIP, .rflags = RESET_RFLAGS, .rdx = RESET_RDX };
	struct kvm_debugregs debug = { .dr6 = RESET_DR6, .dr7 = RESET_DR7 };
	struct kvm_vcpu_events events = { .flags = 0 };
	struct kvm_fpu fpu = { .fcw = 0x37f, .mxcsr = 0x1f80 };
	int result = cpu_ioctl(cpu, KVM_SET_MP_STATE, &state, "KVM_SET_MP_STATE");

	if (!result)
		result = cpu_ioctl(cpu, KVM_SET_SREGS, &cpu->arch->sregs, "KVM_SET_SREGS");
	if (!result)
		result = cpu_ioctl(cpu, KVM_SET_REGS, &regs, "KVM_SET_REGS");
	if (!result)
		result = cpu_ioctl(cpu, KVM_SET_VCPU_EVENTS, &events, "KVM_SET_VCPU_EVENTS");
	if (!result)
		result = cpu_ioctl(cpu, KVM_SET_DEBUGREGS, &debug, "KVM_SET_DEBUGREGS");
	if (!result)
		result = cpu_clear_xsave(cpu);
	return result ? result : cpu_ioctl(cpu, KVM_SET_FPU, &fpu, "KVM_SET_FPU");
}

static int cpu_set_power_on_state(struct kvm_cpu *cpu)
{
	struct kvm_cpu_arch *arch = cpu->arch;
	int result = arch->has_run ? cpu_undo_run(cpu) : 0;

	if (!result)
		result = msr_set_power_on(cpu, arch->has_run);
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

void x86_cpu_loaded(struct kvm_cpu *cpu)
{
	cpu->arch->has_run = true;
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

unsigned long arch_cpu_id(const struct kvm *kvm, unsigned int index)
{
	return x86_apic_id(kvm, index);
}

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
