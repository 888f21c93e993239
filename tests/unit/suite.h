/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every unit test ends with: its cases, and main().
 *
 *	static void add_tests(Suite *suite)
 *	{
 *		TCase *tests = suite_case(suite, "good drivers", setup, teardown);
 *
 *		tcase_add_test(tests, an_empty_ring_gives_nothing);
 *	}
 *	SUITE_MAIN("virtqueue", add_tests)
 *
 * The exit status is 1 if a test failed, and 0 if all passed or this host can't run them; what is not run is said
 * by a line `SKIP NAME: REASON`.
 */
#ifndef TESTS_UNIT_SUITE_H
#define TESTS_UNIT_SUITE_H

#include <check.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Far more than any test takes on a busy machine, under any sanitizer. */
#define SUITE_TIMEOUT_S	60

/* For loops of very many: at each assertion of its own that passes, libcheck writes to a file where the test is. */
#define EXPECT(condition, ...)	do { if (!(condition)) ck_abort_msg(__VA_ARGS__); } while (0)
#define EXPECT_EQ(seen, expected)									\
	do {												\
		uint64_t seen_ = (seen), expected_ = (expected);					\
		EXPECT(seen_ == expected_, "%s: expected %#llx, seen %#llx", #seen,			\
		       (unsigned long long)expected_, (unsigned long long)seen_);			\
	} while (0)

/* A case whose tests run between @setup and @teardown, each in a process of its own; either may be NULL. */
static inline TCase *suite_case(Suite *suite, const char *name, void (*setup)(void), void (*teardown)(void))
{
	TCase *tests = tcase_create(name);

	tcase_add_checked_fixture(tests, setup, teardown);
	tcase_set_timeout(tests, SUITE_TIMEOUT_S);
	suite_add_tcase(suite, tests);
	return tests;
}

/* Whether there is a KVM to use; if not, says that @name is skipped. */
static inline int suite_has_kvm(const char *name)
{
	if (!access("/dev/kvm", R_OK | W_OK))
		return 1;
	printf("SKIP %s: /dev/kvm: %s\n", name, strerror(errno));
	return 0;
}

static inline int suite_finish(Suite *suite)
{
	SRunner *runner = srunner_create(suite);
	int failed;

	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}

static inline int suite_run(const char *name, void (*add_tests)(Suite *suite))
{
	Suite *suite = suite_create(name);

	add_tests(suite);
	return suite_finish(suite);
}

#define SUITE_MAIN(name, add_tests)			\
	int main(void)					\
	{						\
		return suite_run(name, add_tests);	\
	}

/* The same for tests that need /dev/kvm. */
#define SUITE_MAIN_KVM(name, add_tests)						\
	int main(void)								\
	{									\
		return suite_has_kvm(name) ? suite_run(name, add_tests) : 0;	\
	}

#endif
