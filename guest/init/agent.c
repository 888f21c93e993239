/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The agent of `lkvm exec`: one process beside PID 1, which runs commands as the frames of one port say
 * (guest/frame.h). It keeps one frame on its way in each direction, and asks each session in turn for the next. It
 * outlives the command that the machine was started for, and the init that takes PID 1's place.
 */
#include "agent.h"

#include <asm/poll.h>
#include <asm/signal.h>

#define WNOHANG		1
#define EAGAIN		11
#define TURN_MS		100	/* how late an end is noticed without pidfd_open() (before Linux 5.3), and a hangup is over */
#define FRAMES_A_TURN	16

static int port_fd;
static uint8_t in_frame[FRAME_SIZE_MAX], out_frame[FRAME_SIZE_MAX];
static size_t in_length, out_start, out_length;

/* ---- to the host ---- */

uint8_t *frame_room(void)
{
	return out_length ? NULL : out_frame + FRAME_HEADER;
}

static bool flush(void)
{
	long n;

	if (!out_length)
		return false;
	n = sys(__NR_write, port_fd, out_frame + out_start, out_length);
	if (n <= 0)
		return false;
	out_start += (size_t)n;
	out_length -= (size_t)n;
	return true;
}

void frame_send(struct frame frame)
{
	frame_encode(out_frame, frame);
	out_start = 0;
	out_length = FRAME_HEADER + (size_t)frame.length;
	flush();
}

/* ---- from the host ---- */

/* The host has left, or can't be understood: no session has anybody who wants it. */
static void lose_host(void)
{
	sessions_reset();
	in_length = out_length = 0;
	for (;;) {
		sys_close(port_fd);
		sys_sleep_ms(TURN_MS);
		port_fd = port_find(FRAME_PORT);
		if (port_fd >= 0)
			return;
	}
}

/* More of one frame; false if there is nothing more for now, or the host was lost. */
static bool read_more(size_t wanted)
{
	long n = sys(__NR_read, port_fd, in_frame + in_length, wanted - in_length);

	if (n <= 0) {
		if (n != -EAGAIN)
			lose_host();
		return false;
	}
	in_length += (size_t)n;
	return true;
}

static bool take_frame(struct frame frame)
{
	if (frame.type != FRAME_RESET)
		return session_take(frame, in_frame + FRAME_HEADER);
	sessions_reset();
	return true;
}

static bool listen(void)
{
	struct frame frame;
	bool moved = false;

	for (unsigned int count = 0; count < FRAMES_A_TURN;) {
		size_t wanted = FRAME_HEADER;

		if (in_length >= FRAME_HEADER) {
			if (!frame_decode(in_frame, &frame)) {
				lose_host();
				return true;
			}
			wanted += frame.length;
		}
		if (in_length < wanted) {
			if (!read_more(wanted))
				return moved;
			moved = true;
			continue;
		}
		in_length = 0;
		count++;
		if (!take_frame(frame)) {
			lose_host();
			return true;
		}
	}
	return moved;
}

/* ---- all together ---- */

static void reap(void)
{
	uint32_t status;
	long pid;

	while ((pid = sys(__NR_wait4, -1, &status, WNOHANG, NULL)) > 0)
		sessions_ended(pid, status);
}

static void wait(void)
{
	static struct pollfd polls[1 + FRAME_SESSIONS * SESSION_POLLS];
	const long turn[2] = { 0, TURN_MS * 1000000L };
	unsigned int count = 1;

	polls[0] = (struct pollfd){ .fd = port_fd, .events = (short)(POLLIN | (out_length ? POLLOUT : 0)) };
	/* With a frame on its way nobody may send another, and only its way is of interest. */
	for (unsigned int i = 0; i < FRAME_SESSIONS && !out_length; i++)
		count += session_watch(i, polls + count);
	sys(__NR_ppoll, polls, count, turn, NULL, 0);
}

__attribute__((noreturn)) static void agent_run(void)
{
	const uint64_t all_signals = ~0ULL;

	sys(__NR_setsid);
	/* SIGPIPE above all; commands are started with none blocked. */
	sys(__NR_rt_sigprocmask, SIG_SETMASK, &all_signals, NULL, sizeof(all_signals));
	if (control_fd >= 0)
		sys_close(control_fd);
	control_fd = -1;
	port_fd = port_find(FRAME_PORT);
	for (unsigned int first = 0; port_fd >= 0; first++) {
		bool moved = flush();

		moved |= listen();
		reap();
		for (unsigned int i = 0; i < FRAME_SESSIONS; i++)
			moved |= session_step((first + i) % FRAME_SESSIONS);
		if (!moved)
			wait();
	}
	for (;;)
		sys(__NR_exit_group, 0);
}

void agent_start(void)
{
	if (!sys(__NR_clone, SIGCHLD, 0, 0, 0, 0))
		agent_run();
}
