/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests state/fork-options.c: a fork's options are its parent's, but for what only one VM can have. */
#include "state/fork.h"
#include "tests/unit/suite.h"

static struct config *config;

static void setup(void)
{
	ck_assert_int_eq(config_new(&config, run_options()), 0);
}

static void teardown(void)
{
	config_free(config);
}

static void becomes(const char *name, const char *text, const char *wanted)
{
	char *changed = NULL;

	ck_assert_int_eq(fork_option(name, text, "vm-7", NULL, &changed), 1);
	ck_assert_str_eq(changed, wanted);
	free(changed);
}

START_TEST(what_is_the_machines_stays)
{
	becomes("mem", "268435456B", "268435456B");
	becomes("disk", "a,,b.img,snapshot=on", "a,,b.img,snapshot=on");
	becomes("network", "mode=none", "mode=none");
	becomes("network", "user,mtu=1400,mq=2", "user,mtu=1400,mq=2");
	becomes("port", "name=a,pty", "name=a,pty");
}
END_TEST

START_TEST(what_is_the_runs_is_left_out)
{
	char *changed = NULL;

	ck_assert_int_eq(fork_option("name", "parent", "vm-7", NULL, &changed), 0);
	ck_assert_int_eq(fork_option("restore", "/file", "vm-7", NULL, &changed), 0);
	ck_assert_int_eq(fork_option("gdb", "tcp:1", "vm-7", NULL, &changed), 0);
	ck_assert_ptr_null(changed);
}
END_TEST

START_TEST(what_only_one_can_have_is_another)
{
	becomes("network", "mode=user,guest_mac=02:00:00:00:00:01,mtu=1400,hostfwd=tcp::22-:22,hostfwd=udp::1-:1,pcap=/a,,b",
		"mode=user,mtu=1400");
	becomes("vsock", "7", "auto");
	becomes("vsock", "7,path=/a,,b", "auto");
	becomes("vsock", "auto,vhost=1", "auto,vhost=1");
	becomes("port", "name=a,socket=/run/a", "name=a,socket=/run/a-vm-7");
	becomes("port", "file=/a,,b,name=c", "file=/a,,b-vm-7,name=c");
}
END_TEST

START_TEST(fork_of_a_fork_has_one_name)
{
	char *changed = NULL;

	ck_assert_int_eq(fork_option("port", "name=a,socket=/run/a-vm-7", "vm-7-1", "vm-7", &changed), 1);
	ck_assert_str_eq(changed, "name=a,socket=/run/a-vm-7-1");
	free(changed);
	ck_assert_int_eq(fork_option("port", "name=a,socket=vm-7", "vm-7-1", "vm-7", &changed), 1);
	ck_assert_str_eq(changed, "name=a,socket=vm-7-vm-7-1");
	free(changed);
}
END_TEST

static void refused(const char *name, const char *text, bool networks, const char *why)
{
	char *said;

	teardown();
	setup();
	ck_assert_int_eq(config_set(config, name, text), 0);
	said = fork_refusal(config, networks);
	if (why) {
		ck_assert_ptr_nonnull(said);
		ck_assert_msg(strstr(said, why), "expected '%s', seen '%s'", why, said);
	} else {
		ck_assert_msg(!said, "expected nothing, seen '%s'", said);
	}
	free(said);
}

START_TEST(what_cannot_be_had_twice_is_refused_by_name)
{
	refused("network", "mode=tap,tapif=tap0", false, "--network mode=tap,tapif=tap0");
	refused("network", "trans=mmio", false, "-n");
	refused("network", "mode=tap,tapif=tap0", true, NULL);
	refused("network", "guest_mac=02:00:00:00:00:01,mode=user", false, NULL);
	refused("network", "user", false, NULL);
	refused("network", "mode=none", false, NULL);
	refused("pmem", "/file", false, "say ,ro");
	refused("pmem", "/file,ro", false, NULL);
	refused("hugetlbfs", "/dir", false, "--hugetlbfs");
	refused("disk", "/image,snapshot=on", false, NULL);
}
END_TEST

START_TEST(memory_that_a_daemon_shares_is_not_forked)
{
	refused("network", "mode=vhost-user,socket=/a", true, "daemon");
	refused("network", "mode=passt", true, "daemon");
	refused("fs", "tag,socket=/a", false, "daemon");
	refused("fs", "/dir,tag", false, NULL);
	refused("disk", "vhost-user:/a", false, "somebody else");
	refused("vhost-user", "type=rng,socket=/a", false, "daemon");
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "options", setup, teardown);

	tcase_add_test(tests, what_is_the_machines_stays);
	tcase_add_test(tests, what_is_the_runs_is_left_out);
	tcase_add_test(tests, what_only_one_can_have_is_another);
	tcase_add_test(tests, fork_of_a_fork_has_one_name);
	tcase_add_test(tests, what_cannot_be_had_twice_is_refused_by_name);
	tcase_add_test(tests, memory_that_a_daemon_shares_is_not_forked);
}
SUITE_MAIN("fork-options", add_tests)
