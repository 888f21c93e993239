/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/queue.c: split rings of a good driver, who is told what, and what is saved. */
#include "tests/unit/one-queue.h"

/* ---- a good driver ---- */

START_TEST(an_empty_ring_gives_nothing)
{
	pop_finds_nothing();
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
	ck_assert_uint_eq(req->readable, 2);
	ck_assert_uint_eq(req->writable, 2);
	ck_assert_uint_eq(req->readable_bytes, 13);
	ck_assert_uint_eq(req->writable_bytes, 9);
	ck_assert_uint_eq(virtio_request_read(req, 0, buffer, sizeof(buffer)), 13);
	ck_assert_str_eq(buffer, "hello, device");
	ck_assert_uint_eq(virtio_request_read(req, 5, buffer, 4), 4);
	ck_assert_mem_eq(buffer, ", de", 4);
	ck_assert_uint_eq(virtio_request_read(req, 13, buffer, 4), 0);
	ck_assert_uint_eq(virtio_request_read(req, SIZE_MAX, buffer, 4), 0);
	ck_assert_uint_eq(virtio_request_write(req, 2, "abcdefghij", 10), 7);
	ck_assert_mem_eq(guest.host[0] + (BUFFER + 0x200 - RAM_BASE), "\0\0ab", 4);
	ck_assert_mem_eq(guest.host[0] + (BUFFER + 0x300 - RAM_BASE), "cdefg\0", 6);
	pop_finds_nothing();
}
END_TEST

START_TEST(a_used_element_has_the_head_and_the_length)
{
	struct virtio_request *req;

	ring_describe(&ring, 6, BUFFER, 16, WRITE, 0);
	ring_offer(&ring, 6);
	req = pop();

	virtqueue_push(&vq, req, 11);
	ck_assert_uint_eq(ring_used_index(&ring), 0);
	virtqueue_flush(&vq);

	ck_assert_uint_eq(ring_used_index(&ring), 1);
	ck_assert_uint_eq(guest_peek32(&guest, ring.used + 4), 6);
	ck_assert_uint_eq(guest_peek32(&guest, ring.used + 8), 11);
	ck_assert_uint_eq(queue_interrupts, 1);
	virtqueue_flush(&vq);
	ck_assert_uint_eq(queue_interrupts, 1);
}
END_TEST

START_TEST(requests_may_finish_in_any_order)
{
	struct virtio_request *first, *second;

	ring_describe(&ring, 0, BUFFER, 16, WRITE, 0);
	ring_describe(&ring, 1, BUFFER, 16, WRITE, 0);
	ring_offer(&ring, 0);
	ring_offer(&ring, 1);
	first = pop();
	second = pop();

	virtqueue_push(&vq, second, 2);
	virtqueue_push(&vq, first, 1);
	virtqueue_flush(&vq);

	ck_assert_uint_eq(guest_peek32(&guest, ring.used + 4), 1);
	ck_assert_uint_eq(guest_peek32(&guest, ring.used + 12), 0);
	ck_assert_uint_eq(queue_interrupts, 1);
}
END_TEST

START_TEST(a_buffer_over_two_regions_is_two_segments)
{
	struct virtio_request *req;

	offer_one(RAM_SECOND - 24, 100, WRITE);
	req = pop();

	ck_assert_uint_eq(req->writable, 2);
	ck_assert_uint_eq(req->segments[0].iov_len, 24);
	ck_assert_ptr_eq(req->segments[1].iov_base, guest.host[1]);
	ck_assert_uint_eq(req->segments[1].iov_len, 76);
}
END_TEST

START_TEST(rom_may_be_read_from)
{
	offer_one(ROM_BASE, 64, 0);
	ck_assert_ptr_eq(pop()->segments[0].iov_base, guest.rom);
}
END_TEST

START_TEST(an_empty_buffer_is_no_segment)
{
	struct virtio_request *req;

	ring_describe(&ring, 0, BUFFER, 0, NEXT, 1);
	ring_describe(&ring, 1, BUFFER, 1, WRITE, 0);
	ring_offer(&ring, 0);
	req = pop();

	ck_assert_uint_eq(req->readable, 0);
	ck_assert_uint_eq(req->writable, 1);
}
END_TEST

START_TEST(an_indirect_table_is_walked)
{
	struct virtio_request *req;

	guest_describe(&guest, TABLE, BUFFER, 10, NEXT, 2);
	guest_describe(&guest, TABLE + 32, BUFFER + 64, 20, NEXT | WRITE, 1);
	guest_describe(&guest, TABLE + 16, BUFFER + 128, 30, WRITE, 0);
	ring_describe(&ring, 0, BUFFER, 5, NEXT, 1);
	ring_describe(&ring, 1, TABLE, 48, INDIRECT, 0);
	ring_offer(&ring, 0);
	req = pop();

	ck_assert_uint_eq(req->readable_bytes, 15);
	ck_assert_uint_eq(req->writable_bytes, 50);
}
END_TEST

START_TEST(a_chain_of_the_whole_queue_and_a_long_indirect_one_are_fine)
{
	for (uint16_t i = 0; i < SIZE; i++)
		ring_describe(&ring, i, BUFFER + i * 64U, 64, i + 1 < SIZE ? NEXT : 0, (uint16_t)(i + 1));
	ring_offer(&ring, 0);
	ck_assert_uint_eq(pop()->readable_bytes, SIZE * 64);

	/* More segments than a request has room for at first. */
	for (uint16_t i = 0; i < 512; i++)
		guest_describe(&guest, TABLE + i * 16U, RAM_SECOND - 4, 8, i + 1 < 512 ? NEXT : 0, (uint16_t)(i + 1));
	ring_describe(&ring, 1, TABLE, 512 * 16, INDIRECT, 0);
	ring_offer(&ring, 1);
	ck_assert_uint_eq(pop()->readable, 1024);
}
END_TEST

START_TEST(indexes_wrap)
{
	for (unsigned int i = 0; i < 70000; i++) {
		uint16_t head = (uint16_t)(i % SIZE);
		struct virtio_request *req;

		ring_describe(&ring, head, BUFFER, 4, WRITE, 0);
		ring_offer(&ring, head);
		req = pop();
		ck_assert_uint_eq(req->head, head);
		virtqueue_push(&vq, req, i);
		virtqueue_flush(&vq);
		ck_assert_uint_eq(ring_used_index(&ring), (uint16_t)(i + 1));
		ck_assert_uint_eq(guest_peek32(&guest, ring.used + 4 + 8 * head), head);
	}
	ck_assert_uint_eq(queue_interrupts, 70000);
}
END_TEST

START_TEST(a_full_ring_is_taken_and_given_back)
{
	struct virtio_request *requests[SIZE];

	for (uint16_t i = 0; i < SIZE; i++)
		ring_describe(&ring, i, BUFFER, 4, WRITE, 0);
	for (unsigned int round = 0; round < 3; round++) {
		for (uint16_t i = 0; i < SIZE; i++)
			ring_offer(&ring, i);
		for (unsigned int i = 0; i < SIZE; i++)
			requests[i] = pop();
		pop_finds_nothing();
		for (unsigned int i = 0; i < SIZE; i++)
			virtqueue_push(&vq, requests[i], 0);
		virtqueue_flush(&vq);
	}
	ck_assert_uint_eq(ring_used_index(&ring), 3 * SIZE);
	ck_assert_uint_eq(queue_interrupts, 3);
}
END_TEST

START_TEST(what_is_put_back_comes_again)
{
	struct virtio_request *req;

	ring_describe(&ring, 4, BUFFER, 4, WRITE, 0);
	ring_offer(&ring, 4);
	virtqueue_unpop(&vq, pop());

	ck_assert_uint_eq(vq.in_flight, 0);
	req = pop();
	ck_assert_uint_eq(req->head, 4);
	pop_finds_nothing();
}
END_TEST

START_TEST(requests_are_used_again)
{
	struct virtio_request *first;

	offer_one(BUFFER, 4, WRITE);
	first = pop();
	virtqueue_push(&vq, first, 0);
	offer_one(BUFFER, 4, WRITE);
	ck_assert_ptr_eq(pop(), first);
}
END_TEST

START_TEST(a_stopped_queue_gives_nothing_and_takes_requests_back)
{
	struct virtio_request *req;

	offer_one(BUFFER, 4, WRITE);
	req = pop();
	offer_one(BUFFER, 4, WRITE);
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
		ring_describe(&ring, 0, BUFFER, 4, WRITE, 0);
		ring_offer(&ring, 0);
		virtqueue_push(&vq, pop(), 0);
	}
	virtqueue_flush(&vq);
}

START_TEST(a_driver_may_refuse_interrupts)
{
	guest_poke16(&guest, ring.avail, VRING_AVAIL_F_NO_INTERRUPT);
	serve(3);
	ck_assert_uint_eq(queue_interrupts, 0);
	guest_poke16(&guest, ring.avail, 0);
	serve(1);
	ck_assert_uint_eq(queue_interrupts, 1);
}
END_TEST

static void set_used_event(uint16_t event)
{
	guest_poke16(&guest, ring.avail + 4 + 2ULL * SIZE, event);
}

START_TEST(an_event_index_asks_for_one_interrupt)
{
	vq.event_index = true;
	/* The first one tells of what there is in any case. */
	serve(1);
	ck_assert_uint_eq(queue_interrupts, 1);

	set_used_event(3);
	serve(1);
	serve(1);
	ck_assert_uint_eq(queue_interrupts, 1);
	serve(1);
	ck_assert_uint_eq(queue_interrupts, 2);
	serve(5);
	ck_assert_uint_eq(queue_interrupts, 2);
	/* A batch that passes the index counts as well. */
	set_used_event(11);
	serve(6);
	ck_assert_uint_eq(queue_interrupts, 3);
	/* With event indexes the flag says nothing. */
	guest_poke16(&guest, ring.avail, VRING_AVAIL_F_NO_INTERRUPT);
	set_used_event(ring_used_index(&ring));
	serve(1);
	ck_assert_uint_eq(queue_interrupts, 4);
}
END_TEST

START_TEST(event_indexes_wrap)
{
	vq.event_index = true;
	for (unsigned int i = 0; i < 70000; i++) {
		set_used_event((uint16_t)i);
		serve(1);
		ck_assert_uint_eq(queue_interrupts, i + 1);
	}
}
END_TEST

START_TEST(kicks_are_asked_for_by_flag)
{
	virtqueue_disable_kick(&vq);
	ck_assert_uint_eq(guest_peek16(&guest, ring.used), VRING_USED_F_NO_NOTIFY);
	ck_assert(!virtqueue_enable_kick(&vq));
	ck_assert_uint_eq(guest_peek16(&guest, ring.used), 0);
	offer_one(BUFFER, 4, WRITE);
	ck_assert(virtqueue_enable_kick(&vq));
}
END_TEST

START_TEST(kicks_are_asked_for_by_event_index)
{
	uint64_t avail_event = ring.used + 4 + 8ULL * SIZE;

	vq.event_index = true;
	serve(5);
	ck_assert(!virtqueue_enable_kick(&vq));
	ck_assert_uint_eq(guest_peek16(&guest, avail_event), 5);
	virtqueue_disable_kick(&vq);
	offer_one(BUFFER, 4, WRITE);
	ck_assert(virtqueue_enable_kick(&vq));
	ck_assert_uint_eq(guest_peek16(&guest, avail_event), 5);
	virtqueue_push(&vq, pop(), 0);
	ck_assert(!virtqueue_enable_kick(&vq));
	ck_assert_uint_eq(guest_peek16(&guest, avail_event), 6);
}
END_TEST

/* ---- reset and saved state ---- */

START_TEST(a_reset_forgets_all_but_the_counts)
{
	struct virtqueue fresh = { .device = &device, .index = 3, .size_max = 256, .size = 256 };

	vq.event_index = true;
	serve(5);
	ring_offer(&ring, SIZE);
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

START_TEST(a_queue_saved_and_loaded_is_the_same)
{
	struct state_writer before = { 0 }, after = { 0 };
	struct state_reader reader;

	vq.event_index = true;
	serve(5);
	virtqueue_save(&vq, &before);
	virtqueue_reset(&vq);
	popped_count = 0;
	reader = (struct state_reader){ .data = before.data, .length = before.length };
	ck_assert_int_eq(virtqueue_load(&vq, &reader), 0);
	ck_assert_uint_eq(reader.position, before.length);
	virtqueue_save(&vq, &after);

	ck_assert_uint_eq(after.length, before.length);
	ck_assert_mem_eq(after.data, before.data, before.length);
	/* And it goes on where it was. */
	ck_assert_int_eq(virtqueue_start(&vq, &space), 0);
	serve(3);
	ck_assert_uint_eq(ring_used_index(&ring), 8);
	state_writer_free(&before);
	state_writer_free(&after);
}
END_TEST

/* As a device does with what was popped before the save. */
START_TEST(a_request_is_taken_again_by_its_head)
{
	struct virtio_request *req;

	ring_describe(&ring, 2, BUFFER, 16, 0, 0);
	ring_offer(&ring, 2);
	offer_one(BUFFER + 64, 32, WRITE);
	pop();
	virtqueue_push(&vq, pop(), 0);
	ck_assert_uint_eq(vq.in_flight, 1);
	vq.in_flight = 0;
	ck_assert_int_eq(virtqueue_retake(&vq, 2, &req), 0);
	remember(req);
	ck_assert_uint_eq(req->head, 2);
	ck_assert_uint_eq(req->readable_bytes, 16);
	ck_assert_uint_eq(vq.in_flight, 1);
	pop_finds_nothing();
	ck_assert_int_eq(virtqueue_retake(&vq, SIZE, &req), -EPROTO);
	ck_assert_int_eq(virtqueue_retake(&vq, 2, &req), -EPROTO);
}
END_TEST

START_TEST(a_saved_queue_of_a_wrong_size_is_refused)
{
	static const uint16_t sizes[] = { 0, 3, 512, 0xffff };
	struct state_writer writer = { 0 };
	struct state_reader reader;

	vq.size = sizes[_i];
	virtqueue_save(&vq, &writer);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(virtqueue_load(&vq, &reader), -EINVAL);
	state_writer_free(&writer);
}
END_TEST

static void add_good(TCase *tcase)
{
	tcase_add_test(tcase, an_empty_ring_gives_nothing);
	tcase_add_test(tcase, a_chain_becomes_readable_then_writable_segments);
	tcase_add_test(tcase, a_used_element_has_the_head_and_the_length);
	tcase_add_test(tcase, requests_may_finish_in_any_order);
	tcase_add_test(tcase, a_buffer_over_two_regions_is_two_segments);
	tcase_add_test(tcase, rom_may_be_read_from);
	tcase_add_test(tcase, an_empty_buffer_is_no_segment);
	tcase_add_test(tcase, an_indirect_table_is_walked);
	tcase_add_test(tcase, a_chain_of_the_whole_queue_and_a_long_indirect_one_are_fine);
	tcase_add_test(tcase, indexes_wrap);
	tcase_add_test(tcase, a_full_ring_is_taken_and_given_back);
	tcase_add_test(tcase, what_is_put_back_comes_again);
	tcase_add_test(tcase, requests_are_used_again);
	tcase_add_test(tcase, a_stopped_queue_gives_nothing_and_takes_requests_back);
	tcase_add_test(tcase, a_driver_may_refuse_interrupts);
	tcase_add_test(tcase, an_event_index_asks_for_one_interrupt);
	tcase_add_test(tcase, event_indexes_wrap);
	tcase_add_test(tcase, kicks_are_asked_for_by_flag);
	tcase_add_test(tcase, kicks_are_asked_for_by_event_index);
}

static void add_tests(Suite *suite)
{
	TCase *state = suite_case(suite, "state", setup, teardown);

	add_good(suite_case(suite, "good drivers", setup, teardown));
	tcase_add_test(state, a_reset_forgets_all_but_the_counts);
	tcase_add_test(state, a_queue_saved_and_loaded_is_the_same);
	tcase_add_test(state, a_request_is_taken_again_by_its_head);
	tcase_add_loop_test(state, a_saved_queue_of_a_wrong_size_is_refused, 0, 4);
}
SUITE_MAIN("virtqueue", add_tests)
