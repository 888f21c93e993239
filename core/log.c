/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Messages: one line each, to stderr in one write, so that lines of several threads don't mix.
 *
 * The threshold and the sink belong to the process, not to a VM: they say where its stderr goes. A thread's first error is
 * kept for a client that it works for.
 */
#include "kvm/log.h"

#include <stdio.h>
#include <string.h>
#include <sys/uio.h>

#define LOG_LINE_MAX 1024
#define LOG_BEGIN "lkvm: "

static _Atomic enum log_level log_threshold = LOG_LEVEL_WARNING;
static void (*_Atomic log_sink)(enum log_level level, const char *line);
/* The first error of this thread since it forgot the last. */
static _Thread_local char log_first[256];

const char *log_first_error(void)
{
	return log_first;
}

void log_forget_error(void)
{
	log_first[0] = '\0';
}

void log_set_level(enum log_level level)
{
	atomic_store_explicit(&log_threshold, level, memory_order_relaxed);
}

enum log_level log_get_level(void)
{
	return atomic_load_explicit(&log_threshold, memory_order_relaxed);
}

void log_set_sink(void (*sink)(enum log_level level, const char *line))
{
	atomic_store(&log_sink, sink);
}

/* A line that is too long is cut and ends in "...", rather than being lost. */
static size_t log_terminate(char *line, size_t length)
{
	if (length > LOG_LINE_MAX - 2) {
		length = LOG_LINE_MAX - 2;
		memcpy(line + length - 3, "...", 3);
	}
	line[length] = '\0';
	return length;
}

bool log_wants_colour(int fd)
{
	const char *none = getenv("NO_COLOR"), *terminal = getenv("TERM");

	return isatty(fd) && !(none && *none) && !(terminal && strcmp(terminal, "dumb") == 0);
}

/* Its first word in red, or yellow; in one write all the same. */
static ssize_t write_coloured(enum log_level level, char *line, size_t length)
{
	const char *colour = level == LOG_LEVEL_ERROR ? LOG_RED : LOG_YELLOW;
	const struct iovec parts[] = {
		{ (void *)(uintptr_t)colour, strlen(colour) }, { line, sizeof(LOG_BEGIN) - 2 },
		{ (void *)(uintptr_t)LOG_PLAIN, strlen(LOG_PLAIN) }, { line + sizeof(LOG_BEGIN) - 2, length - (sizeof(LOG_BEGIN) - 2) },
	};

	return writev(STDERR_FILENO, parts, ARRAY_SIZE(parts));
}

static void log_line(enum log_level level, char *line, size_t length)
{
	void (*sink)(enum log_level, const char *) = atomic_load(&log_sink);

	length = log_terminate(line, length);
	if (level == LOG_LEVEL_ERROR && !log_first[0])
		snprintf(log_first, sizeof(log_first), "%.*s", (int)sizeof(log_first) - 1, line + strlen("lkvm: "));
	if (sink) {
		sink(level, line);
		return;
	}
	line[length] = '\n';
	/* A closed or full stderr is nothing that could be reported anywhere. */
	if (level <= LOG_LEVEL_WARNING && log_wants_colour(STDERR_FILENO))
		(void)!write_coloured(level, line, length + 1);
	else
		(void)!write(STDERR_FILENO, line, length + 1);
}

static void printf_like(3, 0) log_format(enum log_level level, int error, const char *format, va_list arguments)
{
	char line[LOG_LINE_MAX];
	size_t length;
	int more;

	length = (size_t)snprintf(line, sizeof(line), LOG_BEGIN);
	more = vsnprintf(line + length, sizeof(line) - length, format, arguments);
	if (more > 0)
		length += (size_t)more;
	if (error && length < LOG_LINE_MAX) {
		more = snprintf(line + length, sizeof(line) - length, ": %s", strerrordesc_np(error));
		if (more > 0)
			length += (size_t)more;
	}
	log_line(level, line, length);
}

void log_message_v(enum log_level level, const char *format, va_list arguments)
{
	int saved = errno;

	if (level <= log_get_level())
		log_format(level, 0, format, arguments);
	errno = saved;
}

void log_message(enum log_level level, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_message_v(level, format, arguments);
	va_end(arguments);
}

int (log_error)(int error, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	log_message_v(LOG_LEVEL_ERROR, format, arguments);
	va_end(arguments);
	return error > 0 ? -error : error;
}

int (log_errno)(int error, const char *format, ...)
{
	va_list arguments;

	error = error > 0 ? error : -error;
	va_start(arguments, format);
	log_format(LOG_LEVEL_ERROR, error, format, arguments);
	va_end(arguments);
	return -error;
}

void log_guest(struct log_limit *limit, const char *format, ...)
{
	unsigned int count = atomic_load_explicit(&limit->count, memory_order_relaxed);
	va_list arguments;

	if (count >= LOG_GUEST_MAX)
		return;
	count = atomic_fetch_add_explicit(&limit->count, 1, memory_order_relaxed);
	if (count >= LOG_GUEST_MAX)
		return;
	va_start(arguments, format);
	log_message_v(LOG_LEVEL_WARNING, format, arguments);
	va_end(arguments);
	if (count == LOG_GUEST_MAX - 1)
		log_warn("more of the same from this guest is left out");
}
