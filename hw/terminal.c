/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Terminals: what stands between a console device and the host.
 *
 * Output goes through kvm/output.h. Input is read on the main loop into a ring, from which the console
 * takes what it has room for: a pipe or a file that is faster than the guest waits, a tty that is faster
 * loses keys, because Ctrl-A x must be heard even when the guest is dead. The end of the input is not the
 * end of the VM.
 *
 * The main thread owns a terminal; `lock` guards the ring, which consoles read on vCPU threads.
 */
#include "kvm/terminal.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/tty.h"

#define TERMINAL_ESCAPE		0x01	/* Ctrl-A */
#define TERMINAL_RING_FULL	(TERMINAL_INPUT_SIZE - TERMINAL_UNREAD_MAX)
#define TERMINAL_FOREGROUND_MS	500	/* how often a background job asks whether it has the tty again */

struct terminal {
	struct kvm *kvm;
	unsigned int index;
	char name[16];
	struct output *output;		/* NULL: output goes nowhere */
	int size_fd;			/* the tty whose size is the terminal's, or -1 */

	/* input, the main thread's */
	int in_fd;			/* -1: none, or at its end */
	bool own_in_fd;
	bool is_tty;			/* keys that don't fit are dropped, rather than left to wait */
	bool pollable;			/* a regular file is not: it is read as there is room */
	int tty_fd;			/* what tty_take() was called with, or -1 */
	bool escaped;			/* Ctrl-A was the last key */
	struct event_source input;
	struct event_source notified;	/* the window or the foreground may have changed */
	struct event_work resume;	/* there is room again, or a new reader */
	struct event_timer foreground;
	void (*ready)(void *opaque);
	void *ready_opaque;
	void (*resized)(void *opaque);
	void *resized_opaque;
	void (*on_break)(void *opaque);
	void *break_opaque;

	pthread_mutex_t lock;		/* guards all below; innermost but for the event loop's */
	size_t start, length;
	bool waiting;			/* the input waits for room in the ring */
	char ring[TERMINAL_INPUT_SIZE];	/* of which TERMINAL_UNREAD_MAX are kept for what comes back; what isn't used isn't touched */
};

void terminal_write(struct terminal *terminal, const void *data, size_t length)
{
	if (terminal->output)
		output_write(terminal->output, data, length);
}

void terminal_flush(struct terminal *terminal)
{
	if (terminal->output)
		output_flush(terminal->output);
}

static void terminal_say(struct terminal *terminal, const char *text)
{
	terminal_write(terminal, text, strlen(text));
}

/* ---- the ring ---- */

static size_t terminal_room(struct terminal *terminal)
{
	size_t room;

	pthread_mutex_lock(&terminal->lock);
	room = terminal->length < TERMINAL_RING_FULL ? TERMINAL_RING_FULL - terminal->length : 0;
	pthread_mutex_unlock(&terminal->lock);
	return room;
}

static void terminal_put(struct terminal *terminal, char byte)
{
	pthread_mutex_lock(&terminal->lock);
	if (terminal->length < TERMINAL_RING_FULL) {
		terminal->ring[(terminal->start + terminal->length) % TERMINAL_INPUT_SIZE] = byte;
		terminal->length++;
	}
	pthread_mutex_unlock(&terminal->lock);
}

size_t terminal_read(struct terminal *terminal, void *data, size_t length)
{
	bool resume;
	size_t piece;

	pthread_mutex_lock(&terminal->lock);
	length = MIN(length, terminal->length);
	piece = MIN(length, (size_t)TERMINAL_INPUT_SIZE - terminal->start);
	memcpy(data, terminal->ring + terminal->start, piece);
	memcpy((char *)data + piece, terminal->ring, length - piece);
	terminal->start = (terminal->start + length) % TERMINAL_INPUT_SIZE;
	terminal->length -= length;
	if (!terminal->length)
		terminal->start = 0;
	resume = terminal->waiting && terminal->length <= TERMINAL_INPUT_SIZE / 2;
	if (resume)
		terminal->waiting = false;
	pthread_mutex_unlock(&terminal->lock);
	if (resume)
		event_work_post(&terminal->resume);
	return length;
}

void terminal_unread(struct terminal *terminal, const void *data, size_t length)
{
	const char *bytes = data;

	pthread_mutex_lock(&terminal->lock);
	while (length && terminal->length < TERMINAL_INPUT_SIZE) {
		terminal->start = (terminal->start + TERMINAL_INPUT_SIZE - 1) % TERMINAL_INPUT_SIZE;
		terminal->ring[terminal->start] = bytes[--length];
		terminal->length++;
	}
	pthread_mutex_unlock(&terminal->lock);
}

/* ---- the escape keys; each runs on the main loop, which is the main thread ---- */

static void terminal_key_quit(struct terminal *terminal)
{
	kvm_end_request(terminal->kvm, KVM_END_QUIT);
}

static void terminal_key_pause(struct terminal *terminal)
{
	bool paused = atomic_load(&terminal->kvm->state) == KVM_PAUSED;

	if ((paused ? kvm_user_resume(terminal->kvm) : kvm_user_pause(terminal->kvm)) == 0)
		terminal_say(terminal, paused ? "\r\n[resumed]\r\n" : "\r\n[paused]\r\n");
}

static void terminal_key_nmi(struct terminal *terminal)
{
	if (kvm_nmi(terminal->kvm) < 0)
		terminal_say(terminal, "\r\n[this machine has no NMI]\r\n");
}

static void terminal_key_shutdown(struct terminal *terminal)
{
	if (kvm_power_button(terminal->kvm) < 0)
		terminal_say(terminal, "\r\n[this machine has no power button]\r\n");
}

static void terminal_key_reset(struct terminal *terminal)
{
	if (kvm_reset(terminal->kvm) < 0)
		terminal_say(terminal, "\r\n[the machine could not be reset]\r\n");
}

static void terminal_key_break(struct terminal *terminal)
{
	if (terminal->on_break)
		terminal->on_break(terminal->break_opaque);
}

static void terminal_key_help(struct terminal *terminal);

static const struct terminal_key {
	char key;
	const char *help;
	void (*press)(struct terminal *terminal);
} terminal_keys[] = {
	{ 'x', "leave: the machine ends at once",	terminal_key_quit },
	{ 'h', "this help",				terminal_key_help },
	{ 'p', "pause, and go on",			terminal_key_pause },
	{ 's', "shut down: press the power button",	terminal_key_shutdown },
	{ 'r', "reset",					terminal_key_reset },
	{ 'n', "NMI to every vCPU",			terminal_key_nmi },
	{ 'b', "send a break (then a SysRq key)",	terminal_key_break },
};

static void terminal_key_help(struct terminal *terminal)
{
	char line[80];

	terminal_say(terminal, "\r\n");
	for (size_t i = 0; i < ARRAY_SIZE(terminal_keys); i++) {
		snprintf(line, sizeof(line), "Ctrl-A %c       %s\r\n", terminal_keys[i].key, terminal_keys[i].help);
		terminal_say(terminal, line);
	}
	terminal_say(terminal, "Ctrl-A Ctrl-A  send Ctrl-A to the guest\r\n");
}

/* Whether the guest gets @byte. */
static bool terminal_escape(struct terminal *terminal, char byte)
{
	if (terminal->index != 0)
		return true;
	if (!terminal->escaped) {
		terminal->escaped = byte == TERMINAL_ESCAPE;
		return !terminal->escaped;
	}
	terminal->escaped = false;
	for (size_t i = 0; i < ARRAY_SIZE(terminal_keys); i++) {
		if (terminal_keys[i].key == byte) {
			terminal_keys[i].press(terminal);
			return false;
		}
	}
	return byte == TERMINAL_ESCAPE;
}

/* ---- input ---- */

static void terminal_input_ready(struct event_source *source, uint32_t events);

static void terminal_watch(struct terminal *terminal)
{
	if (terminal->in_fd < 0 || terminal->input.loop)
		return;
	if (!terminal->pollable)
		event_work_post(&terminal->resume);
	else if (event_add(terminal->kvm->loop, &terminal->input, terminal->in_fd, EPOLLIN,
			   terminal_input_ready) < 0)
		log_warn("%s: input can't be watched and is ignored", terminal->name);
}

static void terminal_unwatch(struct terminal *terminal)
{
	event_del(&terminal->input);
}

static void terminal_input_end(struct terminal *terminal)
{
	terminal_unwatch(terminal);
	if (terminal->own_in_fd)
		close(terminal->in_fd);
	terminal->in_fd = -1;
	if (terminal->ready)
		terminal->ready(terminal->ready_opaque);
}

bool terminal_at_end(struct terminal *terminal)
{
	return terminal->in_fd < 0 && terminal_room(terminal) == TERMINAL_RING_FULL;
}

static void terminal_leave_foreground(struct terminal *terminal)
{
	terminal_unwatch(terminal);
	event_timer_set(&terminal->foreground, event_now_ns() + TERMINAL_FOREGROUND_MS * 1000000ULL);
}

static void terminal_foreground_expired(struct event_timer *timer)
{
	struct terminal *terminal = container_of(timer, struct terminal, foreground);

	if (tty_enter_raw(terminal->tty_fd))
		terminal_watch(terminal);
	else
		terminal_leave_foreground(terminal);
}

static void terminal_read_failed(struct terminal *terminal, int error)
{
	if (error == EINTR || error == EAGAIN)
		return;
	/* In the background a read says EIO, since SIGTTIN is ignored; so does a tty that was hung up. */
	if (error == EIO && terminal->tty_fd >= 0 && !tty_enter_raw(terminal->tty_fd))
		terminal_leave_foreground(terminal);
	else
		terminal_input_end(terminal);
}

static void terminal_input(struct terminal *terminal)
{
	size_t room = terminal_room(terminal);
	char data[512];
	ssize_t got;

	if (!terminal->is_tty) {
		if (!room) {
			terminal_unwatch(terminal);
			pthread_mutex_lock(&terminal->lock);
			terminal->waiting = true;
			pthread_mutex_unlock(&terminal->lock);
			return;
		}
		room = MIN(room, sizeof(data));
	} else {
		room = sizeof(data);
	}
	got = read(terminal->in_fd, data, room);
	if (got < 0) {
		terminal_read_failed(terminal, errno);
		return;
	}
	if (got == 0) {
		terminal_input_end(terminal);
		return;
	}
	for (ssize_t i = 0; i < got; i++) {
		if (terminal_escape(terminal, data[i]))
			terminal_put(terminal, data[i]);
	}
	if (terminal->ready)
		terminal->ready(terminal->ready_opaque);
	if (!terminal->pollable)
		event_work_post(&terminal->resume);
}

static void terminal_input_ready(struct event_source *source, uint32_t events)
{
	(void)events;
	terminal_input(container_of(source, struct terminal, input));
}

static void terminal_resume(struct event_work *work)
{
	struct terminal *terminal = container_of(work, struct terminal, resume);

	if (terminal->ready && terminal_room(terminal) < TERMINAL_RING_FULL)
		terminal->ready(terminal->ready_opaque);
	if (terminal->in_fd < 0)
		return;
	if (!terminal->pollable)
		terminal_input(terminal);
	else if (terminal->tty_fd < 0)
		terminal_watch(terminal);
}

static void terminal_notified(struct event_source *source, uint32_t events)
{
	struct terminal *terminal = container_of(source, struct terminal, notified);
	uint64_t count;

	(void)events;
	if (read(source->fd, &count, sizeof(count)) < 0)
		return;
	if (terminal->in_fd >= 0)
		terminal_foreground_expired(&terminal->foreground);
	if (terminal->resized)
		terminal->resized(terminal->resized_opaque);
}

void terminal_set_reader(struct terminal *terminal, void (*ready)(void *opaque), void *opaque)
{
	terminal->ready = ready;
	terminal->ready_opaque = opaque;
	if (ready)
		event_work_post(&terminal->resume);
}

void terminal_set_break(struct terminal *terminal, void (*on_break)(void *opaque), void *opaque)
{
	terminal->on_break = on_break;
	terminal->break_opaque = opaque;
}

int terminal_sysrq(struct terminal *terminal, char key)
{
	if (!terminal->on_break)
		return -EOPNOTSUPP;
	pthread_mutex_lock(&terminal->lock);
	terminal->length = 0;
	pthread_mutex_unlock(&terminal->lock);
	terminal->on_break(terminal->break_opaque);
	terminal_put(terminal, key);
	event_work_post(&terminal->resume);
	return 0;
}

bool terminal_size(struct terminal *terminal, uint16_t *columns, uint16_t *rows)
{
	struct winsize size;

	if (terminal->size_fd < 0 || ioctl(terminal->size_fd, TIOCGWINSZ, &size) < 0 || !size.ws_col)
		return false;
	*columns = size.ws_col;
	*rows = size.ws_row;
	return true;
}

void terminal_set_resize(struct terminal *terminal, void (*resized)(void *opaque), void *opaque)
{
	terminal->resized = resized;
	terminal->resized_opaque = opaque;
}

/* ---- opening and closing ---- */

static int terminal_open_input(struct terminal *terminal, int fd)
{
	struct stat status;
	int own, notify;

	if (fd < 0 || fcntl(fd, F_GETFL) < 0 || fstat(fd, &status) < 0)
		return 0;
	terminal->in_fd = fd;
	terminal->is_tty = isatty(fd);
	/* epoll refuses what is always ready: regular files, /dev/null. */
	terminal->pollable = terminal->is_tty || S_ISFIFO(status.st_mode) || S_ISSOCK(status.st_mode);
	if (terminal->is_tty || S_ISFIFO(status.st_mode)) {
		own = tty_reopen(fd, O_RDONLY);
		if (own >= 0) {
			terminal->in_fd = own;
			terminal->own_in_fd = true;
		}
	}
	if (terminal->is_tty && terminal->index == 0) {
		notify = tty_take(fd);
		if (notify >= 0) {
			terminal->tty_fd = fd;
			if (event_add(terminal->kvm->loop, &terminal->notified, notify, EPOLLIN,
				      terminal_notified) < 0)
				log_warn("%s: changes of its size go unseen", terminal->name);
		}
	}
	if (terminal->tty_fd >= 0 && !tty_enter_raw(fd))
		terminal_leave_foreground(terminal);
	else
		terminal_watch(terminal);
	return 0;
}

int terminal_open(struct kvm *kvm, unsigned int index, int in_fd, int out_fd, struct terminal **terminal)
{
	struct terminal *new = malloc(sizeof(*new));
	int error;

	if (!new)
		return -ENOMEM;
	memset(new, 0, offsetof(struct terminal, ring));
	new->kvm = kvm;
	new->index = index;
	new->in_fd = new->tty_fd = -1;
	snprintf(new->name, sizeof(new->name), "terminal %u", index);
	if (out_fd >= 0 && fcntl(out_fd, F_GETFL) >= 0) {
		error = output_open(&new->output, kvm->loop, out_fd, new->name);
		if (error) {
			free(new);
			return log_errno(error, "terminal %u: can't write to it", index);
		}
	}
	new->size_fd = isatty(in_fd) ? in_fd : isatty(out_fd) ? out_fd : -1;
	pthread_mutex_init(&new->lock, NULL);
	event_work_init(kvm->loop, &new->resume, terminal_resume);
	event_timer_init(kvm->loop, &new->foreground, terminal_foreground_expired);
	error = terminal_open_input(new, in_fd);
	if (error) {
		terminal_close(new);
		return error;
	}
	*terminal = new;
	return 0;
}

void terminal_close(struct terminal *terminal)
{
	if (!terminal)
		return;
	event_work_cancel(&terminal->resume);
	event_timer_cancel(&terminal->foreground);
	event_del(&terminal->notified);
	terminal->ready = NULL;
	if (terminal->in_fd >= 0)
		terminal_input_end(terminal);
	/* The last words first: restoring the tty may change how they look. */
	output_close(terminal->output);
	if (terminal->tty_fd >= 0)
		tty_release(terminal->tty_fd);
	pthread_mutex_destroy(&terminal->lock);
	free(terminal);
}
