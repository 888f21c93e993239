/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/queue.c: split rings of a bad driver: each broken rule breaks the device, and nothing leads out of RAM. */
#include "tests/unit/one-queue.h"

/* ---- a bad driver: one descriptor ---- */

static const struct {
	const char *what;
	uint64_t address;
	uint32_t length;
	uint16_t flags;
} bad_buffers[] = {
	{ "past RAM", NOWHERE, 1, 0 },
	{ "below RAM", RAM_BASE - 1, 2, 0 },
	{ "runs out of RAM", ROM_BASE + 0xfff, 2, 0 },
	{ "writable over ROM", RAM_END - 1, 2, WRITE },
	{ "writable ROM", ROM_BASE, 1, WRITE },
	{ "a device", IO_BASE, 4, 0 },
	{ "a device, writable", IO_BASE, 4, WRITE },
	{ "wraps", UINT64_MAX - 3, 8, 0 },
	{ "wraps to RAM", UINT64_MAX, UINT32_MAX, WRITE },
	{ "4 GiB", RAM_BASE, UINT32_MAX, 0 },
	{ "the last address", UINT64_MAX, 1, 0 },
};

START_TEST(a_buffer_that_is_not_in_ram_breaks_the_device)
{
	offer_one(bad_buffers[_i].address, bad_buffers[_i].length, bad_buffers[_i].flags);
	pop_breaks_the_device();
}
END_TEST

START_TEST(a_bad_buffer_behind_a_good_one_breaks_the_device)
{
	ring_describe(&ring, 0, BUFFER, 16, NEXT, 1);
	ring_describe(&ring, 1, bad_buffers[_i].address, bad_buffers[_i].length, bad_buffers[_i].flags, 0);
	ring_offer(&ring, 0);
	pop_breaks_the_device();
}
END_TEST

START_TEST(a_readable_buffer_behind_a_writable_one_breaks_the_device)
{
	ring_describe(&ring, 0, BUFFER, 4, NEXT | WRITE, 1);
	ring_describe(&ring, 1, BUFFER, 4, 0, 0);
	ring_offer(&ring, 0);
	pop_breaks_the_device();
}
END_TEST

/* ---- chains ---- */

START_TEST(a_head_past_the_queue_breaks_the_device)
{
	ring_offer(&ring, (uint16_t)(_i ? 0xffff : SIZE));
	pop_breaks_the_device();
}
END_TEST

START_TEST(a_next_past_the_queue_breaks_the_device)
{
	ring_describe(&ring, 0, BUFFER, 4, NEXT, (uint16_t)(_i ? 0xffff : SIZE));
	ring_offer(&ring, 0);
	pop_breaks_the_device();
}
END_TEST

START_TEST(a_chain_that_loops_breaks_the_device)
{
	ring_describe(&ring, 0, BUFFER, 4, NEXT, 1);
	ring_describe(&ring, 1, BUFFER, 4, NEXT, (uint16_t)_i);
	ring_offer(&ring, 0);
	pop_breaks_the_device();
}
END_TEST

START_TEST(lengths_past_4_gib_break_the_device)
{
	/* Each is in RAM: only the sum is wrong. */
	static char *big;
	static struct region region;
	const uint32_t length = 64U << 20;

	big = mmap(NULL, length, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	region_init_ram(&region, "big", big, length, -1, 0);
	ck_assert_int_eq(region_add(&space, &region, GIB(1), 0), 0);
	for (uint16_t i = 0; i < 64; i++)
		guest_describe(&guest, TABLE + i * 16U, GIB(1), length, (uint16_t)((i < 63 ? NEXT : 0) | (_i ? WRITE : 0)),
			       (uint16_t)(i + 1));
	ring_describe(&ring, 0, TABLE, 64 * 16, INDIRECT, 0);
	ring_offer(&ring, 0);

	pop_breaks_the_device();
	region_del(&region);
	munmap(big, length);
}
END_TEST

START_TEST(an_available_index_too_far_ahead_breaks_the_device)
{
	static const uint16_t jumps[] = { SIZE + 1, 0x7fff, 0x8000, 0xffff };

	ring_describe(&ring, 0, BUFFER, 4, 0, 0);
	ring_set_avail_index(&ring, jumps[_i]);
	pop_breaks_the_device();
}
END_TEST

START_TEST(more_requests_than_the_queue_holds_break_the_device)
{
	struct virtio_request *requests[SIZE], *req;

	ring_describe(&ring, 0, BUFFER, 4, 0, 0);
	for (unsigned int i = 0; i < SIZE; i++) {
		ring_offer(&ring, 0);
		requests[i] = pop();
	}
	ring_offer(&ring, 0);

	ck_assert_int_eq(virtqueue_pop(&vq, &req), -EPROTO);
	/* Those that were out come back after that. */
	for (unsigned int i = 0; i < SIZE; i++)
		virtqueue_push(&vq, requests[i], 0);
	virtqueue_flush(&vq);
	ck_assert_uint_eq(vq.in_flight, 0);
}
END_TEST

/* ---- indirect tables ---- */

static void indirect_breaks(uint64_t address, uint32_t length, uint16_t flags)
{
	guest_describe(&guest, TABLE, BUFFER, 4, 0, 0);
	ring_describe(&ring, 0, address, length, (uint16_t)(INDIRECT | flags), 1);
	ring_describe(&ring, 1, BUFFER, 4, 0, 0);
	ring_offer(&ring, 0);
	pop_breaks_the_device();
}

START_TEST(an_indirect_table_of_a_wrong_length_breaks_the_device)
{
	static const uint32_t lengths[] = { 0, 1, 15, 17, 16 * (VIRTQUEUE_SIZE_MAX + 1), 0xfffffff0, 0xffffffff };

	indirect_breaks(TABLE, lengths[_i], 0);
}
END_TEST

START_TEST(an_indirect_table_that_is_not_in_ram_breaks_the_device)
{
	static const uint64_t places[] = { NOWHERE, IO_BASE, RAM_END + 0xff8, RAM_BASE - 8, UINT64_MAX - 7, UINT64_MAX };

	indirect_breaks(places[_i], 16, 0);
}
END_TEST

START_TEST(an_indirect_table_over_two_regions_breaks_the_device)
{
	indirect_breaks(RAM_SECOND - 16, 32, 0);
}
END_TEST

START_TEST(an_indirect_table_that_goes_on_breaks_the_device)
{
	indirect_breaks(TABLE, 16, NEXT);
}
END_TEST

START_TEST(an_indirect_table_nobody_negotiated_breaks_the_device)
{
	vq.indirect = false;
	indirect_breaks(TABLE, 16, 0);
}
END_TEST

START_TEST(an_indirect_table_in_an_indirect_table_breaks_the_device)
{
	guest_describe(&guest, TABLE, TABLE, 16, INDIRECT, 0);
	ring_describe(&ring, 0, TABLE, 16, INDIRECT, 0);
	ring_offer(&ring, 0);
	pop_breaks_the_device();
}
END_TEST

START_TEST(an_indirect_table_that_loops_or_leaves_itself_breaks_the_device)
{
	static const uint16_t nexts[] = { 0, 1, 2, 0xffff };

	guest_describe(&guest, TABLE, BUFFER, 4, NEXT, 1);
	guest_describe(&guest, TABLE + 16, BUFFER, 4, NEXT, nexts[_i]);
	ring_describe(&ring, 0, TABLE, 32, INDIRECT, 0);
	ring_offer(&ring, 0);
	pop_breaks_the_device();
}
END_TEST

/* ---- where the rings lie ---- */

static void start_is_refused(void)
{
	ck_assert_int_lt(virtqueue_start(&vq, &space), 0);
	ck_assert_uint_ne(atomic_load(&device.status) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	ck_assert(!vq.desc_host && !vq.avail_host && !vq.used_host);
	virtqueue_flush(&vq);
}

START_TEST(a_ring_that_is_not_in_ram_breaks_the_device)
{
	static const uint64_t places[] = {
		0, NOWHERE, IO_BASE, RAM_END - 16, RAM_BASE - 16, RAM_SECOND - 16, UINT64_MAX & ~15ULL, 1ULL << 63,
	};
	gpa_t *parts[] = { &vq.desc, &vq.avail, &vq.used };

	virtqueue_stop(&vq);
	*parts[_i % 3] = gpa(places[_i / 3]);
	start_is_refused();
}
END_TEST

START_TEST(a_ring_that_is_not_aligned_breaks_the_device)
{
	gpa_t *parts[] = { &vq.desc, &vq.avail, &vq.used };

	virtqueue_stop(&vq);
	parts[_i]->value |= 1;
	start_is_refused();
}
END_TEST

START_TEST(a_size_that_is_no_power_of_2_breaks_the_device)
{
	static const uint16_t sizes[] = { 0, 3, 7, 2 * VIRTQUEUE_SIZE_MAX, 0xffff };

	virtqueue_stop(&vq);
	vq.size = sizes[_i];
	start_is_refused();
}
END_TEST

/* ---- anything at all ---- */

static uint32_t seed;

static uint32_t random32(void)
{
	seed = seed * 1664525 + 1013904223;
	return seed ^ seed >> 15;
}

/* An address near an edge, more often than chance has it. */
static uint64_t random_address(void)
{
	static const uint64_t edges[] = { RAM_BASE, RAM_SECOND, RAM_END, ROM_BASE, IO_BASE, NOWHERE, BUFFER, TABLE, 0 };

	return edges[random32() % ARRAY_SIZE(edges)] + random32() % 64 - 32;
}

static void random_table(uint64_t at, unsigned int entries)
{
	for (unsigned int i = 0; i < entries; i++)
		guest_describe(&guest, at + 16ULL * i, random_address(), random32() % 8 ? random32() % 128 : random32(),
			       (uint16_t)(random32() % 8), (uint16_t)(random32() % (SIZE + 1)));
}

START_TEST(nothing_that_a_ring_holds_leads_out_of_ram)
{
	struct virtio_request *req;
	unsigned int good = 0;

	seed = (uint32_t)_i;
	for (unsigned int round = 0; round < 20000; round++) {
		random_table(ring.desc, SIZE);
		random_table(TABLE - 32, 12);
		guest_poke16(&guest, ring.avail + 4 + 2ULL * (vq.last_avail % SIZE), (uint16_t)(random32() % (SIZE + 1)));
		ring_set_avail_index(&ring, (uint16_t)(vq.last_avail + 1));
		if (virtqueue_pop(&vq, &req) == 1) {
			good++;
			for (unsigned int i = 0; i < req->readable + req->writable; i++)
				ck_assert(guest_owns(&guest, &req->segments[i]));
			virtqueue_push(&vq, req, random32());
		}
		virtqueue_flush(&vq);
		if (vq.broken) {
			vq.broken = false;
			atomic_store(&device.status, VIRTIO_CONFIG_S_DRIVER_OK);
		}
	}
	ck_assert_uint_gt(good, 100);
}
END_TEST

static atomic_bool flip_stop;

/* The driver changes a descriptor all the time: in RAM, and far out of it. */
static void *flip(void *opaque)
{
	uint64_t *address = opaque;
	uint32_t *length = (uint32_t *)(address + 1);

	while (!atomic_load(&flip_stop)) {
		__atomic_store_n(address, BUFFER, __ATOMIC_RELAXED);
		__atomic_store_n(length, 16, __ATOMIC_RELAXED);
		__atomic_store_n(address, RAM_SECOND - 8, __ATOMIC_RELAXED);
		__atomic_store_n(length, 0xffff0000, __ATOMIC_RELAXED);
		__atomic_store_n(address, NOWHERE, __ATOMIC_RELAXED);
	}
	return NULL;
}

START_TEST(a_descriptor_that_changes_meanwhile_is_used_as_it_was_checked)
{
	struct virtio_request *req;
	pthread_t thread;

	ring_describe(&ring, 0, BUFFER, 16, WRITE, 0);
	atomic_store(&flip_stop, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, flip, guest.host[0] + (ring.desc - RAM_BASE)), 0);
	for (unsigned int round = 0; round < 20000; round++) {
		ring_set_avail_index(&ring, (uint16_t)(vq.last_avail + 1));
		if (virtqueue_pop(&vq, &req) == 1) {
			size_t bytes = 0;

			for (unsigned int i = 0; i < req->writable; i++) {
				ck_assert(guest_owns(&guest, &req->segments[i]));
				bytes += req->segments[i].iov_len;
			}
			ck_assert_uint_eq(bytes, req->writable_bytes);
			virtqueue_push(&vq, req, 0);
		}
		vq.broken = false;
	}
	atomic_store(&flip_stop, true);
	pthread_join(thread, NULL);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tcase = suite_case(suite, "bad drivers", setup, teardown);

	tcase_add_loop_test(tcase, a_buffer_that_is_not_in_ram_breaks_the_device, 0, ARRAY_SIZE(bad_buffers));
	tcase_add_loop_test(tcase, a_bad_buffer_behind_a_good_one_breaks_the_device, 0, ARRAY_SIZE(bad_buffers));
	tcase_add_test(tcase, a_readable_buffer_behind_a_writable_one_breaks_the_device);
	tcase_add_loop_test(tcase, a_head_past_the_queue_breaks_the_device, 0, 2);
	tcase_add_loop_test(tcase, a_next_past_the_queue_breaks_the_device, 0, 2);
	tcase_add_loop_test(tcase, a_chain_that_loops_breaks_the_device, 0, 2);
	tcase_add_loop_test(tcase, lengths_past_4_gib_break_the_device, 0, 2);
	tcase_add_loop_test(tcase, an_available_index_too_far_ahead_breaks_the_device, 0, 4);
	tcase_add_test(tcase, more_requests_than_the_queue_holds_break_the_device);
	tcase_add_loop_test(tcase, an_indirect_table_of_a_wrong_length_breaks_the_device, 0, 7);
	tcase_add_loop_test(tcase, an_indirect_table_that_is_not_in_ram_breaks_the_device, 0, 6);
	tcase_add_test(tcase, an_indirect_table_over_two_regions_breaks_the_device);
	tcase_add_test(tcase, an_indirect_table_that_goes_on_breaks_the_device);
	tcase_add_test(tcase, an_indirect_table_nobody_negotiated_breaks_the_device);
	tcase_add_test(tcase, an_indirect_table_in_an_indirect_table_breaks_the_device);
	tcase_add_loop_test(tcase, an_indirect_table_that_loops_or_leaves_itself_breaks_the_device, 0, 4);
	tcase_add_loop_test(tcase, a_ring_that_is_not_in_ram_breaks_the_device, 0, 8 * 3);
	tcase_add_loop_test(tcase, a_ring_that_is_not_aligned_breaks_the_device, 0, 3);
	tcase_add_loop_test(tcase, a_size_that_is_no_power_of_2_breaks_the_device, 0, 5);
	tcase_add_loop_test(tcase, nothing_that_a_ring_holds_leads_out_of_ram, 0, 4);
	tcase_add_test(tcase, a_descriptor_that_changes_meanwhile_is_used_as_it_was_checked);
}
SUITE_MAIN("virtqueue-hostile", add_tests)
