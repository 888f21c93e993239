// SPDX-License-Identifier: BSD-2-Clause
/*
 * probe-kvm: can this host's KVM run ordinary guests?
 *
 * Opens /dev/kvm and runs a few instructions and a loop of two million in a VM. Software KVM has the same
 * device and the same ioctls, but emulates: it stops at the SSE instruction, or is a hundred times too slow.
 * Exit status 0: yes; 1: no, with the reason on stdout. CPU flags are never asked: they say nothing of
 * nested or paravirtual hosts. tests/with-kvm compiles and calls it; a few milliseconds where the answer is yes.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define GUEST_BASE	0x10000ul
#define GUEST_SIZE	0x10000ul
#define DONE_ADDRESS	0xf4	/* port on x86, offset from MMIO_BASE on arm64 */
#define MMIO_BASE	0x8000000ul
#define LIMIT_MS	500	/* hardware, or TCG emulating it: under 60; software KVM: 2000 */

static void no(const char *what)
{
	printf("%s: %s\n", what, strerror(errno));
	exit(1);
}

static void too_slow(int signal_number)
{
	static const char text[] = "the payload ran far too slowly: software KVM\n";

	(void)signal_number;
	if (write(STDOUT_FILENO, text, sizeof(text) - 1) < 0)
		_exit(1);
	_exit(1);
}

#if defined(__x86_64__)
/* 32-bit protected mode, flat, no paging. */
static const uint8_t payload[] = {
	0x0f, 0x57, 0xc0,			/* xorps %xmm0, %xmm0 */
	0xb9, 0x80, 0x84, 0x1e, 0x00,		/* mov $2000000, %ecx */
	0x49,					/* 1: dec %ecx */
	0x75, 0xfd,				/* jnz 1b */
	0xe6, DONE_ADDRESS,			/* out %al, $DONE_ADDRESS */
	0xf4,					/* hlt */
};

static void vcpu_setup(int vm, int vcpu)
{
	struct kvm_segment code = {
		.limit = 0xffffffff, .selector = 0x8, .type = 11, .present = 1, .db = 1, .s = 1, .g = 1,
	};
	struct kvm_segment data = code;
	struct kvm_regs regs = { .rip = GUEST_BASE, .rflags = 2 };
	struct kvm_sregs sregs;

	(void)vm;
	data.type = 3;
	data.selector = 0x10;
	if (ioctl(vcpu, KVM_GET_SREGS, &sregs) < 0)
		no("KVM_GET_SREGS");
	sregs.cs = code;
	sregs.ds = sregs.es = sregs.fs = sregs.gs = sregs.ss = data;
	sregs.cr0 |= 1;		/* PE */
	sregs.cr4 |= 1 << 9;	/* OSFXSR: SSE allowed */
	if (ioctl(vcpu, KVM_SET_SREGS, &sregs) < 0)
		no("KVM_SET_SREGS");
	if (ioctl(vcpu, KVM_SET_REGS, &regs) < 0)
		no("KVM_SET_REGS");
}

static int is_done(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_IO && run->io.port == DONE_ADDRESS;
}
#elif defined(__aarch64__)
static const uint32_t payload[] = {
	0xd2909000,				/* mov x0, #0x8480 */
	0xf2a003c0,				/* movk x0, #0x1e, lsl #16 */
	0xf1000400,				/* 1: subs x0, x0, #1 */
	0x54ffffe1,				/* b.ne 1b */
	0xd2a10001,				/* mov x1, #0x8000000 */
	0x3903d021,				/* strb w1, [x1, #0xf4] */
	0x14000000,				/* b . */
};

static void vcpu_setup(int vm, int vcpu)
{
	struct kvm_vcpu_init init;
	uint64_t pc = GUEST_BASE;
	struct kvm_one_reg reg = {
		.id = KVM_REG_ARM64 | KVM_REG_SIZE_U64 | KVM_REG_ARM_CORE | KVM_REG_ARM_CORE_REG(regs.pc),
		.addr = (uintptr_t)&pc,
	};

	if (ioctl(vm, KVM_ARM_PREFERRED_TARGET, &init) < 0)
		no("KVM_ARM_PREFERRED_TARGET");
	if (ioctl(vcpu, KVM_ARM_VCPU_INIT, &init) < 0)
		no("KVM_ARM_VCPU_INIT");
	if (ioctl(vcpu, KVM_SET_ONE_REG, &reg) < 0)
		no("KVM_SET_ONE_REG");
}

static int is_done(const struct kvm_run *run)
{
	return run->exit_reason == KVM_EXIT_MMIO && run->mmio.phys_addr == MMIO_BASE + DONE_ADDRESS;
}
#else
#error "no payload for this architecture"
#endif

int main(void)
{
	struct kvm_userspace_memory_region region = {
		.guest_phys_addr = GUEST_BASE, .memory_size = GUEST_SIZE,
	};
	const struct itimerspec limit = { .it_value.tv_nsec = LIMIT_MS * 1000000L };
	struct kvm_run *run;
	timer_t timer;
	void *memory;
	int kvm, vm, vcpu, size;

	kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (kvm < 0)
		no("/dev/kvm");
	vm = ioctl(kvm, KVM_CREATE_VM, 0);
	if (vm < 0)
		no("KVM_CREATE_VM");
	memory = mmap(NULL, GUEST_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		no("mmap");
	memcpy(memory, payload, sizeof(payload));
	region.userspace_addr = (uintptr_t)memory;
	if (ioctl(vm, KVM_SET_USER_MEMORY_REGION, &region) < 0)
		no("KVM_SET_USER_MEMORY_REGION");
	vcpu = ioctl(vm, KVM_CREATE_VCPU, 0);
	if (vcpu < 0)
		no("KVM_CREATE_VCPU");
	size = ioctl(kvm, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (size < 0)
		no("KVM_GET_VCPU_MMAP_SIZE");
	run = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu, 0);
	if (run == MAP_FAILED)
		no("mmap of the vCPU");
	vcpu_setup(vm, vcpu);

	signal(SIGALRM, too_slow);
	if (timer_create(CLOCK_MONOTONIC, NULL, &timer) < 0 || timer_settime(timer, 0, &limit, NULL) < 0)
		no("timer");
	if (ioctl(vcpu, KVM_RUN, 0) < 0)
		no("KVM_RUN");
	if (!is_done(run)) {
		printf("the payload stopped with KVM exit %u: software KVM\n", run->exit_reason);
		return 1;
	}
	return 0;
}
