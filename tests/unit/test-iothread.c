/* SPDX-License-Identifier: BSD-2-Clause */
/* core/iothread.c and core/cpu-list.c: threads by name, and where threads may run. */
#include "tests/unit/board.h"

#include "kvm/iothread.h"
#include "kvm/kvm-cpu.h"
#include "kvm/thread.h"

static struct kvm *kvm;
static struct kvm_cpu cpus[3], *cpu_list[3] = { &cpus[0], &cpus[1], &cpus[2] };
static unsigned int here;		/* a CPU that this process may use */
static char message[256];

static void keep_message(enum log_level level, const char *line)
{
	(void)level;
	snprintf(message, sizeof(message), "%s", line);
}

static void setup(void)
{
	cpu_set_t all;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(all), &all), 0);
	for (here = 0; !CPU_ISSET(here, &all); here++)
		;
	message[0] = '\0';
	log_set_sink(keep_message);
	kvm = board_create();
	for (unsigned int i = 0; i < 3; i++)
		cpus[i] = (struct kvm_cpu){ .kvm = kvm, .index = i };
	kvm->cpus = cpu_list;
	kvm->cpu_count = 3;
}

static void teardown(void)
{
	for (unsigned int i = 0; i < 3; i++)
		free(cpus[i].affinity);
	kvm->cpu_count = 3;
	board_destroy(kvm);
	log_set_sink(NULL);
}

static int init(const char *name)
{
	struct board_pick pick = { .name = name };

	init_for_each(board_pick_item, &pick);
	return pick.item->init(kvm);
}

static int make(const char *text)
{
	ck_assert_int_eq(config_set(kvm->config, "iothread", text), 0);
	return init("iothreads_init");
}

/* ---- lists ---- */

START_TEST(a_list_names_cpus_and_ranges)
{
	cpu_set_t set;
	char text[32];

	snprintf(text, sizeof(text), "%u-%u,%u", here, here, here);
	ck_assert_int_eq(cpu_list_parse("x", text, &set), 0);
	ck_assert_int_eq(CPU_COUNT(&set), 1);
	ck_assert(CPU_ISSET(here, &set));
}
END_TEST

static const char *const no_lists[] = { "", ",", "0,", "-1", "1-", "2-1", "a", "0;1", "0-99999", "4096", "0,,1", "0 1" };

START_TEST(what_is_no_list_is_refused)
{
	cpu_set_t set;

	ck_assert_int_eq(cpu_list_parse("iothread", no_lists[_i], &set), -EUSAGE);
	ck_assert_ptr_nonnull(strstr(message, "option --iothread"));
}
END_TEST

START_TEST(a_cpu_that_is_not_there_is_named_and_nobody_moves)
{
	cpu_set_t before, after, set;

	ck_assert_int_eq(sched_getaffinity(0, sizeof(before), &before), 0);
	ck_assert_int_eq(cpu_list_parse("vcpu-affinity", "0-1023", &set), -EUSAGE);
	ck_assert_ptr_nonnull(strstr(message, "has no CPU "));
	ck_assert_int_eq(cpu_list_parse("vcpu-affinity", "1023", &set), -EUSAGE);
	ck_assert_int_eq(sched_getaffinity(0, sizeof(after), &after), 0);
	ck_assert(CPU_EQUAL(&before, &after));
}
END_TEST

/* ---- vCPUs ---- */

static int affinity(const char *text)
{
	ck_assert_int_eq(config_set(kvm->config, "vcpu-affinity", text), 0);
	return init("affinity_init");
}

START_TEST(one_list_is_for_all_vcpus)
{
	char text[16];

	snprintf(text, sizeof(text), "%u", here);
	ck_assert_int_eq(config_set(kvm->config, "vcpu-affinity", text), 0);
	board_add(kvm, "affinity_init");
	for (unsigned int i = 0; i < 3; i++)
		ck_assert(cpus[i].affinity && CPU_ISSET(here, cpus[i].affinity));
}
END_TEST

START_TEST(several_lists_are_for_one_vcpu_each)
{
	char text[32];

	snprintf(text, sizeof(text), "%u;;%u", here, here);
	ck_assert_int_eq(config_set(kvm->config, "vcpu-affinity", text), 0);
	board_add(kvm, "affinity_init");
	ck_assert_ptr_nonnull(cpus[0].affinity);
	ck_assert_ptr_null(cpus[1].affinity);
	ck_assert_ptr_nonnull(cpus[2].affinity);
}
END_TEST

static const char *const wrong_counts[] = { ";", ";;;", "x;;" };

START_TEST(lists_that_do_not_fit_the_vcpus_are_refused)
{
	ck_assert_int_eq(affinity(wrong_counts[_i]), -EUSAGE);
	for (unsigned int i = 0; i < 3; i++)
		ck_assert_ptr_null(cpus[i].affinity);
}
END_TEST

/* ---- iothreads ---- */

static void note_affinity(void *opaque)
{
	pthread_getaffinity_np(pthread_self(), sizeof(cpu_set_t), opaque);
}

START_TEST(an_iothread_runs_on_its_cpus)
{
	struct event_loop *loop = kvm->loop;
	char text[32];
	cpu_set_t set;

	snprintf(text, sizeof(text), "io0,cpus=%u,,%u", here, here);
	ck_assert_int_eq(config_set(kvm->config, "iothread", text), 0);
	board_add(kvm, "iothreads_init");
	ck_assert_int_eq(iothread_loop(kvm, "disk", "io0", &loop), 0);
	ck_assert_ptr_ne(loop, kvm->loop);
	event_loop_call(loop, note_affinity, &set);
	ck_assert_int_eq(CPU_COUNT(&set), 1);
	ck_assert(CPU_ISSET(here, &set));
}
END_TEST

START_TEST(who_names_no_iothread_keeps_the_loop)
{
	struct event_loop *loop = kvm->loop;

	ck_assert_int_eq(iothread_loop(kvm, "disk", NULL, &loop), 0);
	ck_assert_ptr_eq(loop, kvm->loop);
	ck_assert_int_eq(iothread_loop(kvm, "disk", "", &loop), -EUSAGE);
	ck_assert_int_eq(iothread_loop(kvm, "disk", "io1", &loop), -EUSAGE);
	ck_assert_ptr_nonnull(strstr(message, "option --disk: no iothread is called 'io1'"));
}
END_TEST

static const char *const bad_threads[] = {
	"", ",cpus=0", "a/b", "elevenchars", "io0,cpus=", "io0,cpus=x", "io0,cpus=1023", "io0,what=1", "io0,cpus=0,1",
};

START_TEST(iothreads_that_cannot_be_are_refused)
{
	ck_assert_int_eq(make(bad_threads[_i]), -EUSAGE);
	ck_assert_ptr_nonnull(strstr(message, "option --iothread"));
}
END_TEST

START_TEST(a_name_is_for_one_iothread)
{
	ck_assert_int_eq(config_set(kvm->config, "iothread", "io0"), 0);
	ck_assert_int_eq(make("io0"), -EUSAGE);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "iothreads", setup, teardown);

	tcase_add_test(tests, a_list_names_cpus_and_ranges);
	tcase_add_loop_test(tests, what_is_no_list_is_refused, 0, (int)ARRAY_SIZE(no_lists));
	tcase_add_test(tests, a_cpu_that_is_not_there_is_named_and_nobody_moves);
	tcase_add_test(tests, one_list_is_for_all_vcpus);
	tcase_add_test(tests, several_lists_are_for_one_vcpu_each);
	tcase_add_loop_test(tests, lists_that_do_not_fit_the_vcpus_are_refused, 0, (int)ARRAY_SIZE(wrong_counts));
	tcase_add_test(tests, an_iothread_runs_on_its_cpus);
	tcase_add_test(tests, who_names_no_iothread_keeps_the_loop);
	tcase_add_loop_test(tests, iothreads_that_cannot_be_are_refused, 0, (int)ARRAY_SIZE(bad_threads));
	tcase_add_test(tests, a_name_is_for_one_iothread);
}
SUITE_MAIN("iothread", add_tests)
