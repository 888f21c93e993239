/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Bytes between the command and the host: one poll() loop, and a buffer for each direction, so that none holds up
 * another. The command's end is told when all that it had written is with the host.
 */
#include "init.h"

#include <asm/poll.h>

#define WNOHANG		1
#define EAGAIN		11
#define ALIVE_POLLS	10	/* that end without anything to do, between two heartbeats */
#define POLL_MS		100	/* how late the end is noticed by a kernel without pidfd_open() (before 5.3) */

struct flow {
	int from, to;		/* -1: at its end */
	bool from_port;		/* reads of nothing are no end */
	size_t start, length;
	uint64_t moved;		/* bytes that were written */
	uint64_t limit;		/* flow_in: it ends after so many */
	char buffer[65536];
};

static struct flow flow_in, flow_out, flow_error;

/* ---- one direction ---- */

static void flow_close_from(struct flow *flow)
{
	if (flow->from >= 0)
		sys_close(flow->from);
	flow->from = -1;
}

static void flow_close_to(struct flow *flow)
{
	if (flow->to >= 0)
		sys_close(flow->to);
	flow->to = -1;
	flow->length = 0;
}

/* Returns whether anything moved. */
static bool flow_move(struct flow *flow)
{
	bool moved = false;
	long n;

	if (!flow->length && flow->from >= 0) {
		n = sys(__NR_read, flow->from, flow->buffer, sizeof(flow->buffer));
		if (n > 0) {
			flow->start = 0;
			flow->length = (size_t)n;
			moved = true;
		} else if (n != -EAGAIN && (n || !flow->from_port)) {
			flow->from = -1;
		}
	}
	if (flow->length && flow->to < 0)
		flow->length = 0;
	if (!flow->length)
		return moved;
	n = sys(__NR_write, flow->to, flow->buffer + flow->start, flow->length);
	if (n > 0) {
		flow->start += (size_t)n;
		flow->length -= (size_t)n;
		flow->moved += (uint64_t)n;
		return true;
	}
	if (n < 0 && n != -EAGAIN)
		flow_close_to(flow);
	return moved;
}

/* What to wait for: room where there are bytes, else bytes. */
static void flow_watch(const struct flow *flow, struct pollfd *poll)
{
	poll->fd = flow->length ? flow->to : flow->from;
	poll->events = flow->length ? POLLOUT : POLLIN;
	poll->revents = 0;
}

/* ---- what the host says ---- */

static void obey(const struct child *child, const char *line)
{
	const char *value;

	if ((value = text_after(line, "size ")) && child->tty)
		terminal_resize(child->out, value);
	else if ((value = text_after(line, "eof ")))
		flow_in.limit = text_number(&value);
	else if (text_equal(line, "closed stdout") && !child->tty)
		flow_close_from(&flow_out);
	else if (text_equal(line, "closed stderr"))
		flow_close_from(&flow_error);
}

static void listen(const struct child *child)
{
	static char line[256];
	static size_t length;
	char bytes[256];
	long n;

	while ((n = sys(__NR_read, control_fd, bytes, sizeof(bytes))) > 0)
		for (long i = 0; i < n; i++) {
			if (bytes[i] != '\n') {
				if (length < sizeof(line) - 1)
					line[length++] = bytes[i];
				continue;
			}
			line[length] = '\0';
			length = 0;
			obey(child, line);
		}
}

/* ---- the end ---- */

static void report(uint32_t status)
{
	struct line line = { .length = 0 };
	bool killed = status & 0x7f;

	line_add(&line, killed ? "signal " : "exit ");
	line_add_number(&line, killed ? status & 0x7f : (status >> 8) & 0xff);
	line_add(&line, " ");
	line_add_number(&line, flow_out.moved);
	line_add(&line, " ");
	line_add_number(&line, flow_error.moved);
	line_add(&line, "\n");
	sys(__NR_sync);
	control_say(line.text);
}

/* Orphans are ours to reap; true when the command itself has ended. */
static bool reap(const struct child *child, uint32_t *status)
{
	uint32_t ended;
	long pid;

	while ((pid = sys(__NR_wait4, -1, &ended, WNOHANG, NULL)) > 0)
		if (pid == child->pid) {
			*status = ended;
			return true;
		}
	return false;
}

/* What was written before the end is still in the pipes. */
static void drain(void)
{
	struct pollfd polls[2];
	const long wait[2] = { 1, 0 };

	for (;;) {
		bool moved = flow_move(&flow_out);

		moved |= flow_move(&flow_error);
		if (moved)
			continue;
		if (!flow_out.length && !flow_error.length)
			return;
		polls[0].fd = flow_out.length ? flow_out.to : -1;
		polls[1].fd = flow_error.length ? flow_error.to : -1;
		polls[0].events = polls[1].events = POLLOUT;
		sys(__NR_ppoll, polls, 2, wait, NULL, 0);
	}
}

static void open_flows(const struct child *child)
{
	flow_in.from_port = true;
	flow_in.limit = UINT64_MAX;
	flow_in.from = port_open(child->tty ? "lkvm.tty" : "lkvm.stdin");
	flow_in.to = child->in;
	flow_out.from = child->out;
	flow_out.to = child->tty ? flow_in.from : port_open("lkvm.stdout");
	flow_error.from = child->error;
	flow_error.to = child->error >= 0 ? port_open("lkvm.stderr") : -1;
}

void relay_run(const struct child *child)
{
	const long wait[2] = { 0, POLL_MS * 1000000L };
	int child_fd = (int)sys(__NR_pidfd_open, child->pid, 0);
	uint32_t status = 0, idle = 0;

	open_flows(child);
	while (!reap(child, &status)) {
		struct pollfd polls[5];
		bool moved = flow_move(&flow_in);

		moved |= flow_move(&flow_out);
		moved |= flow_move(&flow_error);
		listen(child);
		if (!child->tty && flow_in.to >= 0 && !flow_in.length && flow_in.moved >= flow_in.limit)
			flow_close_to(&flow_in);
		if (moved)
			continue;
		flow_watch(&flow_in, &polls[0]);
		flow_watch(&flow_out, &polls[1]);
		flow_watch(&flow_error, &polls[2]);
		polls[3] = (struct pollfd){ .fd = control_fd, .events = POLLIN };
		polls[4] = (struct pollfd){ .fd = child_fd, .events = POLLIN };
		if (sys(__NR_ppoll, polls, 5, wait, NULL, 0) == 0 && child->heartbeat && ++idle % ALIVE_POLLS == 0)
			control_say("alive\n");
	}
	drain();
	report(status);
	/* The host ends the machine, when it has had all that was written. */
	for (;;)
		sys_sleep_ms(1000);
}
