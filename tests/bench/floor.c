/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bench's floor: the KVM calls that nothing can avoid, and nothing else.
 *
 * Makes a VM with the irqchip, the PIT, 128 MiB of RAM and one vCPU, puts a payload at 0x10000, runs it in
 * real mode from there, and ends at the first reset it asks for. What lkvm needs beyond this is its own cost.
 *
 *	floor PAYLOAD
 */
#include <fcntl.h>
#include <linux/kvm.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#define RAM_SIZE	(128UL << 20)
#define LOAD_ADDRESS	0x10000UL

static int fail(const char *what)
{
	perror(what);
	return 1;
}

static int make_vm(int kvm)
{
	struct kvm_pit_config pit = { .flags = 0 };
	uint64_t identity = 0xfffbc000;
	int vm = ioctl(kvm, KVM_CREATE_VM, 0);

	if (vm < 0 || ioctl(vm, KVM_SET_TSS_ADDR, 0xfffbd000UL) < 0 || ioctl(vm, KVM_SET_IDENTITY_MAP_ADDR, &identity) < 0 ||
	    ioctl(vm, KVM_CREATE_IRQCHIP, 0) < 0 || ioctl(vm, KVM_CREATE_PIT2, &pit) < 0)
		return -1;
	return vm;
}

static char *make_ram(int vm)
{
	struct kvm_userspace_memory_region region = { .memory_size = RAM_SIZE };
	char *ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (ram == MAP_FAILED)
		return NULL;
	region.userspace_addr = (uintptr_t)ram;
	return ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0 ? NULL : ram;
}

static int set_registers(int vcpu)
{
	struct kvm_regs regs = { .rip = 0, .rflags = 2 };
	struct kvm_sregs sregs;

	if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		return -1;
	sregs.cs.selector = LOAD_ADDRESS >> 4;
	sregs.cs.base = LOAD_ADDRESS;
	sregs.ds = sregs.es = sregs.ss = sregs.cs;
	sregs.ds.type = sregs.es.type = sregs.ss.type = 3;
	return ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0 || ioctl(vcpu, KVM_SET_REGS, &regs) < 0 ? -1 : 0;
}

static int run_until_reset(int vcpu, struct kvm_run *run)
{
	for (;;) {
		if (ioctl(vcpu, KVM_RUN, 0) < 0)
			return fail("KVM_RUN");
		if (run->exit_reason == KVM_EXIT_SHUTDOWN)
			return 0;
		if (run->exit_reason == KVM_EXIT_IO && run->io.port == 0x64 &&
		    ((uint8_t *)run)[run->io.data_offset] == 0xfe)
			return 0;
		if (run->exit_reason != KVM_EXIT_IO)
			return fail("unexpected exit");
	}
}

int main(int argc, char **argv)
{
	int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC), payload, vm, vcpu;
	struct kvm_run *run;
	char *ram;
	int size;

	if (argc != 2 || kvm < 0)
		return fail("floor PAYLOAD: /dev/kvm");
	vm = make_vm(kvm);
	ram = vm < 0 ? NULL : make_ram(vm);
	if (!ram)
		return fail("VM");
	payload = open(argv[1], O_RDONLY | O_CLOEXEC);
	if (payload < 0 || read(payload, ram + LOAD_ADDRESS, 65536) <= 0)
		return fail(argv[1]);
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (vcpu < 0 || size < 0)
		return fail("vCPU");
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED || set_registers(vcpu))
		return fail("vCPU");
	return run_until_reset(vcpu, run);
}
