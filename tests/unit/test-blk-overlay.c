/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/snapshot-sync.c and virtio-blk: a disk that goes on in another image while a guest uses it. */
#include "tests/unit/blk-driver.h"

#include "control/control-internal.h"

static char overlay[80];

static void setup(void)
{
	machine(",format=raw");
	snprintf(overlay, sizeof(overlay), "%s.over", image);
}

static void setup_overlay(void)
{
	machine(",snapshot=on");
	snprintf(overlay, sizeof(overlay), "%s.over", image);
}

static void setup_read_only(void)
{
	machine(",ro");
	snprintf(overlay, sizeof(overlay), "%s.over", image);
}

static void teardown_all(void)
{
	unlink(overlay);
	teardown();
}

static int go_over(const char *path)
{
	json_t *arguments = json_pack("{s:s,s:s}", "device", "disk0", "snapshot-file", path), *result = NULL;
	char *error = NULL;
	int status = qmp_command_run(kvm, qmp_command_find("blockdev-snapshot-sync"), arguments, &result, &error);

	ck_assert(!status == !error);
	free(error);
	json_decref(arguments);
	return status;
}

static uint8_t read_byte(uint64_t sector)
{
	fill_data(0xee, 512);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, sector, 512, true), VIRTIO_BLK_S_OK);
	return driver_peek(DATA);
}

static void write_byte(uint64_t sector, uint8_t with)
{
	fill_data(with, 512);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_OUT, sector, 512, false), VIRTIO_BLK_S_OK);
}

START_TEST(what_is_written_later_is_in_the_overlay_alone)
{
	write_byte(0, 0x31);

	ck_assert_int_eq(go_over(overlay), 0);

	write_byte(0, 0x32);
	write_byte(9, 0x33);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_FLUSH, 0, 0, false), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(read_byte(0), 0x32);
	ck_assert_uint_eq(read_byte(9), 0x33);
	ck_assert_uint_eq(read_byte(1), pattern_byte(512));
	ck_assert_uint_eq(file_byte(0), 0x31);
	ck_assert_uint_eq(file_byte(9 * 512), pattern_byte(9 * 512));
}
END_TEST

START_TEST(requests_under_way_are_done_before)
{
	for (uint16_t i = 0; i < 20; i++) {
		struct virtio_blk_outhdr header = { .type = htole32(VIRTIO_BLK_T_OUT), .sector = htole64(i * 8) };
		const struct driver_buffer buffers[] = {
			{ HEADER + 0x1000 + i * 16ULL, sizeof(header), false }, { DATA + i * 4096ULL, 4096, false },
			{ HEADER + 0x2000 + i, 1, true },
		};

		guest_poke(&driver_ram, buffers[0].address, &header, sizeof(header));
		guest_poke(&driver_ram, DATA + i * 4096ULL, &(uint8_t){ 0x41 }, 1);
		driver_offer(0, (uint16_t)(i * 3), buffers, 3);
	}
	driver_kick(kvm, 0);
	ck_assert_int_eq(go_over(overlay), 0);
	ck_assert(driver_wait(kvm, driver_all_used));
	for (unsigned int i = 0; i < 20; i++) {
		ck_assert_uint_eq(driver_peek(HEADER + 0x2000 + i), VIRTIO_BLK_S_OK);
		ck_assert_uint_eq(read_byte(i * 8), 0x41);
	}
}
END_TEST

START_TEST(a_refusal_leaves_the_disk_where_it_is)
{
	struct disk *disk = disks_get(kvm, 0);

	ck_assert_int_lt(go_over(image), 0);
	ck_assert_int_lt(go_over("/nowhere/at/all"), 0);

	ck_assert_ptr_eq(disks_get(kvm, 0), disk);
	write_byte(3, 0x51);
	ck_assert_uint_eq(read_byte(3), 0x51);
	ck_assert_uint_eq(file_byte(3 * 512), 0x51);
}
END_TEST

START_TEST(one_that_is_not_written_or_has_an_overlay_cannot)
{
	ck_assert_int_eq(go_over(overlay), -ENOTSUP);
	ck_assert_int_eq(access(overlay, F_OK), -1);
	ck_assert_uint_eq(read_byte(1), pattern_byte(512));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "raw", setup, teardown_all);
	TCase *read_only = suite_case(suite, "read-only", setup_read_only, teardown_all);
	TCase *over = suite_case(suite, "overlay", setup_overlay, teardown_all);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, what_is_written_later_is_in_the_overlay_alone);
	tcase_add_test(tests, requests_under_way_are_done_before);
	tcase_add_test(tests, a_refusal_leaves_the_disk_where_it_is);
	tcase_add_test(read_only, one_that_is_not_written_or_has_an_overlay_cannot);
	tcase_add_test(over, one_that_is_not_written_or_has_an_overlay_cannot);
}
SUITE_MAIN("blk-overlay", add_tests)
