/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of `lkvm test` share: the runs as processes, on one event loop. Main thread. */
#ifndef CMD_TEST_H
#define CMD_TEST_H

#include "ktest/schedule.h"
#include "kvm/event.h"

struct test_session {
	struct ktest test;
	struct schedule schedule;
	struct event_loop *loop;
	struct event_source signals;
	struct event_timer progress;
	size_t told;			/* runs whose TAP is out: in order */
	FILE *tap;			/* the same in the folder */
	bool live;			/* there is a line of progress on stderr */
};

/** test_session_run() - runs all, tells TAP on stdout and progress on stderr; 0 or negative errno (said) */
int __must_check test_session_run(struct test_session *session);
/** test_session_ended() - by test-process.c: @run's last try is over and judged */
void test_session_ended(struct test_session *session, struct ktest_run *run);

/** test_process_start() - a new try of @run, as `lkvm run`; 0 or negative errno (said, and the run's reason) */
int __must_check test_process_start(struct test_session *session, struct ktest_run *run);
/** test_process_stop() - ends @run's process, as @why; asked again, without mercy */
void test_process_stop(struct ktest_run *run, enum ktest_outcome why);

/** test_progress_begin(), _end() - the line on stderr, if that is a terminal */
void test_progress_begin(struct test_session *session);
void test_progress_end(struct test_session *session);
/** test_progress_clear() - room for other output */
void test_progress_clear(struct test_session *session);
/** test_progress_try() - a try of @run has ended: a line, where there is no terminal; @again: another follows */
void test_progress_try(struct test_session *session, const struct ktest_run *run, bool again);

#endif
