/* SPDX-License-Identifier: BSD-2-Clause */
/* For tests of disk/: the same suite with each engine that this host and build have. */
#ifndef TESTS_UNIT_DISK_ENGINES_H
#define TESTS_UNIT_DISK_ENGINES_H

#include <sys/syscall.h>

#include "disk/engine.h"
#include "tests/unit/suite.h"

static const char *engine_option = "";		/* to be put behind a disk's other options */

/* Whether this is the first of them: some tests are the same for all. */
static inline bool engines_first(void)
{
	return !strcmp(engine_option, ",aio=native");
}

/* Why io_uring can't be tested here, or NULL. */
static inline const char *engines_no_io_uring(void)
{
	uint64_t parameters[15] = { 0 };
	long fd;

	if (!disk_aio_find("io_uring"))
		return "not in this build";
	fd = syscall(SYS_io_uring_setup, 1, parameters);
	if (fd < 0)
		return strerror(errno);
	close((int)fd);
	return NULL;
}

static inline int engines_run(const char *name, void (*add_tests)(Suite *suite))
{
	static const char *const options[] = { ",aio=native", ",aio=threads", ",aio=io_uring" };
	const char *without = engines_no_io_uring();
	int failed = 0;

	for (size_t i = 0; i < ARRAY_SIZE(options); i++) {
		char full[64];

		engine_option = options[i];
		snprintf(full, sizeof(full), "%s%s", name, options[i]);
		if (without && strstr(options[i], "io_uring"))
			printf("SKIP %s: %s\n", full, without);
		else
			failed |= suite_run(full, add_tests);
	}
	return failed;
}

#define SUITE_MAIN_ENGINES(name, add_tests)		\
	int main(void)					\
	{						\
		return engines_run(name, add_tests);	\
	}

#endif
