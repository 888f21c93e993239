/* SPDX-License-Identifier: BSD-2-Clause */
/* ktest/plan.c and ktest/plan-file.c: which runs a file and a command line make, and what is said of wrong ones. */
#include "tests/unit/suite.h"

#include <stdlib.h>

#include "ktest/plan.h"
#include "kvm/log.h"

static const struct option_def own_rows[] = {
	{ .name = "jobs", .type = OPTION_UINT, .max = 100 },
	{ .name = "timeout", .type = OPTION_UINT, .fallback = "600" },
	{ .name = "only", .type = OPTION_LIST },
};
static struct option_group own = { .title = "Own", .options = own_rows, .count = ARRAY_SIZE(own_rows) };

static struct plan plan;
static struct plan_defaults defaults;
static struct config *config;
static struct ktest_run *runs;
static size_t count;
static char path[] = "/tmp/lkvm-test-plan.XXXXXX";
static char said[1024];

static void remember(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

static void setup(void)
{
	int fd;

	memcpy(path + strlen(path) - 6, "XXXXXX", 6);
	fd = mkstemp(path);
	ck_assert_int_ge(fd, 0);
	close(fd);
	log_set_sink(remember);
	said[0] = '\0';
	plan = (struct plan){ .words = NULL };
	runs = NULL;
	count = 0;
	ck_assert_int_eq(config_new(&config, &own), 0);
	defaults = (struct plan_defaults){ .options = run_options(), .timeout_s = 600, .retries = 1, .only = config };
}

static void teardown(void)
{
	ktest_runs_free(runs, count);
	plan_free(&plan);
	config_free(config);
	unlink(path);
	log_set_sink(NULL);
}

static int read_text(const char *text)
{
	FILE *file = fopen(path, "w");

	ck_assert_ptr_nonnull(file);
	fputs(text, file);
	ck_assert_int_eq(fclose(file), 0);
	return plan_read(&plan, path, config);
}

static void make(const char *text)
{
	ck_assert_int_eq(read_text(text), 0);
	ck_assert_int_eq(plan_runs(&plan, &defaults, &runs, &count), 0);
}

/* Its words, with blanks between them. */
static const char *words(const struct ktest_run *run)
{
	static char text[2048];
	size_t used = 0;

	text[0] = '\0';
	for (char **word = run->argv; *word; word++)
		used += (size_t)snprintf(text + used, sizeof(text) - used, "%s ", *word);
	return text;
}

static void has(const struct ktest_run *run, const char *word)
{
	ck_assert_msg(strstr(words(run), word) != NULL, "%s: expected %s, seen %s", run->name, word, words(run));
}

static void has_not(const struct ktest_run *run, const char *word)
{
	ck_assert_msg(!strstr(words(run), word), "%s: expected no %s, seen %s", run->name, word, words(run));
}

START_TEST(each_test_runs_on_each_kernel_in_each_configuration)
{
	make("[kernel \"a\"]\n[kernel \"b\"]\nkernel = /boot/b\n[config \"plain\"]\n[config \"smp\"]\ncpus = 4\nmem = 1G\n"
	     "[test \"x\"]\ncommand = true\n[test \"y\"]\ncommand = false; true\n");

	ck_assert_uint_eq(count, 8);
	ck_assert_str_eq(runs[0].name, "a/plain/x");
	ck_assert_str_eq(runs[1].name, "a/plain/y");
	ck_assert_str_eq(runs[7].name, "b/smp/y");
	has(&runs[0], "--kernel=a ");
	has(&runs[7], "--kernel=/boot/b ");
	has(&runs[7], "-- sh -c false; true ");
	ck_assert_uint_eq(runs[0].cpus, 1);
	ck_assert_uint_eq(runs[0].mem, MIB(512));
	ck_assert_uint_eq(runs[7].cpus, 4);
	ck_assert_uint_eq(runs[7].mem, GIB(1));
}
END_TEST

START_TEST(one_of_a_kind_needs_no_section)
{
	make("kernel = k\n[test \"t\"]\ncommand = true\n");

	ck_assert_uint_eq(count, 1);
	ck_assert_str_eq(runs[0].name, "t");
	has(&runs[0], "--kernel=k ");
}
END_TEST

START_TEST(the_narrower_part_has_the_last_word)
{
	make("params = one\nverbose = false\ndisk = all.img\n[kernel \"k\"]\nparams = two\n[config \"c\"]\nparams = three\noops = ignore\n"
	     "disk = c.img\n[test \"t\"]\ncommand = true\nparams = four\nverbose = true\n");

	has(&runs[0], "--params=one two three four ");
	has(&runs[0], "--verbose ");
	has(&runs[0], "--oops=ignore ");
	has(&runs[0], "--disk=all.img --disk=c.img ");
	has_not(&runs[0], "--no-verbose");
	has_not(&runs[0], "--oops=fail");
}
END_TEST

START_TEST(the_command_line_has_the_very_last)
{
	static char *const command[] = { (char *)"echo", (char *)"a b", NULL };

	ck_assert_int_eq(read_text("[config \"c\"]\ncpus = 4\nparams = x\n"), 0);
	ck_assert_ptr_nonnull(plan_add(&plan, PLAN_TEST, "echo a b"));
	plan.words = command;
	ck_assert_int_eq(plan_set(&plan.given, "option --set: ", "cpus", "2"), 0);
	ck_assert_int_eq(plan_set(&plan.given, "option --set: ", "params", "y"), 0);
	ck_assert_int_eq(plan_runs(&plan, &defaults, &runs, &count), 0);

	ck_assert_uint_eq(runs[0].cpus, 2);
	has(&runs[0], "--params=x y ");
	has(&runs[0], "-- echo a b ");
}
END_TEST

START_TEST(tests_have_limits_of_their_own)
{
	make("[limits]\njobs = 3\ntimeout = 20\n[test \"t\"]\ncommand = true\ntimeout = 7\nretries = 4\n[test \"u\"]\ncommand = true\n");

	ck_assert_uint_eq(config_uint(config, "jobs"), 3);
	ck_assert_uint_eq(config_uint(config, "timeout"), 20);
	ck_assert_uint_eq(runs[0].timeout_s, 7);
	ck_assert_uint_eq(runs[0].retries, 4);
	ck_assert_uint_eq(runs[1].timeout_s, 600);
	ck_assert_uint_eq(runs[1].retries, 1);
	has_not(&runs[0], "timeout");
}
END_TEST

START_TEST(only_what_matches_runs)
{
	ck_assert_int_eq(config_set(config, "only", "b/*"), 0);
	make("[kernel \"a\"]\n[kernel \"b\"]\n[test \"t\"]\ncommand = true\n");
	ck_assert_uint_eq(count, 1);
	ck_assert_str_eq(runs[0].name, "b/t");
}
END_TEST

static void wrong(const char *text, const char *message)
{
	int result = read_text(text);

	if (!result)
		result = plan_runs(&plan, &defaults, &runs, &count);
	ck_assert_int_lt(result, 0);
	ck_assert_ptr_null(runs);
	ck_assert_msg(strstr(said, message) != NULL, "expected %s, seen %s", message, said);
	plan_free(&plan);
}

START_TEST(what_is_wrong_is_named)
{
	wrong("cpus = 2\n[kernel \"a\"]\n", "what is to be run?");
	wrong("[test \"t\"]\ncpus = 2\n", "[test \"t\"] has no command");
	wrong("[test \"t\"]\ncommand = x\ncpus = many\n", ":3: ");
	wrong("[test \"t\"]\ncommand = x\ncpuss = 2\n", ":3: cpuss: no such option (did you mean ");
	wrong("[config \"c\"]\ncommand = x\n[test \"t\"]\ncommand = x\n", ":2: command: no such option");
	wrong("[test \"t\"]\ncommand = x\nretries = 101\n", ":3: retries: '101' is no number up to 100");
	wrong("[test \"t\"]\ncommand = x\nname = y\n", ":3: name: is no option for a test");
	wrong("[limits]\nspeed = 3\n", ":2: speed: is no limit");
	wrong("[kernels \"a\"]\n", "no such section");
	wrong("[test]\ncommand = x\n", "no such section");
	wrong("[test \"t\"]\ncommand\n", ":2: is no option");
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "plans", setup, teardown);

	tcase_add_test(tests, each_test_runs_on_each_kernel_in_each_configuration);
	tcase_add_test(tests, one_of_a_kind_needs_no_section);
	tcase_add_test(tests, the_narrower_part_has_the_last_word);
	tcase_add_test(tests, the_command_line_has_the_very_last);
	tcase_add_test(tests, tests_have_limits_of_their_own);
	tcase_add_test(tests, only_what_matches_runs);
	tcase_add_test(tests, what_is_wrong_is_named);
}
SUITE_MAIN("ktest-plan", add_tests)
