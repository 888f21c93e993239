/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-scsi and drivers that break the rules: ranges, lengths, shapes, and every byte of a CDB. */
#include "tests/unit/scsi-driver.h"

static void setup(void)
{
	scsi_machine("");
	take_attentions();
}

static void setup_direct(void)
{
	scsi_machine(",direct");
	take_attentions();
}

static const struct { uint64_t lba; uint32_t blocks; } outside[] = {
	{ SECTORS, 1 }, { SECTORS - 1, 2 }, { SECTORS + 1000, 1 }, { UINT64_MAX, 1 }, { UINT64_MAX, UINT32_MAX }, { 1, UINT32_MAX },
	{ UINT64_MAX / 512, 1 }, { UINT64_MAX / 512 + 1, 1 }, { 1ULL << 55, 1 }, { UINT64_MAX - 3, 8 }, { SECTORS + 1, 0 },
};

START_TEST(past_the_end_is_an_illegal_request)
{
	uint64_t lba = outside[_i].lba;
	uint32_t blocks = outside[_i].blocks;
	uint8_t list[] = { BE16(22), BE16(16), 0, 0, 0, 0, BE64(lba), BE32(blocks), 0, 0, 0, 0 };
	struct answer answer;

	fill_data(UNTOUCHED, 1024);
	is_check(ask(CDB(0x88, 0, BE64(lba), BE32(blocks)), 0, 1024), 0x052100);
	ck_assert_uint_eq(data_byte(0), UNTOUCHED);
	is_check(ask(CDB(0x8a, 0, BE64(lba), BE32(blocks)), 1024, 0), 0x052100);
	is_check(ask(CDB(0x8f, 0, BE64(lba), BE32(blocks)), 0, 0), 0x052100);
	is_check(ask(CDB(0x91, 0, BE64(lba), BE32(blocks)), 0, 0), 0x052100);
	answer = ask(CDB(0x93, 0, BE64(lba), BE32(blocks)), 512, 0);
	is_check(answer, blocks && blocks < 2097152 ? 0x052100 : 0x052400);
	put_data(list, sizeof(list));
	is_check(ask(CDB(0x42, 0, 0, 0, 0, 0, 0, BE16(sizeof(list))), sizeof(list), 0), blocks <= 2097152 ? 0x052100 : 0x052600);
	/* and the unit goes on */
	is_good(ask(CDB(0x88, 0, BE64(SECTORS - 1), BE32(1)), 0, 512), 0);
	ck_assert_uint_eq(data_byte(0), pattern_byte((SECTORS - 1) * 512));
}
END_TEST

START_TEST(a_transfer_longer_than_its_buffer_is_an_overrun)
{
	fill_data(UNTOUCHED, 1024);
	ck_assert_uint_eq(ask(CDB(0x28, 0, BE32(0), 0, BE16(2)), 0, 1023).response, VIRTIO_SCSI_S_OVERRUN);
	ck_assert_uint_eq(data_byte(0), UNTOUCHED);
	ck_assert_uint_eq(ask(CDB(0x28, 0, BE32(0), 0, BE16(2)), 1024, 0).response, VIRTIO_SCSI_S_OVERRUN);
	ck_assert_uint_eq(ask(CDB(0x2a, 0, BE32(0), 0, BE16(2)), 1023, 0).response, VIRTIO_SCSI_S_OVERRUN);
	ck_assert_uint_eq(ask(CDB(0x2a, 0, BE32(0), 0, BE16(2)), 0, 1024).response, VIRTIO_SCSI_S_OVERRUN);
	ck_assert_uint_eq(ask(CDB(0x88, 0, BE64(0), BE32(SECTORS)), 0, 512).response, VIRTIO_SCSI_S_OVERRUN);
	ck_assert_uint_eq(ask(CDB(0x12, 0, 0, BE16(36)), 0, 35).response, VIRTIO_SCSI_S_OVERRUN);
	ck_assert_uint_eq(ask(CDB(0x25), 0, 7).response, VIRTIO_SCSI_S_OVERRUN);
	ck_assert_uint_eq(ask(CDB(0x41, 0, BE32(0), 0, BE16(1)), 511, 0).response, VIRTIO_SCSI_S_OVERRUN);
	ck_assert_uint_eq(ask(CDB(0x42, 0, 0, 0, 0, 0, 0, BE16(24)), 7, 0).response, VIRTIO_SCSI_S_OVERRUN);
	ck_assert_uint_eq(file_byte(0), pattern_byte(0));
}
END_TEST

START_TEST(wrong_lists_of_unmap_are_refused_whole)
{
	static const uint8_t half[] = { BE16(22), BE16(15), 0, 0, 0, 0, BE64(0), BE32(8), 0, 0, 0, 0 };
	static const uint8_t longer[] = { BE16(38), BE16(32), 0, 0, 0, 0, BE64(0), BE32(8), 0, 0, 0, 0 };
	static const uint8_t second[] = { BE16(38), BE16(32), 0, 0, 0, 0, BE64(0), BE32(8), 0, 0, 0, 0, BE64(SECTORS), BE32(1), 0, 0, 0, 0 };
	uint8_t many[8 + 257 * 16] = { BE16(6 + 257 * 16), BE16(257 * 16) };

	put_data(half, sizeof(half));
	is_check(ask(CDB(0x42, 0, 0, 0, 0, 0, 0, BE16(24)), 24, 0), 0x051a00);
	put_data(longer, sizeof(longer));
	is_check(ask(CDB(0x42, 0, 0, 0, 0, 0, 0, BE16(24)), 24, 0), 0x051a00);
	put_data(second, sizeof(second));
	is_check(ask(CDB(0x42, 0, 0, 0, 0, 0, 0, BE16(40)), 40, 0), 0x052100);
	put_data(many, sizeof(many));
	is_check(ask(CDB(0x42, 0, 0, 0, 0, 0, 0, BE16(sizeof(many))), sizeof(many), 0), 0x052600);
	is_check(ask(CDB(0x42, 0, 0, 0, 0, 0, 0, BE16(7)), 8, 0), 0x051a00);
	is_check(ask(CDB(0x42, 1, 0, 0, 0, 0, 0, BE16(24)), 24, 0), 0x052400);
	ck_assert_uint_eq(file_byte(1), pattern_byte(1));
}
END_TEST

START_TEST(bits_that_ask_for_what_is_not_there_are_refused)
{
	static const uint8_t unknown[] = { 0x01, 0x04, 0x16, 0x17, 0x5e, 0x5f, 0x7f, 0xa3, 0xc1, 0xff };

	for (size_t i = 0; i < ARRAY_SIZE(unknown); i++)
		is_check(ask(CDB(unknown[i]), 0, 0), 0x052000);
	/* protection information, NACA, a WRITE SAME of nothing */
	is_check(ask(CDB(0x28, 0x20, BE32(0), 0, BE16(1)), 0, 512), 0x052400);
	is_check(ask(CDB(0x2a, 0x20, BE32(0), 0, BE16(1)), 512, 0), 0x052400);
	is_check(ask(CDB(0x00, 0, 0, 0, 0, 0x04), 0, 0), 0x052400);
	is_check(ask(CDB(0x28, 0, BE32(0), 0, BE16(1), 0x04), 0, 512), 0x052400);
	is_check(ask(CDB(0x41, 0, BE32(0), 0, BE16(0)), 512, 0), 0x052400);
	is_check(ask(CDB(0x41, 0x01, BE32(0), 0, BE16(1)), 512, 0), 0x052400);
	ck_assert_uint_eq(file_byte(0), pattern_byte(0));
}
END_TEST

#define HDR	{ HEADER, HEADER_SIZE, false }
#define RSP	{ RESPONSE, RESPONSE_SIZE, true }

static const struct { unsigned int queue; struct driver_buffer buffers[3]; unsigned int count; } shapeless[] = {
	/* no response, a short one, not writable, or none in RAM */
	{ 2, { HDR }, 1 },
	{ 2, { HDR, { RESPONSE, RESPONSE_SIZE - 1, true } }, 2 },
	{ 2, { HDR, { RESPONSE, RESPONSE_SIZE, false } }, 2 },
	{ 3, { HDR, { ROM_BASE, RESPONSE_SIZE, true } }, 2 },
	{ 3, { HDR, { NOWHERE, RESPONSE_SIZE, true } }, 2 },
	/* a short header; a writable one; none */
	{ 2, { { HEADER, HEADER_SIZE - 1, false }, RSP }, 2 },
	{ 2, { { HEADER, HEADER_SIZE, true }, RSP }, 2 },
	{ 2, { RSP }, 1 },
	{ 2, { { IO_BASE, HEADER_SIZE, false }, RSP }, 2 },
	/* data outside memory, or across its end */
	{ 2, { HDR, RSP, { NOWHERE, 512, true } }, 3 },
	{ 2, { HDR, RSP, { RAM_END - 256, 512, true } }, 3 },
	/* control: short ones, without a response, of an unknown type */
	{ 0, { { CONTROL, 3, false }, { RESPONSE, 8, true } }, 2 },
	{ 0, { { CONTROL, 23, false }, { RESPONSE, 8, true } }, 2 },
	{ 0, { { CONTROL, 24, false } }, 1 },
	{ 0, { { CONTROL + 24, 24, false }, { RESPONSE, 8, true } }, 2 },
	{ 0, { { CONTROL + 48, 16, false }, { RESPONSE, 4, true } }, 2 },
};

START_TEST(a_request_without_shape_stops_the_device_until_reset)
{
	static const uint32_t types[] = { 0, 0, 0, 0, 0, 0, 0xffffffff, 0, 0, 0, 0, 0, 1, 0, 0, 0 };
	uint8_t lun[8];

	lun_of(lun, 0, 0);
	put_header(HEADER, lun, 1, CDB(0x28, 0, BE32(0), 0, BE16(1)).data);
	guest_poke(&driver_ram, CONTROL, types, sizeof(types));
	driver_offer(shapeless[_i].queue, 0, shapeless[_i].buffers, shapeless[_i].count);
	driver_kick(kvm, shapeless[_i].queue);
	ck_assert(driver_wait(kvm, driver_needs_reset));
	driver_start(0, 4);
	take_attentions();
	is_good(ask(CDB(0x28, 0, BE32(1), 0, BE16(1)), 0, 512), 0);
	ck_assert_uint_eq(data_byte(0), pattern_byte(512));
}
END_TEST

START_TEST(an_event_buffer_that_is_too_small_stops_the_device)
{
	const struct driver_buffer buffer = { EVENTS, 15, true };

	event_loop_call(driven->loop, (void (*)(void *))(uintptr_t)scsi_unit_resized, scsi_bus_find(&controller()->bus, 0, 0));
	driver_offer(1, 0, &buffer, 1);
	driver_kick(kvm, 1);
	ck_assert(driver_wait(kvm, driver_needs_reset));
}
END_TEST

START_TEST(config_takes_only_what_it_can_use)
{
	static const uint32_t values[] = { 253, 1000, 65536, UINT32_MAX };
	struct virtio_scsi_config config;
	uint8_t junk[sizeof(config)];
	uint32_t value;

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		value = htole32(values[i]);
		virtio_config_write(driven, offsetof(struct virtio_scsi_config, sense_size), &value, 4);
		value = htole32(MAX(values[i], 261U));
		virtio_config_write(driven, offsetof(struct virtio_scsi_config, cdb_size), &value, 4);
	}
	memset(junk, 0xff, sizeof(junk));
	for (unsigned int offset = 0; offset < sizeof(config) + 4; offset++)
		for (unsigned int size = 1; size <= 8; size *= 2)
			virtio_config_write(driven, offset, junk, size);
	virtio_config_read(driven, 0, &config, sizeof(config));
	ck_assert_uint_eq(le32toh(config.sense_size), 96);
	ck_assert_uint_eq(le32toh(config.cdb_size), 32);
	ck_assert_uint_eq(le32toh(config.num_queues), 2);
	ck_assert_uint_eq(le16toh(config.max_target), 5);
	is_good(ask(CDB(0x28, 0, BE32(1), 0, BE16(1)), 0, 512), 0);
}
END_TEST

/* Whatever stands in a CDB, each request comes back, and the units go on; the sanitizers watch the rest. */
START_TEST(any_cdb_comes_to_an_end)
{
	uint64_t state = 20260101 + (unsigned int)_i;
	static const uint16_t places[][2] = { { 0, 0 }, { 1, 0 }, { 5, 3 }, { 5, 0 } };
	uint8_t data[256];

	for (unsigned int round = 0; round < 1500; round++) {
		struct bytes cdb;
		struct answer answer;
		uint32_t out, in;

		for (size_t i = 0; i < sizeof(data); i++) {
			state = state * 6364136223846793005ULL + 1442695040888963407ULL;
			data[i] = state >> 61 ? (uint8_t)(state >> 33) & 0x1f : (uint8_t)(state >> 33);
		}
		memcpy(cdb.data, data, 16);
		/* all of the operation codes, those with small fields more often */
		cdb.data[0] = (uint8_t)round;
		put_data(data, sizeof(data));
		out = data[16] & 1 ? data[17] * 8U : 0;
		in = data[16] & 2 ? data[18] * 16U : 0;
		answer = ask_at((uint8_t)places[round % 4][0], places[round % 4][1], cdb, out, in);
		ck_assert_uint_le(answer.response, VIRTIO_SCSI_S_OVERRUN);
		ck_assert(answer.status == SCSI_GOOD || answer.status == SCSI_CHECK_CONDITION || answer.response);
		ck_assert_uint_le(answer.written, RESPONSE_SIZE + in);
		ck_assert_uint_le(answer.resid, in + out);
	}
	driver_start(0, 4);
	take_attentions();
	is_good(ask(CDB(0x25), 0, 8), 0);
}
END_TEST

/* With direct I/O, so that reads really are under way. */
START_TEST(nothing_is_written_to_the_guest_behind_a_reset)
{
	for (unsigned int round = 0; round < 20; round++) {
		for (unsigned int i = 0; i < 16; i++) {
			uint64_t header = DATA + 0x20000 + i * 0x200ULL;
			const struct driver_buffer buffers[] = {
				{ header, HEADER_SIZE, false }, { header + 0x100, RESPONSE_SIZE, true }, { DATA + 1 + i * 4096ULL, 4096, true },
			};
			uint8_t lun[8];

			lun_of(lun, 0, 0);
			put_header(header, lun, i, CDB(0x28, 0, BE32(i * 8), 0, BE16(8)).data);
			driver_offer(2, (uint16_t)(i * 3), buffers, 3);
		}
		driver_kick(kvm, 2);
		virtio_set_status(driven, 0);
		fill_data(UNTOUCHED, 16 * 4096 + 1);
		usleep(2000);
		for (unsigned int i = 0; i < 16 * 4096; i += 97)
			ck_assert_uint_eq(data_byte(i), UNTOUCHED);
		driver_start(0, 4);
	}
	take_attentions();
	is_good(ask(CDB(0x28, 0, BE32(2), 0, BE16(2)), 0, 1024), 0);
	ck_assert_uint_eq(data_byte(0), pattern_byte(1024));
}
END_TEST

START_TEST(options_that_fit_nothing_are_refused)
{
	static const char *const texts[] = {
		"x,if=ide", "x,media=tape", "x,cdrom,if=virtio", "x,target=3", "x,if=scsi,lun=2", "x,if=scsi,target=256",
		"x,if=scsi,target=0,lun=16384", "x,if=scsi,target=", "x,cdrom=perhaps",
	};
	struct disk_options options;

	log_set_sink(board_hush);
	for (size_t i = 0; i < ARRAY_SIZE(texts); i++)
		ck_assert_int_lt(disk_options_parse(&options, texts[i]), 0);
	ck_assert_int_eq(disk_options_parse(&options, "x,media=cdrom"), 0);
	ck_assert(options.place.scsi && options.place.cdrom && options.read_only);
	ck_assert_str_eq(options.format, "raw");
	disk_options_free(&options);
	ck_assert_int_eq(disk_options_parse(&options, "x,if=scsi,target=7,lun=9"), 0);
	ck_assert(options.place.scsi && !options.place.cdrom && !options.read_only);
	ck_assert_int_eq(options.place.target, 7);
	ck_assert_int_eq(options.place.lun, 9);
	disk_options_free(&options);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "hostile", setup, scsi_teardown);
	TCase *direct = suite_case(suite, "direct", setup_direct, scsi_teardown);
	TCase *options = suite_case(suite, "options", NULL, NULL);

	virtio_transport_register(&driver_transport);
	tcase_add_loop_test(tests, past_the_end_is_an_illegal_request, 0, (int)ARRAY_SIZE(outside));
	tcase_add_test(tests, a_transfer_longer_than_its_buffer_is_an_overrun);
	tcase_add_test(tests, wrong_lists_of_unmap_are_refused_whole);
	tcase_add_test(tests, bits_that_ask_for_what_is_not_there_are_refused);
	tcase_add_loop_test(tests, a_request_without_shape_stops_the_device_until_reset, 0, (int)ARRAY_SIZE(shapeless));
	tcase_add_test(tests, an_event_buffer_that_is_too_small_stops_the_device);
	tcase_add_test(tests, config_takes_only_what_it_can_use);
	tcase_add_loop_test(tests, any_cdb_comes_to_an_end, 0, 4);
	tcase_add_test(direct, nothing_is_written_to_the_guest_behind_a_reset);
	tcase_add_test(options, options_that_fit_nothing_are_refused);
}
SUITE_MAIN("scsi-hostile", add_tests)
