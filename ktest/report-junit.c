/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * JUnit XML, as CI systems read it: each run is a suite, with a case for its command and one for each subtest. What the test
 * itself says is a failure; what happened to the machine is an error. Flaky runs are told as Maven's Surefire tells them.
 */
#include "ktest.h"
#include "text.h"

#include <string.h>
#include <time.h>

struct tally {
	size_t tests, failures, errors, skipped;
};

/* Whether it counts as a case: one with subtests does if it failed and none of them did. */
static bool is_case(const struct ktap_test *test)
{
	return !test->children || (test->result == KTAP_FAIL && !ktap_failed(test->children));
}

static bool is_error(enum ktest_outcome outcome)
{
	return !ktest_good(outcome) && outcome != KTEST_FAIL;
}

/* ---- counting ---- */

static void tally_subtests(struct tally *tally, const struct ktap_test *test)
{
	for (; test; test = test->next) {
		tally_subtests(tally, test->children);
		if (!is_case(test))
			continue;
		tally->tests++;
		tally->failures += test->result == KTAP_FAIL || test->result == KTAP_LOST;
		tally->skipped += test->result == KTAP_SKIP || test->result == KTAP_TODO;
	}
}

static struct tally tally_run(const struct ktest_run *run)
{
	const struct ktest_try *last = ktest_last(run);
	enum ktest_outcome outcome = ktest_outcome(run);
	struct tally tally = { .tests = 1, .failures = outcome == KTEST_FAIL, .errors = is_error(outcome) && outcome != KTEST_NOT_RUN,
			       .skipped = outcome == KTEST_SKIP || outcome == KTEST_NOT_RUN };

	if (last && last->console)
		tally_subtests(&tally, ktap_tests(last->console));
	if (last && last->output)
		tally_subtests(&tally, ktap_tests(last->output));
	return tally;
}

/* ---- writing ---- */

static void put(FILE *file, const char *key, const char *value)
{
	fprintf(file, " %s=\"", key);
	text_escape(file, value ? value : "");
	fputc('"', file);
}

static void put_tally(FILE *file, const struct tally *tally, double seconds)
{
	fprintf(file, " tests=\"%zu\" failures=\"%zu\" errors=\"%zu\" skipped=\"%zu\" time=\"%.3f\">\n", tally->tests, tally->failures,
		tally->errors, tally->skipped, seconds);
}

static void put_element(FILE *file, const char *element, const char *type, const char *message, const char *text)
{
	fprintf(file, "   <%s", element);
	put(file, "message", message);
	put(file, "type", type);
	fputc('>', file);
	text_escape(file, text ? text : "");
	fprintf(file, "</%s>\n", element);
}

static void put_subtest(FILE *file, const char *suite, const char *path, const struct ktap_test *test)
{
	const char *result = ktap_result_name(test->result);

	fputs("  <testcase", file);
	put(file, "classname", suite);
	fputs(" name=\"", file);
	text_escape(file, path);
	text_escape(file, test->name);
	fputs("\">\n", file);
	if (test->result == KTAP_FAIL || test->result == KTAP_LOST)
		put_element(file, "failure", result, test->reason ? test->reason : test->name, test->detail);
	else if (test->result != KTAP_PASS)
		put_element(file, "skipped", result, test->reason, NULL);
	fputs("  </testcase>\n", file);
}

static void put_subtests(FILE *file, const char *suite, const char *path, const struct ktap_test *test)
{
	for (; test; test = test->next) {
		_cleanup_free_ char *below = NULL;

		if (is_case(test))
			put_subtest(file, suite, path, test);
		if (test->children && asprintf(&below, "%s%s / ", path, test->name) >= 0)
			put_subtests(file, suite, below, test->children);
	}
}

static void put_command(FILE *file, const struct ktest *test, const struct ktest_run *run, const struct ktest_try *last)
{
	_cleanup_free_ char *tail = last && !ktest_good(last->outcome) ? ktest_log_tail(test, last) : NULL;
	enum ktest_outcome outcome = ktest_outcome(run);
	const char *name = ktest_outcome_name(outcome), *reason = last ? last->reason : name;

	fputs("  <testcase", file);
	put(file, "classname", run->name);
	put(file, "name", run->test);
	fprintf(file, " time=\"%.3f\">\n", last ? ktest_seconds(last) : 0);
	if (outcome == KTEST_FAIL)
		put_element(file, "failure", name, reason, NULL);
	else if (outcome == KTEST_SKIP || outcome == KTEST_NOT_RUN)
		put_element(file, "skipped", name, reason, NULL);
	else if (is_error(outcome))
		put_element(file, "error", name, reason, NULL);
	for (unsigned int i = 0; ktest_flaky(run) && i + 1 < run->try_count; i++)
		put_element(file, "flakyFailure", ktest_outcome_name(run->tries[i].outcome), run->tries[i].reason, NULL);
	if (tail) {
		fputs("   <system-out>", file);
		text_escape(file, tail);
		fputs("</system-out>\n", file);
	}
	fputs("  </testcase>\n", file);
}

static void put_property(FILE *file, const char *name, const char *value)
{
	if (!*value)
		return;
	fputs("   <property", file);
	put(file, "name", name);
	put(file, "value", value);
	fputs("/>\n", file);
}

static void put_run(FILE *file, const struct ktest *test, const struct ktest_run *run)
{
	const struct ktest_try *last = ktest_last(run);
	struct tally tally = tally_run(run);

	fputs(" <testsuite", file);
	put(file, "name", run->name);
	put_tally(file, &tally, last ? ktest_seconds(last) : 0);
	fputs("  <properties>\n", file);
	put_property(file, "kernel", run->kernel);
	put_property(file, "config", run->config);
	put_property(file, "log", last && last->log ? last->log : "");
	fputs("  </properties>\n", file);
	put_command(file, test, run, last);
	if (last && last->console)
		put_subtests(file, run->name, "", ktap_tests(last->console));
	if (last && last->output)
		put_subtests(file, run->name, "", ktap_tests(last->output));
	fputs(" </testsuite>\n", file);
}

void report_junit(FILE *file, const struct ktest *test)
{
	struct tally all = { .tests = 0 };

	for (size_t i = 0; i < test->count; i++) {
		struct tally tally = tally_run(&test->runs[i]);

		all.tests += tally.tests;
		all.failures += tally.failures;
		all.errors += tally.errors;
		all.skipped += tally.skipped;
	}
	fputs("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"lkvm test\"", file);
	put_tally(file, &all, (double)(test->ended_ns - test->began_ns) / 1e9);
	for (size_t i = 0; i < test->count; i++)
		put_run(file, test, &test->runs[i]);
	fputs("</testsuites>\n", file);
}
