/* SPDX-License-Identifier: BSD-2-Clause */
/* core/ram-file.c: guest RAM's file, made with and without privileges. */
#include "tests/unit/board.h"

#include <fcntl.h>
#include <grp.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/ram-file.h"

#define NOBODY	65534

/* Nameless, private to its owner, closed by exec, and as large as it is told to be. */
static void check_file(void)
{
	int mount, fd = ram_file_open(&mount);
	struct stat status;
	char *at;

	ck_assert_int_ge(fd, 0);
	if (mount >= 0) {
		ck_assert_int_eq(fcntl(mount, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
		ck_assert_int_eq(close(mount), 0);
	}
	ck_assert_int_eq(fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
	ck_assert_int_eq(fstat(fd, &status), 0);
	ck_assert(S_ISREG(status.st_mode));
	ck_assert_uint_eq(status.st_nlink, 0);
	ck_assert_uint_eq(status.st_uid, geteuid());
	ck_assert_int_eq(ftruncate(fd, (off_t)GIB(4)), 0);
	at = mmap(NULL, MIB(4), PROT_READ | PROT_WRITE, MAP_SHARED, fd, (off_t)(GIB(4) - MIB(4)));
	ck_assert_ptr_ne(at, MAP_FAILED);
	at[0] = at[MIB(4) - 1] = 7;
	/* Sparse: what isn't touched isn't there. */
	ck_assert_int_eq(fstat(fd, &status), 0);
	ck_assert_int_le(status.st_blocks * 512, (int64_t)MIB(4));
	munmap(at, MIB(4));
	close(fd);
}

START_TEST(whoever_asks_gets_a_file)
{
	check_file();
}
END_TEST

START_TEST(an_ordinary_user_gets_one_as_well_and_no_child_is_left)
{
	if (geteuid() == 0) {
		ck_assert_int_eq(setgroups(0, NULL), 0);
		ck_assert_int_eq(setgid(NOBODY), 0);
		ck_assert_int_eq(setuid(NOBODY), 0);
	}
	check_file();
	ck_assert_int_eq(waitpid(-1, NULL, __WALL | WNOHANG), -1);
	ck_assert_int_eq(errno, ECHILD);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "ram-file", NULL, NULL);

	tcase_add_test(tests, whoever_asks_gets_a_file);
	tcase_add_test(tests, an_ordinary_user_gets_one_as_well_and_no_child_is_left);
}
SUITE_MAIN("ram-file", add_tests)
