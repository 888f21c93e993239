/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/queue.c: split rings, those of a good driver and those of a bad one. */
#include "tests/unit/board.h"

#include <linux/virtio_ring.h>

#include "kvm/virtio.h"
#include "tests/unit/guest-ring.h"

#define SIZE		8
#define BUFFER		(RAM_BASE + 0x10000)
#define TABLE		(RAM_BASE + 0x20000)
#define NEXT		VRING_DESC_F_NEXT
#define WRITE		VRING_DESC_F_WRITE
#define INDIRECT	VRING_DESC_F_INDIRECT

static struct address_space space;
static struct guest_ram guest;
static struct virtio_device device;
static struct virtqueue vq;
static struct ring ring;
static unsigned int queue_interrupts, config_interrupts;
static struct virtio_request *popped[SIZE];
static unsigned int popped_count;

static void count_queue(struct virtio_device *owner, unsigned int queue)
{
	ck_assert_ptr_eq(owner, &device);
	ck_assert_uint_eq(queue, 3);
	queue_interrupts++;
}

static void count_config(struct virtio_device *owner)
{
	ck_assert_ptr_eq(owner, &device);
	config_interrupts++;
}

static const struct virtio_transport_ops transport_ops = {
	.interrupt_queue = count_queue, .interrupt_config = count_config,
};

static void queue_place(uint16_t size)
{
	ring_init(&ring, &guest, size, RAM_BASE);
	vq.size = size;
	vq.desc = gpa(ring.desc);
	vq.avail = gpa(ring.avail);
	vq.used = gpa(ring.used);
	vq.enabled = true;
}

static void queue_start(uint16_t size)
{
	queue_place(size);
	ck_assert_int_eq(virtqueue_start(&vq, &space), 0);
}

static void setup(void)
{
	log_set_sink(board_hush);
	ck_assert_int_eq(address_space_init(&space, "memory", 0), 0);
	guest_ram_add(&guest, &space);
	memset(&device, 0, sizeof(device));
	memset(&vq, 0, sizeof(vq));
	device.transport_ops = &transport_ops;
	device.running = true;
	atomic_store(&device.status, VIRTIO_CONFIG_S_DRIVER_OK);
	vq.device = &device;
	vq.index = 3;
	vq.size_max = 256;
	vq.indirect = true;
	queue_interrupts = config_interrupts = 0;
	popped_count = 0;
	queue_start(SIZE);
}

static bool in_pool(const struct virtio_request *req)
{
	const struct virtio_request *other = vq.pool;

	while (other && other != req)
		other = other->next;
	return other;
}

static void teardown(void)
{
	virtqueue_stop(&vq);
	for (unsigned int i = 0; i < popped_count; i++)
		if (!in_pool(popped[i]))
			virtqueue_push(&vq, popped[i], 0);
	virtqueue_reset(&vq);
	guest_ram_remove(&guest);
	address_space_exit(&space);
	log_set_sink(NULL);
}

/* teardown() gives back what a test leaves in flight, for the leak checker's sake. */
static void remember(struct virtio_request *req)
{
	for (unsigned int i = 0; i < popped_count; i++)
		if (popped[i] == req)
			return;
	ck_assert_uint_lt(popped_count, SIZE);
	popped[popped_count++] = req;
}

static struct virtio_request *pop(void)
{
	struct virtio_request *req = NULL;

	ck_assert_int_eq(virtqueue_pop(&vq, &req), 1);
	ck_assert_ptr_nonnull(req);
	remember(req);
	return req;
}

static void pop_finds_nothing(void)
{
	struct virtio_request *req;

	ck_assert_int_eq(virtqueue_pop(&vq, &req), 0);
}

/* The next pop, and each after it, finds a broken rule; the driver is told once. */
static void pop_breaks_the_device(void)
{
	struct virtio_request *req;

	ck_assert_int_eq(virtqueue_pop(&vq, &req), -EPROTO);
	ck_assert_uint_ne(atomic_load(&device.status) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	ck_assert(!device.running);
	ck_assert_uint_eq(config_interrupts, 1);
	ck_assert_int_eq(virtqueue_pop(&vq, &req), -EPROTO);
	ck_assert_uint_eq(config_interrupts, 1);
	ck_assert_uint_eq(vq.in_flight, 0);
}

static void offer_one(uint64_t address, uint32_t length, uint16_t flags)
{
	ring_describe(&ring, 0, address, length, flags, 0);
	ring_offer(&ring, 0);
}

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

/* ---- saved state ---- */

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

static void add_bad(TCase *tcase)
{
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
	tcase_add_test(tcase, a_reset_forgets_all_but_the_counts);
	tcase_add_loop_test(tcase, nothing_that_a_ring_holds_leads_out_of_ram, 0, 4);
	tcase_add_test(tcase, a_descriptor_that_changes_meanwhile_is_used_as_it_was_checked);
}

static void add_tests(Suite *suite)
{
	TCase *state = suite_case(suite, "state", setup, teardown);

	add_good(suite_case(suite, "good drivers", setup, teardown));
	add_bad(suite_case(suite, "bad drivers", setup, teardown));
	tcase_add_test(state, a_queue_saved_and_loaded_is_the_same);
	tcase_add_loop_test(state, a_saved_queue_of_a_wrong_size_is_refused, 0, 4);
}
SUITE_MAIN("virtqueue", add_tests)
