/* SPDX-License-Identifier: BSD-2-Clause */
/* core/event.c: loops, sources, timers, calls and posted work from other threads. */
#include "tests/unit/board.h"

#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "kvm/event.h"

#define WAIT_NS		10000000000ULL

static struct event_loop *loop, *threaded;

static void setup(void)
{
	ck_assert_int_eq(event_loop_create(&loop, "test"), 0);
	ck_assert_int_eq(event_loop_create(&threaded, "test-thread"), 0);
	ck_assert_int_eq(event_loop_start_thread(threaded), 0);
}

static void teardown(void)
{
	event_loop_destroy(threaded);
	event_loop_destroy(loop);
}

static void poll_until(const atomic_uint *counter, unsigned int wanted)
{
	uint64_t end = event_now_ns() + WAIT_NS;

	while (atomic_load(counter) < wanted && event_now_ns() < end)
		event_loop_poll(loop, 5);
	ck_assert_uint_ge(atomic_load(counter), wanted);
}

static void sleep_until(const atomic_uint *counter, unsigned int wanted)
{
	uint64_t end = event_now_ns() + WAIT_NS;

	while (atomic_load(counter) < wanted && event_now_ns() < end)
		usleep(500);
	ck_assert_uint_ge(atomic_load(counter), wanted);
}

/* ---- sources ---- */

struct watched {
	struct event_source source;
	int pipe[2];
	atomic_uint ready;
	bool remove_itself;
	struct watched *remove_other;
};

static void watched_ready(struct event_source *source, uint32_t events)
{
	struct watched *watched = container_of(source, struct watched, source);
	char byte;

	(void)events;
	ck_assert_int_eq(read(watched->pipe[0], &byte, 1), 1);
	atomic_fetch_add(&watched->ready, 1);
	if (watched->remove_itself)
		event_del(source);
	if (watched->remove_other)
		event_del(&watched->remove_other->source);
}

static void watch(struct event_loop *on, struct watched *watched)
{
	memset(watched, 0, sizeof(*watched));
	ck_assert_int_eq(pipe(watched->pipe), 0);
	ck_assert_int_eq(event_add(on, &watched->source, watched->pipe[0], EPOLLIN, watched_ready), 0);
}

static void unwatch(struct watched *watched)
{
	event_del(&watched->source);
	close(watched->pipe[0]);
	close(watched->pipe[1]);
}

START_TEST(a_source_is_called_as_long_as_there_is_something)
{
	struct watched watched;

	watch(loop, &watched);
	ck_assert_int_eq(write(watched.pipe[1], "abc", 3), 3);
	poll_until(&watched.ready, 3);
	event_loop_poll(loop, 5);
	ck_assert_uint_eq(atomic_load(&watched.ready), 3);
	ck_assert_int_eq(event_modify(&watched.source, 0), 0);
	ck_assert_int_eq(write(watched.pipe[1], "d", 1), 1);
	event_loop_poll(loop, 10);
	ck_assert_uint_eq(atomic_load(&watched.ready), 3);
	ck_assert_int_eq(event_modify(&watched.source, EPOLLIN), 0);
	poll_until(&watched.ready, 4);
	unwatch(&watched);
}
END_TEST

START_TEST(a_source_may_remove_itself_and_others)
{
	struct watched a, b;

	watch(loop, &a);
	watch(loop, &b);
	a.remove_itself = b.remove_itself = true;
	a.remove_other = &b;
	b.remove_other = &a;
	ck_assert_int_eq(write(a.pipe[1], "xx", 2), 2);
	ck_assert_int_eq(write(b.pipe[1], "xx", 2), 2);
	for (unsigned int i = 0; i < 5; i++)
		event_loop_poll(loop, 2);
	/* Both were ready in one look; whichever came first took the other off. */
	ck_assert_uint_eq(atomic_load(&a.ready) + atomic_load(&b.ready), 1);
	unwatch(&a);
	unwatch(&b);
}
END_TEST

START_TEST(behind_event_del_from_another_thread_nothing_runs)
{
	for (unsigned int round = 0; round < 200; round++) {
		struct watched *watched = malloc(sizeof(*watched));
		unsigned int seen;

		watch(threaded, watched);
		ck_assert_int_eq(write(watched->pipe[1], "0123456789", 10), 10);
		if (round % 2)
			sleep_until(&watched->ready, 1);
		event_del(&watched->source);
		seen = atomic_load(&watched->ready);
		usleep(50);
		ck_assert_uint_eq(atomic_load(&watched->ready), seen);
		unwatch(watched);
		free(watched);
	}
}
END_TEST

/* ---- timers ---- */

struct ticking {
	struct event_timer timer;
	atomic_uint fired;
	uint64_t at;
};

static void ticked(struct event_timer *timer)
{
	struct ticking *ticking = container_of(timer, struct ticking, timer);

	ticking->at = event_now_ns();
	atomic_fetch_add(&ticking->fired, 1);
}

START_TEST(timers_fire_once_in_order_and_never_early)
{
	struct ticking early = { .at = 0 }, late = { .at = 0 }, never = { .at = 0 };
	uint64_t now = event_now_ns();

	event_timer_init(loop, &early.timer, ticked);
	event_timer_init(loop, &late.timer, ticked);
	event_timer_init(loop, &never.timer, ticked);
	event_timer_set(&late.timer, now + 30000000);
	event_timer_set(&never.timer, now + 20000000);
	event_timer_set(&early.timer, now + 1000000000000ULL);
	event_timer_set(&early.timer, now + 10000000);
	event_timer_cancel(&never.timer);
	poll_until(&late.fired, 1);
	event_loop_poll(loop, 20);
	ck_assert_uint_eq(atomic_load(&early.fired), 1);
	ck_assert_uint_eq(atomic_load(&late.fired), 1);
	ck_assert_uint_eq(atomic_load(&never.fired), 0);
	ck_assert_uint_ge(early.at, now + 10000000);
	ck_assert_uint_ge(late.at, now + 30000000);
	ck_assert_uint_le(early.at, late.at);
}
END_TEST

START_TEST(a_timer_set_by_another_thread_wakes_the_loop)
{
	struct ticking ticking = { .at = 0 };

	event_timer_init(threaded, &ticking.timer, ticked);
	for (unsigned int i = 1; i <= 50; i++) {
		event_timer_set(&ticking.timer, event_now_ns() + 100000);
		sleep_until(&ticking.fired, i);
	}
	event_timer_cancel(&ticking.timer);
}
END_TEST

/* ---- calls and work ---- */

static void count_call(void *opaque)
{
	(*(unsigned int *)opaque)++;
}

static void call_inside(void *opaque)
{
	ck_assert(event_loop_is_current(threaded));
	event_loop_call(threaded, count_call, opaque);
}

START_TEST(calls_run_on_the_loop_and_are_done_when_they_return)
{
	unsigned int count = 0;

	for (unsigned int i = 1; i <= 1000; i++) {
		event_loop_call(threaded, call_inside, &count);
		ck_assert_uint_eq(count, i);
	}
	event_loop_call(loop, count_call, &count);
	ck_assert_uint_eq(count, 1001);
}
END_TEST

static unsigned int shared_count;	/* touched by the loop alone */

static void *caller(void *unused)
{
	(void)unused;
	for (unsigned int i = 0; i < 500; i++)
		event_loop_call(threaded, count_call, &shared_count);
	return NULL;
}

START_TEST(calls_of_many_threads_are_served_one_by_one)
{
	pthread_t threads[4];

	shared_count = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++)
		ck_assert_int_eq(pthread_create(&threads[i], NULL, caller, NULL), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(threads); i++)
		pthread_join(threads[i], NULL);
	ck_assert_uint_eq(shared_count, 2000);
}
END_TEST

struct posted {
	struct event_work work;
	atomic_uint runs;
};

static void posted_run(struct event_work *work)
{
	atomic_fetch_add(&container_of(work, struct posted, work)->runs, 1);
}

START_TEST(work_runs_once_for_any_number_of_posts_before_it)
{
	struct posted posted = { .runs = 0 };

	event_work_init(loop, &posted.work, posted_run);
	event_work_post(&posted.work);
	event_work_post(&posted.work);
	event_loop_poll(loop, 5);
	event_loop_poll(loop, 0);
	ck_assert_uint_eq(atomic_load(&posted.runs), 1);
	event_work_post(&posted.work);
	event_work_cancel(&posted.work);
	event_loop_poll(loop, 5);
	ck_assert_uint_eq(atomic_load(&posted.runs), 1);
}
END_TEST

START_TEST(no_post_of_another_thread_is_lost)
{
	struct posted posted = { .runs = 0 };

	event_work_init(threaded, &posted.work, posted_run);
	for (unsigned int i = 1; i <= 2000; i++) {
		event_work_post(&posted.work);
		sleep_until(&posted.runs, i);
	}
	event_work_cancel(&posted.work);
}
END_TEST

static void *stopper(void *opaque)
{
	usleep(2000);
	event_loop_stop(opaque);
	return NULL;
}

START_TEST(a_loop_that_runs_is_stopped_and_a_stop_before_is_remembered)
{
	pthread_t thread;

	event_loop_stop(loop);
	ck_assert_int_eq(event_loop_run(loop), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, stopper, loop), 0);
	ck_assert_int_eq(event_loop_run(loop), 0);
	pthread_join(thread, NULL);
}
END_TEST

/* ---- an owner that waits for something else ---- */

static atomic_uint caller_done;

/* All that another thread may want of a loop. */
struct wishes {
	struct watched watched;
	struct ticking ticking;
	struct posted posted;
	unsigned int calls;
};

static void *wish_everything(void *opaque)
{
	struct wishes *wishes = opaque;

	ck_assert_int_eq(write(wishes->watched.pipe[1], "x", 1), 1);
	event_timer_set(&wishes->ticking.timer, event_now_ns());
	event_work_post(&wishes->posted.work);
	event_loop_call(loop, count_call, &wishes->calls);
	atomic_store(&caller_done, 1);
	return NULL;
}

static void wishes_make(struct wishes *wishes)
{
	watch(loop, &wishes->watched);
	event_timer_init(loop, &wishes->ticking.timer, ticked);
	event_work_init(loop, &wishes->posted.work, posted_run);
}

START_TEST(an_owner_that_serves_calls_runs_nothing_else_until_it_polls_again)
{
	uint64_t end = event_now_ns() + WAIT_NS;
	struct wishes wishes = { .calls = 0 };
	pthread_t thread;

	wishes_make(&wishes);
	ck_assert_int_eq(pthread_create(&thread, NULL, wish_everything, &wishes), 0);
	while (!atomic_load(&caller_done) && event_now_ns() < end)
		event_loop_serve_calls(loop, 5);
	ck_assert_uint_eq(atomic_load(&caller_done), 1);
	pthread_join(thread, NULL);

	ck_assert_uint_eq(wishes.calls, 1);
	ck_assert_uint_eq(atomic_load(&wishes.watched.ready), 0);
	ck_assert_uint_eq(atomic_load(&wishes.ticking.fired), 0);
	ck_assert_uint_eq(atomic_load(&wishes.posted.runs), 0);

	poll_until(&wishes.watched.ready, 1);
	poll_until(&wishes.ticking.fired, 1);
	poll_until(&wishes.posted.runs, 1);
	unwatch(&wishes.watched);
}
END_TEST

static atomic_uint nudging;

static void *nudge(void *unused)
{
	(void)unused;
	while (atomic_load(&nudging)) {
		event_loop_nudge(loop);
		usleep(500);
	}
	return NULL;
}

START_TEST(a_nudge_ends_the_wait_for_calls_and_so_does_time)
{
	uint64_t start = event_now_ns();
	pthread_t thread;

	event_loop_serve_calls(loop, 0);
	event_loop_serve_calls(loop, 20);
	ck_assert_uint_lt(event_now_ns() - start, WAIT_NS);

	atomic_store(&nudging, 1);
	ck_assert_int_eq(pthread_create(&thread, NULL, nudge, NULL), 0);
	start = event_now_ns();
	event_loop_serve_calls(loop, 50000);
	ck_assert_uint_lt(event_now_ns() - start, WAIT_NS);
	atomic_store(&nudging, 0);
	pthread_join(thread, NULL);
}
END_TEST

START_TEST(what_came_while_a_loop_was_stopped_runs_when_it_runs_again)
{
	struct wishes wishes = { .calls = 0 };
	pthread_t thread;

	wishes_make(&wishes);
	event_loop_stop(loop);
	ck_assert_int_eq(event_loop_run(loop), 0);
	ck_assert_int_eq(pthread_create(&thread, NULL, wish_everything, &wishes), 0);
	usleep(5000);
	ck_assert_uint_eq(atomic_load(&wishes.posted.runs), 0);
	ck_assert_uint_eq(atomic_load(&caller_done), 0);

	/* Until its call is served, the thread can't be joined. */
	poll_until(&caller_done, 1);
	pthread_join(thread, NULL);
	poll_until(&wishes.watched.ready, 1);
	poll_until(&wishes.ticking.fired, 1);
	ck_assert_uint_eq(wishes.calls, 1);
	ck_assert_uint_eq(atomic_load(&wishes.posted.runs), 1);
	unwatch(&wishes.watched);
}
END_TEST

/* ---- what comes again by itself ---- */

static void post_again(struct event_work *work)
{
	posted_run(work);
	event_work_post(work);
}

static void set_again(struct event_timer *timer)
{
	ticked(timer);
	/* long due: a clock that has fallen far behind */
	event_timer_set(timer, 1);
}

START_TEST(work_and_timers_that_come_again_at_once_leave_time_for_others)
{
	struct posted again = { .runs = 0 };
	struct ticking due = { .at = 0 };
	struct watched watched;
	unsigned int calls = 0;

	event_work_init(threaded, &again.work, post_again);
	event_timer_init(threaded, &due.timer, set_again);
	event_work_post(&again.work);
	event_timer_set(&due.timer, 1);
	sleep_until(&again.runs, 10);
	sleep_until(&due.fired, 10);

	watch(threaded, &watched);
	ck_assert_int_eq(write(watched.pipe[1], "x", 1), 1);
	sleep_until(&watched.ready, 1);
	event_loop_call(threaded, count_call, &calls);
	ck_assert_uint_eq(calls, 1);
	unwatch(&watched);
	event_work_cancel(&again.work);
	event_timer_cancel(&due.timer);
}
END_TEST

START_TEST(what_comes_again_at_once_is_neither_forgotten_nor_slept_over)
{
	struct posted again = { .runs = 0 };
	struct ticking past = { .at = 0 }, now = { .at = 0 };
	uint64_t start = event_now_ns();

	event_work_init(loop, &again.work, post_again);
	event_timer_init(loop, &past.timer, set_again);
	event_timer_init(loop, &now.timer, ticked);
	event_work_post(&again.work);
	event_timer_set(&past.timer, 1);
	for (unsigned int round = 1; round <= 10; round++) {
		event_timer_set(&now.timer, event_now_ns());
		event_loop_poll(loop, 60000);
		ck_assert_uint_eq(atomic_load(&again.runs), round);
		ck_assert_uint_eq(atomic_load(&past.fired), round);
		ck_assert_uint_eq(atomic_load(&now.fired), round);
	}
	event_work_cancel(&again.work);
	for (unsigned int round = 11; round <= 20; round++) {
		event_loop_poll(loop, 60000);
		ck_assert_uint_eq(atomic_load(&past.fired), round);
	}
	event_timer_cancel(&past.timer);
	ck_assert_uint_lt(event_now_ns() - start, WAIT_NS);
}
END_TEST

START_TEST(behind_a_cancel_from_another_thread_nothing_runs)
{
	struct posted *again = calloc(1, sizeof(*again));
	struct ticking *due = calloc(1, sizeof(*due));
	unsigned int runs, fired;

	for (unsigned int round = 1; round <= 100; round++) {
		event_work_init(threaded, &again->work, post_again);
		event_timer_init(threaded, &due->timer, set_again);
		event_work_post(&again->work);
		event_timer_set(&due->timer, 1);
		sleep_until(&again->runs, round % 3);
		event_work_cancel(&again->work);
		event_timer_cancel(&due->timer);
		runs = atomic_load(&again->runs);
		fired = atomic_load(&due->fired);
		usleep(100);
		ck_assert_uint_eq(atomic_load(&again->runs), runs);
		ck_assert_uint_eq(atomic_load(&due->fired), fired);
		ck_assert(!again->work.queued && !due->timer.deadline_ns);
		atomic_store(&again->runs, 0);
	}
	/* A cancel of what isn't under way is nothing. */
	event_work_cancel(&again->work);
	event_timer_cancel(&due->timer);
	free(again);
	free(due);
}
END_TEST

/* ---- the end ---- */

/* What lies on a loop that goes: freed behind it, so that a late look at it is seen. */
static void destroy_with_pending(struct event_loop *going, bool at_work)
{
	struct posted *again = calloc(1, sizeof(*again)), *once = calloc(1, sizeof(*once));
	struct ticking *due = calloc(1, sizeof(*due)), *far = calloc(1, sizeof(*far));
	unsigned int runs;

	event_work_init(going, &again->work, post_again);
	event_work_init(going, &once->work, posted_run);
	event_timer_init(going, &due->timer, set_again);
	event_timer_init(going, &far->timer, ticked);
	event_timer_set(&far->timer, event_now_ns() + WAIT_NS);
	event_timer_set(&due->timer, 1);
	event_work_post(&again->work);
	event_work_post(&once->work);
	if (at_work)
		sleep_until(&again->runs, 3);
	event_loop_destroy(going);

	runs = atomic_load(&again->runs);
	ck_assert_uint_le(atomic_load(&once->runs), 1);
	ck_assert_uint_eq(atomic_load(&far->fired), 0);
	usleep(1000);
	ck_assert_uint_eq(atomic_load(&again->runs), runs);
	free(again);
	free(once);
	free(due);
	free(far);
}

START_TEST(a_loop_may_go_with_work_and_timers_pending)
{
	struct event_loop *going;

	for (unsigned int round = 0; round < 50; round++) {
		ck_assert_int_eq(event_loop_create(&going, "going"), 0);
		if (_i)
			ck_assert_int_eq(event_loop_start_thread(going), 0);
		destroy_with_pending(going, _i && round % 2);
	}
}
END_TEST

START_TEST(a_thread_that_was_stopped_is_joined_and_its_fds_are_closed)
{
	struct event_loop *going;
	int fd = dup(0), after;

	close(fd);
	for (unsigned int round = 0; round < 50; round++) {
		ck_assert_int_eq(event_loop_create(&going, "a name longer than a thread's"), 0);
		ck_assert_int_eq(event_loop_start_thread(going), 0);
		if (round % 2)
			event_loop_stop(going);
		event_loop_destroy(going);
	}
	event_loop_destroy(NULL);
	after = dup(0);
	ck_assert_int_eq(after, fd);
	close(after);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *loops = suite_case(suite, "loops", setup, teardown);

	tcase_add_test(loops, a_source_is_called_as_long_as_there_is_something);
	tcase_add_test(loops, a_source_may_remove_itself_and_others);
	tcase_add_test(loops, behind_event_del_from_another_thread_nothing_runs);
	tcase_add_test(loops, timers_fire_once_in_order_and_never_early);
	tcase_add_test(loops, a_timer_set_by_another_thread_wakes_the_loop);
	tcase_add_test(loops, calls_run_on_the_loop_and_are_done_when_they_return);
	tcase_add_test(loops, calls_of_many_threads_are_served_one_by_one);
	tcase_add_test(loops, work_runs_once_for_any_number_of_posts_before_it);
	tcase_add_test(loops, no_post_of_another_thread_is_lost);
	tcase_add_test(loops, a_loop_that_runs_is_stopped_and_a_stop_before_is_remembered);
	tcase_add_test(loops, an_owner_that_serves_calls_runs_nothing_else_until_it_polls_again);
	tcase_add_test(loops, a_nudge_ends_the_wait_for_calls_and_so_does_time);
	tcase_add_test(loops, what_came_while_a_loop_was_stopped_runs_when_it_runs_again);
	tcase_add_test(loops, work_and_timers_that_come_again_at_once_leave_time_for_others);
	tcase_add_test(loops, what_comes_again_at_once_is_neither_forgotten_nor_slept_over);
	tcase_add_test(loops, behind_a_cancel_from_another_thread_nothing_runs);
	tcase_add_loop_test(loops, a_loop_may_go_with_work_and_timers_pending, 0, 2);
	tcase_add_test(loops, a_thread_that_was_stopped_is_joined_and_its_fds_are_closed);
}
SUITE_MAIN("event", add_tests)
