/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The console of a guest that runs a command: a pipe, at whose other end the last CONSOLE_LOG_SIZE bytes are kept.
 */
#include "guest/console-log.h"

#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>

struct console_log {
	struct event_source source;
	int pipe[2];
	bool copy;
	size_t end, length;		/* of the ring */
	char ring[CONSOLE_LOG_SIZE];
};

static void write_out(const char *bytes, size_t length)
{
	while (length) {
		ssize_t n = write(STDERR_FILENO, bytes, length);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		bytes += n;
		length -= (size_t)n;
	}
}

static void keep(struct console_log *log, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		log->ring[log->end] = bytes[i];
		log->end = (log->end + 1) % CONSOLE_LOG_SIZE;
	}
	log->length = MIN(log->length + length, (size_t)CONSOLE_LOG_SIZE);
}

/* Whether there was something. */
static bool take(struct console_log *log)
{
	char bytes[4096];
	ssize_t n = read(log->pipe[0], bytes, sizeof(bytes));

	if (n <= 0)
		return false;
	if (log->copy)
		write_out(bytes, (size_t)n);
	else
		keep(log, bytes, (size_t)n);
	return true;
}

static void log_ready(struct event_source *source, uint32_t events)
{
	(void)events;
	take(container_of(source, struct console_log, source));
}

int console_log_open(struct console_log **out, struct event_loop *loop, bool copy, int *fd)
{
	struct console_log *log = calloc(1, sizeof(*log));
	int result;

	if (!log)
		return -ENOMEM;
	if (pipe2(log->pipe, O_CLOEXEC | O_NONBLOCK) < 0) {
		result = -errno;
		free(log);
		return result;
	}
	log->copy = copy;
	result = event_add(loop, &log->source, log->pipe[0], EPOLLIN, log_ready);
	if (result) {
		console_log_close(log);
		return result;
	}
	*fd = log->pipe[1];
	*out = log;
	return 0;
}

void console_log_print(struct console_log *log)
{
	size_t start, first;

	while (take(log))
		;
	if (log->copy)
		return;
	start = (log->end + CONSOLE_LOG_SIZE - log->length) % CONSOLE_LOG_SIZE;
	first = MIN(log->length, (size_t)CONSOLE_LOG_SIZE - start);
	write_out(log->ring + start, first);
	write_out(log->ring, log->length - first);
	log->length = 0;
}

void console_log_close(struct console_log *log)
{
	if (!log)
		return;
	event_del(&log->source);
	close(log->pipe[0]);
	close(log->pipe[1]);
	free(log);
}
