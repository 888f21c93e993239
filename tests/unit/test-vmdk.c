/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/vmdk.c: QEMU's images are read, and each field of one of our own may lie. */
#include "tests/unit/suite.h"
#include "tests/unit/disk-command.h"

#define GRAIN	KIB(64)

static const char descriptor[] =
	"# Disk DescriptorFile\nversion=1\nCID=12345678\nparentCID=ffffffff\ncreateType=\"monolithicSparse\"\n\n"
	"# Extent description\nRW 8192 SPARSE \"b.vmdk\"\n\nddb.adapterType = \"ide\"\n";

static void put(uint64_t at, uint64_t value, size_t length)
{
	uint8_t raw[8];

	for (size_t i = 0; i < length; i++, value >>= 8)
		raw[i] = (uint8_t)value;
	file_poke("b.vmdk", at, raw, length);
}

/* 4 MiB: the first grain has data at sector 128, the second says that it is zero, all else is not there. */
static void make_image(void)
{
	uint8_t bytes[GRAIN];

	file_poke("b.vmdk", 0, "KDMV", 4);
	put(4, 1, 4);
	put(8, 3 | 4, 4);
	put(12, MIB(4) / 512, 8);
	put(20, GRAIN / 512, 8);
	put(28, 1, 8);
	put(36, 20, 8);
	put(44, 512, 4);
	put(56, 21, 8);
	put(64, 128, 8);
	file_poke("b.vmdk", 512, descriptor, sizeof(descriptor) - 1);
	put(21 * 512, 22, 4);
	put(22 * 512, 128, 4);
	put(22 * 512 + 4, 1, 4);
	put(22 * 512 + 511 * 4, 0, 4);
	memset(bytes, 'x', sizeof(bytes));
	file_poke("b.vmdk", GRAIN, bytes, sizeof(bytes));
	file_poke("a", 0, bytes, sizeof(bytes));
	ck_assert_int_eq(truncate("a", (off_t)MIB(4)), 0);
}

static const char *const qemu_options[] = {
	"subformat=monolithicSparse", "subformat=streamOptimized", "subformat=monolithicSparse,zeroed_grain=on",
};

START_TEST(what_qemu_img_made_is_read)
{
	if (!have_qemu_img())
		return;
	make_raw("a", MIB(70));
	ck_assert_int_eq(shell("qemu-img convert -f raw -O vmdk -o %s a b.vmdk", qemu_options[_i]), 0);
	lkvm_ok("disk compare --strict a b.vmdk");
	lkvm_ok("disk info b.vmdk");
	ck_assert_ptr_nonnull(strstr(output, "format: vmdk\n"));
	lkvm_ok("disk convert b.vmdk c");
	ck_assert_int_eq(shell("cmp a c"), 0);
	driver_open("b.vmdk,ro");
	ck_assert_int_eq(driver_run(DISK_READ, MIB(1), driver_said, 512), 0);
	ck_assert_int_eq(driver_run(DISK_WRITE, MIB(1), driver_said, 512), -EROFS);
}
END_TEST

START_TEST(our_own_image_is_read_as_it_was_made)
{
	make_image();
	lkvm_ok("disk compare --strict a b.vmdk");
	driver_refused("b.vmdk", "can be read only");
	lkvm_fails(LKVM_STATUS_USAGE, "can't be made", "disk create -f vmdk c 1G");
	if (have_qemu_img())
		ck_assert_int_eq(shell("qemu-img compare -q a b.vmdk"), 0);
}
END_TEST

static const struct {
	const char *because;
	uint64_t at, value;
	size_t length;
} lies[] = {
	{ "version 0", 4, 0, 4 }, { "version 4", 4, 4, 4 },
	{ "method 7", 8, 0x30007, 4 },
	{ "a disk of 0 sectors", 12, 0, 8 }, { "a disk of 18446744073709551615 sectors", 12, UINT64_MAX, 8 },
	{ "directory of", 12, BIT(50), 8 },
	{ "grains of 0", 20, 0, 8 }, { "grains of 100", 20, 100, 8 }, { "grains of 8192", 20, 8192, 8 }, { "grains of", 20, BIT(63), 8 },
	{ "one of several files", 28, 0, 8 }, { "descriptor of", 28, UINT64_MAX, 8 }, { "descriptor of", 28, 100000, 8 },
	{ "descriptor of 0", 36, 0, 8 }, { "descriptor of 129", 36, 129, 8 }, { "descriptor of", 36, UINT64_MAX, 8 },
	{ "doesn't say what it is", 28, 30, 8 },
	{ "tables of 0", 44, 0, 4 }, { "tables of 4294967295", 44, UINT32_MAX, 4 },
	{ "directory of", 56, 0, 8 }, { "directory of", 56, BIT(55), 8 }, { "directory of", 56, UINT64_MAX - 1, 8 },
	{ "no footer", 56, UINT64_MAX, 8 },
};

START_TEST(a_lie_is_refused)
{
	make_image();
	/* version 0 with compression as its method */
	if (!strcmp(lies[_i].because, "method 7"))
		put(77, 7, 2);
	put(lies[_i].at, lies[_i].value, lies[_i].length);
	driver_refused("b.vmdk,ro", lies[_i].because);
}
END_TEST

static const struct { const char *because, *old, *new; } texts[] = {
	{ "has a parent", "ffffffff", "12345679" },
	{ "of type 'twoGbMaxExtent'", "monolithicSparse", "twoGbMaxExtent\"\n" },
	{ "doesn't say", "createType", "nothing___" },
	{ "of 0 extents", "RW 8192", "XX 8192" },
	{ "of 2 extents", "\n# Extent desc", "\nRW 8192 SPAR" },
};

START_TEST(a_descriptor_of_something_else_is_refused)
{
	make_image();
	file_poke("b.vmdk", 512 + (uint64_t)(strstr(descriptor, texts[_i].old) - descriptor), texts[_i].new, strlen(texts[_i].new));
	driver_refused("b.vmdk,ro", texts[_i].because);
}
END_TEST

START_TEST(tables_and_grains_past_the_end_are_errors)
{
	uint8_t bytes[512];

	make_image();
	put(22 * 512 + 8, 0x7fffffff, 4);
	driver_open("b.vmdk,ro");
	ck_assert_int_eq(driver_run(DISK_READ, 2 * GRAIN, bytes, sizeof(bytes)), -EIO);
	ck_assert_int_eq(driver_run(DISK_READ, 0, bytes, sizeof(bytes)), 0);
	driver_close();
	put(21 * 512, 0xffffffff, 4);
	driver_open("b.vmdk,ro");
	ck_assert_int_eq(driver_run(DISK_READ, 0, bytes, sizeof(bytes)), -EIO);
}
END_TEST

START_TEST(a_compressed_grain_that_is_none_is_an_error)
{
	uint8_t bytes[512];

	make_image();
	put(8, 0x30003, 4);
	put(77, 1, 2);
	driver_open("b.vmdk,ro");
	/* 'x' as a length */
	ck_assert_int_eq(driver_run(DISK_READ, 0, bytes, sizeof(bytes)), -EIO);
	driver_close();
	put(GRAIN + 8, 1000, 4);
	driver_open("b.vmdk,ro");
	ck_assert_int_eq(driver_run(DISK_READ, 0, bytes, sizeof(bytes)), -EIO);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "vmdk", disk_driver_setup, disk_driver_teardown);

	tcase_add_loop_test(tests, what_qemu_img_made_is_read, 0, (int)ARRAY_SIZE(qemu_options));
	tcase_add_test(tests, our_own_image_is_read_as_it_was_made);
	tcase_add_loop_test(tests, a_lie_is_refused, 0, (int)ARRAY_SIZE(lies));
	tcase_add_loop_test(tests, a_descriptor_of_something_else_is_refused, 0, (int)ARRAY_SIZE(texts));
	tcase_add_test(tests, tables_and_grains_past_the_end_are_errors);
	tcase_add_test(tests, a_compressed_grain_that_is_none_is_an_error);
}

int main(void)
{
	if (!have_qemu_img())
		printf("SKIP vmdk: images of qemu-img, which isn't installed (scripts/deps test)\n");
	return suite_run("vmdk", add_tests);
}
