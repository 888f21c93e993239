/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/file.c, disk/file-io.c: opening, and the calls that wait, buffered and direct. */
#include "tests/unit/board.h"

#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk/file.h"

#define FILE_BYTES	KIB(1024)

static char folder[64], path[96], said[1024];
static struct disk_file *file;

static void keep_line(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

static uint8_t pattern_byte(uint64_t at)
{
	return (uint8_t)(at * 11 + (at >> 9) * 3 + 1);
}

static void setup(void)
{
	static uint8_t bytes[FILE_BYTES];
	int fd;

	strcpy(folder, "/tmp/lkvm-test-file-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/file", folder);
	for (size_t i = 0; i < sizeof(bytes); i++)
		bytes[i] = pattern_byte(i);
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	ck_assert_int_eq(write(fd, bytes, sizeof(bytes)), (ssize_t)sizeof(bytes));
	close(fd);
	log_set_sink(keep_line);
	said[0] = 0;
}

static void teardown(void)
{
	disk_file_close(file);
	file = NULL;
	unlink(path);
	rmdir(folder);
	log_set_sink(NULL);
}

static int try_open(bool direct, const char *beneath)
{
	const struct disk_file_options options = { .path = path, .direct = direct, .beneath = beneath };

	return disk_file_open(&file, &options);
}

static const struct { uint64_t offset; size_t length; } ranges[] = {
	{ 0, 1 }, { 1, 1 }, { 511, 2 }, { 4095, 4098 }, { 512, 512 }, { 4096, 8192 }, { 3, 700000 }, { FILE_BYTES - 1, 1 },
	{ FILE_BYTES - 5000, 5000 },
};

START_TEST(any_range_is_read_and_written_and_its_neighbours_stay)
{
	static uint8_t data[FILE_BYTES], seen[FILE_BYTES];
	uint64_t offset = ranges[_i / 2].offset;
	size_t length = ranges[_i / 2].length;

	ck_assert_int_eq(try_open(_i % 2, NULL), 0);
	ck_assert_int_eq(disk_file_read(file, offset, data, length), 0);
	for (size_t i = 0; i < length; i++)
		EXPECT_EQ(data[i], pattern_byte(offset + i));
	memset(data, 0xc3, length);
	ck_assert_int_eq(disk_file_write(file, offset, data, length), 0);
	ck_assert_int_eq(disk_file_flush(file), 0);
	ck_assert_int_eq(disk_file_read(file, 0, seen, FILE_BYTES), 0);
	for (uint64_t i = 0; i < FILE_BYTES; i++)
		EXPECT_EQ(seen[i], i >= offset && i < offset + length ? 0xc3 : pattern_byte(i));
	ck_assert_uint_eq(file->size, FILE_BYTES);
}
END_TEST

START_TEST(what_lies_past_the_end_reads_as_zeroes_and_can_be_gained)
{
	uint8_t seen[1000];
	struct stat status;

	ck_assert_int_eq(try_open(_i, NULL), 0);
	memset(seen, 1, sizeof(seen));
	ck_assert_int_eq(disk_file_read(file, FILE_BYTES - 10, seen, sizeof(seen)), 0);
	ck_assert_uint_eq(seen[9], pattern_byte(FILE_BYTES - 1));
	for (unsigned int i = 10; i < sizeof(seen); i++)
		ck_assert_uint_eq(seen[i], 0);
	ck_assert_int_eq(disk_file_resize(file, FILE_BYTES + 65536), 0);
	ck_assert_uint_eq(file->size, FILE_BYTES + 65536);
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_int_eq(status.st_size, FILE_BYTES + 65536);
	ck_assert_int_eq(disk_file_read(file, INT64_MAX - 10, seen, 11), -EFBIG);
}
END_TEST

START_TEST(zeroes_and_discards_act_on_their_range_alone)
{
	uint8_t seen[3 * 4096];

	ck_assert_int_eq(try_open(false, NULL), 0);
	for (unsigned int i = 0; i < 3; i++) {
		uint64_t at = 65536 * (i + 1);

		ck_assert_int_eq(i == 2 ? disk_file_discard(file, at, 4096) : disk_file_write_zeroes(file, at, 4096, i), 0);
		ck_assert_int_eq(disk_file_read(file, at - 4096, seen, sizeof(seen)), 0);
		ck_assert_uint_eq(seen[4095], pattern_byte(at - 1));
		for (unsigned int n = 4096; n < 8192; n++)
			EXPECT_EQ(seen[n], 0);
		ck_assert_uint_eq(seen[8192], pattern_byte(at + 4096));
	}
}
END_TEST

START_TEST(a_file_outside_the_folder_it_must_lie_in_is_refused)
{
	char real[PATH_MAX], longer[PATH_MAX + 1];

	ck_assert_ptr_nonnull(realpath(folder, real));
	ck_assert_int_eq(try_open(false, real), 0);
	disk_file_close(file);
	file = NULL;
	ck_assert_int_eq(try_open(false, "/etc"), -EPERM);
	ck_assert_ptr_nonnull(strstr(said, "outside the folder"));
	/* A name that only begins alike is another folder. */
	snprintf(longer, sizeof(longer), "%.*s", (int)strlen(real) - 1, real);
	ck_assert_int_eq(try_open(false, longer), -EPERM);
}
END_TEST

static int refuse_writes(struct disk_file_tap *tap, enum disk_op op, uint64_t offset, uint64_t length,
			 const struct iovec *iov, unsigned int iov_count, bool fua)
{
	(void)tap, (void)offset, (void)length, (void)iov, (void)iov_count, (void)fua;
	return op == DISK_WRITE ? -ENOSPC : 0;
}

START_TEST(a_tap_sees_changes_before_they_happen)
{
	struct disk_file_tap tap = { .change = refuse_writes };
	uint8_t byte = 0;

	ck_assert_int_eq(try_open(false, NULL), 0);
	file->tap = &tap;
	ck_assert_int_eq(disk_file_write(file, 5, &byte, 1), -ENOSPC);
	ck_assert_int_eq(disk_file_flush(file), 0);
	ck_assert_int_eq(disk_file_read(file, 5, &byte, 1), 0);
	ck_assert_uint_eq(byte, pattern_byte(5));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "files", setup, teardown);

	tcase_add_loop_test(tests, any_range_is_read_and_written_and_its_neighbours_stay, 0, 2 * (int)ARRAY_SIZE(ranges));
	tcase_add_loop_test(tests, what_lies_past_the_end_reads_as_zeroes_and_can_be_gained, 0, 2);
	tcase_add_test(tests, zeroes_and_discards_act_on_their_range_alone);
	tcase_add_test(tests, a_file_outside_the_folder_it_must_lie_in_is_refused);
	tcase_add_test(tests, a_tap_sees_changes_before_they_happen);
}
SUITE_MAIN("disk-file", add_tests)
