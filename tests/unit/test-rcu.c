/* SPDX-License-Identifier: BSD-2-Clause */
/* core/rcu.c: read sections, what is released behind them and when, and more threads than slots. */
#include "tests/unit/board.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kvm/event.h"
#include "kvm/rcu.h"

#define WAIT_NS		20000000000ULL
#define SLOTS		1024	/* core/rcu.c's table */

static void sleep_until(const atomic_uint *counter, unsigned int wanted)
{
	uint64_t end = event_now_ns() + WAIT_NS;

	while (atomic_load(counter) < wanted && event_now_ns() < end)
		usleep(200);
	ck_assert_uint_ge(atomic_load(counter), wanted);
}

static void *synchronizer(void *done)
{
	rcu_synchronize();
	atomic_store((atomic_uint *)done, 1);
	return NULL;
}

/* ---- readers beside a writer ---- */

struct shared {
	uint32_t mark;
};

static _Atomic(struct shared *) current;
static atomic_bool stop;
static atomic_uint reads, freed;

static void shared_release(void *object)
{
	struct shared *shared = object;

	shared->mark = 0;
	free(shared);
	atomic_fetch_add(&freed, 1);
}

static struct shared *shared_new(void)
{
	struct shared *shared = calloc(1, sizeof(*shared));

	shared->mark = 0xabcd;
	return shared;
}

static void *nesting_reader(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop)) {
		RCU_READ_SCOPE();
		const struct shared *outer = atomic_load(&current);

		rcu_read_lock();
		EXPECT_EQ(atomic_load(&current)->mark, 0xabcd);
		rcu_read_unlock();
		/* The inner section's end is not the outer one's. */
		EXPECT_EQ(outer->mark, 0xabcd);
		atomic_fetch_add(&reads, 1);
	}
	return NULL;
}

START_TEST(readers_never_see_what_was_released)
{
	uint64_t end = event_now_ns() + 300000000ULL;
	unsigned int swaps = 0;
	pthread_t threads[3];

	atomic_store(&current, shared_new());
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, nesting_reader, NULL), 0);
	while (event_now_ns() < end || atomic_load(&reads) < 1000) {
		rcu_defer(shared_release, atomic_exchange(&current, shared_new()));
		swaps++;
		if (swaps % 16 == 0)
			rcu_synchronize();
	}
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	rcu_synchronize();
	ck_assert_uint_eq(atomic_load(&freed), swaps);
	free(atomic_load(&current));
}
END_TEST

/* ---- what synchronize waits for ---- */

static atomic_uint inside, leave;

static void *holder(void *unused)
{
	(void)unused;
	rcu_read_lock();
	atomic_fetch_add(&inside, 1);
	/* Seldom: there may be a thousand of these. */
	while (!atomic_load(&leave))
		usleep(20000);
	rcu_read_unlock();
	return NULL;
}

START_TEST(synchronize_waits_for_a_reader_that_was_there_before)
{
	pthread_t reader, waiter;
	atomic_uint done = 0;

	ck_assert_int_eq(pthread_create(&reader, NULL, holder, NULL), 0);
	sleep_until(&inside, 1);
	ck_assert_int_eq(pthread_create(&waiter, NULL, synchronizer, &done), 0);
	usleep(30000);
	ck_assert_uint_eq(atomic_load(&done), 0);
	atomic_store(&leave, 1);
	sleep_until(&done, 1);
	pthread_join(reader, NULL);
	pthread_join(waiter, NULL);
}
END_TEST

static void *reader_without_end(void *unused)
{
	(void)unused;
	while (!atomic_load(&stop)) {
		RCU_READ_SCOPE();

		atomic_fetch_add(&inside, 1);
		usleep(100);
	}
	return NULL;
}

/* Readers that come and go all the time: at no moment is nobody inside, and yet it ends. */
START_TEST(synchronize_does_not_wait_for_readers_that_came_later)
{
	pthread_t readers[4];

	for (unsigned int i = 0; i < ARRAY_SIZE(readers); i++)
		ck_assert_int_eq(pthread_create(&readers[i], NULL, reader_without_end, NULL), 0);
	sleep_until(&inside, 8);
	for (unsigned int i = 0; i < 50; i++)
		rcu_synchronize();
	atomic_store(&stop, true);
	for (unsigned int i = 0; i < ARRAY_SIZE(readers); i++)
		pthread_join(readers[i], NULL);
}
END_TEST

static atomic_uint releasing, released;

static void slow_release(void *object)
{
	(void)object;
	atomic_fetch_add(&releasing, 1);
	while (!atomic_load(&leave))
		usleep(200);
	atomic_fetch_add(&released, 1);
}

static void *deferrer(void *unused)
{
	(void)unused;
	rcu_defer(slow_release, NULL);
	return NULL;
}

/* The other thread has taken the object off the list, and is still at it. */
START_TEST(synchronize_waits_for_a_release_that_another_thread_is_in)
{
	pthread_t other, waiter;
	atomic_uint done = 0;

	ck_assert_int_eq(pthread_create(&other, NULL, deferrer, NULL), 0);
	sleep_until(&releasing, 1);
	ck_assert_int_eq(pthread_create(&waiter, NULL, synchronizer, &done), 0);
	usleep(30000);
	ck_assert_uint_eq(atomic_load(&done), 0);
	atomic_store(&leave, 1);
	sleep_until(&done, 1);
	ck_assert_uint_eq(atomic_load(&released), 1);
	pthread_join(other, NULL);
	pthread_join(waiter, NULL);
}
END_TEST

static void release_that_defers(void *object)
{
	unsigned int *left = object;

	atomic_fetch_add(&released, 1);
	if ((*left)--)
		rcu_defer(release_that_defers, left);
}

START_TEST(a_release_may_defer_another)
{
	unsigned int left = 10;

	rcu_read_lock();
	rcu_defer(release_that_defers, &left);
	ck_assert_uint_eq(atomic_load(&released), 0);
	rcu_read_unlock();
	for (unsigned int i = 0; i < 11; i++)
		rcu_synchronize();
	ck_assert_uint_eq(atomic_load(&released), 11);
}
END_TEST

static void count_release(void *object)
{
	(void)object;
	atomic_fetch_add(&released, 1);
}

START_TEST(what_a_reader_defers_is_released_behind_its_own_section)
{
	rcu_read_lock();
	rcu_read_lock();
	rcu_defer(count_release, NULL);
	rcu_read_unlock();
	rcu_defer(count_release, NULL);
	ck_assert_uint_eq(atomic_load(&released), 0);
	rcu_read_unlock();
	rcu_synchronize();
	ck_assert_uint_eq(atomic_load(&released), 2);
}
END_TEST

/* ---- more threads than slots ---- */

static atomic_uint go;

static void start_holders(pthread_t *threads, unsigned int count)
{
	pthread_attr_t small;

	pthread_attr_init(&small);
	pthread_attr_setstacksize(&small, 65536);
	for (unsigned int i = 0; i < count; i++)
		ck_assert_int_eq(pthread_create(&threads[i], &small, holder, NULL), 0);
	pthread_attr_destroy(&small);
	sleep_until(&inside, count);
}

static void *short_reader(void *unused)
{
	rcu_read_lock();
	atomic_fetch_add(&inside, 1);
	while (!atomic_load(&go))
		usleep(200);
	rcu_read_unlock();
	return unused;
}

/* Outside the table when it enters, and with a slot free when it nests. */
static void *overflowing(void *first)
{
	rcu_read_lock();
	atomic_store(&go, 1);
	pthread_join(*(pthread_t *)first, NULL);
	rcu_read_lock();
	rcu_read_unlock();
	atomic_fetch_add(&inside, 1);
	while (!atomic_load(&leave))
		usleep(200);
	rcu_read_unlock();
	/* Its sections from here on have a slot. */
	for (unsigned int i = 0; i < 3; i++) {
		RCU_READ_SCOPE();
	}
	return NULL;
}

START_TEST(a_thread_beyond_the_slots_is_waited_for_and_then_no_more)
{
	static pthread_t holders[SLOTS];
	pthread_t first, over, waiter;
	atomic_uint done = 0;

	ck_assert_int_eq(pthread_create(&first, NULL, short_reader, NULL), 0);
	sleep_until(&inside, 1);
	start_holders(holders, SLOTS - 1);
	ck_assert_int_eq(pthread_create(&over, NULL, overflowing, &first), 0);
	sleep_until(&inside, SLOTS + 1);
	ck_assert_int_eq(pthread_create(&waiter, NULL, synchronizer, &done), 0);
	usleep(30000);
	ck_assert_uint_eq(atomic_load(&done), 0);
	atomic_store(&leave, 1);
	pthread_join(over, NULL);
	for (unsigned int i = 0; i < SLOTS - 1; i++)
		pthread_join(holders[i], NULL);
	sleep_until(&done, 1);
	pthread_join(waiter, NULL);
	rcu_defer(count_release, NULL);
	rcu_synchronize();
	ck_assert_uint_eq(atomic_load(&released), 1);
}
END_TEST

START_TEST(new_process_waits_for_nobody_of_the_old_one)
{
	static pthread_t holders[3];
	int status;
	pid_t pid;

	rcu_read_lock();
	rcu_read_unlock();
	start_holders(holders, 3);
	sleep_until(&inside, 3);
	rcu_defer(count_release, NULL);
	pid = fork();
	if (!pid) {
		rcu_after_fork();
		rcu_defer(count_release, NULL);
		rcu_synchronize();
		/* its own, and not that of the other */
		_exit(atomic_load(&released) == 1 ? 0 : 1);
	}
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
	atomic_store(&leave, 1);
	for (unsigned int i = 0; i < 3; i++)
		pthread_join(holders[i], NULL);
}
END_TEST

static Suite *rcu_suite(void)
{
	Suite *suite = suite_create("rcu");
	TCase *sections = tcase_create("sections");

	tcase_set_timeout(sections, 60);
	tcase_add_test(sections, readers_never_see_what_was_released);
	tcase_add_test(sections, synchronize_waits_for_a_reader_that_was_there_before);
	tcase_add_test(sections, synchronize_does_not_wait_for_readers_that_came_later);
	tcase_add_test(sections, synchronize_waits_for_a_release_that_another_thread_is_in);
	tcase_add_test(sections, a_release_may_defer_another);
	tcase_add_test(sections, what_a_reader_defers_is_released_behind_its_own_section);
	tcase_add_test(sections, a_thread_beyond_the_slots_is_waited_for_and_then_no_more);
	tcase_add_test(sections, new_process_waits_for_nobody_of_the_old_one);
	suite_add_tcase(suite, sections);
	return suite;
}

int main(void)
{
	return board_main(rcu_suite());
}
