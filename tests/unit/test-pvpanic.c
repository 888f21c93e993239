/* SPDX-License-Identifier: BSD-2-Clause */
/* hw/pvpanic.c: how a panic ends the VM, and that nothing else does. */
#include "tests/unit/board.h"

#include <linux/pci_regs.h>

#include "kvm/pci.h"

static struct kvm *kvm;
static uint64_t bar;

static void setup(void)
{
	struct pci_bus *bus;
	unsigned int devfn = 0;

	log_set_sink(board_hush);
	kvm = board_create();
	ck_assert_int_eq(config_set(kvm->config, "pvpanic", "1"), 0);
	board_add(kvm, "pci_init");
	board_add(kvm, "pvpanic_init");
	bus = pci_bus(kvm);
	while (devfn < 256 && pci_config_read(bus, 0, devfn, 0, 4) != 0x00111b36)
		devfn++;
	ck_assert_uint_lt(devfn, 256);
	bar = pci_config_read(bus, 0, devfn, PCI_BASE_ADDRESS_0, 4) & ~15U;
	pci_config_write(bus, 0, devfn, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
}

static void teardown(void)
{
	board_destroy(kvm);
	log_set_sink(NULL);
}

static uint8_t get(uint64_t offset)
{
	uint64_t value;

	space_io_read(&kvm->memory, bar + offset, 1, &value);
	return (uint8_t)value;
}

START_TEST(it_says_what_it_knows)
{
	ck_assert_uint_eq(get(0), 3);
	ck_assert_uint_eq(get(1), 0);
}
END_TEST

START_TEST(a_panic_ends_the_vm_with_its_status)
{
	space_io_write(&kvm->memory, bar, 1, (uint64_t)_i);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_PANIC);
	ck_assert_int_eq(kvm_end_status(kvm), LKVM_STATUS_PANIC);
}
END_TEST

START_TEST(a_crash_kernel_may_start_and_other_bytes_are_nothing)
{
	static const uint8_t others[] = { 2, 0, 4, 0x80 };

	for (unsigned int i = 0; i < ARRAY_SIZE(others); i++)
		space_io_write(&kvm->memory, bar, 1, others[i]);
	space_io_write(&kvm->memory, bar + 1, 1, 1);
	space_io_write(&kvm->memory, bar + 15, 1, 1);
	board_poll(kvm, 2);
	ck_assert_int_eq(atomic_load(&kvm->end), KVM_END_NONE);
	ck_assert(!atomic_load(&kvm->panicked));
}
END_TEST

START_TEST(a_crash_that_is_loaded_is_an_oops)
{
	ck_assert_int_eq(config_set(kvm->config, "oops", "fail"), 0);
	board_add(kvm, "life_init");

	space_io_write(&kvm->memory, bar, 1, 2);

	ck_assert(atomic_load(&kvm->oopsed));
	ck_assert(!atomic_load(&kvm->panicked));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "pvpanic", setup, teardown);

	tcase_add_test(tests, it_says_what_it_knows);
	tcase_add_loop_test(tests, a_panic_ends_the_vm_with_its_status, 1, 2);
	tcase_add_loop_test(tests, a_panic_ends_the_vm_with_its_status, 3, 4);
	tcase_add_test(tests, a_crash_that_is_loaded_is_an_oops);
	tcase_add_test(tests, a_crash_kernel_may_start_and_other_bytes_are_nothing);
}
SUITE_MAIN("pvpanic", add_tests)
