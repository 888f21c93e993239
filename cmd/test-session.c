/* SPDX-License-Identifier: BSD-2-Clause */
/* All runs of `lkvm test`, from the first to the last, or to the signal that ends them. */
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/signalfd.h>

#include "kvm/log.h"
#include "test.h"

/* ---- telling ---- */

static void tell(struct test_session *session, const struct ktest_run *run, size_t index)
{
	test_progress_clear(session);
	report_tap_run(stdout, run, index);
	fflush(stdout);
	report_tap_run(session->tap, run, index);
}

/* TAP's numbers go up, whichever run ends first. */
static void tell_done(struct test_session *session)
{
	const struct ktest *test = &session->test;

	while (session->told < test->count && test->runs[session->told].state == KTEST_DONE) {
		tell(session, &test->runs[session->told], session->told);
		session->told++;
	}
}

/* ---- runs ---- */

static int start_run(struct ktest_run *run, void *opaque)
{
	return test_process_start(opaque, run);
}

static const struct schedule_ops schedule_ops = { .start = start_run };

static void look_for_end(struct test_session *session)
{
	tell_done(session);
	if (schedule_over(&session->schedule))
		event_loop_stop(session->loop);
}

void test_session_ended(struct test_session *session, struct ktest_run *run)
{
	enum ktest_outcome outcome = ktest_outcome(run);
	bool again = !ktest_good(outcome) && outcome != KTEST_INTERRUPTED && run->try_count <= run->retries;

	test_progress_try(session, run, again && !session->test.signal);
	schedule_ended(&session->schedule, run, again);
	look_for_end(session);
}

/* ---- signals ---- */

static void stop_all(struct test_session *session)
{
	schedule_stop(&session->schedule);
	for (size_t i = 0; i < session->test.count; i++)
		if (session->test.runs[i].state == KTEST_RUNNING)
			test_process_stop(&session->test.runs[i], KTEST_INTERRUPTED);
	look_for_end(session);
}

static void signals_ready(struct event_source *source, uint32_t events)
{
	struct test_session *session = container_of(source, struct test_session, signals);
	struct signalfd_siginfo info;

	(void)events;
	if (read(source->fd, &info, sizeof(info)) != sizeof(info))
		return;
	session->test.signal = (int)info.ssi_signo;
	stop_all(session);
}

static int watch_signals(struct test_session *session)
{
	static const int numbers[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct sigaction action;
	sigset_t set;
	int fd, result;

	signal(SIGPIPE, SIG_IGN);
	sigemptyset(&set);
	/* what the caller ignores stays ignored, as by nohup */
	for (size_t i = 0; i < ARRAY_SIZE(numbers); i++)
		if (sigaction(numbers[i], NULL, &action) == 0 && action.sa_handler != SIG_IGN)
			sigaddset(&set, numbers[i]);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = signalfd(-1, &set, SFD_NONBLOCK | SFD_CLOEXEC);
	if (fd < 0)
		return -errno;
	result = event_add(session->loop, &session->signals, fd, EPOLLIN, signals_ready);
	if (result)
		close(fd);
	return result;
}

static void forget_signals(struct test_session *session)
{
	event_del(&session->signals);
	close(session->signals.fd);
}

/* ---- all ---- */

int test_session_run(struct test_session *session)
{
	struct ktest *test = &session->test;
	int result = event_loop_create(&session->loop, "test");

	if (result)
		return log_errno(result, "test");
	result = watch_signals(session);
	if (result) {
		event_loop_destroy(session->loop);
		return log_errno(result, "test: signals");
	}
	session->schedule = (struct schedule){ .test = test, .ops = &schedule_ops, .opaque = session };
	test->began_ns = event_now_ns();
	report_tap_begin(stdout, test->count);
	report_tap_begin(session->tap, test->count);
	fflush(stdout);
	test_progress_begin(session);
	schedule_fill(&session->schedule);
	look_for_end(session);
	result = event_loop_run(session->loop);
	test->ended_ns = event_now_ns();
	test_progress_end(session);
	/* those that never began, too */
	for (; session->told < test->count; session->told++)
		tell(session, &test->runs[session->told], session->told);
	forget_signals(session);
	event_loop_destroy(session->loop);
	return result;
}
