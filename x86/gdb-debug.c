/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Breakpoints, watchpoints and single steps on x86, by KVM_SET_GUEST_DEBUG: the int3 instruction, the four debug
 * registers (Intel SDM volume 3, 18.2) and the trap flag, which KVM keeps from the guest's eyes.
 */
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/gdb.h"

#define VECTOR_DB	1
#define VECTOR_BP	3

#define SLOTS		4
#define DR6_SLOTS	0xfULL
#define DR6_STEP	BIT(14)
#define DR6_GUEST	(DR6_SLOTS | BIT(13) | DR6_STEP | BIT(15))	/* what an exception leaves there: BD, BS, BT */
#define DR7_FIXED	0x700ULL	/* bit 10, and exact breakpoints */
#define DR7_GLOBAL(n)	(2ULL << 2 * (n))
#define DR7_WRITE	1ULL
#define DR7_ACCESS	3ULL

#define OPCODE_HLT	0xf4

const uint8_t arch_gdb_trap[] = { 0xcc };
const size_t arch_gdb_trap_size = sizeof(arch_gdb_trap);

/* One debug register: up to eight aligned bytes of @point */
struct slot {
	uint64_t address;
	unsigned int length;
	size_t point;
};

int arch_gdb_usable(const struct kvm *kvm)
{
	(void)kvm;
	return 0;
}

void arch_gdb_code_changed(struct kvm *kvm, uint64_t physical, size_t length)
{
	/* caches of instructions are coherent here */
	(void)kvm;
	(void)physical;
	(void)length;
}

int arch_gdb_translate(struct kvm_cpu *cpu, uint64_t address, uint64_t *physical)
{
	struct kvm_translation translation = { .linear_address = address };

	if (ioctl(cpu->fd, KVM_TRANSLATE, &translation) < 0 || !translation.valid)
		return -EFAULT;
	*physical = translation.physical_address;
	return 0;
}

/* ---- debug registers ---- */

/* The largest aligned piece at the front of a range */
static unsigned int piece(uint64_t address, uint64_t length)
{
	unsigned int size = 8;

	while (address % size || size > length)
		size /= 2;
	return size;
}

/* Cuts the points into what debug registers take; returns how many, or -ENOSPC */
static int fill_slots(const struct gdb_point *points, size_t count, struct slot slots[SLOTS])
{
	int used = 0;

	for (size_t i = 0; i < count; i++) {
		uint64_t address = points[i].address, left = points[i].kind == GDB_HARDWARE ? 1 : points[i].length;

		while (left) {
			unsigned int size = piece(address, left);

			if (used == SLOTS)
				return -ENOSPC;
			slots[used++] = (struct slot){ address, size, i };
			address += size;
			left -= size;
		}
	}
	return used;
}

int arch_gdb_points_fit(struct kvm *kvm, const struct gdb_point *points, size_t count)
{
	struct slot slots[SLOTS];
	int used;

	(void)kvm;
	for (size_t i = 0; i < count; i++) {
		/* no CPU tells reads from writes: gdb then takes an access watchpoint */
		if (points[i].kind == GDB_READ)
			return -EOPNOTSUPP;
		if (!points[i].length)
			return -EINVAL;
	}
	used = fill_slots(points, count, slots);
	return used < 0 ? used : 0;
}

static uint64_t dr7_slot(unsigned int n, const struct slot *slot, enum gdb_point_kind kind)
{
	uint64_t type = kind == GDB_HARDWARE ? 0 : kind == GDB_WRITE ? DR7_WRITE : DR7_ACCESS;
	uint64_t length = slot->length == 8 ? 2 : slot->length - 1;

	return DR7_GLOBAL(n) | type << (16 + 4 * n) | length << (18 + 4 * n);
}

static void set_points(struct kvm_guest_debug *guest, const struct gdb_debug *debug)
{
	struct slot slots[SLOTS];
	int used = fill_slots(debug->points, debug->count, slots);

	if (used <= 0)
		return;
	guest->control |= KVM_GUESTDBG_USE_HW_BP;
	guest->arch.debugreg[7] = DR7_FIXED;
	for (unsigned int n = 0; n < (unsigned int)used; n++) {
		guest->arch.debugreg[n] = slots[n].address;
		guest->arch.debugreg[7] |= dr7_slot(n, &slots[n], debug->points[slots[n].point].kind);
	}
}

/* ---- control ---- */

/* A vCPU that sleeps, or is about to, is woken by interrupts only: blocked, it would never end its step. */
static bool cpu_sleeps(struct kvm_cpu *cpu)
{
	struct kvm_mp_state state;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	uint64_t physical;
	uint8_t opcode;

	if (ioctl(cpu->fd, KVM_GET_MP_STATE, &state) < 0 || state.mp_state != KVM_MP_STATE_RUNNABLE)
		return true;
	return ioctl(cpu->fd, KVM_GET_REGS, &regs) >= 0 && ioctl(cpu->fd, KVM_GET_SREGS, &sregs) >= 0 &&
	       !arch_gdb_translate(cpu, sregs.cs.base + regs.rip, &physical) &&
	       !memory_read(&cpu->kvm->memory, gpa(physical), &opcode, 1) && opcode == OPCODE_HLT;
}

static struct kvm_guest_debug guest_debug(struct kvm_cpu *cpu, const struct gdb_debug *debug)
{
	struct kvm_guest_debug guest = { .control = KVM_GUESTDBG_ENABLE };

	if (debug->software)
		guest.control |= KVM_GUESTDBG_USE_SW_BP;
	if (debug->step)
		guest.control |= KVM_GUESTDBG_SINGLESTEP;
#ifdef KVM_GUESTDBG_BLOCKIRQ
	/* else a step would end in an interrupt's handler as often as not: a stopped guest's timers are always due */
	if (debug->step && (kvm_check_extension(cpu->kvm, KVM_CAP_SET_GUEST_DEBUG2) & KVM_GUESTDBG_BLOCKIRQ) && !cpu_sleeps(cpu))
		guest.control |= KVM_GUESTDBG_BLOCKIRQ;
#endif
	set_points(&guest, debug);
	return guest;
}

int arch_gdb_set_debug(struct kvm_cpu *cpu, const struct gdb_debug *debug)
{
	struct kvm_guest_debug guest = { .control = 0 };

	if (debug)
		guest = guest_debug(cpu, debug);
	return ioctl(cpu->fd, KVM_SET_GUEST_DEBUG, &guest) < 0 ? -errno : 0;
}

/* ---- stops ---- */

static bool stop_by_point(const struct gdb_debug *debug, uint64_t dr6, struct gdb_stop *stop)
{
	struct slot slots[SLOTS];
	int used = fill_slots(debug->points, debug->count, slots);

	for (int n = 0; n < used; n++) {
		if (!(dr6 >> n & 1))
			continue;
		stop->kind = GDB_STOP_POINT;
		stop->point = slots[n].point;
		stop->address = slots[n].address;
		/* data is watched by a trap, code by a fault */
		stop->done = debug->points[stop->point].kind != GDB_HARDWARE;
		return true;
	}
	return false;
}

void arch_gdb_stop(struct kvm_cpu *cpu, const struct gdb_debug *debug, struct gdb_stop *stop)
{
	const struct kvm_debug_exit_arch *exit = &cpu->run->debug.arch;

	stop->address = exit->pc;
	if (exit->exception == VECTOR_BP) {
		stop->kind = debug->software ? GDB_STOP_SOFTWARE : GDB_STOP_NONE;
		return;
	}
	if (!stop_by_point(debug, exit->dr6, stop) && debug->step && (exit->dr6 & DR6_STEP))
		stop->kind = GDB_STOP_STEP;
}

int arch_gdb_to_guest(struct kvm_cpu *cpu, const struct gdb_debug *debug)
{
	const struct kvm_debug_exit_arch *exit = &cpu->run->debug.arch;
	struct kvm_guest_debug guest = guest_debug(cpu, debug);
	struct kvm_debugregs regs;

	if (exit->exception == VECTOR_BP) {
		guest.control |= KVM_GUESTDBG_INJECT_BP;
	} else {
		guest.control |= KVM_GUESTDBG_INJECT_DB;
		if (ioctl(cpu->fd, KVM_GET_DEBUGREGS, &regs) < 0)
			return -errno;
		regs.dr6 = (regs.dr6 & ~DR6_SLOTS) | (exit->dr6 & DR6_GUEST);
		if (ioctl(cpu->fd, KVM_SET_DEBUGREGS, &regs) < 0)
			return -errno;
	}
	return ioctl(cpu->fd, KVM_SET_GUEST_DEBUG, &guest) < 0 ? -errno : 0;
}
