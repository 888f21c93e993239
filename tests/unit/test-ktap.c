/* SPDX-License-Identifier: BSD-2-Clause */
/* ktest/ktap.c: what kselftest, KUnit and others print, whole, cut off, and made to harm. */
#include "tests/unit/suite.h"

#include "ktest/ktap.h"

static struct ktap *ktap;
static char seen[65536];

static void setup(void)
{
	ktap = NULL;
	seen[0] = '\0';
}

static void teardown(void)
{
	ktap_free(ktap);
}

static void put(const char *text)
{
	size_t used = strlen(seen);

	snprintf(seen + used, sizeof(seen) - used, "%s", text);
}

static void describe(const struct ktap_test *test)
{
	for (; test; test = test->next) {
		put(test->name);
		put(":");
		put(ktap_result_name(test->result));
		if (test->reason) {
			put("=");
			put(test->reason);
		}
		if (test->children) {
			put("{");
			describe(test->children);
			put("}");
		}
		if (test->next)
			put(" ");
	}
}

static void give(const char *text)
{
	while (*text) {
		size_t length = strcspn(text, "\n");

		ktap_line(ktap, text, length);
		text += length + (text[length] == '\n');
	}
}

/* All tests of a stream as "name:result=reason{subtests}". */
static const char *read_all(enum ktap_source source, const char *text)
{
	ktap = ktap_new(source);
	ck_assert_ptr_nonnull(ktap);
	give(text);
	ktap_end(ktap);
	describe(ktap_tests(ktap));
	return seen;
}

START_TEST(results_of_one_level)
{
	ck_assert_str_eq(read_all(KTAP_OUTPUT, "noise\nTAP version 13\n1..4\nok 1 - one\n# why two fails\nnot ok 2 two\nok 3\nok 4 four # time=3ms\n"),
			 "one:pass two:fail ?:pass four:pass=time=3ms");
	ck_assert_str_eq(ktap_tests(ktap)->next->detail, "# why two fails\n");
	ck_assert_uint_eq(ktap_count(ktap, KTAP_PASS), 3);
	ck_assert_uint_eq(ktap_count(ktap, KTAP_FAIL), 1);
	ck_assert_uint_eq(ktap_count(ktap, KTAP_LOST), 0);
}
END_TEST

START_TEST(directives_say_what_a_result_means)
{
	ck_assert_str_eq(read_all(KTAP_OUTPUT, "KTAP version 1\n1..7\nok 1 a # SKIP no device\nnot ok 2 b # skip\nnot ok 3 c # TODO later\n"
				  "ok 4 d # XFAIL\nnot ok 5 e # XFAIL known\nnot ok 6 f # TIMEOUT 45 seconds\nok 7 g#h # SKIPPED\n"),
			 "a:skip=no device b:skip c:todo=later d:pass e:todo=known f:fail=TIMEOUT 45 seconds g#h:pass=SKIPPED");
}
END_TEST

START_TEST(a_program_may_print_results_without_a_head)
{
	ck_assert_str_eq(read_all(KTAP_OUTPUT, "ok 1 a\nnot ok 2 b\n1..2\n"), "a:pass b:fail");
}
END_TEST

START_TEST(words_that_look_like_results_are_none)
{
	ck_assert_str_eq(read_all(KTAP_OUTPUT, "ok\nokay 1 then\nok, 2 it is\n    ok 1 indented\n# ok 1 comment\n1..x\n1..5 apples\nnot ok\n"), "");
}
END_TEST

START_TEST(the_console_needs_a_head_and_numbers)
{
	ck_assert_str_eq(read_all(KTAP_CONSOLE, "ok 1 a\n[    1.5] KTAP version 1\n[    1.6] ok then\n[    1.7] ok 1 b\n"), "b:pass");
}
END_TEST

START_TEST(kunit_nests_by_indentation_behind_times)
{
	ck_assert_str_eq(read_all(KTAP_CONSOLE,
				  "[    0.100000] KTAP version 1\r\n[    0.100001] 1..2\r\n"
				  "[    0.200000]     KTAP version 1\n[    0.2]     # Subtest: list\n[    0.2]     # module: list_test\n[    0.2]     1..3\n"
				  "[    0.3]     ok 1 init\n[    0.3] usb 1-1: something else\n"
				  "[    0.3]         KTAP version 1\n[    0.3]         # Subtest: params\n[    0.3]         ok 1 zero\n[    0.3]         not ok 2 one\n"
				  "[    0.4]     # params: EXPECTATION FAILED at lib/list.c:7\n[    0.4]     not ok 2 params\n"
				  "[    0.5][    T9]     ok 3 last # SKIP no\n[    0.5] # list: pass:1 fail:1 skip:1 total:3\n[    0.5] not ok 1 list\n"
				  "[    0.6]     KTAP version 1\n[    0.6]     # Subtest: empty\n[    0.6]     1..1\n[    0.6]     ok 1 x\n[    0.6] ok 2 empty\n"),
			 "list:fail{init:pass params:fail{zero:pass one:fail} last:skip=no} empty:pass{x:pass}");
	ck_assert_uint_eq(ktap_count(ktap, KTAP_FAIL), 1);
	ck_assert_uint_eq(ktap_count(ktap, KTAP_PASS), 3);
}
END_TEST

START_TEST(the_runner_of_kselftest_nests_behind_number_signs)
{
	ck_assert_str_eq(read_all(KTAP_OUTPUT,
				  "TAP version 13\n1..3\n# timeout set to 45\n# selftests: a: b\n# TAP version 13\n# 1..2\n# ok 1 one\n# # a note\n# not ok 2 two\n"
				  "# # Totals: pass:1 fail:1\nnot ok 1 selftests: a: b # exit=1\n# selftests: c: d\n# ok 7 no head, so a comment\nok 2 selftests: c: d\n"
				  "ok 3 selftests: e: f # SKIP\n"),
			 "selftests: a: b:fail=exit=1{one:pass two:fail} selftests: c: d:pass selftests: e: f:skip");
}
END_TEST

START_TEST(a_panic_loses_what_was_planned)
{
	ck_assert_str_eq(read_all(KTAP_CONSOLE, "KTAP version 1\n1..3\nok 1 first\n    KTAP version 1\n    # Subtest: second\n    1..4\n    ok 1 a\n    ok 2 b\n"
				  "[   9.0] Kernel panic - not syncing: Fatal exception\n"),
			 "first:pass second:lost{a:pass b:pass 2 planned, and without a result:lost} 1 planned, and without a result:lost");
	ck_assert_uint_eq(ktap_count(ktap, KTAP_LOST), 2);
}
END_TEST

START_TEST(a_suite_that_was_left_is_lost_when_the_next_begins)
{
	ck_assert_str_eq(read_all(KTAP_OUTPUT, "KTAP version 1\n1..2\n    # Subtest: cut\n        # Subtest: deep\n        1..1\n        ok 1 a\nKTAP version 1\n1..1\nok 1 z\n"),
			 "cut:lost{deep:lost{a:pass}} 1 planned, and without a result:lost z:pass");
}
END_TEST

START_TEST(a_parent_that_fails_alone_counts)
{
	ck_assert_str_eq(read_all(KTAP_OUTPUT, "TAP version 13\n1..1\n  # Subtest: s\n  1..1\n  ok 1 a\nnot ok 1 s # exit=139\n"), "s:fail=exit=139{a:pass}");
	ck_assert_uint_eq(ktap_count(ktap, KTAP_FAIL), 1);
}
END_TEST

START_TEST(two_programs_in_a_row)
{
	ck_assert_str_eq(read_all(KTAP_OUTPUT, "TAP version 13\n1..1\nok 1 a\nTAP version 13\n1..2\nok 1 b\n"),
			 "a:pass b:pass 1 planned, and without a result:lost");
}
END_TEST

START_TEST(a_plan_of_nothing_says_why)
{
	ck_assert_str_eq(read_all(KTAP_OUTPUT, "TAP version 13\n1..0 # SKIP needs root\n"), "");
	ck_assert_str_eq(ktap_skipped(ktap), "needs root");
}
END_TEST

START_TEST(bailing_out_is_a_failure)
{
	ck_assert_str_eq(read_all(KTAP_OUTPUT, "1..1\nBail out! disk full\n"), "Bail out! disk full:fail 1 planned, and without a result:lost");
}
END_TEST

START_TEST(what_stands_further_left_begins_anew)
{
	ck_assert_str_eq(read_all(KTAP_OUTPUT, "    KTAP version 1\n    1..2\n    ok 1 a\n        # Subtest: b\n        1..1\n  KTAP version 1\n  ok 1 c\n"),
			 "a:pass b:lost{1 planned, and without a result:lost} c:pass");
}
END_TEST

START_TEST(names_are_made_clean)
{
	ck_assert_str_eq(read_all(KTAP_OUTPUT, "TAP version 13\nok 1 a\x1b[31mb\x01\xff\xc3\xa4\xed\xa0\x80\xef\xbf\xbe\xc2\x9b # SKIP \x7f\n"),
			 "a?[31mb??\xc3\xa4????????:skip=?");
}
END_TEST

START_TEST(very_much_is_bounded)
{
	char line[3000];
	size_t remembered = 0;

	ktap = ktap_new(KTAP_OUTPUT);
	give("TAP version 13\n1..100000\n");
	for (int i = 0; i < 100000; i++) {
		snprintf(line, sizeof(line), "not ok %d name", i + 1);
		ktap_line(ktap, line, strlen(line));
	}
	memset(line, 'x', sizeof(line));
	memcpy(line, "ok 1 ", 5);
	ktap_line(ktap, line, sizeof(line));
	for (int i = 0; i < 200; i++) {
		snprintf(line, sizeof(line), "%*s# Subtest: x", i, "");
		ktap_line(ktap, line, strlen(line));
		snprintf(line, sizeof(line), "%*sok 1 x", i, "");
		ktap_line(ktap, line, strlen(line));
	}
	ktap_line(ktap, "1..99999999999999999999999", 26);
	ktap_line(ktap, "", 0);
	ktap_end(ktap);
	ck_assert_uint_eq(ktap_count(ktap, KTAP_FAIL), 100000);
	for (const struct ktap_test *test = ktap_tests(ktap); test; test = test->next)
		remembered++;
	ck_assert_uint_gt(remembered, 30000);
	ck_assert_uint_lt(remembered, KTAP_BYTES_MAX / sizeof(struct ktap_test));
}
END_TEST

/* Every line of a small language in any order: nothing but an end is asked for (sanitizers watch). */
START_TEST(garbage_does_no_harm)
{
	static const char *const words[] = { "ok 1 a", "not ok 2 b", "1..3", "1..0 # SKIP", "KTAP version 1", "TAP version 13", "# Subtest: s", "# ", "  ",
					     "    ", "        ", "[ 1.0] ", "[", "]", "\n", "\n", "\n", "#", "Bail out!", "\xff", " # SKIP", "- " };
	uint32_t random = 1;

	for (int round = 0; round < 2000; round++) {
		char text[1024];
		size_t used = 0;

		for (int i = 0; i < 60; i++) {
			random = random * 1664525 + 1013904223;
			used += (size_t)snprintf(text + used, sizeof(text) - used, "%s", words[(random >> 16) % (sizeof(words) / sizeof(words[0]))]);
		}
		ktap = ktap_new(round & 1 ? KTAP_CONSOLE : KTAP_OUTPUT);
		give(text);
		ktap_end(ktap);
		seen[0] = '\0';
		describe(ktap_tests(ktap));
		ktap_free(ktap);
		ktap = NULL;
	}
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "streams", setup, teardown);

	tcase_add_test(tests, results_of_one_level);
	tcase_add_test(tests, directives_say_what_a_result_means);
	tcase_add_test(tests, a_program_may_print_results_without_a_head);
	tcase_add_test(tests, words_that_look_like_results_are_none);
	tcase_add_test(tests, the_console_needs_a_head_and_numbers);
	tcase_add_test(tests, kunit_nests_by_indentation_behind_times);
	tcase_add_test(tests, the_runner_of_kselftest_nests_behind_number_signs);
	tcase_add_test(tests, a_panic_loses_what_was_planned);
	tcase_add_test(tests, a_suite_that_was_left_is_lost_when_the_next_begins);
	tcase_add_test(tests, a_parent_that_fails_alone_counts);
	tcase_add_test(tests, two_programs_in_a_row);
	tcase_add_test(tests, a_plan_of_nothing_says_why);
	tcase_add_test(tests, bailing_out_is_a_failure);
	tcase_add_test(tests, what_stands_further_left_begins_anew);
	tcase_add_test(tests, names_are_made_clean);
	tcase_add_test(tests, very_much_is_bounded);
	tcase_add_test(tests, garbage_does_no_harm);
}
SUITE_MAIN("ktap", add_tests)
