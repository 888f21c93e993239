/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests hw/arm64/rtc.c: the time, setting it, the alarm, and its state. */
#include <time.h>

#include "../board.h"
#include "kvm/arch.h"

#define BASE	0x1010000
#define DR	0x00
#define MR	0x04
#define LR	0x08
#define CR	0x0c
#define IMSC	0x10
#define RIS	0x14
#define MIS	0x18
#define ICR	0x1c

static struct kvm *kvm;
static uint32_t gsi;

static void setup(void)
{
	kvm = board_create();
	board_add(kvm, "rtc_init");
	gsi = (uint32_t)platform_devices(kvm)->gsi;
}

static void teardown(void)
{
	board_destroy(kvm);
}

static uint32_t in(uint64_t offset)
{
	uint64_t value;

	ck_assert(space_io_read(&kvm->memory, BASE + offset, 4, &value));
	return (uint32_t)value;
}

static void out(uint64_t offset, uint32_t value)
{
	ck_assert(space_io_write(&kvm->memory, BASE + offset, 4, value));
}

START_TEST(time_is_the_hosts)
{
	uint32_t before = (uint32_t)time(NULL), seen = in(DR);

	ck_assert_uint_ge(seen, before);
	ck_assert_uint_le(seen, (uint32_t)time(NULL));
	ck_assert_uint_eq(in(CR), 1);
}
END_TEST

START_TEST(time_that_is_loaded_goes_on_from_there)
{
	out(LR, 1000);

	ck_assert_uint_ge(in(DR), 1000);
	ck_assert_uint_le(in(DR), 1002);
	ck_assert_uint_eq(in(LR), 1000);
}
END_TEST

START_TEST(identity_is_a_pl031)
{
	static const uint8_t id[] = { 0x31, 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1 };

	for (unsigned int i = 0; i < 8; i++)
		ck_assert_uint_eq(in(0xfe0 + 4 * i), id[i]);
}
END_TEST

START_TEST(alarm_raises_the_line_until_it_is_cleared)
{
	out(IMSC, 1);
	out(LR, 1000);
	out(MR, 1001);

	for (int i = 0; i < 300 && !in(RIS); i++)
		board_poll(kvm, 10);

	ck_assert_uint_eq(in(RIS), 1);
	ck_assert_uint_eq(in(MIS), 1);
	ck_assert_uint_eq(board_interrupts(kvm, gsi), 1);
	out(ICR, 1);
	ck_assert_uint_eq(in(RIS), 0);
}
END_TEST

START_TEST(masked_alarm_is_only_seen_in_the_raw_status)
{
	out(MR, in(DR));
	board_poll(kvm, 20);

	ck_assert_uint_eq(in(RIS), 1);
	ck_assert_uint_eq(in(MIS), 0);
	ck_assert_uint_eq(board_interrupts(kvm, gsi), 0);

	out(IMSC, 1);
	ck_assert_uint_eq(board_interrupts(kvm, gsi), 1);
}
END_TEST

START_TEST(alarm_that_fell_due_while_quiesced_goes_off_at_resume)
{
	struct device *device = device_find(kvm, "rtc");

	out(LR, 1000);
	out(MR, 1001);
	ck_assert_int_eq(device->ops->quiesce(device), 0);
	board_poll(kvm, 2100);
	ck_assert_uint_eq(in(RIS), 0);

	device->ops->resume(device);
	board_poll(kvm, 20);

	ck_assert_uint_eq(in(RIS), 1);
}
END_TEST

START_TEST(reset_forgets_the_time_and_the_alarm)
{
	struct device *device = device_find(kvm, "rtc");

	out(LR, 1000);
	out(IMSC, 1);
	out(MR, 1000);

	device->ops->reset(device);
	board_poll(kvm, 20);

	ck_assert_uint_ge(in(DR), (uint32_t)time(NULL) - 1);
	ck_assert_uint_eq(in(IMSC), 0);
	ck_assert_uint_eq(in(RIS), 0);
}
END_TEST

START_TEST(saved_state_is_what_is_loaded)
{
	out(LR, 1000);
	out(MR, 5000);
	out(IMSC, 1);

	board_save_load(kvm, "rtc");

	ck_assert_uint_le(in(DR), 1010);
	ck_assert_uint_eq(in(MR), 5000);
	ck_assert_uint_eq(in(IMSC), 1);
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
	TCase *rtc = suite_case(suite, "rtc", setup, teardown);

	tcase_add_test(rtc, time_is_the_hosts);
	tcase_add_test(rtc, time_that_is_loaded_goes_on_from_there);
	tcase_add_test(rtc, identity_is_a_pl031);
	tcase_add_test(rtc, alarm_raises_the_line_until_it_is_cleared);
	tcase_add_test(rtc, masked_alarm_is_only_seen_in_the_raw_status);
	tcase_add_test(rtc, alarm_that_fell_due_while_quiesced_goes_off_at_resume);
	tcase_add_test(rtc, reset_forgets_the_time_and_the_alarm);
	tcase_add_test(rtc, saved_state_is_what_is_loaded);
	tcase_add_test(rtc, accesses_of_any_size_anywhere_do_no_harm);
}
SUITE_MAIN("pl031", add_tests)
