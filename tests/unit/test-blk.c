/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio/blk.c with a real image behind it: what drivers ask for, and what hostile ones try. */
#include "tests/unit/blk-driver.h"

#include "tests/unit/disk-tap.h"

static void setup(void)
{
	machine(",serial=LKVM-0123456789ABCDE");
}

static void setup_read_only(void)
{
	machine(",ro");
}

static void setup_direct(void)
{
	machine(",direct");
}

static void setup_through(void)
{
	machine(",cache=writethrough");
}

static void setup_unsafe(void)
{
	machine(",cache=unsafe");
}

/* ---- as drivers do ---- */

START_TEST(reads_writes_and_flushes_reach_the_file)
{
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 7, 4096, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_used_length(0, 0), 4097);
	for (unsigned int i = 0; i < 4096; i++)
		EXPECT_EQ(driver_peek(DATA + i), pattern_byte(7 * 512 + i));
	fill_data(0x5a, 1024);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_OUT, 100, 1024, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_used_length(0, 0), 1);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(file_byte(100 * 512), 0x5a);
	ck_assert_uint_eq(file_byte(102 * 512 - 1), 0x5a);
	ck_assert_uint_eq(file_byte(102 * 512), pattern_byte(102 * 512));
	ck_assert_uint_eq(file_byte(100 * 512 - 1), pattern_byte(100 * 512 - 1));
}
END_TEST

START_TEST(the_serial_number_is_the_option_s)
{
	char id[VIRTIO_BLK_ID_BYTES];

	ck_assert_uint_eq(ask(VIRTIO_BLK_T_GET_ID, 0, sizeof(id), true), VIRTIO_BLK_S_OK);
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(DATA), id, sizeof(id)), 0);
	ck_assert_mem_eq(id, "LKVM-0123456789ABCDE", sizeof(id));
	/* A short buffer gets what fits. */
	fill_data(UNTOUCHED, 16);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_GET_ID, 0, 4, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_peek(DATA + 3), 'M');
	ck_assert_uint_eq(driver_peek(DATA + 4), UNTOUCHED);
}
END_TEST

START_TEST(discard_and_write_zeroes_act_on_their_range_alone)
{
	ck_assert_uint_eq(ask_range(VIRTIO_BLK_T_WRITE_ZEROES, 16, 8, VIRTIO_BLK_WRITE_ZEROES_FLAG_UNMAP), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(ask_range(VIRTIO_BLK_T_WRITE_ZEROES, 32, 8, 0), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(ask_range(VIRTIO_BLK_T_DISCARD, 64, 64, 0), VIRTIO_BLK_S_OK);
	for (unsigned int i = 0; i < 8 * 512; i++) {
		ck_assert_uint_eq(file_byte(16 * 512 + i), 0);
		ck_assert_uint_eq(file_byte(32 * 512 + i), 0);
	}
	ck_assert_uint_eq(file_byte(24 * 512), pattern_byte(24 * 512));
	ck_assert_uint_eq(file_byte(63 * 512), pattern_byte(63 * 512));
	ck_assert_uint_eq(file_byte(128 * 512), pattern_byte(128 * 512));
}
END_TEST

/* More requests than the ring has room for, so that slots are used again and again. */
START_TEST(many_at_once_all_come_back_with_their_own_data)
{
	for (unsigned int round = 0; round < 8; round++) {
		for (uint16_t i = 0; i < 20; i++) {
			struct virtio_blk_outhdr header = { .type = htole32(VIRTIO_BLK_T_IN), .sector = htole64(round * 20 + i) };
			const struct driver_buffer buffers[] = {
				{ HEADER + 0x1000 + i * 16ULL, sizeof(header), false }, { DATA + i * 512ULL, 512, true },
				{ HEADER + 0x2000 + i, 1, true },
			};

			guest_poke(&driver_ram, buffers[0].address, &header, sizeof(header));
			driver_offer(0, (uint16_t)(i * 3), buffers, 3);
		}
		driver_finish(kvm, 0);
		for (unsigned int i = 0; i < 20; i++) {
			ck_assert_uint_eq(driver_peek(HEADER + 0x2000 + i), VIRTIO_BLK_S_OK);
			ck_assert_uint_eq(driver_peek(DATA + i * 512ULL + 9), pattern_byte((round * 20 + i) * 512ULL + 9));
		}
	}
}
END_TEST

START_TEST(headers_and_data_may_be_cut_anywhere)
{
	const struct driver_buffer buffers[] = {
		{ HEADER, 1, false }, { HEADER + 1, 14, false }, { HEADER + 15, 1, false },
		{ DATA, 1, true }, { DATA + 1, 510, true }, { DATA + 511, 512, true }, { DATA + 1023, 1, true }, { STATUS, 1, true },
	};

	put_header(VIRTIO_BLK_T_IN, 3);
	driver_offer(0, 0, buffers, ARRAY_SIZE(buffers));
	driver_finish(kvm, 0);
	ck_assert_uint_eq(driver_peek(STATUS), VIRTIO_BLK_S_OK);
	for (unsigned int i = 0; i < 1024; i++)
		EXPECT_EQ(driver_peek(DATA + i), pattern_byte(3 * 512 + i));
}
END_TEST

START_TEST(a_saved_disk_loads_as_it_was)
{
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	/* It ends with a load that is refused halfway, hence the new start. */
	board_save_load(kvm, "virtio-blk0");
	driver_start(0, 1);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 1, 512, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_peek(DATA), pattern_byte(512));
}
END_TEST

/* ---- as hostile ones do ---- */

static const struct { uint64_t sector; uint32_t length; } outside[] = {
	{ SECTORS, 512 }, { SECTORS - 1, 1024 }, { SECTORS + 1000, 512 }, { UINT64_MAX, 512 }, { UINT64_MAX / 512, 512 },
	{ UINT64_MAX / 512 + 1, 512 }, { 1ULL << 55, 512 }, { (1ULL << 55) - 1, 1024 }, { INT64_MAX, 512 },
};

START_TEST(past_the_end_is_an_error)
{
	fill_data(UNTOUCHED, 1024);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, outside[_i].sector, outside[_i].length, true), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(driver_peek(DATA), UNTOUCHED);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_OUT, outside[_i].sector, outside[_i].length, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(ask_range(VIRTIO_BLK_T_DISCARD, outside[_i].sector, outside[_i].length / 512, 0), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(ask_range(VIRTIO_BLK_T_WRITE_ZEROES, outside[_i].sector, outside[_i].length / 512, 0), VIRTIO_BLK_S_IOERR);
	/* and the device goes on */
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, SECTORS - 1, 512, true), VIRTIO_BLK_S_OK);
}
END_TEST

START_TEST(part_of_a_sector_is_an_error)
{
	static const uint32_t lengths[] = { 1, 511, 513, 1023, 4095 };

	fill_data(UNTOUCHED, 4096);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 0, lengths[_i], true), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(driver_peek(DATA), UNTOUCHED);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_OUT, 0, lengths[_i], false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(file_byte(0), pattern_byte(0));
}
END_TEST

START_TEST(requests_without_data_do_nothing)
{
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 0, 0, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_OUT, 0, 0, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(ask_range(VIRTIO_BLK_T_DISCARD, 5, 0, 0), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(file_byte(5 * 512), pattern_byte(5 * 512));
}
END_TEST

START_TEST(unknown_types_and_flags_are_unsupported)
{
	ck_assert_uint_eq(ask(3, 0, 512, true), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(ask(0xffffffff, 0, 512, false), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(ask_range(VIRTIO_BLK_T_DISCARD, 0, 8, 1), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(ask_range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 2), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_DISCARD, 0, 15, false), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_DISCARD, 0, 32, false), VIRTIO_BLK_S_UNSUPP);
	ck_assert_uint_eq(file_byte(0), pattern_byte(0));
}
END_TEST

static const struct { struct driver_buffer buffers[3]; unsigned int count; } shapeless[] = {
	/* no status; the status not writable; it lies in ROM; in a device's registers; nowhere */
	{ { { HEADER, 16, false } }, 1 },
	{ { { HEADER, 16, false }, { STATUS, 1, false } }, 2 },
	{ { { HEADER, 16, false }, { ROM_BASE, 1, true } }, 2 },
	{ { { HEADER, 16, false }, { IO_BASE, 1, true } }, 2 },
	{ { { HEADER, 16, false }, { NOWHERE, 1, true } }, 2 },
	/* a short header; a writable one; none; one that isn't memory */
	{ { { HEADER, 15, false }, { STATUS, 1, true } }, 2 },
	{ { { HEADER, 16, true }, { STATUS, 1, true } }, 2 },
	{ { { STATUS, 1, true } }, 1 },
	{ { { NOWHERE, 16, false }, { STATUS, 1, true } }, 2 },
	/* data outside memory, or across its end */
	{ { { HEADER, 16, false }, { NOWHERE, 512, true }, { STATUS, 1, true } }, 3 },
	{ { { HEADER, 16, false }, { RAM_END - 256, 512, true }, { STATUS, 1, true } }, 3 },
	{ { { HEADER, 16, false }, { UINT64_MAX - 100, 512, true }, { STATUS, 1, true } }, 3 },
};

START_TEST(a_request_without_shape_stops_the_device_until_reset)
{
	put_header(VIRTIO_BLK_T_IN, 0);
	driver_offer(0, 0, shapeless[_i].buffers, shapeless[_i].count);
	driver_kick(kvm, 0);
	ck_assert(driver_wait(kvm, driver_needs_reset));
	ck_assert_uint_gt(atomic_load(&driver_config_interrupts), 0);
	driver_start(0, 1);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 1, 512, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_peek(DATA), pattern_byte(512));
}
END_TEST

START_TEST(a_read_only_disk_stays_as_it_is)
{
	ck_assert(driven->features_offered & BIT(VIRTIO_BLK_F_RO));
	fill_data(0x77, 512);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_OUT, 0, 512, false), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(ask_range(VIRTIO_BLK_T_DISCARD, 0, 8, 0), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(ask_range(VIRTIO_BLK_T_WRITE_ZEROES, 0, 8, 0), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 0, 512, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_peek(DATA), pattern_byte(0));
	ck_assert_uint_eq(file_byte(0), pattern_byte(0));
}
END_TEST

/* With direct I/O, so that reads really are under way. */
START_TEST(nothing_is_written_to_the_guest_behind_a_reset)
{
	uint8_t seen;

	for (unsigned int round = 0; round < 20; round++) {
		for (uint16_t i = 0; i < 20; i++) {
			struct virtio_blk_outhdr header = { .type = htole32(VIRTIO_BLK_T_IN), .sector = htole64(i * 8) };
			const struct driver_buffer buffers[] = {
				{ HEADER + 0x1000 + i * 16ULL, sizeof(header), false }, { DATA + 1 + i * 4096ULL, 4096, true },
				{ HEADER + 0x2000 + i, 1, true },
			};

			guest_poke(&driver_ram, buffers[0].address, &header, sizeof(header));
			driver_offer(0, (uint16_t)(i * 3), buffers, 3);
		}
		driver_kick(kvm, 0);
		virtio_set_status(driven, 0);
		fill_data(UNTOUCHED, 20 * 4096 + 1);
		usleep(2000);
		for (unsigned int i = 0; i < 20 * 4096; i += 97) {
			seen = driver_peek(DATA + i);
			ck_assert_uint_eq(seen, UNTOUCHED);
		}
		driver_start(0, 1);
	}
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 2, 1024, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_peek(DATA), pattern_byte(1024));
}
END_TEST

/* ---- what reaches the medium ---- */

/* Writes, zeroes and discards, then a flush: how many waited for the medium. */
static void changes_wait(unsigned int fua, unsigned int flushes)
{
	tap_start(disks_get(kvm, 0));
	fill_data(0x5a, 1024);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_OUT, 200, 1024, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(ask_range(VIRTIO_BLK_T_WRITE_ZEROES, 16, 8, 0), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(ask_range(VIRTIO_BLK_T_DISCARD, 64, 64, 0), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(atomic_load(&tap_fua), fua);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, 200, 512, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	tap_expect(fua, flushes);
	ck_assert_uint_eq(file_byte(200 * 512), 0x5a);
	tap_stop(disks_get(kvm, 0));
}

static uint8_t read_wce(void)
{
	uint8_t wce = 0xff;

	virtio_config_read(driven, offsetof(struct virtio_blk_config, wce), &wce, 1);
	return wce;
}

static void write_wce(uint8_t wce)
{
	virtio_config_write(driven, offsetof(struct virtio_blk_config, wce), &wce, 1);
}

START_TEST(a_driver_chooses_whether_writes_wait_for_the_medium)
{
	ck_assert_uint_eq(read_wce(), 1);
	changes_wait(0, 1);
	write_wce(0);
	ck_assert_uint_eq(read_wce(), 0);
	changes_wait(3, 1);
	/* the choice is saved; whatever else is written there is yes or no */
	board_save_load(kvm, "virtio-blk0");
	driver_start(0, 1);
	ck_assert_uint_eq(read_wce(), 1);
	write_wce(0);
	write_wce(0xff);
	ck_assert_uint_eq(read_wce(), 1);
	changes_wait(0, 1);
}
END_TEST

START_TEST(a_driver_that_does_not_flush_has_its_writes_on_the_medium)
{
	driver_start(BIT(VIRTIO_BLK_F_FLUSH), 1);
	ck_assert_uint_eq(read_wce(), 0);
	changes_wait(3, 1);
	driver_start(BIT(VIRTIO_BLK_F_FLUSH) | BIT(VIRTIO_BLK_F_CONFIG_WCE), 1);
	write_wce(1);
	ck_assert_uint_eq(read_wce(), 0);
	changes_wait(3, 1);
	driver_start(BIT(VIRTIO_BLK_F_CONFIG_WCE), 1);
	changes_wait(0, 1);
}
END_TEST

START_TEST(write_through_is_for_drivers_that_do_not_choose_too)
{
	ck_assert_uint_eq(read_wce(), 0);
	changes_wait(3, 1);
	driver_start(BIT(VIRTIO_BLK_F_CONFIG_WCE), 1);
	changes_wait(3, 1);
	driver_start(0, 1);
	write_wce(1);
	changes_wait(0, 1);
}
END_TEST

START_TEST(unsafe_waits_for_nothing)
{
	changes_wait(0, 0);
	ck_assert_int_eq(disk_file_flush(disks_get(kvm, 0)->file), 0);
	ck_assert_uint_eq(atomic_load(&tap_flushes), 0);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "drivers", setup, teardown);
	TCase *hostile = suite_case(suite, "hostile", setup, teardown);
	TCase *read_only = suite_case(suite, "read-only", setup_read_only, teardown);
	TCase *direct = suite_case(suite, "direct", setup_direct, teardown);
	TCase *through = suite_case(suite, "write-through", setup_through, teardown);
	TCase *unsafe = suite_case(suite, "unsafe", setup_unsafe, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, reads_writes_and_flushes_reach_the_file);
	tcase_add_test(tests, the_serial_number_is_the_option_s);
	tcase_add_test(tests, discard_and_write_zeroes_act_on_their_range_alone);
	tcase_add_test(tests, many_at_once_all_come_back_with_their_own_data);
	tcase_add_test(tests, headers_and_data_may_be_cut_anywhere);
	tcase_add_test(tests, a_saved_disk_loads_as_it_was);
	tcase_add_loop_test(hostile, past_the_end_is_an_error, 0, (int)ARRAY_SIZE(outside));
	tcase_add_loop_test(hostile, part_of_a_sector_is_an_error, 0, 5);
	tcase_add_test(hostile, requests_without_data_do_nothing);
	tcase_add_test(hostile, unknown_types_and_flags_are_unsupported);
	tcase_add_loop_test(hostile, a_request_without_shape_stops_the_device_until_reset, 0, (int)ARRAY_SIZE(shapeless));
	tcase_add_test(read_only, a_read_only_disk_stays_as_it_is);
	tcase_add_test(tests, a_driver_chooses_whether_writes_wait_for_the_medium);
	tcase_add_test(tests, a_driver_that_does_not_flush_has_its_writes_on_the_medium);
	tcase_add_test(through, write_through_is_for_drivers_that_do_not_choose_too);
	tcase_add_test(unsafe, unsafe_waits_for_nothing);
	tcase_add_test(direct, reads_writes_and_flushes_reach_the_file);
	tcase_add_test(direct, headers_and_data_may_be_cut_anywhere);
	tcase_add_test(direct, nothing_is_written_to_the_guest_behind_a_reset);
}
SUITE_MAIN("blk", add_tests)
