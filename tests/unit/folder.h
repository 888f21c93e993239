/* SPDX-License-Identifier: BSD-2-Clause */
/* A temporary folder that a test works in, and that goes with all that is in it. Include after suite.h or board.h. */
#ifndef TESTS_UNIT_FOLDER_H
#define TESTS_UNIT_FOLDER_H

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static char folder_path[32];

/* Makes it, and it is the current one. */
static inline void folder_enter(void)
{
	strcpy(folder_path, "/tmp/lkvm-test-XXXXXX");
	ck_assert_ptr_nonnull(mkdtemp(folder_path));
	ck_assert_int_eq(chdir(folder_path), 0);
}

static inline int folder_remove_one(const char *path, const struct stat *stat, int type, struct FTW *where)
{
	(void)stat;
	(void)type;
	(void)where;
	return remove(path);
}

static inline void folder_leave(void)
{
	ck_assert_int_eq(chdir("/"), 0);
	ck_assert_int_eq(nftw(folder_path, folder_remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
}

static inline void put_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

	ck_assert_int_ge(fd, 0);
	ck_assert_int_eq(write(fd, text, strlen(text)), (ssize_t)strlen(text));
	close(fd);
}

/* For tests of shares: the folder "in" with a file, which is to be shared, beside the file "secret". */
static inline void folder_enter_shared(void)
{
	folder_enter();
	ck_assert_int_eq(mkdir("in", 0755), 0);
	put_file("secret", "secret");
	put_file("in/file", "hello");
}

#endif
