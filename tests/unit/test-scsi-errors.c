/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-scsi where the host fails (rerror=, werror=), and where a disk grows under its guest. */
#include "tests/unit/scsi-driver.h"

#include "disk/engine.h"
#include "disk/file.h"

#define MORE	(SECTORS + 2048)
#define SLOTS	(DATA + 0x10000)

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
	scsi_machine(options);
	take_attentions();
	disks_get(kvm, 0)->file->tap = &tap;
}

static void setup(void)
{
	disk_with("");
}

static void setup_stop(void)
{
	disk_with(",rerror=stop,werror=stop");
}

static void setup_ignore(void)
{
	disk_with(",werror=ignore");
}

static void setup_report(void)
{
	disk_with(",werror=report");
}

/* ---- commands that aren't waited for ---- */

static uint64_t slot_at(unsigned int slot)
{
	return SLOTS + slot * 0x400ULL;
}

static void offer_later(unsigned int queue, unsigned int slot, struct bytes cdb)
{
	const struct driver_buffer buffers[] = {
		{ slot_at(slot), HEADER_SIZE, false }, { DATA + slot * 512ULL, 512, false }, { slot_at(slot) + 0x100, RESPONSE_SIZE, true },
	};
	uint8_t lun[8], untouched[RESPONSE_SIZE];

	memset(untouched, UNTOUCHED, sizeof(untouched));
	guest_poke(&driver_ram, slot_at(slot) + 0x100, untouched, sizeof(untouched));
	lun_of(lun, 0, 0);
	put_header(slot_at(slot), lun, 100 + slot, cdb.data);
	driver_offer(queue, (uint16_t)(slot * 3), buffers, 3);
	virtio_notify(driven, queue);
}

static void write_later(unsigned int queue, unsigned int slot, uint32_t sector, uint8_t with)
{
	uint8_t bytes[512];

	memset(bytes, with, sizeof(bytes));
	guest_poke(&driver_ram, DATA + slot * 512ULL, bytes, sizeof(bytes));
	offer_later(queue, slot, CDB(0x2a, 0, BE32(sector), 0, BE16(1)));
}

static struct answer answer_of(unsigned int slot)
{
	return take_answer(slot_at(slot) + 0x100);
}

static bool stands_still(void)
{
	return atomic_load(&kvm->state) == KVM_PAUSED;
}

static void wait_until_paused(void)
{
	ck_assert(driver_wait(kvm, stands_still));
	ck_assert(kvm->io_error);
}

static void go_on(void)
{
	atomic_store(&driver_interrupts, 0);
	ck_assert_int_eq(kvm_user_resume(kvm), 0);
}

static void all_are_done(void)
{
	ck_assert(driver_wait(kvm, driver_all_used));
}

/* Two of one queue and one of the other, and one that has many steps. */
static void fill_both_queues(void)
{
	atomic_store(&driver_interrupts, 0);
	atomic_store(&refusal, -EIO);
	write_later(2, 0, 200, 0x50);
	write_later(3, 1, 201, 0x51);
	write_later(2, 2, 202, 0x52);
	fill_data(0x50, 512);
	write_later(3, 3, 203, 0x53);
	offer_later(3, 4, CDB(0x93, 0, BE64(1000), BE32(700)));
	wait_until_paused();
}

static void all_have_arrived(void)
{
	atomic_store(&refusal, 0);
	go_on();
	all_are_done();
	for (unsigned int i = 0; i < 5; i++)
		is_good(answer_of(i), 0);
	for (unsigned int i = 0; i < 4; i++)
		ck_assert_uint_eq(file_byte((200 + i) * 512), 0x50 + i);
	ck_assert_uint_eq(file_byte(1000 * 512 - 1), pattern_byte(1000 * 512 - 1));
	ck_assert_uint_eq(file_byte(1699 * 512), file_byte(1000 * 512));
	ck_assert_uint_ne(file_byte(1699 * 512), pattern_byte(1699 * 512));
	ck_assert_uint_eq(file_byte(1700 * 512), pattern_byte(1700 * 512));
	ck_assert_ptr_null(controller()->flying);
}

/* ---- policies ---- */

START_TEST(a_host_without_room_stops_the_guest_until_it_has)
{
	atomic_store(&refusal, -ENOSPC);
	write_later(2, 0, 100, 0x11);
	wait_until_paused();
	ck_assert_uint_eq(answer_of(0).response, UNTOUCHED);
	go_on();
	wait_until_paused();
	ck_assert_uint_eq(answer_of(0).response, UNTOUCHED);

	atomic_store(&refusal, 0);
	go_on();
	all_are_done();
	is_good(answer_of(0), 0);
	ck_assert_uint_eq(file_byte(100 * 512), 0x11);
}
END_TEST

START_TEST(what_failed_for_another_reason_is_told_to_the_guest)
{
	atomic_store(&refusal, -EIO);
	is_check(ask(CDB(0x2a, 0, BE32(100), 0, BE16(1)), 512, 0), 0x030c00);
	board_poll(kvm, 20);
	ck_assert_int_ne(atomic_load(&kvm->state), KVM_PAUSED);
}
END_TEST

START_TEST(a_host_without_room_can_be_the_guest_s_affair)
{
	atomic_store(&refusal, -ENOSPC);
	is_check(ask(CDB(0x2a, 0, BE32(100), 0, BE16(1)), 512, 0), 0x072707);
	board_poll(kvm, 20);
	ck_assert_int_ne(atomic_load(&kvm->state), KVM_PAUSED);
}
END_TEST

START_TEST(errors_that_are_ignored_look_done)
{
	atomic_store(&refusal, -EIO);
	is_good(ask(CDB(0x2a, 0, BE32(100), 0, BE16(1)), 512, 0), 0);
	is_good(ask(CDB(0x93, 0, BE64(1000), BE32(700)), 512, 0), 0);
	ck_assert_uint_eq(file_byte(100 * 512), pattern_byte(100 * 512));
}
END_TEST

START_TEST(a_read_that_fails_can_stop_the_guest_too)
{
	ck_assert_int_eq(truncate(image, 0), 0);
	offer_later(2, 0, CDB(0x08, 0, 0, 0, 0));	/* no room for data-in: an overrun, told at once */
	queue_finish(2);
	ck_assert_uint_eq(answer_of(0).response, VIRTIO_SCSI_S_OVERRUN);
	is_good(ask(CDB(0x12, 0, 0, 0, 36), 0, 36), 0);
	put_header(HEADER, (const uint8_t[8]){ 1, 0, 0x40 }, 7, CDB(0x28, 0, BE32(8), 0, BE16(1)).data);
	driver_offer(2, 0, (const struct driver_buffer[]){ { HEADER, HEADER_SIZE, false }, { RESPONSE, RESPONSE_SIZE, true },
							   { DATA, 512, true } }, 3);
	driver_kick(kvm, 2);
	wait_until_paused();
	ck_assert_int_eq(truncate(image, SECTORS * 512), 0);
	go_on();
	all_are_done();
	is_good(take_answer(RESPONSE), 0);
	ck_assert_uint_eq(data_byte(0), 0);
}
END_TEST

START_TEST(all_that_waits_is_done_when_the_guest_goes_on)
{
	fill_both_queues();
	all_have_arrived();
}
END_TEST

/* The reset in front of a load ends all commands, in the rings too: what is saved is the memory before that. */
static void load(struct device *device, const struct state_writer *writer)
{
	struct state_reader reader = { .data = writer->data, .length = writer->length };
	char *memory = malloc(RAM_PART);

	memcpy(memory, driver_ram.host[0], RAM_PART);
	device->ops->reset(device);
	ck_assert_ptr_null(disk_kept(disks_get(kvm, 0)));
	ck_assert_ptr_null(controller()->flying);
	memcpy(driver_ram.host[0], memory, RAM_PART);
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	free(memory);
}

START_TEST(what_waits_is_saved_and_done_after_the_load)
{
	struct device *device = device_find(kvm, "virtio-scsi");
	struct state_writer before = { 0 }, after = { 0 };

	fill_both_queues();
	device->ops->save(device, &before);
	load(device, &before);
	device->ops->save(device, &after);
	ck_assert_uint_eq(after.length, before.length);
	ck_assert_mem_eq(after.data, before.data, before.length);
	all_have_arrived();
	state_writer_free(&before);
	state_writer_free(&after);
}
END_TEST

START_TEST(a_driver_that_spoils_what_waits_is_told_so)
{
	struct device *device = device_find(kvm, "virtio-scsi");
	struct state_writer writer = { 0 };

	fill_both_queues();
	device->ops->save(device, &writer);
	load(device, &writer);
	ring_describe(&driver_rings[2], 0, NOWHERE, HEADER_SIZE, 0, 0);
	go_on();
	/* What waits of a packed ring was saved itself. */
	if (!driver_is_packed())
		ck_assert(driver_wait(kvm, driver_needs_reset));
	atomic_store(&refusal, 0);
	driver_start(0, 4);
	take_attentions();
	is_good(ask(CDB(0x28, 0, BE32(1), 0, BE16(1)), 0, 512), 0);
	state_writer_free(&writer);
}
END_TEST

START_TEST(a_queue_s_reset_ends_what_waits_of_it_alone)
{
	static const uint8_t zeroes[0x8000];
	struct ring *ring = &driver_rings[2];

	fill_both_queues();
	virtio_queue_reset(driven, 2);
	ck_assert_uint_eq(driven->queues[2].in_flight, 0);
	ck_assert_uint_eq(driven->queues[3].in_flight, 3);
	guest_poke(&driver_ram, DRIVER_RING(2), zeroes, sizeof(zeroes));
	ring_restart(ring);
	atomic_store(&refusal, 0);
	go_on();
	all_are_done();
	is_good(answer_of(1), 0);
	is_check(answer_of(0), 0x0b0000);
	ck_assert_uint_eq(file_byte(200 * 512), pattern_byte(200 * 512));
	virtio_queue_setup(driven, 2, ring->size, gpa(ring->desc), gpa(ring->avail), gpa(ring->used));
	virtio_queue_enable(driven, 2);
	is_good(ask(CDB(0x28, 0, BE32(1), 0, BE16(1)), 0, 512), 0);
}
END_TEST

START_TEST(no_saved_state_makes_commands_of_nothing)
{
	fill_both_queues();
	board_load_hostile(kvm, "virtio-scsi", NULL);
}
END_TEST

START_TEST(a_machine_that_is_reset_has_nothing_left_to_try)
{
	fill_both_queues();
	devices_reset(kvm);
	ck_assert_ptr_null(disk_kept(disks_get(kvm, 0)));
	atomic_store(&refusal, 0);
	go_on();
	board_poll(kvm, 20);
	ck_assert_uint_eq(file_byte(200 * 512), pattern_byte(200 * 512));
}
END_TEST

/* The sanitizers watch. */
START_TEST(a_vm_can_end_while_it_stands_still)
{
	fill_both_queues();
}
END_TEST

/* ---- ended before the VM is paused ---- */

static bool three_are_kept;

static void look_at_kept(void *opaque)
{
	unsigned int count = 0;

	for (const struct disk_request *io = disk_kept(opaque); io; io = io->next)
		count++;
	three_are_kept = count == 3;
}

/* Without a look at the main loop, which would pause the VM. */
static void keep_three(void)
{
	uint64_t end = event_now_ns() + DRIVER_WAIT_NS;

	atomic_store(&refusal, -EIO);
	for (unsigned int i = 0; i < 3; i++)
		write_later(2 + i % 2, i, 200 + i, 0x60);
	do
		event_loop_call(driven->loop, look_at_kept, disks_get(kvm, 0));
	while (!three_are_kept && event_now_ns() < end);
	ck_assert(three_are_kept);
}

/* As manage(), but for the main loop. */
static uint8_t manage_now(uint32_t subtype, uint64_t tag)
{
	struct virtio_scsi_ctrl_tmf_req header = { .type = htole32(VIRTIO_SCSI_T_TMF), .subtype = htole32(subtype), .tag = htole64(tag) };
	const struct driver_buffer buffers[] = { { CONTROL, sizeof(header), false }, { CONTROL + 0x100, 1, true } };
	uint64_t end = event_now_ns() + DRIVER_WAIT_NS;

	lun_of(header.lun, 0, 0);
	guest_poke(&driver_ram, CONTROL, &header, sizeof(header));
	driver_offer(0, 0, buffers, 2);
	virtio_notify(driven, 0);
	while (!queue_all_used(0) && event_now_ns() < end)
		usleep(100);
	ck_assert(queue_all_used(0));
	return driver_peek(CONTROL + 0x100);
}

START_TEST(a_command_that_waits_can_be_ended)
{
	keep_three();
	ck_assert_uint_eq(manage_now(VIRTIO_SCSI_T_TMF_QUERY_TASK, 101), VIRTIO_SCSI_S_FUNCTION_SUCCEEDED);
	ck_assert_uint_eq(manage_now(VIRTIO_SCSI_T_TMF_ABORT_TASK, 101), VIRTIO_SCSI_S_OK);
	ck_assert_uint_eq(answer_of(1).response, VIRTIO_SCSI_S_ABORTED);
	ck_assert_uint_eq(manage_now(VIRTIO_SCSI_T_TMF_QUERY_TASK, 101), VIRTIO_SCSI_S_OK);
	/* the two others still stop the guest */
	wait_until_paused();
	atomic_store(&refusal, 0);
	go_on();
	all_are_done();
	is_good(answer_of(0), 0);
	is_good(answer_of(2), 0);
	ck_assert_uint_eq(file_byte(200 * 512), 0x60);
	ck_assert_uint_eq(file_byte(201 * 512), pattern_byte(201 * 512));
	ck_assert_uint_eq(file_byte(202 * 512), 0x60);
}
END_TEST

START_TEST(a_unit_that_is_reset_ends_all_that_waits)
{
	keep_three();
	ck_assert_uint_eq(manage_now(VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 0), VIRTIO_SCSI_S_OK);
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_uint_eq(answer_of(i).response, VIRTIO_SCSI_S_RESET);
	ck_assert_ptr_null(controller()->flying);
	board_poll(kvm, 20);
	ck_assert_int_ne(atomic_load(&kvm->state), KVM_PAUSED);
	atomic_store(&refusal, 0);
	is_check(ask(CDB(0x00), 0, 0), 0x062903);
	is_good(ask(CDB(0x00), 0, 0), 0);
}
END_TEST

/* ---- growth ---- */

static void teardown_grown(void)
{
	ck_assert_int_eq(truncate(image, SECTORS * 512), 0);
	scsi_teardown();
}

START_TEST(a_disk_grows_and_its_guest_hears_of_it)
{
	struct virtio_scsi_event event;

	offer_event(0);
	is_check(ask(CDB(0x28, 0, BE32(MORE - 1), 0, BE16(1)), 0, 512), 0x052100);
	ck_assert_ptr_eq(disks_find(kvm, "disk0"), disks_get(kvm, 0));
	ck_assert_int_eq(disk_grow(disks_get(kvm, 0), MORE * 512), 0);
	ck_assert(queue_all_used(1));
	event = take_event(0);
	ck_assert_uint_eq(le32toh(event.event), VIRTIO_SCSI_T_PARAM_CHANGE);
	ck_assert_uint_eq(le32toh(event.reason), 0x092a);
	ck_assert_uint_eq(event.lun[1], 0);

	is_check(ask(CDB(0x25), 0, 8), 0x062a09);
	is_good(ask(CDB(0x25), 0, 8), 0);
	ck_assert_uint_eq(data_be(0, 4), MORE - 1);
	is_good(ask(CDB(0x28, 0, BE32(MORE - 1), 0, BE16(1)), 0, 512), 0);
	is_check(ask(CDB(0x28, 0, BE32(MORE), 0, BE16(1)), 0, 512), 0x052100);
}
END_TEST

START_TEST(a_disc_stays_as_large_as_it_is)
{
	ck_assert_int_eq(disk_grow(disks_get(kvm, 1), 2 * ISO_BLOCKS * 2048), -EROFS);
	is_good(ask_at(1, 0, CDB(0x25), 0, 8), 0);
	ck_assert_uint_eq(data_be(0, 4), ISO_BLOCKS - 1);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "default", setup, scsi_teardown);
	TCase *stop = suite_case(suite, "stop", setup_stop, scsi_teardown);
	TCase *ignore = suite_case(suite, "ignore", setup_ignore, scsi_teardown);
	TCase *report = suite_case(suite, "report", setup_report, scsi_teardown);
	TCase *growth = suite_case(suite, "growth", setup, teardown_grown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, a_host_without_room_stops_the_guest_until_it_has);
	tcase_add_test(tests, what_failed_for_another_reason_is_told_to_the_guest);
	tcase_add_test(stop, a_read_that_fails_can_stop_the_guest_too);
	tcase_add_test(stop, all_that_waits_is_done_when_the_guest_goes_on);
	tcase_add_test(stop, what_waits_is_saved_and_done_after_the_load);
	tcase_add_test(stop, a_driver_that_spoils_what_waits_is_told_so);
	tcase_add_test(stop, a_queue_s_reset_ends_what_waits_of_it_alone);
	tcase_add_test(stop, no_saved_state_makes_commands_of_nothing);
	tcase_add_test(stop, a_machine_that_is_reset_has_nothing_left_to_try);
	tcase_add_test(stop, a_vm_can_end_while_it_stands_still);
	tcase_add_test(stop, a_command_that_waits_can_be_ended);
	tcase_add_test(stop, a_unit_that_is_reset_ends_all_that_waits);
	tcase_add_test(ignore, errors_that_are_ignored_look_done);
	tcase_add_test(report, a_host_without_room_can_be_the_guest_s_affair);
	tcase_add_test(growth, a_disk_grows_and_its_guest_hears_of_it);
	tcase_add_test(growth, a_disc_stays_as_large_as_it_is);
}
SUITE_MAIN("scsi-errors", add_tests)
