/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What `lkvm test` is made of: runs of kernels, how each went, and what the reports tell.
 *
 * plan.c makes the runs, schedule.c says which is next, cmd/test-process.c runs them, verdict.c judges them, report-*.c tell.
 * One thread.
 */
#ifndef KTEST_KTEST_H
#define KTEST_KTEST_H

#include <stdio.h>

#include "ktap.h"
#include "kvm/kvm.h"

/** enum ktest_outcome - how a try went; what is not a pass, a skip or a fail is no word of the test's own */
enum ktest_outcome {
	KTEST_NOT_RUN,
	KTEST_PASS,
	KTEST_SKIP,
	KTEST_FAIL,		/* the command's status, or a subtest */
	KTEST_TIMEOUT,		/* --timeout */
	KTEST_PANIC,
	KTEST_OOPS,
	KTEST_HANG,		/* --watchdog-timeout of lkvm run */
	KTEST_BOOT_TIMEOUT,
	KTEST_TRIPLE_FAULT,
	KTEST_EARLY_END,	/* the guest left before the command ended */
	KTEST_SETUP,		/* the guest can't start the command */
	KTEST_HOST_ERROR,	/* KVM or the host failed, or lkvm could not begin */
	KTEST_INTERRUPTED,
	KTEST_OUTCOMES,
};

/** struct ktest_try - one VM */
struct ktest_try {
	enum ktest_outcome outcome;
	int status;			/* of lkvm; with a signal 128 + it */
	char *reason;			/* in a few words, or NULL */
	char *log;			/* the file's name in the folder */
	uint64_t started_ns, ended_ns;	/* event_now_ns() */
	double times[KVM_MARKS];	/* seconds since the start; 0: it didn't come to that */
	struct ktap *output, *console;	/* what was told in KTAP; NULL: it was not begun */
};

#define KTEST_RETRIES_MAX	100
#define KTEST_RUNS_MAX		10000

enum ktest_state { KTEST_WAITING, KTEST_RUNNING, KTEST_DONE };

struct ktest_run {
	char *name;			/* all of the following that aren't empty, with '/' between them */
	char *kernel, *config, *test;
	char **argv;			/* options of lkvm run, then "--" and the command; NULL-terminated */
	unsigned int cpus;
	uint64_t mem;
	unsigned int timeout_s, retries;	/* 0: none */

	enum ktest_state state;
	struct ktest_try *tries;
	unsigned int try_count;
	void *process;			/* the runner's */
};

struct ktest {
	struct ktest_run *runs;
	size_t count;
	unsigned int jobs, cpus;	/* the budget */
	uint64_t mem;
	char *folder;			/* of logs and reports */
	int64_t began;			/* time(2) */
	uint64_t began_ns, ended_ns;
	int signal;			/* that ended it, or 0 */
};

/** ktest_run_try() - a new, last try of @run; NULL: no memory */
struct ktest_try *ktest_run_try(struct ktest_run *run);
/** ktest_last() - the try that counts; NULL: there was none */
const struct ktest_try *ktest_last(const struct ktest_run *run);
void ktest_runs_free(struct ktest_run *runs, size_t count);

/* ---- verdict.c ---- */

/** ktest_outcome() - what became of @run; ktest_outcome_name() - "pass", "boot-timeout", ... */
enum ktest_outcome ktest_outcome(const struct ktest_run *run);
const char *ktest_outcome_name(enum ktest_outcome outcome);
/** ktest_good() - a pass or a skip */
bool ktest_good(enum ktest_outcome outcome);
/** ktest_flaky() - good, but not at the first time */
bool ktest_flaky(const struct ktest_run *run);
/**
 * ktest_judge() - sets outcome, reason and times of @try, which has its status and its KTAP
 * @report: the text that `lkvm run --report` wrote, or NULL
 */
void ktest_judge(struct ktest_try *try, const char *report);
/** ktest_note() - a line of what @try printed on standard error, clean: it may be the reason for its end */
void ktest_note(struct ktest_try *try, const char *line);

struct ktest_totals {
	size_t outcomes[KTEST_OUTCOMES], flaky, good;
	unsigned long subtests[KTAP_RESULTS];
};

void ktest_total(struct ktest_totals *totals, const struct ktest *test);

/* ---- reports ---- */

/** ktest_seconds() - how long the try took, from exec to its end */
double ktest_seconds(const struct ktest_try *try);
/** ktest_log_tail() - the last of a try's log, clean; NULL: nothing, or no memory */
char *ktest_log_tail(const struct ktest *test, const struct ktest_try *try);
/** report_tap_begin(), report_tap_run() - TAP 14: the plan, then run after run, @index from 0 */
void report_tap_begin(FILE *file, size_t count);
void report_tap_run(FILE *file, const struct ktest_run *run, size_t index);
/** report_junit(), report_json(), report_html() - all of it; the file's errors are left for ferror(); JSON: or -ENOMEM */
void report_junit(FILE *file, const struct ktest *test);
int __must_check report_json(FILE *file, const struct ktest *test);
void report_html(FILE *file, const struct ktest *test);

#endif
