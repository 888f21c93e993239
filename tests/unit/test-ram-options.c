/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests core/ram-options.c: what may stand behind --mem's size. */
#include "tests/unit/suite.h"

#include <string.h>

#include "kvm/log.h"
#include "kvm/ram-options.h"

static char said[512];

static void remember(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

static int parse(const char *text, const char *option, const char *value, struct ram_options *options, bool *hugetlb)
{
	struct config *config;
	int result;

	said[0] = '\0';
	log_set_sink(remember);
	ck_assert_int_eq(config_new(&config, run_options()), 0);
	ck_assert_int_eq(config_set(config, "mem", text), 0);
	if (option)
		ck_assert_int_eq(config_set(config, option, value), 0);
	result = ram_options_parse(config, options);
	*hugetlb = ram_is_hugetlb(config);
	log_set_sink(NULL);
	config_free(config);
	return result;
}

START_TEST(settings_are_read)
{
	static const struct {
		const char *text;
		struct ram_options want;
	} cases[] = {
		{ "512M", { .thp = true } }, { "512,prealloc", { .thp = true, .prealloc = true } },
		{ "512,prealloc=off,thp=off", { .thp = false } }, { "512,thp", { .thp = true } },
		{ "512,ksm=on", { .thp = true, .ksm = true } }, { "1G,hugepages=2M", { .thp = true, .huge_page = MIB(2) } },
		{ "1G@2G,hugepages=1G,prealloc=on", { .thp = true, .huge_page = GIB(1), .prealloc = true } },
		{ "512M,max=4G", { .thp = true, .max = GIB(4) } }, { "512,max=1024,ksm=on", { .thp = true, .ksm = true, .max = GIB(1) } },
		{ "1G,hugepages=off", { .thp = true } }, { "1G,hugepages=2M,thp=off", { .huge_page = MIB(2) } },
	};
	struct ram_options options;
	bool hugetlb;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		ck_assert_msg(parse(cases[i].text, NULL, NULL, &options, &hugetlb) == 0, "%s: %s", cases[i].text, said);
		ck_assert_msg(options.prealloc == cases[i].want.prealloc && options.thp == cases[i].want.thp &&
			      options.ksm == cases[i].want.ksm && options.huge_page == cases[i].want.huge_page &&
			      options.max == cases[i].want.max, "%s", cases[i].text);
		ck_assert(hugetlb == (cases[i].want.huge_page > 0));
	}
	ck_assert_int_eq(parse("512M", "hugetlbfs", "/dir", &options, &hugetlb), 0);
	ck_assert(hugetlb);
}
END_TEST

START_TEST(what_excludes_each_other_is_refused_by_name)
{
	static const struct {
		const char *text, *option, *value;
	} cases[] = {
		{ "512,hugepages=4K", NULL, NULL }, { "512,hugepages", NULL, NULL }, { "512,hugepages=2", NULL, NULL },
		{ "512,prealloc=maybe", NULL, NULL }, { "512,thp=2", NULL, NULL }, { "512,ksm=", "hugetlbfs", "/dir" },
		{ "512,numa", NULL, NULL }, { "512,hugepages=2M", "hugetlbfs", "/dir" }, { "512,hugepages=2M,ksm=on", NULL, NULL },
		{ "512,hugepages=1G,thp=on", NULL, NULL }, { "512,ksm=on", "vhost-user", "rng,socket=/tmp/x" },
		{ "512,max=more", NULL, NULL }, { "512,max=1G,hugepages=2M", NULL, NULL }, { "512,max=1G", "hugetlbfs", "/dir" },
	};
	struct ram_options options;
	bool hugetlb;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		ck_assert_msg(parse(cases[i].text, cases[i].option, cases[i].value, &options, &hugetlb) == -EUSAGE, "%s is taken", cases[i].text);
		ck_assert_msg(strstr(said, "option --mem: ") != NULL, "%s: %s", cases[i].text, said);
	}
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "ram-options", NULL, NULL);

	tcase_add_test(tests, settings_are_read);
	tcase_add_test(tests, what_excludes_each_other_is_refused_by_name);
}
SUITE_MAIN("ram-options", add_tests)
