/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests core/topology.c: what --cpus says of sockets and the rest, and what of it can't be. */
#include "tests/unit/suite.h"

#include <string.h>

#include "kvm/log.h"
#include "kvm/topology.h"

static char said[512];

static void remember(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

static int parse(const char *text, struct cpu_topology *topology)
{
	struct config *config;
	int result;

	said[0] = '\0';
	log_set_sink(remember);
	ck_assert_int_eq(config_new(&config, run_options()), 0);
	ck_assert_int_eq(config_set(config, "cpus", text), 0);
	result = cpu_topology_parse(config, topology);
	log_set_sink(NULL);
	config_free(config);
	return result;
}

static const struct {
	const char *text;
	struct cpu_topology want;
} good[] = {
	{ "1", { 1, 1, 1, 1, 1, 1, false } },
	{ "8", { 1, 8, 1, 1, 1, 8, false } },
	{ "8,", { 1, 8, 1, 1, 1, 8, false } },
	{ "8,threads=2", { 2, 4, 1, 1, 1, 8, false } },
	{ "8,sockets=2", { 1, 4, 1, 1, 2, 8, false } },
	{ "8,cores=2", { 1, 2, 1, 1, 4, 8, false } },
	{ "8,cores=2,sockets=2", { 2, 2, 1, 1, 2, 8, false } },
	{ "8,dies=2,threads=2", { 2, 2, 1, 2, 1, 8, false } },
	{ "48,sockets=2,dies=2,clusters=2,cores=3,threads=2", { 2, 3, 2, 2, 2, 48, false } },
	{ "4096,sockets=4096", { 1, 1, 1, 1, 4096, 4096, false } },
	{ "2,max=8", { 1, 8, 1, 1, 1, 8, true } },
	{ "2,max=8,sockets=2,threads=2", { 2, 2, 1, 1, 2, 8, true } },
	{ "3,present=0:5-6,max=8", { 1, 8, 1, 1, 1, 8, true } },
};

START_TEST(what_is_not_said_follows)
{
	struct cpu_topology topology;

	ck_assert_int_eq(parse(good[_i].text, &topology), 0);
	ck_assert_int_eq(topology.may_change, good[_i].want.may_change);
	ck_assert_uint_eq(topology.cpus, good[_i].want.cpus);
	ck_assert_msg(!memcmp(&topology, &good[_i].want, offsetof(struct cpu_topology, cpus)), "%s: %u threads, %u cores, %u clusters, %u dies, %u sockets",
		      good[_i].text, topology.threads, topology.cores, topology.clusters, topology.dies, topology.sockets);
}
END_TEST

START_TEST(what_does_not_add_up_is_refused)
{
	static const char *const bad[] = {
		"8,sockets=3", "8,cores=16", "8,cores=0", "8,threads=x", "8,threads=-1", "8,threads", "8,sockets=2,dies=2,cores=4",
		"8,sockets=2,cores=2,threads=1", "8,threads=8,cores=8,clusters=8,dies=8,sockets=8", "8,moons=2",
		"8,threads=18446744073709551616", "4096,threads=4096,cores=4096,clusters=4096,dies=4096,sockets=4096",
		"4,max=3", "4,max=4097", "4,max=", "4,max=x", "2,max=8,sockets=3", "2,present=0-1",
	};
	struct cpu_topology topology;

	ck_assert_int_eq(parse(bad[_i], &topology), -EUSAGE);
	ck_assert_msg(strstr(said, "option --cpus: ") != NULL, "%s: %s", bad[_i], said);
}
END_TEST

START_TEST(every_vcpu_has_a_place_of_its_own)
{
	struct cpu_topology topology = { .threads = 2, .cores = 3, .clusters = 2, .dies = 2, .sockets = 2 };
	bool seen[48] = { false };

	for (unsigned int i = 0; i < 48; i++) {
		struct cpu_place at = cpu_topology_place(&topology, i);
		unsigned int number = (((at.socket * 2 + at.die) * 2 + at.cluster) * 3 + at.core) * 2 + at.thread;

		ck_assert_uint_lt(at.thread, 2);
		ck_assert_uint_lt(at.core, 3);
		ck_assert_uint_lt(at.cluster, 2);
		ck_assert_uint_lt(at.die, 2);
		ck_assert_uint_lt(number, 48);
		ck_assert(!seen[number]);
		seen[number] = true;
	}
}
END_TEST

/* What --cpus says after the vCPUs of @text were found and set again; "": they are refused. */
static char *present_again(const char *text)
{
	struct cpu_topology topology;
	struct config *config;
	char *again = strdup("");
	bool present[16];

	log_set_sink(remember);
	ck_assert_int_eq(config_new(&config, run_options()), 0);
	ck_assert_int_eq(config_set(config, "cpus", text), 0);
	ck_assert_int_eq(cpu_topology_parse(config, &topology), 0);
	ck_assert_uint_eq(cpus_possible(config), topology.cpus);
	if (!cpus_present_parse(config, topology.cpus, present)) {
		ck_assert_int_eq(cpus_present_set(config, topology.cpus, present), 0);
		ck_assert_int_eq(cpu_topology_parse(config, &topology), 0);
		free(again);
		ck_assert_int_ge(asprintf(&again, "%llu,%s", (unsigned long long)config_uint(config, "cpus"), config_string(config, "cpus")), 0);
	}
	log_set_sink(NULL);
	config_free(config);
	return again;
}

START_TEST(those_that_are_there_are_said_again)
{
	static const char *const texts[][2] = {
		{ "1,max=1", "1,max=1,present=0" }, { "2,max=8", "2,max=8,present=0-1" },
		{ "3,max=8,threads=2,present=0:5-6", "3,max=8,threads=2,present=0:5-6" },
		{ "5,present=6:4:0-2,max=16,cores=4", "5,max=16,cores=4,present=0-2:4:6" },
		{ "16,max=16,present=0-15", "16,max=16,present=0-15" },
		/* too few, too many, not 0, twice, none, backwards */
		{ "3,max=8,present=0-1", "" }, { "1,max=8,present=0-1", "" }, { "2,max=8,present=1-2", "" }, { "3,max=8,present=0-1:1", "" },
		{ "2,max=8,present=0:8", "" }, { "2,max=8,present=0:x", "" }, { "3,max=8,present=0:2-1", "" }, { "2,max=8,present=", "" },
		{ "2,max=8,present=0:18446744073709551615", "" }, { "2,max=8,present=0-1-", "" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(texts); i++) {
		char *again = present_again(texts[i][0]);

		ck_assert_msg(!strcmp(again, texts[i][1]), "%s: expected %s, seen %s", texts[i][0], texts[i][1], again);
		free(again);
	}
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "topology", NULL, NULL);

	tcase_add_loop_test(tests, what_is_not_said_follows, 0, ARRAY_SIZE(good));
	tcase_add_loop_test(tests, what_does_not_add_up_is_refused, 0, 18);
	tcase_add_test(tests, every_vcpu_has_a_place_of_its_own);
	tcase_add_test(tests, those_that_are_there_are_said_again);
}
SUITE_MAIN("topology", add_tests)
