/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests core/numa.c: what --numa may say, what it comes to, and what it can't be. */
#include "tests/unit/suite.h"

#include <string.h>
#include <sys/mman.h>

#include "kvm/log.h"
#include "kvm/numa.h"

static char said[512];
static struct numa *numa;

static void remember(enum log_level level, const char *line)
{
	(void)level;
	snprintf(said, sizeof(said), "%s", line);
}

/* @text: the options' values, with blanks between, for 4 vCPUs and 64 MiB */
static int parse(const char *text)
{
	char *copy = strdup(text), *rest = copy;
	struct config *config;
	int result;

	said[0] = '\0';
	ck_assert_int_eq(config_new(&config, run_options()), 0);
	ck_assert_int_eq(config_set(config, "cpus", "4"), 0);
	while (rest && *rest)
		ck_assert_int_eq(config_set(config, "numa", strsep(&rest, " ")), 0);
	log_set_sink(remember);
	result = numa_parse(config, MIB(64), &numa);
	log_set_sink(NULL);
	config_free(config);
	free(copy);
	return result;
}

static void teardown(void)
{
	free(numa);
	numa = NULL;
}

START_TEST(without_the_option_there_are_none)
{
	ck_assert_int_eq(parse(""), 0);
	ck_assert_ptr_null(numa);
}
END_TEST

START_TEST(what_no_node_says_is_spread)
{
	ck_assert_int_eq(parse("node node node"), 0);
	ck_assert_uint_eq(numa->count, 3);
	ck_assert_uint_eq(numa->nodes[0].size, MIB(20));
	ck_assert_uint_eq(numa->nodes[1].size, MIB(20));
	ck_assert_uint_eq(numa->nodes[2].size, MIB(24));
	ck_assert_uint_eq(numa->nodes[2].offset, MIB(40));
	ck_assert_mem_eq(numa->cpu_node, ((uint8_t[]){ 0, 0, 1, 2 }), 4);
	ck_assert_int_eq(numa->nodes[1].host, -1);
	ck_assert_uint_eq(numa->distance[1][1], 10);
	ck_assert_uint_eq(numa->distance[0][2], 20);
}
END_TEST

START_TEST(nodes_have_what_they_say)
{
	ck_assert_int_eq(parse("dist,src=1,dst=0,val=40 node,cpus=1,,3,mem=16,host=0 node,cpus=0,mem=48M node,cpus=2,mem=0 "
			       "dist,src=0,dst=1,val=30 dist,src=2,dst=1,val=254"), 0);
	ck_assert_uint_eq(numa->count, 3);
	ck_assert_mem_eq(numa->cpu_node, ((uint8_t[]){ 1, 0, 2, 0 }), 4);
	ck_assert_uint_eq(numa->nodes[0].size, MIB(16));
	ck_assert_int_eq(numa->nodes[0].host, 0);
	ck_assert_uint_eq(numa->nodes[1].offset, MIB(16));
	ck_assert_uint_eq(numa->nodes[2].size, 0);
	ck_assert_uint_eq(numa->distance[0][1], 30);
	ck_assert_uint_eq(numa->distance[1][0], 40);
	ck_assert_uint_eq(numa->distance[1][2], 254);
	ck_assert_uint_eq(numa->distance[0][2], 20);
}
END_TEST

START_TEST(a_range_may_be_of_several_nodes)
{
	const struct ram_range low = { .base = 0, .size = MIB(40), .offset = 0 };
	const struct ram_range high = { .base = GIB(4), .size = MIB(24), .offset = MIB(40) };
	uint64_t base, size;

	ck_assert_int_eq(parse("node,mem=32M node,mem=16M node"), 0);
	ck_assert(numa_part(&numa->nodes[0], &low, &base, &size) && !base && size == MIB(32));
	ck_assert(!numa_part(&numa->nodes[0], &high, &base, &size));
	ck_assert(numa_part(&numa->nodes[1], &low, &base, &size) && base == MIB(32) && size == MIB(8));
	ck_assert(numa_part(&numa->nodes[1], &high, &base, &size) && base == GIB(4) && size == MIB(8));
	ck_assert(numa_part(&numa->nodes[2], &high, &base, &size) && base == GIB(4) + MIB(8) && size == MIB(16));
}
END_TEST

static const char *const bad[] = {
	"socket", "dist,src=0,dst=1,val=20", "node,cpus=4", "node,cpus=0-9", "node,cpus=2-1", "node,cpus=", "node,cpus=x", "node,cpus=0-",
	"node,cpus=0-3,", "node,cpus=0", "node,cpus=0-3 node,cpus=3", "node,cpus=0-3,,", "node,cpus=99999999999999999999", "node,mem=1",
	"node,mem=3M", "node,mem=x node", "node,mem=65M", "node,mem=66M", "node,mem=32M", "node,mem=32M node,mem=34M",
	"node,cpus=0-3 node,mem=0", "node,host=-1", "node,host=1024", "node,host=x", "node,colour=red", "node node,cpus",
	"node node dist,src=0,dst=2,val=20", "node node dist,src=0,dst=1,val=10", "node node dist,src=0,dst=0,val=20",
	"node node dist,src=0,dst=1,val=9", "node node dist,src=0,dst=1,val=255", "node node dist,src=0,dst=1", "node node dist",
	"node node dist,src=0,dst=1,val=20,way=1", "node,mem=18446744073709551615B node",
};

START_TEST(what_can_not_be_is_refused_by_name)
{
	bool last = parse(bad[_i]) == -EUSAGE;

	/* an empty setting is none: that one is right */
	if (strcmp(bad[_i], "node,cpus=0-3,") == 0) {
		ck_assert(!last);
		return;
	}
	ck_assert_msg(last, "%s is taken", bad[_i]);
	ck_assert_msg(strstr(said, "option --numa: ") != NULL, "%s: %s", bad[_i], said);
	ck_assert_ptr_null(numa);
}
END_TEST

START_TEST(there_are_64_nodes_at_most)
{
	char text[65 * 5 + 1];

	for (size_t i = 0; i < 65; i++)
		memcpy(text + 5 * i, "node ", 6);
	ck_assert_int_eq(parse(text), -EUSAGE);
	ck_assert_ptr_nonnull(strstr(said, "more than 64"));
	text[64 * 5] = '\0';
	/* four vCPUs are not enough for 64, but memory is */
	ck_assert_int_eq(parse(text), -EUSAGE);
}
END_TEST

START_TEST(memory_comes_from_the_hosts_node_or_is_refused)
{
	void *ram = mmap(NULL, MIB(64), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ck_assert_ptr_ne(ram, MAP_FAILED);
	ck_assert_int_eq(parse("node,host=0 node"), 0);
	log_set_sink(remember);
	if (numa_bind(numa, ram) == -ENOSYS || strstr(said, "not permitted"))
		printf("SKIP memory_comes_from_the_hosts_node_or_is_refused: %s\n", said);
	else
		ck_assert_str_eq(said, "");
	numa->nodes[0].host = 1023;
	ck_assert_int_lt(numa_bind(numa, ram), 0);
	ck_assert_ptr_nonnull(strstr(said, "node 1023"));
	log_set_sink(NULL);
	munmap(ram, MIB(64));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "numa", NULL, teardown);

	tcase_add_test(tests, without_the_option_there_are_none);
	tcase_add_test(tests, what_no_node_says_is_spread);
	tcase_add_test(tests, nodes_have_what_they_say);
	tcase_add_test(tests, a_range_may_be_of_several_nodes);
	tcase_add_loop_test(tests, what_can_not_be_is_refused_by_name, 0, ARRAY_SIZE(bad));
	tcase_add_test(tests, there_are_64_nodes_at_most);
	tcase_add_test(tests, memory_comes_from_the_hosts_node_or_is_refused);
}
SUITE_MAIN("numa", add_tests)
