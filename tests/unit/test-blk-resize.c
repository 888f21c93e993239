/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/resize.c and virtio-blk: a disk that grows while a guest uses it. */
#include "tests/unit/blk-driver.h"

#define MORE	(SECTORS + 2048)

static void setup(void)
{
	machine("");
}

static void setup_overlay(void)
{
	machine(",snapshot=on");
}

static void setup_read_only(void)
{
	machine(",ro");
}

/* The image is made what teardown() expects again. */
static void teardown_grown(void)
{
	ck_assert_int_eq(truncate(image, SECTORS * 512), 0);
	teardown();
}

static uint64_t capacity(void)
{
	uint64_t value;

	virtio_config_read(driven, 0, &value, sizeof(value));
	return le64toh(value);
}

static void grows(void)
{
	struct disk *disk = disks_find(kvm, "virtio-blk0");
	unsigned int told = atomic_load(&driver_config_interrupts);
	uint32_t generation = atomic_load(&driven->config_generation);

	ck_assert_ptr_eq(disk, disks_get(kvm, 0));
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, MORE - 8, 512, true), VIRTIO_BLK_S_IOERR);
	ck_assert_uint_eq(capacity(), SECTORS);
	ck_assert_int_eq(disk_grow(disk, MORE * 512), 0);
	ck_assert_uint_eq(capacity(), MORE);
	ck_assert_uint_eq(atomic_load(&driver_config_interrupts), told + 1);
	ck_assert_uint_ne(atomic_load(&driven->config_generation), generation);

	fill_data(0x71, 4096);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_OUT, MORE - 8, 4096, false), VIRTIO_BLK_S_OK);
	fill_data(0, 4096);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, MORE - 8, 4096, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_peek(DATA + 4095), 0x71);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, SECTORS - 1, 1024, true), VIRTIO_BLK_S_OK);
	ck_assert_uint_eq(driver_peek(DATA), pattern_byte((SECTORS - 1) * 512));
	ck_assert_uint_eq(driver_peek(DATA + 512), 0);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, MORE, 512, true), VIRTIO_BLK_S_IOERR);
}

START_TEST(a_disk_grows_under_its_guest)
{
	grows();
}
END_TEST

/* While requests are under way, and more come. */
START_TEST(a_busy_disk_grows)
{
	for (unsigned int round = 0; round < 20; round++) {
		for (uint16_t i = 0; i < 20; i++) {
			struct virtio_blk_outhdr header = { .type = htole32(VIRTIO_BLK_T_OUT), .sector = htole64(i * 8) };
			const struct driver_buffer buffers[] = {
				{ HEADER + 0x1000 + i * 16ULL, sizeof(header), false }, { DATA + i * 4096ULL, 4096, false },
				{ HEADER + 0x2000 + i, 1, true },
			};

			guest_poke(&driver_ram, buffers[0].address, &header, sizeof(header));
			driver_offer(0, (uint16_t)(i * 3), buffers, 3);
		}
		atomic_store(&driver_interrupts, 0);
		driver_kick(kvm, 0);
		ck_assert_int_eq(disk_grow(disks_get(kvm, 0), (SECTORS + 8 * (round + 1)) * 512), 0);
		ck_assert(driver_wait(kvm, driver_all_used));
		for (unsigned int i = 0; i < 20; i++)
			ck_assert_uint_eq(driver_peek(HEADER + 0x2000 + i), VIRTIO_BLK_S_OK);
	}
	ck_assert_uint_eq(capacity(), SECTORS + 160);
}
END_TEST

static const uint64_t bad_sizes[] = { 0, SECTORS * 512 - 512, SECTORS * 512 + 1, UINT64_MAX, UINT64_MAX - 511, 512 };

START_TEST(a_size_that_cannot_be_changes_nothing)
{
	unsigned int told = atomic_load(&driver_config_interrupts);

	ck_assert_int_eq(disk_grow(disks_get(kvm, 0), bad_sizes[_i]), -EUSAGE);
	ck_assert_uint_eq(capacity(), SECTORS);
	ck_assert_uint_eq(atomic_load(&driver_config_interrupts), told);
	ck_assert_uint_eq(ask(VIRTIO_BLK_T_IN, SECTORS - 1, 512, true), VIRTIO_BLK_S_OK);
}
END_TEST

START_TEST(the_size_that_it_has_is_no_news)
{
	unsigned int told = atomic_load(&driver_config_interrupts);

	ck_assert_int_eq(disk_grow(disks_get(kvm, 0), SECTORS * 512), 0);
	ck_assert_uint_eq(atomic_load(&driver_config_interrupts), told);
}
END_TEST

START_TEST(a_read_only_disk_stays_as_large_as_it_is)
{
	ck_assert_int_eq(disk_grow(disks_get(kvm, 0), MORE * 512), -EROFS);
	ck_assert_uint_eq(capacity(), SECTORS);
}
END_TEST

START_TEST(a_disk_is_found_by_its_device)
{
	ck_assert_ptr_null(disks_find(kvm, "virtio-blk1"));
	ck_assert_ptr_null(disks_find(kvm, ""));
	ck_assert_ptr_eq(disks_find(kvm, "virtio-blk0"), disks_get(kvm, 0));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "raw", setup, teardown_grown);
	TCase *overlay = suite_case(suite, "qcow2", setup_overlay, teardown);
	TCase *read_only = suite_case(suite, "read-only", setup_read_only, teardown);

	virtio_transport_register(&driver_transport);
	tcase_add_test(tests, a_disk_grows_under_its_guest);
	tcase_add_test(tests, a_busy_disk_grows);
	tcase_add_loop_test(tests, a_size_that_cannot_be_changes_nothing, 0, (int)ARRAY_SIZE(bad_sizes));
	tcase_add_test(tests, the_size_that_it_has_is_no_news);
	tcase_add_test(tests, a_disk_is_found_by_its_device);
	tcase_add_test(overlay, a_disk_grows_under_its_guest);
	tcase_add_test(overlay, a_busy_disk_grows);
	tcase_add_test(read_only, a_read_only_disk_stays_as_large_as_it_is);
}
SUITE_MAIN("blk-resize", add_tests)
