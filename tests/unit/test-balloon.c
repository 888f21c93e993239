/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio/balloon.c: pages that go and pages that don't, reports, statistics, the host's wish, and drivers that lie.
 */
#include "tests/unit/board.h"

#include <linux/virtio_balloon.h>

#include "kvm/balloon.h"
#include "tests/unit/virtio-driver.h"

enum { INFLATE, DEFLATE, STATS, HINTS, REPORTING };

#define RINGS		2
#define PFN(address)	((uint32_t)((address) >> 12))
#define LIST		(RAM_BASE + 0x20000)	/* where the driver has its page numbers and statistics */
#define PAGES		(RAM_BASE + 0x30000)	/* pages to give, filled with MARK */
#define MARK		0x5a

static struct kvm *kvm;
static unsigned int rings_used[RINGS];

/* The rings that the test has memory for, put to the device's queues @first and @second. */
static void start(uint64_t without, unsigned int first, unsigned int second)
{
	const unsigned int queues[RINGS] = { first, second };

	virtio_set_status(driven, 0);
	virtio_set_status(driven, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	virtio_set_features(driven, driven->features_offered & ~without & ~BIT(VIRTIO_RING_F_EVENT_IDX));
	virtio_set_status(driven, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned int i = 0; i < RINGS; i++) {
		struct ring *ring = &driver_rings[i];
		static const uint8_t zeroes[0x8000];

		guest_poke(&driver_ram, DRIVER_RING(i), zeroes, sizeof(zeroes));
		ring_restart(ring);
		rings_used[i] = queues[i];
		virtio_queue_setup(driven, queues[i], ring->size, gpa(ring->desc), gpa(ring->avail), gpa(ring->used));
		virtio_queue_enable(driven, queues[i]);
	}
	virtio_set_status(driven, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
				  VIRTIO_CONFIG_S_DRIVER_OK);
	ck_assert(driven->running);
}

static void setup(void)
{
	uint8_t marks[0x10000];

	log_set_sink(board_hush);
	kvm = driver_machine();
	driver_ram.ram[0].discard_page = driver_ram.ram[1].discard_page = (uint64_t)sysconf(_SC_PAGESIZE);
	ck_assert_int_eq(config_set(kvm->config, "balloon", "1"), 0);
	board_add(kvm, "balloon_init");
	start(0, INFLATE, DEFLATE);
	memset(marks, MARK, sizeof(marks));
	guest_poke(&driver_ram, PAGES, marks, sizeof(marks));
	guest_poke(&driver_ram, RAM_SECOND, marks, sizeof(marks));
}

static void teardown(void)
{
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	log_set_sink(NULL);
}

static struct balloon_info info(void)
{
	struct balloon_info now;

	ck_assert(balloon_query(kvm, &now));
	return now;
}

static uint64_t given_back(void)
{
	return info().given_back;
}

/* Offers @buffers on ring @ring and waits until they are used. */
static void send_buffers(unsigned int ring, const struct driver_buffer *buffers, unsigned int count)
{
	driver_offer(ring, 0, buffers, count);
	atomic_store(&driver_interrupts, 0);
	driver_kick(kvm, rings_used[ring]);
	ck_assert(driver_wait(kvm, driver_all_used));
}

static void send_pages(unsigned int ring, const uint32_t *pages, uint32_t count)
{
	const struct driver_buffer buffer = { LIST, count * 4, false };

	guest_poke(&driver_ram, LIST, pages, (size_t)count * 4);
	send_buffers(ring, &buffer, 1);
}

START_TEST(inflated_pages_go_in_whatever_order_and_no_others)
{
	const uint32_t pages[] = { PFN(PAGES) + 4, PFN(PAGES) + 1, PFN(PAGES) + 2, PFN(PAGES) + 1, PFN(RAM_SECOND) };
	static const uint8_t kept[] = { 1, 0, 0, 1, 0, 1 };

	send_pages(0, pages, ARRAY_SIZE(pages));
	for (unsigned int i = 0; i < ARRAY_SIZE(kept); i++) {
		ck_assert_uint_eq(driver_peek(PAGES + 4096ULL * i), kept[i] ? MARK : 0);
		ck_assert_uint_eq(driver_peek(PAGES + 4096ULL * i + 4095), kept[i] ? MARK : 0);
	}
	ck_assert_uint_eq(driver_peek(RAM_SECOND), 0);
	ck_assert_uint_eq(driver_peek(RAM_SECOND + 4096), MARK);
	ck_assert_uint_eq(given_back(), 4 * 4096);
}
END_TEST

START_TEST(a_run_over_two_regions_goes_whole)
{
	uint32_t pages[8];

	for (unsigned int i = 0; i < 8; i++)
		pages[i] = PFN(RAM_SECOND) + i - 4;
	send_pages(0, pages, 8);
	ck_assert_uint_eq(given_back(), 8 * 4096);
	ck_assert_uint_eq(driver_peek(RAM_SECOND + 3 * 4096), 0);
	ck_assert_uint_eq(driver_peek(RAM_SECOND + 4 * 4096), MARK);
}
END_TEST

START_TEST(deflated_pages_are_untouched)
{
	const uint32_t pages[] = { PFN(PAGES), PFN(PAGES) + 1 };

	send_pages(1, pages, 2);
	ck_assert_uint_eq(driver_peek(PAGES), MARK);
	ck_assert_uint_eq(given_back(), 0);
}
END_TEST

/* By the number that VirtIO has for the queue, and by the one that Linux uses without hints. */
START_TEST(reported_pages_go)
{
	const struct driver_buffer buffers[] = { { PAGES + 4096, 8192, true }, { PAGES + 16384, 4096, true } };

	start(_i == 1 ? 0 : BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT), INFLATE, _i ? REPORTING : HINTS);
	send_buffers(1, buffers, 2);
	ck_assert_uint_eq(given_back(), 3 * 4096);
	ck_assert_uint_eq(driver_peek(PAGES), MARK);
	ck_assert_uint_eq(driver_peek(PAGES + 4096), 0);
	ck_assert_uint_eq(driver_peek(PAGES + 8192), 0);
	ck_assert_uint_eq(driver_peek(PAGES + 12288), MARK);
	ck_assert_uint_eq(driver_peek(PAGES + 16384), 0);
}
END_TEST

static void write_config(size_t field, uint32_t value)
{
	le32 encoded = le32_of(value);

	virtio_config_write(driven, field, &encoded, sizeof(encoded));
}

static uint32_t read_config(size_t field)
{
	le32 encoded;

	virtio_config_read(driven, field, &encoded, sizeof(encoded));
	return le32_get(encoded);
}

#define CONFIG(field) offsetof(struct virtio_balloon_config, field)

START_TEST(poisoned_pages_keep_their_poison_if_it_was_negotiated)
{
	const struct driver_buffer buffer = { PAGES, 4096, true };

	start(_i ? BIT(VIRTIO_BALLOON_F_PAGE_POISON) : 0, INFLATE, REPORTING);
	write_config(CONFIG(poison_val), 0xaaaaaaaa);
	send_buffers(1, &buffer, 1);
	ck_assert_uint_eq(driver_peek(PAGES), _i ? 0 : MARK);
	write_config(CONFIG(poison_val), 0);
	send_buffers(1, &buffer, 1);
	ck_assert_uint_eq(driver_peek(PAGES), 0);
}
END_TEST

START_TEST(the_hosts_wish_reaches_the_driver_and_its_answer_the_host)
{
	unsigned int before = atomic_load(&driver_config_interrupts);

	ck_assert_uint_eq(read_config(CONFIG(num_pages)), 0);
	ck_assert_uint_eq(info().target, kvm->ram_size);
	ck_assert_int_eq(balloon_set_target(kvm, kvm->ram_size - MIB(8)), 0);
	ck_assert_uint_eq(atomic_load(&driver_config_interrupts), before + 1);
	ck_assert_uint_eq(read_config(CONFIG(num_pages)), 2048);
	ck_assert_uint_eq(info().actual, kvm->ram_size);
	write_config(CONFIG(actual), 1024);
	ck_assert_uint_eq(info().actual, kvm->ram_size - MIB(4));
	ck_assert_uint_eq(read_config(CONFIG(actual)), 1024);
	/* More than there is, on both sides. */
	ck_assert_int_eq(balloon_set_target(kvm, UINT64_MAX), 0);
	ck_assert_uint_eq(read_config(CONFIG(num_pages)), 0);
	write_config(CONFIG(actual), UINT32_MAX);
	ck_assert_uint_eq(info().actual, 0);
}
END_TEST

START_TEST(the_driver_cannot_change_the_wish)
{
	ck_assert_int_eq(balloon_set_target(kvm, kvm->ram_size - MIB(8)), 0);
	write_config(CONFIG(num_pages), 7);
	write_config(CONFIG(free_page_hint_cmd_id), 7);
	ck_assert_uint_eq(read_config(CONFIG(num_pages)), 2048);
	ck_assert_uint_eq(read_config(CONFIG(free_page_hint_cmd_id)), 0);
	write_config(2, UINT32_MAX);
	ck_assert_uint_eq(read_config(CONFIG(num_pages)), 2048);
	ck_assert_uint_eq(read_config(CONFIG(actual)), 0xffff);
}
END_TEST

START_TEST(a_reset_forgets_what_was_inflated_and_keeps_the_wish)
{
	ck_assert_int_eq(balloon_set_target(kvm, kvm->ram_size - MIB(8)), 0);
	write_config(CONFIG(actual), 100);
	start(0, INFLATE, DEFLATE);
	ck_assert_uint_eq(info().actual, kvm->ram_size);
	ck_assert_uint_eq(read_config(CONFIG(num_pages)), 2048);
}
END_TEST

/* ---- hints ---- */

static void send_id(uint32_t id)
{
	const struct driver_buffer buffer = { LIST, sizeof(id), false };
	const le32 encoded = le32_of(id);

	guest_poke(&driver_ram, LIST, &encoded, sizeof(encoded));
	send_buffers(1, &buffer, 1);
}

static void send_hint(uint64_t at, uint32_t length)
{
	const struct driver_buffer buffer = { at, length, true };

	send_buffers(1, &buffer, 1);
}

static void start_hints(void)
{
	start(0, INFLATE, HINTS);
	kvm->ram_host = driver_ram.host[0];
	kvm->ram_size = RAM_PART;
	ck_assert_uint_eq(read_config(CONFIG(free_page_hint_cmd_id)), 0);
	ck_assert_int_eq(balloon_hint_start(kvm), 0);
	ck_assert_uint_eq(read_config(CONFIG(free_page_hint_cmd_id)), 2);
}

START_TEST(hints_are_noted_between_their_id_and_the_end_and_nothing_goes)
{
	const uint64_t offset = PAGES - RAM_BASE;

	start_hints();
	send_hint(PAGES, 4096);
	ck_assert_uint_eq(info().hinted, 0);
	send_id(2);
	send_hint(PAGES, 8192);
	send_hint(PAGES + 4096, 4096);
	ck_assert_uint_eq(info().hinted, 8192);
	ck_assert(!info().hints_finished);
	ck_assert(balloon_hinted(kvm, offset) && balloon_hinted(kvm, offset + 8191));
	ck_assert(!balloon_hinted(kvm, offset - 1) && !balloon_hinted(kvm, offset + 8192));
	send_id(0);
	ck_assert(info().hints_finished);
	send_hint(PAGES + 16384, 4096);
	ck_assert_uint_eq(info().hinted, 8192);
	ck_assert_uint_eq(driver_peek(PAGES), MARK);
	ck_assert_uint_eq(given_back(), 0);
	balloon_hint_done(kvm);
	ck_assert_uint_eq(read_config(CONFIG(free_page_hint_cmd_id)), 1);
	ck_assert(balloon_hinted(kvm, offset));
	/* Anew, with another id: an answer to the last one is none. */
	ck_assert_int_eq(balloon_hint_start(kvm), 0);
	ck_assert_uint_eq(read_config(CONFIG(free_page_hint_cmd_id)), 3);
	ck_assert(!balloon_hinted(kvm, offset));
	send_id(2);
	send_hint(PAGES, 4096);
	ck_assert_uint_eq(info().hinted, 0);
}
END_TEST

START_TEST(hints_of_parts_and_of_what_is_no_ram_of_the_file_are_nothing)
{
	start_hints();
	send_id(2);
	send_hint(PAGES + 1, 4095);
	send_hint(PAGES + 1, 8190);
	send_hint(RAM_SECOND, 4096);
	send_hint(PAGES, 0);
	ck_assert_uint_eq(info().hinted, 0);
	/* Over the end of the file: each piece is looked at alone. */
	send_hint(RAM_SECOND - 4096, 8192);
	ck_assert_uint_eq(info().hinted, 4096);
	ck_assert(!balloon_hinted(kvm, RAM_PART));
	ck_assert(!balloon_hinted(kvm, UINT64_MAX));
	start(BIT(VIRTIO_BALLOON_F_FREE_PAGE_HINT), INFLATE, DEFLATE);
	ck_assert_int_eq(balloon_hint_start(kvm), -ENODEV);
	ck_assert(!balloon_hinted(kvm, RAM_PART - 4096));
}
END_TEST

/* ---- statistics ---- */

static void put_stat(unsigned int index, uint16_t tag, uint64_t value)
{
	struct virtio_balloon_stat stat = { .tag = htole16(tag), .val = htole64(value) };

	guest_poke(&driver_ram, LIST + index * sizeof(stat), &stat, sizeof(stat));
}

static void offer_stats(uint32_t length)
{
	const struct driver_buffer buffer = { LIST, length, false };

	driver_offer(1, 0, &buffer, 1);
	driver_kick(kvm, STATS);
	board_poll(kvm, 5);
}

START_TEST(statistics_are_read_and_asked_for_anew)
{
	struct balloon_info now;

	start(0, INFLATE, STATS);
	ck_assert_uint_eq(info().stats_round, 0);
	balloon_ask_stats(kvm);
	put_stat(0, VIRTIO_BALLOON_S_MEMFREE, 12345);
	put_stat(1, VIRTIO_BALLOON_S_SWAP_IN, 1);
	offer_stats(20);
	now = info();
	ck_assert_uint_eq(now.stats_round, 1);
	ck_assert_uint_eq(now.stats_valid, BIT(VIRTIO_BALLOON_S_MEMFREE) | BIT(VIRTIO_BALLOON_S_SWAP_IN));
	ck_assert_uint_eq(now.stats[VIRTIO_BALLOON_S_MEMFREE], 12345);
	/* The buffer stays with the device until somebody asks. */
	ck_assert_uint_eq(ring_used_index(&driver_rings[1]), 0);
	driver_kick(kvm, STATS);
	board_poll(kvm, 5);
	ck_assert_uint_eq(info().stats_round, 1);
	balloon_ask_stats(kvm);
	ck_assert_uint_eq(ring_used_index(&driver_rings[1]), 1);
	/* Kicks are on again, as the driver's answer comes by one. */
	ck_assert(ring_wants_kick(&driver_rings[1]));
	put_stat(0, VIRTIO_BALLOON_S_MEMFREE, 99);
	offer_stats(10);
	now = info();
	ck_assert_uint_eq(now.stats_round, 2);
	ck_assert_uint_eq(now.stats_valid, BIT(VIRTIO_BALLOON_S_MEMFREE));
	ck_assert_uint_eq(now.stats[VIRTIO_BALLOON_S_MEMFREE], 99);
}
END_TEST

START_TEST(a_queue_s_reset_forgets_that_statistics_were_read)
{
	static const uint8_t zeroes[0x8000];
	struct ring *ring = &driver_rings[1];

	start(0, INFLATE, STATS);
	put_stat(0, VIRTIO_BALLOON_S_MEMFREE, 1);
	offer_stats(10);
	ck_assert_uint_eq(info().stats_round, 1);
	virtio_queue_reset(driven, STATS);
	guest_poke(&driver_ram, DRIVER_RING(1), zeroes, sizeof(zeroes));
	ring_restart(ring);
	virtio_queue_setup(driven, STATS, ring->size, gpa(ring->desc), gpa(ring->avail), gpa(ring->used));
	virtio_queue_enable(driven, STATS);
	put_stat(0, VIRTIO_BALLOON_S_MEMFREE, 2);
	offer_stats(10);
	ck_assert_uint_eq(info().stats_round, 2);
	ck_assert_uint_eq(info().stats[VIRTIO_BALLOON_S_MEMFREE], 2);
}
END_TEST

START_TEST(statistics_of_any_length_and_any_tag_do_no_harm)
{
	static const uint32_t lengths[] = { 0, 1, 9, 11, 4096, 0x10000 };
	struct balloon_info now;

	start(0, INFLATE, STATS);
	for (unsigned int i = 0; i < 6000; i++)
		put_stat(i, (uint16_t)(i * 7919), i);
	offer_stats(lengths[_i]);
	now = info();
	ck_assert_uint_eq(now.stats_round, 1);
	ck_assert_uint_eq(now.stats_valid >> BALLOON_STATS, 0);
	ck_assert(!driver_needs_reset());
	for (unsigned int i = 0; i < BALLOON_STATS; i++)
		ck_assert_ptr_nonnull(balloon_stat_name(i));
}
END_TEST

/* ---- drivers that lie ---- */

static const uint64_t nowhere[] = { NOWHERE, ROM_BASE, IO_BASE, 0, 0xffffffffULL << 12, 0xfffffULL << 12 };

START_TEST(pages_that_are_no_ram_stay_and_the_rest_goes)
{
	const uint32_t pages[] = { PFN(PAGES), PFN(nowhere[_i]), PFN(PAGES) + 2 };

	send_pages(0, pages, 3);
	ck_assert_uint_eq(given_back(), 2 * 4096);
	ck_assert(!driver_needs_reset());
	ck_assert_uint_eq(driver_peek(PAGES), 0);
	ck_assert_uint_eq(driver_peek(PAGES + 4096), MARK);
	ck_assert_uint_eq(driver_peek(PAGES + 8192), 0);
}
END_TEST

START_TEST(lists_of_odd_lengths_end_with_their_last_whole_number)
{
	const uint32_t pages[] = { PFN(PAGES), PFN(PAGES) + 1 };
	const struct driver_buffer buffers[] = { { LIST, 3, false }, { LIST + 3, 2, false } }, empty = { LIST, 0, false };

	guest_poke(&driver_ram, LIST, pages, sizeof(pages));
	send_buffers(0, buffers, 2);
	ck_assert_uint_eq(given_back(), 4096);
	send_buffers(0, &empty, 1);
	ck_assert_uint_eq(given_back(), 4096);
}
END_TEST

START_TEST(endless_lists_leave_the_loop_its_time)
{
	struct driver_buffer buffers[32];
	uint64_t begin;

	for (unsigned int i = 0; i < 32; i++)
		buffers[i] = (struct driver_buffer){ PAGES, 0x10000, false };
	for (uint16_t i = 0; i < 2; i++)
		driver_offer(0, i * 32, buffers, 32);
	begin = event_now_ns();
	driver_kick(kvm, INFLATE);
	/* One turn: a bounded number of pages, not two lists of half a million. */
	ck_assert_uint_lt(event_now_ns() - begin, 1000000000ULL);
	ck_assert(driver_wait(kvm, driver_all_used));
}
END_TEST

START_TEST(many_requests_take_turns)
{
	const struct driver_buffer buffer = { LIST, 0x4000, false };
	uint32_t pages[0x1000];

	for (unsigned int i = 0; i < ARRAY_SIZE(pages); i++)
		pages[i] = PFN(PAGES) + i % 8;
	guest_poke(&driver_ram, LIST, pages, sizeof(pages));
	for (uint16_t i = 0; i < DRIVER_QUEUE_SIZE; i++)
		driver_offer(0, i, &buffer, 1);
	atomic_store(&driver_interrupts, 0);
	driver_kick(kvm, INFLATE);
	ck_assert(driver_wait(kvm, driver_all_used));
}
END_TEST

static const struct driver_buffer odd[] = {
	{ NOWHERE, 64, false }, { IO_BASE, 64, false }, { RAM_END - 8, 0x10000, false }, { UINT64_MAX - 8, 64, false },
};

START_TEST(a_list_outside_memory_stops_the_device_until_reset)
{
	const uint32_t page = PFN(PAGES);

	driver_offer(0, 0, &odd[_i], 1);
	driver_kick(kvm, INFLATE);
	ck_assert(driver_wait(kvm, driver_needs_reset));
	start(0, INFLATE, DEFLATE);
	send_pages(0, &page, 1);
	ck_assert_uint_eq(given_back(), 4096);
}
END_TEST

START_TEST(saved_and_loaded_it_is_the_same)
{
	ck_assert_int_eq(balloon_set_target(kvm, kvm->ram_size - MIB(8)), 0);
	write_config(CONFIG(actual), 100);
	board_save_load(kvm, "virtio-balloon");
	ck_assert_uint_eq(read_config(CONFIG(num_pages)), 2048);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "balloon", setup, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, inflated_pages_go_in_whatever_order_and_no_others);
	tcase_add_test(tests, a_run_over_two_regions_goes_whole);
	tcase_add_test(tests, deflated_pages_are_untouched);
	tcase_add_loop_test(tests, reported_pages_go, 0, 3);
	tcase_add_loop_test(tests, poisoned_pages_keep_their_poison_if_it_was_negotiated, 0, 2);
	tcase_add_test(tests, the_hosts_wish_reaches_the_driver_and_its_answer_the_host);
	tcase_add_test(tests, the_driver_cannot_change_the_wish);
	tcase_add_test(tests, a_reset_forgets_what_was_inflated_and_keeps_the_wish);
	tcase_add_test(tests, hints_are_noted_between_their_id_and_the_end_and_nothing_goes);
	tcase_add_test(tests, hints_of_parts_and_of_what_is_no_ram_of_the_file_are_nothing);
	tcase_add_test(tests, statistics_are_read_and_asked_for_anew);
	tcase_add_test(tests, a_queue_s_reset_forgets_that_statistics_were_read);
	tcase_add_loop_test(tests, statistics_of_any_length_and_any_tag_do_no_harm, 0, 6);
	tcase_add_loop_test(tests, pages_that_are_no_ram_stay_and_the_rest_goes, 0, (int)ARRAY_SIZE(nowhere));
	tcase_add_test(tests, lists_of_odd_lengths_end_with_their_last_whole_number);
	tcase_add_test(tests, endless_lists_leave_the_loop_its_time);
	tcase_add_test(tests, many_requests_take_turns);
	tcase_add_loop_test(tests, a_list_outside_memory_stops_the_device_until_reset, 0, (int)ARRAY_SIZE(odd));
	tcase_add_test(tests, saved_and_loaded_it_is_the_same);
}
SUITE_MAIN("balloon", add_tests)
