/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A command that `lkvm exec` asked for. Its output is read as far as the host has room for it; its input waits in a
 * buffer, which is the room that the host was told of. So each waits for its own reader, and for nobody else's.
 */
#include "agent.h"

#include <asm/fcntl.h>
#include <asm/poll.h>
#include <asm/signal.h>
#include <linux/mman.h>

#define EAGAIN		11
#define HANGUP_MS	2000	/* from the hangup to the end of one that doesn't mind */
#define TAIL_MAX	(1024 * 1024)	/* more than that no pipe holds (/proc/sys/fs/pipe-max-size) */
#define CREDIT_LEAST	(FRAME_WINDOW / 4)

enum state { FREE, SETUP, RUNNING };

struct session {
	enum state state;
	struct setup setup;
	struct child child;
	int child_fd;
	size_t in_start, in_length;
	uint32_t in_used;		/* of the host's credit, to be given back */
	uint32_t credit[2];
	bool in_ended, done[2];		/* done: nothing more comes of that output */
	bool ended, closed;		/* the command; the client */
	uint32_t status;
	uint32_t tail[2];		/* how much of what is read can still be the command's, once it has ended */
	uint64_t kill_ms;		/* when, if it is still there; 0: not at all */
	const char *failure;
	uint8_t input[FRAME_WINDOW];
};

static struct session sessions[FRAME_SESSIONS];

static uint64_t now_ms(void)
{
	uint64_t time[2] = { 0, 0 };

	sys(__NR_clock_gettime, 1, time);
	return time[0] * 1000 + time[1] / 1000000;
}

/* ---- beginning and end ---- */

static void free_setup(struct session *session)
{
	if (session->setup.text)
		sys(__NR_munmap, session->setup.text, SETUP_MAX);
	session->setup.text = NULL;
	session->setup.length = 0;
}

static void begin(struct session *session)
{
	long memory = sys(__NR_mmap, 0, SETUP_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	session->state = SETUP;
	session->setup.text = memory < 0 && memory > -4096 ? NULL : (char *)memory;
	session->setup.length = 0;
	session->child.pid = 0;
	session->child.in = session->child.out = session->child.error = session->child_fd = -1;
	session->in_start = session->in_length = 0;
	session->in_used = 0;
	session->credit[0] = session->credit[1] = FRAME_WINDOW;
	session->in_ended = session->done[0] = session->done[1] = session->ended = session->closed = false;
	session->kill_ms = 0;
	session->failure = session->setup.text ? NULL : "no memory in the guest";
}

static void forget(struct session *session)
{
	child_close(&session->child);
	if (session->child_fd >= 0)
		sys_close(session->child_fd);
	free_setup(session);
	session->state = FREE;
}

static void signal_group(const struct session *session, int number)
{
	if (session->child.pid > 0 && !session->ended)
		sys(__NR_kill, -session->child.pid, number);
}

/* Not before it has been told what is wrong, if anything is. */
static void start(struct session *session)
{
	long result = session->failure ? -1 : child_start(&session->setup, &session->child);

	free_setup(session);
	session->state = RUNNING;
	if (result < 0) {
		if (!session->failure)
			session->failure = "the command can't be started (no process, pipe or terminal is to be had)";
		session->child.pid = 0;
		session->ended = session->done[0] = session->done[1] = true;
		return;
	}
	session->done[1] = session->child.error < 0;
	session->child_fd = (int)sys(__NR_pidfd_open, session->child.pid, 0);
}

static void close_session(struct session *session)
{
	if (session->state == SETUP) {
		session->failure = "";
		start(session);
	}
	if (session->closed)
		return;
	session->closed = session->done[0] = session->done[1] = true;
	signal_group(session, SIGHUP);
	signal_group(session, SIGCONT);
	child_close(&session->child);
	session->kill_ms = now_ms() + HANGUP_MS;
}

void sessions_ended(long pid, uint32_t status)
{
	for (unsigned int i = 0; i < FRAME_SESSIONS; i++) {
		struct session *session = &sessions[i];

		if (session->state != RUNNING || session->ended || session->child.pid != pid)
			continue;
		session->ended = true;
		session->status = status;
		session->tail[0] = session->tail[1] = TAIL_MAX;
	}
}

void sessions_reset(void)
{
	for (unsigned int i = 0; i < FRAME_SESSIONS; i++) {
		if (sessions[i].state == FREE)
			continue;
		signal_group(&sessions[i], SIGKILL);
		forget(&sessions[i]);
	}
}

/* ---- what the host says ---- */

static bool take_setup(struct session *session, const uint8_t *bytes, size_t length)
{
	if (session->state == FREE)
		begin(session);
	if (session->state != SETUP || length > SETUP_MAX - 1 - session->setup.length)
		return false;
	if (session->setup.text)
		memcpy(session->setup.text + session->setup.length, bytes, length);
	session->setup.length += length;
	return true;
}

static bool take_input(struct session *session, const uint8_t *bytes, size_t length)
{
	if (session->in_ended || length > FRAME_WINDOW - session->in_length)
		return false;
	session->in_used += FRAME_HEADER;
	for (size_t i = 0; i < length; i++)
		session->input[(session->in_start + session->in_length++) % FRAME_WINDOW] = bytes[i];
	return true;
}

static void resize(const struct session *session, const uint8_t *bytes)
{
	struct line size = { .length = 0 };

	line_add_number(&size, frame_get16(bytes));
	line_add(&size, " ");
	line_add_number(&size, frame_get16(bytes + 2));
	if (session->child.tty && session->child.out >= 0)
		terminal_resize(session->child.out, size.text);
}

static bool take_credit(struct session *session, struct frame frame, uint32_t credit)
{
	if (!frame.stream || credit > FRAME_WINDOW - session->credit[frame.stream - 1])
		return false;
	session->credit[frame.stream - 1] += credit;
	return true;
}

/* The reader has left: who writes shall hear of it. A terminal has no such thing. */
static void take_gone(struct session *session, unsigned int stream)
{
	int *fd = stream == 1 ? &session->child.out : &session->child.error;

	if (!stream || (session->child.tty && stream == 1))
		return;
	if (*fd >= 0)
		sys_close(*fd);
	*fd = -1;
	session->done[stream - 1] = true;
}

bool session_take(struct frame frame, const uint8_t *bytes)
{
	struct session *session = &sessions[frame.session];

	if (frame.type == FRAME_SETUP)
		return take_setup(session, bytes, frame.length);
	/* It ended when this was on its way. */
	if (session->state == FREE)
		return true;
	if (frame.type == FRAME_CLOSE) {
		close_session(session);
		return true;
	}
	if (frame.type == FRAME_START) {
		if (session->state == SETUP)
			start(session);
		return true;
	}
	if (session->state != RUNNING)
		return false;
	switch (frame.type) {
	case FRAME_DATA:
		return take_input(session, bytes, frame.length);
	case FRAME_END:
		session->in_ended = true;
		return true;
	case FRAME_CREDIT:
		return frame.length == 4 && take_credit(session, frame, frame_get32(bytes));
	case FRAME_GONE:
		take_gone(session, frame.stream);
		return true;
	case FRAME_SIZE:
		if (frame.length == 4)
			resize(session, bytes);
		return frame.length == 4;
	case FRAME_SIGNAL:
		if (frame.length == 1)
			signal_group(session, bytes[0]);
		return frame.length == 1;
	default:
		return false;
	}
}

/* ---- what moves ---- */

static bool step_input(struct session *session)
{
	size_t piece = FRAME_WINDOW - session->in_start;
	long n;

	if (!session->in_length || session->child.in < 0) {
		session->in_used += (uint32_t)session->in_length;
		session->in_length = 0;
		if (session->in_ended && session->child.in >= 0 && !session->child.tty) {
			sys_close(session->child.in);
			session->child.in = -1;
		}
		return false;
	}
	if (piece > session->in_length)
		piece = session->in_length;
	n = sys(__NR_write, session->child.in, session->input + session->in_start, piece);
	if (n == -EAGAIN)
		return false;
	if (n <= 0) {
		/* It doesn't read; what comes is thrown away from now on. */
		if (!session->child.tty)
			sys_close(session->child.in);
		session->child.in = -1;
		return true;
	}
	session->in_start = (session->in_start + (size_t)n) % FRAME_WINDOW;
	session->in_length -= (size_t)n;
	session->in_used += (uint32_t)n;
	return true;
}

static bool step_credit(struct session *session, uint16_t number)
{
	uint8_t *room = session->in_used >= CREDIT_LEAST && !session->closed ? frame_room() : NULL;

	if (!room)
		return false;
	frame_put32(room, session->in_used);
	session->in_used = 0;
	frame_send((struct frame){ .session = number, .type = FRAME_CREDIT, .length = 4 });
	return true;
}

static bool step_output(struct session *session, uint16_t number, unsigned int stream)
{
	int fd = stream == 1 ? session->child.out : session->child.error;
	uint32_t credit = session->credit[stream - 1];
	uint8_t *room;
	long n;

	if (session->done[stream - 1] || credit <= FRAME_HEADER || !(room = frame_room()))
		return false;
	credit -= FRAME_HEADER;
	n = sys(__NR_read, fd, room, credit < FRAME_MAX ? credit : FRAME_MAX);
	if (n > 0) {
		session->credit[stream - 1] = credit - (uint32_t)n;
		if (session->ended && session->tail[stream - 1] <= n)
			session->done[stream - 1] = true;
		session->tail[stream - 1] -= (uint32_t)n;
		frame_send((struct frame){ .session = number, .type = FRAME_DATA, .stream = (uint8_t)stream, .length = (uint16_t)n });
		return true;
	}
	/* What the command had written before its end has been read; a child of its own may go on for ever, as in a flood. */
	if (n == -EAGAIN && !session->ended)
		return false;
	session->done[stream - 1] = true;
	return true;
}

static bool step_end(struct session *session, uint16_t number)
{
	bool killed = session->status & 0x7f;
	size_t length = 0;
	uint8_t *room;

	if (!session->ended || !session->done[0] || !session->done[1] || !(room = frame_room()))
		return false;
	room[0] = session->failure ? FRAME_FAILED : killed ? FRAME_KILLED : FRAME_EXITED;
	room[1] = (uint8_t)(killed ? session->status & 0x7f : session->status >> 8);
	if (session->failure) {
		length = text_length(session->failure);
		memcpy(room + 1, session->failure, length);
		length--;
	}
	frame_send((struct frame){ .session = number, .type = FRAME_EXIT, .length = (uint16_t)(2 + length) });
	forget(session);
	return true;
}

bool session_step(unsigned int number)
{
	struct session *session = &sessions[number];
	bool moved;

	if (session->state != RUNNING)
		return false;
	if (session->kill_ms && !session->ended && now_ms() >= session->kill_ms) {
		signal_group(session, SIGKILL);
		session->kill_ms = 0;
	}
	moved = step_input(session);
	moved |= step_credit(session, (uint16_t)number);
	moved |= step_output(session, (uint16_t)number, 1);
	moved |= step_output(session, (uint16_t)number, 2);
	return step_end(session, (uint16_t)number) || moved;
}

static unsigned int watch(struct pollfd *polls, unsigned int count, int fd, short events)
{
	if (fd < 0)
		return count;
	polls[count] = (struct pollfd){ .fd = fd, .events = events };
	return count + 1;
}

unsigned int session_watch(unsigned int number, struct pollfd *polls)
{
	const struct session *session = &sessions[number];
	unsigned int count = 0;

	if (session->state != RUNNING)
		return 0;
	if (session->in_length)
		count = watch(polls, count, session->child.in, POLLOUT);
	if (!session->done[0] && session->credit[0] > FRAME_HEADER)
		count = watch(polls, count, session->child.out, POLLIN);
	if (!session->done[1] && session->credit[1] > FRAME_HEADER)
		count = watch(polls, count, session->child.error, POLLIN);
	return session->ended ? count : watch(polls, count, session->child_fd, POLLIN);
}
