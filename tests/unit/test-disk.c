/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/: opening and refusing images, locks beside QEMU's, reads and writes by each engine, bounces, what blocks. */
#include "tests/unit/board.h"
#include "tests/unit/disk-engines.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kvm/disk.h"

#define DISK_BYTES	MIB(8)

static char folder[64], image[96], said[1024];
static struct event_loop *loop;
static struct disk *disk;
static unsigned int batches;

static void keep_line(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

static uint8_t pattern_byte(uint64_t at)
{
	return (uint8_t)(at * 7 + (at >> 9) * 13 + 1);
}

static void image_poke(const char *path, uint64_t at, const void *data, size_t length)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(pwrite(fd, data, length, (off_t)at), (ssize_t)length);
	close(fd);
}

static void image_fill(uint64_t size)
{
	uint8_t *bytes = malloc(size);

	ck_assert_ptr_nonnull(bytes);
	for (uint64_t i = 0; i < size; i++)
		bytes[i] = pattern_byte(i);
	image_poke(image, 0, bytes, size);
	free(bytes);
}

static void setup(void)
{
	/* Not /dev/shm: direct I/O and holes are wanted. */
	snprintf(folder, sizeof(folder), "%s/lkvm-test-disk-XXXXXX", getenv("TMPDIR") && strlen(getenv("TMPDIR")) < 30 ? getenv("TMPDIR") : "/tmp");
	ck_assert_ptr_nonnull(mkdtemp(folder));
	snprintf(image, sizeof(image), "%s/image", folder);
	log_set_sink(keep_line);
	said[0] = 0;
	batches = 0;
	ck_assert_int_eq(event_loop_create(&loop, "test"), 0);
}

static void teardown(void)
{
	if (disk) {
		disk_detach(disk);
		disk_close(disk);
		disk = NULL;
	}
	event_loop_destroy(loop);
	log_set_sink(NULL);
	unlink(image);
	rmdir(folder);
}

/* Opens @image with @options behind its path. */
static int try_open(const char *path, const char *options)
{
	struct disk_options parsed;
	char text[160];
	int result;

	snprintf(text, sizeof(text), "%s%s%s", path, options, engine_option);
	ck_assert_int_eq(disk_options_parse(&parsed, text), 0);
	result = disk_open(&disk, &parsed);
	disk_options_free(&parsed);
	return result;
}

static void count_batch(void *opaque)
{
	(void)opaque;
	batches++;
}

static void open_attached(const char *options)
{
	ck_assert_int_eq(try_open(image, options), 0);
	ck_assert_int_eq(disk_attach(disk, loop, count_batch, NULL), 0);
}

static void refused(const char *path, const char *options, const char *because)
{
	ck_assert_int_lt(try_open(path, options), 0);
	ck_assert_msg(strstr(said, because) != NULL, "expected '%s' in the message, seen '%s'", because, said);
}

/* ---- requests ---- */

struct test_request {
	struct disk_request io;
	int result;
	bool done;
};

static void request_done(struct disk_request *io, int result)
{
	struct test_request *request = container_of(io, struct test_request, io);

	ck_assert(!request->done);
	request->done = true;
	request->result = result;
}

static void request_queue(struct test_request *request, enum disk_op op, uint64_t offset, const struct iovec *iov, unsigned int count)
{
	*request = (struct test_request){ .io = { .op = op, .offset = offset, .iov = iov, .iov_count = count, .done = request_done } };
	for (unsigned int i = 0; i < count; i++)
		request->io.length += iov[i].iov_len;
	disk_queue(disk, &request->io);
}

static void request_wait(const struct test_request *request)
{
	uint64_t end = event_now_ns() + 10000000000ULL;

	while (!request->done && event_now_ns() < end)
		event_loop_poll(loop, 10);
	ck_assert_msg(request->done, "a request didn't complete in 10 s");
}

static int request_run(enum disk_op op, uint64_t offset, void *data, size_t length)
{
	struct iovec iov = { data, length };
	struct test_request request;

	request_queue(&request, op, offset, &iov, 1);
	disk_submit(disk);
	request_wait(&request);
	return request.result;
}

static int range_run(enum disk_op op, uint64_t offset, uint64_t length, bool may_unmap)
{
	struct test_request request = { .io = { .op = op, .offset = offset, .length = length, .may_unmap = may_unmap,
						.done = request_done } };

	disk_queue(disk, &request.io);
	disk_submit(disk);
	request_wait(&request);
	return request.result;
}

/* ---- opening ---- */

START_TEST(raw_image_has_its_file_s_size)
{
	image_fill(DISK_BYTES);
	ck_assert_int_eq(try_open(image, ",serial=ABC"), 0);
	ck_assert_uint_eq(disk_info(disk)->size, DISK_BYTES);
	ck_assert_uint_eq(disk_info(disk)->block_size, 512);
	ck_assert(!disk_info(disk)->read_only);
	ck_assert_str_eq(disk_info(disk)->serial, "ABC");
}
END_TEST

START_TEST(odd_tail_stays_out_of_sight)
{
	image_fill(1024 + 100);
	ck_assert_int_eq(try_open(image, ""), 0);
	ck_assert_uint_eq(disk_info(disk)->size, 1024);
	ck_assert_ptr_nonnull(strstr(said, "100 bytes"));
}
END_TEST

START_TEST(what_is_no_image_is_refused_by_what_it_is)
{
	refused("/nowhere/image", "", "no such file");
	refused(folder, "", "folder");
	refused("/dev/null", "", "neither a file nor a block device");
	ck_assert_int_eq(mkfifo(image, 0600), 0);
	refused(image, "", "neither a file nor a block device");
	refused(image, ",ro", "neither a file nor a block device");
	unlink(image);
	image_poke(image, 0, "", 0);
	refused(image, "", "empty");
	image_fill(512);
	refused(image, ",format=tar", "'tar' is not known");
}
END_TEST

static const struct { const char *text, *because; bool direct, write_through, no_flush; } caches[] = {
	{ "/i", NULL, false, false, false },
	{ "/i,cache=writeback", NULL, false, false, false },
	{ "/i,cache=writethrough", NULL, false, true, false },
	{ "/i,cache=none", NULL, true, false, false },
	{ "/i,cache=none,direct", NULL, true, false, false },
	{ "/i,cache=directsync", NULL, true, true, false },
	{ "/i,cache=unsafe", NULL, false, false, true },
	{ "/i,cache=unsafe,direct", "is not direct", false, false, false },
	{ "/i,snapshot-name=one,snapshot=on", "with an overlay", false, false, false },
	{ "/i,cache=", "is not known", false, false, false },
	{ "/i,cache=fast", "is not known", false, false, false },
	{ "/i,aio=fast", "say native, io_uring or threads", false, false, false },
};

START_TEST(cache_modes_have_qemu_s_names)
{
	struct disk_options options;
	int result = disk_options_parse(&options, caches[_i].text);

	ck_assert_int_eq(result, caches[_i].because ? -EUSAGE : 0);
	ck_assert(!caches[_i].because || strstr(said, caches[_i].because));
	ck_assert_int_eq(options.direct, caches[_i].direct);
	ck_assert_int_eq(options.write_through, caches[_i].write_through);
	ck_assert_int_eq(options.no_flush, caches[_i].no_flush);
	disk_options_free(&options);
}
END_TEST

static const struct { const char *name, *magic; size_t offset, length; } foreign[] = {
	{ "qcow2", "QFI\xfb\0\0\0\3", 0, 8 }, { "VMDK", "KDMV", 0, 4 }, { "VMDK", "# Disk DescriptorFile", 0, 21 },
	{ "VHDX", "vhdxfile", 0, 8 }, { "VHD", "conectix", 0, 8 }, { "LUKS", "LUKS\xba\xbe", 0, 6 },
	{ "VDI", "\x7f\x10\xda\xbe", 64, 4 }, { "QED", "QED\0", 0, 4 },
};

START_TEST(foreign_image_is_refused_by_name_unless_called_raw)
{
	image_fill(65536);
	image_poke(image, foreign[_i].offset, foreign[_i].magic, foreign[_i].length);
	refused(image, "", foreign[_i].name);
	ck_assert_int_eq(try_open(image, ",format=raw"), 0);
}
END_TEST

/* The magic in the middle of a long write, cut into odd segments; its neighbours are written all the same. */
START_TEST(a_guest_makes_nothing_else_of_a_guessed_disk)
{
	static uint8_t data[65536];
	struct iovec iov[] = { { data, 1 }, { data + 1, 66 }, { data + 67, 5000 }, { data + 5067, sizeof(data) - 5067 } };
	struct test_request bad, good;
	uint8_t byte;

	image_fill(MIB(1));
	open_attached(_i % 2 ? ",direct" : "");
	memset(data, 0x5a, sizeof(data));
	memcpy(data + foreign[_i].offset, foreign[_i].magic, foreign[_i].length);
	request_queue(&bad, DISK_WRITE, 0, iov, ARRAY_SIZE(iov));
	request_queue(&good, DISK_WRITE, 65536, iov, ARRAY_SIZE(iov));
	disk_submit(disk);
	request_wait(&bad);
	request_wait(&good);
	ck_assert_int_eq(bad.result, -EPERM);
	ck_assert_ptr_nonnull(strstr(said, "format=raw"));
	ck_assert_int_eq(good.result, 0);
	ck_assert_uint_gt(batches, 0);
	ck_assert_int_eq(request_run(DISK_READ, 0, data, 512), 0);
	ck_assert_uint_eq(data[0], pattern_byte(0));
	/* Anything else may stand there, and the magic where it means nothing. */
	memset(data, 0x5a, sizeof(data));
	memcpy(data + 512 + foreign[_i].offset, foreign[_i].magic, foreign[_i].length);
	request_queue(&good, DISK_WRITE, 0, iov, ARRAY_SIZE(iov));
	disk_submit(disk);
	request_wait(&good);
	ck_assert_int_eq(good.result, 0);
	memset(data, 0, sizeof(data));
	ck_assert_int_eq(request_run(DISK_READ, 0, data, sizeof(data)), 0);
	byte = foreign[_i].offset ? 0x5a : (uint8_t)foreign[_i].magic[0];
	ck_assert_uint_eq(data[512], byte);
	ck_assert_uint_eq(data[65535], 0x5a);
}
END_TEST

START_TEST(a_disk_that_was_called_raw_is_all_the_guest_s)
{
	uint8_t data[512] = { 0 };

	image_fill(MIB(1));
	open_attached(",format=raw");
	memcpy(data + foreign[_i].offset, foreign[_i].magic, foreign[_i].length);
	ck_assert_int_eq(request_run(DISK_WRITE, 0, data, sizeof(data)), 0);
	disk_detach(disk);
	disk_close(disk);
	disk = NULL;
	refused(image, "", foreign[_i].name);
	open_attached(",format=raw");
	ck_assert_uint_eq(disk_info(disk)->size, MIB(1));
	ck_assert_int_eq(request_run(DISK_READ, 0, data, sizeof(data)), 0);
	ck_assert_mem_eq(data + foreign[_i].offset, foreign[_i].magic, foreign[_i].length);
}
END_TEST

START_TEST(refusal_changes_nothing_on_disk)
{
	struct stat before, after;

	image_fill(65536);
	image_poke(image, 0, "QFI\xfb", 4);
	ck_assert_int_eq(stat(image, &before), 0);
	refused(image, "", "qcow2");
	ck_assert_int_eq(stat(image, &after), 0);
	ck_assert_int_eq(before.st_size, after.st_size);
	ck_assert_int_eq(before.st_mtim.tv_sec, after.st_mtim.tv_sec);
	ck_assert_int_eq(before.st_mtim.tv_nsec, after.st_mtim.tv_nsec);
}
END_TEST

START_TEST(read_only_file_wants_ro)
{
	if (!geteuid())
		return;		/* root may write it all the same */
	image_fill(4096);
	ck_assert_int_eq(chmod(image, 0400), 0);
	refused(image, "", "',ro'");
	ck_assert_int_eq(try_open(image, ",ro"), 0);
	ck_assert(disk_info(disk)->read_only);
}
END_TEST

/* ---- locks ---- */

START_TEST(image_has_one_writer)
{
	struct disk *second = NULL;

	image_fill(4096);
	ck_assert_int_eq(try_open(image, ""), 0);
	second = disk;
	disk = NULL;
	refused(image, "", "in use");
	refused(image, ",ro", "in use");
	disk_close(second);
	ck_assert_int_eq(try_open(image, ",ro"), 0);
	second = disk;
	disk = NULL;
	ck_assert_int_eq(try_open(image, ",ro"), 0);
	disk_close(disk);
	disk = NULL;
	refused(image, "", "in use");
	disk_close(second);
	ck_assert_int_eq(try_open(image, ""), 0);
}
END_TEST

static int shell(const char *format, ...) printf_like(1, 2);
static int shell(const char *format, ...)
{
	char command[512];
	va_list arguments;

	va_start(arguments, format);
	vsnprintf(command, sizeof(command), format, arguments);
	va_end(arguments);
	return system(command);
}

START_TEST(qemu_and_lkvm_keep_each_other_out)
{
	unsigned int tries;
	FILE *qemu_io;

	if (shell("command -v qemu-io >/dev/null"))
		return;
	setenv("LKVM_TEST_IMAGE", image, 1);
	image_fill(65536);
	ck_assert_int_eq(shell("timeout 10 qemu-io -f raw -c 'write -P 1 0 512' %s >/dev/null 2>&1", image), 0);
	ck_assert_int_eq(try_open(image, ""), 0);
	ck_assert_int_ne(shell("timeout 10 qemu-io -f raw -c 'write -P 2 0 512' %s >/dev/null 2>&1", image), 0);
	disk_close(disk);
	disk = NULL;
	ck_assert_int_eq(try_open(image, ",ro"), 0);
	ck_assert_int_eq(shell("timeout 10 qemu-io -r -f raw -c 'read -P 1 0 512' %s >/dev/null 2>&1", image), 0);
	ck_assert_int_ne(shell("timeout 10 qemu-io -f raw -c 'write -P 2 0 512' %s >/dev/null 2>&1", image), 0);
	disk_close(disk);
	disk = NULL;
	/* QEMU first: it has the image until the pipe to its input is closed. */
	qemu_io = popen("exec timeout 20 qemu-io -f raw \"$LKVM_TEST_IMAGE\" >/dev/null 2>&1", "w");
	ck_assert_ptr_nonnull(qemu_io);
	for (tries = 0; tries < 100 && !try_open(image, ""); tries++) {
		disk_close(disk);
		usleep(50000);
	}
	disk = NULL;
	ck_assert_uint_lt(tries, 100);
	ck_assert_msg(strstr(said, "in use") != NULL, "seen '%s'", said);
	pclose(qemu_io);
}
END_TEST

/* ---- requests ---- */

START_TEST(what_was_written_is_read_and_lies_in_the_file)
{
	static const char *const options[] = { "", ",direct" };
	uint8_t *data = aligned_alloc(4096, 65536), *seen = aligned_alloc(4096, 65536);
	int fd;

	image_fill(DISK_BYTES);
	open_attached(options[_i]);
	for (unsigned int i = 0; i < 65536; i++)
		data[i] = (uint8_t)(i * 3 + 5);
	ck_assert_int_eq(request_run(DISK_WRITE, MIB(1), data, 65536), 0);
	ck_assert_int_eq(request_run(DISK_READ, MIB(1), seen, 65536), 0);
	ck_assert_mem_eq(data, seen, 65536);
	ck_assert_int_eq(request_run(DISK_FLUSH, 0, NULL, 0), 0);
	ck_assert_uint_gt(batches, 0);
	fd = open(image, O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(pread(fd, seen, 65536, MIB(1)), 65536);
	close(fd);
	ck_assert_mem_eq(data, seen, 65536);
	free(data);
	free(seen);
}
END_TEST

/* Odd buffers under direct I/O, more of them and longer than the bounces that there are. */
START_TEST(unaligned_direct_requests_go_through_bounded_bounces)
{
	enum { COUNT = 40 };
	size_t length = MIB(2) + 512;
	struct test_request requests[COUNT];
	struct iovec iov[COUNT][3];
	uint8_t *memory = malloc(COUNT * (length + 1));

	ck_assert_ptr_nonnull(memory);
	image_fill(DISK_BYTES);
	open_attached(",direct");
	for (unsigned int i = 0; i < COUNT; i++) {
		uint8_t *at = memory + i * (length + 1) + 1;

		iov[i][0] = (struct iovec){ at, 513 };
		iov[i][1] = (struct iovec){ at + 513, 1000000 };
		iov[i][2] = (struct iovec){ at + 1000513, length - 1000513 };
		request_queue(&requests[i], DISK_READ, i * 4096ULL, iov[i], 3);
	}
	disk_submit(disk);
	for (unsigned int i = 0; i < COUNT; i++) {
		request_wait(&requests[i]);
		ck_assert_int_eq(requests[i].result, 0);
		for (size_t n = 0; n < length; n += 509)
			EXPECT_EQ(memory[i * (length + 1) + 1 + n], pattern_byte(i * 4096ULL + n));
	}
	/* and out again, in pieces, to another place */
	request_queue(&requests[0], DISK_WRITE, MIB(4), iov[3], 3);
	disk_submit(disk);
	request_wait(&requests[0]);
	ck_assert_int_eq(requests[0].result, 0);
	memset(memory, 0, length + 1);
	ck_assert_int_eq(request_run(DISK_READ, MIB(4), memory + 1, length), 0);
	for (size_t n = 0; n < length; n++)
		EXPECT_EQ(memory[1 + n], pattern_byte(3 * 4096ULL + n));
	free(memory);
}
END_TEST

/* More at once than the kernel was asked to take. */
START_TEST(more_requests_than_the_engine_s_depth_all_complete)
{
	enum { COUNT = 3000 };
	static struct test_request requests[COUNT];
	static struct iovec iov[COUNT];
	uint8_t *memory = aligned_alloc(4096, COUNT * 512);
	static const char *const options[] = { "", ",direct" };

	image_fill(DISK_BYTES);
	open_attached(options[_i]);
	for (unsigned int i = 0; i < COUNT; i++) {
		iov[i] = (struct iovec){ memory + i * 512, 512 };
		request_queue(&requests[i], DISK_READ, i * 512ULL, &iov[i], 1);
	}
	disk_submit(disk);
	disk_drain(disk);
	for (unsigned int i = 0; i < COUNT; i++) {
		ck_assert(requests[i].done);
		ck_assert_int_eq(requests[i].result, 0);
		ck_assert_uint_eq(memory[i * 512 + 77], pattern_byte(i * 512ULL + 77));
	}
	free(memory);
}
END_TEST

START_TEST(discard_gives_space_back_and_zeroes_read_as_zero)
{
	static uint8_t seen[65536];
	struct stat before, after;

	image_fill(DISK_BYTES);
	open_attached("");
	ck_assert_int_eq(request_run(DISK_FLUSH, 0, NULL, 0), 0);
	ck_assert_int_eq(stat(image, &before), 0);
	ck_assert_int_eq(range_run(DISK_DISCARD, MIB(1), MIB(2), false), 0);
	ck_assert_int_eq(stat(image, &after), 0);
	ck_assert_int_eq(after.st_size, before.st_size);
	ck_assert_int_lt(after.st_blocks, before.st_blocks);
	for (unsigned int may_unmap = 0; may_unmap < 2; may_unmap++) {
		uint64_t at = MIB(4) + may_unmap * 65536ULL;

		ck_assert_int_eq(range_run(DISK_WRITE_ZEROES, at, 65536, may_unmap), 0);
		ck_assert_int_eq(request_run(DISK_READ, at, seen, 65536), 0);
		for (unsigned int i = 0; i < 65536; i++)
			EXPECT_EQ(seen[i], 0);
	}
	ck_assert_int_eq(request_run(DISK_READ, MIB(4) + 2 * 65536, seen, 512), 0);
	ck_assert_uint_eq(seen[3], pattern_byte(MIB(4) + 2 * 65536 + 3));
}
END_TEST

START_TEST(file_cut_behind_our_back_is_an_error_and_does_not_grow)
{
	uint8_t data[4096] = { 0 };
	struct stat status;

	image_fill(DISK_BYTES);
	open_attached("");
	ck_assert_int_eq(truncate(image, 4096), 0);
	ck_assert_int_eq(request_run(DISK_READ, MIB(1), data, sizeof(data)), -EIO);
	ck_assert_int_eq(range_run(DISK_WRITE_ZEROES, MIB(1), 65536, true), 0);
	ck_assert_int_eq(stat(image, &status), 0);
	ck_assert_int_eq(status.st_size, 4096);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *opening = suite_case(suite, "opening", setup, teardown);
	TCase *requests = suite_case(suite, "requests", setup, teardown);

	tcase_add_loop_test(opening, a_guest_makes_nothing_else_of_a_guessed_disk, 0, (int)ARRAY_SIZE(foreign));
	tcase_add_loop_test(opening, a_disk_that_was_called_raw_is_all_the_guest_s, 0, (int)ARRAY_SIZE(foreign));
	tcase_add_loop_test(requests, what_was_written_is_read_and_lies_in_the_file, 0, 2);
	tcase_add_test(requests, unaligned_direct_requests_go_through_bounded_bounces);
	tcase_add_loop_test(requests, more_requests_than_the_engine_s_depth_all_complete, 0, 2);
	tcase_add_test(requests, discard_gives_space_back_and_zeroes_read_as_zero);
	tcase_add_test(requests, file_cut_behind_our_back_is_an_error_and_does_not_grow);
	if (!engines_first())
		return;
	tcase_add_test(opening, raw_image_has_its_file_s_size);
	tcase_add_test(opening, odd_tail_stays_out_of_sight);
	tcase_add_test(opening, what_is_no_image_is_refused_by_what_it_is);
	tcase_add_loop_test(opening, cache_modes_have_qemu_s_names, 0, (int)ARRAY_SIZE(caches));
	tcase_add_loop_test(opening, foreign_image_is_refused_by_name_unless_called_raw, 0, (int)ARRAY_SIZE(foreign));
	tcase_add_test(opening, refusal_changes_nothing_on_disk);
	tcase_add_test(opening, read_only_file_wants_ro);
	tcase_add_test(opening, image_has_one_writer);
	tcase_add_test(opening, qemu_and_lkvm_keep_each_other_out);
}
SUITE_MAIN_ENGINES("disk", add_tests)
