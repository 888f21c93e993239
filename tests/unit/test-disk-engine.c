/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * disk/engine.c, merge.c, bounce.c over an engine that is the test's own: it notes what it is given, and takes, cuts
 * and fails what a test tells it to. And hosts that forbid the real ones.
 */
#include "tests/unit/disk-driver.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>

#define DISK_BYTES	MIB(4)
#define BLOCK		4096u

/* ---- the engine ---- */

struct noted { enum disk_op op; uint64_t offset, length; unsigned int segments; bool fua; };

static struct {
	struct disk_engine *engine;
	struct event_work work;
	struct disk_request *list, **tail;
	unsigned int has, count, batches;
	struct noted noted[256];
	/* what a test wants */
	unsigned int room;		/* requests at once; 0: any */
	uint64_t bytes;			/* at most, a transfer; 0: any */
	uint64_t bad;			/* what touches this byte fails; 0: none */
	bool no_flush, full;
} fake;

static void fake_end(void)
{
	struct disk_request *request = fake.list, *next;

	fake.list = NULL;
	fake.tail = &fake.list;
	for (; request; request = next) {
		next = request->next;
		fake.has--;
		disk_engine_finish(fake.engine, request, (int64_t)request->engine_data[0]);
	}
	disk_engine_reaped(fake.engine);
}

static void fake_work(struct event_work *work)
{
	(void)work;
	fake_end();
}

static int64_t fake_do(const struct disk_request *request)
{
	struct disk_transfer transfer = disk_request_transfer(request);
	struct iovec iov[256];
	uint64_t left = fake.bytes ? MIN(fake.bytes, transfer.length) : transfer.length;
	unsigned int count = 0;

	if (request->op == DISK_FLUSH)
		return fake.no_flush ? -EINVAL : 0;
	if (fake.bad && transfer.offset <= fake.bad && fake.bad < transfer.offset + transfer.length)
		return -EIO;
	if (fake.full)
		return 0;
	ck_assert_uint_le(transfer.count, 256);
	for (; left; count++) {
		iov[count] = transfer.iov[count];
		iov[count].iov_len = MIN(left, iov[count].iov_len);
		left -= iov[count].iov_len;
	}
	return request->op == DISK_READ ? preadv(request->file->fd, iov, (int)count, (off_t)transfer.offset) :
	       pwritev(request->file->fd, iov, (int)count, (off_t)transfer.offset);
}

static struct disk_request *fake_submit(struct disk_engine *engine, struct disk_request *requests)
{
	(void)engine;
	fake.batches++;
	for (struct disk_request *next; requests && (!fake.room || fake.has < fake.room); requests = next, fake.has++) {
		struct disk_transfer transfer = disk_request_transfer(requests);

		next = requests->next;
		ck_assert_uint_lt(fake.count, ARRAY_SIZE(fake.noted));
		fake.noted[fake.count++] = (struct noted){ requests->op, transfer.offset, transfer.length, transfer.count, requests->fua };
		requests->engine_data[0] = (uint64_t)fake_do(requests);
		requests->next = NULL;
		*fake.tail = requests;
		fake.tail = &requests->next;
	}
	event_work_post(&fake.work);
	return requests;
}

static int fake_start(struct disk_engine *engine, bool quiet)
{
	(void)quiet;
	fake.engine = engine;
	fake.tail = &fake.list;
	event_work_init(engine->loop, &fake.work, fake_work);
	return 0;
}

static void fake_stop(struct disk_engine *engine)
{
	(void)engine;
	ck_assert_uint_eq(fake.has, 0);
	event_work_cancel(&fake.work);
}

static void fake_wait(struct disk_engine *engine)
{
	(void)engine;
	fake_end();
}

static const struct disk_aio_ops aio_fake = {
	.name = "fake", .start = fake_start, .stop = fake_stop, .submit = fake_submit, .wait = fake_wait,
};
DISK_AIO(aio_fake);

/* ---- a disk on it ---- */

static uint8_t *memory;

static uint8_t pattern_byte(uint64_t at)
{
	return (uint8_t)(at * 7 + (at >> 9) * 13 + 1);
}

static void setup(void)
{
	disk_driver_setup();
	ck_assert_int_eq(posix_memalign((void **)&memory, 4096, DISK_BYTES), 0);
	for (uint64_t i = 0; i < DISK_BYTES; i++)
		memory[i] = pattern_byte(i);
	file_poke("image", 0, memory, DISK_BYTES);
	memset(memory, 0, DISK_BYTES);
}

static void teardown(void)
{
	disk_driver_teardown();
	free(memory);
}

static void check_pattern(uint64_t from, uint64_t length)
{
	for (uint64_t i = from; i < from + length; i++)
		EXPECT(memory[i] == pattern_byte(i), "byte %llu is wrong", (unsigned long long)i);
}

static struct driver_request requests[300];
static struct iovec segments[300];

/* Blocks @first and those behind it, each a request, to and from their own place in @memory. */
static void queue_blocks(enum disk_op op, unsigned int first, unsigned int count)
{
	for (unsigned int i = first; i < first + count; i++) {
		segments[i] = (struct iovec){ memory + i * (size_t)BLOCK, BLOCK };
		driver_queue(&requests[i], op, i * (uint64_t)BLOCK, BLOCK, &segments[i], 1);
	}
}

static void check_results(unsigned int first, unsigned int count, int result)
{
	for (unsigned int i = first; i < first + count; i++)
		ck_assert_msg(requests[i].done && requests[i].result == result, "request %u: %d", i, requests[i].result);
}

static void run_queued(void)
{
	disk_submit(driver_disk);
	disk_drain(driver_disk);
}

/* ---- merging ---- */

START_TEST(neighbours_become_one_request)
{
	driver_open(_i ? "image,aio=fake,direct,format=raw" : "image,aio=fake,format=raw");
	queue_blocks(DISK_READ, 0, 8);
	run_queued();
	check_results(0, 8, 0);
	check_pattern(0, 8 * BLOCK);
	ck_assert_uint_eq(fake.count, 1);
	ck_assert_uint_eq(fake.noted[0].length, 8 * BLOCK);
	ck_assert_uint_eq(fake.noted[0].segments, 8);
	fake.count = 0;
	memset(memory, 0x5a, 8 * BLOCK);
	queue_blocks(DISK_WRITE, 0, 8);
	run_queued();
	check_results(0, 8, 0);
	ck_assert_uint_eq(fake.count, 1);
	memset(memory, 0, 8 * BLOCK);
	ck_assert_int_eq(driver_run(DISK_READ, 0, memory, 9 * BLOCK), 0);
	for (unsigned int i = 0; i < 8 * BLOCK; i++)
		EXPECT_EQ(memory[i], 0x5a);
	check_pattern(8 * BLOCK, BLOCK);
}
END_TEST

START_TEST(what_is_no_neighbour_stays_alone)
{
	driver_open("image,aio=fake,format=raw");
	queue_blocks(DISK_READ, 0, 1);
	queue_blocks(DISK_READ, 2, 1);		/* a gap */
	queue_blocks(DISK_WRITE, 3, 1);		/* another kind */
	queue_blocks(DISK_WRITE, 4, 1);
	requests[4].io.fua = true;		/* of another promise */
	driver_queue(&requests[5], DISK_FLUSH, 0, 0, NULL, 0);
	queue_blocks(DISK_READ, 7, 1);
	queue_blocks(DISK_READ, 6, 1);		/* in front, not behind */
	run_queued();
	check_results(2, 6, 0);
	check_results(0, 1, 0);
	ck_assert_uint_eq(fake.count, 7);
	ck_assert_uint_eq(fake.batches, 1);
	ck_assert(fake.noted[3].fua && !fake.noted[2].fua);
}
END_TEST

START_TEST(merging_has_bounds)
{
	driver_open("image,aio=fake");
	queue_blocks(DISK_READ, 0, 256);
	run_queued();
	check_results(0, 256, 0);
	check_pattern(0, MIB(1));
	ck_assert_uint_eq(fake.count, 4);
	for (unsigned int i = 0; i < fake.count; i++)
		ck_assert_uint_eq(fake.noted[i].length, KIB(256));
}
END_TEST

START_TEST(many_small_segments_are_not_one_huge_vector)
{
	static struct iovec small[10][100];

	driver_open("image,aio=fake");
	for (unsigned int i = 0; i < 10; i++) {
		for (unsigned int s = 0; s < 100; s++)
			small[i][s] = (struct iovec){ memory + i * 51200 + s * 512, 512 };
		driver_queue(&requests[i], DISK_READ, i * 51200ULL, 51200, small[i], 100);
	}
	run_queued();
	check_results(0, 10, 0);
	check_pattern(0, 512000);
	ck_assert_uint_eq(fake.count, 10);
}
END_TEST

START_TEST(one_that_fails_does_not_take_its_neighbours_along)
{
	driver_open("image,aio=fake");
	fake.bad = 5 * BLOCK + 17;
	queue_blocks(DISK_READ, 0, 8);
	run_queued();
	check_results(0, 5, 0);
	check_results(5, 1, -EIO);
	check_results(6, 2, 0);
	check_pattern(0, 5 * BLOCK);
	check_pattern(6 * BLOCK, 2 * BLOCK);
	ck_assert_uint_eq(fake.count, 1 + 8);
}
END_TEST

START_TEST(unaligned_ones_are_not_merged_under_direct_io)
{
	driver_open("image,aio=fake,direct");
	for (unsigned int i = 0; i < 4; i++) {
		segments[i] = (struct iovec){ memory + i * 513 + 1, 512 };
		driver_queue(&requests[i], DISK_READ, i * 512ULL, 512, &segments[i], 1);
	}
	run_queued();
	check_results(0, 4, 0);
	ck_assert_uint_eq(fake.count, 4);
	for (unsigned int i = 0; i < 4; i++)
		ck_assert_uint_eq(memory[i * 513 + 1 + 99], pattern_byte(i * 512ULL + 99));
}
END_TEST

/* ---- what engines do to requests ---- */

START_TEST(a_transfer_that_came_short_goes_on)
{
	static uint8_t seen[3 * BLOCK];
	struct iovec iov[] = { { memory, 100 }, { memory + 100, 5000 }, { memory + 5100, 3 * BLOCK - 5100 } };

	driver_open("image,aio=fake");
	fake.bytes = 1000;
	driver_queue(&requests[0], DISK_READ, BLOCK, 3 * BLOCK, iov, 3);
	run_queued();
	check_results(0, 1, 0);
	for (unsigned int i = 0; i < 3 * BLOCK; i++)
		EXPECT_EQ(memory[i], pattern_byte(BLOCK + i));
	ck_assert_uint_eq(fake.count, 13);
	driver_queue(&requests[0], DISK_WRITE, MIB(2), 3 * BLOCK, iov, 3);
	run_queued();
	check_results(0, 1, 0);
	fake.bytes = 0;
	ck_assert_int_eq(driver_run(DISK_READ, MIB(2), seen, sizeof(seen)), 0);
	ck_assert_mem_eq(seen, memory, sizeof(seen));
}
END_TEST

START_TEST(a_transfer_that_moves_nothing_is_an_error)
{
	driver_open("image,aio=fake,format=raw");
	fake.full = true;
	ck_assert_int_eq(driver_run(DISK_READ, 0, memory, BLOCK), -EIO);
	ck_assert_int_eq(driver_run(DISK_WRITE, 0, memory, BLOCK), -ENOSPC);
}
END_TEST

START_TEST(what_there_is_no_room_for_waits)
{
	driver_open(_i ? "image,aio=fake,direct" : "image,aio=fake");
	fake.room = 3;
	/* every second block: nothing to merge, and in odd memory for direct I/O */
	for (unsigned int i = 0; i < 50; i++) {
		segments[i] = (struct iovec){ memory + i * (size_t)BLOCK * 2 + 1, BLOCK };
		driver_queue(&requests[i], DISK_READ, i * BLOCK * 2ULL, BLOCK, &segments[i], 1);
	}
	disk_submit(driver_disk);
	ck_assert_uint_eq(fake.has, 3);
	disk_drain(driver_disk);
	check_results(0, 50, 0);
	for (unsigned int i = 0; i < 50; i++)
		ck_assert_uint_eq(memory[i * BLOCK * 2 + 1 + 7], pattern_byte(i * BLOCK * 2ULL + 7));
}
END_TEST

START_TEST(a_flush_that_the_engine_refuses_is_a_thread_s)
{
	driver_open("image,aio=fake");
	fake.no_flush = true;
	driver_queue(&requests[0], DISK_FLUSH, 0, 0, NULL, 0);
	driver_queue(&requests[1], DISK_FLUSH, 0, 0, NULL, 0);
	run_queued();
	check_results(0, 2, 0);
	ck_assert_uint_eq(fake.count, 2);
	ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
	ck_assert_uint_eq(fake.count, 2);
}
END_TEST

/* ---- hosts without ---- */

/* From here on system call @number fails with @error, in this process. */
static void forbid(unsigned int number, unsigned int error)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | error),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	const struct sock_fprog program = { ARRAY_SIZE(filter), filter };

	ck_assert_int_eq(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), 0);
	ck_assert_int_eq(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program), 0);
}

static void check_refused(const char *options, const char *because)
{
	ck_assert_int_eq(driver_try_open(options), 0);
	driver_said[0] = 0;
	ck_assert_int_lt(disk_attach(driver_disk, driver_loop, NULL, NULL), 0);
	ck_assert_msg(strstr(driver_said, because) != NULL, "expected '%s' in '%s'", because, driver_said);
}

START_TEST(a_host_without_io_uring_is_said_in_one_line)
{
	if (!disk_aio_find("io_uring"))
		return;
	forbid(SYS_io_uring_setup, _i ? ENOSYS : EPERM);
	check_refused("image,aio=io_uring", _i ? "no io_uring" : "kernel.io_uring_disabled");
}
END_TEST

START_TEST(without_libaio_there_are_threads_unless_it_was_asked_for)
{
	forbid(SYS_io_setup, ENOSYS);
	if (_i) {
		check_refused("image,aio=native", "aio=threads");
		return;
	}
	driver_open("image");
	ck_assert_int_eq(driver_run(DISK_READ, 0, memory, 65536), 0);
	check_pattern(0, 65536);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *merging = suite_case(suite, "merging", setup, teardown);
	TCase *engine = suite_case(suite, "engine", setup, teardown);

	tcase_add_loop_test(merging, neighbours_become_one_request, 0, 2);
	tcase_add_test(merging, what_is_no_neighbour_stays_alone);
	tcase_add_test(merging, merging_has_bounds);
	tcase_add_test(merging, many_small_segments_are_not_one_huge_vector);
	tcase_add_test(merging, one_that_fails_does_not_take_its_neighbours_along);
	tcase_add_test(merging, unaligned_ones_are_not_merged_under_direct_io);
	tcase_add_test(engine, a_transfer_that_came_short_goes_on);
	tcase_add_test(engine, a_transfer_that_moves_nothing_is_an_error);
	tcase_add_loop_test(engine, what_there_is_no_room_for_waits, 0, 2);
	tcase_add_test(engine, a_flush_that_the_engine_refuses_is_a_thread_s);
	tcase_add_loop_test(engine, a_host_without_io_uring_is_said_in_one_line, 0, 2);
	tcase_add_loop_test(engine, without_libaio_there_are_threads_unless_it_was_asked_for, 0, 2);
}
SUITE_MAIN("disk-engine", add_tests)
