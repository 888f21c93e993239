/* SPDX-License-Identifier: BSD-2-Clause */
/* Runs and their tries: what is made, counted and given back. */
#include "ktest.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>

#include "text.h"

#define TAIL_SIZE	KIB(16)

struct ktest_try *ktest_run_try(struct ktest_run *run)
{
	struct ktest_try *tries = reallocarray(run->tries, run->try_count + 1, sizeof(*tries));

	if (!tries)
		return NULL;
	run->tries = tries;
	tries[run->try_count] = (struct ktest_try){ .outcome = KTEST_NOT_RUN };
	return &tries[run->try_count++];
}

const struct ktest_try *ktest_last(const struct ktest_run *run)
{
	return run->try_count ? &run->tries[run->try_count - 1] : NULL;
}

static void try_free(struct ktest_try *try)
{
	ktap_free(try->output);
	ktap_free(try->console);
	free(try->reason);
	free(try->log);
}

void ktest_runs_free(struct ktest_run *runs, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		struct ktest_run *run = &runs[i];

		for (unsigned int n = 0; n < run->try_count; n++)
			try_free(&run->tries[n]);
		for (char **word = run->argv; word && *word; word++)
			free(*word);
		free(run->tries);
		free(run->argv);
		free(run->name);
		free(run->kernel);
		free(run->config);
		free(run->test);
	}
	free(runs);
}

double ktest_seconds(const struct ktest_try *try)
{
	return (double)(try->ended_ns - try->started_ns) / 1e9;
}

static char *read_tail(int fd)
{
	struct stat status;
	char *text, *clean;
	ssize_t length;

	if (fstat(fd, &status) < 0)
		return NULL;
	text = malloc(TAIL_SIZE);
	length = text ? pread(fd, text, TAIL_SIZE, MAX(status.st_size - (off_t)TAIL_SIZE, (off_t)0)) : 0;
	clean = length > 0 ? text_copy(text, (size_t)length, true) : NULL;
	free(text);
	return clean;
}

char *ktest_log_tail(const struct ktest *test, const struct ktest_try *try)
{
	_cleanup_close_ int fd = -1;
	_cleanup_free_ char *path = NULL;

	if (!try->log || asprintf(&path, "%s/%s", test->folder, try->log) < 0)
		return NULL;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	return fd < 0 ? NULL : read_tail(fd);
}
