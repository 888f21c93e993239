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
	{ "1", { 1, 1, 1, 1, 1 } },
	{ "8", { 1, 8, 1, 1, 1 } },
	{ "8,", { 1, 8, 1, 1, 1 } },
	{ "8,threads=2", { 2, 4, 1, 1, 1 } },
	{ "8,sockets=2", { 1, 4, 1, 1, 2 } },
	{ "8,cores=2", { 1, 2, 1, 1, 4 } },
	{ "8,cores=2,sockets=2", { 2, 2, 1, 1, 2 } },
	{ "8,dies=2,threads=2", { 2, 2, 1, 2, 1 } },
	{ "48,sockets=2,dies=2,clusters=2,cores=3,threads=2", { 2, 3, 2, 2, 2 } },
	{ "4096,sockets=4096", { 1, 1, 1, 1, 4096 } },
};

START_TEST(what_is_not_said_follows)
{
	struct cpu_topology topology;

	ck_assert_int_eq(parse(good[_i].text, &topology), 0);
	ck_assert_msg(!memcmp(&topology, &good[_i].want, sizeof(topology)), "%s: %u threads, %u cores, %u clusters, %u dies, %u sockets",
		      good[_i].text, topology.threads, topology.cores, topology.clusters, topology.dies, topology.sockets);
}
END_TEST

START_TEST(what_does_not_add_up_is_refused)
{
	static const char *const bad[] = {
		"8,sockets=3", "8,cores=16", "8,cores=0", "8,threads=x", "8,threads=-1", "8,threads", "8,sockets=2,dies=2,cores=4",
		"8,sockets=2,cores=2,threads=1", "8,threads=8,cores=8,clusters=8,dies=8,sockets=8", "8,moons=2",
		"8,threads=18446744073709551616", "4096,threads=4096,cores=4096,clusters=4096,dies=4096,sockets=4096",
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

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "topology", NULL, NULL);

	tcase_add_loop_test(tests, what_is_not_said_follows, 0, ARRAY_SIZE(good));
	tcase_add_loop_test(tests, what_does_not_add_up_is_refused, 0, 12);
	tcase_add_test(tests, every_vcpu_has_a_place_of_its_own);
}
SUITE_MAIN("topology", add_tests)
