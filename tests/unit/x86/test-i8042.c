/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests hw/x86/i8042.c, spoken to as Linux's i8042 and atkbd drivers do. */
#include "../board.h"

#define GSI 1

static struct kvm *kvm;

static void setup(void)
{
	kvm = board_create();
	board_add(kvm, "i8042_init");
}

static void teardown(void)
{
	board_destroy(kvm);
}

static void command(uint8_t value)
{
	board_out(kvm, 0x64, value);
}

static void data(uint8_t value)
{
	board_out(kvm, 0x60, value);
}

/* The next byte of the answer, or 0x100 when there is none. */
static unsigned int answer(void)
{
	if (!(board_in(kvm, 0x64) & 1))
		return 0x100;
	return board_in(kvm, 0x60);
}

START_TEST(idle_controller_is_ready_for_a_command)
{
	ck_assert_uint_eq(board_in(kvm, 0x64) & 0x03, 0);
	ck_assert_uint_eq(board_in(kvm, 0x64) & 0x04, 0x04);
}
END_TEST

START_TEST(self_test_and_interface_test_pass)
{
	command(0xaa);
	ck_assert_uint_eq(answer(), 0x55);
	command(0xab);
	ck_assert_uint_eq(answer(), 0x00);
	ck_assert_uint_eq(answer(), 0x100);
}
END_TEST

START_TEST(command_byte_reads_back)
{
	command(0x60);
	data(0x65);
	command(0x20);
	ck_assert_uint_eq(answer(), 0x65);
	command(0x65);
	data(0x12);
	command(0x25);
	ck_assert_uint_eq(answer(), 0x12);
}
END_TEST

START_TEST(there_is_no_mouse_and_it_says_so_at_once)
{
	command(0xd3);
	data(0x5a);
	ck_assert_uint_eq(board_in(kvm, 0x64) & 0x21, 0x01);
	answer();
	command(0xa9);
	ck_assert_uint_eq(answer(), 0x01);
	command(0xd4);
	data(0xf2);
	ck_assert_uint_eq(answer(), 0xfe);
}
END_TEST

START_TEST(keyboard_resets_and_identifies)
{
	data(0xff);
	ck_assert_uint_eq(answer(), 0xfa);
	ck_assert_uint_eq(answer(), 0xaa);
	command(0x60);
	data(0x01);
	data(0xf2);
	ck_assert_uint_eq(answer(), 0xfa);
	ck_assert_uint_eq(answer(), 0xab);
	ck_assert_uint_eq(answer(), 0x83);
}
END_TEST

START_TEST(keyboard_takes_parameters)
{
	data(0xed);
	ck_assert_uint_eq(answer(), 0xfa);
	data(0x07);
	ck_assert_uint_eq(answer(), 0xfa);
	data(0xf0);
	answer();
	data(0x01);
	answer();
	data(0xf0);
	answer();
	data(0x00);
	ck_assert_uint_eq(answer(), 0xfa);
	ck_assert_uint_eq(answer(), 0x01);
	data(0xee);
	ck_assert_uint_eq(answer(), 0xee);
	data(0x99);
	ck_assert_uint_eq(answer(), 0xfe);
}
END_TEST

START_TEST(each_byte_interrupts_once_when_enabled)
{
	data(0xff);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 0);
	answer();
	answer();
	command(0x60);
	data(0x01);

	data(0xff);

	ck_assert_uint_eq(board_interrupts(kvm, GSI), 1);
	answer();
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 1);
	answer();
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 0);
}
END_TEST

START_TEST(pulse_of_the_reset_line_resets_the_machine)
{
	command(0xff);
	ck_assert(!atomic_load(&kvm->reset_wanted) && atomic_load(&kvm->end) == KVM_END_NONE);
	command(0xfe);
	ck_assert(atomic_load(&kvm->reset_wanted) || atomic_load(&kvm->end) == KVM_END_REBOOT);
}
END_TEST

START_TEST(output_port_resets_when_its_bit_0_is_clear)
{
	command(0xd1);
	data(0xcd);
	ck_assert(!atomic_load(&kvm->reset_wanted) && atomic_load(&kvm->end) == KVM_END_NONE);
	command(0xd0);
	ck_assert_uint_eq(answer(), 0xcd);
	command(0xdf);
	command(0xd0);
	ck_assert_uint_eq(answer(), 0xcf);
	command(0xd1);
	data(0xce);
	ck_assert(atomic_load(&kvm->reset_wanted) || atomic_load(&kvm->end) == KVM_END_REBOOT);
}
END_TEST

START_TEST(answers_that_nobody_reads_are_bounded)
{
	for (int i = 0; i < 1000; i++)
		data(0xee);
	for (int i = 0; i < 8; i++)
		ck_assert_uint_eq(answer(), 0xee);
	ck_assert_uint_eq(answer(), 0x100);
}
END_TEST

START_TEST(saved_state_loads_the_same)
{
	command(0x60);
	data(0x45);
	data(0xf2);
	command(0x61);

	board_save_load(kvm, "i8042");

	ck_assert_uint_eq(answer(), 0xfa);
	command(0x20);
}
END_TEST

static void poke(void)
{
	for (int i = 0; i < 10; i++)
		answer();
	data(0xf2);
	command(0x20);
}

START_TEST(hostile_state_is_refused_or_harmless)
{
	board_load_hostile(kvm, "i8042", poke);
}
END_TEST

START_TEST(any_access_of_any_size_is_harmless)
{
	board_hammer(kvm, 0x5c, 16, 3000);
	device_find(kvm, "i8042")->ops->reset(device_find(kvm, "i8042"));
	command(0xaa);
	ck_assert_uint_eq(answer(), 0x55);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "i8042", setup, teardown);

	tcase_add_test(tests, idle_controller_is_ready_for_a_command);
	tcase_add_test(tests, self_test_and_interface_test_pass);
	tcase_add_test(tests, command_byte_reads_back);
	tcase_add_test(tests, there_is_no_mouse_and_it_says_so_at_once);
	tcase_add_test(tests, keyboard_resets_and_identifies);
	tcase_add_test(tests, keyboard_takes_parameters);
	tcase_add_test(tests, each_byte_interrupts_once_when_enabled);
	tcase_add_test(tests, pulse_of_the_reset_line_resets_the_machine);
	tcase_add_test(tests, output_port_resets_when_its_bit_0_is_clear);
	tcase_add_test(tests, answers_that_nobody_reads_are_bounded);
	tcase_add_test(tests, saved_state_loads_the_same);
	tcase_add_test(tests, hostile_state_is_refused_or_harmless);
	tcase_add_test(tests, any_access_of_any_size_is_harmless);
}
SUITE_MAIN("i8042", add_tests)
