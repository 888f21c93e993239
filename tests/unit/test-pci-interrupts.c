/* SPDX-License-Identifier: BSD-2-Clause */
/* hw/pci.c, hw/pci-msix.c: INTx and MSI-X. */
#include "tests/unit/pci-function.h"

/* ---- INTx ---- */

static bool line_is_up(unsigned int line)
{
	return atomic_load(&bus->lines[line].raised);
}

START_TEST(inta_is_swizzled_by_slot)
{
	struct function *of = function_add(0x2222, (int)(8 + _i) << 3);

	board_listen(kvm);
	pci_intx_set(&of->pci, true);
	for (unsigned int line = 0; line < 4; line++) {
		ck_assert_int_eq(line_is_up(line), line == (unsigned int)_i % 4);
		ck_assert_uint_eq(board_interrupts(kvm, layout->pci_intx_gsi[line]), line == (unsigned int)_i % 4);
	}
	function_del(of);
}
END_TEST

START_TEST(a_line_that_is_shared_is_up_while_anyone_holds_it)
{
	struct function *other = function_add(0x2222, 5 << 3);

	pci_intx_set(&function->pci, true);
	pci_intx_set(&other->pci, true);
	pci_intx_set(&function->pci, false);
	ck_assert(line_is_up(1));
	pci_intx_set(&other->pci, false);
	ck_assert(!line_is_up(1));
	function_del(other);
}
END_TEST

START_TEST(intx_disable_holds_the_line_down_but_not_the_status)
{
	ck_assert_uint_eq(get(function, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	decode(function, PCI_COMMAND_INTX_DISABLE);
	pci_intx_set(&function->pci, true);
	ck_assert(!line_is_up(1));
	ck_assert_uint_ne(get(function, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	set(function, PCI_STATUS, 2, 0xffff);
	ck_assert_uint_ne(get(function, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	decode(function, 0);
	ck_assert(line_is_up(1));
	pci_intx_set(&function->pci, false);
	ck_assert_uint_eq(get(function, PCI_STATUS, 2) & PCI_STATUS_INTERRUPT, 0);
	ck_assert(!line_is_up(1));
}
END_TEST

/* ---- MSI-X ---- */

START_TEST(the_msix_capability_is_read_only_but_for_two_bits)
{
	unsigned int at = msix_at();
	uint32_t table = get(function, at + PCI_MSIX_TABLE, 4), pba = get(function, at + PCI_MSIX_PBA, 4);

	ck_assert_uint_eq(get(function, at, 1), PCI_CAP_ID_MSIX);
	ck_assert_uint_eq(get(function, at + PCI_MSIX_FLAGS, 2), VECTORS - 1);
	ck_assert_uint_eq(table, MSIX_BAR);
	ck_assert_uint_eq(pba & 7, MSIX_BAR);
	ck_assert_uint_ge(pba & ~7U, VECTORS * 16);
	for (unsigned int i = 0; i < 12; i += 4)
		set(function, at + i, 4, UINT32_MAX);
	ck_assert_uint_eq(get(function, at + PCI_MSIX_FLAGS, 2), 0xc000 | (VECTORS - 1));
	ck_assert_uint_eq(get(function, at + PCI_MSIX_TABLE, 4), table);
	ck_assert_uint_eq(get(function, at + PCI_MSIX_PBA, 4), pba);
}
END_TEST

START_TEST(vectors_are_masked_at_first_and_keep_what_is_written)
{
	decode(function, PCI_COMMAND_MEMORY);
	for (unsigned int i = 0; i < VECTORS; i++) {
		ck_assert_uint_eq(table_get(i, 12), 1);
		table_set(i, 0, 0xfee00ffb);
		table_set(i, 4, 0x12345678);
		table_set(i, 8, 0x9abcdef0 + i);
		table_set(i, 12, 0xffffffff);
		ck_assert_uint_eq(table_get(i, 0), 0xfee00ff8);
		ck_assert_uint_eq(table_get(i, 4), 0x12345678);
		ck_assert_uint_eq(table_get(i, 8), 0x9abcdef0 + i);
		ck_assert_uint_eq(table_get(i, 12), 1);
	}
	ck_assert_uint_eq(memory_in(msix_table() + 16, 8), 0x12345678fee00ff8);
}
END_TEST

START_TEST(a_masked_vector_that_fires_is_pending)
{
	decode(function, PCI_COMMAND_MEMORY);
	set(function, msix_at() + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	ck_assert_uint_eq(pending(), 0);
	pci_msix_raise(&function->pci, 2);
	pci_msix_raise(&function->pci, 0);
	pci_msix_raise(&function->pci, 0);
	ck_assert_uint_eq(pending(), 5);
	/* The bits are read-only, and reading doesn't clear them. */
	space_io_write(&kvm->memory, msix_table() + function->pci.msix.pba_offset, 4, 0);
	ck_assert_uint_eq(pending(), 5);
	devices_reset(kvm);
	decode(function, PCI_COMMAND_MEMORY);
	ck_assert_uint_eq(pending(), 0);
}
END_TEST

START_TEST(a_vector_that_does_not_exist_is_nothing)
{
	decode(function, PCI_COMMAND_MEMORY);
	set(function, msix_at() + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	pci_msix_raise(&function->pci, VECTORS);
	pci_msix_raise(&function->pci, 0xffff);
	pci_msix_raise(&function->pci, UINT32_MAX);
	ck_assert_uint_eq(pending(), 0);
	table_set(VECTORS, 0, 0x1234);
	ck_assert_uint_eq(table_get(VECTORS, 0), 0);
}
END_TEST

START_TEST(with_msix_on_inta_is_quiet)
{
	pci_intx_set(&function->pci, true);
	ck_assert(!pci_msix_enabled(&function->pci));
	set(function, msix_at() + PCI_MSIX_FLAGS, 2, PCI_MSIX_FLAGS_ENABLE);
	ck_assert(pci_msix_enabled(&function->pci));
	ck_assert(!line_is_up(1));
	set(function, msix_at() + PCI_MSIX_FLAGS, 2, 0);
	ck_assert(line_is_up(1));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tcase = suite_case(suite, "interrupts", setup, teardown);

	tcase_add_loop_test(tcase, inta_is_swizzled_by_slot, 0, 8);
	tcase_add_test(tcase, a_line_that_is_shared_is_up_while_anyone_holds_it);
	tcase_add_test(tcase, intx_disable_holds_the_line_down_but_not_the_status);
	tcase_add_test(tcase, the_msix_capability_is_read_only_but_for_two_bits);
	tcase_add_test(tcase, vectors_are_masked_at_first_and_keep_what_is_written);
	tcase_add_test(tcase, a_masked_vector_that_fires_is_pending);
	tcase_add_test(tcase, a_vector_that_does_not_exist_is_nothing);
	tcase_add_test(tcase, with_msix_on_inta_is_quiet);
}
SUITE_MAIN("pci-interrupts", add_tests)
