/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests hw/arm64/gpio.c: pins, edges and levels, and the power key on pin 3. */
#include "../board.h"
#include "kvm/arch.h"

#define BASE	0x1030000
#define DIR	0x400
#define IS	0x404
#define IBE	0x408
#define IEV	0x40c
#define IE	0x410
#define RIS	0x414
#define MIS	0x418
#define IC	0x41c
#define KEY	0x08

static struct kvm *kvm;
static uint32_t gsi;

static void setup(void)
{
	kvm = board_create();
	board_add(kvm, "gpio_init");
	gsi = (uint32_t)platform_devices(kvm)->gsi;
}

static void teardown(void)
{
	board_destroy(kvm);
}

static uint8_t in(uint64_t offset)
{
	uint64_t value;

	ck_assert(space_io_read(&kvm->memory, BASE + offset, 1, &value));
	return (uint8_t)value;
}

static void out(uint64_t offset, uint8_t value)
{
	ck_assert(space_io_write(&kvm->memory, BASE + offset, 1, value));
}

/* All pins, as the address's mask says */
static uint8_t pins(void)
{
	return in(0xff << 2);
}

START_TEST(identity_is_a_pl061)
{
	static const uint8_t id[] = { 0x61, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1 };

	for (unsigned int i = 0; i < 8; i++)
		ck_assert_uint_eq(in(0xfe0 + 4 * i), id[i]);
}
END_TEST

START_TEST(power_key_is_pressed_and_let_go_with_an_interrupt_each)
{
	out(IBE, KEY);
	out(IE, KEY);

	ck_assert_int_eq(kvm_power_button(kvm), 0);
	ck_assert_uint_eq(pins(), KEY);
	ck_assert_uint_eq(in(MIS), KEY);
	ck_assert_uint_eq(board_interrupts(kvm, gsi), 1);
	out(IC, KEY);
	ck_assert_uint_eq(in(RIS), 0);

	for (int i = 0; i < 200 && pins(); i++)
		board_poll(kvm, 10);
	ck_assert_uint_eq(pins(), 0);
	ck_assert_uint_eq(in(MIS), KEY);
}
END_TEST

START_TEST(only_the_edge_that_was_chosen_counts)
{
	out(IE, KEY);
	out(IEV, 0);		/* falling */

	ck_assert_int_eq(kvm_power_button(kvm), 0);
	ck_assert_uint_eq(in(RIS), 0);

	for (int i = 0; i < 200 && pins(); i++)
		board_poll(kvm, 10);
	ck_assert_uint_eq(in(RIS), KEY);
}
END_TEST

START_TEST(level_status_follows_the_pin)
{
	out(IS, 0xff);
	out(IEV, 0xff);
	ck_assert_uint_eq(in(RIS), 0);

	ck_assert_int_eq(kvm_power_button(kvm), 0);
	ck_assert_uint_eq(in(RIS), KEY);
	out(IC, KEY);
	ck_assert_uint_eq(in(RIS), KEY);

	for (int i = 0; i < 200 && pins(); i++)
		board_poll(kvm, 10);
	ck_assert_uint_eq(in(RIS), 0);
}
END_TEST

START_TEST(outputs_are_written_through_the_addresss_mask)
{
	out(DIR, 0xf0);
	out(0xff << 2, 0xaa);
	out(0x10 << 2, 0x55);

	ck_assert_uint_eq(pins(), 0xb0);
	ck_assert_uint_eq(in(0x30 << 2), 0x30);
}
END_TEST

START_TEST(saved_state_is_what_is_loaded)
{
	out(DIR, 0x80);
	out(IBE, KEY);
	out(IE, KEY);
	ck_assert_int_eq(kvm_power_button(kvm), 0);

	board_save_load(kvm, "gpio");

	ck_assert_uint_eq(in(DIR), 0x80);
	ck_assert_uint_eq(in(IE), KEY);
	ck_assert_uint_eq(pins() & KEY, KEY);
}
END_TEST

START_TEST(accesses_of_any_size_anywhere_do_no_harm)
{
	for (uint64_t offset = 0; offset < 0x1000; offset++) {
		for (unsigned int size = 1; size <= 8; size *= 2) {
			uint64_t value;

			space_io_write(&kvm->memory, BASE + offset, size, UINT64_MAX);
			space_io_read(&kvm->memory, BASE + offset, size, &value);
		}
	}
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *gpio = suite_case(suite, "gpio", setup, teardown);

	tcase_add_test(gpio, identity_is_a_pl061);
	tcase_add_test(gpio, power_key_is_pressed_and_let_go_with_an_interrupt_each);
	tcase_add_test(gpio, only_the_edge_that_was_chosen_counts);
	tcase_add_test(gpio, level_status_follows_the_pin);
	tcase_add_test(gpio, outputs_are_written_through_the_addresss_mask);
	tcase_add_test(gpio, saved_state_is_what_is_loaded);
	tcase_add_test(gpio, accesses_of_any_size_anywhere_do_no_harm);
}
SUITE_MAIN("pl061", add_tests)
