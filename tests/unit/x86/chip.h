/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A board whose struct kvm has a real VM with KVM's interrupt chips and one vCPU, which nobody runs: an interrupt
 * that reached it is seen in its local APIC. Any /dev/kvm will do.
 */
#ifndef TESTS_UNIT_X86_CHIP_H
#define TESTS_UNIT_X86_CHIP_H

#include "tests/unit/board.h"

#include <fcntl.h>
#include <linux/kvm.h>
#include <sys/ioctl.h>

#define LAPIC_ADDRESS	0xfee00000U
#define LAPIC_SVR	0xf0
#define LAPIC_IRR	0x200

struct chip {
	struct kvm *kvm;
	int cpu_fd;
};

static inline void chip_create(struct chip *chip)
{
	struct kvm *kvm = board_create();
	struct kvm_lapic_state lapic;

	chip->kvm = kvm;
	kvm->dev_fd = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	kvm->vm_fd = ioctl(kvm->dev_fd, KVM_CREATE_VM, 0);
	ck_assert_int_ge(kvm->vm_fd, 0);
	ck_assert_int_eq(ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000UL), 0);
	ck_assert_int_eq(ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP, 0), 0);
	chip->cpu_fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, 0);
	ck_assert_int_ge(chip->cpu_fd, 0);
	ck_assert_int_eq(irq_chip_ready(kvm), 0);
	/* An APIC that is off takes nothing. */
	ck_assert_int_eq(ioctl(chip->cpu_fd, KVM_GET_LAPIC, &lapic), 0);
	lapic.regs[LAPIC_SVR] = (char)0xff;
	lapic.regs[LAPIC_SVR + 1] = 1;
	ck_assert_int_eq(ioctl(chip->cpu_fd, KVM_SET_LAPIC, &lapic), 0);
}

static inline void chip_destroy(struct chip *chip)
{
	int vm_fd = chip->kvm->vm_fd, dev_fd = chip->kvm->dev_fd;

	close(chip->cpu_fd);
	board_destroy(chip->kvm);
	close(vm_fd);
	close(dev_fd);
}

/* Whether @vector waits in the APIC. */
static inline bool chip_requested(const struct chip *chip, unsigned int vector)
{
	struct kvm_lapic_state lapic;
	uint32_t word;

	ck_assert_int_eq(ioctl(chip->cpu_fd, KVM_GET_LAPIC, &lapic), 0);
	memcpy(&word, &lapic.regs[LAPIC_IRR + vector / 32 * 16], sizeof(word));
	return word >> vector % 32 & 1;
}

/* KVM hands some interrupts on by a work queue of the host's. */
static inline bool chip_arrives(const struct chip *chip, unsigned int vector)
{
	for (unsigned int i = 0; i < 1000 && !chip_requested(chip, vector); i++)
		usleep(1000);
	return chip_requested(chip, vector);
}

static inline bool chip_stays_away(const struct chip *chip, unsigned int vector)
{
	usleep(20000);
	return !chip_requested(chip, vector);
}

static inline void chip_clear_requests(const struct chip *chip)
{
	struct kvm_lapic_state lapic;

	ck_assert_int_eq(ioctl(chip->cpu_fd, KVM_GET_LAPIC, &lapic), 0);
	for (unsigned int i = 0; i < 8; i++)
		memset(&lapic.regs[LAPIC_IRR + 16 * i], 0, 4);
	ck_assert_int_eq(ioctl(chip->cpu_fd, KVM_SET_LAPIC, &lapic), 0);
}

#endif
