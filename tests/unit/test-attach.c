/* SPDX-License-Identifier: BSD-2-Clause */
/* guest/attach.c: the user's process, whose streams are pipes of the test's, and whose guest is the test. */
#include "tests/unit/suite.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "guest/attach.h"
#include "guest/frame.h"
#include "kvm/kvm.h"

#define SETUP_LENGTH	(3 * FRAME_MAX + 100u)

static int guest, in, out, error;	/* our ends */
static pid_t pid;
static char task[SETUP_LENGTH];
static uint8_t zeroes[FRAME_MAX];

static void move_fd(int from, int to)
{
	ck_assert_int_eq(dup2(from, to), to);
}

static void begin(void)
{
	const struct attach_options options = { .name = "vm", .setup = task, .setup_length = sizeof(task) };
	int socket_ends[2], ins[2], outs[2], errors[2];

	alarm(SUITE_TIMEOUT_S / 2);
	memset(task, 't', sizeof(task));
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, socket_ends), 0);
	ck_assert_int_eq(pipe2(ins, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(outs, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(errors, O_CLOEXEC), 0);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (!pid) {
		move_fd(ins[0], 0);
		move_fd(outs[1], 1);
		move_fd(errors[1], 2);
		close(ins[1]);
		close(outs[0]);
		close(errors[0]);
		close(socket_ends[0]);
		_exit(attach_run(socket_ends[1], &options));
	}
	close(ins[0]);
	close(outs[1]);
	close(errors[1]);
	close(socket_ends[1]);
	guest = socket_ends[0];
	in = ins[1];
	out = outs[0];
	error = errors[0];
}

/* ---- the guest ---- */

static void read_all(int fd, void *bytes, size_t length)
{
	for (size_t got = 0; got < length;) {
		ssize_t n = read(fd, (char *)bytes + got, length - got);

		ck_assert_int_gt(n, 0);
		got += (size_t)n;
	}
}

static struct frame hear(uint8_t *bytes)
{
	uint8_t header[FRAME_HEADER];
	struct frame frame;

	read_all(guest, header, sizeof(header));
	ck_assert(frame_decode(header, &frame));
	read_all(guest, bytes, frame.length);
	return frame;
}

static void say(uint8_t type, uint8_t stream, const void *bytes, uint16_t length)
{
	uint8_t whole[FRAME_SIZE_MAX];

	frame_encode(whole, (struct frame){ .type = type, .stream = stream, .length = length });
	memcpy(whole + FRAME_HEADER, bytes, length);
	ck_assert_int_eq(send(guest, whole, FRAME_HEADER + (size_t)length, MSG_NOSIGNAL), FRAME_HEADER + length);
}

static void expect_start(void)
{
	uint8_t bytes[FRAME_MAX];
	struct frame frame;
	size_t length = 0;

	while ((frame = hear(bytes)).type == FRAME_SETUP) {
		ck_assert_uint_eq(bytes[0], 't');
		length += frame.length;
	}
	ck_assert_uint_eq(frame.type, FRAME_START);
	ck_assert_uint_eq(length, SETUP_LENGTH);
}

static void expect_status(int expected)
{
	int status;

	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status));
	ck_assert_int_eq(WEXITSTATUS(status), expected);
}

/* ---- the tests ---- */

START_TEST(a_task_of_several_frames_is_sent_before_anything_happens)
{
	begin();
	expect_start();
	say(FRAME_EXIT, 0, "\0\7", 2);
	expect_status(7);
}
END_TEST

START_TEST(streams_go_their_ways)
{
	uint8_t bytes[FRAME_MAX];
	struct frame frame;

	begin();
	expect_start();
	ck_assert_int_eq(write(in, "input", 5), 5);
	frame = hear(bytes);
	ck_assert_uint_eq(frame.type, FRAME_DATA);
	ck_assert_uint_eq(frame.length, 5);
	ck_assert_mem_eq(bytes, "input", 5);
	close(in);
	ck_assert_uint_eq(hear(bytes).type, FRAME_END);
	say(FRAME_DATA, 1, "output", 6);
	say(FRAME_DATA, 2, "error", 5);
	read_all(out, bytes, 6);
	ck_assert_mem_eq(bytes, "output", 6);
	read_all(error, bytes, 5);
	ck_assert_mem_eq(bytes, "error", 5);
	say(FRAME_EXIT, 0, "\1\17", 2);
	expect_status(128 + 15);
}
END_TEST

START_TEST(input_waits_for_the_guest)
{
	uint8_t bytes[FRAME_MAX], credit[4];
	size_t cost = 0;
	struct frame frame;

	begin();
	expect_start();
	ck_assert_int_gt(fcntl(in, F_SETPIPE_SZ, 4 * FRAME_WINDOW), 0);
	for (unsigned int i = 0; i < 6; i++)
		ck_assert_int_eq(write(in, zeroes, FRAME_MAX), FRAME_MAX);
	while (cost + FRAME_HEADER < FRAME_WINDOW) {
		frame = hear(bytes);
		ck_assert_uint_eq(frame.type, FRAME_DATA);
		cost += FRAME_HEADER + (size_t)frame.length;
	}
	ck_assert_uint_le(cost, FRAME_WINDOW);
	usleep(100000);
	ck_assert_int_eq(recv(guest, bytes, 1, MSG_DONTWAIT), -1);
	frame_put32(credit, 100);
	say(FRAME_CREDIT, 0, credit, 4);
	frame = hear(bytes);
	ck_assert_uint_eq(frame.type, FRAME_DATA);
	ck_assert_uint_le(frame.length, 100);
	say(FRAME_EXIT, 0, "\0\0", 2);
	expect_status(0);
}
END_TEST

START_TEST(output_that_was_read_is_room_for_more)
{
	uint8_t bytes[FRAME_MAX];
	struct frame frame;

	begin();
	expect_start();
	say(FRAME_DATA, 1, zeroes, FRAME_MAX - FRAME_HEADER);
	read_all(out, bytes, FRAME_MAX - FRAME_HEADER);
	frame = hear(bytes);
	ck_assert_uint_eq(frame.type, FRAME_CREDIT);
	ck_assert_uint_eq(frame.stream, 1);
	ck_assert_uint_eq(frame_get32(bytes), FRAME_MAX);
	say(FRAME_EXIT, 0, "\0\0", 2);
	expect_status(0);
}
END_TEST

START_TEST(a_reader_that_left_is_the_guest_s_to_know)
{
	uint8_t bytes[FRAME_MAX];
	struct frame frame;

	begin();
	expect_start();
	close(out);
	say(FRAME_DATA, 1, "word", 4);
	frame = hear(bytes);
	ck_assert_uint_eq(frame.type, FRAME_GONE);
	ck_assert_uint_eq(frame.stream, 1);
	say(FRAME_EXIT, 0, "\1\15", 2);
	expect_status(128 + 13);
}
END_TEST

START_TEST(the_first_signal_is_the_command_s_and_the_second_ours)
{
	uint8_t bytes[FRAME_MAX];
	struct frame frame;

	begin();
	expect_start();
	kill(pid, SIGTERM);
	frame = hear(bytes);
	ck_assert_uint_eq(frame.type, FRAME_SIGNAL);
	ck_assert_uint_eq(bytes[0], SIGTERM);
	kill(pid, SIGINT);
	expect_status(128 + SIGINT);
}
END_TEST

START_TEST(a_guest_that_ends_or_lies_is_an_error)
{
	static const struct frame lies[] = {
		{ .type = FRAME_DATA }, { .type = FRAME_EXIT, .length = 1 }, { .type = FRAME_CREDIT, .length = 4 }, { .type = FRAME_RESET },
	};
	uint8_t whole[FRAME_HEADER + 4] = { [FRAME_HEADER] = 1 };

	begin();
	expect_start();
	if (_i < 4) {
		frame_encode(whole, lies[_i]);
		ck_assert_int_gt(send(guest, whole, FRAME_HEADER + (size_t)lies[_i].length, 0), 0);
	} else {
		close(guest);
	}
	expect_status(LKVM_STATUS_ERROR);
}
END_TEST

START_TEST(what_went_wrong_in_the_guest_is_said_and_can_be_printed)
{
	char text[128] = "";

	begin();
	expect_start();
	say(FRAME_EXIT, 0, "\2no \033[2Jterminal", 16);
	expect_status(LKVM_STATUS_ERROR);
	ck_assert_int_gt(read(error, text, sizeof(text) - 1), 0);
	EXPECT(strstr(text, "no ?[2Jterminal"), "expected the guest's words, seen '%s'", text);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "attach", NULL, NULL);

	tcase_add_test(tests, a_task_of_several_frames_is_sent_before_anything_happens);
	tcase_add_test(tests, streams_go_their_ways);
	tcase_add_test(tests, input_waits_for_the_guest);
	tcase_add_test(tests, output_that_was_read_is_room_for_more);
	tcase_add_test(tests, a_reader_that_left_is_the_guest_s_to_know);
	tcase_add_test(tests, the_first_signal_is_the_command_s_and_the_second_ours);
	tcase_add_loop_test(tests, a_guest_that_ends_or_lies_is_an_error, 0, 5);
	tcase_add_test(tests, what_went_wrong_in_the_guest_is_said_and_can_be_printed);
}
SUITE_MAIN("attach", add_tests)
