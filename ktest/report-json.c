/* SPDX-License-Identifier: BSD-2-Clause */
/* All that is known, as JSON: lkvm.1 tells the names. */
#include <jansson.h>
#include <time.h>

#include "ktest.h"
#include "version.h"

static void put_text(json_t *object, const char *key, const char *text)
{
	if (text)
		json_object_set_new(object, key, json_string(text));
}

static json_t *subtests(const struct ktap_test *test)
{
	json_t *list = json_array();

	for (; test; test = test->next) {
		json_t *entry = json_pack("{s:s,s:s}", "name", test->name, "result", ktap_result_name(test->result));

		put_text(entry, "reason", test->reason);
		put_text(entry, "detail", test->detail);
		if (test->children)
			json_object_set_new(entry, "subtests", subtests(test->children));
		json_array_append_new(list, entry);
	}
	return list;
}

static json_t *times(const struct ktest_try *try)
{
	json_t *object = json_object();

	for (size_t i = 0; i < KVM_MARKS; i++)
		if (try->times[i] > 0)
			json_object_set_new(object, kvm_mark_name((enum kvm_mark)i), json_real(try->times[i]));
	return object;
}

static json_t *one_try(const struct ktest_try *try, uint64_t began_ns)
{
	json_t *object = json_pack("{s:s,s:i,s:f,s:f,s:o}", "outcome", ktest_outcome_name(try->outcome), "status", try->status,
				   "at", (double)(try->started_ns - began_ns) / 1e9, "seconds", ktest_seconds(try), "times", times(try));

	put_text(object, "reason", try->reason);
	put_text(object, "log", try->log);
	if (try->console && ktap_tests(try->console))
		json_object_set_new(object, "kernel-subtests", subtests(ktap_tests(try->console)));
	if (try->output && ktap_tests(try->output))
		json_object_set_new(object, "subtests", subtests(ktap_tests(try->output)));
	return object;
}

static json_t *one_run(const struct ktest_run *run, uint64_t began_ns)
{
	json_t *tries = json_array(), *arguments = json_array();

	for (char **word = run->argv; *word; word++)
		json_array_append_new(arguments, json_string(*word));
	for (unsigned int i = 0; i < run->try_count; i++)
		json_array_append_new(tries, one_try(&run->tries[i], began_ns));
	return json_pack("{s:s,s:s,s:s,s:s,s:s,s:b,s:o,s:o}", "name", run->name, "kernel", run->kernel, "config", run->config,
			 "test", run->test, "outcome", ktest_outcome_name(ktest_outcome(run)), "flaky", ktest_flaky(run),
			 "arguments", arguments, "tries", tries);
}

static json_t *totals(const struct ktest *test)
{
	struct ktest_totals totals;
	json_t *object = json_object();

	ktest_total(&totals, test);
	for (size_t i = 0; i < KTEST_OUTCOMES; i++)
		if (totals.outcomes[i])
			json_object_set_new(object, ktest_outcome_name((enum ktest_outcome)i), json_integer((json_int_t)totals.outcomes[i]));
	json_object_set_new(object, "runs", json_integer((json_int_t)test->count));
	json_object_set_new(object, "flaky", json_integer((json_int_t)totals.flaky));
	return object;
}

int report_json(FILE *file, const struct ktest *test)
{
	time_t began = (time_t)test->began;
	json_t *runs = json_array(), *report;
	char date[32];
	struct tm tm;

	strftime(date, sizeof(date), "%FT%TZ", gmtime_r(&began, &tm));
	for (size_t i = 0; i < test->count; i++)
		json_array_append_new(runs, one_run(&test->runs[i], test->began_ns));
	report = json_pack("{s:i,s:s,s:s,s:f,s:{s:i,s:i,s:I},s:o,s:o}", "version", 1, "lkvm", LKVM_VERSION, "began", date, "seconds",
			   (double)(test->ended_ns - test->began_ns) / 1e9, "budget", "jobs", (int)test->jobs, "cpus", (int)test->cpus,
			   "mem", (json_int_t)test->mem, "totals", totals(test), "runs", runs);
	if (!report)
		return -ENOMEM;
	json_dumpf(report, file, JSON_INDENT(1) | JSON_REAL_PRECISION(9));
	fputc('\n', file);
	json_decref(report);
	return 0;
}
