/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * doc/adding-a-device.md followed to the letter: its code blocks are this test's device (tests/unit/rules.mk
 * cuts them out of the page).
 */
#include "tests/unit/suite.h"

#include "toy-device.h"

static struct config *config;
static struct kvm *kvm;

static void set_up(void)
{
	ck_assert_int_eq(config_new(&config, run_options()), 0);
	ck_assert_int_eq(config_set(config, "counter", "true"), 0);
	ck_assert_int_eq(kvm_create(&kvm, config), 0);
	ck_assert_int_eq(counter_init(kvm), 0);
}

static void tear_down(void)
{
	counter_exit(kvm);
	kvm_free(kvm);
	config_free(config);
}

static uint64_t port(void)
{
	uint64_t value;

	ck_assert(space_io_read(&kvm->ports, COUNTER_PORT, 1, &value));
	return value;
}

START_TEST(reads_are_counted)
{
	ck_assert_uint_eq(port(), 0);
	ck_assert_uint_eq(port(), 1);
}
END_TEST

START_TEST(write_sets_it_and_reset_clears_it)
{
	ck_assert(space_io_write(&kvm->ports, COUNTER_PORT, 1, 41));
	ck_assert_uint_eq(port(), 41);

	devices_reset(kvm);

	ck_assert_uint_eq(port(), 0);
}
END_TEST

START_TEST(saved_state_comes_back)
{
	struct state_writer writer = { 0 };
	struct state_reader reader;

	ck_assert(space_io_write(&kvm->ports, COUNTER_PORT, 1, 7));
	devices_save(kvm, &writer);
	ck_assert_int_eq(writer.error, 0);
	devices_reset(kvm);

	reader = (struct state_reader){ writer.data, writer.length, 0 };
	ck_assert_int_eq(devices_load(kvm, &reader), 0);

	ck_assert_uint_eq(port(), 7);
	state_writer_free(&writer);
}
END_TEST

START_TEST(not_asked_for_is_not_there)
{
	uint64_t value;

	counter_exit(kvm);
	ck_assert_int_eq(config_set(config, "counter", "false"), 0);
	ck_assert_int_eq(counter_init(kvm), INIT_SKIP);
	ck_assert(!space_io_read(&kvm->ports, COUNTER_PORT, 1, &value));
	ck_assert_int_eq(config_set(config, "counter", "true"), 0);
	ck_assert_int_eq(counter_init(kvm), 0);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "doc/adding-a-device.md", set_up, tear_down);

	tcase_add_test(tests, reads_are_counted);
	tcase_add_test(tests, write_sets_it_and_reset_clears_it);
	tcase_add_test(tests, saved_state_comes_back);
	tcase_add_test(tests, not_asked_for_is_not_there);
}
SUITE_MAIN("toy-device", add_tests)
