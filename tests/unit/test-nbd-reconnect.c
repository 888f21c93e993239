/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/nbd*.c and servers that hang up, fall silent or stay away: a server of the test's own does all of it. */
#include "tests/unit/disk-driver.h"

#include "disk/nbd.h"
#include "kvm/image.h"
#include "tests/unit/nbd-server.h"

#define URI	"nbd+unix:///disk?socket=server"
#define COUNT	8u
#define MS	1000000ULL

static uint8_t data[COUNT * 4096], seen[COUNT * 4096];
static struct driver_request requests[2 * COUNT];
static struct iovec iov[2 * COUNT];

static struct disk_nbd *nbd(void)
{
	return driver_disk->file->remote;
}

static void setup(void)
{
	disk_driver_setup();
	for (unsigned int i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + (i >> 9) + 1);
	for (unsigned int i = 0; i < NBD_SERVER_BYTES; i++)
		nbd_server.bytes[i] = (uint8_t)(i * 3 + (i >> 10));
	nbd_server_start("server");
}

static void open_raw(void)
{
	driver_open(URI ",format=raw");
	nbd()->patience_ns = 5000 * MS;
}

static void teardown(void)
{
	if (driver_disk && nbd()->drain_ns)
		nbd()->drain_ns = 100 * MS;
	nbd_server_stop();
	disk_driver_teardown();
}

/* Writes of the first blocks, reads of the next. */
static void submit_all(void)
{
	for (unsigned int i = 0; i < COUNT; i++) {
		iov[i] = (struct iovec){ data + i * 4096, 4096 };
		driver_queue(&requests[i], DISK_WRITE, i * 8192ULL, 4096, &iov[i], 1);
		iov[COUNT + i] = (struct iovec){ seen + i * 4096, 4096 };
		driver_queue(&requests[COUNT + i], DISK_READ, MIB(1) + i * 8192ULL, 4096, &iov[COUNT + i], 1);
	}
	disk_submit(driver_disk);
}

static bool all_done(void)
{
	for (unsigned int i = 0; i < 2 * COUNT; i++)
		if (!requests[i].done)
			return false;
	return true;
}

static void wait_for_all(unsigned int ms)
{
	uint64_t end = event_now_ns() + ms * MS;

	while (!all_done() && event_now_ns() < end)
		event_loop_poll(driver_loop, 5);
	ck_assert_msg(all_done(), "requests aren't done after %u ms; %s", ms, driver_said);
}

static void all_are(int result)
{
	for (unsigned int i = 0; i < 2 * COUNT; i++)
		ck_assert_int_eq(requests[i].result, result);
}

static void all_are_right(void)
{
	all_are(0);
	for (unsigned int i = 0; i < COUNT; i++) {
		ck_assert_mem_eq(nbd_server.bytes + i * 8192, data + i * 4096, 4096);
		ck_assert_mem_eq(seen + i * 4096, nbd_server.bytes + MIB(1) + i * 8192, 4096);
	}
}

START_TEST(what_was_in_flight_is_done_over_the_next_connection)
{
	open_raw();
	atomic_store(&nbd_server.hang_up, 2);
	submit_all();
	if (_i)
		disk_drain(driver_disk);
	wait_for_all(5000);
	all_are_right();
	ck_assert_uint_eq(atomic_load(&nbd_server.connections), 3);
	/* nothing was promised before: there is nothing to have lost */
	ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
}
END_TEST

START_TEST(what_was_not_flushed_is_said_to_be_lost)
{
	open_raw();
	ck_assert_int_eq(driver_run(DISK_WRITE, 0, data, 4096), 0);
	atomic_store(&nbd_server.hang_up, 1);
	ck_assert_int_eq(driver_run(DISK_READ, 0, seen, 4096), 0);
	ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), -EIO);
	ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
}
END_TEST

START_TEST(a_silent_server_is_left_for_a_new_connection)
{
	atomic_store(&nbd_server.silent, 1);
	open_raw();
	nbd()->silence_ns = 200 * MS;
	submit_all();
	wait_for_all(5000);
	all_are_right();
	ck_assert_uint_eq(atomic_load(&nbd_server.connections), 2);
}
END_TEST

/* Whether it takes commands and answers none, or greets nobody any more. */
START_TEST(a_drain_waits_for_no_server)
{
	uint64_t begin;

	atomic_store(&nbd_server.silent, 1000);
	open_raw();
	nbd()->drain_ns = 300 * MS;
	if (_i)
		atomic_store(&nbd_server.mute, true);
	if (_i) {
		nbd()->silence_ns = 100 * MS;
		submit_all();
		while (nbd()->handle)
			event_loop_poll(driver_loop, 5);
	} else {
		submit_all();
	}
	begin = event_now_ns();
	disk_drain(driver_disk);
	ck_assert_uint_lt(event_now_ns() - begin, 2000 * MS);
	ck_assert(all_done());
	all_are(-EIO);
	/* what comes next doesn't wait either */
	begin = event_now_ns();
	ck_assert_int_eq(driver_run(DISK_READ, 0, seen, 4096), -EIO);
	ck_assert_uint_lt(event_now_ns() - begin, 200 * MS);
}
END_TEST

START_TEST(requests_fail_while_a_server_stays_away_and_no_longer)
{
	uint64_t end;
	int result = -EIO;

	open_raw();
	nbd()->patience_ns = 300 * MS;
	nbd_server_stop();
	submit_all();
	wait_for_all(3000);
	all_are(-EIO);
	ck_assert_int_eq(driver_run(DISK_READ, 0, seen, 4096), -EIO);
	nbd_server_start("server");
	for (end = event_now_ns() + 10000 * MS; result && event_now_ns() < end; event_loop_poll(driver_loop, 20))
		result = driver_run(DISK_READ, 0, seen, 4096);
	ck_assert_int_eq(result, 0);
	submit_all();
	wait_for_all(3000);
	all_are_right();
}
END_TEST

START_TEST(an_idle_disk_finds_its_server_again)
{
	uint64_t end = event_now_ns() + 10000 * MS;

	open_raw();
	nbd_server_stop();
	event_loop_poll(driver_loop, 100);
	ck_assert_ptr_null(nbd()->handle);
	nbd_server_start("server");
	while (!nbd()->handle && event_now_ns() < end)
		event_loop_poll(driver_loop, 20);
	ck_assert_ptr_nonnull(nbd()->handle);
	submit_all();
	wait_for_all(3000);
	all_are_right();
}
END_TEST

/* Each connection ends at a command; other requests aren't to pay for it for ever. */
START_TEST(what_always_ends_the_server_fails)
{
	open_raw();
	nbd()->patience_ns = 60000 * MS;
	atomic_store(&nbd_server.hang_up, 1000);
	ck_assert_int_eq(driver_run(DISK_READ, 0, seen, 4096), -EIO);
	ck_assert_uint_eq(atomic_load(&nbd_server.connections), 3);
	atomic_store(&nbd_server.hang_up, 0);
	ck_assert_int_eq(driver_run(DISK_READ, 0, seen, 4096), 0);
}
END_TEST

START_TEST(an_export_that_shrank_is_not_used)
{
	open_raw();
	nbd()->patience_ns = 500 * MS;
	atomic_store(&nbd_server.smaller, true);
	atomic_store(&nbd_server.hang_up, 1);
	ck_assert_int_eq(driver_run(DISK_READ, 0, seen, 4096), -EIO);
	ck_assert_ptr_null(nbd()->handle);
}
END_TEST

/* ---- the loop ---- */

static __typeof__(nbd_aio_connect_uri) *connect_really;
static atomic_uint slow_connects;

/* As the resolver, when nobody answers it. */
static int connect_slowly(struct nbd_handle *handle, const char *uri)
{
	atomic_fetch_add(&slow_connects, 1);
	usleep(1000000);
	return connect_really(handle, uri);
}

/* The longest that the loop was away, until all is done or @ms have passed. */
static uint64_t longest_turn(unsigned int ms)
{
	uint64_t end = event_now_ns() + ms * MS, longest = 0;

	while (!all_done() && event_now_ns() < end) {
		uint64_t begin = event_now_ns();

		event_loop_poll(driver_loop, 0);
		longest = MAX(longest, event_now_ns() - begin);
		usleep(1000);
	}
	return longest;
}

/* What is under way goes on as it began. */
static void connect_by(__typeof__(nbd_aio_connect_uri) *function)
{
	((struct nbd_library *)(uintptr_t)nbd()->library)->connect_uri = function;
}

static void slow_down(void)
{
	connect_really = nbd()->library->connect_uri;
	connect_by(connect_slowly);
}

START_TEST(the_loop_does_not_wait_for_names)
{
	uint64_t longest;

	open_raw();
	slow_down();
	atomic_store(&nbd_server.hang_up, 1);
	submit_all();
	longest = longest_turn(8000);
	connect_by(connect_really);
	ck_assert_uint_ge(atomic_load(&slow_connects), 1);
	ck_assert_uint_lt(longest, 300 * MS);
	ck_assert(all_done());
	all_are_right();
}
END_TEST

/* Its thread is left with the attempt, and so is the name that it looks up. */
START_TEST(nobody_waits_for_an_attempt_at_the_end)
{
	uint64_t begin;

	open_raw();
	slow_down();
	nbd_server_stop();
	while (nbd()->handle || !atomic_load(&slow_connects))
		event_loop_poll(driver_loop, 10);
	connect_by(connect_really);
	begin = event_now_ns();
	driver_close();
	ck_assert_uint_lt(event_now_ns() - begin, 300 * MS);
	usleep(1200000);
}
END_TEST

/* ---- formats, whose tables are read by calls ---- */

static void serve_qcow2(void)
{
	const struct image_options options = { .path = "image.qcow2", .format = "qcow2", .size = MIB(2) };
	uint64_t size;
	uint8_t *bytes;

	ck_assert_int_eq(image_create(&options), 0);
	bytes = file_read("image.qcow2", &size);
	ck_assert_uint_le(size, NBD_SERVER_BYTES);
	memset(nbd_server.bytes, 0, NBD_SERVER_BYTES);
	memcpy(nbd_server.bytes, bytes, size);
	free(bytes);
	driver_open(URI ",format=qcow2");
	nbd()->patience_ns = 5000 * MS;
}

START_TEST(a_format_waits_for_its_server)
{
	serve_qcow2();
	ck_assert_int_eq(driver_run(DISK_WRITE, 4096, data, 8192), 0);
	ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
	nbd_server_stop();
	event_loop_poll(driver_loop, 100);
	ck_assert_ptr_null(nbd()->handle);
	submit_all();
	event_loop_poll(driver_loop, 50);
	ck_assert(!requests[0].done && !requests[COUNT].done);
	nbd_server_start("server");
	wait_for_all(5000);
	all_are(0);
	ck_assert_int_eq(driver_run(DISK_READ, 8192, seen, 4096), 0);
	ck_assert_mem_eq(seen, data + 4096, 4096);
}
END_TEST

START_TEST(a_format_whose_server_stays_away_is_drained)
{
	uint64_t begin;

	serve_qcow2();
	nbd()->drain_ns = 300 * MS;
	nbd_server_stop();
	event_loop_poll(driver_loop, 100);
	submit_all();
	begin = event_now_ns();
	disk_drain(driver_disk);
	ck_assert_uint_lt(event_now_ns() - begin, 2000 * MS);
	ck_assert(all_done());
	/* what was never written reads as zeroes without a server */
	for (unsigned int i = 0; i < COUNT; i++)
		ck_assert_int_eq(requests[i].result, -EIO);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "reconnect", setup, teardown);

	tcase_add_loop_test(tests, what_was_in_flight_is_done_over_the_next_connection, 0, 2);
	tcase_add_test(tests, what_was_not_flushed_is_said_to_be_lost);
	tcase_add_test(tests, a_silent_server_is_left_for_a_new_connection);
	tcase_add_loop_test(tests, a_drain_waits_for_no_server, 0, 2);
	tcase_add_test(tests, requests_fail_while_a_server_stays_away_and_no_longer);
	tcase_add_test(tests, an_idle_disk_finds_its_server_again);
	tcase_add_test(tests, what_always_ends_the_server_fails);
	tcase_add_test(tests, an_export_that_shrank_is_not_used);
	tcase_add_test(tests, the_loop_does_not_wait_for_names);
	tcase_add_test(tests, nobody_waits_for_an_attempt_at_the_end);
	tcase_add_test(tests, a_format_waits_for_its_server);
	tcase_add_test(tests, a_format_whose_server_stays_away_is_drained);
}

int main(void)
{
	if (!nbd_library()) {
		printf("SKIP nbd-reconnect: no libnbd\n");
		return 0;
	}
	return suite_run("nbd-reconnect", add_tests);
}
