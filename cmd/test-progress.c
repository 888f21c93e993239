/* SPDX-License-Identifier: BSD-2-Clause */
/* How far `lkvm test` is, on stderr: one line that is written over on a terminal, else a line for each try that ended. */
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/log.h"
#include "test.h"

#define TICK_NS		250000000ULL
#define COLUMNS_MAX	512

static unsigned int columns(void)
{
	struct winsize window;

	if (ioctl(STDERR_FILENO, TIOCGWINSZ, &window) < 0 || !window.ws_col)
		return 80;
	return MIN((unsigned int)window.ws_col, (unsigned int)COLUMNS_MAX - 1);
}

static size_t append(char *line, size_t room, size_t used, const char *format, ...) printf_like(4, 5);
static size_t append(char *line, size_t room, size_t used, const char *format, ...)
{
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(line + used, room - used, format, arguments);
	va_end(arguments);
	return n < 0 ? used : MIN(used + (size_t)n, room - 1);
}

static size_t append_running(char *line, size_t room, size_t used, const struct ktest_run *run)
{
	const struct ktest_try *last = ktest_last(run);

	return append(line, room, used, "  %s %.0fs", run->name, (double)(event_now_ns() - last->started_ns) / 1e9);
}

static void show(struct event_timer *timer)
{
	struct test_session *session = container_of(timer, struct test_session, progress);
	struct ktest_totals totals;
	char line[COLUMNS_MAX];
	size_t room = columns(), used;
	bool coloured;

	ktest_total(&totals, &session->test);
	used = append(line, room, 0, "%zu/%zu", session->schedule.done, session->test.count);
	/* a retry that waits has failed for now only */
	if (session->schedule.done > totals.good)
		used = append(line, room, used, ", %zu bad", session->schedule.done - MIN(totals.good, session->schedule.done));
	for (size_t i = 0; i < session->test.count && used + 1 < room; i++)
		if (session->test.runs[i].state == KTEST_RUNNING)
			used = append_running(line, room, used, &session->test.runs[i]);
	coloured = session->schedule.done > totals.good && log_wants_colour(STDERR_FILENO);
	dprintf(STDERR_FILENO, "\r%s%s%s\033[K", coloured ? LOG_RED : "", line, coloured ? LOG_PLAIN : "");
	event_timer_set(timer, event_now_ns() + TICK_NS);
}

void test_progress_begin(struct test_session *session)
{
	session->live = isatty(STDERR_FILENO);
	event_timer_init(session->loop, &session->progress, show);
	if (session->live)
		event_timer_set(&session->progress, event_now_ns());
}

void test_progress_clear(struct test_session *session)
{
	if (session->live)
		dprintf(STDERR_FILENO, "\r\033[K");
}

void test_progress_end(struct test_session *session)
{
	event_timer_cancel(&session->progress);
	test_progress_clear(session);
}

void test_progress_try(struct test_session *session, const struct ktest_run *run, bool again)
{
	const struct ktest_try *last = ktest_last(run);

	if (session->live || !last)
		return;
	dprintf(STDERR_FILENO, "%zu/%zu %s: %s%s%s%s, %.1f s%s\n", session->schedule.done + !again, session->test.count, run->name,
		ktest_outcome_name(last->outcome), last->reason ? " (" : "", last->reason ? last->reason : "", last->reason ? ")" : "",
		ktest_seconds(last), again ? ", again" : ktest_flaky(run) ? ", flaky" : "");
}
