/* SPDX-License-Identifier: BSD-2-Clause */
/* core/event.c's looks before it sleeps, and virtio/queue.c's part in them. */
#include "tests/unit/one-queue.h"

#include <sys/epoll.h>

#define MS	1000u

static struct event_loop *loop;
static unsigned int begins, looks, ends, found_at;

static void note_begin(struct event_poller *poller)
{
	(void)poller;
	begins++;
}

static bool note_look(struct event_poller *poller)
{
	(void)poller;
	return ++looks == found_at;
}

static void note_end(struct event_poller *poller)
{
	(void)poller;
	ends++;
}

static struct event_poller poller = { .begin = note_begin, .look = note_look, .end = note_end };

static void setup_loop(void)
{
	begins = looks = ends = found_at = 0;
	ck_assert_int_eq(event_loop_create(&loop, "test"), 0);
}

static void teardown_loop(void)
{
	event_loop_destroy(loop);
}

static void poll_with(unsigned int max_us)
{
	event_loop_set_polling(loop, max_us);
	event_poller_add(loop, &poller);
}

/* Waits that a look could have spared make the loop look. */
static void make_it_look(void)
{
	for (unsigned int i = 0; i < 8; i++)
		ck_assert_int_eq(event_loop_poll(loop, 1), 0);
	ck_assert_uint_gt(looks, 0);
}

START_TEST(a_loop_that_was_not_asked_never_looks)
{
	ck_assert(!event_loop_polls(loop));
	poll_with(0);
	for (unsigned int i = 0; i < 8; i++)
		event_loop_poll(loop, 1);
	ck_assert_uint_eq(looks, 0);
	ck_assert_uint_eq(begins, 0);
}
END_TEST

START_TEST(short_waits_make_a_loop_look)
{
	poll_with(200 * MS);
	ck_assert(event_loop_polls(loop));
	event_loop_poll(loop, 1);
	ck_assert_uint_eq(looks, 0);
	make_it_look();
	ck_assert_uint_gt(begins, 0);
	ck_assert_uint_le(ends, begins);
}
END_TEST

START_TEST(a_long_wait_ends_the_looks)
{
	poll_with(200 * MS);
	make_it_look();
	event_loop_set_polling(loop, 1);
	event_loop_poll(loop, 20);
	looks = 0;
	event_loop_poll(loop, 20);
	event_loop_poll(loop, 20);
	ck_assert_uint_eq(looks, 0);
	ck_assert_uint_eq(begins, ends);
}
END_TEST

START_TEST(what_is_found_keeps_the_loop_looking)
{
	unsigned int before;
	uint64_t start;

	poll_with(2000 * MS);
	make_it_look();
	before = begins;
	found_at = looks + 1;
	start = event_now_ns();
	event_loop_poll(loop, 5000);
	ck_assert_uint_lt(event_now_ns() - start, 4000000000ULL);
	ck_assert_uint_eq(looks, found_at);
	found_at = looks + 1;
	event_loop_poll(loop, 5000);
	ck_assert_uint_eq(looks, found_at);
	/* and nobody was asked to wake it in between */
	ck_assert_uint_le(begins, before + 1);
	ck_assert_uint_eq(begins, ends + 1);
}
END_TEST

static void note_ready(struct event_source *source, uint32_t events)
{
	(void)events;
	*(bool *)source->opaque = true;
}

START_TEST(fds_are_served_while_a_loop_looks)
{
	bool ready = false;
	struct event_source source = { .opaque = &ready };
	int fd = eventfd(1, EFD_CLOEXEC | EFD_NONBLOCK);

	poll_with(2000 * MS);
	make_it_look();
	ck_assert_int_eq(event_add(loop, &source, fd, EPOLLIN, note_ready), 0);
	ck_assert_int_eq(event_loop_poll(loop, 5000), 1);
	ck_assert(ready);
	event_del(&source);
	close(fd);
}
END_TEST

START_TEST(who_has_left_is_not_asked)
{
	poll_with(2000 * MS);
	make_it_look();
	event_poller_del(loop, &poller);
	looks = 0;
	event_loop_poll(loop, 1);
	ck_assert_uint_eq(looks, 0);
}
END_TEST

/* ---- queues ---- */

static bool driver_is_asked(void)
{
	return !(guest_peek16(&guest, ring.used) & VRING_USED_F_NO_NOTIFY);
}

START_TEST(a_polled_queue_asks_for_no_kicks)
{
	ck_assert(!virtqueue_enable_kick(&vq));
	ck_assert(driver_is_asked());
	virtqueue_poll_begin(&vq);
	ck_assert(!driver_is_asked());
	ck_assert(!virtqueue_poll_waiting(&vq));
	offer_one(BUFFER, 16, 0);
	ck_assert(virtqueue_poll_waiting(&vq));
	/* as a device serves it */
	virtqueue_disable_kick(&vq);
	virtqueue_push(&vq, pop(), 0);
	ck_assert(!virtqueue_enable_kick(&vq));
	ck_assert(!driver_is_asked());
	ck_assert(!virtqueue_poll_waiting(&vq));
	ck_assert(!virtqueue_poll_end(&vq));
	ck_assert(driver_is_asked());
}
END_TEST

START_TEST(what_comes_before_the_sleep_is_said)
{
	ck_assert(!virtqueue_enable_kick(&vq));
	virtqueue_poll_begin(&vq);
	offer_one(BUFFER, 16, 0);
	ck_assert(virtqueue_poll_end(&vq));
	ck_assert(driver_is_asked());
}
END_TEST

/* A receive queue whose buffers are there: nobody wants to know of more. */
START_TEST(a_queue_whose_device_is_not_waiting_is_left_alone)
{
	virtqueue_disable_kick(&vq);
	virtqueue_poll_begin(&vq);
	offer_one(BUFFER, 16, 0);
	ck_assert(!virtqueue_poll_waiting(&vq));
	ck_assert(!virtqueue_poll_end(&vq));
	ck_assert(!driver_is_asked());
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *loops = suite_case(suite, "loops", setup_loop, teardown_loop);
	TCase *queues = suite_case(suite, "queues", setup, teardown);

	tcase_add_test(loops, a_loop_that_was_not_asked_never_looks);
	tcase_add_test(loops, short_waits_make_a_loop_look);
	tcase_add_test(loops, a_long_wait_ends_the_looks);
	tcase_add_test(loops, what_is_found_keeps_the_loop_looking);
	tcase_add_test(loops, fds_are_served_while_a_loop_looks);
	tcase_add_test(loops, who_has_left_is_not_asked);
	tcase_add_test(queues, a_polled_queue_asks_for_no_kicks);
	tcase_add_test(queues, what_comes_before_the_sleep_is_said);
	tcase_add_test(queues, a_queue_whose_device_is_not_waiting_is_left_alone);
}
SUITE_MAIN("event-poll", add_tests)
