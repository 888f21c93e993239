/* SPDX-License-Identifier: BSD-2-Clause */
/* TAP 14, run after run: subtests indented, and what else is known in a block of YAML. */
#include "ktest.h"

#define INDENT	4

/* In TAP a '#' begins a directive. */
static void put_name(FILE *file, const char *name)
{
	for (; *name; name++) {
		if (*name == '#' || *name == '\\')
			fputc('\\', file);
		fputc(*name, file);
	}
}

static void put_quoted(FILE *file, const char *key, const char *text)
{
	if (!text)
		return;
	fprintf(file, "  %s: \"", key);
	for (; *text; text++) {
		if (*text == '"' || *text == '\\')
			fputc('\\', file);
		fputc(*text, file);
	}
	fputs("\"\n", file);
}

static void put_result(FILE *file, int indent, bool good, size_t number, const char *name, const char *directive, const char *reason)
{
	fprintf(file, "%*s%s %zu - ", indent, "", good ? "ok" : "not ok", number);
	put_name(file, name);
	if (directive)
		fprintf(file, " # %s%s%s", directive, reason && *reason ? " " : "", reason ? reason : "");
	fputc('\n', file);
}

static size_t put_subtests(FILE *file, int indent, const struct ktap_test *test, size_t number)
{
	for (; test; test = test->next) {
		if (test->children) {
			fprintf(file, "%*s# Subtest: %s\n", indent + INDENT, "", test->name);
			fprintf(file, "%*s1..%zu\n", indent + INDENT, "", put_subtests(file, indent + INDENT, test->children, 0));
		}
		put_result(file, indent, test->result == KTAP_PASS || test->result == KTAP_SKIP, ++number, test->name,
			   test->result == KTAP_SKIP ? "SKIP" : test->result == KTAP_TODO ? "TODO" : NULL, test->reason);
	}
	return number;
}

static void put_known(FILE *file, const struct ktest_run *run, const struct ktest_try *last)
{
	fprintf(file, "  ---\n  outcome: %s\n", ktest_outcome_name(last->outcome));
	put_quoted(file, "reason", last->reason);
	fprintf(file, "  duration_ms: %.0f\n", ktest_seconds(last) * 1000);
	if (run->try_count > 1)
		fprintf(file, "  tries: %u\n  flaky: %s\n", run->try_count, ktest_flaky(run) ? "true" : "false");
	put_quoted(file, "log", last->log);
	fputs("  ...\n", file);
}

void report_tap_begin(FILE *file, size_t count)
{
	fprintf(file, "TAP version 14\n1..%zu\n", count);
}

void report_tap_run(FILE *file, const struct ktest_run *run, size_t index)
{
	const struct ktest_try *last = ktest_last(run);
	const struct ktap_test *output = last && last->output ? ktap_tests(last->output) : NULL;
	const struct ktap_test *console = last && last->console ? ktap_tests(last->console) : NULL;
	size_t number = 0;

	if (output || console) {
		fprintf(file, "%*s# Subtest: %s\n", INDENT, "", run->name);
		number = put_subtests(file, INDENT, console, number);
		number = put_subtests(file, INDENT, output, number);
		fprintf(file, "%*s1..%zu\n", INDENT, "", number);
	}
	put_result(file, 0, last && ktest_good(last->outcome), index + 1, run->name, last && last->outcome == KTEST_SKIP ? "SKIP" : NULL,
		   last ? last->reason : NULL);
	if (last)
		put_known(file, run, last);
}
