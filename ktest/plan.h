/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What is to be run: each test on each kernel in each configuration, from the command line or a file. lkvm.1 has the file.
 */
#ifndef KTEST_PLAN_H
#define KTEST_PLAN_H

#include "ktest.h"
#include "kvm/option.h"

/** struct plan_setting - an option of `lkvm run`, or a word of `lkvm test`'s own */
struct plan_setting {
	char *where;		/* "FILE:LINE: ", for messages */
	char *name, *value;
};

/** struct plan_choice - a kernel, a configuration or a test, and what it sets */
struct plan_choice {
	char *name;
	struct plan_setting *settings;
	size_t count;
};

struct plan_axis {
	struct plan_choice *choices;
	size_t count;
};

enum plan_kind { PLAN_KERNEL, PLAN_CONFIG, PLAN_TEST, PLAN_KINDS };

struct plan {
	struct plan_choice all, given;	/* given: by the command line, which goes before all else */
	struct plan_axis axes[PLAN_KINDS];
	char *const *words;	/* a test's command, as it was given; NULL: tests have "command" */
};

/** plan_set() - @choice sets @name; 0 or -ENOMEM (said) */
int __must_check plan_set(struct plan_choice *choice, const char *where, const char *name, const char *value);
/** plan_add() - the choice called @name, a new one if there is none; NULL: no memory, or too many (said) */
struct plan_choice *plan_add(struct plan *plan, enum plan_kind kind, const char *name);
/** plan_clear() - no choices of @kind */
void plan_clear(struct plan *plan, enum plan_kind kind);
void plan_free(struct plan *plan);

/**
 * plan_read() - what the file @path says; its [limits] go to @limits, the config of `lkvm test`, as those of a file
 * Returns 0 or a negative errno (said).
 */
int __must_check plan_read(struct plan *plan, const char *path, struct config *limits);

/**
 * plan_runs() - all runs of @plan whose name matches one of @only (fnmatch(3); none: all)
 * @options: the tables of `lkvm run`; @timeout_s, @retries: of tests that don't say
 * Returns 0 or a negative errno (said): an option is wrong, there is no test, or there are too many runs.
 */
struct plan_defaults {
	struct option_group *options;
	unsigned int timeout_s, retries;
	const struct config *only;	/* its list "only" */
};
int __must_check plan_runs(const struct plan *plan, const struct plan_defaults *defaults, struct ktest_run **runs, size_t *count);

#endif
