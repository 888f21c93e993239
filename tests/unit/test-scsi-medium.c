/* SPDX-License-Identifier: BSD-2-Clause */
/* A CD-ROM drive's tray and disc, moved and changed by the host: control/medium.c, disk/medium.c, virtio/scsi-drive.c. */
#include "tests/unit/scsi-driver.h"

#include "control/control-internal.h"
#include "disk/engine.h"

#define OTHER_BLOCKS	300u

static char other[64];

static void setup(void)
{
	scsi_machine("");
	take_attentions();
	file_make(other, OTHER_BLOCKS * 2048);
}

static void setup_stop(void)
{
	setup();
	scsi_slot_of(scsi_bus_find(&controller()->bus, 1, 0))->owner.read_error = DISK_STOP;
}

static void teardown(void)
{
	scsi_teardown();
	unlink(other);
}

static struct answer ask_drive(struct bytes cdb, uint32_t in)
{
	return ask_at(1, 0, cdb, 0, in);
}

static struct scsi_unit_slot *drive(void)
{
	return scsi_slot_of(scsi_bus_find(&controller()->bus, 1, 0));
}

static uint8_t media_event(void)
{
	is_good(ask_drive(CDB(0x4a, 1, 0, 0, 0x10, 0, 0, BE16(8)), 8), 0);
	return data_byte(4);
}

/* Whether @command with @arguments (both with ' for ") is answered by something with @answer in it. */
static void qmp(const char *command, const char *arguments, const char *answer)
{
	struct qmp_session session = { .kvm = kvm, .negotiated = true };
	char text[400], *seen;

	snprintf(text, sizeof(text), "{'execute': '%s', 'arguments': {%s}}", command, arguments);
	for (char *at = text; *at; at++)
		*at = *at == '\'' ? '"' : *at;
	seen = qmp_handle(&session, text, strlen(text));
	ck_assert_msg(seen && strstr(seen, answer), "%s: expected %s, seen %s", text, answer, seen);
	free(seen);
}

static void qmp_change(const char *path, const char *more, const char *answer)
{
	char arguments[256];

	snprintf(arguments, sizeof(arguments), "'id': 'disk1', 'filename': '%s'%s", path, more);
	qmp("blockdev-change-medium", arguments, answer);
}

static void option_is(const char *path)
{
	char expected[128];

	snprintf(expected, sizeof(expected), "%s,cdrom", path);
	ck_assert_str_eq(config_item(kvm->config, "disk", 1), expected);
}

START_TEST(a_disc_is_taken_out_and_another_put_in)
{
	qmp("eject", "'device': 'disk1'", "return");
	option_is("");
	is_check(ask_drive(CDB(0x00), 0), 0x023a02);
	ck_assert_uint_eq(media_event(), 3);
	ck_assert_uint_eq(data_byte(5), 1);
	qmp("blockdev-close-tray", "'id': 'disk1'", "return");
	is_check(ask_drive(CDB(0x00), 0), 0x023a01);
	is_check(ask_drive(CDB(0x28, 0, BE32(0), 0, BE16(1)), 2048), 0x023a01);
	is_check(ask_drive(CDB(0x25), 8), 0x023a01);
	ck_assert_uint_eq(media_event(), 0);
	ck_assert_uint_eq(data_byte(5), 0);
	is_good(ask_drive(CDB(0x12, 0, 0, 0, 36), 36), 0);
	is_good(ask_drive(CDB(0x5a, 0, 0x3f, 0, 0, 0, 0, BE16(8)), 8), 0);
	is_good(ask_drive(CDB(0x46, 0, 0, 0, 0, 0, 0, BE16(8)), 8), 0);
	ck_assert_uint_eq(data_be(6, 2), 0);

	qmp_change(other, "", "return");
	option_is(other);
	ck_assert_uint_eq(media_event(), 2);
	ck_assert_uint_eq(data_byte(5), 2);
	is_check(ask_drive(CDB(0x00), 0), 0x062800);
	is_good(ask_drive(CDB(0x25), 8), 0);
	ck_assert_uint_eq(data_be(0, 4), OTHER_BLOCKS - 1);
	is_good(ask_drive(CDB(0x28, 0, BE32(OTHER_BLOCKS - 1), 0, BE16(1)), 2048), 0);
	ck_assert_uint_eq(data_byte(0), pattern_byte((OTHER_BLOCKS - 1) * 2048));
	is_check(ask_drive(CDB(0x28, 0, BE32(OTHER_BLOCKS), 0, BE16(1)), 2048), 0x052100);
}
END_TEST

START_TEST(clients_hear_of_the_tray_whoever_moves_it)
{
	ck_assert_uint_eq(drive()->tray_told, 0);
	is_good(ask_drive(CDB(0x1b, 0, 0, 0, 2), 0), 0);
	board_poll(kvm, 20);
	ck_assert_uint_eq(drive()->tray_told, 1);
	qmp("blockdev-open-tray", "'id': 'disk1'", "return");
	board_poll(kvm, 20);
	ck_assert_uint_eq(drive()->tray_told, 1);
	qmp("blockdev-close-tray", "'id': 'disk1'", "return");
	board_poll(kvm, 20);
	ck_assert_uint_eq(drive()->tray_told, 2);
	/* one that plays with it makes few of many */
	for (unsigned int i = 0; i < 101; i++) {
		is_good(ask_drive(CDB(0x03, 0, 0, 0, 18), 18), 0);
		is_good(ask_drive(CDB(0x1b, 0, 0, 0, i % 2 ? 3 : 2), 0), 0);
	}
	board_poll(kvm, 20);
	ck_assert_uint_eq(drive()->tray_told, 103);
	/* a reset shuts it */
	devices_reset(kvm);
	board_poll(kvm, 20);
	ck_assert_uint_eq(drive()->tray_told, 104);
}
END_TEST

START_TEST(a_guest_that_locks_its_tray_is_asked)
{
	uint32_t actual;

	ck_assert_uint_eq(notify_me(VIRTIO_SCSI_T_AN_SUBSCRIBE, 1, 0, 0x10, &actual), VIRTIO_SCSI_S_OK);
	offer_event(0);
	is_good(ask_drive(CDB(0x1e, 0, 0, 0, 1), 0), 0);
	qmp("eject", "'id': 'disk1'", "is locked and force was not specified");
	ck_assert(queue_all_used(1));
	ck_assert_uint_eq(le32toh(take_event(0).event), VIRTIO_SCSI_T_ASYNC_NOTIFY);
	ck_assert_uint_eq(media_event(), 1);
	qmp_change(other, "", "is locked and force was not specified");
	qmp("blockdev-open-tray", "'id': 'disk1'", "return");
	is_good(ask_drive(CDB(0x00), 0), 0);
	option_is(iso);
	ck_assert_uint_eq(media_event(), 1);
	qmp("blockdev-remove-medium", "'id': 'disk1'", "is not open");
	/* it lets go */
	is_good(ask_drive(CDB(0x1e, 0, 0, 0, 0), 0), 0);
	is_good(ask_drive(CDB(0x1b, 0, 0, 0, 2), 0), 0);
	qmp("blockdev-remove-medium", "'id': 'disk1'", "return");
	option_is("");
	is_good(ask_drive(CDB(0x1b, 0, 0, 0, 3), 0), 0);
	is_check(ask_drive(CDB(0x00), 0), 0x023a01);
}
END_TEST

START_TEST(force_opens_what_is_locked)
{
	is_good(ask_drive(CDB(0x1e, 0, 0, 0, 1), 0), 0);
	qmp("eject", "'id': 'disk1', 'force': true", "return");
	is_check(ask_drive(CDB(0x00), 0), 0x023a02);
	qmp_change(other, ", 'force': true", "return");
	is_check(ask_drive(CDB(0x00), 0), 0x062800);
	/* the lock went with the disc */
	qmp("eject", "'id': 'disk1'", "return");
}
END_TEST

static const struct { const char *command, *arguments, *answer; } wrong[] = {
	{ "eject", "'id': 'disk9'", "not found" }, { "eject", "'id': 'disk0'", "is not removable" },
	{ "eject", "'id': 'disk2'", "is not removable" }, { "eject", "'tray': 1", "tray" },
	{ "blockdev-change-medium", "'id': 'disk1'", "'filename' is missing" },
	{ "blockdev-change-medium", "'id': 'disk1', 'filename': ''", "'filename' is missing" },
	{ "blockdev-change-medium", "'id': 'disk1', 'filename': '/nowhere'", "Could not open" },
	{ "blockdev-change-medium", "'id': 'disk1', 'filename': '/dev/null'", "Could not open" },
	{ "blockdev-change-medium", "'id': 'disk1', 'filename': '/', 'format': 'raw'", "Could not open" },
	{ "blockdev-change-medium", "'id': 'disk1', 'filename': '/etc/passwd', 'format': 'qcow2'", "Could not open" },
	{ "blockdev-change-medium", "'id': 'disk1', 'filename': '/x', 'read-only-mode': 'read-write'", "discs aren't written" },
};

START_TEST(what_cannot_be_changes_nothing)
{
	qmp(wrong[_i].command, wrong[_i].arguments, wrong[_i].answer);
	option_is(iso);
	is_good(ask_drive(CDB(0x00), 0), 0);
	is_good(ask_drive(CDB(0x28, 0, BE32(5), 0, BE16(1)), 2048), 0);
	ck_assert_uint_eq(data_byte(0), pattern_byte(5 * 2048));
}
END_TEST

START_TEST(a_disc_that_is_too_small_leaves_the_tray_as_it_was)
{
	ck_assert_int_eq(truncate(other, 1024), 0);
	qmp_change(other, "", "can't take that medium");
	option_is(iso);
	is_check(ask_drive(CDB(0x00), 0), 0x062800);
	is_good(ask_drive(CDB(0x00), 0), 0);
}
END_TEST

START_TEST(the_only_drive_need_not_be_named)
{
	qmp("eject", "", "return");
	option_is("");
}
END_TEST

static void save_and_load(void)
{
	struct device *device = device_find(kvm, "virtio-scsi");
	struct state_writer writer = { 0 };
	struct state_reader reader;

	ck_assert_int_eq(device->ops->quiesce(device), 0);
	device->ops->save(device, &writer);
	device->ops->reset(device);
	ck_assert_uint_eq(drive()->unit.tray_open, 0);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(device->ops->load(device, &reader), 0);
	device->ops->resume(device);
	state_writer_free(&writer);
}

/* The options say what is in it; how the tray stands is the unit's. */
START_TEST(an_empty_drive_is_saved_and_loads)
{
	const struct scsi_unit *unit = &drive()->unit;

	is_good(ask_drive(CDB(0x1e, 0, 0, 0, 1), 0), 0);
	qmp("eject", "", "is locked");
	save_and_load();
	ck_assert_uint_eq(unit->tray_locked, 1);
	ck_assert_uint_eq(unit->media_event, 1);
	qmp("eject", "'force': true", "return");
	save_and_load();
	ck_assert_uint_eq(unit->tray_open, 1);
	ck_assert_uint_eq(unit->tray_locked, 0);
	ck_assert(disk_info(unit->disk)->no_medium);
	is_check(ask_drive(CDB(0x00), 0), 0x023a02);
	board_save_load(kvm, "virtio-scsi");
	board_load_hostile(kvm, "virtio-scsi", NULL);
}
END_TEST

START_TEST(discs_change_under_a_guest_that_reads)
{
	for (unsigned int round = 0; round < 20; round++) {
		for (unsigned int i = 0; i < 16; i++) {
			uint64_t header = DATA + 0x20000 + i * 0x200ULL;
			const struct driver_buffer buffers[] = {
				{ header, HEADER_SIZE, false }, { header + 0x100, RESPONSE_SIZE, true }, { DATA + i * 2048ULL, 2048, true },
			};
			uint8_t lun[8];

			lun_of(lun, 1, 0);
			put_header(header, lun, i, CDB(0x28, 0, BE32(i), 0, BE16(1)).data);
			driver_offer(2 + i % 2, (uint16_t)(i / 2 * 3), buffers, 3);
		}
		virtio_notify(driven, 2);
		virtio_notify(driven, 3);
		if (round % 3)
			qmp_change(round % 2 ? other : iso, ", 'force': true", "return");
		else
			qmp("eject", "'force': true", "return");
		queue_finish(2);
		queue_finish(3);
		for (unsigned int i = 0; i < 16; i++)
			ck_assert_uint_eq(take_answer(DATA + 0x20000 + i * 0x200ULL + 0x100).response, VIRTIO_SCSI_S_OK);
	}
}
END_TEST

static bool stands_still(void)
{
	return atomic_load(&kvm->state) == KVM_PAUSED;
}

/* What failed was of the old disc: the guest doesn't get the new one's bytes for it. */
START_TEST(a_bad_disc_is_changed_while_the_guest_stands_still)
{
	struct answer answer;
	uint8_t lun[8];

	ck_assert_int_eq(truncate(iso, 0), 0);
	lun_of(lun, 1, 0);
	memset(&answer, UNTOUCHED, sizeof(answer));
	guest_poke(&driver_ram, RESPONSE, &answer, sizeof(answer));
	put_header(HEADER, lun, 7, CDB(0x28, 0, BE32(8), 0, BE16(1)).data);
	driver_offer(2, 0, (const struct driver_buffer[]){ { HEADER, HEADER_SIZE, false }, { RESPONSE, RESPONSE_SIZE, true },
							   { DATA, 2048, true } }, 3);
	driver_kick(kvm, 2);
	ck_assert(driver_wait(kvm, stands_still));
	qmp_change(other, "", "return");
	ck_assert_uint_eq(take_answer(RESPONSE).response, UNTOUCHED);
	ck_assert_int_eq(kvm_user_resume(kvm), 0);
	queue_finish(2);
	is_check(take_answer(RESPONSE), 0x0b0000);
	is_check(ask_drive(CDB(0x00), 0), 0x062800);
	is_good(ask_drive(CDB(0x28, 0, BE32(8), 0, BE16(1)), 2048), 0);
	ck_assert_uint_eq(data_byte(1), pattern_byte(8 * 2048 + 1));
	ck_assert_int_eq(truncate(iso, ISO_BLOCKS * 2048), 0);
}
END_TEST

/* ---- a drive that begins empty ---- */

static void teardown_empty(void)
{
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	unlink(other);
	log_set_sink(NULL);
}

START_TEST(a_drive_may_begin_empty)
{
	log_set_sink(board_hush);
	file_make(other, OTHER_BLOCKS * 2048);
	kvm = driver_machine();
	ck_assert_int_eq(config_set(kvm->config, "disk", ",cdrom,serial=DRIVE"), 0);
	board_add(kvm, "disks_init");
	board_add(kvm, "scsi_init");
	driver_start(0, 3);
	is_check(ask_at(0, 0, CDB(0x00), 0, 0), 0x062900);
	is_check(ask_at(0, 0, CDB(0x00), 0, 0), 0x023a01);
	ck_assert_int_eq(disk_sync(disks_get(kvm, 0)), 0);
	ck_assert_ptr_eq(disks_find(kvm, "DRIVE"), disks_get(kvm, 0));
	qmp("block_resize", "'device': 'disk0', 'size': 1048576", "read-only");
	qmp("block_set_io_throttle", "'device': 'disk0', 'iops': 10", "return");
	qmp("eject", "", "return");
	qmp("blockdev-close-tray", "", "return");
	is_check(ask_at(0, 0, CDB(0x00), 0, 0), 0x023a01);
	{
		char arguments[128];

		snprintf(arguments, sizeof(arguments), "'id': 'DRIVE', 'filename': '%s'", other);
		qmp("blockdev-change-medium", arguments, "return");
	}
	is_check(ask_at(0, 0, CDB(0x00), 0, 0), 0x062800);
	is_good(ask_at(0, 0, CDB(0x28, 0, BE32(5), 0, BE16(1)), 0, 2048), 0);
	ck_assert_uint_eq(data_byte(0), pattern_byte(5 * 2048));
	ck_assert_ptr_eq(disks_find(kvm, "DRIVE"), disks_get(kvm, 0));
}
END_TEST

static const char *const bad_options[] = { "", ",if=scsi", ",ro", ",cdrom,snapshot=on", ",cdrom,overlay=x" };

START_TEST(only_a_drive_may_be_empty)
{
	struct board_pick pick = { .name = "disks_init" };

	log_set_sink(board_hush);
	kvm = driver_machine();
	ck_assert_int_eq(config_set(kvm->config, "disk", bad_options[_i]), 0);
	init_for_each(board_pick_item, &pick);
	ck_assert_int_eq(pick.item->init(kvm), -EUSAGE);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "medium", setup, teardown);
	TCase *stop = suite_case(suite, "stop", setup_stop, teardown);
	TCase *empty = suite_case(suite, "empty", NULL, teardown_empty);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, a_disc_is_taken_out_and_another_put_in);
	tcase_add_test(tests, clients_hear_of_the_tray_whoever_moves_it);
	tcase_add_test(tests, a_guest_that_locks_its_tray_is_asked);
	tcase_add_test(tests, force_opens_what_is_locked);
	tcase_add_loop_test(tests, what_cannot_be_changes_nothing, 0, (int)ARRAY_SIZE(wrong));
	tcase_add_test(tests, a_disc_that_is_too_small_leaves_the_tray_as_it_was);
	tcase_add_test(tests, the_only_drive_need_not_be_named);
	tcase_add_test(tests, an_empty_drive_is_saved_and_loads);
	tcase_add_test(tests, discs_change_under_a_guest_that_reads);
	tcase_add_test(stop, a_bad_disc_is_changed_while_the_guest_stands_still);
	tcase_add_test(empty, a_drive_may_begin_empty);
	tcase_add_loop_test(empty, only_a_drive_may_be_empty, 0, (int)ARRAY_SIZE(bad_options));
}
SUITE_MAIN("scsi-medium", add_tests)
