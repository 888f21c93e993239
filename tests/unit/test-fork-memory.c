/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests state/fork-memory.c: what a VM and its forks write is their own, however often they are forked. */
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "state/fork.h"
#include "tests/unit/suite.h"

#define SIZE	MIB(4)
#define PAGE	4096
#define PAGES	(SIZE / PAGE)

static struct kvm kvm;
static struct region region;
static uint8_t *memory;

static void setup(void)
{
	memset(&kvm, 0, sizeof(kvm));
	kvm.ram_size = SIZE;
	kvm.ram_fd = memfd_create("lkvm-test", MFD_CLOEXEC);
	ck_assert_int_eq(ftruncate(kvm.ram_fd, SIZE), 0);
	memory = mmap(NULL, SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, kvm.ram_fd, 0);
	ck_assert_ptr_ne(memory, MAP_FAILED);
	/* two mappings, as the PC's RAM has */
	madvise(memory, MIB(2), MADV_NOHUGEPAGE);
	kvm.ram_host = memory;
	region = (struct region){ .fd = kvm.ram_fd, .discard_page = PAGE };
	kvm.ram_regions = &region;
	kvm.ram_count = 1;
}

static void teardown(void)
{
	munmap(memory, SIZE);
	if (kvm.ram_fd >= 0)
		close(kvm.ram_fd);
}

static void fill(uint8_t value)
{
	for (size_t page = 0; page < PAGES; page++)
		memory[page * PAGE] = value;
}

static bool holds(uint8_t value)
{
	for (size_t page = 0; page < PAGES; page++)
		if (memory[page * PAGE] != value)
			return false;
	return true;
}

/* A fork at this moment: it waits for a byte in its pipe, looks for @value, and writes @own, which must then be there. */
static pid_t fork_that_expects(uint8_t value, uint8_t own, int *go)
{
	int ends[2];
	pid_t pid;

	ck_assert_int_eq(fork_memory_share(&kvm), 0);
	ck_assert_int_eq(pipe(ends), 0);
	pid = fork();
	if (!pid) {
		char byte;
		bool good = read(ends[0], &byte, 1) == 1 && holds(value);

		fill(own);
		_exit(good && holds(own) ? 0 : 1);
	}
	close(ends[0]);
	*go = ends[1];
	return pid;
}

static void was_right(pid_t pid, int go)
{
	int status;

	ck_assert_int_eq(write(go, "", 1), 1);
	close(go);
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
}

START_TEST(fork_keeps_what_its_parent_writes_over)
{
	pid_t pid;
	int go;

	fill(1);
	pid = fork_that_expects(1, 9, &go);
	fill(2);
	was_right(pid, go);
	ck_assert(holds(2));
}
END_TEST

START_TEST(each_generation_has_its_own_moment)
{
	pid_t pids[3];
	int go[3];

	for (uint8_t i = 0; i < 3; i++) {
		fill(i + 1);
		pids[i] = fork_that_expects(i + 1, 9, &go[i]);
	}
	fill(7);
	for (int i = 2; i >= 0; i--)
		was_right(pids[i], go[i]);
	ck_assert(holds(7));
}
END_TEST

START_TEST(pages_that_nobody_touched_are_zeroes)
{
	pid_t pid;
	int go;

	pid = fork_that_expects(0, 9, &go);
	fill(1);
	was_right(pid, go);
}
END_TEST

START_TEST(nothing_is_given_back_to_the_host_any_more)
{
	int fd = kvm.ram_fd;

	fill(1);
	ck_assert_int_eq(fork_memory_share(&kvm), 0);
	ck_assert_uint_eq(region.discard_page, 0);
	ck_assert_int_eq(region.fd, -1);
	ck_assert_int_eq(kvm.ram_fd, -1);
	ck_assert_int_eq(fcntl(fd, F_GETFD), -1);
	ck_assert_int_eq(fork_memory_share(&kvm), 0);
	ck_assert(holds(1));
}
END_TEST

static void hush(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

START_TEST(memory_that_cannot_be_private_stays_as_it_was)
{
	int fd = kvm.ram_fd;
	int broken = open("/dev/null", O_RDONLY | O_CLOEXEC);

	fill(1);
	kvm.ram_fd = broken;
	log_set_sink(hush);
	ck_assert_int_lt(fork_memory_share(&kvm), 0);
	log_set_sink(NULL);
	ck_assert(holds(1));
	ck_assert_uint_eq(region.discard_page, PAGE);
	close(broken);
	kvm.ram_fd = fd;
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "memory", setup, teardown);

	tcase_add_test(tests, fork_keeps_what_its_parent_writes_over);
	tcase_add_test(tests, each_generation_has_its_own_moment);
	tcase_add_test(tests, pages_that_nobody_touched_are_zeroes);
	tcase_add_test(tests, nothing_is_given_back_to_the_host_any_more);
	tcase_add_test(tests, memory_that_cannot_be_private_stays_as_it_was);
}
SUITE_MAIN("fork-memory", add_tests)
