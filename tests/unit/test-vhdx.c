/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/vhdx.c: QEMU's images are read, and each field of one of our own may lie. */
#include "tests/unit/suite.h"
#include "tests/unit/disk-command.h"

/* Where what lies in our own image. */
enum { HEADERS = 65536, REGIONS = 3 * 65536, METADATA = 1 << 20, BLOCKS = 2 << 20, DATA = 3 << 20 };
enum { ITEM_PARAMETERS, ITEM_SIZE, ITEM_LOGICAL, ITEM_PHYSICAL, ITEMS };

static const char *const guids[] = {
	"\x37\x67\xa1\xca\x36\xfa\x43\x4d\xb3\xb6\x33\xf0\xaa\x44\xe7\x6b",
	"\x24\x42\xa5\x2f\x1b\xcd\x76\x48\xb2\x11\x5d\xbe\xd8\x3b\xf4\xb8",
	"\x1d\xbf\x41\x81\x6f\xa9\x09\x47\xba\x47\xf2\x33\xa8\xfa\xab\x5f",
	"\xc7\x48\xa3\xcd\x5d\x44\x71\x44\x9c\xc9\xe9\x88\x52\x51\xc5\x56",
};

static void put(uint64_t at, uint64_t value, size_t length)
{
	uint8_t raw[8];

	for (size_t i = 0; i < length; i++, value >>= 8)
		raw[i] = (uint8_t)value;
	file_poke("b.vhdx", at, raw, length);
}

static void put_checksum(uint64_t at, size_t length)
{
	uint8_t *bytes;
	uint32_t crc = UINT32_MAX;
	uint64_t size;

	put(at + 4, 0, 4);
	bytes = file_read("b.vhdx", &size);
	for (size_t i = 0; i < length; i++) {
		crc ^= bytes[at + i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	free(bytes);
	put(at + 4, ~crc, 4);
}

static void finish(void)
{
	put_checksum(HEADERS, 4096);
	put_checksum(2 * HEADERS, 4096);
	put_checksum(REGIONS, 65536);
}

/* 3 MiB in blocks of 1 MiB, of which the second is there. */
static void make_image(void)
{
	static uint8_t bytes[MIB(1)];

	ck_assert_int_eq(shell("truncate -s 4M b.vhdx"), 0);
	file_poke("b.vhdx", 0, "vhdxfile", 8);
	for (int i = 1; i <= 2; i++) {
		file_poke("b.vhdx", (uint64_t)i * HEADERS, "head", 4);
		put((uint64_t)i * HEADERS + 8, (uint64_t)i, 8);
		put((uint64_t)i * HEADERS + 66, 1, 2);
	}
	file_poke("b.vhdx", REGIONS, "regi", 4);
	put(REGIONS + 8, 2, 4);
	file_poke("b.vhdx", REGIONS + 16, "\x66\x77\xc2\x2d\x23\xf6\x00\x42\x9d\x64\x11\x5e\x9b\xfd\x4a\x08", 16);
	put(REGIONS + 32, BLOCKS, 8);
	put(REGIONS + 40, MIB(1), 4);
	put(REGIONS + 44, 1, 4);
	file_poke("b.vhdx", REGIONS + 48, "\x06\xa2\x7c\x8b\x90\x47\x9a\x4b\xb8\xfe\x57\x5f\x05\x0f\x88\x6e", 16);
	put(REGIONS + 64, METADATA, 8);
	put(REGIONS + 72, MIB(1), 4);
	put(REGIONS + 76, 1, 4);
	file_poke("b.vhdx", METADATA, "metadata", 8);
	put(METADATA + 10, ITEMS, 2);
	for (uint64_t i = 0; i < ITEMS; i++) {
		file_poke("b.vhdx", METADATA + 32 + i * 32, guids[i], 16);
		put(METADATA + 32 + i * 32 + 16, 65536 + 16 * i, 4);
		put(METADATA + 32 + i * 32 + 20, i < 2 ? 8 : 4, 4);
		put(METADATA + 32 + i * 32 + 24, 4, 4);
	}
	put(METADATA + 65536, MIB(1), 8);
	put(METADATA + 65536 + 16, MIB(3), 8);
	put(METADATA + 65536 + 32, 512, 4);
	put(METADATA + 65536 + 48, 4096, 4);
	put(BLOCKS + 8, DATA | 6, 8);
	memset(bytes, 'x', sizeof(bytes));
	file_poke("b.vhdx", DATA, bytes, sizeof(bytes));
	file_poke("a", MIB(1), bytes, sizeof(bytes));
	ck_assert_int_eq(truncate("a", (off_t)MIB(3)), 0);
	finish();
}

static const char *const qemu_options[] = { "subformat=dynamic", "subformat=fixed", "subformat=dynamic,block_size=1M" };

START_TEST(what_qemu_img_made_is_read)
{
	if (!have_qemu_img())
		return;
	make_raw("a", MIB(70));
	ck_assert_int_eq(shell("qemu-img convert -f raw -O vhdx -o %s a b.vhdx", qemu_options[_i]), 0);
	lkvm_ok("disk compare --strict a b.vhdx");
	lkvm_ok("disk convert b.vhdx c");
	ck_assert_int_eq(shell("cmp a c"), 0);
}
END_TEST

START_TEST(our_own_image_is_read_as_it_was_made)
{
	make_image();
	lkvm_ok("disk compare --strict a b.vhdx");
	driver_refused("b.vhdx", "can be read only");
	lkvm_fails(LKVM_STATUS_USAGE, "can't be made", "disk create -f vhdx c 1G");
	/* either header and either region table will do */
	put(HEADERS + 100, 1, 4);
	file_poke("b.vhdx", REGIONS, "none", 4);
	driver_refused("b.vhdx,ro", "region tables");
	file_poke("b.vhdx", REGIONS, "regi", 4);
	lkvm_ok("disk compare --strict a b.vhdx");
	put(2 * HEADERS + 100, 1, 4);
	driver_refused("b.vhdx,ro", "headers");
}
END_TEST

static const struct {
	const char *because;
	uint64_t at, value;
	size_t length;
} lies[] = {
	{ "version 2", 2 * HEADERS + 66, 2, 2 },
	{ "log must be replayed", 2 * HEADERS + 48, 1, 1 },
	{ "2048 regions", REGIONS + 8, 2048, 4 },
	{ "4294967295 regions", REGIONS + 8, UINT32_MAX, 4 },
	{ "without a table of blocks", REGIONS + 8, 0, 4 },
	{ "or without metadata", REGIONS + 8, 1, 4 },
	{ "region that is not known", REGIONS + 16, 0, 1 },
	{ "at 0, misaligned", REGIONS + 32, 0, 8 },
	{ "at 2097664, misaligned", REGIONS + 32, BLOCKS + 512, 8 },
	{ "past the end", REGIONS + 32, 0xfffffffffff00000, 8 },
	{ "past the end", REGIONS + 40, UINT32_MAX, 4 },
	{ "past the end", REGIONS + 64, MIB(4096), 8 },
	{ "without metadata", REGIONS + 72, 4096, 4 },
	{ "wrong signature", METADATA, 0, 1 },
	{ "2048 items", METADATA + 10, 2048, 2 },
	{ "metadata that are not known", METADATA + 32, 0, 1 },
	{ "outside of their region", METADATA + 32 + 16, 0, 4 },
	{ "outside of their region", METADATA + 32 + 16, UINT32_MAX, 4 },
	{ "outside of their region", METADATA + 32 + 20, 4, 4 },
	{ "blocks of 0 bytes", METADATA + 10, 0, 2 },
	{ "blocks of 524288 bytes", METADATA + 65536, KIB(512), 4 },
	{ "blocks of 3145728 bytes", METADATA + 65536, MIB(3), 4 },
	{ "blocks of 2147483648 bytes", METADATA + 65536, 1u << 31, 4 },
	{ "differencing", METADATA + 65536 + 4, 2, 4 },
	{ "a disk of 0 bytes", METADATA + 65536 + 16, 0, 8 },
	{ "a disk of 513 bytes", METADATA + 65536 + 16, 513, 8 },
	{ "64 TiB", METADATA + 65536 + 16, UINT64_MAX - 511, 8 },
	{ "its size needs", METADATA + 65536 + 16, BIT(40), 8 },
	{ "sectors of 1024", METADATA + 65536 + 32, 1024, 4 },
	{ "sectors of 0", METADATA + 65536 + 32, 0, 4 },
};

START_TEST(a_lie_is_refused)
{
	make_image();
	put(lies[_i].at, lies[_i].value, lies[_i].length);
	finish();
	driver_refused("b.vhdx,ro", lies[_i].because);
}
END_TEST

static const uint64_t entries[] = { 4, 5, 7, DATA | 7, 6, UINT64_MAX, MIB(5) | 6, BIT(63) | 6 };

START_TEST(a_block_that_cannot_be_is_an_error)
{
	uint8_t bytes[512];

	make_image();
	put(BLOCKS, entries[_i], 8);
	driver_open("b.vhdx,ro");
	ck_assert_int_eq(driver_run(DISK_READ, 0, bytes, sizeof(bytes)), -EIO);
	ck_assert_int_eq(driver_run(DISK_READ, MIB(1), bytes, sizeof(bytes)), 0);
	ck_assert_int_eq(bytes[0], 'x');
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "vhdx", disk_driver_setup, disk_driver_teardown);

	tcase_add_loop_test(tests, what_qemu_img_made_is_read, 0, (int)ARRAY_SIZE(qemu_options));
	tcase_add_test(tests, our_own_image_is_read_as_it_was_made);
	tcase_add_loop_test(tests, a_lie_is_refused, 0, (int)ARRAY_SIZE(lies));
	tcase_add_loop_test(tests, a_block_that_cannot_be_is_an_error, 0, (int)ARRAY_SIZE(entries));
}

int main(void)
{
	if (!have_qemu_img())
		printf("SKIP vhdx: images of qemu-img, which isn't installed (scripts/deps test)\n");
	return suite_run("vhdx", add_tests);
}
