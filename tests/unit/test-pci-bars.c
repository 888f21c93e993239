/* SPDX-License-Identifier: BSD-2-Clause */
/* hw/pci.c: BARs, their sizes and places, and what is seen there. */
#include "tests/unit/pci-function.h"

/* ---- BARs ---- */

static const struct { unsigned int index; uint32_t size, type; bool io; } bars[] = {
	{ IO_BAR, IO_SIZE, PCI_BASE_ADDRESS_SPACE_IO, true },
	{ MEM_BAR, MEM_SIZE, 0, false },
	{ MSIX_BAR, 4096, 0, false },
	{ MEM64_BAR, MEM64_SIZE, PCI_BASE_ADDRESS_MEM_TYPE_64 | PCI_BASE_ADDRESS_MEM_PREFETCH, false },
};

START_TEST(sizing_shows_the_size_with_the_type_and_never_decodes_there)
{
	unsigned int at = bar(bars[_i].index);
	uint32_t before = get(function, at, 4);
	struct region *region = function->pci.bars[bars[_i].index].region;

	/* Decode is on, as with drivers that forget to turn it off. */
	decode(function, PCI_COMMAND_IO | PCI_COMMAND_MEMORY);
	ck_assert(is_mapped(region));
	set(function, at, 4, UINT32_MAX);
	ck_assert_uint_eq(get(function, at, 4), ~(bars[_i].size - 1) | bars[_i].type);
	if (bars[_i].index == MEM64_BAR) {
		set(function, at + 4, 4, UINT32_MAX);
		ck_assert_uint_eq(get(function, at + 4, 4), UINT32_MAX);
		ck_assert(!is_mapped(region));
		set(function, at + 4, 4, 0);
	}
	ck_assert(bars[_i].index == MEM64_BAR || !is_mapped(region));
	set(function, at, 4, before);
	ck_assert_uint_eq(get(function, at, 4), before);
	ck_assert(is_mapped(region));
	/* By bytes it is the same. */
	for (unsigned int i = 0; i < 4; i++)
		set(function, at + i, 1, 0xff);
	ck_assert_uint_eq(get(function, at, 4), ~(bars[_i].size - 1) | bars[_i].type);
	set(function, at, 4, 0);
	ck_assert_uint_eq(get(function, at, 4), bars[_i].type);
}
END_TEST

START_TEST(absent_bars_are_zero)
{
	set(function, bar(3), 4, UINT32_MAX);
	ck_assert_uint_eq(get(function, bar(3), 4), 0);
	set(function, PCI_ROM_ADDRESS, 4, UINT32_MAX);
	ck_assert_uint_eq(get(function, PCI_ROM_ADDRESS, 4), 0);
}
END_TEST

START_TEST(bars_have_addresses_of_their_own_in_the_windows)
{
	struct function *more[4];
	struct { uint64_t at, size; } taken[16];
	unsigned int count = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(more); i++) {
		more[i] = function_add(0x3333, -1);
		for (unsigned int k = MEM_BAR; k <= MEM64_BAR; k++) {
			uint64_t at = mem_address(more[i], k), size = k == 3 ? 0 : more[i]->pci.bars[k].region->size;

			if (!size)
				continue;
			ck_assert(range_contains(layout->pci_mmio32_base, layout->pci_mmio32_size, at, size));
			ck_assert_uint_eq(at % size, 0);
			for (unsigned int j = 0; j < count; j++)
				ck_assert(!ranges_overlap(at, size, taken[j].at, taken[j].size));
			taken[count].at = at;
			taken[count++].size = size;
		}
		ck_assert(range_contains(layout->pci_io_base, layout->pci_io_size, get(more[i], bar(IO_BAR), 4) & ~3U, IO_SIZE));
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(more); i++)
		function_del(more[i]);
}
END_TEST

START_TEST(command_turns_decode_on_and_off)
{
	uint64_t io = get(function, bar(IO_BAR), 4) & ~3U, mem = mem_address(function, MEM_BAR);

	ck_assert_uint_eq(memory_in(mem, 4), UINT32_MAX);
	decode(function, PCI_COMMAND_MEMORY);
	ck_assert_uint_eq(memory_in(mem + 4, 4), 0x00041111);
	ck_assert_uint_eq(board_in_size(kvm, (uint16_t)io, 2), 0xffff);
	decode(function, PCI_COMMAND_IO);
	ck_assert_uint_eq(memory_in(mem, 4), UINT32_MAX);
	ck_assert_uint_eq(board_in_size(kvm, (uint16_t)io, 2), 0x1111);
	decode(function, 0);
	ck_assert_uint_eq(board_in_size(kvm, (uint16_t)io, 2), 0xffff);
}
END_TEST

START_TEST(a_bar_is_seen_where_it_was_moved_to)
{
	uint32_t old = mem_address(function, MEM_BAR), fresh = (uint32_t)(layout->pci_mmio32_base + layout->pci_mmio32_size / 2);

	decode(function, PCI_COMMAND_MEMORY);
	set(function, bar(MEM_BAR), 4, fresh | 0xf);
	ck_assert_uint_eq(get(function, bar(MEM_BAR), 4), fresh);
	ck_assert_uint_eq(memory_in(fresh, 2), 0x1111);
	ck_assert_uint_eq(memory_in(old, 2), 0xffff);
	/* By its upper half alone. */
	set(function, bar(MEM_BAR) + 2, 2, old >> 16);
	ck_assert_uint_eq(memory_in(old, 2), 0x1111);
}
END_TEST

START_TEST(a_bar_over_ram_leaves_ram_as_it_is)
{
	decode(function, PCI_COMMAND_MEMORY);
	guest_poke16(&guest, RAM_BASE + 0x2000, 0x7788);
	set(function, bar(MEM_BAR), 4, RAM_BASE);
	ck_assert_uint_eq(memory_in(RAM_BASE + 0x2000, 2), 0x7788);
	guest_poke16(&guest, RAM_BASE + 0x2000, 0x99aa);
	ck_assert_uint_eq(guest_peek16(&guest, RAM_BASE + 0x2000), 0x99aa);
	ck_assert_ptr_nonnull(memory_window(&kvm->memory, gpa(RAM_BASE), RAM_PART));
	ck_assert_uint_eq(atomic_load(&function->accesses), 0);
}
END_TEST

START_TEST(a_bar_over_config_space_or_another_bar_does_no_harm)
{
	struct function *other = function_add(0x2222, -1);

	decode(function, PCI_COMMAND_MEMORY);
	decode(other, PCI_COMMAND_MEMORY);
	set(other, bar(MEM_BAR), 4, mem_address(function, MEM_BAR));
	memory_in(mem_address(function, MEM_BAR), 4);
	set(other, bar(MEM_BAR), 4, (uint32_t)layout->pci_ecam_base);
	ck_assert_uint_eq(ecam_in(0, PCI_CLASS_DEVICE, 2), 0x0600);
	set(other, bar(MEM_BAR), 4, 0xfffff000);
	set(other, bar(MEM_BAR), 4, 0);
	function_del(other);
	ck_assert_uint_eq(memory_in(mem_address(function, MEM_BAR), 2), 0x1111);
}
END_TEST

static atomic_bool stop;

static void *access_all_the_time(void *opaque)
{
	(void)opaque;
	while (!atomic_load(&stop)) {
		/* A byte: the parts of a wider access may fall before and after a move. */
		uint64_t value = memory_in(layout->pci_mmio32_base + 0x100000, 1);

		EXPECT(value == 0x11 || value == 0xff, "a byte that is neither the BAR's nor nobody's: %llx", (unsigned long long)value);
	}
	return NULL;
}

START_TEST(a_bar_may_move_while_others_access_it)
{
	uint32_t at = (uint32_t)layout->pci_mmio32_base + 0x100000;
	pthread_t threads[2];

	atomic_store(&stop, false);
	for (unsigned int i = 0; i < 2; i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, access_all_the_time, NULL), 0);
	for (unsigned int i = 0; i < 2000; i++) {
		set(function, bar(MEM_BAR), 4, i % 3 == 1 ? (uint32_t)RAM_BASE : i % 3 == 2 ? UINT32_MAX : at);
		decode(function, i % 5 ? PCI_COMMAND_MEMORY : 0);
	}
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tcase = suite_case(suite, "BARs", setup, teardown);

	tcase_add_loop_test(tcase, sizing_shows_the_size_with_the_type_and_never_decodes_there, 0, ARRAY_SIZE(bars));
	tcase_add_test(tcase, absent_bars_are_zero);
	tcase_add_test(tcase, bars_have_addresses_of_their_own_in_the_windows);
	tcase_add_test(tcase, command_turns_decode_on_and_off);
	tcase_add_test(tcase, a_bar_is_seen_where_it_was_moved_to);
	tcase_add_test(tcase, a_bar_over_ram_leaves_ram_as_it_is);
	tcase_add_test(tcase, a_bar_over_config_space_or_another_bar_does_no_harm);
	tcase_add_test(tcase, a_bar_may_move_while_others_access_it);
}
SUITE_MAIN("pci-bars", add_tests)
