/* SPDX-License-Identifier: BSD-2-Clause */
/* core/pool.c: jobs that wait, and those that don't. */
#include "tests/unit/suite.h"

#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

#include "kvm/pool.h"

static struct pool *pool;
static atomic_uint entered, running, most, done;
static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;

static void enter(void)
{
	atomic_fetch_add(&entered, 1);
}

static void wait_until(atomic_uint *count, unsigned int wanted)
{
	const struct timespec nap = { .tv_nsec = 1000000 };

	for (unsigned int i = 0; atomic_load(count) < wanted; i++) {
		ck_assert_uint_lt(i, 20000);
		nanosleep(&nap, NULL);
	}
}

static void run_quick(struct pool_job *job)
{
	(void)job;
	atomic_fetch_add(&done, 1);
}

/* Runs until the test opens the gate. */
static void run_held(struct pool_job *job)
{
	unsigned int now = atomic_fetch_add(&running, 1) + 1;

	(void)job;
	if (now > atomic_load(&most))
		atomic_store(&most, now);
	pthread_mutex_lock(&gate);
	pthread_mutex_unlock(&gate);
	atomic_fetch_sub(&running, 1);
	atomic_fetch_add(&done, 1);
}

START_TEST(threads_start_as_they_are_needed)
{
	struct pool_job jobs[100] = { 0 };

	ck_assert_int_eq(pool_create(&pool, "test", 4, enter), 0);
	ck_assert_uint_eq(atomic_load(&entered), 0);
	for (unsigned int i = 0; i < 100; i++) {
		jobs[i].run = run_quick;
		pool_submit(pool, &jobs[i]);
		wait_until(&done, i + 1);
	}
	pool_destroy(pool);
	ck_assert_uint_ge(atomic_load(&entered), 1);
	ck_assert_uint_le(atomic_load(&entered), 4);
}
END_TEST

START_TEST(as_many_run_at_once_as_there_are_threads_and_the_others_wait)
{
	struct pool_job jobs[20] = { 0 };

	ck_assert_int_eq(pool_create(&pool, "test", 4, NULL), 0);
	pthread_mutex_lock(&gate);
	for (unsigned int i = 0; i < 20; i++) {
		jobs[i].run = run_held;
		pool_submit(pool, &jobs[i]);
	}
	wait_until(&running, 4);
	ck_assert_uint_eq(atomic_load(&done), 0);
	pthread_mutex_unlock(&gate);
	wait_until(&done, 20);
	pool_destroy(pool);
	ck_assert_uint_eq(atomic_load(&most), 4);
}
END_TEST

/* The one that is held keeps a thread, and no other job. */
START_TEST(a_job_that_waits_holds_up_no_other)
{
	struct pool_job held = { .run = run_held }, jobs[50] = { 0 };

	ck_assert_int_eq(pool_create(&pool, "test", 2, NULL), 0);
	pthread_mutex_lock(&gate);
	pool_submit(pool, &held);
	for (unsigned int i = 0; i < 50; i++) {
		jobs[i].run = run_quick;
		pool_submit(pool, &jobs[i]);
	}
	wait_until(&done, 50);
	pthread_mutex_unlock(&gate);
	wait_until(&done, 51);
	pool_destroy(pool);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "pool", NULL, NULL);

	tcase_add_test(tests, threads_start_as_they_are_needed);
	tcase_add_test(tests, as_many_run_at_once_as_there_are_threads_and_the_others_wait);
	tcase_add_test(tests, a_job_that_waits_holds_up_no_other);
}
SUITE_MAIN("pool", add_tests)
