/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/vhd*.c: images are what QEMU's are, both ways; each field of footer, header and table may lie. */
#include "tests/unit/suite.h"
#include "tests/unit/disk-command.h"

#include "disk/vhd.h"

#define SIZE	MIB(21)

static const char *const subformats[] = { "dynamic", "fixed" };

static void make_image(const char *subformat)
{
	make_raw("a", SIZE);
	lkvm_ok("disk convert -o subformat=%s a b.vhd", subformat);
}

/* ---- what they are for ---- */

START_TEST(a_disk_is_the_same_in_a_vhd_image)
{
	make_image(subformats[_i]);
	lkvm_ok("disk compare --strict -F vhd a b.vhd");
	lkvm_ok("disk convert -f vpc b.vhd c");
	ck_assert_int_eq(shell("cmp a c"), 0);
	ck_assert_uint_lt(file_allocated("b.vhd"), MIB(7));
	if (have_qemu_img())
		ck_assert_int_eq(shell("qemu-img compare -q -f raw -F vpc a b.vhd"), 0);
}
END_TEST

START_TEST(what_qemu_img_made_is_read_and_written)
{
	uint8_t bytes[8192];

	if (!have_qemu_img())
		return;
	make_raw("a", SIZE);
	ck_assert_int_eq(shell("qemu-img convert -f raw -O vpc -o force_size=on,subformat=%s a b.vhd", subformats[_i]), 0);
	lkvm_ok("disk compare --strict -F vhd a b.vhd");
	memset(bytes, 'x', sizeof(bytes));
	driver_open("b.vhd,format=vhd");
	ck_assert_int_eq(driver_run(DISK_WRITE, MIB(4) - 4096, bytes, sizeof(bytes)), 0);
	ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
	driver_close();
	file_poke("a", MIB(4) - 4096, bytes, sizeof(bytes));
	ck_assert_int_eq(shell("qemu-img compare -q -f raw -F vpc a b.vhd"), 0);
}
END_TEST

START_TEST(random_writes_are_all_there)
{
	static uint8_t bytes[65536];
	uint64_t state = (uint64_t)_i + 5;

	make_image(subformats[_i]);
	driver_open("b.vhd,format=vhd");
	for (int i = 0; i < 60; i++) {
		uint64_t offset = random_next(&state) % (SIZE / 512) * 512, length = MIN(SIZE - offset, (random_next(&state) % 128 + 1) * 512ULL);
		bool zero = random_next(&state) % 4 == 0;

		memset(bytes, zero ? 0 : (int)random_next(&state), sizeof(bytes));
		ck_assert_int_eq(driver_run(zero ? DISK_WRITE_ZEROES : DISK_WRITE, offset, zero ? NULL : bytes, length), 0);
		file_poke("a", offset, bytes, length);
	}
	driver_close();
	lkvm_ok("disk compare --strict -F vhd a b.vhd");
	if (have_qemu_img())
		ck_assert_int_eq(shell("qemu-img compare -q -f raw -F vpc a b.vhd"), 0);
}
END_TEST

START_TEST(a_sector_that_was_never_written_is_zero)
{
	uint8_t entry[4];
	FILE *file;

	make_image("dynamic");
	file = fopen("b.vhd", "r");
	ck_assert_int_eq(fseek(file, 1536, SEEK_SET), 0);
	ck_assert_uint_eq(fread(entry, 4, 1, file), 1);
	fclose(file);
	/* the second sector of the first block */
	file_poke("b.vhd", be32_load(entry) * 512ULL, "\xbf", 1);
	file_poke("a", 512, (uint8_t[512]){ 0 }, 512);
	lkvm_ok("disk compare -F vhd a b.vhd");
	driver_open("b.vhd");
	ck_assert_int_eq(driver_run(DISK_WRITE, 512, memset(driver_said, 'x', 512), 512), 0);
	driver_close();
	file_poke("a", 512, driver_said, 512);
	lkvm_ok("disk compare -F vhd a b.vhd");
}
END_TEST

/* ---- what lies ---- */

/* Puts a number of @length bytes into the footer (at both its places), or into the header; with a checksum that fits. */
static void put_field(bool header, size_t at, uint64_t value, size_t length)
{
	uint64_t size = file_size("b.vhd");
	uint8_t *bytes = file_read("b.vhd", &size), *block = bytes + (header ? 512 : size - 512);
	size_t block_length = header ? 1024 : 512, checksum = header ? 36 : 64;

	for (size_t i = length; i--; value >>= 8)
		block[at + i] = (uint8_t)value;
	be32_store(block + checksum, vhd_checksum(block, block_length, checksum));
	file_poke("b.vhd", (uint64_t)(block - bytes), block, block_length);
	if (!header && !memcmp(bytes, "conectix", 8))
		file_poke("b.vhd", 0, block, block_length);
	free(bytes);
}

static const struct {
	const char *because;
	size_t at, length;
	uint64_t value;
	bool header;
} lies[] = {
	{ "version 2 is not known", 12, 4, 0x20000, false },
	{ "differencing", 60, 4, 4, false },
	{ "disk type 0", 60, 4, 0, false },
	{ "disk type 7", 60, 4, 7, false },
	{ "a disk of 0 bytes", 48, 8, 0, false },
	{ "a disk of 513 bytes", 48, 8, 513, false },
	{ "2040 GiB", 48, 8, UINT64_MAX - 511, false },
	{ "its table has", 48, 8, GIB(2040), false },
	{ "past the end", 16, 8, UINT64_MAX, false },
	{ "past the end", 16, 8, 0, false },
	{ "past the end", 16, 8, MIB(512), false },
	{ "cookie or checksum", 16, 8, 1024, false },
	{ "cookie or checksum", 0, 1, 'x', true },
	{ "header version 3", 24, 4, 0x30000, true },
	{ "blocks of 0 bytes", 32, 4, 0, true },
	{ "blocks of 3000000 bytes", 32, 4, 3000000, true },
	{ "blocks of 256 bytes", 32, 4, 256, true },
	{ "blocks of 2147483648 bytes", 32, 4, 1u << 31, true },
	{ "its table has", 32, 4, 512, true },
	{ "its table has 1 blocks", 28, 4, 1, true },
	{ "its table lies at 0", 16, 8, 0, true },
	{ "its table lies at", 16, 8, UINT64_MAX - 3, true },
	{ "its table lies at", 16, 8, MIB(600), true },
};

START_TEST(a_lie_is_refused_and_nothing_written)
{
	uint8_t *before, *after;
	uint64_t size, size_after;

	make_image("dynamic");
	put_field(lies[_i].header, lies[_i].at, lies[_i].value, lies[_i].length);
	before = file_read("b.vhd", &size);
	driver_refused("b.vhd", lies[_i].because);
	driver_refused("b.vhd,ro", lies[_i].because);
	after = file_read("b.vhd", &size_after);
	ck_assert_uint_eq(size, size_after);
	ck_assert_mem_eq(before, after, size);
	free(before);
	free(after);
}
END_TEST

static const uint32_t places[] = { 0, 2, 3, 0x7fffffff, 0xfffffffe };

START_TEST(a_block_that_lies_elsewhere_is_an_error)
{
	uint8_t bytes[512] = "", entry[4];

	make_image("dynamic");
	be32_store(entry, places[_i]);
	file_poke("b.vhd", 1536, entry, 4);
	driver_open("b.vhd");
	ck_assert_int_eq(driver_run(DISK_READ, 0, bytes, sizeof(bytes)), -EIO);
	ck_assert_int_eq(driver_run(DISK_WRITE, 0, memset(bytes, 1, sizeof(bytes)), sizeof(bytes)), -EIO);
	ck_assert_int_eq(driver_run(DISK_READ, MIB(20), bytes, sizeof(bytes)), 0);
}
END_TEST

START_TEST(a_footer_that_is_cut_off_leaves_the_copy_to_read)
{
	make_image("dynamic");
	ck_assert_int_eq(truncate("b.vhd", (off_t)file_size("b.vhd") - 512), 0);
	driver_refused("b.vhd", "damaged or cut off");
	lkvm_ok("disk compare -F vhd a b.vhd");
	ck_assert_int_eq(truncate("b.vhd", 600), 0);
	driver_refused("b.vhd,ro", "past the end of the file");
	ck_assert_int_eq(truncate("b.vhd", 100), 0);
	driver_refused("b.vhd,ro", "shorter than a footer");
	make_raw("c", MIB(1));
	driver_refused("c,ro,format=vhd", "not a VHD image");
}
END_TEST

START_TEST(what_cannot_be_made_is_refused)
{
	lkvm_fails(LKVM_STATUS_ERROR, "2040 GiB at most", "disk create new.vhd 3T");
	lkvm_fails(LKVM_STATUS_USAGE, "a size and a subformat", "disk create -f vhd --cluster-size 4096 new 1G");
	lkvm_fails(LKVM_STATUS_USAGE, "subformat 'thin' is not known", "disk create -f vhd -o subformat=thin new 1G");
	lkvm_fails(LKVM_STATUS_USAGE, "has no subformat", "disk create -f qcow2 -o subformat=fixed new 1G");
	lkvm_fails(LKVM_STATUS_USAGE, "only a size", "disk create -f raw -o subformat=fixed new 1G");
	ck_assert_uint_eq(files_in_folder(), 0);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "vhd", disk_driver_setup, disk_driver_teardown);

	tcase_add_loop_test(tests, a_disk_is_the_same_in_a_vhd_image, 0, 2);
	tcase_add_loop_test(tests, what_qemu_img_made_is_read_and_written, 0, 2);
	tcase_add_loop_test(tests, random_writes_are_all_there, 0, 2);
	tcase_add_test(tests, a_sector_that_was_never_written_is_zero);
	tcase_add_loop_test(tests, a_lie_is_refused_and_nothing_written, 0, (int)ARRAY_SIZE(lies));
	tcase_add_loop_test(tests, a_block_that_lies_elsewhere_is_an_error, 0, (int)ARRAY_SIZE(places));
	tcase_add_test(tests, a_footer_that_is_cut_off_leaves_the_copy_to_read);
	tcase_add_test(tests, what_cannot_be_made_is_refused);
}

int main(void)
{
	if (!have_qemu_img())
		printf("SKIP vhd: comparisons with qemu-img, which isn't installed (scripts/deps test)\n");
	return suite_run("vhd", add_tests);
}
