/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The breakpoint instruction of hosts that report no other: OUT %al, (%dx), one byte, which the kernel's code may
 * always execute and which leaves the guest whatever port DX names, but for the few that KVM has itself.
 */
#include <sys/ioctl.h>

#include "kvm/gdb.h"

static const uint8_t port_trap[] = { 0xee };
const uint8_t *const arch_gdb_weak_trap = port_trap;

/*
 * At an exit for I/O the program counter is at the instruction, or behind it already where KVM emulated that: behind
 * the KVM_RUN that completes it, it always is. So an exit that may be a breakpoint is completed first.
 */
bool arch_gdb_weak_stop(struct kvm_cpu *cpu, bool (*own)(void *opaque, struct kvm_cpu *cpu, uint64_t address),
			void *opaque, uint64_t *address)
{
	struct kvm_run *run = cpu->run;
	const __typeof__(run->io) saved = run->io;
	struct kvm_sregs sregs;
	struct kvm_regs regs;
	uint64_t linear;

	if (run->io.direction != KVM_EXIT_IO_OUT || run->io.size != 1 || run->io.count != 1 ||
	    ioctl(cpu->fd, KVM_GET_REGS, &regs) < 0 || ioctl(cpu->fd, KVM_GET_SREGS, &sregs) < 0)
		return false;
	linear = sregs.cs.base + regs.rip;
	if (!own(opaque, cpu, linear) && !own(opaque, cpu, linear - 1))
		return false;
	run->immediate_exit = 1;
	if (!ioctl(cpu->fd, KVM_RUN, 0UL) || errno != EINTR || ioctl(cpu->fd, KVM_GET_REGS, &regs) < 0)
		return false;
	cpu->io_pending = false;
	*address = sregs.cs.base + regs.rip - 1;
	if (!own(opaque, cpu, *address)) {
		/* an OUT of the guest's own beside a breakpoint: the caller carries it out */
		run->io = saved;
		return false;
	}
	regs.rip--;
	return ioctl(cpu->fd, KVM_SET_REGS, &regs) >= 0;
}
