/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What this host's KVM can do of debugging, asked of a guest of a few bytes.
 *
 * Where KVM emulates guests' instructions, or runs itself on an emulated CPU (QEMU's SVM intercepts no int3, and
 * loads no debug registers), KVM_SET_GUEST_DEBUG takes everything and part of it means nothing: a guest would run
 * into a trap that it knows nothing of. The probe's guest has no interrupt table, so that it ends in a triple
 * fault unless what is asked for is reported. Each question has a vCPU of its own.
 */
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kvm/gdb.h"
#include "kvm/x86.h"

#define PAGE		4096
#define DATA		0x800
#define DR7_EXECUTE	0x702ULL	/* register 0, globally */
#define DR7_WRITE	0xd0702ULL	/* the same, for writes of four bytes */

/* nop; mov %eax, DATA; nop; int3 */
static const uint8_t probe_code[] = { 0x90, 0xa3, DATA & 0xff, DATA >> 8, 0, 0, 0x90, 0xcc };
#define AT_STORE	1
#define AT_STORED	6
#define AT_TRAP		7

static void probe_segment(struct kvm_segment *segment, uint8_t type)
{
	*segment = (struct kvm_segment){ .limit = 0xffffffff, .selector = 8, .type = type, .present = 1, .s = 1, .g = 1, .db = 1 };
}

/* Flat protected mode; the interrupt table has no entries. */
static bool probe_set_registers(int cpu_fd)
{
	struct kvm_regs regs = { .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(cpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return false;
	probe_segment(&sregs.cs, 0xb);
	probe_segment(&sregs.ds, 0x3);
	sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.ds;
	sregs.cr0 |= 1;
	sregs.idt = (struct kvm_dtable){ .base = 0, .limit = 0 };
	return ioctl(cpu_fd, KVM_SET_SREGS, &sregs) >= 0 && ioctl(cpu_fd, KVM_SET_REGS, &regs) >= 0;
}

/* Where the vCPU @index stops, or UINT64_MAX */
static uint64_t probe_ask(const struct kvm *kvm, int vm_fd, unsigned long index, const struct kvm_guest_debug *debug)
{
	_cleanup_close_ int cpu_fd = ioctl(vm_fd, KVM_CREATE_VCPU, index);
	struct kvm_run *run;
	uint64_t at = UINT64_MAX;

	if (cpu_fd < 0)
		return at;
	run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, cpu_fd, 0);
	if (run == MAP_FAILED)
		return at;
	if (probe_set_registers(cpu_fd) && ioctl(cpu_fd, KVM_SET_GUEST_DEBUG, debug) >= 0 &&
	    ioctl(cpu_fd, KVM_RUN, 0UL) >= 0 && run->exit_reason == KVM_EXIT_DEBUG)
		at = run->debug.arch.pc;
	munmap(run, kvm->run_size);
	return at;
}

static unsigned int probe_all(const struct kvm *kvm, int vm_fd)
{
	const struct kvm_guest_debug trap = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP };
	const struct kvm_guest_debug execute = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP,
						 .arch.debugreg = { [0] = AT_STORE, [7] = DR7_EXECUTE } };
	const struct kvm_guest_debug write = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_HW_BP,
					       .arch.debugreg = { [0] = DATA, [7] = DR7_WRITE } };

	return (probe_ask(kvm, vm_fd, 0, &trap) == AT_TRAP ? GDB_CAN_TRAP : 0) |
	       (probe_ask(kvm, vm_fd, 1, &execute) == AT_STORE ? GDB_CAN_BREAK : 0) |
	       (probe_ask(kvm, vm_fd, 2, &write) == AT_STORED ? GDB_CAN_WATCH : 0);
}

unsigned int arch_gdb_probe(struct kvm *kvm)
{
	struct kvm_userspace_memory_region slot = { .memory_size = PAGE };
	_cleanup_close_ int vm_fd = ioctl(kvm->dev_fd, KVM_CREATE_VM, 0UL);
	void *page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	unsigned int can = 0;

	if (page == MAP_FAILED)
		return 0;
	memcpy(page, probe_code, sizeof(probe_code));
	slot.userspace_addr = (uintptr_t)page;
	if (vm_fd >= 0 && ioctl(vm_fd, KVM_SET_TSS_ADDR, (unsigned long)X86_TSS) >= 0 &&
	    ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) >= 0)
		can = probe_all(kvm, vm_fd);
	munmap(page, PAGE);
	return can;
}
