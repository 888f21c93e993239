/* SPDX-License-Identifier: BSD-2-Clause */
/* disk/nbd.c against qemu-nbd on a Unix socket: all kinds of requests, formats over it, and servers that go away. */
#include "tests/unit/disk-driver.h"

#include <signal.h>
#include <sys/wait.h>

#include "disk/nbd.h"

#define DISK_BYTES	MIB(4)
#define URI		"nbd+unix:///disk?socket=server"

static pid_t server;
static uint8_t data[262144], seen[262144];

static void server_start(const char *image, const char *option)
{
	char path[128];

	/* it wants the whole path */
	snprintf(path, sizeof(path), "%s/server", folder_path);
	unlink(path);
	server = fork();
	if (!server) {
		execlp("qemu-nbd", "qemu-nbd", "-t", "-k", path, "-x", "disk", "-f", "raw", image, option, NULL);
		_exit(127);
	}
	for (unsigned int i = 0; i < 400 && access("server", F_OK); i++)
		usleep(50000);
	ck_assert_msg(!access("server", F_OK), "qemu-nbd doesn't listen after 20 s");
}

static void server_kill(int how)
{
	if (server <= 0)
		return;
	kill(server, how);
	if (how == SIGKILL)
		waitpid(server, NULL, 0);
	if (how == SIGKILL)
		server = 0;
}

static void setup(void)
{
	disk_driver_setup();
	ck_assert_int_eq(shell("truncate -s 4M image"), 0);
	for (unsigned int i = 0; i < sizeof(data); i++)
		data[i] = (uint8_t)(i * 7 + (i >> 9) + 1);
}

static void teardown(void)
{
	driver_close();
	server_kill(SIGKILL);
	disk_driver_teardown();
}

START_TEST(a_server_s_disk_is_read_and_written)
{
	struct iovec iov[] = { { data, 512 }, { data + 512, 65536 }, { data + 66048, sizeof(data) - 66048 } };
	struct driver_request request;
	uint8_t *bytes;
	uint64_t size;

	server_start("image", NULL);
	driver_open(URI ",format=raw");
	ck_assert_uint_eq(disk_info(driver_disk)->size, DISK_BYTES);
	ck_assert(disk_info(driver_disk)->discard && disk_info(driver_disk)->write_zeroes);
	driver_queue(&request, DISK_WRITE, 65536, sizeof(data), iov, 3);
	request.io.fua = _i;
	disk_submit(driver_disk);
	disk_drain(driver_disk);
	ck_assert_int_eq(request.result, 0);
	ck_assert_int_eq(driver_run(DISK_READ, 65536, seen, sizeof(seen)), 0);
	ck_assert_mem_eq(data, seen, sizeof(seen));
	ck_assert_int_eq(driver_run(DISK_WRITE_ZEROES, 65536, NULL, 65536), 0);
	ck_assert_int_eq(driver_run(DISK_DISCARD, MIB(2), NULL, MIB(1)), 0);
	ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
	ck_assert_int_eq(driver_run(DISK_READ, DISK_BYTES, seen, 512), -EIO);
	ck_assert_int_eq(driver_run(DISK_WRITE, DISK_BYTES, seen, 512), -ENOSPC);
	bytes = file_read("image", &size);
	for (unsigned int i = 0; i < 65536; i++)
		EXPECT_EQ(bytes[65536 + i], 0);
	ck_assert_mem_eq(bytes + 131072, data + 65536, sizeof(data) - 65536);
	free(bytes);
}
END_TEST

/* More than its window, and than there are bounces; from a loop and by a drain. */
START_TEST(many_requests_are_in_flight_at_once)
{
	enum { COUNT = 200 };
	static struct driver_request requests[COUNT];
	static struct iovec iov[COUNT][2];
	uint64_t end = event_now_ns() + 20000000000ULL;
	unsigned int done = 0;

	server_start("image", NULL);
	driver_open(URI ",format=raw");
	ck_assert_int_eq(driver_run(DISK_WRITE, 0, data, sizeof(data)), 0);
	for (unsigned int i = 0; i < COUNT; i++) {
		unsigned int at = i * 7919 % 60 * 4096;

		iov[i][0] = (struct iovec){ seen + i * 1024, 512 };
		iov[i][1] = (struct iovec){ seen + i * 1024 + 512, 512 };
		driver_queue(&requests[i], DISK_READ, at, 1024, iov[i], 1 + i % 2);
		requests[i].io.length = 512 * (1 + i % 2);
	}
	disk_submit(driver_disk);
	if (_i)
		disk_drain(driver_disk);
	while (done < COUNT && event_now_ns() < end) {
		event_loop_poll(driver_loop, 10);
		for (done = 0; done < COUNT && requests[done].done; done++)
			;
	}
	ck_assert_uint_eq(done, COUNT);
	for (unsigned int i = 0; i < COUNT; i++) {
		ck_assert_int_eq(requests[i].result, 0);
		ck_assert_mem_eq(seen + i * 1024, data + i * 7919 % 60 * 4096, 512 * (1 + i % 2));
	}
}
END_TEST

START_TEST(formats_stand_over_a_server)
{
	ck_assert_int_eq(shell("qemu-img create -q -f qcow2 -o preallocation=metadata image.qcow2 1M && truncate -s 8M image.qcow2"), 0);
	server_start("image.qcow2", NULL);
	driver_open(_i ? URI ",format=qcow2" : URI);
	ck_assert_uint_eq(disk_info(driver_disk)->size, MIB(1));
	ck_assert_int_eq(driver_run(DISK_WRITE, 4096, data, sizeof(data)), 0);
	ck_assert_int_eq(driver_run(DISK_WRITE_ZEROES, 524288, NULL, 65536), 0);
	ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
	ck_assert_int_eq(driver_run(DISK_READ, 4096, seen, sizeof(seen)), 0);
	ck_assert_mem_eq(data, seen, sizeof(seen));
	driver_close();
	server_kill(SIGKILL);
	ck_assert_int_eq(shell("qemu-img check -q image.qcow2"), 0);
	ck_assert_int_eq(shell("qemu-io -r -c 'read -P %d 4096 1' image.qcow2 | grep -q 'read 1/1'", data[0]), 0);
}
END_TEST

START_TEST(an_image_of_a_server_leads_to_no_file_of_ours)
{
	ck_assert_int_eq(shell("qemu-img create -q -f qcow2 -u -b '%s' -F raw image.qcow2 1M", _i ? "/etc/hostname" : "image"), 0);
	server_start("image.qcow2", "-r");
	driver_refused(URI ",ro", _i ? "outside the folder" : "has no folder");
}
END_TEST

START_TEST(a_read_only_export_wants_ro)
{
	server_start("image", "-r");
	driver_refused(URI, "',ro'");
	driver_open(URI ",ro");
	ck_assert(disk_info(driver_disk)->read_only);
	ck_assert_int_eq(driver_run(DISK_READ, 0, seen, 4096), 0);
}
END_TEST

START_TEST(no_server_is_one_line)
{
	driver_refused("nbd+unix:///disk?socket=nowhere", "nowhere");
	driver_refused("nbd://127.0.0.1:1/disk", "127.0.0.1:1");
	driver_refused("nbdx://host/disk", "not in this build");
	server_start("image", NULL);
	driver_refused("nbd+unix:///other?socket=server", "other");
}
END_TEST

static void patience(unsigned int ms)
{
	((struct disk_nbd *)driver_disk->file->remote)->patience_ns = ms * 1000000ULL;
}

/* Requests fail after a while, and at once from then on. */
START_TEST(a_lost_server_is_an_error_until_it_is_back)
{
	uint64_t end;
	int result = -EIO;

	server_start("image", NULL);
	driver_open(URI ",format=raw");
	ck_assert_int_eq(driver_run(DISK_WRITE, 0, data, 4096), 0);
	if (_i)
		ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
	patience(200);
	server_kill(SIGKILL);
	ck_assert_int_eq(driver_run(DISK_READ, 0, seen, 4096), -EIO);
	ck_assert_msg(strstr(driver_said, "isn't back") != NULL, "seen '%s'", driver_said);
	ck_assert_int_eq(driver_run(DISK_WRITE, 0, data, 4096), -EIO);
	server_start("image", NULL);
	for (end = event_now_ns() + 20000000000ULL; result && event_now_ns() < end; usleep(100000))
		result = driver_run(DISK_READ, 0, seen, 4096);
	ck_assert_int_eq(result, 0);
	ck_assert_mem_eq(seen, data, 4096);
	/* what was written and not flushed may be lost: that is said, once */
	ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), _i ? 0 : -EIO);
	ck_assert_int_eq(driver_run(DISK_FLUSH, 0, NULL, 0), 0);
}
END_TEST

START_TEST(what_is_in_flight_is_asked_of_the_next_server)
{
	static struct driver_request requests[8];
	struct iovec iov = { seen, 4096 };

	server_start("image", NULL);
	driver_open(URI ",format=raw");
	ck_assert_int_eq(driver_run(DISK_READ, 0, seen, 4096), 0);
	kill(server, SIGSTOP);
	for (unsigned int i = 0; i < 8; i++)
		driver_queue(&requests[i], DISK_READ, i * 8192ULL, 4096, &iov, 1);
	disk_submit(driver_disk);
	event_loop_poll(driver_loop, 50);
	ck_assert(!requests[0].done);
	server_kill(SIGKILL);
	event_loop_poll(driver_loop, 50);
	ck_assert(!requests[0].done);
	server_start("image", NULL);
	disk_drain(driver_disk);
	for (unsigned int i = 0; i < 8; i++)
		ck_assert_int_eq(requests[i].result, 0);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "nbd", setup, teardown);

	tcase_add_loop_test(tests, a_server_s_disk_is_read_and_written, 0, 2);
	tcase_add_loop_test(tests, many_requests_are_in_flight_at_once, 0, 2);
	tcase_add_loop_test(tests, formats_stand_over_a_server, 0, 2);
	tcase_add_loop_test(tests, an_image_of_a_server_leads_to_no_file_of_ours, 0, 2);
	tcase_add_test(tests, a_read_only_export_wants_ro);
	tcase_add_test(tests, no_server_is_one_line);
	tcase_add_loop_test(tests, a_lost_server_is_an_error_until_it_is_back, 0, 2);
	tcase_add_test(tests, what_is_in_flight_is_asked_of_the_next_server);
}

int main(void)
{
	if (system("command -v qemu-nbd >/dev/null && command -v qemu-img >/dev/null")) {
		printf("SKIP nbd: no qemu-nbd\n");
		return 0;
	}
	if (!nbd_library()) {
		printf("SKIP nbd: no libnbd\n");
		return 0;
	}
	return suite_run("nbd", add_tests);
}
