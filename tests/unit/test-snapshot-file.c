/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests state/snapshot-file.c and state/snapshot-writer.c: what is written is read, and what is damaged is refused. */
#include "state/snapshot-file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <zlib.h>

#include "kvm/log.h"
#include "tests/unit/suite.h"

#define MEMORY	(MIB(1) + KIB(4))
#define INFO	"{\"machine\": \"toy\"}"

static char folder[40], path[64];
static const char state[] = "what a machine is";
static uint8_t *memory;
static size_t file_size;

static void quiet(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

static int write_memory(struct snapshot_writer *writer)
{
	int result = snapshot_writer_memory(writer, MEMORY);

	for (uint64_t at = 0; at < MEMORY && !result; at += SNAPSHOT_BLOCK)
		result = snapshot_writer_block(writer, at, memory + at, (size_t)MIN(MEMORY - at, SNAPSHOT_BLOCK));
	return result;
}

static void setup(void)
{
	struct snapshot_writer writer;
	struct stat status;

	strcpy(folder, "/tmp/lkvm-snapshot.XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(path, sizeof(path), "%s/file", folder);
	memory = calloc(1, MEMORY);
	memory[5] = 1;
	memset(memory + 3 * SNAPSHOT_BLOCK + 5000, 0x5a, 9000);
	memory[MEMORY - 1] = 7;

	ck_assert_int_eq(snapshot_writer_open(&writer, path), 0);
	ck_assert_int_eq(snapshot_writer_put(&writer, "info", INFO, strlen(INFO)), 0);
	ck_assert_int_eq(snapshot_writer_put(&writer, "state", state, sizeof(state)), 0);
	ck_assert_int_eq(write_memory(&writer), 0);
	ck_assert_int_ne(access(path, F_OK), 0);
	ck_assert_int_eq(snapshot_writer_commit(&writer), 0);
	snapshot_writer_close(&writer);
	ck_assert_int_eq(stat(path, &status), 0);
	file_size = (size_t)status.st_size;
	log_set_sink(quiet);
}

static unsigned int files_left(void)
{
	DIR *dir = opendir(folder);
	const struct dirent *entry;
	unsigned int count = 0;

	while ((entry = readdir(dir)))
		count += entry->d_name[0] != '.';
	closedir(dir);
	return count;
}

static void teardown(void)
{
	log_set_sink(NULL);
	unlink(path);
	rmdir(folder);
	free(memory);
}

/* What a restore makes of the file: 0, or the error of what is wrong. */
static int read_all(void)
{
	struct snapshot_file file;
	uint8_t *data = NULL, *to = mmap(NULL, MEMORY, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	size_t length = 0;
	int result = snapshot_file_open(&file, path);

	if (!result) {
		result = snapshot_file_read(&file, "state", 1000, &data, &length);
		if (!result)
			ck_assert(length == sizeof(state) && !memcmp(data, state, length));
		if (!result)
			result = snapshot_file_load_memory(&file, to, MEMORY);
		if (!result)
			ck_assert(!memcmp(to, memory, MEMORY));
		free(data);
		snapshot_file_close(&file);
	}
	munmap(to, MEMORY);
	return result;
}

START_TEST(what_is_written_is_read)
{
	struct snapshot_file file;
	uint64_t offset, length;
	struct stat status;
	char *mapped;

	ck_assert_int_eq(read_all(), 0);
	ck_assert_int_eq(snapshot_file_open(&file, path), 0);
	ck_assert_str_eq(json_string_value(json_object_get(file.info, "machine")), "toy");
	ck_assert_int_eq(snapshot_file_memory(&file, &offset, &length), 0);
	ck_assert_uint_eq(offset % SNAPSHOT_MEMORY_ALIGN, 0);
	ck_assert_uint_eq(length, MEMORY);
	mapped = mmap(NULL, MEMORY, PROT_READ, MAP_PRIVATE, file.fd, (off_t)offset);
	ck_assert_ptr_ne(mapped, MAP_FAILED);
	ck_assert(!memcmp(mapped, memory, MEMORY));
	munmap(mapped, MEMORY);
	snapshot_file_close(&file);

	/* five pages have something in them, and four hold what is in front */
	ck_assert_int_eq(stat(path, &status), 0);
	ck_assert_int_le(status.st_blocks * 512, 24 * 4096);
	ck_assert_uint_eq(status.st_mode & 0777, 0600);
}
END_TEST

START_TEST(file_that_is_not_committed_leaves_nothing)
{
	struct snapshot_writer writer;

	ck_assert_int_eq(snapshot_writer_open(&writer, path), 0);
	ck_assert_int_eq(snapshot_writer_put(&writer, "info", INFO, strlen(INFO)), 0);
	ck_assert_uint_eq(files_left(), 2);
	snapshot_writer_close(&writer);

	ck_assert_uint_eq(files_left(), 1);
	ck_assert_int_eq(read_all(), 0);
}
END_TEST

START_TEST(too_many_or_too_large_sections_are_refused)
{
	struct snapshot_writer writer;
	struct snapshot_file file;
	uint8_t *data = NULL;
	size_t length;
	int result = 0, count = 0;

	ck_assert_int_eq(snapshot_file_open(&file, path), 0);
	ck_assert_int_eq(snapshot_file_read(&file, "state", sizeof(state) - 1, &data, &length), -EINVAL);
	ck_assert_int_eq(snapshot_file_read(&file, "nothing", 100, &data, &length), -EINVAL);
	ck_assert_ptr_null(data);
	snapshot_file_close(&file);

	ck_assert_int_eq(snapshot_writer_open(&writer, path), 0);
	for (; !result && count < 100; count++)
		result = snapshot_writer_put(&writer, "more", "x", 1);
	ck_assert_int_eq(result, -E2BIG);
	ck_assert_int_eq(count, SNAPSHOT_SECTIONS + 1);
	snapshot_writer_close(&writer);
}
END_TEST

START_TEST(every_truncation_is_refused)
{
	int fd = open(path, O_RDWR | O_CLOEXEC);
	size_t step = 1;

	/* from the end: what was cut off doesn't come back. Between the sections and memory is a hole of 2 MiB. */
	for (size_t size = file_size - 1; size; size -= MIN(step, size)) {
		struct snapshot_file file;

		ck_assert_int_eq(ftruncate(fd, (off_t)size), 0);
		ck_assert_msg(snapshot_file_open(&file, path) < 0, "a file of %zu of %zu bytes is taken", size, file_size);
		step = size > file_size - 3000 || size < 3 * 4096 ? 1 : 4093;
	}
	close(fd);
}
END_TEST

START_TEST(longer_file_is_refused)
{
	ck_assert_int_eq(truncate(path, (off_t)file_size + 1), 0);
	ck_assert_int_lt(read_all(), 0);
}
END_TEST

/* Each bit of the bytes [@from, @to) is turned; @must: somebody notices. */
static void turn_bits(size_t from, size_t to, size_t step, bool must)
{
	uint8_t *bytes = mmap(NULL, file_size, PROT_READ | PROT_WRITE, MAP_SHARED, open(path, O_RDWR | O_CLOEXEC), 0);

	ck_assert_ptr_ne(bytes, MAP_FAILED);
	for (size_t bit = from * 8; bit < to * 8; bit += step) {
		int result;

		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
		result = read_all();
		ck_assert_msg(result < 0 || !must, "bit %zu of byte %zu may be anything", bit % 8, bit / 8);
		bytes[bit / 8] ^= (uint8_t)(1 << bit % 8);
	}
	ck_assert_int_eq(read_all(), 0);
	munmap(bytes, file_size);
}

START_TEST(every_bit_of_the_header_counts)
{
	/* read_all() reads memory too, so the sparse end of the page is looked at more thinly */
	turn_bits(0, 24 + 5 * sizeof(struct snapshot_section), 1, true);
	turn_bits(24 + 5 * sizeof(struct snapshot_section), SNAPSHOT_PAGE, 7, true);
}
END_TEST

START_TEST(every_bit_of_the_sections_counts)
{
	turn_bits(SNAPSHOT_PAGE, SNAPSHOT_PAGE + strlen(INFO), 1, true);
	turn_bits(2 * SNAPSHOT_PAGE, 2 * SNAPSHOT_PAGE + sizeof(state), 1, true);
	turn_bits(3 * SNAPSHOT_PAGE, 3 * SNAPSHOT_PAGE + 5 * sizeof(le32), 1, true);
	/* between them nobody looks */
	turn_bits(3 * SNAPSHOT_PAGE - 8, 3 * SNAPSHOT_PAGE, 1, false);
}
END_TEST

START_TEST(damaged_memory_is_found_when_it_is_read)
{
	size_t at = file_size - MEMORY;

	turn_bits(at, at + 16, 1, true);
	turn_bits(at + 3 * SNAPSHOT_BLOCK + 4990, at + 3 * SNAPSHOT_BLOCK + 5010, 1, true);
	turn_bits(file_size - 2, file_size, 1, true);
	/* what was a hole */
	turn_bits(at + SNAPSHOT_BLOCK, at + SNAPSHOT_BLOCK + 2, 1, true);
}
END_TEST

START_TEST(what_is_no_regular_file_is_refused)
{
	struct snapshot_file file;

	ck_assert_int_lt(snapshot_file_open(&file, "/dev/zero"), 0);
	ck_assert_int_lt(snapshot_file_open(&file, folder), 0);
	ck_assert_int_eq(snapshot_file_open(&file, "/no/such/file"), -ENOENT);
	unlink(path);
	ck_assert_int_eq(mkfifo(path, 0600), 0);
	ck_assert_int_lt(snapshot_file_open(&file, path), 0);
}
END_TEST

/* Headers that were made to mislead, with a checksum that fits, as nobody else would. */
START_TEST(hostile_header_is_refused)
{
	static const struct { size_t at; uint64_t value; size_t size; } lies[] = {
		{ 8, 2, 4 },				/* a version to come */
		{ 12, SNAPSHOT_SECTIONS + 1, 4 }, { 12, UINT32_MAX, 4 },
		{ 16, UINT64_MAX, 8 }, { 16, 0, 8 },
		{ 24 + 16, 0, 8 }, { 24 + 16, 4097, 8 }, { 24 + 16, UINT64_MAX - 4095, 8 },
		{ 24 + 24, UINT64_MAX, 8 }, { 24 + 24, UINT64_MAX - 4095, 8 },
		{ 24, 0, 1 }, { 24 + 15, 'x', 1 }, { 24, 'x', 1 },
		{ 24 + 3 * 40 + 16, 8192, 8 },		/* memory that can't be mapped */
		{ 24 + 3 * 40 + 24, 0, 8 }, { 24 + 3 * 40 + 24, 100, 8 }, { 24 + 3 * 40 + 24, 4096, 8 },
	};

	for (size_t i = 0; i < ARRAY_SIZE(lies); i++) {
		struct snapshot_header header;
		int fd = open(path, O_RDWR | O_CLOEXEC);
		uint8_t good[SNAPSHOT_PAGE];

		ck_assert_int_eq(pread(fd, good, sizeof(good), 0), SNAPSHOT_PAGE);
		memcpy(&header, good, sizeof(header));
		memcpy((uint8_t *)&header + lies[i].at, &lies[i].value, lies[i].size);
		header.crc = le32_of((uint32_t)crc32(0, (const uint8_t *)&header, SNAPSHOT_PAGE - 4));
		ck_assert_int_eq(pwrite(fd, &header, sizeof(header), 0), SNAPSHOT_PAGE);
		ck_assert_msg(read_all() < 0, "lie %zu is believed", i);
		ck_assert_int_eq(pwrite(fd, good, sizeof(good), 0), SNAPSHOT_PAGE);
		close(fd);
	}
	ck_assert_int_eq(read_all(), 0);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "files", setup, teardown);

	tcase_add_test(tests, what_is_written_is_read);
	tcase_add_test(tests, file_that_is_not_committed_leaves_nothing);
	tcase_add_test(tests, too_many_or_too_large_sections_are_refused);
	tcase_add_test(tests, every_truncation_is_refused);
	tcase_add_test(tests, longer_file_is_refused);
	tcase_add_test(tests, every_bit_of_the_header_counts);
	tcase_add_test(tests, every_bit_of_the_sections_counts);
	tcase_add_test(tests, damaged_memory_is_found_when_it_is_read);
	tcase_add_test(tests, what_is_no_regular_file_is_refused);
	tcase_add_test(tests, hostile_header_is_refused);
}
SUITE_MAIN("snapshot-file", add_tests)
