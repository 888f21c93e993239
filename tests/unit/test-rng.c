/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/rng.c: entropy for whoever asks, at a rate; hostile requests. */
#include "tests/unit/board.h"

#include "tests/unit/virtio-driver.h"

#define DATA		(RAM_BASE + 0x20000)

static struct kvm *kvm;

static void setup(void)
{
	log_set_sink(board_hush);
	kvm = driver_machine();
	ck_assert_int_eq(config_set(kvm->config, "rng", "1"), 0);
	board_add(kvm, "rng_init");
	driver_start(0, 1);
}

static void teardown(void)
{
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	log_set_sink(NULL);
}

static uint32_t ask(uint32_t length)
{
	const struct driver_buffer buffer = { DATA, length, true };

	driver_offer(0, 0, &buffer, 1);
	driver_finish(kvm, 0);
	return driver_used_length(0, 0);
}

START_TEST(requests_are_filled_with_what_differs_each_time)
{
	uint8_t first[64], second[64];

	ck_assert_uint_eq(ask(64), 64);
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(DATA), first, 64), 0);
	ck_assert_uint_eq(ask(64), 64);
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(DATA), second, 64), 0);
	ck_assert_mem_ne(first, second, 64);
}
END_TEST

START_TEST(requests_and_bytes_are_counted_over_a_reset)
{
	struct device not_virtio = { .name = "other" };
	struct virtio_counts counts;

	ck_assert_uint_eq(ask(64), 64);
	ck_assert_uint_eq(ask(8), 8);
	driver_start(0, 1);
	ck_assert(virtio_count(&driven->device, &counts));
	ck_assert_uint_eq(counts.requests, 2);
	ck_assert_uint_eq(counts.bytes_written, 72);
	ck_assert_uint_eq(counts.bytes_read, 0);
	ck_assert(!virtio_count(&not_virtio, &counts));
}
END_TEST

START_TEST(nothing_is_written_behind_the_length_that_is_said)
{
	uint8_t mark[4096];
	uint32_t got;

	memset(mark, 0xee, sizeof(mark));
	guest_poke(&driver_ram, DATA + 16384, mark, sizeof(mark));
	got = ask(16384);
	ck_assert_uint_gt(got, 0);
	ck_assert_uint_le(got, 16384);
	for (unsigned int i = 0; i < sizeof(mark); i++)
		ck_assert_uint_eq(driver_peek(DATA + 16384 + i), 0xee);
}
END_TEST

START_TEST(a_greedy_driver_is_served_at_a_rate_and_the_loop_lives_on)
{
	const struct driver_buffer buffer = { DATA, 65536, true };
	uint64_t begin = event_now_ns();

	for (unsigned int round = 0; round < 10; round++) {
		for (uint16_t i = 0; i < DRIVER_QUEUE_SIZE; i++)
			driver_offer(0, i, &buffer, 1);
		driver_kick(kvm, 0);
	}
	/* Each call returned, so no round was served whole before the next. */
	ck_assert_uint_lt(event_now_ns() - begin, 5000000000ULL);
}
END_TEST

static const struct driver_buffer odd[] = {
	{ NOWHERE, 64, true }, { ROM_BASE, 64, true }, { IO_BASE, 64, true }, { RAM_END - 8, 64, true }, { UINT64_MAX - 8, 64, true },
};

START_TEST(a_buffer_outside_memory_stops_the_device_until_reset)
{
	driver_offer(0, 0, &odd[_i], 1);
	driver_kick(kvm, 0);
	ck_assert(driver_wait(kvm, driver_needs_reset));
	driver_start(0, 1);
	ck_assert_uint_eq(ask(8), 8);
}
END_TEST

START_TEST(a_request_with_nothing_to_fill_comes_back_empty)
{
	const struct driver_buffer buffer = { DATA, 64, false };

	driver_offer(0, 0, &buffer, 1);
	driver_finish(kvm, 0);
	ck_assert_uint_eq(driver_used_length(0, 0), 0);
}
END_TEST

START_TEST(saved_and_loaded_it_is_the_same)
{
	ck_assert_uint_eq(ask(8), 8);
	board_save_load(kvm, "virtio-rng");
	driver_start(0, 1);
	ck_assert_uint_eq(ask(8), 8);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "rng", setup, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, requests_are_filled_with_what_differs_each_time);
	tcase_add_test(tests, requests_and_bytes_are_counted_over_a_reset);
	tcase_add_test(tests, nothing_is_written_behind_the_length_that_is_said);
	tcase_add_test(tests, a_greedy_driver_is_served_at_a_rate_and_the_loop_lives_on);
	tcase_add_loop_test(tests, a_buffer_outside_memory_stops_the_device_until_reset, 0, (int)ARRAY_SIZE(odd));
	tcase_add_test(tests, a_request_with_nothing_to_fill_comes_back_empty);
	tcase_add_test(tests, saved_and_loaded_it_is_the_same);
}
SUITE_MAIN("rng", add_tests)
