/* SPDX-License-Identifier: BSD-2-Clause */
/* ktest/verdict.c and the reports: how each end of a VM is judged, and that every format says so, whatever a guest printed. */
#include "tests/unit/suite.h"

#include <jansson.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "ktest/ktest.h"

#define START_NS	1000000000ULL

static struct ktest test;
static char folder[] = "/tmp/lkvm-test-report.XXXXXX";
static char *report;
static size_t report_length;

static void setup(void)
{
	memcpy(folder + strlen(folder) - 6, "XXXXXX", 6);
	ck_assert_ptr_nonnull(mkdtemp(folder));
	test = (struct ktest){ .jobs = 2, .cpus = 4, .mem = MIB(1024), .folder = folder, .began = 1700000000, .began_ns = START_NS,
			       .ended_ns = START_NS + 12500000000ULL };
	test.runs = calloc(8, sizeof(*test.runs));
	report = NULL;
}

static void teardown(void)
{
	char path[sizeof(folder) + 16];

	snprintf(path, sizeof(path), "%s/a.log", folder);
	unlink(path);
	rmdir(folder);
	ktest_runs_free(test.runs, test.count);
	free(report);
}

static struct ktest_run *add_run(const char *kernel, const char *name)
{
	struct ktest_run *run = &test.runs[test.count++];
	char *full;

	ck_assert_int_gt(asprintf(&full, "%s/%s", kernel, name), 0);
	*run = (struct ktest_run){ .name = full, .kernel = strdup(kernel), .config = strdup(""), .test = strdup(name), .state = KTEST_DONE };
	run->argv = calloc(3, sizeof(*run->argv));
	run->argv[0] = strdup("--");
	run->argv[1] = strdup(name);
	return run;
}

static struct ktap *read_ktap(enum ktap_source source, const char *text)
{
	struct ktap *ktap = ktap_new(source);

	while (*text) {
		size_t length = strcspn(text, "\n");

		ktap_line(ktap, text, length);
		text += length + (text[length] == '\n');
	}
	ktap_end(ktap);
	return ktap;
}

/* A try of 2 s that ended as @end says, with @status and this on its standard output. */
static struct ktest_try *add_try(struct ktest_run *run, const char *end, int status, const char *output)
{
	struct ktest_try *try = ktest_run_try(run);
	char text[512];

	try->started_ns = START_NS;
	try->ended_ns = START_NS + 2000000000;
	try->status = status;
	try->log = strdup("a.log");
	try->output = read_ktap(KTAP_OUTPUT, output);
	try->console = read_ktap(KTAP_CONSOLE, "");
	snprintf(text, sizeof(text), "{\"end\": \"%s\", \"status\": %d, \"started\": 1.25, "
		 "\"times\": {\"kvm-run\": 0.05, \"console\": 0.15, \"init\": 0.25, \"command\": 0.55, \"end\": 0.75}}", end, status);
	ktest_judge(try, *end ? text : NULL);
	return try;
}

static enum ktest_outcome judged(const char *end, int status, const char *output)
{
	return add_try(test.count ? &test.runs[0] : add_run("k", "t"), end, status, output)->outcome;
}

#define SKIPPED	"TAP version 13\n1..0 # SKIP needs root\n"
#define MIXED	"TAP version 13\n1..2\nok 1 a\nnot ok 2 b\n"

START_TEST(each_end_has_its_outcome)
{
	static const struct {
		const char *end;
		int status;
		enum ktest_outcome outcome;
	} ends[] = {
		{ "guest-command", 0, KTEST_PASS }, { "guest-command", 1, KTEST_FAIL },
		/* a command's status is its own */
		{ "guest-command", LKVM_STATUS_PANIC, KTEST_FAIL }, { "guest-panic", LKVM_STATUS_PANIC, KTEST_PANIC },
		{ "guest-oops", LKVM_STATUS_OOPS, KTEST_OOPS }, { "guest-hang", LKVM_STATUS_HANG, KTEST_HANG },
		{ "boot-timeout", LKVM_STATUS_BOOT_TIMEOUT, KTEST_BOOT_TIMEOUT }, { "triple-fault", LKVM_STATUS_TRIPLE_FAULT, KTEST_TRIPLE_FAULT },
		{ "host-error", LKVM_STATUS_HOST_ERROR, KTEST_HOST_ERROR }, { "internal-error", 116, KTEST_HOST_ERROR },
		{ "failed-entry", 117, KTEST_HOST_ERROR }, { "not-started", 1, KTEST_HOST_ERROR }, { "", 1, KTEST_HOST_ERROR },
		{ "host-signal", 137, KTEST_HOST_ERROR }, { "guest-shutdown", 1, KTEST_EARLY_END }, { "guest-reset", 1, KTEST_EARLY_END },
		{ "guest-setup", 1, KTEST_SETUP },
	};

	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		ck_assert_msg(judged(ends[i].end, ends[i].status, "") == ends[i].outcome, "%s, %d: expected %s, seen %s", ends[i].end,
			      ends[i].status, ktest_outcome_name(ends[i].outcome), ktest_outcome_name(ktest_outcome(&test.runs[0])));
}
END_TEST

START_TEST(subtests_have_a_say)
{
	ck_assert_int_eq(judged("guest-command", 0, MIXED), KTEST_FAIL);
	ck_assert_str_eq(ktest_last(&test.runs[0])->reason, "of 2 subtests 1 failed");
	ck_assert_int_eq(judged("guest-command", 0, "TAP version 13\n1..2\nok 1 a\n"), KTEST_FAIL);
	ck_assert_str_eq(ktest_last(&test.runs[0])->reason, "of 2 subtests 1 failed or are lost");
	ck_assert_int_eq(judged("guest-command", 4, SKIPPED), KTEST_SKIP);
	ck_assert_str_eq(ktest_last(&test.runs[0])->reason, "needs root");
	ck_assert_int_eq(judged("guest-command", 1, SKIPPED), KTEST_FAIL);
	ck_assert_int_eq(judged("guest-command", 4, ""), KTEST_FAIL);
	ck_assert_int_eq(judged("guest-command", 0, "TAP version 13\n1..1\nnot ok 1 a # TODO\n"), KTEST_PASS);
	ck_assert_int_eq(judged("guest-panic", 118, MIXED), KTEST_PANIC);
}
END_TEST

START_TEST(times_count_from_exec)
{
	judged("guest-command", 0, "");
	ck_assert_double_eq_tol(ktest_last(&test.runs[0])->times[KVM_MARK_RUN], 0.3, 1e-6);
	ck_assert_double_eq_tol(ktest_last(&test.runs[0])->times[KVM_MARK_END], 1.0, 1e-6);
}
END_TEST

START_TEST(the_kernels_words_are_the_reason)
{
	struct ktest_try *try = ktest_run_try(add_run("k", "t"));

	ktest_note(try, "lkvm: first");
	ktest_note(try, "a program says lkvm: no");
	ck_assert_str_eq(try->reason, "lkvm: first");
	ktest_note(try, "[    1.2] Kernel panic - not syncing: gone");
	ktest_note(try, "lkvm: guest-1 ended: guest-panic");
	ktest_note(try, "BUG: later");
	ck_assert_str_eq(try->reason, "Kernel panic - not syncing: gone");
}
END_TEST

/* Of each kind one, with words that mean something to each format. */
static void add_all(void)
{
	struct ktest_run *run = add_run("6.12", "net <\"&'>#\\");
	char path[sizeof(folder) + 16];
	FILE *log;

	add_try(run, "guest-command", 0, "TAP version 13\n1..3\n# Subtest: s\n  1..1\n  ok 1 deep\nok 1 s\nok 2 a # SKIP <no>\nnot ok 3 c # TODO x\n");
	run = add_run("6.12", "flaky");
	add_try(run, "guest-command", 3, "");
	add_try(run, "guest-command", 0, "");
	run = add_run("6.13", "bad");
	add_try(run, "guest-command", 1, "TAP version 13\n1..1\n# because ]]> of \x1b[0m\nnot ok 1 b\n");
	add_try(add_run("6.13", "panic"), "guest-panic", 118, "");
	add_run("6.13", "never");
	snprintf(path, sizeof(path), "%s/a.log", folder);
	log = fopen(path, "w");
	fputs("one </pre><script>\x1b[31m\r\n", log);
	fclose(log);
}

static FILE *open_text(void)
{
	return open_memstream(&report, &report_length);
}

static void has(const char *text)
{
	ck_assert_msg(strstr(report, text) != NULL, "expected \"%s\" in:\n%s", text, report);
}

static void has_not(const char *text)
{
	ck_assert_msg(!strstr(report, text), "expected no \"%s\" in:\n%s", text, report);
}

START_TEST(tap_has_subtests_and_a_block_for_the_rest)
{
	FILE *file = open_text();

	add_all();
	report_tap_begin(file, test.count);
	for (size_t i = 0; i < test.count; i++)
		report_tap_run(file, &test.runs[i], i);
	fclose(file);

	has("TAP version 14\n1..5\n    # Subtest: 6.12/net <\"&'>#\\\n        # Subtest: s\n        ok 1 - deep\n        1..1\n    ok 1 - s\n"
	    "    ok 2 - a # SKIP <no>\n    not ok 3 - c # TODO x\n    1..3\nok 1 - 6.12/net <\"&'>\\#\\\\\n  ---\n  outcome: pass\n"
	    "  duration_ms: 2000\n  log: \"a.log\"\n  ...\n");
	has("ok 2 - 6.12/flaky\n  ---\n  outcome: pass\n  duration_ms: 2000\n  tries: 2\n  flaky: true\n");
	has("not ok 3 - 6.13/bad\n  ---\n  outcome: fail\n  reason: \"of 1 subtests 1 failed\"\n");
	has("not ok 4 - 6.13/panic\n  ---\n  outcome: panic\n");
	has("not ok 5 - 6.13/never\n");
}
END_TEST

START_TEST(junit_counts_what_it_lists)
{
	FILE *file = open_text();

	add_all();
	report_junit(file, &test);
	fclose(file);

	has("<testsuites name=\"lkvm test\" tests=\"9\" failures=\"2\" errors=\"1\" skipped=\"3\" time=\"12.500\">");
	has("<testsuite name=\"6.12/net &lt;&quot;&amp;&#39;&gt;#\\\" tests=\"4\" failures=\"0\" errors=\"0\" skipped=\"2\" time=\"2.000\">");
	has("name=\"s / deep\">\n  </testcase>");
	has("<skipped message=\"&lt;no&gt;\" type=\"skip\"></skipped>");
	has("<flakyFailure message=\"status 3\" type=\"fail\"></flakyFailure>");
	has("<failure message=\"b\" type=\"fail\"># because ]]&gt; of ?[0m\n</failure>");
	has("<error message=\"guest-panic\" type=\"panic\">");
	has("<system-out>one &lt;/pre&gt;&lt;script&gt;?[31m\n</system-out>");
	has("<skipped message=\"not-run\" type=\"not-run\">");
}
END_TEST

START_TEST(json_has_all)
{
	FILE *file = open_text();
	json_t *all, *runs, *run;

	add_all();
	ck_assert_int_eq(report_json(file, &test), 0);
	fclose(file);

	all = json_loads(report, 0, NULL);
	ck_assert_ptr_nonnull(all);
	ck_assert_str_eq(json_string_value(json_object_get(all, "began")), "2023-11-14T22:13:20Z");
	ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(all, "totals"), "pass")), 2);
	ck_assert_int_eq(json_integer_value(json_object_get(json_object_get(all, "totals"), "flaky")), 1);
	runs = json_object_get(all, "runs");
	ck_assert_uint_eq(json_array_size(runs), 5);
	run = json_array_get(json_object_get(json_array_get(runs, 0), "tries"), 0);
	ck_assert_double_eq_tol(json_number_value(json_object_get(json_object_get(run, "times"), "command")), 0.8, 1e-6);
	run = json_array_get(json_object_get(run, "subtests"), 0);
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(json_object_get(run, "subtests"), 0), "name")), "deep");
	ck_assert(json_is_true(json_object_get(json_array_get(runs, 1), "flaky")));
	ck_assert_str_eq(json_string_value(json_object_get(json_array_get(runs, 4), "outcome")), "not-run");
	json_decref(all);
}
END_TEST

START_TEST(html_has_bars_and_no_guests_markup)
{
	FILE *file = open_text();

	add_all();
	report_html(file, &test);
	fclose(file);

	has("<h1>2 of 5 runs are good</h1>");
	/* the panic's boot lasted to its end, 2 s, the others' to their commands, 0.8 s */
	has("<span class=n>0.800</span><span class=bar><i class=k0 style='width:37.500%' title='lkvm starts: 0.300 s'></i>");
	has("<i class=k4 style='width:10.000%' title='command: 0.200 s'></i><i class=k5 style='width:50.000%'");
	has("6.12/net &lt;&quot;&amp;&#39;&gt;#\\");
	has("one &lt;/pre&gt;&lt;script&gt;?[31m");
	has_not("<script");
	has_not("src=");
	has_not("http");
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "verdicts", setup, teardown);

	tcase_add_test(tests, each_end_has_its_outcome);
	tcase_add_test(tests, subtests_have_a_say);
	tcase_add_test(tests, times_count_from_exec);
	tcase_add_test(tests, the_kernels_words_are_the_reason);
	tests = suite_case(suite, "reports", setup, teardown);
	tcase_add_test(tests, tap_has_subtests_and_a_block_for_the_rest);
	tcase_add_test(tests, junit_counts_what_it_lists);
	tcase_add_test(tests, json_has_all);
	tcase_add_test(tests, html_has_bars_and_no_guests_markup);
}
SUITE_MAIN("ktest-report", add_tests)
