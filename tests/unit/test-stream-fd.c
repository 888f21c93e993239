/* SPDX-License-Identifier: BSD-2-Clause */
/* core/stream-fd.c: descriptors of others, neither waited for nor changed. */
#include "tests/unit/suite.h"

#include <fcntl.h>
#include <pty.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <termios.h>

#include "kvm/stream-fd.h"

#define FULL	MIB(8)	/* more than any pipe, socket or tty holds */

static struct stream_fd stream;
static int ends[2];	/* [0] is read, [1] written */

static void setup(void)
{
	signal(SIGPIPE, SIG_IGN);
	/* A write that waits would have nobody to wake it. */
	alarm(20);
	stream.fd = -1;
}

static void make_pipe(void)
{
	ck_assert_int_eq(pipe(ends), 0);
}

static void make_socket(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
}

static void make_pty(int master_end, int slave_end)
{
	struct termios raw;

	ck_assert_int_eq(openpty(&ends[master_end], &ends[slave_end], NULL, NULL, NULL), 0);
	ck_assert_int_eq(tcgetattr(ends[slave_end], &raw), 0);
	cfmakeraw(&raw);
	ck_assert_int_eq(tcsetattr(ends[slave_end], TCSANOW, &raw), 0);
}

static void make_slave_written(void)
{
	make_pty(0, 1);
}

/* Which can't be opened anew. */
static void make_master_written(void)
{
	make_pty(1, 0);
}

static void (*const kinds[])(void) = { make_pipe, make_socket, make_slave_written, make_master_written };
static const enum stream_kind expected[] = { STREAM_PLAIN, STREAM_SOCKET, STREAM_PLAIN, STREAM_POLLED };

static size_t fill_once(void)
{
	static char bytes[65536];
	size_t total = 0;
	ssize_t n;

	while (total < FULL && (n = stream_fd_write(&stream, bytes, sizeof(bytes))) > 0)
		total += (size_t)n;
	return total;
}

/* How much it took until it would have waited, and would still: a pty moves what it has to the reader's side later. */
static size_t fill(void)
{
	size_t total = 0, more;

	while ((more = fill_once())) {
		total += more;
		ck_assert_uint_lt(total, FULL);
		usleep(20000);
	}
	return total;
}

static void drain(size_t total)
{
	char bytes[4096];

	while (total) {
		ssize_t n = read(ends[0], bytes, MIN(sizeof(bytes), total));

		ck_assert_int_gt(n, 0);
		total -= (size_t)n;
	}
}

START_TEST(a_full_one_says_so_and_takes_more_when_it_is_read)
{
	size_t total;

	kinds[_i]();
	ck_assert_int_eq(stream_fd_open(&stream, ends[1], O_WRONLY), 0);
	ck_assert_int_eq(stream.kind, expected[_i]);
	total = fill();
	ck_assert_uint_gt(total, 0);
	ck_assert_int_eq(stream_fd_write(&stream, "x", 1), -EAGAIN);
	drain(total);
	ck_assert_int_eq(stream_fd_write(&stream, "x", 1), 1);
	stream_fd_close(&stream);
}
END_TEST

START_TEST(an_empty_one_says_so_and_gives_what_comes)
{
	char bytes[8];

	kinds[_i]();
	ck_assert_int_eq(stream_fd_open(&stream, ends[0], O_RDONLY), 0);
	ck_assert_int_eq(stream_fd_read(&stream, bytes, sizeof(bytes)), -EAGAIN);
	ck_assert_int_eq(write(ends[1], "word", 4), 4);
	ck_assert_int_eq(stream_fd_read(&stream, bytes, sizeof(bytes)), 4);
	ck_assert_mem_eq(bytes, "word", 4);
	stream_fd_close(&stream);
}
END_TEST

START_TEST(the_caller_s_descriptor_is_as_it_was)
{
	kinds[_i]();
	ck_assert_int_eq(stream_fd_open(&stream, ends[1], O_WRONLY), 0);
	ck_assert_int_eq(fcntl(ends[1], F_GETFL) & O_NONBLOCK, 0);
	close(ends[1]);
	ck_assert_int_eq(stream_fd_write(&stream, "x", 1), 1);
	stream_fd_close(&stream);
	ck_assert_int_eq(stream.fd, -1);
	stream_fd_close(&stream);
}
END_TEST

START_TEST(one_whose_reader_left_says_so)
{
	kinds[_i]();
	ck_assert_int_eq(stream_fd_open(&stream, ends[1], O_WRONLY), 0);
	close(ends[0]);
	ck_assert_int_eq(stream_fd_write(&stream, "x", 1), -EPIPE);
	stream_fd_close(&stream);
}
END_TEST

START_TEST(a_file_is_read_to_its_end)
{
	char bytes[8];
	FILE *file = tmpfile();

	ck_assert_ptr_nonnull(file);
	ck_assert_int_eq(stream_fd_open(&stream, fileno(file), O_RDONLY), 0);
	ck_assert_int_eq(stream_fd_read(&stream, bytes, sizeof(bytes)), 0);
	stream_fd_close(&stream);
	fclose(file);
}
END_TEST

START_TEST(a_closed_descriptor_is_refused)
{
	make_pipe();
	close(ends[1]);
	ck_assert_int_eq(stream_fd_open(&stream, ends[1], O_WRONLY), -EBADF);
	ck_assert_int_eq(stream.fd, -1);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "stream-fd", setup, NULL);

	tcase_add_loop_test(tests, a_full_one_says_so_and_takes_more_when_it_is_read, 0, 4);
	tcase_add_loop_test(tests, an_empty_one_says_so_and_gives_what_comes, 0, 4);
	tcase_add_loop_test(tests, the_caller_s_descriptor_is_as_it_was, 0, 4);
	tcase_add_loop_test(tests, one_whose_reader_left_says_so, 0, 2);
	tcase_add_test(tests, a_file_is_read_to_its_end);
	tcase_add_test(tests, a_closed_descriptor_is_refused);
}
SUITE_MAIN("stream-fd", add_tests)
