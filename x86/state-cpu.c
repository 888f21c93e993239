/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What KVM holds of a vCPU, saved and loaded: registers, FPU, LAPIC, pending events, debug registers.
 *
 * Documentation/virt/kvm/api.rst. CPUID comes first, since KVM checks all else by it; MSRs follow the LAPIC, whose
 * mode decides about some; pending events are last, since setting registers drops them. Time has a file of its own
 * (state-clock.c). Main thread, the vCPU parked.
 */
#include "x86/state.h"

#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/arch.h"
#include "kvm/log.h"

#define XSAVE_MAX	KIB(16)		/* AMX's tiles make it 11 KiB */
#define NESTED_MAX	KIB(16)
#define XCRS_MAX	KVM_MAX_XCRS
#define CR4_VMXE	BIT(13)
#define EFER_SVME	BIT(12)

/* All but what has a section of its own. */
struct cpu_saved {
	struct kvm_regs regs;
	struct kvm_sregs sregs;
	uint64_t pdptrs[4];
	uint8_t pdptrs_valid;
	struct kvm_vcpu_events events;
	struct kvm_debugregs debug;
	struct kvm_lapic_state lapic;
	uint32_t mp_state;
	uint32_t xcr_count, xcr_index[XCRS_MAX];
	uint64_t xcr_value[XCRS_MAX];
};

#define R(m)	STATE_U64(struct cpu_saved, m)
#define B(m)	STATE_U8(struct cpu_saved, m)
#define SEGMENT(m)								\
	R(sregs.m.base), STATE_U32(struct cpu_saved, sregs.m.limit),		\
	STATE_U16(struct cpu_saved, sregs.m.selector),				\
	STATE_U8_MAX(struct cpu_saved, sregs.m.type, 15),			\
	STATE_U8_MAX(struct cpu_saved, sregs.m.present, 1),			\
	STATE_U8_MAX(struct cpu_saved, sregs.m.dpl, 3),				\
	STATE_U8_MAX(struct cpu_saved, sregs.m.db, 1),				\
	STATE_U8_MAX(struct cpu_saved, sregs.m.s, 1),				\
	STATE_U8_MAX(struct cpu_saved, sregs.m.l, 1),				\
	STATE_U8_MAX(struct cpu_saved, sregs.m.g, 1),				\
	STATE_U8_MAX(struct cpu_saved, sregs.m.avl, 1),				\
	STATE_U8_MAX(struct cpu_saved, sregs.m.unusable, 1)

static const struct state_field cpu_fields[] = {
	R(regs.rax), R(regs.rbx), R(regs.rcx), R(regs.rdx), R(regs.rsi), R(regs.rdi), R(regs.rsp), R(regs.rbp),
	R(regs.r8), R(regs.r9), R(regs.r10), R(regs.r11), R(regs.r12), R(regs.r13), R(regs.r14), R(regs.r15),
	R(regs.rip), R(regs.rflags),
	SEGMENT(cs), SEGMENT(ds), SEGMENT(es), SEGMENT(fs), SEGMENT(gs), SEGMENT(ss), SEGMENT(tr), SEGMENT(ldt),
	R(sregs.gdt.base), STATE_U16(struct cpu_saved, sregs.gdt.limit),
	R(sregs.idt.base), STATE_U16(struct cpu_saved, sregs.idt.limit),
	R(sregs.cr0), R(sregs.cr2), R(sregs.cr3), R(sregs.cr4), R(sregs.cr8), R(sregs.efer), R(sregs.apic_base),
	STATE_U64_ARRAY(struct cpu_saved, pdptrs), STATE_U8_MAX(struct cpu_saved, pdptrs_valid, 1),
	B(events.exception.injected), B(events.exception.nr), B(events.exception.has_error_code),
	B(events.exception.pending), STATE_U32(struct cpu_saved, events.exception.error_code),
	B(events.interrupt.injected), B(events.interrupt.nr), B(events.interrupt.soft), B(events.interrupt.shadow),
	B(events.nmi.injected), B(events.nmi.pending), B(events.nmi.masked),
	STATE_U32(struct cpu_saved, events.sipi_vector), STATE_U32(struct cpu_saved, events.flags),
	B(events.smi.smm), B(events.smi.pending), B(events.smi.smm_inside_nmi), B(events.smi.latched_init),
	B(events.exception_has_payload), R(events.exception_payload),
	STATE_U64_ARRAY(struct cpu_saved, debug.db), R(debug.dr6), R(debug.dr7),
	STATE_BYTES(struct cpu_saved, lapic.regs),
	STATE_U32_MAX(struct cpu_saved, mp_state, 15),
	STATE_U32_MAX(struct cpu_saved, xcr_count, XCRS_MAX),
	STATE_U32_ARRAY(struct cpu_saved, xcr_index), STATE_U64_ARRAY(struct cpu_saved, xcr_value),
};
#undef R
#undef B
STATE_TABLE(cpu_table, "x86-vcpu", 1, cpu_fields);

int x86_cpu_ioctl(const struct kvm_cpu *cpu, unsigned long request, void *argument, const char *name)
{
	if (ioctl(cpu->fd, request, argument) < 0)
		return log_errno(errno, "vCPU %u: %s", cpu->index, name);
	return 0;
}

static bool has(const struct kvm_cpu *cpu, int capability)
{
	return kvm_check_extension(cpu->kvm, capability) > 0;
}

/* ---- segments and control registers ---- */

/* All that the two forms share lies alike, up to the APIC's base. */
_Static_assert(offsetof(struct kvm_sregs, apic_base) == offsetof(struct kvm_sregs2, apic_base), "the two forms begin alike");
#define SREGS_COMMON	(offsetof(struct kvm_sregs, apic_base) + sizeof(uint64_t))

static int sregs_get(struct kvm_cpu *cpu, struct cpu_saved *saved)
{
	struct kvm_sregs2 sregs;
	int result;

	if (!has(cpu, KVM_CAP_SREGS2))
		return x86_cpu_ioctl(cpu, KVM_GET_SREGS, &saved->sregs, "KVM_GET_SREGS");
	result = x86_cpu_ioctl(cpu, KVM_GET_SREGS2, &sregs, "KVM_GET_SREGS2");
	memcpy(&saved->sregs, &sregs, SREGS_COMMON);
	memcpy(saved->pdptrs, sregs.pdptrs, sizeof(saved->pdptrs));
	saved->pdptrs_valid = (sregs.flags & KVM_SREGS2_FLAGS_PDPTRS_VALID) != 0;
	return result;
}

static int sregs_set(struct kvm_cpu *cpu, struct cpu_saved *saved)
{
	struct kvm_sregs2 sregs = { .flags = saved->pdptrs_valid ? KVM_SREGS2_FLAGS_PDPTRS_VALID : 0 };

	/* An interrupt on its way in is among the events. */
	memset(saved->sregs.interrupt_bitmap, 0, sizeof(saved->sregs.interrupt_bitmap));
	if (!has(cpu, KVM_CAP_SREGS2))
		return x86_cpu_ioctl(cpu, KVM_SET_SREGS, &saved->sregs, "KVM_SET_SREGS");
	memcpy(&sregs, &saved->sregs, SREGS_COMMON);
	memcpy(sregs.pdptrs, saved->pdptrs, sizeof(sregs.pdptrs));
	return x86_cpu_ioctl(cpu, KVM_SET_SREGS2, &sregs, "KVM_SET_SREGS2");
}

/* ---- FPU ---- */

static size_t xsave_size(const struct kvm_cpu *cpu)
{
	int size = kvm_check_extension(cpu->kvm, KVM_CAP_XSAVE2);

	return MAX((size_t)size, sizeof(struct kvm_xsave));
}

static int xcrs_get(struct kvm_cpu *cpu, struct cpu_saved *saved)
{
	struct kvm_xcrs xcrs = { .nr_xcrs = 0 };
	int result;

	if (!has(cpu, KVM_CAP_XCRS))
		return 0;
	result = x86_cpu_ioctl(cpu, KVM_GET_XCRS, &xcrs, "KVM_GET_XCRS");
	saved->xcr_count = MIN(xcrs.nr_xcrs, (uint32_t)XCRS_MAX);
	for (uint32_t i = 0; i < saved->xcr_count; i++) {
		saved->xcr_index[i] = xcrs.xcrs[i].xcr;
		saved->xcr_value[i] = xcrs.xcrs[i].value;
	}
	return result;
}

static int xcrs_set(struct kvm_cpu *cpu, const struct cpu_saved *saved)
{
	struct kvm_xcrs xcrs = { .nr_xcrs = saved->xcr_count };

	for (uint32_t i = 0; i < saved->xcr_count; i++) {
		xcrs.xcrs[i].xcr = saved->xcr_index[i];
		xcrs.xcrs[i].value = saved->xcr_value[i];
	}
	return saved->xcr_count ? x86_cpu_ioctl(cpu, KVM_SET_XCRS, &xcrs, "KVM_SET_XCRS") : 0;
}

static int fpu_save(struct kvm_cpu *cpu, struct state_writer *writer)
{
	_cleanup_free_ struct kvm_xsave *xsave = NULL;
	size_t size = xsave_size(cpu);
	struct kvm_fpu fpu = { 0 };
	int result;

	if (size <= XSAVE_MAX)
		xsave = calloc(1, size);
	if (!xsave)
		return log_error(ENOMEM, "vCPU %u: an XSAVE area of %zu bytes", cpu->index, size);
	if (!has(cpu, KVM_CAP_XSAVE)) {
		result = x86_cpu_ioctl(cpu, KVM_GET_FPU, &fpu, "KVM_GET_FPU");
		state_save_blob(writer, "x86-fpu", &fpu, sizeof(fpu));
		return result;
	}
	result = size > sizeof(*xsave) ? x86_cpu_ioctl(cpu, KVM_GET_XSAVE2, xsave, "KVM_GET_XSAVE2") :
					 x86_cpu_ioctl(cpu, KVM_GET_XSAVE, xsave, "KVM_GET_XSAVE");
	state_save_blob(writer, "x86-xsave", xsave, size);
	return result;
}

/* KVM reads as much as its own CPU needs; what an older one saved is shorter, and the rest is initial state. */
static int fpu_load(struct kvm_cpu *cpu, struct state_reader *reader)
{
	_cleanup_free_ uint8_t *xsave = NULL;
	size_t size = xsave_size(cpu), length;
	struct kvm_fpu fpu;
	int result;

	if (size <= XSAVE_MAX)
		xsave = calloc(1, size);
	if (!xsave)
		return log_errno(ENOMEM, "vCPU %u", cpu->index);
	if (!has(cpu, KVM_CAP_XSAVE)) {
		result = state_load_blob(reader, "x86-fpu", &fpu, sizeof(fpu), &length);
		if (!result && length != sizeof(fpu))
			result = log_error(EINVAL, "saved state: vCPU %u: an FPU of %zu bytes", cpu->index, length);
		return result ? result : x86_cpu_ioctl(cpu, KVM_SET_FPU, &fpu, "KVM_SET_FPU");
	}
	result = state_load_blob(reader, "x86-xsave", xsave, size, &length);
	return result ? result : x86_cpu_ioctl(cpu, KVM_SET_XSAVE, xsave, "KVM_SET_XSAVE");
}

/* ---- a guest that is a hypervisor ---- */

static int nested_save(struct kvm_cpu *cpu, const struct kvm_sregs *sregs, struct state_writer *writer)
{
	int size = kvm_check_extension(cpu->kvm, KVM_CAP_NESTED_STATE);
	_cleanup_free_ struct kvm_nested_state *nested = NULL;
	int result;

	if (size < (int)sizeof(*nested) || !((sregs->cr4 & CR4_VMXE) || (sregs->efer & EFER_SVME))) {
		state_save_blob(writer, "x86-nested", NULL, 0);
		return 0;
	}
	nested = calloc(1, (size_t)size);
	if (!nested)
		return log_errno(ENOMEM, "vCPU %u", cpu->index);
	nested->size = (uint32_t)size;
	result = x86_cpu_ioctl(cpu, KVM_GET_NESTED_STATE, nested, "KVM_GET_NESTED_STATE");
	state_save_blob(writer, "x86-nested", nested, MIN(nested->size, (uint32_t)size));
	return result;
}

static int nested_load(struct kvm_cpu *cpu, struct state_reader *reader)
{
	_cleanup_free_ struct kvm_nested_state *nested = calloc(1, NESTED_MAX);
	size_t length;
	int result;

	if (!nested)
		return log_errno(ENOMEM, "vCPU %u", cpu->index);
	result = state_load_blob(reader, "x86-nested", nested, NESTED_MAX, &length);
	if (result || !length)
		return result;
	if (length < sizeof(*nested) || nested->size != length)
		return log_error(EINVAL, "saved state: vCPU %u: x86-nested is cut off", cpu->index);
	return x86_cpu_ioctl(cpu, KVM_SET_NESTED_STATE, nested, "KVM_SET_NESTED_STATE");
}

/* ---- all of it ---- */

static int cpu_get(struct kvm_cpu *cpu, struct cpu_saved *saved)
{
	struct kvm_mp_state mp_state = { 0 };
	/* first: KVM brings up to date here what INIT and SIPI have done */
	int result = x86_cpu_ioctl(cpu, KVM_GET_MP_STATE, &mp_state, "KVM_GET_MP_STATE");

	saved->mp_state = mp_state.mp_state;
	if (!result)
		result = x86_cpu_ioctl(cpu, KVM_GET_REGS, &saved->regs, "KVM_GET_REGS");
	if (!result)
		result = sregs_get(cpu, saved);
	if (!result)
		result = xcrs_get(cpu, saved);
	if (!result)
		result = x86_cpu_ioctl(cpu, KVM_GET_DEBUGREGS, &saved->debug, "KVM_GET_DEBUGREGS");
	if (!result)
		result = x86_cpu_ioctl(cpu, KVM_GET_LAPIC, &saved->lapic, "KVM_GET_LAPIC");
	return result ? result : x86_cpu_ioctl(cpu, KVM_GET_VCPU_EVENTS, &saved->events, "KVM_GET_VCPU_EVENTS");
}

int arch_cpu_save(struct kvm_cpu *cpu, struct state_writer *writer)
{
	struct cpu_saved saved;
	int result;

	memset(&saved, 0, sizeof(saved));
	result = cpu_get(cpu, &saved);
	if (result)
		return result;
	result = state_cpuid_save(cpu, writer);
	state_save(writer, &cpu_table, &saved);
	if (!result)
		result = nested_save(cpu, &saved.sregs, writer);
	if (!result)
		result = fpu_save(cpu, writer);
	return result ? result : state_msrs_save(cpu, writer);
}

/* What must be set before FPU and MSRs, and what behind them. */
static int cpu_set_first(struct kvm_cpu *cpu, struct cpu_saved *saved)
{
	int result = sregs_set(cpu, saved);

	return result ? result : x86_cpu_ioctl(cpu, KVM_SET_REGS, &saved->regs, "KVM_SET_REGS");
}

static int cpu_set_rest(struct kvm_cpu *cpu, struct cpu_saved *saved)
{
	struct kvm_mp_state mp_state = { saved->mp_state };
	int result = xcrs_set(cpu, saved);

	/* not before the registers: KVM wakes a vCPU whose instruction pointer is that of a reset */
	if (!result)
		result = x86_cpu_ioctl(cpu, KVM_SET_MP_STATE, &mp_state, "KVM_SET_MP_STATE");
	if (!result)
		result = x86_cpu_ioctl(cpu, KVM_SET_DEBUGREGS, &saved->debug, "KVM_SET_DEBUGREGS");
	return result ? result : x86_cpu_ioctl(cpu, KVM_SET_LAPIC, &saved->lapic, "KVM_SET_LAPIC");
}

int arch_cpu_load(struct kvm_cpu *cpu, struct state_reader *reader)
{
	struct cpu_saved saved;
	int result = state_cpuid_load(cpu, reader);

	x86_cpu_loaded(cpu);
	memset(&saved, 0, sizeof(saved));
	if (!result)
		result = state_load(reader, &cpu_table, &saved);
	if (!result)
		result = cpu_set_first(cpu, &saved);
	if (!result)
		result = nested_load(cpu, reader);
	if (!result)
		result = fpu_load(cpu, reader);
	if (!result)
		result = cpu_set_rest(cpu, &saved);
	if (!result)
		result = state_msrs_load(cpu, reader);
	if (!result)
		result = x86_cpu_ioctl(cpu, KVM_SET_VCPU_EVENTS, &saved.events, "KVM_SET_VCPU_EVENTS");
	return result;
}
