/* SPDX-License-Identifier: BSD-2-Clause */
/* hw/scsi-cdrom.c and hw/scsi-cdrom-info.c through virtio-scsi: an ISO image in a drive. */
#include "tests/unit/scsi-driver.h"

static void setup(void)
{
	scsi_machine("");
	take_attentions();
}

static struct answer ask_drive(struct bytes cdb, uint32_t in)
{
	return ask_at(1, 0, cdb, 0, in);
}

START_TEST(blocks_of_the_image_are_read)
{
	is_good(ask_drive(CDB(0x25), 8), 0);
	ck_assert_uint_eq(data_be(0, 4), ISO_BLOCKS - 1);
	ck_assert_uint_eq(data_be(4, 4), 2048);
	is_good(ask_drive(CDB(0x28, 0, BE32(17), 0, BE16(2)), 4096), 0);
	for (unsigned int i = 0; i < 4096; i++)
		ck_assert_uint_eq(data_byte(i), pattern_byte(17 * 2048 + i));
	is_good(ask_drive(CDB(0xa8, 0, BE32(ISO_BLOCKS - 1), BE32(1)), 2048), 0);
	ck_assert_uint_eq(data_byte(0), pattern_byte((ISO_BLOCKS - 1) * 2048));
	is_check(ask_drive(CDB(0x28, 0, BE32(ISO_BLOCKS - 1), 0, BE16(2)), 4096), 0x052100);
	is_good(ask_drive(CDB(0x2b, 0, BE32(5)), 0), 0);
	is_check(ask_drive(CDB(0x2b, 0, BE32(ISO_BLOCKS)), 0), 0x052100);
	/* READ CD: user data of data blocks */
	is_good(ask_drive(CDB(0xbe, 2 << 2, BE32(3), 0, BE16(1), 0x10), 2048), 0);
	ck_assert_uint_eq(data_byte(1), pattern_byte(3 * 2048 + 1));
	is_check(ask_drive(CDB(0xbe, 1 << 2, BE32(3), 0, BE16(1), 0x10), 2352), 0x056400);
	is_check(ask_drive(CDB(0xbe, 0, BE32(3), 0, BE16(1), 0xf8), 2352), 0x052400);
	is_good(ask_drive(CDB(0xbe, 0, BE32(3), 0, BE16(1), 0), 0), 0);
}
END_TEST

START_TEST(nothing_can_be_written)
{
	fill_data(0x99, 2048);
	is_check(ask_at(1, 0, CDB(0x2a, 0, BE32(0), 0, BE16(1)), 2048, 0), 0x052000);
	is_check(ask_at(1, 0, CDB(0x42), 8, 0), 0x052000);
	is_check(ask_at(1, 0, CDB(0x41), 512, 0), 0x052000);
	is_good(ask_drive(CDB(0x28, 0, BE32(0), 0, BE16(1)), 2048), 0);
	ck_assert_uint_eq(data_byte(0), pattern_byte(0));
}
END_TEST

START_TEST(the_table_of_contents_has_one_data_track)
{
	is_good(ask_drive(CDB(0x43, 0, 0, 0, 0, 0, 0, BE16(20)), 20), 0);
	ck_assert_uint_eq(data_be(0, 2), 18);
	ck_assert_uint_eq(data_byte(2), 1);
	ck_assert_uint_eq(data_byte(3), 1);
	ck_assert_uint_eq(data_byte(5), 0x14);
	ck_assert_uint_eq(data_byte(6), 1);
	ck_assert_uint_eq(data_be(8, 4), 0);
	ck_assert_uint_eq(data_byte(14), 0xaa);
	ck_assert_uint_eq(data_be(16, 4), ISO_BLOCKS);
	/* minutes, seconds, frames: two seconds further on */
	is_good(ask_drive(CDB(0x43, 2, 0, 0, 0, 0, 0xaa, BE16(12)), 12), 0);
	ck_assert_uint_eq(data_byte(9), 0);
	ck_assert_uint_eq(data_byte(10), (ISO_BLOCKS + 150) / 75);
	ck_assert_uint_eq(data_byte(11), (ISO_BLOCKS + 150) % 75);
	is_good(ask_drive(CDB(0x43, 0, 1, 0, 0, 0, 0, BE16(12)), 12), 0);
	ck_assert_uint_eq(data_be(0, 2), 10);
	is_good(ask_drive(CDB(0x43, 0, 0, 0, 0, 0, 0, BE16(12), 0x40), 12), 0);
	ck_assert_uint_eq(data_be(0, 2), 10);
	is_good(ask_drive(CDB(0x43, 0, 2, 0, 0, 0, 0, BE16(48)), 48), 0);
	ck_assert_uint_eq(data_byte(4 + 3), 0xa0);
	ck_assert_uint_eq(data_byte(4 + 2 * 11 + 3), 0xa2);
	is_check(ask_drive(CDB(0x43, 0, 0, 0, 0, 0, 2, BE16(20)), 20), 0x052400);
	is_check(ask_drive(CDB(0x43, 0, 5, 0, 0, 0, 0, BE16(20)), 20), 0x052400);
}
END_TEST

START_TEST(the_configuration_names_profile_and_features)
{
	uint32_t length, at = 8;
	uint16_t last = 0;

	is_good(ask_drive(CDB(0x46, 0, 0, 0, 0, 0, 0, BE16(8)), 8), 0);
	length = data_be(0, 4) + 4;
	ck_assert_uint_eq(data_be(6, 2), 0x0008);
	is_good(ask_drive(CDB(0x46, 0, 0, 0, 0, 0, 0, BE16(512)), 512), 512 - length);
	while (at < length) {
		uint16_t code = (uint16_t)data_be(at, 2);

		ck_assert(at == 8 || code > last);
		last = code;
		at += 4 + data_byte(at + 3);
	}
	ck_assert_uint_eq(at, length);
	/* one alone, from one on, current ones */
	is_good(ask_drive(CDB(0x46, 2, 0x00, 0x10, 0, 0, 0, BE16(20)), 20), 0);
	ck_assert_uint_eq(data_be(8, 2), 0x0010);
	ck_assert_uint_eq(data_byte(10) & 1, 1);
	ck_assert_uint_eq(data_be(12, 4), 2048);
	is_good(ask_drive(CDB(0x46, 1, 0x00, 0x1f, 0, 0, 0, BE16(8)), 8), 0);
	ck_assert_uint_eq(data_be(0, 4), 4);
	is_check(ask_drive(CDB(0x46, 3, 0, 0, 0, 0, 0, BE16(8)), 8), 0x052400);
}
END_TEST

START_TEST(disc_and_track_say_that_they_are_complete)
{
	is_good(ask_drive(CDB(0x51, 0, 0, 0, 0, 0, 0, BE16(34)), 34), 0);
	ck_assert_uint_eq(data_be(0, 2), 32);
	ck_assert_uint_eq(data_byte(2), 0x0e);
	ck_assert_uint_eq(data_byte(4), 1);
	is_check(ask_drive(CDB(0x51, 1, 0, 0, 0, 0, 0, BE16(34)), 34), 0x052400);
	is_good(ask_drive(CDB(0x52, 1, BE32(1), 0, BE16(36)), 36), 0);
	ck_assert_uint_eq(data_be(24, 4), ISO_BLOCKS);
	is_good(ask_drive(CDB(0x52, 0, BE32(ISO_BLOCKS - 1), 0, BE16(36)), 36), 0);
	is_check(ask_drive(CDB(0x52, 0, BE32(ISO_BLOCKS), 0, BE16(36)), 36), 0x052400);
	is_check(ask_drive(CDB(0x52, 1, BE32(2), 0, BE16(36)), 36), 0x052400);
	is_good(ask_drive(CDB(0xbd, 0, 0, 0, 0, 0, 0, 0, BE16(8)), 8), 0);
	ck_assert_uint_eq(data_byte(1), 0);
	is_good(ask_drive(CDB(0x5a, 0, 0x2a, 0, 0, 0, 0, BE16(30)), 30), 0);
	ck_assert_uint_eq(data_be(6, 2), 0);
	ck_assert_uint_eq(data_byte(8), 0x2a);
	ck_assert_uint_eq(data_byte(14), 0x29);
}
END_TEST

static uint8_t media_event(void)
{
	is_good(ask_drive(CDB(0x4a, 1, 0, 0, 0x10, 0, 0, BE16(8)), 8), 0);
	ck_assert_uint_eq(data_byte(2), 4);
	return data_byte(4);
}

START_TEST(the_tray_opens_and_closes)
{
	uint32_t actual;

	ck_assert_uint_eq(notify_me(VIRTIO_SCSI_T_AN_QUERY, 1, 0, 0xff, &actual), VIRTIO_SCSI_S_OK);
	ck_assert_uint_eq(actual, 0x10);
	ck_assert_uint_eq(notify_me(VIRTIO_SCSI_T_AN_SUBSCRIBE, 1, 0, 0x10, &actual), VIRTIO_SCSI_S_OK);
	offer_event(0);
	ck_assert_uint_eq(media_event(), 0);
	ck_assert_uint_eq(data_byte(5), 2);
	is_good(ask_drive(CDB(0x1b, 0, 0, 0, 2), 0), 0);
	ck_assert(queue_all_used(1));
	ck_assert_uint_eq(le32toh(take_event(0).event), VIRTIO_SCSI_T_ASYNC_NOTIFY);
	ck_assert_uint_eq(le32toh(take_event(0).reason), 0x10);
	ck_assert_uint_eq(take_event(0).lun[1], 1);
	is_check(ask_drive(CDB(0x00), 0), 0x023a02);
	is_check(ask_drive(CDB(0x28, 0, BE32(0), 0, BE16(1)), 2048), 0x023a02);
	is_check(ask_drive(CDB(0x43, 0, 0, 0, 0, 0, 0, BE16(20)), 20), 0x023a02);
	ck_assert_uint_eq(media_event(), 3);
	ck_assert_uint_eq(data_byte(5), 1);
	ck_assert_uint_eq(media_event(), 0);
	is_good(ask_drive(CDB(0xbd, 0, 0, 0, 0, 0, 0, 0, BE16(8)), 8), 0);
	ck_assert_uint_eq(data_byte(1), 0x10);
	is_good(ask_drive(CDB(0x46, 0, 0, 0, 0, 0, 0, BE16(8)), 8), 0);
	ck_assert_uint_eq(data_be(6, 2), 0);
	/* shut again: a medium that may be another */
	is_good(ask_drive(CDB(0x1b, 0, 0, 0, 3), 0), 0);
	ck_assert_uint_eq(media_event(), 2);
	is_check(ask_drive(CDB(0x00), 0), 0x062800);
	is_good(ask_drive(CDB(0x28, 0, BE32(0), 0, BE16(1)), 2048), 0);
}
END_TEST

START_TEST(a_locked_tray_stays_shut)
{
	is_good(ask_drive(CDB(0x1e, 0, 0, 0, 1), 0), 0);
	is_check(ask_drive(CDB(0x1b, 0, 0, 0, 2), 0), 0x055302);
	is_good(ask_drive(CDB(0x00), 0), 0);
	/* a reset unlocks it */
	ck_assert_uint_eq(manage(VIRTIO_SCSI_T_TMF_LOGICAL_UNIT_RESET, 1, 0, 0), VIRTIO_SCSI_S_OK);
	is_check(ask_drive(CDB(0x00), 0), 0x062903);
	is_good(ask_drive(CDB(0x1b, 0, 0, 0, 2), 0), 0);
	is_check(ask_drive(CDB(0x00), 0), 0x023a02);
}
END_TEST

START_TEST(events_are_polled_for)
{
	is_check(ask_drive(CDB(0x4a, 0, 0, 0, 0x10, 0, 0, BE16(8)), 8), 0x052400);
	is_good(ask_drive(CDB(0x4a, 1, 0, 0, 0x02, 0, 0, BE16(8)), 8), 4);
	ck_assert_uint_eq(data_byte(2), 0x80);
	ck_assert_uint_eq(data_byte(3), 0x10);
	/* what had no room is told the next time */
	is_good(ask_drive(CDB(0x1b, 0, 0, 0, 2), 0), 0);
	is_good(ask_drive(CDB(0x4a, 1, 0, 0, 0x10, 0, 0, BE16(4)), 4), 0);
	ck_assert_uint_eq(media_event(), 3);
}
END_TEST

START_TEST(an_open_tray_is_saved)
{
	struct scsi_unit *unit = scsi_bus_find(&controller()->bus, 1, 0);

	is_good(ask_drive(CDB(0x1b, 0, 0, 0, 2), 0), 0);
	unit->tray_locked = 1;
	board_save_load(kvm, "virtio-scsi");
	/* a disk has none */
	unit = scsi_bus_find(&controller()->bus, 0, 0);
	unit->tray_open = 1;
	{
		struct device *device = device_find(kvm, "virtio-scsi");
		struct state_writer writer = { 0 };
		struct state_reader reader;

		log_set_sink(board_hush);
		ck_assert_int_eq(device->ops->quiesce(device), 0);
		device->ops->save(device, &writer);
		reader = (struct state_reader){ .data = writer.data, .length = writer.length };
		ck_assert_int_lt(device->ops->load(device, &reader), 0);
		device->ops->resume(device);
		state_writer_free(&writer);
	}
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "drive", setup, scsi_teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, blocks_of_the_image_are_read);
	tcase_add_test(tests, nothing_can_be_written);
	tcase_add_test(tests, the_table_of_contents_has_one_data_track);
	tcase_add_test(tests, the_configuration_names_profile_and_features);
	tcase_add_test(tests, disc_and_track_say_that_they_are_complete);
	tcase_add_test(tests, the_tray_opens_and_closes);
	tcase_add_test(tests, a_locked_tray_stays_shut);
	tcase_add_test(tests, events_are_polled_for);
	tcase_add_test(tests, an_open_tray_is_saved);
}
SUITE_MAIN("scsi-cdrom", add_tests)
