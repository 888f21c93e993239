/* SPDX-License-Identifier: BSD-2-Clause */
/* rerror= and werror=: requests that the host fails, told, ignored, or kept until the guest goes on. */
#include "tests/unit/blk-driver.h"

static atomic_int refusal;		/* what changes of the file come to */
static atomic_uint refused;

static int tap_change(struct disk_file_tap *tap, enum disk_op op, uint64_t offset, uint64_t length, const struct iovec *iov,
		      unsigned int iov_count, bool fua)
{
	(void)tap, (void)op, (void)offset, (void)length, (void)iov, (void)iov_count, (void)fua;
	atomic_fetch_add(&refused, !!atomic_load(&refusal));
	return atomic_load(&refusal);
}

static struct disk_file_tap tap = { .change = tap_change };

static void disk_with(const char *options)
{
	machine(options);
	driver_start(0, 2);
	disks_get(kvm, 0)->file->tap = &tap;
}

static void setup(void)
{
	disk_with(",queues=2");
}

static void setup_overlay(void)
{
	disk_with(",queues=2,snapshot=on");
}

static void setup_stop(void)
{
	disk_with(",queues=2,rerror=stop,werror=stop");
}

static void setup_ignore(void)
{
	disk_with(",queues=2,rerror=ignore,werror=ignore");
}

static void setup_report(void)
{
	disk_with(",queues=2,werror=report");
}

/* A write of 512 bytes of @with, offered and kicked: its status is at STATUS + @slot. */
static void write_later(unsigned int queue, unsigned int slot, uint64_t sector, uint8_t with)
{
	struct virtio_blk_outhdr header = { .type = htole32(VIRTIO_BLK_T_OUT), .sector = htole64(sector) };
	const struct driver_buffer buffers[] = {
		{ HEADER + 0x1000 + slot * 16ULL, sizeof(header), false }, { DATA + slot * 512ULL, 512, false }, { STATUS + slot, 1, true },
	};
	uint8_t bytes[512], untouched = UNTOUCHED;

	memset(bytes, with, sizeof(bytes));
	guest_poke(&driver_ram, buffers[0].address, &header, sizeof(header));
	guest_poke(&driver_ram, buffers[1].address, bytes, sizeof(bytes));
	guest_poke(&driver_ram, buffers[2].address, &untouched, 1);
	driver_offer(queue, (uint16_t)(slot * 3), buffers, 3);
	virtio_notify(driven, queue);
}

static bool stands_still(void)
{
	return atomic_load(&kvm->state) == KVM_PAUSED;
}

/* All refusals have come, and the pause behind them, so that the disk's loop is idle. */
static void wait_until_paused(void)
{
	ck_assert(driver_wait(kvm, stands_still));
	ck_assert(kvm->io_error);
	ck_assert(kvm->user_paused);
}

static void go_on(void)
{
	atomic_store(&driver_interrupts, 0);
	ck_assert_int_eq(kvm_user_resume(kvm), 0);
	ck_assert(!kvm->io_error);
}

static void all_are_done(void)
{
	ck_assert(driver_wait(kvm, driver_all_used));
}

START_TEST(a_host_without_room_stops_the_guest_until_it_has)
{
	atomic_store(&refusal, -ENOSPC);
	write_later(0, 0, 100, 0x11);
	wait_until_paused();
	ck_assert_uint_eq(ring_used_index(&driver_rings[0]), 0);
	ck_assert_uint_eq(driver_peek(STATUS), UNTOUCHED);

	atomic_store(&refusal, 0);
	go_on();
	all_are_done();
	ck_assert_uint_eq(driver_peek(STATUS), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(file_byte(100 * 512), 0x11);
	ck_assert_int_eq(atomic_load(&kvm->state), KVM_RUNNING);
}
END_TEST

START_TEST(room_that_is_still_missing_stops_the_guest_again)
{
	atomic_store(&refusal, -EDQUOT);
	write_later(0, 0, 100, 0x22);
	wait_until_paused();
	for (unsigned int round = 0; round < 3; round++) {
		go_on();
		wait_until_paused();
		ck_assert_uint_eq(driver_peek(STATUS), UNTOUCHED);
	}
	atomic_store(&refusal, 0);
	go_on();
	all_are_done();
	ck_assert_uint_eq(driver_peek(STATUS), VIRTIO_BLK_S_OK);
}
END_TEST

START_TEST(what_failed_for_another_reason_is_told_to_the_guest)
{
	atomic_store(&refusal, -EIO);
	fill_data(0x33, 512);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_OUT, 100, 512, false), VIRTIO_BLK_S_IOERR);
	board_poll(kvm, 20);
	ck_assert_int_ne(atomic_load(&kvm->state), KVM_PAUSED);
}
END_TEST

START_TEST(a_host_without_room_can_be_the_guest_s_affair)
{
	atomic_store(&refusal, -ENOSPC);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_OUT, 100, 512, false), VIRTIO_BLK_S_IOERR);
	board_poll(kvm, 20);
	ck_assert_int_ne(atomic_load(&kvm->state), KVM_PAUSED);
}
END_TEST

START_TEST(errors_that_are_ignored_look_done)
{
	atomic_store(&refusal, -EIO);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_OUT, 100, 512, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(file_byte(100 * 512), pattern_byte(100 * 512));
	ck_assert_int_eq(truncate(image, 0), 0);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 100, 512, true), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(truncate(image, SECTORS * 512), 0);
}
END_TEST

START_TEST(a_read_that_fails_can_stop_the_guest_too)
{
	ck_assert_int_eq(truncate(image, 0), 0);
	put_header(VIRTIO_BLK_T_IN, 8);
	driver_offer(0, 0, (const struct driver_buffer[]){ { HEADER, 16, false }, { DATA, 512, true }, { STATUS, 1, true } }, 3);
	driver_kick(kvm, 0);
	wait_until_paused();
	ck_assert_int_eq(truncate(image, SECTORS * 512), 0);
	go_on();
	all_are_done();
	ck_assert_uint_eq(driver_peek(STATUS), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_peek(DATA), 0);
}
END_TEST

/* Two of one queue and one of the other, while others are done. */
static void fill_both_queues(void)
{
	atomic_store(&driver_interrupts, 0);
	write_later(1, 3, 203, 0x53);
	all_are_done();
	atomic_store(&refusal, -EIO);
	write_later(0, 0, 200, 0x50);
	write_later(1, 1, 201, 0x51);
	write_later(0, 2, 202, 0x52);
	wait_until_paused();
}

static void both_queues_are_done(void)
{
	atomic_store(&refusal, 0);
	go_on();
	all_are_done();
	for (unsigned int i = 0; i < 4; i++) {
		ck_assert_uint_eq(driver_peek(STATUS + i), VIRTIO_BLK_S_OK);
		ck_assert_uint_eq(file_byte((200 + i) * 512), 0x50 + i);
	}
}

START_TEST(what_waits_is_saved_and_done_after_the_load)
{
	struct device *device = device_find(kvm, "virtio-blk0");
	struct state_writer before = { 0 }, after = { 0 };
	struct state_reader reader;

	fill_both_queues();
	device->ops->save(device, &before);
	device->ops->reset(device);
	ck_assert_ptr_null(disk_kept(disks_get(kvm, 0)));
	reader = (struct state_reader){ .data = before.data, .length = before.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	device->ops->save(device, &after);
	ck_assert_uint_eq(after.length, before.length);
	ck_assert_mem_eq(after.data, before.data, before.length);
	both_queues_are_done();
	state_writer_free(&before);
	state_writer_free(&after);
}
END_TEST

START_TEST(a_driver_that_spoils_what_waits_is_told_so)
{
	struct device *device = device_find(kvm, "virtio-blk0");
	struct state_writer writer = { 0 };
	struct state_reader reader;

	fill_both_queues();
	device->ops->save(device, &writer);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	ring_describe(&driver_rings[0], 0, NOWHERE, 16, 0, 0);
	go_on();
	/* What waits of a packed ring was saved itself. */
	if (!driver_is_packed())
		ck_assert(driver_wait(kvm, driver_needs_reset));
	driver_start(0, 2);
	atomic_store(&refusal, 0);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 8, 512, true), VIRTIO_BLK_S_OK);
	state_writer_free(&writer);
}
END_TEST

START_TEST(a_queue_s_reset_forgets_what_waits_of_it_alone)
{
	static const uint8_t zeroes[0x8000];
	struct ring *ring = &driver_rings[0];

	fill_both_queues();
	virtio_queue_reset(driven, 0);
	ck_assert_uint_eq(driven->queues[0].in_flight, 0);
	ck_assert_uint_eq(driven->queues[1].in_flight, 1);
	guest_poke(&driver_ram, DRIVER_RING(0), zeroes, sizeof(zeroes));
	ring_restart(ring);
	atomic_store(&refusal, 0);
	go_on();
	all_are_done();
	ck_assert_uint_eq(driver_peek(STATUS), UNTOUCHED);
	ck_assert_uint_eq(driver_peek(STATUS + 1), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_peek(STATUS + 2), UNTOUCHED);
	virtio_queue_setup(driven, 0, ring->size, gpa(ring->desc), gpa(ring->avail), gpa(ring->used));
	virtio_queue_enable(driven, 0);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 8, 512, true), VIRTIO_BLK_S_OK);
}
END_TEST

START_TEST(no_saved_state_makes_requests_of_nothing)
{
	fill_both_queues();
	board_load_hostile(kvm, "virtio-blk0", NULL);
}
END_TEST

START_TEST(all_that_waits_is_done_when_the_guest_goes_on)
{
	fill_both_queues();
	both_queues_are_done();
}
END_TEST

static bool something_is_refused(void)
{
	return atomic_load(&refused);
}

START_TEST(a_reset_forgets_what_waits)
{
	uint64_t end = event_now_ns() + 1000000000;

	atomic_store(&refusal, -EIO);
	write_later(0, 0, 100, 0x44);
	/* without a look at the main loop, which would pause the VM */
	while (!something_is_refused() && event_now_ns() < end)
		usleep(1000);
	virtio_set_status(driven, 0);
	ck_assert_ptr_null(disk_kept(disks_get(kvm, 0)));
	board_poll(kvm, 20);
	ck_assert_int_ne(atomic_load(&kvm->state), KVM_PAUSED);
	ck_assert_uint_eq(driver_peek(STATUS), UNTOUCHED);

	atomic_store(&refusal, 0);
	driver_start(0, 2);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 100, 512, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_peek(DATA), pattern_byte(100 * 512));
}
END_TEST

/* A machine that is reset while it stands still has nothing to try again. */
START_TEST(a_machine_that_is_reset_has_nothing_left_to_try)
{
	fill_both_queues();
	devices_reset(kvm);
	ck_assert_ptr_null(disk_kept(disks_get(kvm, 0)));
	go_on();
	board_poll(kvm, 20);
	ck_assert_uint_eq(driver_peek(STATUS), UNTOUCHED);
	ck_assert_uint_eq(file_byte(200 * 512), pattern_byte(200 * 512));
}
END_TEST

/* The end of a VM that stands still leaves nothing behind: the sanitizers watch. */
START_TEST(a_vm_can_end_while_it_stands_still)
{
	fill_both_queues();
}
END_TEST

START_TEST(an_image_with_tables_can_be_tried_again)
{
	atomic_store(&refusal, -ENOSPC);
	write_later(0, 0, 300, 0x61);
	write_later(1, 1, 3000, 0x62);
	wait_until_paused();
	go_on();
	wait_until_paused();
	atomic_store(&refusal, 0);
	go_on();
	all_are_done();
	ck_assert_uint_eq(driver_peek(STATUS), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_peek(STATUS + 1), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 300, 512, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_peek(DATA), 0x61);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 3000, 512, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_peek(DATA), 0x62);
	ck_assert_uint_eq(file_byte(300 * 512), pattern_byte(300 * 512));
}
END_TEST

static const char *const bad_options[] = { ",rerror=enospc", ",werror=panic", ",rerror=", ",werror" };

START_TEST(policies_that_are_none_are_refused)
{
	struct board_pick pick = { .name = "disks_init" };

	machine_without_device(bad_options[_i]);
	init_for_each(board_pick_item, &pick);
	ck_assert_int_eq(pick.item->init(kvm), -EUSAGE);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "default", setup, teardown);
	TCase *overlay = suite_case(suite, "overlay", setup_overlay, teardown);
	TCase *stop = suite_case(suite, "stop", setup_stop, teardown);
	TCase *ignore = suite_case(suite, "ignore", setup_ignore, teardown);
	TCase *report = suite_case(suite, "report", setup_report, teardown);
	TCase *options = suite_case(suite, "options", NULL, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, a_host_without_room_stops_the_guest_until_it_has);
	tcase_add_test(tests, room_that_is_still_missing_stops_the_guest_again);
	tcase_add_test(tests, what_failed_for_another_reason_is_told_to_the_guest);
	tcase_add_test(overlay, an_image_with_tables_can_be_tried_again);
	tcase_add_test(stop, a_read_that_fails_can_stop_the_guest_too);
	tcase_add_test(stop, all_that_waits_is_done_when_the_guest_goes_on);
	tcase_add_test(stop, what_waits_is_saved_and_done_after_the_load);
	tcase_add_test(stop, a_driver_that_spoils_what_waits_is_told_so);
	tcase_add_test(stop, a_queue_s_reset_forgets_what_waits_of_it_alone);
	tcase_add_test(stop, no_saved_state_makes_requests_of_nothing);
	tcase_add_test(stop, a_reset_forgets_what_waits);
	tcase_add_test(stop, a_machine_that_is_reset_has_nothing_left_to_try);
	tcase_add_test(stop, a_vm_can_end_while_it_stands_still);
	tcase_add_test(ignore, errors_that_are_ignored_look_done);
	tcase_add_test(report, a_host_without_room_can_be_the_guest_s_affair);
	tcase_add_loop_test(options, policies_that_are_none_are_refused, 0, (int)ARRAY_SIZE(bad_options));
}
SUITE_MAIN("blk-errors", add_tests)
