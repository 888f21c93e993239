/* SPDX-License-Identifier: BSD-2-Clause */
/* hw/pci.c, hw/pci-host.c: config space, slots, saved state; and any access at all. */
#include "tests/unit/pci-function.h"

/* ---- config space ---- */

START_TEST(an_absent_function_reads_as_ones)
{
	for (unsigned int size = 1; size <= 4; size *= 2) {
		uint64_t ones = size == 4 ? UINT32_MAX : (1U << 8 * size) - 1;

		ck_assert_uint_eq(pci_config_read(bus, 0, 0xff, 0, size) & ones, ones);
		ck_assert_uint_eq(pci_config_read(bus, 1, 0, 0, size) & ones, ones);
		ck_assert_uint_eq(ecam_in(0xff, 0x40, size), ones);
		ck_assert_uint_eq(ecam_in(0x100, 0, size), ones);
	}
	ck_assert_uint_eq(ecam_in(0xff, 0, 8), UINT64_MAX);
	pci_config_write(bus, 0, 0xff, PCI_COMMAND, 7, 2);
	pci_config_write(bus, 255, 0, PCI_COMMAND, 7, 2);
}
END_TEST

START_TEST(the_host_bridge_is_function_0)
{
	ck_assert_uint_eq(ecam_in(0, PCI_CLASS_DEVICE, 2), 0x0600);
	ck_assert_uint_eq(ecam_in(0, PCI_HEADER_TYPE, 1), 0);
}
END_TEST

START_TEST(a_function_says_who_it_is)
{
	ck_assert_uint_eq(get(function, PCI_VENDOR_ID, 4), 0x11111234);
	ck_assert_uint_eq(get(function, PCI_CLASS_REVISION, 4), 0x02030407);
	ck_assert_uint_eq(get(function, PCI_SUBSYSTEM_VENDOR_ID, 4), 0x9abc5678);
	ck_assert_uint_eq(get(function, PCI_COMMAND, 2), 0);
	ck_assert_uint_eq(get(function, PCI_INTERRUPT_PIN, 1), 1);
	ck_assert_uint_eq(get(function, PCI_INTERRUPT_LINE, 1), layout->pci_intx_gsi[1] & 0xff);
}
END_TEST

START_TEST(ecam_and_functions_show_the_same)
{
	for (unsigned int offset = 0; offset < 256; offset++)
		for (unsigned int size = 1; size <= 4; size *= 2)
			if (!(offset % size))
				ck_assert_uint_eq(ecam_in(function->pci.devfn, offset, size), get(function, offset, size));
	ck_assert_uint_eq(ecam_in(function->pci.devfn, 0x100, 4), 0);
	ck_assert_uint_eq(ecam_in(function->pci.devfn, 0, 8),
			  get(function, 0, 4) | (uint64_t)get(function, 4, 4) << 32);
	/* Misaligned: the bytes, one after the other. */
	ck_assert_uint_eq(ecam_in(function->pci.devfn, 1, 4), 0x00111112);
}
END_TEST

START_TEST(only_what_the_mask_allows_can_be_written_bit_for_bit)
{
	uint8_t before[PCI_CONFIG_SIZE], patterns[] = { 0xff, 0x00, 0xa5, 0x5a };

	memcpy(before, function->pci.config, sizeof(before));
	for (unsigned int i = 0; i < ARRAY_SIZE(patterns); i++) {
		for (unsigned int offset = 0; offset < PCI_CONFIG_SIZE; offset++) {
			uint8_t mask = function->pci.write_mask[offset];

			set(function, offset, 1, patterns[i]);
			if (offset == PCI_STATUS)
				continue;
			ck_assert_uint_eq(get(function, offset, 1), (before[offset] & ~mask) | (patterns[i] & mask));
		}
	}
	/* What must be constant is. */
	for (unsigned int offset = 0; offset < PCI_COMMAND; offset++)
		ck_assert_uint_eq(function->pci.write_mask[offset], 0);
	ck_assert_uint_eq(function->pci.write_mask[PCI_CAPABILITY_LIST], 0);
	ck_assert_uint_eq(function->pci.write_mask[PCI_INTERRUPT_PIN], 0);
	ck_assert_uint_eq(function->pci.write_mask[PCI_HEADER_TYPE], 0);
	ck_assert_uint_eq(get(function, PCI_STATUS, 2), PCI_STATUS_CAP_LIST);
}
END_TEST

START_TEST(capabilities_are_a_list_in_the_order_they_were_added)
{
	struct function *of = function_new(0x2222);
	int first = pci_add_capability(&of->pci, PCI_CAP_ID_VNDR, 17);
	int second = pci_add_capability(&of->pci, PCI_CAP_ID_PM, 8);

	ck_assert_int_eq(first, 0x40);
	ck_assert_int_eq(second, 0x54);
	ck_assert_int_eq(pci_device_add(bus, &of->pci, -1, VECTORS, MSIX_BAR), 0);
	ck_assert_uint_eq(get(of, PCI_CAPABILITY_LIST, 1), 0x40);
	ck_assert_uint_eq(get(of, 0x40, 2), PCI_CAP_ID_VNDR | 0x54 << 8);
	ck_assert_uint_eq(get(of, 0x54, 2), PCI_CAP_ID_PM | 0x5c << 8);
	ck_assert_uint_eq(get(of, 0x5c, 2), PCI_CAP_ID_MSIX);
	function_del(of);
}
END_TEST

START_TEST(capabilities_that_have_no_room_are_refused)
{
	struct function *of = function_new(0x2222);
	unsigned int count = 0;

	while (pci_add_capability(&of->pci, PCI_CAP_ID_VNDR, 16) > 0)
		ck_assert_uint_lt(++count, 13);
	ck_assert_uint_ge(count, 11);
	ck_assert_int_lt(pci_add_capability(&of->pci, PCI_CAP_ID_VNDR, 255), 0);
	ck_assert_uint_eq(of->pci.config[PCI_CAPABILITY_LIST], 0x40);
	ck_assert_uint_eq(of->pci.config[0x40], PCI_CAP_ID_VNDR);
	free(of);
}
END_TEST

/* ---- slots ---- */

START_TEST(slots_are_given_in_order_and_run_out)
{
	struct function *all[32];
	unsigned int count = 0;

	while (count < ARRAY_SIZE(all)) {
		all[count] = function_new(0x4444);
		if (pci_device_add(bus, &all[count]->pci, -1, 0, 0))
			break;
		ck_assert_uint_eq(all[count]->pci.devfn, (count + 2) << 3);
		count++;
	}
	ck_assert_uint_eq(count, 30);
	free(all[count]);
	function_del(all[7]);
	all[7] = function_add(0x5555, -1);
	ck_assert_uint_eq(all[7]->pci.devfn, 9 << 3);
	while (count)
		function_del(all[--count]);
}
END_TEST

START_TEST(a_slot_that_is_taken_is_refused)
{
	struct function *of = function_new(0x2222);

	ck_assert_int_lt(pci_device_add(bus, &of->pci, function->pci.devfn, 0, 0), 0);
	ck_assert_uint_eq(get(function, PCI_DEVICE_ID, 2), 0x1111);
	free(of);
}
END_TEST

START_TEST(a_bar_without_room_leaves_nothing_behind)
{
	struct function *of = function_new(0x2222);

	of->mem.size = GIB(2);
	ck_assert_int_lt(pci_device_add(bus, &of->pci, 8 << 3, VECTORS, MSIX_BAR), 0);
	ck_assert_uint_eq(ecam_in(8 << 3, 0, 4), UINT32_MAX);
	free(of);
	function_del(function_add(0x2222, 8 << 3));
}
END_TEST

START_TEST(functions_that_come_and_go_use_up_nothing)
{
	uint32_t first = 0;

	for (unsigned int i = 0; i < 2000; i++) {
		struct function *of = function_add(0x2222, -1);

		first = first ? first : mem_address(of, MEM64_BAR);
		ck_assert_uint_eq(mem_address(of, MEM64_BAR), first);
		ck_assert_uint_eq(of->pci.devfn, 2 << 3);
		function_del(of);
	}
}
END_TEST

START_TEST(a_function_that_went_is_gone)
{
	struct function *of = function_add(0x2222, -1);
	uint8_t devfn = of->pci.devfn;
	uint64_t mem = mem_address(of, MEM_BAR);

	decode(of, PCI_COMMAND_MEMORY | PCI_COMMAND_IO);
	pci_intx_set(&of->pci, true);
	function_del(of);
	ck_assert_uint_eq(ecam_in(devfn, 0, 4), UINT32_MAX);
	ck_assert_uint_eq(memory_in(mem, 4), UINT32_MAX);
	ck_assert(!atomic_load(&bus->lines[devfn >> 3 & 3].raised));
}
END_TEST

/* ---- everything, at any offset and size ---- */

START_TEST(accesses_at_every_offset_and_size_are_harmless)
{
	uint32_t seed = (uint32_t)_i + 1;
	uint64_t value;

	for (unsigned int i = 0; i < 100000; i++) {
		static const unsigned int sizes[] = { 1, 2, 4, 8 };
		unsigned int size;
		uint64_t base, offset;

		seed = seed * 1664525 + 1013904223;
		size = sizes[seed >> 13 & 3];
		offset = seed >> 16 & 0xfff;
		base = seed & 0x400 ? layout->pci_ecam_base + ((uint64_t)function->pci.devfn << 12) : msix_table();
		if (seed & 0x800)
			offset &= 0x7f;
		if (seed & 0x200)
			space_io_write(&kvm->memory, base + offset, size, (uint64_t)seed << 32 | ~seed);
		else
			space_io_read(&kvm->memory, base + offset, size, &value);
		if (seed & 0x100)
			space_io_write(&kvm->ports, 0xcf8 + (seed & 7), size, seed * 7U & 0xfffffffb);
		if (!(i % 1000))
			pci_msix_raise(&function->pci, seed & 3);
	}
	ck_assert_uint_eq(get(function, PCI_VENDOR_ID, 4), 0x11111234);
}
END_TEST

/* ---- saved state ---- */

START_TEST(a_function_saved_and_loaded_is_the_same)
{
	uint32_t place = (uint32_t)(layout->pci_mmio32_base + layout->pci_mmio32_size / 2);

	decode(function, PCI_COMMAND_MEMORY | PCI_COMMAND_INTX_DISABLE);
	set(function, msix_at() + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	table_set(1, 0, 0xfee01000);
	table_set(1, 8, 0x31);
	pci_msix_raise(&function->pci, 1);
	pci_intx_set(&function->pci, true);
	set(function, bar(MEM_BAR), 4, place);

	board_save_load(kvm, "pci");

	ck_assert_uint_eq(table_get(1, 0), 0xfee01000);
	ck_assert_uint_eq(pending(), 2);
	ck_assert_uint_eq(memory_in(place, 2), 0x1111);
	ck_assert(pci_msix_enabled(&function->pci));
	ck_assert_uint_ne(get(function, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
}
END_TEST

START_TEST(the_state_of_another_function_is_refused)
{
	struct device *device = device_find(kvm, "pci");
	struct state_writer writer = { 0 };
	struct state_reader reader;

	device->ops->save(device, &writer);
	function_del(function);
	function = function_add(0x1112, -1);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), -EINVAL);
	ck_assert_uint_eq(get(function, PCI_DEVICE_ID, 2), 0x1112);
	state_writer_free(&writer);
}
END_TEST

START_TEST(hostile_saved_state_is_harmless)
{
	board_load_hostile(kvm, "pci", NULL);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tcase = suite_case(suite, "config space", setup, teardown);

	tcase_add_test(tcase, an_absent_function_reads_as_ones);
	tcase_add_test(tcase, the_host_bridge_is_function_0);
	tcase_add_test(tcase, a_function_says_who_it_is);
	tcase_add_test(tcase, ecam_and_functions_show_the_same);
	tcase_add_test(tcase, only_what_the_mask_allows_can_be_written_bit_for_bit);
	tcase_add_test(tcase, capabilities_are_a_list_in_the_order_they_were_added);
	tcase_add_test(tcase, capabilities_that_have_no_room_are_refused);
	tcase_add_test(tcase, slots_are_given_in_order_and_run_out);
	tcase_add_test(tcase, a_slot_that_is_taken_is_refused);
	tcase_add_test(tcase, a_bar_without_room_leaves_nothing_behind);
	tcase_add_test(tcase, functions_that_come_and_go_use_up_nothing);
	tcase_add_test(tcase, a_function_that_went_is_gone);
	tcase_add_loop_test(tcase, accesses_at_every_offset_and_size_are_harmless, 0, 3);
	tcase_add_test(tcase, a_function_saved_and_loaded_is_the_same);
	tcase_add_test(tcase, the_state_of_another_function_is_refused);
	tcase_add_test(tcase, hostile_saved_state_is_harmless);
}
SUITE_MAIN("pci", add_tests)
