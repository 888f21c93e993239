/* SPDX-License-Identifier: BSD-2-Clause */
/* ktest/schedule.c, with a runner that only takes notes. */
#include "tests/unit/suite.h"

#include "ktest/schedule.h"

#define RUNS 40

static struct ktest_run runs[RUNS];
static struct ktest test;
static struct schedule schedule;
static unsigned int starts[RUNS];
static struct ktest_run *refused;
static char order[4096];

static int start(struct ktest_run *run, void *opaque)
{
	size_t index = (size_t)(run - runs);

	ck_assert_ptr_eq(opaque, order);
	ck_assert_int_eq(run->state, KTEST_RUNNING);
	starts[index]++;
	snprintf(order + strlen(order), sizeof(order) - strlen(order), "%zu ", index);
	return run == refused ? -ENOMEM : 0;
}

static const struct schedule_ops ops = { .start = start };

static void setup(void)
{
	memset(runs, 0, sizeof(runs));
	memset(starts, 0, sizeof(starts));
	order[0] = '\0';
	refused = NULL;
	for (size_t i = 0; i < RUNS; i++)
		runs[i] = (struct ktest_run){ .cpus = 1, .mem = MIB(512) };
	test = (struct ktest){ .runs = runs, .count = RUNS, .jobs = 100, .cpus = 100, .mem = GIB(100) };
	schedule = (struct schedule){ .test = &test, .ops = &ops, .opaque = order };
}

static void use(size_t count)
{
	test.count = count;
	schedule_fill(&schedule);
}

static const char *end_of(size_t index, bool again)
{
	order[0] = '\0';
	schedule_ended(&schedule, &runs[index], again);
	return order;
}

START_TEST(as_many_as_there_are_jobs)
{
	test.jobs = 3;
	use(5);
	ck_assert_str_eq(order, "0 1 2 ");
	ck_assert_str_eq(end_of(1, false), "3 ");
	ck_assert_str_eq(end_of(0, false), "4 ");
	ck_assert_str_eq(end_of(4, false), "");
}
END_TEST

START_TEST(as_many_as_there_are_cpus)
{
	test.cpus = 4;
	runs[1].cpus = 4;
	use(5);
	ck_assert_str_eq(order, "0 2 3 4 ");
	end_of(0, false);
	end_of(2, false);
	ck_assert_str_eq(end_of(3, false), "");
	ck_assert_str_eq(end_of(4, false), "1 ");
}
END_TEST

START_TEST(as_much_as_there_is_memory)
{
	test.mem = MIB(1300);
	use(4);
	ck_assert_str_eq(order, "0 1 ");
	ck_assert_str_eq(end_of(0, false), "2 ");
}
END_TEST

START_TEST(one_that_is_too_large_runs_alone)
{
	test.cpus = 2;
	runs[0].cpus = UINT32_MAX;
	runs[1].mem = UINT64_MAX;
	use(4);
	ck_assert_str_eq(order, "0 ");
	ck_assert_str_eq(end_of(0, false), "1 ");
	ck_assert_str_eq(end_of(1, false), "2 3 ");
}
END_TEST

START_TEST(one_that_failed_is_run_again)
{
	test.jobs = 1;
	use(2);
	ck_assert_str_eq(end_of(0, true), "0 ");
	ck_assert_str_eq(end_of(0, false), "1 ");
	ck_assert(!schedule_over(&schedule));
	end_of(1, false);
	ck_assert(schedule_over(&schedule));
	ck_assert_uint_eq(starts[0], 2);
}
END_TEST

START_TEST(one_that_cant_start_is_done)
{
	test.jobs = 1;
	refused = &runs[0];
	use(2);
	ck_assert_str_eq(order, "0 1 ");
	ck_assert_int_eq(runs[0].state, KTEST_DONE);
	end_of(1, false);
	ck_assert(schedule_over(&schedule));
}
END_TEST

START_TEST(nothing_starts_once_it_was_stopped)
{
	test.jobs = 2;
	use(5);
	schedule_stop(&schedule);
	ck_assert(!schedule_over(&schedule));
	ck_assert_str_eq(end_of(0, true), "");
	ck_assert_int_eq(runs[0].state, KTEST_DONE);
	ck_assert_str_eq(end_of(1, false), "");
	ck_assert(schedule_over(&schedule));
	ck_assert_int_eq(runs[2].state, KTEST_WAITING);
}
END_TEST

/* Ends come in any order, some runs are tried again: none is lost, and the budget is kept. */
START_TEST(none_of_forty_is_lost)
{
	uint32_t random = 7;

	test.jobs = 7;
	test.cpus = 9;
	for (size_t i = 0; i < RUNS; i++)
		runs[i].cpus = 1 + i % 3;
	use(RUNS);
	while (!schedule_over(&schedule)) {
		size_t index;

		do {
			random = random * 1664525 + 1013904223;
			index = (random >> 16) % RUNS;
		} while (runs[index].state != KTEST_RUNNING);
		end_of(index, index % 5 == 0 && starts[index] < 3);
		ck_assert_uint_le(schedule.jobs, 7);
		ck_assert_uint_le(schedule.cpus, 9);
	}
	ck_assert_uint_eq(schedule.done, RUNS);
	ck_assert_uint_eq(schedule.jobs + schedule.cpus + schedule.mem, 0);
	for (size_t i = 0; i < RUNS; i++)
		ck_assert_uint_eq(starts[i], i % 5 == 0 ? 3 : 1);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "schedule", setup, NULL);

	tcase_add_test(tests, as_many_as_there_are_jobs);
	tcase_add_test(tests, as_many_as_there_are_cpus);
	tcase_add_test(tests, as_much_as_there_is_memory);
	tcase_add_test(tests, one_that_is_too_large_runs_alone);
	tcase_add_test(tests, one_that_failed_is_run_again);
	tcase_add_test(tests, one_that_cant_start_is_done);
	tcase_add_test(tests, nothing_starts_once_it_was_stopped);
	tcase_add_test(tests, none_of_forty_is_lost);
}
SUITE_MAIN("ktest-schedule", add_tests)
