/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether this host's KVM reports the breakpoint instruction, asked of a guest of one byte.
 *
 * Where KVM emulates guests' instructions, or runs itself on an emulated CPU that doesn't intercept int3 (QEMU's
 * SVM), KVM_GUESTDBG_USE_SW_BP is accepted and means nothing: the guest would run into a trap that it knows nothing
 * of. The probe's guest has no interrupt table: what isn't reported is a triple fault.
 */
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kvm/gdb.h"
#include "kvm/x86.h"

#define PAGE	4096

struct probe {
	int vm_fd, cpu_fd;
	void *page;
	struct kvm_run *run;
};

static void probe_segment(struct kvm_segment *segment, uint8_t type)
{
	*segment = (struct kvm_segment){ .limit = 0xffffffff, .selector = 8, .type = type, .present = 1, .s = 1, .g = 1, .db = 1 };
}

static bool probe_make(struct probe *probe, const struct kvm *kvm)
{
	struct kvm_userspace_memory_region slot = { .memory_size = PAGE };

	probe->page = mmap(NULL, PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	probe->vm_fd = ioctl(kvm->dev_fd, KVM_CREATE_VM, 0UL);
	if (probe->page == MAP_FAILED || probe->vm_fd < 0)
		return false;
	memcpy(probe->page, arch_gdb_trap, arch_gdb_trap_size);
	slot.userspace_addr = (uintptr_t)probe->page;
	if (ioctl(probe->vm_fd, KVM_SET_TSS_ADDR, (unsigned long)X86_TSS) < 0 ||
	    ioctl(probe->vm_fd, KVM_SET_USER_MEMORY_REGION, &slot) < 0)
		return false;
	probe->cpu_fd = ioctl(probe->vm_fd, KVM_CREATE_VCPU, 0UL);
	if (probe->cpu_fd < 0)
		return false;
	probe->run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED, probe->cpu_fd, 0);
	return probe->run != MAP_FAILED;
}

/* Flat protected mode at address 0, where the trap lies; the interrupt table has no entries */
static bool probe_run(const struct probe *probe)
{
	struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_USE_SW_BP };
	struct kvm_regs regs = { .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(probe->cpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return false;
	probe_segment(&sregs.cs, 0xb);
	probe_segment(&sregs.ds, 0x3);
	sregs.es = sregs.fs = sregs.gs = sregs.ss = sregs.ds;
	sregs.cr0 |= 1;
	sregs.idt = (struct kvm_dtable){ .base = 0, .limit = 0 };
	return ioctl(probe->cpu_fd, KVM_SET_SREGS, &sregs) >= 0 && ioctl(probe->cpu_fd, KVM_SET_REGS, &regs) >= 0 &&
	       ioctl(probe->cpu_fd, KVM_SET_GUEST_DEBUG, &debug) >= 0 && ioctl(probe->cpu_fd, KVM_RUN, 0UL) >= 0 &&
	       probe->run->exit_reason == KVM_EXIT_DEBUG;
}

bool arch_gdb_trap_works(struct kvm *kvm)
{
	struct probe probe = { .vm_fd = -1, .cpu_fd = -1, .page = MAP_FAILED, .run = MAP_FAILED };
	bool works = probe_make(&probe, kvm) && probe_run(&probe);

	if (probe.run != MAP_FAILED)
		munmap(probe.run, kvm->run_size);
	if (probe.cpu_fd >= 0)
		close(probe.cpu_fd);
	if (probe.vm_fd >= 0)
		close(probe.vm_fd);
	if (probe.page != MAP_FAILED)
		munmap(probe.page, PAGE);
	return works;
}
