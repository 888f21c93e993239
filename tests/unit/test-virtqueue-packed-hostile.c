/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/queue-packed.c: packed rings of a bad driver: each broken rule breaks the device, and nothing leads out of RAM. */
#include "tests/unit/one-queue.h"

static void setup_packed(void)
{
	setup_kind(true);
}

static uint64_t slot(unsigned int index)
{
	return ring.desc + 16ULL * index;
}

/* A descriptor as it lies in the ring, available in the first lap. */
static void put(unsigned int index, uint64_t address, uint32_t length, uint16_t flags)
{
	guest_describe(&guest, slot(index), address, length, (uint16_t)index, flags | PACKED_AVAIL);
}

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
	put(0, bad_buffers[_i].address, bad_buffers[_i].length, bad_buffers[_i].flags);
	pop_breaks_the_device();
}
END_TEST

START_TEST(a_bad_buffer_behind_a_good_one_breaks_the_device)
{
	put(0, BUFFER, 16, NEXT);
	put(1, bad_buffers[_i].address, bad_buffers[_i].length, bad_buffers[_i].flags);
	pop_breaks_the_device();
}
END_TEST

START_TEST(a_bad_buffer_in_an_indirect_table_breaks_the_device)
{
	guest_describe(&guest, TABLE, BUFFER, 4, 0, 0);
	guest_describe(&guest, TABLE + 16, bad_buffers[_i].address, bad_buffers[_i].length, 0, bad_buffers[_i].flags);
	put(0, TABLE, 32, INDIRECT);
	pop_breaks_the_device();
}
END_TEST

START_TEST(a_readable_buffer_behind_a_writable_one_breaks_the_device)
{
	put(0, BUFFER, 4, NEXT | WRITE);
	put(1, BUFFER, 4, 0);
	pop_breaks_the_device();
}
END_TEST

/* ---- chains ---- */

START_TEST(a_chain_without_end_breaks_the_device)
{
	for (unsigned int i = 0; i < SIZE; i++)
		put(i, BUFFER, 4, NEXT);
	ck_assert_uint_eq(virtqueue_waiting(&vq), 1);
	pop_breaks_the_device();
}
END_TEST

/* The rest of the ring is the device's still. */
START_TEST(a_chain_over_what_is_in_flight_breaks_the_device)
{
	struct virtio_request *req;

	put(0, BUFFER, 4, 0);
	put(1, BUFFER, 4, 0);
	pop();
	pop();
	for (unsigned int i = 2; i < SIZE; i++)
		put(i, BUFFER, 4, NEXT);
	guest_describe(&guest, slot(0), BUFFER, 4, 0, PACKED_USED);
	guest_describe(&guest, slot(1), BUFFER, 4, 1, PACKED_USED);
	ck_assert_int_eq(virtqueue_pop(&vq, &req), -EPROTO);
	ck_assert_uint_ne(atomic_load(&device.status) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	ck_assert_uint_eq(vq.in_flight, 2);
}
END_TEST

START_TEST(more_requests_than_the_ring_holds_break_the_device)
{
	struct virtio_request *requests[SIZE], *req;

	for (unsigned int i = 0; i < SIZE; i++) {
		put(i, BUFFER, 4, 0);
		requests[i] = pop();
	}
	ck_assert_uint_eq(virtqueue_waiting(&vq), 0);
	/* As if the first had come back. */
	guest_describe(&guest, slot(0), BUFFER, 4, 0, PACKED_USED);
	ck_assert_int_eq(virtqueue_pop(&vq, &req), -EPROTO);
	/* Those that were out come back after that. */
	for (unsigned int i = 0; i < SIZE; i++)
		virtqueue_push(&vq, requests[i], 0);
	virtqueue_flush(&vq);
	ck_assert_uint_eq(vq.in_flight, 0);
}
END_TEST

/* Neither bit, both, or the other lap's. */
START_TEST(flags_of_no_available_descriptor_are_none)
{
	static const uint16_t flags[] = { 0, PACKED_USED, PACKED_AVAIL | PACKED_USED };

	guest_describe(&guest, slot(0), NOWHERE, 4, 0, flags[_i]);
	pop_finds_nothing();
	ck_assert(!virtqueue_enable_kick(&vq));
	ck_assert_uint_eq(virtqueue_waiting(&vq), 0);
}
END_TEST

START_TEST(the_same_id_twice_is_two_requests)
{
	struct virtio_request *first, *second;

	for (unsigned int i = 0; i < 2; i++)
		guest_describe(&guest, slot(i), BUFFER + 64 * i, 4, 0xfff0, WRITE | PACKED_AVAIL);
	first = pop();
	second = pop();
	ck_assert_ptr_ne(first, second);
	virtqueue_push(&vq, second, 2);
	virtqueue_push(&vq, first, 1);
	virtqueue_flush(&vq);
	ck_assert_uint_eq(vq.in_flight, 0);
	ck_assert_uint_eq(guest_peek32(&guest, slot(0) + 8), 2);
	ck_assert_uint_eq(guest_peek32(&guest, slot(1) + 8), 1);
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
	for (unsigned int i = 0; i < 64; i++)
		guest_describe(&guest, TABLE + i * 16U, GIB(1), length, 0, (uint16_t)(_i ? WRITE : 0));
	put(0, TABLE, 64 * 16, INDIRECT);

	pop_breaks_the_device();
	region_del(&region);
	munmap(big, length);
}
END_TEST

/* ---- indirect tables ---- */

static void indirect_breaks(uint64_t address, uint32_t length, uint16_t flags)
{
	guest_describe(&guest, TABLE, BUFFER, 4, 0, 0);
	put(0, address, length, (uint16_t)(INDIRECT | flags));
	put(1, BUFFER, 4, 0);
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

START_TEST(an_indirect_table_behind_a_buffer_breaks_the_device)
{
	guest_describe(&guest, TABLE, BUFFER, 4, 0, 0);
	put(0, BUFFER, 4, NEXT);
	put(1, TABLE, 16, INDIRECT);
	pop_breaks_the_device();
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
	guest_describe(&guest, TABLE, TABLE, 16, 0, INDIRECT);
	put(0, TABLE, 16, INDIRECT);
	pop_breaks_the_device();
}
END_TEST

/* ---- where the ring and the event structures lie ---- */

static void start_is_refused(void)
{
	ck_assert_int_lt(virtqueue_start(&vq, &space), 0);
	ck_assert_uint_ne(atomic_load(&device.status) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	ck_assert(!vq.desc_host && !vq.avail_host && !vq.used_host);
	virtqueue_flush(&vq);
}

START_TEST(what_is_not_in_ram_breaks_the_device)
{
	static const uint64_t places[] = {
		0, NOWHERE, IO_BASE, RAM_END, RAM_BASE - 16, UINT64_MAX & ~15ULL, 1ULL << 63,
	};
	gpa_t *parts[] = { &vq.desc, &vq.avail, &vq.used };

	virtqueue_stop(&vq);
	*parts[_i % 3] = gpa(places[_i / 3]);
	start_is_refused();
}
END_TEST

START_TEST(a_ring_that_leaves_ram_breaks_the_device)
{
	virtqueue_stop(&vq);
	vq.desc = gpa(_i ? RAM_END - 16 * (SIZE - 1) : RAM_SECOND - 16);
	start_is_refused();
}
END_TEST

START_TEST(what_is_not_aligned_breaks_the_device)
{
	gpa_t *parts[] = { &vq.desc, &vq.avail, &vq.used };

	virtqueue_stop(&vq);
	parts[_i % 3]->value |= _i / 3 + 1U;
	start_is_refused();
}
END_TEST

START_TEST(a_size_out_of_bounds_breaks_the_device)
{
	static const uint16_t sizes[] = { 0, VIRTQUEUE_SIZE_MAX + 1, 0x8000, 0xffff };

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
	static const uint64_t edges[] = { RAM_BASE + 0x100, RAM_SECOND, RAM_END, ROM_BASE, IO_BASE, NOWHERE, BUFFER, TABLE, 0 };

	return edges[random32() % ARRAY_SIZE(edges)] + random32() % 64 - 32;
}

static void random_table(uint64_t at, unsigned int entries)
{
	for (unsigned int i = 0; i < entries; i++) {
		uint16_t flags = (uint16_t)(random32() % 8 | (random32() % 4 ? 0 : INDIRECT));

		flags |= (uint16_t)(random32() & (PACKED_AVAIL | PACKED_USED));
		guest_describe(&guest, at + 16ULL * i, random_address(), random32() % 8 ? random32() % 128 : random32(),
			       (uint16_t)random32(), flags);
	}
}

/* Requests are held for a while, and come back in any order, also after the device broke. */
START_TEST(nothing_that_a_ring_holds_leads_out_of_ram)
{
	struct virtio_request *held[SIZE] = { NULL }, *req;
	unsigned int good = 0;

	seed = (uint32_t)_i;
	for (unsigned int round = 0; round < 20000; round++) {
		struct virtio_request **place = &held[random32() % SIZE];

		random_table(ring.desc, SIZE);
		random_table(TABLE - 32, 12);
		guest_poke16(&guest, ring.avail, (uint16_t)random32());
		guest_poke16(&guest, ring.avail + 2, (uint16_t)random32());
		virtqueue_waiting(&vq);
		if (*place) {
			virtqueue_push(&vq, *place, random32());
			*place = NULL;
		} else if (virtqueue_pop(&vq, &req) == 1) {
			good++;
			for (unsigned int i = 0; i < req->readable + req->writable; i++)
				ck_assert(guest_owns(&guest, &req->segments[i]));
			*place = req;
			if (random32() % 8 == 0) {
				virtqueue_unpop(&vq, req);
				*place = NULL;
			}
		}
		virtqueue_flush(&vq);
		virtqueue_enable_kick(&vq);
		if (vq.broken) {
			vq.broken = false;
			atomic_store(&device.status, VIRTIO_CONFIG_S_DRIVER_OK);
		}
	}
	for (unsigned int i = 0; i < SIZE; i++)
		if (held[i])
			virtqueue_push(&vq, held[i], 0);
	ck_assert_uint_eq(vq.in_flight, 0);
	ck_assert_uint_gt(good, 100);
}
END_TEST

static atomic_bool flip_stop;

/* The driver changes a descriptor all the time: in RAM, and far out of it. */
static void *flip(void *opaque)
{
	uint64_t *address = opaque;
	uint32_t *length = (uint32_t *)(address + 1);
	uint16_t *flags = (uint16_t *)(address + 1) + 3;

	while (!atomic_load(&flip_stop)) {
		__atomic_store_n(address, BUFFER, __ATOMIC_RELAXED);
		__atomic_store_n(length, 16, __ATOMIC_RELAXED);
		__atomic_store_n(flags, WRITE | PACKED_AVAIL, __ATOMIC_RELAXED);
		__atomic_store_n(address, RAM_SECOND - 8, __ATOMIC_RELAXED);
		__atomic_store_n(length, 0xffff0000, __ATOMIC_RELAXED);
		__atomic_store_n(flags, INDIRECT | NEXT | PACKED_AVAIL, __ATOMIC_RELAXED);
		__atomic_store_n(address, NOWHERE, __ATOMIC_RELAXED);
	}
	return NULL;
}

START_TEST(a_descriptor_that_changes_meanwhile_is_used_as_it_was_checked)
{
	struct virtio_request *req;
	pthread_t thread;

	atomic_store(&flip_stop, false);
	ck_assert_int_eq(pthread_create(&thread, NULL, flip, guest.host[0] + (ring.desc - RAM_BASE)), 0);
	for (unsigned int round = 0; round < 20000; round++) {
		if (virtqueue_pop(&vq, &req) == 1) {
			size_t bytes = 0;

			for (unsigned int i = 0; i < req->writable; i++) {
				ck_assert(guest_owns(&guest, &req->segments[i]));
				bytes += req->segments[i].iov_len;
			}
			ck_assert_uint_eq(bytes, req->writable_bytes);
			virtqueue_unpop(&vq, req);
		}
		vq.broken = false;
	}
	atomic_store(&flip_stop, true);
	pthread_join(thread, NULL);
}
END_TEST

/* Whatever it says, nothing is in flight that doesn't lie in RAM; and it can be reset. */
START_TEST(saved_state_of_anything_is_harmless)
{
	struct state_writer writer = { 0 };
	struct state_reader reader;
	struct virtio_request *req;

	put(0, BUFFER, 4, NEXT | WRITE);
	put(1, BUFFER, 4, WRITE);
	put(2, TABLE, 32, INDIRECT);
	for (unsigned int i = 0; i < 2; i++)
		pop();
	virtqueue_save(&vq, &writer);
	seed = (uint32_t)_i;
	for (unsigned int round = 0; round < 5000; round++) {
		uint8_t *byte = &writer.data[random32() % writer.length], old = *byte;

		for (unsigned int i = 0; i < popped_count; i++)
			if (!in_pool(popped[i]))
				virtqueue_push(&vq, popped[i], 0);
		virtqueue_reset(&vq);
		popped_count = 0;
		device.running = vq.packed = true;
		atomic_store(&device.status, VIRTIO_CONFIG_S_DRIVER_OK);
		*byte = (uint8_t)random32();
		reader = (struct state_reader){ .data = writer.data, .length = writer.length };
		if (!virtqueue_load(&vq, &reader) && !virtqueue_start(&vq, &space) &&
		    !virtqueue_retake(&vq, (uint16_t)(random32() % 2 + 1), &req)) {
			remember(req);
			for (unsigned int i = 0; i < req->readable + req->writable; i++)
				ck_assert(guest_owns(&guest, &req->segments[i]));
		}
		*byte = old;
	}
	state_writer_free(&writer);
}
END_TEST

static void add_chains(TCase *tcase)
{
	tcase_add_loop_test(tcase, a_buffer_that_is_not_in_ram_breaks_the_device, 0, ARRAY_SIZE(bad_buffers));
	tcase_add_loop_test(tcase, a_bad_buffer_behind_a_good_one_breaks_the_device, 0, ARRAY_SIZE(bad_buffers));
	tcase_add_loop_test(tcase, a_bad_buffer_in_an_indirect_table_breaks_the_device, 0, ARRAY_SIZE(bad_buffers));
	tcase_add_test(tcase, a_readable_buffer_behind_a_writable_one_breaks_the_device);
	tcase_add_test(tcase, a_chain_without_end_breaks_the_device);
	tcase_add_test(tcase, a_chain_over_what_is_in_flight_breaks_the_device);
	tcase_add_test(tcase, more_requests_than_the_ring_holds_break_the_device);
	tcase_add_loop_test(tcase, flags_of_no_available_descriptor_are_none, 0, 3);
	tcase_add_test(tcase, the_same_id_twice_is_two_requests);
	tcase_add_loop_test(tcase, lengths_past_4_gib_break_the_device, 0, 2);
}

static void add_tests(Suite *suite)
{
	TCase *tcase = suite_case(suite, "bad drivers", setup_packed, teardown);

	add_chains(tcase);
	tcase_add_loop_test(tcase, an_indirect_table_of_a_wrong_length_breaks_the_device, 0, 7);
	tcase_add_loop_test(tcase, an_indirect_table_that_is_not_in_ram_breaks_the_device, 0, 6);
	tcase_add_test(tcase, an_indirect_table_over_two_regions_breaks_the_device);
	tcase_add_test(tcase, an_indirect_table_that_goes_on_breaks_the_device);
	tcase_add_test(tcase, an_indirect_table_behind_a_buffer_breaks_the_device);
	tcase_add_test(tcase, an_indirect_table_nobody_negotiated_breaks_the_device);
	tcase_add_test(tcase, an_indirect_table_in_an_indirect_table_breaks_the_device);
	tcase_add_loop_test(tcase, what_is_not_in_ram_breaks_the_device, 0, 7 * 3);
	tcase_add_loop_test(tcase, a_ring_that_leaves_ram_breaks_the_device, 0, 2);
	tcase_add_loop_test(tcase, what_is_not_aligned_breaks_the_device, 0, 3 * 3);
	tcase_add_loop_test(tcase, a_size_out_of_bounds_breaks_the_device, 0, 4);
	tcase_add_loop_test(tcase, nothing_that_a_ring_holds_leads_out_of_ram, 0, 4);
	tcase_add_test(tcase, a_descriptor_that_changes_meanwhile_is_used_as_it_was_checked);
	tcase_add_loop_test(tcase, saved_state_of_anything_is_harmless, 0, 2);
}
SUITE_MAIN("virtqueue-packed-hostile", add_tests)
