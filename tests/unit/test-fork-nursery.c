/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests state/fork-nursery.c: all forks run or none is left, and nothing of the VM's lives on in them. */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "state/fork.h"
#include "tests/unit/suite.h"
#include "tests/unit/folder.h"

#define COUNT	5
#define WAIT_MS	20000

static struct kvm parent;
static struct config *config;
static unsigned int numbers[COUNT] = { 1, 2, 4, 5, 7 };
static struct fork_nursery nursery;
static int report_fd;
static pid_t pid;

static void setup(void)
{
	int ends[2];

	/* libcheck's own would end the test */
	signal(SIGTERM, SIG_DFL);
	folder_enter();
	ck_assert_int_eq(config_new(&config, run_options()), 0);
	parent.config = config;
	parent.name = "vm";
	nursery = (struct fork_nursery){ .kvm = &parent, .count = COUNT, .numbers = numbers, .prefix = "vm", .folder = folder_path };
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	report_fd = ends[0];
	nursery.report_fd = ends[1];
}

static void teardown(void)
{
	close(report_fd);
	config_free(config);
	folder_leave();
}

/* What a VM that runs does: says so, and waits for its end. */
static void run(struct fork_child *child)
{
	struct config *own;
	struct kvm *kvm;

	if (config_new(&own, run_options()) || fork_config(child, own) || kvm_create(&kvm, own) || fork_attach(child, kvm))
		_exit(1);
	event_work_post(&child->running);
	event_loop_poll(kvm->loop, 0);
	fprintf(stderr, "%s\n", kvm->name);
	pause();
}

/* @failing: which of them fails, or none */
static void raise_forks(unsigned int failing)
{
	struct fork_child *child;

	pid = fork();
	if (!pid) {
		int result = fork_raise(&nursery, &child);

		if (result && child)
			fork_failed(child);
		if (result || !child)
			_exit(0);
		if (child->index == failing) {
			log_error(EINVAL, "it is so");
			fork_failed(child);
			_exit(1);
		}
		run(child);
	}
	close(nursery.report_fd);
}

static size_t reports_read(struct fork_report *reports)
{
	struct pollfd entry = { .fd = report_fd, .events = POLLIN };
	size_t count = 0;

	while (poll(&entry, 1, WAIT_MS) == 1 && read(report_fd, &reports[count], sizeof(*reports)) == sizeof(*reports))
		count++;
	ck_assert_int_eq(waitpid(pid, NULL, 0), pid);
	return count;
}

static void wait_gone(pid_t process)
{
	for (int i = 0; i < 500 && !kill(process, 0); i++)
		usleep(10000);
	ck_assert_int_eq(kill(process, 0), -1);
}

START_TEST(all_run_and_are_told_of_in_order)
{
	struct fork_report reports[COUNT + 1];
	char text[16] = "";
	int fd;

	raise_forks(COUNT);
	ck_assert_uint_eq(reports_read(reports), COUNT);
	for (unsigned int i = 0; i < COUNT; i++) {
		ck_assert_uint_eq(reports[i].index, i);
		ck_assert_int_eq(reports[i].error, 0);
		ck_assert_int_eq(kill(reports[i].pid, SIGKILL), 0);
	}
	for (unsigned int i = 0; i < COUNT; i++)
		wait_gone(reports[i].pid);
	fd = open("vm-7.log", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(read(fd, text, sizeof(text)), 5);
	ck_assert_str_eq(text, "vm-7\n");
	close(fd);
}
END_TEST

START_TEST(one_that_fails_ends_all_and_says_why)
{
	struct fork_report reports[COUNT + 1];
	int ends[2];
	char byte;

	/* who holds the other end lives */
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	dup2(ends[1], STDERR_FILENO);
	raise_forks(3);
	ck_assert_uint_eq(reports_read(reports), 1);
	ck_assert_uint_eq(reports[0].index, 3);
	ck_assert_int_lt(reports[0].error, 0);
	ck_assert_str_eq(reports[0].text, "lkvm: it is so");
	close(ends[1]);
	dup2(STDOUT_FILENO, STDERR_FILENO);
	ck_assert_int_eq(read(ends[0], &byte, 1), 0);
	ck_assert_int_ne(access("vm-1.log", F_OK), 0);
	ck_assert_int_ne(access("vm-5.log", F_OK), 0);
}
END_TEST

START_TEST(output_that_cannot_be_is_named)
{
	struct fork_report reports[COUNT + 1];

	nursery.folder = (char *)"/nowhere";
	raise_forks(COUNT);
	ck_assert_uint_eq(reports_read(reports), 1);
	ck_assert_msg(strstr(reports[0].text, "'/nowhere/vm-") != NULL, "seen '%s'", reports[0].text);
}
END_TEST

START_TEST(nothing_of_the_vms_is_held)
{
	struct fork_report reports[COUNT + 1];
	char line[256], *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct pollfd entry = { .events = POLLIN };
	struct fork_layer layer = { .fd = -1 };
	int ends[2], kept[2];
	FILE *maps;

	ck_assert_ptr_ne(shared, MAP_FAILED);
	ck_assert_int_eq(pipe2(ends, O_CLOEXEC), 0);
	ck_assert_int_eq(pipe2(kept, O_CLOEXEC), 0);
	layer.fd = kept[1];
	nursery.origin = (struct fork_origin){ .layers = &layer, .layer_count = 1 };
	raise_forks(COUNT);
	ck_assert_uint_eq(reports_read(reports), COUNT);
	close(ends[1]);
	close(kept[1]);
	entry.fd = ends[0];
	ck_assert_int_eq(poll(&entry, 1, WAIT_MS), 1);
	ck_assert_int_eq(entry.revents, POLLHUP);
	/* a disk's is theirs */
	entry.fd = kept[0];
	ck_assert_int_eq(poll(&entry, 1, 0), 0);
	snprintf(line, sizeof(line), "/proc/%d/maps", reports[0].pid);
	maps = fopen(line, "re");
	ck_assert_ptr_nonnull(maps);
	while (fgets(line, sizeof(line), maps))
		ck_assert_msg(!strstr(line, " rw-s "), "seen %s", line);
	fclose(maps);
	for (unsigned int i = 0; i < COUNT; i++)
		kill(reports[i].pid, SIGKILL);
	ck_assert_int_eq(poll(&entry, 1, WAIT_MS), 1);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "nursery", setup, teardown);

	tcase_add_test(tests, all_run_and_are_told_of_in_order);
	tcase_add_test(tests, one_that_fails_ends_all_and_says_why);
	tcase_add_test(tests, output_that_cannot_be_is_named);
	tcase_add_test(tests, nothing_of_the_vms_is_held);
}
SUITE_MAIN("fork-nursery", add_tests)
