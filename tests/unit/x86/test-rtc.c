/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests hw/x86/rtc.c: time in its formats, the three interrupts, and the RAM. */
#include <time.h>

#include "../board.h"

#define GSI	8
#define A	0x0a
#define B	0x0b
#define C	0x0c
#define D	0x0d
#define CENTURY	0x32

static struct kvm *kvm;

static void setup(void)
{
	kvm = board_create();
	board_add(kvm, "rtc_init");
}

static void teardown(void)
{
	board_destroy(kvm);
}

static uint8_t in(uint8_t reg)
{
	board_out(kvm, 0x70, reg);
	return board_in(kvm, 0x71);
}

static void out(uint8_t reg, uint8_t value)
{
	board_out(kvm, 0x70, reg);
	board_out(kvm, 0x71, value);
}

static unsigned int bcd(uint8_t value)
{
	return (value >> 4) * 10U + (value & 15);
}

/* Sets 23:59:58 on 2027-12-31, in BCD and 24 hours, the clock stopped meanwhile; runs from its start. */
static void set_new_years_eve(void)
{
	out(B, 0x82);
	out(0, 0x58);
	out(2, 0x59);
	out(4, 0x23);
	out(7, 0x31);
	out(8, 0x12);
	out(9, 0x27);
	out(CENTURY, 0x20);
	out(B, 0x02);
}

START_TEST(time_of_day_is_the_hosts_in_utc)
{
	time_t before = time(NULL), seen;
	struct tm tm = { 0 };

	tm.tm_sec = (int)bcd(in(0));
	tm.tm_min = (int)bcd(in(2));
	tm.tm_hour = (int)bcd(in(4));
	tm.tm_mday = (int)bcd(in(7));
	tm.tm_mon = (int)bcd(in(8)) - 1;
	tm.tm_year = (int)(bcd(in(9)) + bcd(in(CENTURY)) * 100 - 1900);
	seen = timegm(&tm);

	ck_assert_int_ge(seen, before - 60);
	ck_assert_int_le(seen, before + 60);
	ck_assert_uint_eq(in(D), 0x80);
}
END_TEST

START_TEST(time_that_was_set_goes_on_from_there)
{
	set_new_years_eve();
	ck_assert_uint_eq(in(9), 0x27);
	ck_assert_uint_eq(in(4), 0x23);

	usleep(2100000);

	ck_assert_uint_eq(in(9), 0x28);
	ck_assert_uint_eq(in(8), 0x01);
	ck_assert_uint_eq(in(7), 0x01);
	ck_assert_uint_eq(in(4), 0x00);
	ck_assert_uint_eq(in(6), 0x07);
}
END_TEST

START_TEST(formats_are_binary_or_bcd_and_12_or_24_hours)
{
	out(B, 0x82);
	out(0, 0x00);
	out(2, 0x30);
	out(4, 0x13);
	out(B, 0x02);

	out(B, 0x06);
	ck_assert_uint_eq(in(4), 13);
	ck_assert_uint_eq(in(2), 30);
	out(B, 0x00);
	ck_assert_uint_eq(in(4), 0x81);
	out(B, 0x04);
	ck_assert_uint_eq(in(4), 0x81);

	out(4, 0x8c);	/* 12 p.m. */
	out(B, 0x02);
	ck_assert_uint_eq(in(4), 0x12);
	out(B, 0x00);
	out(4, 0x12);	/* 12 a.m. */
	out(B, 0x02);
	ck_assert_uint_eq(in(4), 0x00);
}
END_TEST

START_TEST(stopped_clock_stands_still)
{
	uint8_t seconds;

	out(B, 0x82);
	seconds = in(0);
	usleep(1100000);
	ck_assert_uint_eq(in(0), seconds);
	ck_assert_uint_eq(in(A) & 0x80, 0);
}
END_TEST

START_TEST(update_in_progress_comes_once_a_second)
{
	uint64_t begin = event_now_ns(), seconds;
	unsigned int rises = 0;
	bool last = false, now;

	/* It lasts 244 us, which a busy host may sleep through: then the next one counts. */
	do {
		now = in(A) & 0x80;
		rises += now && !last;
		last = now;
		seconds = (event_now_ns() - begin) / 1000000000ULL;
	} while (rises < 2 && seconds < 20);
	ck_assert_uint_eq(rises, 2);
	ck_assert_uint_le(rises, seconds + 2);
}
END_TEST

START_TEST(periodic_interrupts_come_one_for_each_read_of_c)
{
	unsigned int count = 0;

	out(A, 0x26);	/* 1024 Hz */
	in(C);
	out(B, 0x42);
	board_poll(kvm, 50);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 1);

	for (int i = 0; i < 100; i++) {
		ck_assert_uint_le(in(C) & 0x0f, 0);
		board_poll(kvm, 2);
		count += board_interrupts(kvm, GSI);
	}
	ck_assert_uint_ge(count, 90);
	ck_assert_uint_le(count, 101);
}
END_TEST

START_TEST(periodic_flag_is_set_without_the_interrupt)
{
	out(A, 0x26);
	in(C);
	usleep(3000);
	ck_assert_uint_eq(in(C) & 0xc0, 0x40);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 0);
}
END_TEST

START_TEST(update_interrupt_comes_when_the_second_changes)
{
	in(C);
	out(B, 0x12);
	board_poll(kvm, 1050);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 1);
	ck_assert_uint_eq(in(C) & 0x90, 0x90);
	ck_assert_uint_eq(in(C), 0);
}
END_TEST

START_TEST(alarm_rings_at_its_second_only)
{
	set_new_years_eve();
	out(1, 0x00);
	out(3, 0x00);
	out(5, 0xff);	/* any hour */
	in(C);
	out(B, 0x22);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 0);

	board_poll(kvm, 2100);

	ck_assert_uint_eq(board_interrupts(kvm, GSI), 1);
	ck_assert_uint_eq(in(C) & 0xa0, 0xa0);
	ck_assert_uint_le(in(0), 0x01);
}
END_TEST

START_TEST(alarm_that_never_matches_is_silent)
{
	out(1, 0x77);
	out(3, 0x77);
	out(5, 0x77);
	in(C);
	out(B, 0x22);
	board_poll(kvm, 20);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 0);
}
END_TEST

START_TEST(nothing_interrupts_while_quiesced)
{
	struct device *device = device_find(kvm, "rtc");
	unsigned int seen = 0;

	in(C);
	out(B, 0x42);
	ck_assert_int_eq(device->ops->quiesce(device), 0);
	/* What came before the device was quiet would hold back all that comes after. */
	in(C);
	board_interrupts(kvm, GSI);
	board_poll(kvm, 20);
	ck_assert_uint_eq(board_interrupts(kvm, GSI), 0);

	device->ops->resume(device);
	/* on a busy host it takes more than one look */
	for (int i = 0; i < 100 && !seen; i++) {
		board_poll(kvm, 20);
		seen = board_interrupts(kvm, GSI);
	}
	ck_assert_uint_eq(seen, 1);
}
END_TEST

START_TEST(reset_keeps_what_the_battery_holds)
{
	struct device *device = device_find(kvm, "rtc");

	set_new_years_eve();
	out(0x40, 0xab);
	out(B, 0x42);
	device->ops->reset(device);

	ck_assert_uint_eq(in(0x40), 0xab);
	ck_assert_uint_eq(in(B), 0x02);
	ck_assert_uint_eq(in(CENTURY), 0x20);
	ck_assert_uint_eq(in(9) & 0xfe, 0x26);
}
END_TEST

START_TEST(memory_size_is_where_a_bios_looks)
{
	ck_assert_uint_eq(in(0x15) | in(0x16) << 8, 640);
	ck_assert_uint_eq(in(0x17) | in(0x18) << 8, 0xffff);
	ck_assert_uint_eq(in(0x34) | in(0x35) << 8, (128 - 16) * 16);
	ck_assert_uint_eq(in(0x5b) | in(0x5c) << 8 | in(0x5d) << 16, 0);
}
END_TEST

START_TEST(saved_state_loads_the_same)
{
	set_new_years_eve();
	out(0x7f, 0x11);
	out(1, 0x30);

	board_save_load(kvm, "rtc");

	ck_assert_uint_eq(in(0x7f), 0x11);
	ck_assert_uint_eq(in(CENTURY), 0x20);
}
END_TEST

static void poke(void)
{
	for (uint8_t i = 0; i < 128; i++)
		in(i);
	out(B, 0x72);
	in(C);
}

START_TEST(hostile_state_is_refused_or_harmless)
{
	board_load_hostile(kvm, "rtc", poke);
}
END_TEST

START_TEST(any_access_of_any_size_is_harmless)
{
	board_hammer(kvm, 0x6c, 12, 20000);
	for (unsigned int reg = 0; reg < 256; reg++) {
		for (unsigned int value = 0; value < 256; value += 5) {
			out((uint8_t)reg, (uint8_t)value);
			in((uint8_t)reg);
		}
		board_poll(kvm, 0);
	}
	set_new_years_eve();
	out(A, 0x26);
	ck_assert_uint_eq(in(8), 0x12);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "MC146818", setup, teardown);

	tcase_add_test(tests, time_of_day_is_the_hosts_in_utc);
	tcase_add_test(tests, time_that_was_set_goes_on_from_there);
	tcase_add_test(tests, formats_are_binary_or_bcd_and_12_or_24_hours);
	tcase_add_test(tests, stopped_clock_stands_still);
	tcase_add_test(tests, update_in_progress_comes_once_a_second);
	tcase_add_test(tests, periodic_interrupts_come_one_for_each_read_of_c);
	tcase_add_test(tests, periodic_flag_is_set_without_the_interrupt);
	tcase_add_test(tests, update_interrupt_comes_when_the_second_changes);
	tcase_add_test(tests, alarm_rings_at_its_second_only);
	tcase_add_test(tests, alarm_that_never_matches_is_silent);
	tcase_add_test(tests, nothing_interrupts_while_quiesced);
	tcase_add_test(tests, reset_keeps_what_the_battery_holds);
	tcase_add_test(tests, memory_size_is_where_a_bios_looks);
	tcase_add_test(tests, saved_state_loads_the_same);
	tcase_add_test(tests, hostile_state_is_refused_or_harmless);
	tcase_add_test(tests, any_access_of_any_size_is_harmless);
}
SUITE_MAIN("rtc", add_tests)
