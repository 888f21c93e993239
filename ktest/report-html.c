/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One page of HTML that needs nothing else: a row for each run, with two bars of its times, and behind its name what it told.
 *
 * The first bar is the boot, up to the command, on a scale that all runs share; the second one is all of the run on another.
 */
#include <assert.h>
#include <string.h>
#include <sys/utsname.h>
#include <time.h>

#include "ktest.h"
#include "text.h"
#include "version.h"

#define TREE_MAX	5000	/* lines of subtests that one run may have */

static const char head[] =
	"<!DOCTYPE html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
	"<title>lkvm test</title><style>"
	":root{color-scheme:light dark;--line:#8884;--dim:#777}"
	"body{font:14px/1.5 system-ui,sans-serif;margin:2em auto;max-width:90em;padding:0 1em}"
	"h1{font-size:1.4em;margin:0}p{margin:.3em 0 1em;color:var(--dim)}"
	"details.r{border-top:1px solid var(--line)}details.r[open]{padding-bottom:1em}"
	".g{display:grid;grid-template-columns:9em minmax(8em,3fr) 3em 9em 4em minmax(3em,2fr) 4em minmax(3em,2fr);gap:0 .8em;padding:.3em 0;align-items:center;cursor:pointer}"
	".h{font-weight:600;cursor:auto}.n{text-align:right;font-variant-numeric:tabular-nums}"
	".o{border-radius:.3em;padding:.1em .5em;color:#fff;background:#b3261e;white-space:nowrap;font-size:.9em}"
	".pass{background:#1a7f37}.skip,.not-run,.interrupted{background:#6e7781}.fail{background:#b3261e}"
	".panic,.oops,.hang,.triple-fault{background:#7b1fa2}.timeout,.boot-timeout,.early-end{background:#9a5b00}.flaky{background:#0969da}"
	".bar{display:flex;height:1.1em}.bar i{min-width:1px}"
	".k0{background:#8c959f}.k1{background:#bf8700}.k2{background:#0969da}.k3{background:#8250df}.k4{background:#1a7f37}.k5{background:#57606a}"
	".key i{display:inline-block;width:.9em;height:.9em;margin:0 .3em 0 1em;vertical-align:-.1em}"
	"pre{margin:0;background:#8881;padding:.6em;font-size:12px;white-space:pre-wrap}"
	/* shown from its end */
	".tail{display:flex;flex-direction:column-reverse;overflow:auto;max-height:30em}"
	"ul{margin:.2em 0;padding-left:1.4em}.tpass{color:CanvasText;font-weight:400}.tfail,.tlost{color:#c62828;font-weight:600}.tskip,.ttodo{color:var(--dim)}"
	"body:has(#bad:checked) .good{display:none}"
	"</style><body>";

/* What lies between two marks is called by the first; in front of all, what lkvm does. */
static const char *const phases[] = { "lkvm starts", "kernel, before its first line", "kernel", "init", "command", "end" };
static_assert(ARRAY_SIZE(phases) == KVM_MARKS + 1, "one before each mark, and one behind all");

/* ---- bars ---- */

/* Whether the mark counts: a console that is told something late has told nothing of the boot. */
static bool has_mark(const struct ktest_try *try, size_t mark)
{
	for (size_t later = mark + 1; later < KVM_MARKS; later++)
		if (try->times[later] > 0 && try->times[later] < try->times[mark])
			return false;
	return try->times[mark] > 0;
}

/* Up to the command; of a guest that didn't come so far, all. */
static double boot_seconds(const struct ktest_try *try)
{
	return try->times[KVM_MARK_COMMAND] > 0 ? try->times[KVM_MARK_COMMAND] : ktest_seconds(try);
}

static void put_segment(FILE *file, size_t phase, double from, double to, double scale)
{
	if (to > from)
		fprintf(file, "<i class=k%zu style='width:%.3f%%' title='%s: %.3f s'></i>", phase, (to - from) * 100 / scale, phases[phase],
			to - from);
}

static void put_bar(FILE *file, const struct ktest_try *try, double until, double scale)
{
	double from = 0;
	size_t phase = 0;

	fprintf(file, "<span class=n>%.3f</span><span class=bar>", until);
	for (size_t mark = 0; mark < KVM_MARKS; mark++) {
		if (!has_mark(try, mark))
			continue;
		put_segment(file, phase, from, MIN(try->times[mark], until), scale);
		from = MIN(try->times[mark], until);
		phase = mark + 1;
	}
	put_segment(file, phase, from, until, scale);
	fputs("</span>", file);
}

/* ---- what a run told ---- */

static void put_tree(FILE *file, const struct ktap_test *test, unsigned int *left)
{
	if (!test || !*left)
		return;
	fputs("<ul>", file);
	for (; test && *left; test = test->next, --*left) {
		fprintf(file, "<li class=t%s>%s ", ktap_result_name(test->result), ktap_result_name(test->result));
		text_escape(file, test->name);
		if (test->reason) {
			fputs(" — ", file);
			text_escape(file, test->reason);
		}
		if (test->detail) {
			fputs("<pre>", file);
			text_escape(file, test->detail);
			fputs("</pre>", file);
		}
		put_tree(file, test->children, left);
		if (!*left)
			break;
	}
	fputs(*left ? "</ul>" : "<li>…</ul>", file);
}

static void put_times(FILE *file, const struct ktest_try *try)
{
	fputs("<p>exec 0", file);
	for (size_t mark = 0; mark < KVM_MARKS; mark++)
		if (try->times[mark] > 0)
			fprintf(file, " · %s %.3f", kvm_mark_name((enum kvm_mark)mark), try->times[mark]);
	fprintf(file, " · left %.3f s</p>", ktest_seconds(try));
}

static void put_try(FILE *file, const struct ktest *test, const struct ktest_try *try)
{
	_cleanup_free_ char *tail = ktest_good(try->outcome) ? NULL : ktest_log_tail(test, try);
	unsigned int left = TREE_MAX;

	fprintf(file, "<div><span class='o %s'>%s</span> ", ktest_outcome_name(try->outcome), ktest_outcome_name(try->outcome));
	if (try->reason)
		text_escape(file, try->reason);
	if (try->log) {
		fputs(" <a href='", file);
		text_escape(file, try->log);
		fputs("'>log</a>", file);
	}
	fputs("</div>", file);
	put_times(file, try);
	put_tree(file, try->console ? ktap_tests(try->console) : NULL, &left);
	put_tree(file, try->output ? ktap_tests(try->output) : NULL, &left);
	if (tail) {
		fputs("<div class=tail><pre>", file);
		text_escape(file, tail);
		fputs("</pre></div>", file);
	}
}

static void put_arguments(FILE *file, const struct ktest_run *run)
{
	fputs("<p><code>lkvm run", file);
	for (char **word = run->argv; *word; word++) {
		fputc(' ', file);
		text_escape(file, *word);
	}
	fputs("</code></p>", file);
}

static unsigned long subtests(const struct ktest_try *try, enum ktap_result result)
{
	return (try->output ? ktap_count(try->output, result) : 0) + (try->console ? ktap_count(try->console, result) : 0);
}

static void put_subtest_counts(FILE *file, const struct ktest_try *try)
{
	unsigned long bad = subtests(try, KTAP_FAIL) + subtests(try, KTAP_LOST), all = bad;

	for (enum ktap_result result = KTAP_PASS; result < KTAP_LOST; result++)
		all += result == KTAP_FAIL ? 0 : subtests(try, result);
	fputs("<span class=n>", file);
	if (bad)
		fprintf(file, "%lu of %lu failed", bad, all);
	else if (all)
		fprintf(file, "%lu", all);
	fputs("</span>", file);
}

static void put_run(FILE *file, const struct ktest *test, const struct ktest_run *run, double boot_scale, double scale)
{
	const struct ktest_try *last = ktest_last(run);
	const char *outcome = ktest_outcome_name(ktest_outcome(run));

	fprintf(file, "<details class='r %s'><summary class=g><span><span class='o %s'>%s</span>",
		ktest_good(ktest_outcome(run)) && !ktest_flaky(run) ? "good" : "bad", outcome, outcome);
	if (ktest_flaky(run))
		fputs(" <span class='o flaky'>flaky</span>", file);
	fputs("</span><span>", file);
	text_escape(file, run->name);
	fprintf(file, "</span><span class=n>%u</span>", run->try_count);
	if (last) {
		put_subtest_counts(file, last);
		put_bar(file, last, boot_seconds(last), boot_scale);
		put_bar(file, last, ktest_seconds(last), scale);
	}
	fputs("</summary>", file);
	put_arguments(file, run);
	for (unsigned int i = run->try_count; i--;)
		put_try(file, test, &run->tries[i]);
	fputs("</details>\n", file);
}

/* ---- the page ---- */

static void put_head(FILE *file, const struct ktest *test)
{
	struct ktest_totals totals;
	time_t began = (time_t)test->began;
	struct utsname host;
	char date[32];
	struct tm tm;

	ktest_total(&totals, test);
	strftime(date, sizeof(date), "%F %T UTC", gmtime_r(&began, &tm));
	fputs(head, file);
	fprintf(file, "<h1>%zu of %zu runs are good</h1><p>", totals.good, test->count);
	for (size_t i = 0; i < KTEST_OUTCOMES; i++)
		if (totals.outcomes[i])
			fprintf(file, "<span class='o %s'>%zu %s</span> ", ktest_outcome_name((enum ktest_outcome)i), totals.outcomes[i],
				ktest_outcome_name((enum ktest_outcome)i));
	if (totals.flaky)
		fprintf(file, "<span class='o flaky'>%zu flaky</span> ", totals.flaky);
	fprintf(file, "</p><p>%s, %.1f s, lkvm %s", date, (double)(test->ended_ns - test->began_ns) / 1e9, LKVM_VERSION);
	if (!uname(&host)) {
		fputs(" on ", file);
		text_escape(file, host.nodename);
		fputs(", Linux ", file);
		text_escape(file, host.release);
	}
	fprintf(file, "; at a time %u runs, %u vCPUs, %llu MiB</p><p class=key>", test->jobs, test->cpus,
		(unsigned long long)(test->mem / MIB(1)));
	for (size_t i = 0; i < ARRAY_SIZE(phases); i++)
		fprintf(file, "<i class=k%zu></i>%s", i, phases[i]);
	fputs("</p><p><label><input type=checkbox id=bad> without those that passed at once</label></p>", file);
}

void report_html(FILE *file, const struct ktest *test)
{
	double boot_scale = 1e-6, scale = 1e-6;

	for (size_t i = 0; i < test->count; i++) {
		const struct ktest_try *last = ktest_last(&test->runs[i]);

		if (!last)
			continue;
		boot_scale = MAX(boot_scale, boot_seconds(last));
		scale = MAX(scale, ktest_seconds(last));
	}
	put_head(file, test);
	fputs("<div class='g h'><span>Result</span><span>Run</span><span class=n>Tries</span><span class=n>Subtests</span>"
	      "<span class=n>Boot, s</span><span></span><span class=n>All, s</span><span></span></div>\n", file);
	for (size_t i = 0; i < test->count; i++)
		put_run(file, test, &test->runs[i], boot_scale, scale);
	fputs("</body></html>\n", file);
}
