/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The user's end of a command in a guest: one poll() loop. What the guest sends has a place in a buffer each for stdout
 * and stderr, and credit for more is given when it was written; what is read from stdin has a place in the guest. So a
 * stream that stands still holds up no other. One thread, a process of its own.
 */
#include "guest/attach.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>

#include "guest/attach-sink.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/tty.h"

#define ESCAPE		0x01	/* Ctrl-A */
#define FOREGROUND_MS	500	/* how often a background job asks whether it has the tty again */
#define SMALL_MAX	32u	/* frames but for data */

struct attach {
	const struct attach_options *options;
	int fd, notify_fd, signal_fd;
	struct stream_fd in;
	struct attach_sink sinks[2];
	size_t setup_sent;
	uint32_t window;		/* that the guest has for stdin */
	bool started, in_ended, end_due, size_due, escaped, background, left, over;
	int signal_due, signals;
	int status;
	size_t got_length, send_start, send_length;
	uint8_t got[FRAME_SIZE_MAX], send[FRAME_SIZE_MAX + 4 * SMALL_MAX];
};

/* ---- to the guest ---- */

static uint8_t *frame_room(struct attach *attach, size_t length)
{
	if (attach->send_start + attach->send_length + FRAME_HEADER + length > sizeof(attach->send))
		return NULL;
	return attach->send + attach->send_start + attach->send_length + FRAME_HEADER;
}

/* What lies at frame_room() */
static void frame_add(struct attach *attach, uint8_t type, uint8_t stream, size_t length)
{
	frame_encode(attach->send + attach->send_start + attach->send_length,
		     (struct frame){ .type = type, .stream = stream, .length = (uint16_t)length });
	attach->send_length += FRAME_HEADER + length;
}

static void add_setup(struct attach *attach)
{
	size_t length = MIN(attach->options->setup_length - attach->setup_sent, (size_t)FRAME_MAX);
	uint8_t *room = frame_room(attach, MAX(length, (size_t)SMALL_MAX));

	if (!room)
		return;
	if (length) {
		memcpy(room, attach->options->setup + attach->setup_sent, length);
		attach->setup_sent += length;
		frame_add(attach, FRAME_SETUP, 0, length);
		return;
	}
	frame_add(attach, FRAME_START, 0, 0);
	attach->started = true;
}

static void add_size(struct attach *attach, uint8_t *room)
{
	struct winsize window;

	attach->size_due = false;
	if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) < 0 || !window.ws_col)
		return;
	frame_put16(room, window.ws_row);
	frame_put16(room + 2, window.ws_col);
	frame_add(attach, FRAME_SIZE, 0, 4);
}

static void add_sink(struct attach *attach, uint8_t stream)
{
	struct attach_sink *sink = &attach->sinks[stream - 1];
	uint8_t *room;

	if (sink->used >= FRAME_WINDOW / 4 && (room = frame_room(attach, SMALL_MAX))) {
		frame_put32(room, sink->used);
		sink->used = 0;
		frame_add(attach, FRAME_CREDIT, stream, 4);
	}
	if (sink->gone_due && frame_room(attach, SMALL_MAX)) {
		sink->gone_due = false;
		frame_add(attach, FRAME_GONE, stream, 0);
	}
}

/* All that is due and small. */
static void add_frames(struct attach *attach)
{
	uint8_t *room;

	while (!attach->started && frame_room(attach, FRAME_MAX))
		add_setup(attach);
	if (!attach->started)
		return;
	if (attach->size_due && (room = frame_room(attach, SMALL_MAX)))
		add_size(attach, room);
	if (attach->signal_due && (room = frame_room(attach, SMALL_MAX))) {
		room[0] = (uint8_t)attach->signal_due;
		attach->signal_due = 0;
		frame_add(attach, FRAME_SIGNAL, 0, 1);
	}
	if (attach->end_due && frame_room(attach, SMALL_MAX)) {
		attach->end_due = false;
		frame_add(attach, FRAME_END, 0, 0);
	}
	add_sink(attach, 1);
	add_sink(attach, 2);
}

static void flush_frames(struct attach *attach)
{
	ssize_t sent;

	while (attach->send_length) {
		sent = send(attach->fd, attach->send + attach->send_start, attach->send_length, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return;
		attach->send_start += (size_t)sent;
		attach->send_length -= (size_t)sent;
	}
	attach->send_start = 0;
}

/* All that is due is in the socket then, or waits for room in it: what else would wake us? */
static void send_frames(struct attach *attach)
{
	do {
		flush_frames(attach);
		add_frames(attach);
		flush_frames(attach);
	} while (!attach->started && !attach->send_length);
}

/* ---- standard input ---- */

/* What the guest is to have of @length keys, in place. */
static size_t take_keys(struct attach *attach, uint8_t *keys, size_t length)
{
	size_t kept = 0;

	for (size_t i = 0; i < length; i++) {
		if (attach->escaped) {
			attach->escaped = false;
			attach->left |= keys[i] == 'x';
			if (keys[i] != ESCAPE)
				continue;
		} else if (keys[i] == ESCAPE) {
			attach->escaped = true;
			continue;
		}
		keys[kept++] = keys[i];
	}
	return kept;
}

static void input_failed(struct attach *attach, ssize_t error)
{
	if (error == -EAGAIN || error == -EINTR)
		return;
	/* In the background a read says EIO, since SIGTTIN is ignored; so does a tty that was hung up. */
	if (error == -EIO && attach->options->tty && !tty_enter_raw(STDIN_FILENO)) {
		attach->background = true;
		return;
	}
	attach->in_ended = true;
	attach->end_due = !attach->options->tty;
}

static bool wants_input(struct attach *attach)
{
	return attach->started && !attach->in_ended && !attach->background && attach->window > FRAME_HEADER &&
	       frame_room(attach, FRAME_MAX);
}

static void read_input(struct attach *attach)
{
	uint8_t *room = frame_room(attach, FRAME_MAX);
	ssize_t got = stream_fd_read(&attach->in, room, MIN((size_t)FRAME_MAX, attach->window - FRAME_HEADER));
	size_t length;

	if (got <= 0) {
		input_failed(attach, got);
		return;
	}
	length = attach->options->tty ? take_keys(attach, room, (size_t)got) : (size_t)got;
	if (!length)
		return;
	attach->window -= FRAME_HEADER + (uint32_t)length;
	frame_add(attach, FRAME_DATA, 0, length);
}

/* ---- from the guest ---- */

static void take_exit(struct attach *attach, const uint8_t *bytes, size_t length)
{
	char text[256];

	attach->over = true;
	if (bytes[0] != FRAME_FAILED) {
		attach->status = (bytes[0] == FRAME_KILLED ? 128 + bytes[1] : bytes[1]) & 0xff;
		return;
	}
	length = MIN(length - 1, sizeof(text) - 1);
	for (size_t i = 0; i < length; i++)
		text[i] = bytes[1 + i] < ' ' || bytes[1 + i] > '~' ? '?' : (char)bytes[1 + i];
	text[length] = '\0';
	attach->status = LKVM_STATUS_ERROR;
	log_error(EIO, "%s: in the guest: %s", attach->options->name, text);
}

static bool take_frame(struct attach *attach, struct frame frame, const uint8_t *bytes)
{
	if (frame.type == FRAME_DATA && frame.stream)
		return attach_sink_put(&attach->sinks[frame.stream - 1], bytes, frame.length);
	if (frame.type == FRAME_CREDIT && frame.length == 4 && frame_get32(bytes) <= FRAME_WINDOW - attach->window) {
		attach->window += frame_get32(bytes);
		return true;
	}
	if (frame.type != FRAME_EXIT || frame.length < 2)
		return false;
	take_exit(attach, bytes, frame.length);
	return true;
}

/* False: there will be no more. */
static bool read_frames(struct attach *attach)
{
	while (!attach->over) {
		struct frame frame = { .length = 0 };
		size_t wanted = FRAME_HEADER;
		ssize_t n;

		if (attach->got_length >= FRAME_HEADER) {
			if (!frame_decode(attach->got, &frame))
				return false;
			wanted += frame.length;
		}
		if (attach->got_length == wanted) {
			attach->got_length = 0;
			if (!take_frame(attach, frame, attach->got + FRAME_HEADER))
				return false;
			continue;
		}
		n = recv(attach->fd, attach->got + attach->got_length, wanted - attach->got_length, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		attach->got_length += (size_t)n;
	}
	return true;
}

/* ---- all together ---- */

static void take_signal(struct attach *attach)
{
	struct signalfd_siginfo info;

	if (read(attach->signal_fd, &info, sizeof(info)) != sizeof(info))
		return;
	attach->signal_due = (int)info.ssi_signo;
	/* Asked twice: it doesn't listen, or its guest doesn't. */
	if (++attach->signals == 1)
		return;
	attach->left = true;
	attach->status = 128 + (int)info.ssi_signo;
}

static void take_notice(struct attach *attach)
{
	uint64_t count;

	if (read(attach->notify_fd, &count, sizeof(count)) == sizeof(count))
		attach->size_due = true;
}

static void step(struct attach *attach)
{
	enum { SOCKET, SIGNALS, NOTICE, INPUT, OUTPUT, ERROR, COUNT };
	struct pollfd polls[COUNT] = {
		{ .fd = attach->fd, .events = (short)(POLLIN | (attach->send_length ? POLLOUT : 0)) },
		{ .fd = attach->signal_fd, .events = POLLIN },
		{ .fd = attach->notify_fd, .events = POLLIN },
		{ .fd = wants_input(attach) ? attach->in.fd : -1, .events = POLLIN },
		{ .fd = attach->sinks[0].length ? attach->sinks[0].stream.fd : -1, .events = POLLOUT },
		{ .fd = attach->sinks[1].length ? attach->sinks[1].stream.fd : -1, .events = POLLOUT },
	};

	if (poll(polls, COUNT, attach->background ? FOREGROUND_MS : -1) < 0)
		return;
	if (attach->background)
		attach->background = !tty_enter_raw(STDIN_FILENO);
	if (polls[SIGNALS].revents)
		take_signal(attach);
	if (polls[NOTICE].revents)
		take_notice(attach);
	if (polls[INPUT].revents)
		read_input(attach);
	attach_sink_flush(&attach->sinks[0]);
	attach_sink_flush(&attach->sinks[1]);
	if (polls[SOCKET].revents && !read_frames(attach)) {
		log_error(EPIPE, "%s: the guest, or the agent in it, ended before the command did", attach->options->name);
		attach->left = true;
		attach->status = LKVM_STATUS_ERROR;
	}
}

/* Of one that has ended: its last words wait for their readers, as they would in a pipe. */
static bool has_words_left(const struct attach *attach)
{
	return attach->sinks[0].length || attach->sinks[1].length;
}

static void drain(struct attach *attach)
{
	while (has_words_left(attach) && attach->signals < 2) {
		struct pollfd polls[3] = {
			{ .fd = attach->sinks[0].length ? attach->sinks[0].stream.fd : -1, .events = POLLOUT },
			{ .fd = attach->sinks[1].length ? attach->sinks[1].stream.fd : -1, .events = POLLOUT },
			{ .fd = attach->signal_fd, .events = POLLIN },
		};

		poll(polls, 3, -1);
		if (polls[2].revents)
			take_signal(attach);
		attach_sink_flush(&attach->sinks[0]);
		attach_sink_flush(&attach->sinks[1]);
	}
}

static int attach_open(struct attach *attach)
{
	static const int ending[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction action;
	sigset_t set;
	int result;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_SIZE(ending); i++)
		if (sigaction(ending[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			sigaddset(&set, ending[i]);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
	signal(SIGPIPE, SIG_IGN);
	attach->signal_fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (attach->signal_fd < 0)
		return -errno;
	result = stream_fd_open(&attach->in, STDIN_FILENO, O_RDONLY);
	if (!result)
		result = stream_fd_open(&attach->sinks[0].stream, STDOUT_FILENO, O_WRONLY);
	if (!result)
		result = stream_fd_open(&attach->sinks[1].stream, STDERR_FILENO, O_WRONLY);
	if (result || !attach->options->tty)
		return result;
	attach->notify_fd = tty_take(STDIN_FILENO);
	tty_raw_output(STDIN_FILENO);
	/* It may have changed since the task was written. */
	attach->size_due = true;
	return attach->notify_fd < 0 ? attach->notify_fd : 0;
}

static void attach_close(struct attach *attach)
{
	if (attach->notify_fd >= 0)
		tty_release(STDIN_FILENO);
	stream_fd_close(&attach->in);
	stream_fd_close(&attach->sinks[0].stream);
	stream_fd_close(&attach->sinks[1].stream);
	if (attach->signal_fd >= 0)
		close(attach->signal_fd);
	close(attach->fd);
	free(attach);
}

int attach_run(int fd, const struct attach_options *options)
{
	struct attach *attach = calloc(1, sizeof(*attach));
	int status;

	if (!attach) {
		close(fd);
		log_errno(ENOMEM, "%s", options->name);
		return LKVM_STATUS_ERROR;
	}
	attach->options = options;
	attach->fd = fd;
	attach->notify_fd = attach->signal_fd = attach->in.fd = attach->sinks[0].stream.fd = attach->sinks[1].stream.fd = -1;
	attach->window = FRAME_WINDOW;
	attach->status = attach_open(attach);
	if (attach->status) {
		log_errno(attach->status, "%s: standard input and output", options->name);
		attach->status = LKVM_STATUS_ERROR;
		attach->left = true;
	}
	while (!attach->over && !attach->left) {
		send_frames(attach);
		step(attach);
	}
	if (attach->over)
		drain(attach);
	status = attach->left && !attach->status ? LKVM_STATUS_ERROR : attach->status;
	attach_close(attach);
	return status;
}
