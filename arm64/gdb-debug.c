/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Breakpoints, watchpoints and single steps on arm64, by KVM_SET_GUEST_DEBUG: the BRK instruction, the breakpoint and
 * watchpoint registers, of which each CPU has its number (Arm ARM, D2), and the software step.
 */
#include "arm64.h"

#include <string.h>
#include <sys/ioctl.h>

#include "kvm/gdb.h"
#include "kvm/log.h"

/* Exception classes in the syndrome; the same of the current level is one more */
#define ESR_CLASS(esr)		((esr) >> 26 & 0x3f)
#define CLASS_BREAKPOINT	0x30
#define CLASS_STEP		0x32
#define CLASS_WATCHPOINT	0x34
#define CLASS_BRK		0x3c

#define CONTROL_ENABLE		BIT(0)
#define CONTROL_EL0_EL1		(3ULL << 1)
#define CONTROL_LOAD		BIT(3)
#define CONTROL_STORE		BIT(4)
#define CONTROL_BYTES(mask)	((uint64_t)(mask) << 5)
#define CONTROL_MASK(bits)	((uint64_t)(bits) << 24)
#define WATCH_MAX		GIB(2)

#define PSTATE_EL1H		5ULL
#define PSTATE_DAIF		0x3c0ULL
#define PSTATE_SSBS		BIT(12)
#define PSTATE_PAN		BIT(22)
#define PSTATE_KEPT		(0xfULL << 28 | BIT(24) | PSTATE_PAN)	/* flags, DIT */
#define SCTLR_SPAN		BIT(23)
#define SCTLR_DSSBS		BIT(44)

const uint8_t arch_gdb_trap[] = { 0x00, 0x00, 0x20, 0xd4 };	/* brk #0 */
const size_t arch_gdb_trap_size = sizeof(arch_gdb_trap);

int arch_gdb_usable(const struct kvm *kvm)
{
	if (config_flag(kvm->config, "aarch32"))
		return log_error(EUSAGE, "option --gdb: not for 32-bit guests (leave out --aarch32)");
	return 0;
}

unsigned int arch_gdb_probe(struct kvm *kvm)
{
	return (kvm_check_extension(kvm, KVM_CAP_SET_GUEST_DEBUG) > 0 ? GDB_CAN_TRAP : 0) |
	       (kvm_check_extension(kvm, KVM_CAP_GUEST_DEBUG_HW_BPS) > 0 ? GDB_CAN_BREAK : 0) |
	       (kvm_check_extension(kvm, KVM_CAP_GUEST_DEBUG_HW_WPS) > 0 ? GDB_CAN_WATCH : 0);
}

/* KVM/arm64 reports what it says */
const uint8_t *const arch_gdb_weak_trap = NULL;

bool arch_gdb_weak_stop(struct kvm_cpu *cpu, bool (*own)(void *opaque, struct kvm_cpu *cpu, uint64_t address),
			void *opaque, uint64_t *address)
{
	(void)cpu;
	(void)own;
	(void)opaque;
	(void)address;
	return false;
}

int arch_gdb_translate(struct kvm_cpu *cpu, uint64_t address, uint64_t *physical)
{
	return cpu_translate(cpu, address, physical);
}

void arch_gdb_code_changed(struct kvm *kvm, uint64_t physical, size_t length)
{
	struct iovec segments[4];
	int count = memory_iov(&kvm->memory, gpa(physical), length, true, segments, ARRAY_SIZE(segments));

	for (int i = 0; i < count; i++) {
		char *start = segments[i].iov_base;

		__builtin___clear_cache(start, start + segments[i].iov_len);
	}
}

/* ---- the debug registers ---- */

struct slots {
	struct kvm_guest_debug_arch registers;
	unsigned int breakpoints, watchpoints;
};

static int put_watchpoint(struct slots *slots, unsigned int max, enum gdb_point_kind kind, uint64_t address,
			  uint64_t bytes)
{
	uint64_t control = CONTROL_ENABLE | CONTROL_EL0_EL1 | bytes;

	if (slots->watchpoints == max)
		return -ENOSPC;
	if (kind != GDB_READ)
		control |= CONTROL_STORE;
	if (kind != GDB_WRITE)
		control |= CONTROL_LOAD;
	slots->registers.dbg_wcr[slots->watchpoints] = control;
	slots->registers.dbg_wvr[slots->watchpoints++] = address;
	return 0;
}

/* Up to eight bytes of one aligned eight by a mask of bytes, more by a mask of address bits */
static int put_watch(struct slots *slots, unsigned int max, const struct gdb_point *point)
{
	uint64_t address = point->address, left = point->length;
	int result = 0;

	if (IS_POWER_OF_2(left) && left > 8 && left <= WATCH_MAX && address % left == 0)
		return put_watchpoint(slots, max, point->kind, address,
				      CONTROL_BYTES(0xff) | CONTROL_MASK(__builtin_ctzll(left)));
	while (left && !result) {
		uint64_t part = MIN(left, 8 - address % 8);

		result = put_watchpoint(slots, max, point->kind, ALIGN_DOWN(address, 8),
					CONTROL_BYTES((BIT(part) - 1) << address % 8));
		address += part;
		left -= part;
	}
	return result;
}

static unsigned int registers_max(const struct kvm *kvm, int capability)
{
	return (unsigned int)MIN(MAX(kvm_check_extension(kvm, capability), 0), KVM_ARM_MAX_DBG_REGS);
}

static int fill_slots(const struct kvm *kvm, const struct gdb_point *points, size_t count, struct slots *slots)
{
	unsigned int breakpoints = registers_max(kvm, KVM_CAP_GUEST_DEBUG_HW_BPS);
	unsigned int watchpoints = registers_max(kvm, KVM_CAP_GUEST_DEBUG_HW_WPS);
	int result = 0;

	memset(slots, 0, sizeof(*slots));
	for (size_t i = 0; i < count && !result; i++) {
		if (points[i].kind != GDB_HARDWARE) {
			result = put_watch(slots, watchpoints, &points[i]);
			continue;
		}
		if (slots->breakpoints == breakpoints)
			return -ENOSPC;
		slots->registers.dbg_bcr[slots->breakpoints] = CONTROL_ENABLE | CONTROL_EL0_EL1 | CONTROL_BYTES(0xf);
		slots->registers.dbg_bvr[slots->breakpoints++] = ALIGN_DOWN(points[i].address, 4);
	}
	return result;
}

int arch_gdb_points_fit(struct kvm *kvm, const struct gdb_point *points, size_t count)
{
	struct slots slots;

	for (size_t i = 0; i < count; i++)
		if (!points[i].length || (points[i].kind == GDB_HARDWARE && points[i].address % 4))
			return -EINVAL;
	return fill_slots(kvm, points, count, &slots);
}

int arch_gdb_set_debug(struct kvm_cpu *cpu, const struct gdb_debug *debug)
{
	struct kvm_guest_debug guest = { .control = 0 };
	struct slots slots;
	int result = step_unmask(cpu);

	if (result)
		return result;
	if (debug) {
		guest.control = KVM_GUESTDBG_ENABLE;
		if (debug->software)
			guest.control |= KVM_GUESTDBG_USE_SW_BP;
		if (debug->step)
			guest.control |= KVM_GUESTDBG_SINGLESTEP;
		result = fill_slots(cpu->kvm, debug->points, debug->count, &slots);
		if (result)
			return result;
		if (debug->count)
			guest.control |= KVM_GUESTDBG_USE_HW;
		guest.arch = slots.registers;
	}
	if (debug && debug->step)
		step_mask(cpu);
	return ioctl(cpu->fd, KVM_SET_GUEST_DEBUG, &guest) < 0 ? -errno : 0;
}

/* ---- stops ---- */

/* A wide access begins in front of what is watched: the nearest is meant. */
static void find_watchpoint(const struct gdb_debug *debug, uint64_t far, struct gdb_stop *stop)
{
	uint64_t nearest = UINT64_MAX;

	for (size_t i = 0; i < debug->count; i++) {
		const struct gdb_point *point = &debug->points[i];
		bool inside = range_contains(point->address, point->length, far, 1);
		uint64_t distance = inside ? 0 : point->address > far ? point->address - far : far - point->address;

		if (point->kind == GDB_HARDWARE || distance >= nearest)
			continue;
		nearest = distance;
		stop->kind = GDB_STOP_POINT;
		stop->point = i;
		stop->address = inside ? far : point->address;
	}
}

static void find_breakpoint(const struct gdb_debug *debug, uint64_t pc, struct gdb_stop *stop)
{
	for (size_t i = 0; i < debug->count; i++) {
		if (debug->points[i].kind != GDB_HARDWARE || debug->points[i].address != pc)
			continue;
		stop->kind = GDB_STOP_POINT;
		stop->point = i;
	}
}

void arch_gdb_stop(struct kvm_cpu *cpu, const struct gdb_debug *debug, struct gdb_stop *stop)
{
	const struct kvm_debug_exit_arch *exit = &cpu->run->debug.arch;

	if (cpu_get_register(cpu, CPU_CORE_REGISTER(regs.pc), &stop->address))
		return;
	switch (ESR_CLASS(exit->hsr)) {
	case CLASS_BRK:
		stop->kind = debug->software ? GDB_STOP_SOFTWARE : GDB_STOP_NONE;
		return;
	case CLASS_BREAKPOINT:
		find_breakpoint(debug, stop->address, stop);
		return;
	case CLASS_WATCHPOINT:
		find_watchpoint(debug, exit->far, stop);
		return;
	case CLASS_STEP:
		stop->kind = debug->step ? GDB_STOP_STEP : GDB_STOP_NONE;
		return;
	default:
		return;
	}
}

/* ---- the guest's own exceptions: KVM can't inject them, so that they are entered by hand (Arm ARM, D1.3) ---- */

static int set_all(struct kvm_cpu *cpu, const uint64_t (*values)[2], size_t count)
{
	int result = 0;

	for (size_t i = 0; i < count && !result; i++)
		result = cpu_set_register(cpu, values[i][0], values[i][1]);
	return result;
}

static uint64_t vector_offset(uint64_t pstate)
{
	if (pstate & PSTATE_AARCH32)
		return 0x600;
	if ((pstate >> 2 & 3) == 0)
		return 0x400;
	return pstate & 1 ? 0x200 : 0;
}

static uint64_t entry_pstate(uint64_t pstate, uint64_t sctlr)
{
	uint64_t entered = (pstate & PSTATE_KEPT) | PSTATE_DAIF | PSTATE_EL1H;

	if (!(sctlr & SCTLR_SPAN))
		entered |= PSTATE_PAN;
	if (sctlr & SCTLR_DSSBS)
		entered |= PSTATE_SSBS;
	return entered;
}

int arch_gdb_to_guest(struct kvm_cpu *cpu, const struct gdb_debug *debug)
{
	uint64_t esr = cpu->run->debug.arch.hsr, pstate, pc, vbar, sctlr;
	int result = step_unmask(cpu);

	(void)debug;
	if (!result)
		result = cpu_get_register(cpu, CPU_CORE_REGISTER(regs.pstate), &pstate);
	if (!result)
		result = cpu_get_register(cpu, CPU_CORE_REGISTER(regs.pc), &pc);
	if (!result)
		result = cpu_get_register(cpu, CPU_VBAR_EL1, &vbar);
	if (!result)
		result = cpu_get_register(cpu, CPU_SCTLR_EL1, &sctlr);
	if (result)
		return result;
	if (ESR_CLASS(esr) != CLASS_BRK && (pstate >> 2 & 3))
		esr += 1 << 26;
	const uint64_t values[][2] = {
		{ CPU_CORE_REGISTER(spsr[0]), pstate },
		{ CPU_CORE_REGISTER(elr_el1), pc },
		{ CPU_ESR_EL1, esr },
		{ CPU_CORE_REGISTER(regs.pstate), entry_pstate(pstate, sctlr) },
		{ CPU_CORE_REGISTER(regs.pc), vbar + vector_offset(pstate) },
	};
	return set_all(cpu, values, ARRAY_SIZE(values));
}
