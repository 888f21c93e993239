/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a try went: by what `lkvm run --report` says of the VM's end, by the command's status, and by its subtests.
 */
#include <jansson.h>
#include <string.h>

#include "ktest.h"

#define KSFT_SKIP	4	/* kselftest's status of what can't be tested here */

static const char *const outcome_names[] = {
	[KTEST_NOT_RUN] = "not-run",
	[KTEST_PASS] = "pass",
	[KTEST_SKIP] = "skip",
	[KTEST_FAIL] = "fail",
	[KTEST_TIMEOUT] = "timeout",
	[KTEST_PANIC] = "panic",
	[KTEST_OOPS] = "oops",
	[KTEST_HANG] = "hang",
	[KTEST_BOOT_TIMEOUT] = "boot-timeout",
	[KTEST_TRIPLE_FAULT] = "triple-fault",
	[KTEST_EARLY_END] = "early-end",
	[KTEST_SETUP] = "setup",
	[KTEST_HOST_ERROR] = "host-error",
	[KTEST_INTERRUPTED] = "interrupted",
};

/* Ends of VMs but that of the command; all others are the host's fault. */
static const struct {
	enum kvm_end end;
	enum ktest_outcome outcome;
} ends[] = {
	{ KVM_END_PANIC, KTEST_PANIC },
	{ KVM_END_OOPS, KTEST_OOPS },
	{ KVM_END_HANG, KTEST_HANG },
	{ KVM_END_BOOT_TIMEOUT, KTEST_BOOT_TIMEOUT },
	{ KVM_END_TRIPLE_FAULT, KTEST_TRIPLE_FAULT },
	{ KVM_END_SETUP, KTEST_SETUP },
	{ KVM_END_POWEROFF, KTEST_EARLY_END },
	{ KVM_END_REBOOT, KTEST_EARLY_END },
	{ KVM_END_QUIT, KTEST_EARLY_END },
};

const char *ktest_outcome_name(enum ktest_outcome outcome)
{
	return outcome_names[outcome];
}

bool ktest_good(enum ktest_outcome outcome)
{
	return outcome == KTEST_PASS || outcome == KTEST_SKIP;
}

enum ktest_outcome ktest_outcome(const struct ktest_run *run)
{
	const struct ktest_try *last = ktest_last(run);

	return last ? last->outcome : KTEST_NOT_RUN;
}

bool ktest_flaky(const struct ktest_run *run)
{
	return run->try_count > 1 && ktest_good(ktest_outcome(run));
}

/* ---- reasons ---- */

static void set_reason(struct ktest_try *try, const char *format, ...) printf_like(2, 3);
static void set_reason(struct ktest_try *try, const char *format, ...)
{
	va_list arguments;

	free(try->reason);
	va_start(arguments, format);
	if (vasprintf(&try->reason, format, arguments) < 0)
		try->reason = NULL;
	va_end(arguments);
}

/* The kernel's first words of its trouble stay; of lkvm's own, the last ones. */
void ktest_note(struct ktest_try *try, const char *line)
{
	static const char *const troubles[] = { "Kernel panic - not syncing", "BUG: ", "Oops: ", "kernel BUG at ", "Internal error: ",
						"general protection fault" };
	bool ours = !try->reason || strncmp(try->reason, "lkvm: ", 6) == 0;

	for (size_t i = 0; i < ARRAY_SIZE(troubles) && ours; i++) {
		const char *at = strstr(line, troubles[i]);

		if (at && (at == line || strchr(" ]", at[-1]))) {
			set_reason(try, "%s", at);
			return;
		}
	}
	if (ours && strncmp(line, "lkvm: ", 6) == 0)
		set_reason(try, "%s", line);
}

/* ---- subtests ---- */

static unsigned long count(const struct ktest_try *try, enum ktap_result result)
{
	return (try->output ? ktap_count(try->output, result) : 0) + (try->console ? ktap_count(try->console, result) : 0);
}

static const char *why_skipped(const struct ktest_try *try)
{
	const char *why = try->output ? ktap_skipped(try->output) : NULL;

	return !why && try->console ? ktap_skipped(try->console) : why;
}

static void judge_command(struct ktest_try *try)
{
	unsigned long failed = count(try, KTAP_FAIL), lost = count(try, KTAP_LOST), skipped = count(try, KTAP_SKIP);
	unsigned long passed = count(try, KTAP_PASS) + count(try, KTAP_TODO);
	const char *why = why_skipped(try);

	free(try->reason);
	try->reason = NULL;
	if (failed || lost) {
		try->outcome = KTEST_FAIL;
		set_reason(try, "of %lu subtests %lu failed%s", failed + lost + skipped + passed, failed + lost,
			   lost ? " or are lost" : "");
	} else if (!passed && (skipped || why) && (!try->status || try->status == KSFT_SKIP)) {
		try->outcome = KTEST_SKIP;
		if (why && *why)
			set_reason(try, "%s", why);
	} else {
		try->outcome = try->status ? KTEST_FAIL : KTEST_PASS;
		if (try->status)
			set_reason(try, "status %d", try->status);
	}
}

/* ---- the VM's end ---- */

static void judge_end(struct ktest_try *try, const char *end)
{
	if (strcmp(end, kvm_end_name(KVM_END_COMMAND)) == 0) {
		judge_command(try);
		return;
	}
	try->outcome = KTEST_HOST_ERROR;
	for (size_t i = 0; i < ARRAY_SIZE(ends); i++)
		if (strcmp(end, kvm_end_name(ends[i].end)) == 0)
			try->outcome = ends[i].outcome;
	if (!try->reason)
		set_reason(try, "%s", end);
}

/* Its clock is ours, but it began to count when it had been started. */
static void take_times(struct ktest_try *try, const json_t *report)
{
	double late = json_number_value(json_object_get(report, "started")) - (double)try->started_ns / 1e9;
	const json_t *times = json_object_get(report, "times");

	for (size_t i = 0; i < KVM_MARKS; i++) {
		const json_t *time = json_object_get(times, kvm_mark_name((enum kvm_mark)i));

		if (json_is_number(time))
			try->times[i] = MAX(json_number_value(time) + late, 1e-6);
	}
}

void ktest_judge(struct ktest_try *try, const char *text)
{
	json_t *report = text ? json_loads(text, 0, NULL) : NULL;
	const char *end = json_string_value(json_object_get(report, "end"));

	take_times(try, report);
	if (try->outcome == KTEST_TIMEOUT || try->outcome == KTEST_INTERRUPTED) {
		set_reason(try, try->times[KVM_MARK_COMMAND] > 0 ? "the command had been started" : "the command had not been started");
	} else if (end) {
		judge_end(try, end);
	} else {
		try->outcome = KTEST_HOST_ERROR;
		if (!try->reason)
			set_reason(try, "lkvm ended with status %d", try->status);
	}
	json_decref(report);
}

void ktest_total(struct ktest_totals *totals, const struct ktest *test)
{
	*totals = (struct ktest_totals){ .good = 0 };
	for (size_t i = 0; i < test->count; i++) {
		const struct ktest_try *last = ktest_last(&test->runs[i]);
		enum ktest_outcome outcome = ktest_outcome(&test->runs[i]);

		totals->outcomes[outcome]++;
		totals->good += ktest_good(outcome);
		totals->flaky += ktest_flaky(&test->runs[i]);
		for (size_t result = 0; last && result < KTAP_RESULTS; result++)
			totals->subtests[result] += count(last, (enum ktap_result)result);
	}
}
