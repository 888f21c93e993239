/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests arm64/image.c: what files are, hostile ones among them, and how they are unpacked. */
#include "tests/unit/suite.h"

#include <stdio.h>
#include <string.h>
#include <zlib.h>

#include "../../../arm64/image.h"
#include "kvm/log.h"

#define RAM_BASE	0x80000000ULL
#define RAM_SIZE	MIB(4)

static char path[] = "/tmp/lkvm-test-image";
static char last_line[512];
static uint8_t data[KIB(512)];
static struct boot_file file;
static struct image image;

static void keep_line(enum log_level level, const char *line)
{
	(void)level;
	snprintf(last_line, sizeof(last_line), "%s", line);
}

static void setup(void)
{
	log_set_sink(keep_line);
	last_line[0] = '\0';
	memset(data, 0, sizeof(data));
}

static void teardown(void)
{
	boot_file_close(&file);
	unlink(path);
	log_set_sink(NULL);
}

static void put32(uint8_t *at, uint32_t value)
{
	for (unsigned int i = 0; i < 4; i++)
		at[i] = value >> 8 * i & 0xff;
}

static void put64(uint8_t *at, uint64_t value)
{
	put32(at, (uint32_t)value);
	put32(at + 4, (uint32_t)(value >> 32));
}

/* An Image whose bytes past the header count up. */
static void make_image(uint8_t *at, size_t length, uint64_t text_offset, uint64_t size)
{
	for (size_t i = 0; i < length; i++)
		at[i] = i * 7 & 0xff;
	put64(at + 8, text_offset);
	put64(at + 16, size);
	memcpy(at + 56, "ARM\x64", 4);
}

static void write_file(const void *bytes, size_t length)
{
	FILE *out = fopen(path, "w");

	ck_assert_ptr_nonnull(out);
	ck_assert_uint_eq(fwrite(bytes, 1, length, out), length);
	fclose(out);
	boot_file_close(&file);
	ck_assert_int_eq(boot_file_open(&file, "kernel", path), 0);
}

static size_t pack(const uint8_t *from, size_t length, uint8_t *to, size_t room)
{
	z_stream stream = {
		.next_in = (uint8_t *)from, .avail_in = length, .next_out = to, .avail_out = room
	};

	ck_assert_int_eq(
		deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
	deflateEnd(&stream);
	return stream.total_out;
}

static int identify(void)
{
	return image_identify(&file, false, &image);
}

static void assert_refused(const char *word)
{
	ck_assert_int_eq(identify(), -EINVAL);
	ck_assert_msg(strstr(last_line, word) != NULL, "no '%s' in: %s", word, last_line);
	ck_assert_msg(strstr(last_line, path) != NULL, "the file is not named: %s", last_line);
}

START_TEST(raw_image_is_known_with_its_offset_and_size)
{
	make_image(data, 4096, 0x10000, 0x123000);
	write_file(data, 4096);

	ck_assert_int_eq(identify(), 1);

	ck_assert_int_eq(image.kind, IMAGE_ARM64);
	ck_assert(!image.packed);
	ck_assert_uint_eq(image.text_offset, 0x10000);
	ck_assert_uint_eq(image.size, 0x123000);
	ck_assert_uint_eq(image.length, 4096);
}
END_TEST

START_TEST(image_without_a_size_goes_to_the_old_offset)
{
	make_image(data, 4096, 0x1234567, 0);
	write_file(data, 4096);

	ck_assert_int_eq(identify(), 1);

	ck_assert_uint_eq(image.text_offset, 0x80000);
	ck_assert_uint_eq(image.size, 0);
}
END_TEST

START_TEST(gzipped_image_is_known_by_what_is_packed)
{
	size_t length;

	make_image(data, 100000, 0, 0x200000);
	length = pack(data, 100000, data + 200000, 200000);
	write_file(data + 200000, length);

	ck_assert_int_eq(identify(), 1);

	ck_assert(image.packed);
	ck_assert_uint_eq(image.size, 0x200000);
}
END_TEST

START_TEST(gzipped_something_else_is_refused)
{
	size_t length = pack(data, 4096, data + 8192, 4096);

	write_file(data + 8192, length);

	assert_refused("not an arm64 Image");
}
END_TEST

START_TEST(gzip_of_a_few_bytes_is_refused)
{
	size_t length = pack(data, 10, data + 8192, 4096);

	write_file(data + 8192, length);

	assert_refused("only 10 bytes");
}
END_TEST

START_TEST(gzip_that_is_cut_off_or_damaged_is_refused)
{
	size_t length;

	make_image(data, 4096, 0, 0x200000);
	length = pack(data, 4096, data + 8192, 8192);
	ck_assert_uint_gt(length, 40);

	write_file(data + 8192, 12);
	assert_refused("truncated");

	data[8192 + 11] ^= 0xff;
	data[8192 + 12] ^= 0xff;
	write_file(data + 8192, 14);
	ck_assert_int_eq(identify(), -EINVAL);
}
END_TEST

static size_t make_zboot(uint32_t offset, uint32_t size, const char *compression)
{
	memcpy(data, "MZ\0\0zimg", 8);
	put32(data + 8, offset);
	put32(data + 12, size);
	memcpy(data + 24, compression, strlen(compression) + 1);
	return 4096;
}

START_TEST(zboot_payload_is_found_and_identified)
{
	uint8_t *plain = data + 200000;
	size_t length;

	make_image(plain, 100000, 0, 0x200000);
	length = pack(plain, 100000, data + 4096, 190000);
	make_zboot(4096, (uint32_t)length, "gzip");
	write_file(data, 4096 + length + 100);

	ck_assert_int_eq(identify(), 1);

	ck_assert(image.packed);
	ck_assert_uint_eq(image.offset, 4096);
	ck_assert_uint_eq(image.length, length);
	ck_assert_uint_eq(image.size, 0x200000);
}
END_TEST

START_TEST(zboot_payload_outside_the_file_is_refused)
{
	static const uint32_t bad[][2] = {
		{ 4096, 4096 }, { UINT32_MAX, UINT32_MAX }, { 100, UINT32_MAX }, { UINT32_MAX, 1 },
		{ 4096, 0 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
		write_file(data, make_zboot(bad[i][0], bad[i][1], "gzip"));
		assert_refused("truncated");
	}
}
END_TEST

START_TEST(zboot_of_another_packing_is_refused_by_name)
{
	write_file(data, make_zboot(64, 512, "zstd"));
	assert_refused("'zstd'");

	/* A name that never ends */
	memset(data + 24, 'x', 1000);
	write_file(data, 4096);
	assert_refused("'xxxxxxxx'");
}
END_TEST

START_TEST(other_machines_kernels_are_refused_by_name)
{
	memcpy(data, "\177ELF", 4);
	write_file(data, 4096);
	assert_refused("ELF");

	memset(data, 0, 4096);
	memcpy(data + 0x202, "HdrS", 4);
	write_file(data, 4096);
	assert_refused("bzImage");
}
END_TEST

START_TEST(other_packings_are_refused_by_name)
{
	memcpy(data, "\xfd" "7zXZ\0", 6);
	write_file(data, 4096);
	assert_refused("xz");

	memcpy(data, "\x28\xb5\x2f\xfd\0\0", 6);
	write_file(data, 4096);
	assert_refused("zstd");
}
END_TEST

START_TEST(files_of_a_few_bytes_are_not_known)
{
	write_file("a", 1);
	ck_assert_int_eq(identify(), 0);

	write_file("MZ\0\0zim", 7);
	ck_assert_int_eq(identify(), 0);

	make_image(data, 64, 0, 1);
	write_file(data, 59);
	ck_assert_int_eq(identify(), 0);
}
END_TEST

START_TEST(anything_is_flat_when_it_is_said_to_be)
{
	write_file("abcd", 4);

	ck_assert_int_eq(image_identify(&file, true, &image), 1);

	ck_assert_int_eq(image.kind, IMAGE_FLAT);
	ck_assert_uint_eq(image.text_offset, 0x80000);
	ck_assert_uint_eq(image.length, 4);
}
END_TEST

/* ---- loading ---- */

static struct kvm *ram_kvm;
static struct region ram;
static uint8_t *ram_host;

static void ram_setup(void)
{
	struct config *config;

	setup();
	ck_assert_int_eq(config_new(&config, run_options()), 0);
	ck_assert_int_eq(kvm_create(&ram_kvm, config), 0);
	ram_host = calloc(1, RAM_SIZE);
	region_init_ram(&ram, "ram", ram_host, RAM_SIZE, -1, 0);
	ck_assert_int_eq(region_add(&ram_kvm->memory, &ram, RAM_BASE, 0), 0);
}

static void ram_teardown(void)
{
	struct config *config = ram_kvm->config;

	region_del(&ram);
	kvm_free(ram_kvm);
	config_free(config);
	free(ram_host);
	teardown();
}

START_TEST(gzipped_image_is_unpacked_into_ram)
{
	size_t length;

	make_image(data, 200000, 0, 0x100000);
	length = pack(data, 200000, data + 250000, 200000);
	write_file(data + 250000, length);
	ck_assert_int_eq(identify(), 1);

	ck_assert_int_eq(image_load(ram_kvm, &file, &image, gpa(RAM_BASE + 0x1000), image.size), 0);

	ck_assert_mem_eq(ram_host + 0x1000, data, 200000);
	ck_assert_uint_eq(ram_host[0x1000 + 200000], 0);
}
END_TEST

START_TEST(more_packed_than_the_header_says_is_refused)
{
	uint8_t touched = 0;
	size_t length;

	make_image(data, 200000, 0, 100000);
	length = pack(data, 200000, data + 250000, 200000);
	write_file(data + 250000, length);
	ck_assert_int_eq(identify(), 1);

	ck_assert_int_eq(image_load(ram_kvm, &file, &image, gpa(RAM_BASE), image.size), -EFBIG);

	for (size_t i = 131072; i < RAM_SIZE; i++)
		touched |= ram_host[i];
	ck_assert_uint_eq(touched, 0);
}
END_TEST

START_TEST(image_larger_than_ram_is_refused)
{
	make_image(data, 200000, 0, 0x100000);
	write_file(data, 200000);
	ck_assert_int_eq(identify(), 1);

	ck_assert_int_lt(
		image_load(ram_kvm, &file, &image, gpa(RAM_BASE + RAM_SIZE - 1000), GIB(1)), 0);
	ck_assert_int_eq(image_load(ram_kvm, &file, &image, gpa(RAM_BASE), 1000), -EFBIG);
}
END_TEST

START_TEST(file_that_shrank_since_is_refused)
{
	make_image(data, 200000, 0, 0x100000);
	write_file(data, 200000);
	ck_assert_int_eq(identify(), 1);
	ck_assert_int_eq(truncate(path, 1000), 0);

	ck_assert_int_eq(image_load(ram_kvm, &file, &image, gpa(RAM_BASE), MIB(1)), -EINVAL);

	ck_assert_ptr_nonnull(strstr(last_line, "truncated"));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *known = suite_case(suite, "identify", setup, teardown);
	TCase *load = suite_case(suite, "load", ram_setup, ram_teardown);

	tcase_add_test(known, raw_image_is_known_with_its_offset_and_size);
	tcase_add_test(known, image_without_a_size_goes_to_the_old_offset);
	tcase_add_test(known, gzipped_image_is_known_by_what_is_packed);
	tcase_add_test(known, gzipped_something_else_is_refused);
	tcase_add_test(known, gzip_of_a_few_bytes_is_refused);
	tcase_add_test(known, gzip_that_is_cut_off_or_damaged_is_refused);
	tcase_add_test(known, zboot_payload_is_found_and_identified);
	tcase_add_test(known, zboot_payload_outside_the_file_is_refused);
	tcase_add_test(known, zboot_of_another_packing_is_refused_by_name);
	tcase_add_test(known, other_machines_kernels_are_refused_by_name);
	tcase_add_test(known, other_packings_are_refused_by_name);
	tcase_add_test(known, files_of_a_few_bytes_are_not_known);
	tcase_add_test(known, anything_is_flat_when_it_is_said_to_be);
	tcase_add_test(load, gzipped_image_is_unpacked_into_ram);
	tcase_add_test(load, more_packed_than_the_header_says_is_refused);
	tcase_add_test(load, image_larger_than_ram_is_refused);
	tcase_add_test(load, file_that_shrank_since_is_refused);
}
SUITE_MAIN("arm64-image", add_tests)
