/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/queue-packed.c: packed rings of a good driver, who is told what, and what is saved. */
#include "tests/unit/one-queue.h"

#define DISABLE	VRING_PACKED_EVENT_FLAG_DISABLE
#define ENABLE	VRING_PACKED_EVENT_FLAG_ENABLE
#define DESC	VRING_PACKED_EVENT_FLAG_DESC
#define WRAP	0x8000U			/* of a place: the wrap counter */

static void setup_packed(void)
{
	setup_kind(true);
}

static uint64_t slot(unsigned int index)
{
	return ring.desc + 16ULL * index;
}

static uint16_t slot_flags(unsigned int index)
{
	return guest_peek16(&guest, slot(index) + 14);
}

static uint16_t slot_id(unsigned int index)
{
	return guest_peek16(&guest, slot(index) + 12);
}

/* Offers a chain of @count writable buffers, whose ID is @head. */
static void offer_chain(uint16_t head, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		ring_describe(&ring, head + i, BUFFER + 64ULL * head, 4 + i, (uint16_t)(WRITE | (i + 1 < count ? NEXT : 0)),
			      (uint16_t)(head + i + 1));
	ring_offer(&ring, head);
}

/* ---- a good driver ---- */

START_TEST(an_empty_ring_gives_nothing)
{
	pop_finds_nothing();
	ck_assert_uint_eq(virtqueue_waiting(&vq), 0);
	virtqueue_flush(&vq);
	ck_assert_uint_eq(queue_interrupts, 0);
}
END_TEST

START_TEST(a_chain_becomes_readable_then_writable_segments)
{
	char buffer[32] = "";
	struct virtio_request *req;

	guest_poke(&guest, BUFFER, "hello, ", 7);
	guest_poke(&guest, BUFFER + 0x100, "device", 6);
	ring_describe(&ring, 2, BUFFER, 7, NEXT, 5);
	ring_describe(&ring, 5, BUFFER + 0x100, 6, NEXT, 1);
	ring_describe(&ring, 1, BUFFER + 0x200, 4, NEXT | WRITE, 7);
	ring_describe(&ring, 7, BUFFER + 0x300, 5, WRITE, 0);
	ring_offer(&ring, 2);

	req = pop();

	ck_assert_uint_eq(req->head, 2);
	ck_assert_uint_eq(req->slots, 4);
	ck_assert_uint_eq(req->readable, 2);
	ck_assert_uint_eq(req->writable, 2);
	ck_assert_uint_eq(req->readable_bytes, 13);
	ck_assert_uint_eq(req->writable_bytes, 9);
	ck_assert_uint_eq(virtio_request_read(req, 0, buffer, sizeof(buffer)), 13);
	ck_assert_str_eq(buffer, "hello, device");
	pop_finds_nothing();
}
END_TEST

/* 2.8.6: a driver needn't write it into the others. */
START_TEST(the_last_descriptor_names_the_buffer)
{
	offer_chain(0, 2);
	guest_poke16(&guest, slot(0) + 12, 0xffff);
	guest_poke16(&guest, slot(1) + 12, 0xabcd);
	ck_assert_uint_eq(pop()->head, 0xabcd);
}
END_TEST

START_TEST(a_used_descriptor_has_the_id_and_the_length)
{
	struct virtio_request *req;

	offer_chain(6, 1);
	req = pop();
	virtqueue_push(&vq, req, 11);
	ck_assert_uint_eq(ring_used_index(&ring), 0);
	virtqueue_flush(&vq);

	ck_assert_uint_eq(slot_flags(0), PACKED_AVAIL | PACKED_USED | WRITE);
	ck_assert_uint_eq(slot_id(0), 6);
	ck_assert_uint_eq(guest_peek32(&guest, slot(0) + 8), 11);
	ck_assert_uint_eq(ring_used_index(&ring), 1);
	ck_assert_uint_eq(queue_interrupts, 1);
	virtqueue_flush(&vq);
	ck_assert_uint_eq(queue_interrupts, 1);
}
END_TEST

START_TEST(what_was_not_written_to_is_not_said_to_be)
{
	offer_chain(0, 1);
	virtqueue_push(&vq, pop(), 0);
	virtqueue_flush(&vq);
	ck_assert_uint_eq(slot_flags(0), PACKED_AVAIL | PACKED_USED);
}
END_TEST

/* The driver looks at the first of a batch, and must not find the others before it has that. */
START_TEST(a_batch_is_seen_when_it_is_flushed)
{
	struct virtio_request *requests[3];

	for (uint16_t i = 0; i < 3; i++)
		offer_chain(i, 1);
	for (unsigned int i = 0; i < 3; i++)
		requests[i] = pop();
	for (unsigned int i = 0; i < 3; i++)
		virtqueue_push(&vq, requests[i], i);
	ck_assert_uint_eq(slot_flags(0), PACKED_AVAIL | WRITE);
	ck_assert_uint_eq(ring_used_index(&ring), 0);
	virtqueue_flush(&vq);
	ck_assert_uint_eq(ring_used_index(&ring), 3);
	ck_assert_uint_eq(queue_interrupts, 1);
}
END_TEST

/* The used one lies where the first that isn't yet was offered; the next one as far on as the chain was long. */
START_TEST(requests_may_finish_in_any_order)
{
	struct virtio_request *one, *three, *two;

	offer_chain(0, 1);
	offer_chain(1, 3);
	offer_chain(4, 2);
	one = pop();
	three = pop();
	two = pop();
	virtqueue_push(&vq, three, 30);
	virtqueue_push(&vq, two, 20);
	virtqueue_push(&vq, one, 10);
	virtqueue_flush(&vq);

	ck_assert_uint_eq(slot_id(0), 1);
	ck_assert_uint_eq(slot_id(3), 4);
	ck_assert_uint_eq(slot_id(5), 0);
	ck_assert_uint_eq(ring_used_index(&ring), 3);
	ck_assert_uint_eq(ring_used_length(&ring, 0), 30);
	ck_assert_uint_eq(ring_used_length(&ring, 1), 20);
	ck_assert_uint_eq(ring_used_length(&ring, 2), 10);
}
END_TEST

/* 2.8.7: without next, and of the flags only WRITE is looked at. */
START_TEST(an_indirect_table_is_taken_whole)
{
	struct virtio_request *req;

	guest_describe(&guest, TABLE, BUFFER, 10, 0, 0);
	guest_describe(&guest, TABLE + 16, BUFFER + 64, 20, 0xffff, NEXT | WRITE | PACKED_AVAIL);
	guest_describe(&guest, TABLE + 32, BUFFER + 128, 30, 1, WRITE);
	ring_describe(&ring, 3, TABLE, 48, INDIRECT, 0);
	ring_offer(&ring, 3);
	req = pop();

	ck_assert_uint_eq(req->head, 3);
	ck_assert_uint_eq(req->slots, 1);
	ck_assert_uint_eq(req->readable_bytes, 10);
	ck_assert_uint_eq(req->writable_bytes, 50);
}
END_TEST

START_TEST(a_chain_of_the_whole_ring_and_a_long_indirect_one_are_fine)
{
	struct virtio_request *req;

	offer_chain(0, SIZE);
	req = pop();
	ck_assert_uint_eq(req->slots, SIZE);
	ck_assert_uint_eq(req->writable, SIZE);
	virtqueue_push(&vq, req, 0);
	virtqueue_flush(&vq);
	ck_assert_uint_eq(ring_used_index(&ring), 1);

	/* More segments than a request has room for at first. */
	for (uint16_t i = 0; i < 512; i++)
		guest_describe(&guest, TABLE + i * 16U, RAM_SECOND - 4, 8, 0, 0);
	ring_describe(&ring, 1, TABLE, 512 * 16, INDIRECT, 0);
	ring_offer(&ring, 1);
	ck_assert_uint_eq(pop()->readable, 1024);
}
END_TEST

static const uint16_t lap_sizes[] = { 8, 7, 3, 1 };

/* Chains of all lengths over the ring's end, lap after lap; the size need not be a power of 2. */
START_TEST(laps_go_on)
{
	const uint16_t size = lap_sizes[_i];
	unsigned int interrupts = 0;

	virtqueue_stop(&vq);
	queue_start(size);
	for (unsigned int round = 0; round < 20000; round++) {
		struct virtio_request *requests[2];
		const unsigned int first = 1 + round % size, second = size - first;

		offer_chain(0, first);
		if (second)
			offer_chain((uint16_t)(first + 10), second);
		ck_assert_uint_eq(virtqueue_waiting(&vq), second ? 2 : 1);
		requests[0] = pop();
		requests[1] = second ? pop() : NULL;
		pop_finds_nothing();
		ck_assert_uint_eq(requests[0]->slots, first);
		/* Every other time the second is done first. */
		if (second && round % 2)
			virtqueue_push(&vq, requests[1], round);
		virtqueue_push(&vq, requests[0], round);
		if (second && !(round % 2))
			virtqueue_push(&vq, requests[1], round);
		virtqueue_flush(&vq);
		ck_assert_uint_eq(queue_interrupts, ++interrupts);
		ck_assert_uint_eq(ring_used_index(&ring), ring.next_avail);
		ck_assert_uint_eq(ring_used_length(&ring, (uint16_t)(ring.next_avail - 1)), round);
	}
}
END_TEST

START_TEST(a_full_ring_is_taken_and_given_back)
{
	struct virtio_request *requests[SIZE];

	for (unsigned int round = 0; round < 3; round++) {
		for (uint16_t i = 0; i < SIZE; i++)
			offer_chain(i, 1);
		ck_assert_uint_eq(virtqueue_waiting(&vq), SIZE);
		for (unsigned int i = 0; i < SIZE; i++)
			requests[i] = pop();
		pop_finds_nothing();
		for (unsigned int i = 0; i < SIZE; i++)
			virtqueue_push(&vq, requests[i], 0);
		virtqueue_flush(&vq);
		ck_assert_uint_eq(ring_used_index(&ring), (round + 1) * SIZE);
	}
	ck_assert_uint_eq(queue_interrupts, 3);
}
END_TEST

/* At each place of the ring, its end too. */
START_TEST(what_is_put_back_comes_again)
{
	for (unsigned int i = 0; i < 3 * SIZE; i++) {
		struct virtio_request *req;

		offer_chain(4, 3);
		virtqueue_unpop(&vq, pop());
		ck_assert_uint_eq(vq.in_flight, 0);
		req = pop();
		ck_assert_uint_eq(req->head, 4);
		ck_assert_uint_eq(req->writable_bytes, 15);
		pop_finds_nothing();
		virtqueue_push(&vq, req, 1);
		virtqueue_flush(&vq);
		ck_assert_uint_eq(ring_used_index(&ring), i + 1);
	}
}
END_TEST

START_TEST(a_stopped_queue_gives_nothing_and_takes_requests_back)
{
	struct virtio_request *req;

	offer_chain(0, 1);
	req = pop();
	offer_chain(1, 1);
	virtqueue_stop(&vq);

	pop_finds_nothing();
	virtqueue_push(&vq, req, 4);
	virtqueue_flush(&vq);
	ck_assert_uint_eq(ring_used_index(&ring), 0);
	ck_assert_uint_eq(queue_interrupts, 0);
	ck_assert(!virtqueue_enable_kick(&vq));
	virtqueue_disable_kick(&vq);
}
END_TEST

/* ---- notifications ---- */

static void serve(unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		offer_chain(0, 1);
		virtqueue_push(&vq, pop(), 0);
	}
	virtqueue_flush(&vq);
	ring_used_index(&ring);
}

static void wish(uint16_t place, uint16_t flags)
{
	guest_poke16(&guest, ring.avail, place);
	guest_poke16(&guest, ring.avail + 2, flags);
}

/* Where the driver looks for the next used one. */
static uint16_t driver_place(void)
{
	return (uint16_t)(ring.used_slot | (ring.used_odd ? 0 : WRAP));
}

START_TEST(a_driver_may_refuse_interrupts)
{
	wish(0, DISABLE);
	serve(3);
	ck_assert_uint_eq(queue_interrupts, 0);
	wish(0, ENABLE);
	serve(1);
	ck_assert_uint_eq(queue_interrupts, 1);
	vq.event_index = true;
	wish(WRAP | 5, DISABLE);
	serve(3);
	ck_assert_uint_eq(queue_interrupts, 1);
	wish(WRAP | 1, ENABLE);
	serve(1);
	ck_assert_uint_eq(queue_interrupts, 2);
}
END_TEST

START_TEST(a_place_asks_for_one_interrupt)
{
	vq.event_index = true;
	/* The first one tells of what there is in any case. */
	wish(WRAP | 7, DESC);
	serve(1);
	ck_assert_uint_eq(queue_interrupts, 1);

	wish(WRAP | 3, DESC);
	serve(1);
	serve(1);
	ck_assert_uint_eq(queue_interrupts, 1);
	serve(1);
	ck_assert_uint_eq(queue_interrupts, 2);
	serve(3);
	ck_assert_uint_eq(queue_interrupts, 2);
	/* A batch over the ring's end that passes the place: slots 7, 0, 1, 2 of the next lap. */
	wish(1, DESC);
	serve(4);
	ck_assert_uint_eq(queue_interrupts, 3);
	/* It stops right in front of it. */
	wish(5, DESC);
	serve(2);
	ck_assert_uint_eq(queue_interrupts, 3);
	serve(1);
	ck_assert_uint_eq(queue_interrupts, 4);
	/* One of the lap before. */
	wish(WRAP | 6, DESC);
	serve(1);
	ck_assert_uint_eq(queue_interrupts, 4);
}
END_TEST

START_TEST(places_go_round)
{
	vq.event_index = true;
	for (unsigned int i = 0; i < 5000; i++) {
		wish(driver_place(), DESC);
		serve(1);
		ck_assert_uint_eq(queue_interrupts, i + 1);
	}
	/* No place of this ring. */
	wish(WRAP | 0x7fff, DESC);
	serve(20);
	wish(0x7fff, DESC);
	serve(20);
	ck_assert_uint_eq(queue_interrupts, 5000);
}
END_TEST

START_TEST(kicks_are_asked_for_by_flag)
{
	virtqueue_disable_kick(&vq);
	ck_assert_uint_eq(guest_peek16(&guest, ring.used + 2), DISABLE);
	ck_assert(!virtqueue_enable_kick(&vq));
	ck_assert_uint_eq(guest_peek16(&guest, ring.used + 2), ENABLE);
	offer_chain(0, 1);
	ck_assert(virtqueue_enable_kick(&vq));
}
END_TEST

START_TEST(kicks_are_asked_for_by_place)
{
	vq.event_index = true;
	serve(5);
	ck_assert(!virtqueue_enable_kick(&vq));
	ck_assert_uint_eq(guest_peek16(&guest, ring.used), WRAP | 5);
	ck_assert_uint_eq(guest_peek16(&guest, ring.used + 2), DESC);
	virtqueue_disable_kick(&vq);
	offer_chain(0, 1);
	ck_assert(virtqueue_enable_kick(&vq));
	ck_assert_uint_eq(guest_peek16(&guest, ring.used), WRAP | 5);
	virtqueue_push(&vq, pop(), 0);
	ck_assert(!virtqueue_enable_kick(&vq));
	ck_assert_uint_eq(guest_peek16(&guest, ring.used), WRAP | 6);
	virtqueue_flush(&vq);
	ring_used_index(&ring);
	serve(3);
	ck_assert(!virtqueue_enable_kick(&vq));
	ck_assert_uint_eq(guest_peek16(&guest, ring.used), 1);
}
END_TEST

START_TEST(a_loop_that_looks_itself_asks_for_no_kicks)
{
	ck_assert(!virtqueue_enable_kick(&vq));
	virtqueue_poll_begin(&vq);
	ck_assert_uint_eq(guest_peek16(&guest, ring.used + 2), DISABLE);
	ck_assert(!virtqueue_poll_waiting(&vq));
	offer_chain(0, 1);
	ck_assert(virtqueue_poll_waiting(&vq));
	ck_assert(virtqueue_poll_end(&vq));
	ck_assert_uint_eq(guest_peek16(&guest, ring.used + 2), ENABLE);
}
END_TEST

/* ---- reset, saved state, and others that work on it ---- */

START_TEST(a_reset_forgets_all_but_the_counts)
{
	struct virtqueue fresh = { .device = &device, .index = 3, .size_max = 256, .size = 256 };

	vq.event_index = true;
	serve(5);
	ring_describe(&ring, 0, NOWHERE, 4, 0, 0);
	ring_offer(&ring, 0);
	pop_breaks_the_device();
	virtqueue_reset(&vq);
	popped_count = 0;

	ck_assert_uint_eq(atomic_load(&vq.requests), 5);
	fresh.memory = vq.memory;
	fresh.requests = vq.requests;
	fresh.bytes_read = vq.bytes_read;
	fresh.bytes_written = vq.bytes_written;
	ck_assert_mem_eq(&vq, &fresh, sizeof(vq));
}
END_TEST

/* As a device does: what it saved is all that the queue knows then. */
static void save_and_load(void)
{
	struct state_writer before = { 0 }, after = { 0 };
	struct state_reader reader;

	virtqueue_save(&vq, &before);
	ck_assert_int_eq(before.error, 0);
	virtqueue_stop(&vq);
	for (unsigned int i = 0; i < popped_count; i++)
		if (!in_pool(popped[i]))
			virtqueue_push(&vq, popped[i], 0);
	virtqueue_reset(&vq);
	popped_count = 0;
	vq.packed = true;
	reader = (struct state_reader){ .data = before.data, .length = before.length };
	ck_assert_int_eq(virtqueue_load(&vq, &reader), 0);
	ck_assert_uint_eq(reader.position, before.length);
	virtqueue_save(&vq, &after);
	ck_assert_uint_eq(after.length, before.length);
	ck_assert_mem_eq(after.data, before.data, before.length);
	ck_assert_int_eq(virtqueue_start(&vq, &space), 0);
	state_writer_free(&before);
	state_writer_free(&after);
}

START_TEST(a_queue_saved_and_loaded_is_the_same)
{
	vq.event_index = true;
	wish(0, ENABLE);
	serve(8);
	serve(5);
	save_and_load();
	/* And it goes on where it was. */
	serve(6);
	ck_assert_uint_eq(ring_used_index(&ring), 19);
}
END_TEST

/* What was in flight isn't in the ring any more: others were used there, and offered. */
START_TEST(what_was_in_flight_is_taken_again_though_the_ring_forgot_it)
{
	struct virtio_request *req;

	for (unsigned int i = 0; i < 3; i++)
		guest_describe(&guest, TABLE + 16ULL * i, BUFFER + 64 * i, 100, 0, i == 2 ? WRITE : 0);
	offer_chain(0, 3);
	ring_describe(&ring, 5, TABLE, 48, INDIRECT, 0);
	ring_offer(&ring, 5);
	offer_chain(6, 2);
	offer_chain(9, 1);
	pop();
	pop();
	virtqueue_push(&vq, pop(), 0);
	virtqueue_push(&vq, pop(), 0);
	virtqueue_flush(&vq);
	ck_assert_uint_eq(ring_used_index(&ring), 2);
	for (uint16_t i = 0; i < 2; i++) {
		offer_chain((uint16_t)(10 + i), 1);
		virtqueue_push(&vq, pop(), 0);
		virtqueue_flush(&vq);
		ck_assert_uint_eq(ring_used_index(&ring), 3 + i);
	}
	ck_assert_uint_eq(vq.in_flight, 2);

	save_and_load();

	ck_assert_uint_eq(vq.in_flight, 0);
	ck_assert_int_eq(virtqueue_retake(&vq, 5, &req), 0);
	remember(req);
	ck_assert_uint_eq(req->readable_bytes, 200);
	ck_assert_uint_eq(req->writable_bytes, 100);
	save_and_load();
	ck_assert_int_eq(virtqueue_retake(&vq, 0, &req), 0);
	remember(req);
	ck_assert_uint_eq(req->slots, 3);
	ck_assert_uint_eq(req->writable_bytes, 4 + 5 + 6);
	virtqueue_push(&vq, req, 7);
	ck_assert_int_eq(virtqueue_retake(&vq, 5, &req), 0);
	remember(req);
	virtqueue_push(&vq, req, 8);
	virtqueue_flush(&vq);
	ck_assert_uint_eq(ring_used_index(&ring), 6);
	ck_assert_uint_eq(ring_used_id(&ring, 4), 0);
	ck_assert_uint_eq(ring_used_id(&ring, 5), 5);
	pop_finds_nothing();
	ck_assert_int_eq(virtqueue_retake(&vq, 5, &req), -EPROTO);
}
END_TEST

static const struct {
	uint16_t avail_at, used_at;
} bad_places[] = {
	{ SIZE, 0 }, { 0, SIZE }, { 0x7fff, 0 }, { 0, 1 }, { 0x8001, 0 }, { 3, 0x8001 }, { 0x8003, 2 }, { 0xffff, 0xffff },
};

START_TEST(a_saved_place_that_is_none_is_refused)
{
	struct state_writer writer = { 0 };
	struct state_reader reader;

	vq.avail_at = bad_places[_i].avail_at;
	vq.used_at = bad_places[_i].used_at;
	virtqueue_save(&vq, &writer);
	vq.avail_at = vq.used_at = 0;
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(virtqueue_load(&vq, &reader), -EINVAL);
	state_writer_free(&writer);
}
END_TEST

/* More of them than lie between the two places would let the one overtake the other. */
START_TEST(saved_requests_that_have_no_place_are_refused)
{
	struct state_writer writer = { 0 };
	struct state_reader reader;

	offer_chain(0, 3);
	pop();
	vq.avail_at = (uint16_t)_i;
	virtqueue_save(&vq, &writer);
	vq.avail_at = 3;
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(virtqueue_load(&vq, &reader), -EINVAL);
	state_writer_free(&writer);
}
END_TEST

START_TEST(a_saved_size_need_not_be_a_power_of_2_but_fit)
{
	static const uint16_t sizes[] = { 7, 255, 0, 257, 0xffff };
	struct state_writer writer = { 0 };
	struct state_reader reader;

	vq.size = sizes[_i];
	virtqueue_save(&vq, &writer);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(virtqueue_load(&vq, &reader), _i < 2 ? 0 : -EINVAL);
	state_writer_free(&writer);
}
END_TEST

/* As vhost has it: slots, and wrap counters on top. */
START_TEST(a_base_is_both_places)
{
	ck_assert_uint_eq(virtqueue_base(&vq), (WRAP << 16) | WRAP);
	serve(3);
	offer_chain(0, 2);
	pop();
	ck_assert_uint_eq(virtqueue_base(&vq), ((WRAP | 3) << 16) | WRAP | 5);
	ck_assert_int_eq(virtqueue_set_base(&vq, (WRAP | 6) << 16 | 2), 0);
	ck_assert_uint_eq(virtqueue_base(&vq), (WRAP | 6) << 16 | 2);
	ck_assert_int_eq(virtqueue_set_base(&vq, (WRAP | 1) << 16 | 2), -EPROTO);
	ck_assert_int_eq(virtqueue_set_base(&vq, (WRAP | SIZE) << 16 | WRAP), -EPROTO);
	ck_assert_int_eq(virtqueue_set_base(&vq, 0xffffffff), -EPROTO);
	ck_assert_uint_eq(virtqueue_base(&vq), (WRAP | 6) << 16 | 2);
	ck_assert(!virtqueue_take_again(&vq));
	ck_assert_int_eq(virtqueue_set_base(&vq, (WRAP | 3) << 16 | WRAP | 5), 0);
}
END_TEST

static void add_good(TCase *tcase)
{
	tcase_add_test(tcase, an_empty_ring_gives_nothing);
	tcase_add_test(tcase, a_chain_becomes_readable_then_writable_segments);
	tcase_add_test(tcase, the_last_descriptor_names_the_buffer);
	tcase_add_test(tcase, a_used_descriptor_has_the_id_and_the_length);
	tcase_add_test(tcase, what_was_not_written_to_is_not_said_to_be);
	tcase_add_test(tcase, a_batch_is_seen_when_it_is_flushed);
	tcase_add_test(tcase, requests_may_finish_in_any_order);
	tcase_add_test(tcase, an_indirect_table_is_taken_whole);
	tcase_add_test(tcase, a_chain_of_the_whole_ring_and_a_long_indirect_one_are_fine);
	tcase_add_loop_test(tcase, laps_go_on, 0, ARRAY_SIZE(lap_sizes));
	tcase_add_test(tcase, a_full_ring_is_taken_and_given_back);
	tcase_add_test(tcase, what_is_put_back_comes_again);
	tcase_add_test(tcase, a_stopped_queue_gives_nothing_and_takes_requests_back);
	tcase_add_test(tcase, a_driver_may_refuse_interrupts);
	tcase_add_test(tcase, a_place_asks_for_one_interrupt);
	tcase_add_test(tcase, places_go_round);
	tcase_add_test(tcase, kicks_are_asked_for_by_flag);
	tcase_add_test(tcase, kicks_are_asked_for_by_place);
	tcase_add_test(tcase, a_loop_that_looks_itself_asks_for_no_kicks);
}

static void add_tests(Suite *suite)
{
	TCase *state = suite_case(suite, "state", setup_packed, teardown);

	add_good(suite_case(suite, "good drivers", setup_packed, teardown));
	tcase_add_test(state, a_reset_forgets_all_but_the_counts);
	tcase_add_test(state, a_queue_saved_and_loaded_is_the_same);
	tcase_add_test(state, what_was_in_flight_is_taken_again_though_the_ring_forgot_it);
	tcase_add_loop_test(state, a_saved_place_that_is_none_is_refused, 0, ARRAY_SIZE(bad_places));
	tcase_add_loop_test(state, saved_requests_that_have_no_place_are_refused, 0, 3);
	tcase_add_loop_test(state, a_saved_size_need_not_be_a_power_of_2_but_fit, 0, 5);
	tcase_add_test(state, a_base_is_both_places);
}
SUITE_MAIN("virtqueue-packed", add_tests)
