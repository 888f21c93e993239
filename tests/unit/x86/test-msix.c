/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * hw/pci-msix.c on a real KVM: what reaches a local APIC. No guest runs, so that any /dev/kvm will do; without one
 * the tests are skipped.
 */
#include "tests/unit/x86/chip.h"

#include <linux/pci_regs.h>

#include "hw/pci.h"

#define VECTORS		3
#define MSIX_BAR	1
#define VECTOR(n)	(0x41 + 0x20 * (n))

static struct chip chip;
static struct kvm *kvm;
static struct pci_bus *bus;
static struct pci_device function;

static void function_add(void)
{
	memset(&function, 0, sizeof(function));
	function.name = "test";
	function.vendor_id = 0x1234;
	ck_assert_int_eq(pci_device_add(bus, &function, -1, VECTORS, MSIX_BAR), 0);
	pci_config_write(bus, 0, function.devfn, PCI_COMMAND, PCI_COMMAND_MEMORY, 2);
}

static void setup(void)
{
	log_set_sink(board_hush);
	chip_create(&chip);
	kvm = chip.kvm;
	board_add(kvm, "pci_init");
	bus = pci_bus(kvm);
	function_add();
}

static void teardown(void)
{
	pci_device_del(&function);
	chip_destroy(&chip);
	log_set_sink(NULL);
}

/* ---- the driver ---- */

static uint64_t table(void)
{
	return pci_config_read(bus, 0, function.devfn, PCI_BASE_ADDRESS_0 + 4 * MSIX_BAR, 4) & ~15U;
}

static void table_set(unsigned int vector, unsigned int word, uint32_t value)
{
	space_io_write(&kvm->memory, table() + 16 * vector + word, 4, value);
}

static uint32_t pending(void)
{
	uint64_t value;

	space_io_read(&kvm->memory, table() + function.msix.pba_offset, 4, &value);
	return (uint32_t)value;
}

static void control(uint16_t flags)
{
	pci_config_write(bus, 0, function.devfn, function.msix.capability + PCI_MSIX_FLAGS, flags, 2);
}

static void fill(void)
{
	for (unsigned int i = 0; i < VECTORS; i++) {
		table_set(i, 0, LAPIC_ADDRESS);
		table_set(i, 8, VECTOR(i));
	}
}

static void mask(unsigned int vector, bool masked)
{
	table_set(vector, 12, masked);
}

static bool arrives(unsigned int vector)
{
	return chip_arrives(&chip, vector);
}

static bool stays_away(unsigned int vector)
{
	return chip_stays_away(&chip, vector);
}

START_TEST(a_vector_reaches_the_apic)
{
	fill();
	control(PCI_MSIX_FLAGS_ENABLE);
	mask(1, false);
	pci_msix_raise(&function, 1);
	ck_assert(arrives(VECTOR(1)));
	ck_assert(stays_away(VECTOR(0)));
	ck_assert_uint_eq(pending(), 0);
}
END_TEST

START_TEST(a_masked_vector_fires_when_it_is_unmasked)
{
	fill();
	control(PCI_MSIX_FLAGS_ENABLE);
	pci_msix_raise(&function, 2);
	/* Whether or not somebody has looked at the pending bits. */
	if (_i)
		ck_assert_uint_eq(pending(), 4);
	ck_assert(stays_away(VECTOR(2)));
	mask(2, false);
	ck_assert(arrives(VECTOR(2)));
	ck_assert_uint_eq(pending(), 0);

	/* Once, not again at the next mask and unmask. */
	chip_clear_requests(&chip);
	mask(2, true);
	ck_assert_uint_eq(pending(), 0);
	mask(2, false);
	ck_assert(stays_away(VECTOR(2)));
	pci_msix_raise(&function, 2);
	ck_assert(arrives(VECTOR(2)));
}
END_TEST

START_TEST(the_function_mask_holds_all_vectors)
{
	fill();
	mask(0, false);
	mask(1, false);
	control(PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL);
	pci_msix_raise(&function, 0);
	pci_msix_raise(&function, 1);
	ck_assert_uint_eq(pending(), 3);
	ck_assert(stays_away(VECTOR(0)));
	control(PCI_MSIX_FLAGS_ENABLE);
	ck_assert(arrives(VECTOR(0)));
	ck_assert(arrives(VECTOR(1)));
}
END_TEST

START_TEST(a_vector_that_is_rewritten_fires_as_it_says_now)
{
	fill();
	control(PCI_MSIX_FLAGS_ENABLE);
	mask(0, false);
	table_set(0, 8, 0x91);
	pci_msix_raise(&function, 0);
	ck_assert(arrives(0x91));
	ck_assert(stays_away(VECTOR(0)));
	chip_clear_requests(&chip);
	mask(0, true);
	pci_msix_raise(&function, 0);
	table_set(0, 8, 0xa1);
	mask(0, false);
	ck_assert(arrives(0xa1));
	ck_assert(stays_away(0x91));
}
END_TEST

START_TEST(with_msix_off_nothing_fires)
{
	fill();
	control(PCI_MSIX_FLAGS_ENABLE);
	mask(0, false);
	control(0);
	pci_msix_raise(&function, 0);
	ck_assert(stays_away(VECTOR(0)));
	control(PCI_MSIX_FLAGS_ENABLE);
	pci_msix_raise(&function, 0);
	ck_assert(arrives(VECTOR(0)));
}
END_TEST

START_TEST(a_pending_vector_is_saved_and_fires_after_loading)
{
	struct device *device = device_find(kvm, "pci");
	struct state_writer writer = { 0 };
	struct state_reader reader;

	fill();
	control(PCI_MSIX_FLAGS_ENABLE);
	mask(1, false);
	pci_msix_raise(&function, 0);
	device->ops->save(device, &writer);
	device->ops->reset(device);
	pci_msix_raise(&function, 1);
	ck_assert(stays_away(VECTOR(1)));
	device->ops->reset(device);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	ck_assert_uint_eq(pending(), 1);
	mask(0, false);
	ck_assert(arrives(VECTOR(0)));
	ck_assert(stays_away(VECTOR(1)));
	pci_msix_raise(&function, 1);
	ck_assert(arrives(VECTOR(1)));
	state_writer_free(&writer);
}
END_TEST

START_TEST(a_function_that_comes_back_has_its_vectors_again)
{
	for (unsigned int i = 0; i < 20; i++) {
		fill();
		control(PCI_MSIX_FLAGS_ENABLE);
		for (unsigned int k = 0; k < VECTORS; k++)
			mask(k, false);
		pci_device_del(&function);
		function_add();
	}
	fill();
	control(PCI_MSIX_FLAGS_ENABLE);
	mask(0, false);
	pci_msix_raise(&function, 0);
	ck_assert(arrives(VECTOR(0)));
}
END_TEST

static atomic_bool stop;

static void *raise_all_the_time(void *opaque)
{
	(void)opaque;
	while (!atomic_load(&stop))
		pci_msix_raise(&function, 0);
	return NULL;
}

START_TEST(no_interrupt_is_lost_while_a_driver_masks_and_unmasks)
{
	pthread_t thread;

	fill();
	control(PCI_MSIX_FLAGS_ENABLE);
	atomic_store(&stop, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, raise_all_the_time, NULL), 0);
	for (unsigned int i = 0; i < 50; i++) {
		mask(0, false);
		mask(0, true);
		pending();
	}
	atomic_store(&stop, true);
	pthread_join(thread, NULL);
	chip_clear_requests(&chip);
	pci_msix_raise(&function, 0);
	mask(0, false);
	ck_assert(arrives(VECTOR(0)));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tcase = suite_case(suite, "vectors", setup, teardown);

	tcase_add_test(tcase, a_vector_reaches_the_apic);
	tcase_add_loop_test(tcase, a_masked_vector_fires_when_it_is_unmasked, 0, 2);
	tcase_add_test(tcase, the_function_mask_holds_all_vectors);
	tcase_add_test(tcase, a_vector_that_is_rewritten_fires_as_it_says_now);
	tcase_add_test(tcase, with_msix_off_nothing_fires);
	tcase_add_test(tcase, a_pending_vector_is_saved_and_fires_after_loading);
	tcase_add_test(tcase, a_function_that_comes_back_has_its_vectors_again);
	tcase_add_test(tcase, no_interrupt_is_lost_while_a_driver_masks_and_unmasks);
}
SUITE_MAIN_KVM("msix", add_tests)
