/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/limits.c by a clock that the tests turn, disk/throttle.c on a disk, and block_set_io_throttle's arguments. */
#include "tests/unit/disk-driver.h"

#include "control/control-internal.h"
#include "disk/limits.h"
#include "kvm/option.h"

#define SECOND	1000000000ULL

/* ---- the arithmetic ---- */

static struct disk_buckets buckets;
static uint64_t now;

static void start(const char *options)
{
	struct disk_options parsed;
	char text[256];

	snprintf(text, sizeof(text), "/i,%s", options);
	ck_assert_int_eq(disk_options_parse(&parsed, text), 0);
	now = 5 * SECOND;
	disk_buckets_set(&buckets, &parsed.limits, now);
	disk_options_free(&parsed);
}

/* How many requests somebody who never stops gets through in @seconds. */
static double greedy(bool write, uint64_t bytes, unsigned int seconds)
{
	uint64_t end = now + seconds * SECOND, count = 0;

	for (;;) {
		uint64_t wait = disk_buckets_wait(&buckets, write, now);

		if (wait >= end - now)
			break;
		now += wait;
		EXPECT(!wait || !disk_buckets_wait(&buckets, write, now), "what waited long enough must wait again");
		disk_buckets_charge(&buckets, write, bytes);
		EXPECT(++count < 10000000, "no limit");
	}
	now = end;
	return (double)count;
}

static void check_about(double seen, double expected)
{
	ck_assert_msg(seen >= expected * 0.98 && seen <= expected * 1.02, "expected about %g, seen %g", expected, seen);
}

START_TEST(requests_a_second_are_kept_over_time)
{
	start("iops=1000");
	check_about(greedy(false, 4096, 10), 10100);
	check_about(greedy(true, 4096, 10), 10000);
	/* a second's rest gives no more than a tenth of a second's worth */
	now += 100 * SECOND;
	check_about(greedy(false, 4096, 1), 1100);
}
END_TEST

START_TEST(bytes_a_second_are_kept_whatever_the_size)
{
	start("bps=10M");
	check_about(greedy(false, 65536, 10) * 65536, 101.0 * (double)MIB(1));
	check_about(greedy(false, 4096, 10) * 4096, 100.0 * (double)MIB(1));
	/* one that is larger than a second's worth goes, and is paid for behind it */
	check_about(greedy(false, MIB(50), 20), 4);
}
END_TEST

START_TEST(reads_and_writes_are_limited_apart)
{
	start("iops_rd=100,iops_wr=1000,bps_wr=1M");
	check_about(greedy(false, MIB(1), 10), 1010);
	check_about(greedy(true, 512, 10), 10100);
	start("iops_wr=10");
	ck_assert_uint_eq(disk_buckets_wait(&buckets, false, now), 0);
	for (unsigned int i = 0; i < 1000; i++)
		disk_buckets_charge(&buckets, false, MIB(1));
	ck_assert_uint_eq(disk_buckets_wait(&buckets, false, now), 0);
	ck_assert_uint_eq(disk_buckets_wait(&buckets, true, now), 0);
}
END_TEST

START_TEST(a_limit_of_all_counts_both)
{
	start("iops=100");
	greedy(false, 4096, 10);
	ck_assert_uint_gt(disk_buckets_wait(&buckets, true, now - 1), 0);
	ck_assert_uint_le(disk_buckets_wait(&buckets, true, now), SECOND / 100 + 1);
}
END_TEST

/* max of a second may be spent at once; then the rate holds. */
START_TEST(a_burst_is_spent_once_and_comes_back_with_rest)
{
	start("iops=100,iops_max=2000");
	check_about(greedy(false, 4096, 1), 2100);
	check_about(greedy(false, 4096, 10), 1000);
	now += 10 * SECOND;
	check_about(greedy(false, 4096, 1), 1100);
	now += 30 * SECOND;
	check_about(greedy(false, 4096, 1), 2100);
}
END_TEST

/* A tenth of a second's worth at once, then 1000 a second while 100 leak: 4900 / 900 seconds of it. */
START_TEST(a_long_burst_is_kept_to_its_own_rate)
{
	start("iops=100,iops_max=1000,iops_max_length=5");
	check_about(greedy(false, 4096, 1), 1100);
	check_about(greedy(false, 4096, 3), 3000);
	check_about(greedy(false, 4096, 6), 1444 + 456);
	check_about(greedy(false, 4096, 10), 1000);
}
END_TEST

START_TEST(large_requests_may_count_as_several)
{
	start("iops=100,iops_size=8K");
	check_about(greedy(false, 4096, 10), 1010);
	check_about(greedy(false, 16384, 10), 500);
}
END_TEST

static const struct { const char *text, *because; } wrong[] = {
	{ "iops=10,iops_rd=10", "iops is both" }, { "bps=10,bps_wr=10", "bps is both" }, { "iops_max=10", "iops_max is there without" },
	{ "iops_rd=10,iops_rd_max=9", "iops_rd_max is below" }, { "bps=1,bps_max_length=3", "bps_max_length is there without" },
	{ "bps=1,bps_max=1,bps_max_length=100000", "above 86400" }, { "iops_size=4096", "iops_size is there without" },
	{ "iops=1K", "iops=1K is no number" }, { "bps=fast", "bps=fast is no number" }, { "bps=9999999999999999", "bps is above" },
	{ "iops=-1", "is no number" }, { "iops_fast=1", "iops_fast" },
};

START_TEST(limits_that_make_no_sense_are_refused)
{
	struct disk_options options;
	char text[128];

	log_set_sink(driver_keep_line);
	snprintf(text, sizeof(text), "/i,%s", wrong[_i].text);
	ck_assert_int_eq(disk_options_parse(&options, text), -EUSAGE);
	ck_assert_msg(strstr(driver_said, wrong[_i].because) != NULL, "expected '%s' in '%s'", wrong[_i].because, driver_said);
	log_set_sink(NULL);
}
END_TEST

/* ---- on a disk ---- */

#define COUNT	64
#define BLOCK	4096u

static struct driver_request requests[COUNT];
static uint8_t memory[COUNT * BLOCK];
static struct iovec segments[COUNT];

static void setup(void)
{
	disk_driver_setup();
	ck_assert_int_eq(shell("truncate -s 1M image"), 0);
}

static unsigned int count_done(void)
{
	unsigned int done = 0;

	for (unsigned int i = 0; i < COUNT; i++)
		done += requests[i].done;
	return done;
}

static void submit_all(enum disk_op op)
{
	for (unsigned int i = 0; i < COUNT; i++) {
		segments[i] = (struct iovec){ memory + i * (size_t)BLOCK, BLOCK };
		driver_queue(&requests[i], op, i * (uint64_t)BLOCK, BLOCK, &segments[i], 1);
	}
	disk_submit(driver_disk);
}

static void poll_for(uint64_t ns)
{
	for (uint64_t end = event_now_ns() + ns; event_now_ns() < end;)
		event_loop_poll(driver_loop, 5);
}

START_TEST(a_limited_disk_does_what_it_may_and_no_more)
{
	uint64_t begin = event_now_ns();

	driver_open(_i ? "image,bps=400K" : "image,iops=100");
	submit_all(DISK_READ);
	ck_assert_uint_lt(count_done(), 20);
	while (count_done() < COUNT)
		event_loop_poll(driver_loop, 100);
	/* 64 of 100 a second, of which 11 go at once */
	ck_assert_uint_ge(event_now_ns() - begin, SECOND / 2);
	for (unsigned int i = 0; i < COUNT; i++)
		ck_assert_int_eq(requests[i].result, 0);
}
END_TEST

START_TEST(a_drain_waits_for_no_limit)
{
	uint64_t begin = event_now_ns();

	driver_open(_i ? "image,iops=1,format=raw" : "image,iops_wr=1,format=raw");
	submit_all(DISK_WRITE);
	ck_assert_uint_lt(count_done(), 5);
	disk_drain(driver_disk);
	ck_assert_uint_eq(count_done(), COUNT);
	ck_assert_uint_lt(event_now_ns() - begin, 20 * SECOND);
	/* and the limit is there again, with all of that against it */
	submit_all(DISK_WRITE);
	ck_assert_uint_eq(count_done(), 0);
}
END_TEST

START_TEST(flushes_and_the_unlimited_kind_pass)
{
	driver_open("image,iops_wr=1,format=raw");
	submit_all(DISK_WRITE);
	ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
	ck_assert_int_eq(driver_run(DISK_READ, 0, memory, BLOCK), 0);
	ck_assert_uint_lt(count_done(), 5);
}
END_TEST

START_TEST(limits_change_while_requests_are_held)
{
	struct disk_limits limits = { 0 };

	driver_open("image,iops=1");
	submit_all(DISK_READ);
	poll_for(SECOND / 20);
	ck_assert_uint_lt(count_done(), 5);
	limits.ops[DISK_LIMIT_TOTAL].rate = _i ? 100000 : 0;
	ck_assert_int_eq(disk_set_limits(driver_disk, &limits), 0);
	poll_for(SECOND / 5);
	ck_assert_uint_eq(count_done(), COUNT);
	limits.ops[DISK_LIMIT_TOTAL].rate = 1;
	ck_assert_int_eq(disk_set_limits(driver_disk, &limits), 0);
	submit_all(DISK_READ);
	poll_for(SECOND / 20);
	ck_assert_uint_lt(count_done(), 5);
}
END_TEST

/* ---- block_set_io_throttle ---- */

static const struct { const char *arguments, *answer; } throttles[] = {
	{ "'device': 'virtio-blk0', 'iops': 1", "return" }, { "'id': 'SERIAL', 'iops': 1, 'bps': 100, 'bps_max': 200", "return" },
	{ "'device': 'disk0', 'iops': 1", "return" }, { "'iops': 1", "'device' is missing" },
	{ "'device': 'virtio-blk1', 'iops': 1", "not found" }, { "'device': '', 'iops': 1", "not found" },
	{ "'device': 'disk0', 'iops': -1", "'iops' has to be a number" }, { "'device': 'disk0', 'bps': '1M'", "for 'bps', expected: integer" },
	{ "'device': 'disk0', 'iops': 1, 'iops_max_length': 2", "iops_max_length is there without" },
	{ "'device': 'disk0', 'group': 'x'", "group" },
};

START_TEST(limits_are_set_by_qmp_and_nonsense_is_refused)
{
	struct kvm *kvm = board_create();
	struct qmp_session session = { .kvm = kvm, .negotiated = true };
	char text[256], *answer;
	struct disk *disk;

	ck_assert_int_eq(config_set(kvm->config, "disk", "image,format=raw,serial=SERIAL"), 0);
	board_add(kvm, "disks_init");
	disk = disks_get(kvm, 0);
	snprintf(text, sizeof(text), "{'execute': 'block_set_io_throttle', 'arguments': {%s}}", throttles[_i].arguments);
	for (char *at = text; *at; at++)
		*at = *at == '\'' ? '"' : *at;
	answer = qmp_handle(&session, text, strlen(text));
	ck_assert_msg(answer && strstr(answer, throttles[_i].answer), "%s: %s", text, answer);
	ck_assert_int_eq(disk->throttle != NULL, !strcmp(throttles[_i].answer, "return"));
	free(answer);
	board_destroy(kvm);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *arithmetic = suite_case(suite, "arithmetic", NULL, NULL);
	TCase *disks = suite_case(suite, "disks", setup, disk_driver_teardown);

	tcase_add_test(arithmetic, requests_a_second_are_kept_over_time);
	tcase_add_test(arithmetic, bytes_a_second_are_kept_whatever_the_size);
	tcase_add_test(arithmetic, reads_and_writes_are_limited_apart);
	tcase_add_test(arithmetic, a_limit_of_all_counts_both);
	tcase_add_test(arithmetic, a_burst_is_spent_once_and_comes_back_with_rest);
	tcase_add_test(arithmetic, a_long_burst_is_kept_to_its_own_rate);
	tcase_add_test(arithmetic, large_requests_may_count_as_several);
	tcase_add_loop_test(arithmetic, limits_that_make_no_sense_are_refused, 0, (int)ARRAY_SIZE(wrong));
	tcase_add_loop_test(disks, a_limited_disk_does_what_it_may_and_no_more, 0, 2);
	tcase_add_loop_test(disks, a_drain_waits_for_no_limit, 0, 2);
	tcase_add_test(disks, flushes_and_the_unlimited_kind_pass);
	tcase_add_loop_test(disks, limits_are_set_by_qmp_and_nonsense_is_refused, 0, (int)ARRAY_SIZE(throttles));
	tcase_add_loop_test(disks, limits_change_while_requests_are_held, 0, 2);
}
SUITE_MAIN("disk-limits", add_tests)
