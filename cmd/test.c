/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm test: kernels x configurations x tests, each an `lkvm run -- COMMAND`, many at a time; ktest/ has the parts. */
#include <jansson.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysinfo.h>
#include <time.h>

#include "ktest/plan.h"
#include "kvm/command.h"
#include "kvm/log.h"
#include "libraries.h"
#include "test.h"

#define TIMEOUT_DEFAULT	"600"
#define TIMEOUT_MAX	604800	/* a week */
#define NAME_MAX_	60	/* of a test that is called by its command */
#define FOLDERS_MAX	100

static const struct option_def test_options[] = {
	{ .name = "kernel", .letter = 'k', .type = OPTION_LIST, .argument = "KERNEL", .help = "A kernel, as lkvm run takes it; may be repeated" },
	{ .name = "append", .letter = 'p', .type = OPTION_LIST, .argument = "PARAMS",
	  .help = "A configuration: kernel parameters; may be repeated, and each kernel runs with each" },
	{ .name = "set", .letter = 's', .type = OPTION_LIST, .argument = "NAME=VALUE",
	  .help = "An option of lkvm run, for all runs; may be repeated" },
	{ .name = "jobs", .letter = 'j', .type = OPTION_UINT, .argument = "N", .min = 1, .max = 1000,
	  .help = "Runs at a time (default: as many as CPUs and memory are enough for)" },
	{ .name = "cpus", .type = OPTION_UINT, .argument = "N", .min = 1, .max = 4096,
	  .help = "vCPUs of all guests that run at a time (default: the host's CPUs that lkvm may use)" },
	{ .name = "mem", .type = OPTION_SIZE, .argument = "SIZE", .min = MIB(1), .unit = MIB(1),
	  .help = "Memory of all guests that run at a time (default: 80 % of what the host has available)" },
	{ .name = "timeout", .letter = 't', .type = OPTION_UINT, .argument = "SECONDS", .max = TIMEOUT_MAX, .fallback = TIMEOUT_DEFAULT,
	  .help = "How long one try may take, the boot included; 0: for ever" },
	{ .name = "retries", .letter = 'r', .type = OPTION_UINT, .argument = "N", .max = KTEST_RETRIES_MAX, .fallback = "0",
	  .help = "How often a run that failed is tried again; if it passes then, it is flaky" },
	{ .name = "only", .type = OPTION_LIST, .argument = "PATTERN",
	  .help = "Only runs whose names match, with * and ?; may be repeated" },
	{ .name = "list", .letter = 'l', .type = OPTION_FLAG, .help = "Print the runs' names, and exit" },
	{ .name = "output", .letter = 'o', .type = OPTION_STRING, .argument = "DIR",
	  .help = "Folder of logs and reports (default: lkvm-test-DATE-TIME)" },
};

/* ---- the plan ---- */

#ifdef HAVE_INIH
static int read_file(struct plan *plan, const char *path, struct config *config)
{
	return plan_read(plan, path, config) < 0 ? -EUSAGE : 0;
}
#else
static int read_file(struct plan *plan, const char *path, struct config *config)
{
	(void)plan;
	(void)config;
	return log_error(EUSAGE, "%s: this lkvm was built without libinih (make config says more)", path);
}
#endif

/* The words of a command, cut where they are many. */
static int name_command(struct plan *plan, char *const *words)
{
	char name[NAME_MAX_ + 1] = "";
	size_t used = 0;

	for (char *const *word = words; *word && used < NAME_MAX_; word++)
		used += (size_t)snprintf(name + used, sizeof(name) - used, "%s%s", word == words ? "" : " ", *word);
	plan->words = words;
	return plan_add(plan, PLAN_TEST, name) ? 0 : -ENOMEM;
}

static int add_choices(struct plan *plan, const struct config *config, const char *option, enum plan_kind kind, const char *sets)
{
	int result = 0;

	if (config_count(config, option))
		plan_clear(plan, kind);
	for (size_t i = 0; i < config_count(config, option) && !result; i++) {
		const char *text = config_item(config, option, i);
		struct plan_choice *choice = plan_add(plan, kind, text);

		result = choice ? plan_set(choice, "", sets, text) : -ENOMEM;
	}
	return result;
}

static int add_settings(struct plan *plan, const struct config *config)
{
	int result = 0;

	for (size_t i = 0; i < config_count(config, "set") && !result; i++) {
		const char *text = config_item(config, "set", i), *equals = strchr(text, '=');
		_cleanup_free_ char *name = equals ? strndup(text, (size_t)(equals - text)) : NULL;

		if (!equals || equals == text)
			return log_error(EUSAGE, "option --set: '%s' is no option with its value (say NAME=VALUE)", text);
		result = name ? plan_set(&plan->given, "option --set: ", name, equals + 1) : log_errno(ENOMEM, "test");
	}
	return result;
}

/* What the command line names takes the place of what the file has of its kind. */
static int make_plan(struct plan *plan, struct config *config, int argc, char **argv)
{
	size_t split = config_split(config), operands = MIN(split, (size_t)argc);
	int result = 0;

	if (operands > 1)
		return log_error(EUSAGE, "%s: one file is enough (the command stands behind --)", argv[1]);
	if (operands)
		result = read_file(plan, argv[0], config);
	if (!result && split != SIZE_MAX) {
		if (split == (size_t)argc)
			return log_error(EUSAGE, "test: which command? (say it behind --)");
		plan_clear(plan, PLAN_TEST);
		result = name_command(plan, argv + split);
	}
	if (!result)
		result = add_choices(plan, config, "kernel", PLAN_KERNEL, "kernel");
	if (!result)
		result = add_choices(plan, config, "append", PLAN_CONFIG, "params");
	return result ? result : add_settings(plan, config);
}

/* ---- the budget ---- */

static unsigned int host_cpus(void)
{
	cpu_set_t set;

	return sched_getaffinity(0, sizeof(set), &set) < 0 ? (unsigned int)MAX(get_nprocs(), 1) : (unsigned int)CPU_COUNT(&set);
}

static uint64_t host_memory(void)
{
	FILE *file = fopen("/proc/meminfo", "re");
	unsigned long long kib = 0;
	struct sysinfo info;
	char line[128];

	while (file && !kib && fgets(line, sizeof(line), file))
		if (strncmp(line, "MemAvailable:", 13) == 0)
			kib = strtoull(line + 13, NULL, 10);
	if (file)
		fclose(file);
	if (!kib && !sysinfo(&info))
		kib = (unsigned long long)info.freeram * info.mem_unit / KIB(1);
	return MAX((uint64_t)kib * KIB(1) / 10 * 8, MIB(1));
}

static void set_budget(struct ktest *test, const struct config *config)
{
	test->cpus = config_given(config, "cpus") ? (unsigned int)config_uint(config, "cpus") : host_cpus();
	test->mem = config_given(config, "mem") ? config_uint(config, "mem") : host_memory();
	test->jobs = config_given(config, "jobs") ? (unsigned int)config_uint(config, "jobs") : test->cpus;
}

/* ---- the folder ---- */

static int make_folder(struct ktest *test, const struct config *config)
{
	const char *given = config_string(config, "output");
	time_t now = (time_t)test->began;
	char date[32];
	struct tm tm;

	if (given) {
		test->folder = strdup(given);
		if (!test->folder)
			return log_errno(ENOMEM, "option --output");
		return mkdir(given, 0777) < 0 && errno != EEXIST ? log_errno(errno, "option --output: '%s'", given) : 0;
	}
	strftime(date, sizeof(date), "%Y%m%d-%H%M%S", localtime_r(&now, &tm));
	for (unsigned int i = 1; i < FOLDERS_MAX; i++) {
		free(test->folder);
		if (asprintf(&test->folder, "lkvm-test-%s%s%.0u", date, i > 1 ? "-" : "", i > 1 ? i : 0) < 0)
			return log_errno(ENOMEM, "test");
		if (!mkdir(test->folder, 0777))
			return 0;
		if (errno != EEXIST)
			break;
	}
	return log_errno(errno, "test: '%s', the folder of its reports (--output names another)", test->folder);
}

static FILE *open_report(const struct ktest *test, const char *name)
{
	_cleanup_free_ char *path = NULL;
	FILE *file = asprintf(&path, "%s/%s", test->folder, name) < 0 ? NULL : fopen(path, "we");

	if (!file)
		log_errno(errno, "test: '%s/%s'", test->folder, name);
	return file;
}

/* -EIO (said): it isn't whole */
static int close_report(const struct ktest *test, const char *name, FILE *file, int result)
{
	bool bad = result || ferror(file);

	if (fclose(file) || bad)
		return log_error(EIO, "test: '%s/%s' can't be written", test->folder, name);
	return 0;
}

static int write_html(FILE *file, const struct ktest *test)
{
	report_html(file, test);
	return 0;
}

static int write_junit(FILE *file, const struct ktest *test)
{
	report_junit(file, test);
	return 0;
}

static int write_reports(const struct ktest *test)
{
	static const struct {
		const char *name;
		int (*write)(FILE *file, const struct ktest *test);
	} reports[] = { { "report.html", write_html }, { "junit.xml", write_junit }, { "results.json", report_json } };
	int result = 0;

	for (size_t i = 0; i < ARRAY_SIZE(reports); i++) {
		FILE *file = open_report(test, reports[i].name);

		if (!file || close_report(test, reports[i].name, file, reports[i].write(file, test)))
			result = -EIO;
	}
	return result;
}

/* ---- all ---- */

static void print_end(const struct ktest *test, const struct ktest_totals *totals)
{
	dprintf(STDERR_FILENO, "%zu of %zu runs are good", totals->good, test->count);
	for (size_t i = 0; i < KTEST_OUTCOMES; i++)
		if (totals->outcomes[i] && !ktest_good((enum ktest_outcome)i))
			dprintf(STDERR_FILENO, ", %zu %s", totals->outcomes[i], ktest_outcome_name((enum ktest_outcome)i));
	if (totals->flaky)
		dprintf(STDERR_FILENO, ", %zu flaky", totals->flaky);
	dprintf(STDERR_FILENO, " (%.1f s; %s/report.html tells more)\n", (double)(test->ended_ns - test->began_ns) / 1e9, test->folder);
}

static int run_all(struct test_session *session, const struct config *config)
{
	struct ktest *test = &session->test;
	struct ktest_totals totals;
	int result;

	test->began = time(NULL);
	result = make_folder(test, config);
	if (!result)
		session->tap = open_report(test, "results.tap");
	if (result || !session->tap)
		return LKVM_STATUS_ERROR;
	result = test_session_run(session);
	if (close_report(test, "results.tap", session->tap, 0) || result)
		return LKVM_STATUS_ERROR;
	result = write_reports(test);
	ktest_total(&totals, test);
	print_end(test, &totals);
	if (fflush(stdout) || ferror(stdout))
		result = log_error(EIO, "test: standard output can't be written");
	if (test->signal)
		return 128 + test->signal;
	return result || totals.good < test->count ? LKVM_STATUS_ERROR : 0;
}

static int list_runs(const struct ktest *test)
{
	for (size_t i = 0; i < test->count; i++)
		printf("%s\n", test->runs[i].name);
	return fflush(stdout) ? LKVM_STATUS_ERROR : 0;
}

static int test_run(struct config *config, int argc, char **argv)
{
	struct test_session session = { .told = 0 };
	struct plan plan = { .words = NULL };
	struct plan_defaults defaults = { .options = run_options(), .only = config };
	int result = make_plan(&plan, config, argc, argv), status = LKVM_STATUS_USAGE;

	defaults.timeout_s = (unsigned int)config_uint(config, "timeout");
	defaults.retries = (unsigned int)config_uint(config, "retries");
	if (!result)
		result = plan_runs(&plan, &defaults, &session.test.runs, &session.test.count);
	if (!result) {
		set_budget(&session.test, config);
		status = config_flag(config, "list") ? list_runs(&session.test) : run_all(&session, config);
	}
	ktest_runs_free(session.test.runs, session.test.count);
	free(session.test.folder);
	plan_free(&plan);
	return status;
}

static struct command test_command = {
	.name = "test",
	.operands = "[FILE] [-- COMMAND...]",
	.help = "Run commands on many kernels at a time, and report how they did",
	.options = test_options,
	.option_count = ARRAY_SIZE(test_options),
	.run = test_run,
};
COMMAND(test_command);
