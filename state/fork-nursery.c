/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The nursery: a copy of a VM's process, of one thread, which forks the VMs that are asked for and ends when they run.
 *
 * So the VM itself is forked once and goes on at once, whatever number is wanted, and its forks aren't its children.
 * The other threads of the VM don't exist here: they were parked or waited for work, and what they owned is left alone.
 * What the kernel holds for the VM is let go of first, so that nothing of it lives longer than it does: its fds, and
 * memory that is really shared, as with KVM.
 *
 * All run or none: if one fails, the others are ended. Every wait is bounded.
 */
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <sys/wait.h>

#include "kvm/event.h"
#include "kvm/log.h"
#include "kvm/rcu.h"
#include "kvm/tty.h"
#include "state/fork.h"

#define SILENCE_MS	30000		/* none of those that are being started says anything */
#define END_MS		2000
#define END_STEP_US	5000

struct raise {
	struct fork_nursery *nursery;
	struct fork_report *reports;
	struct pollfd *pipes;		/* fd -1: it isn't started, or has reported */
	unsigned int started, starting, running;
	bool failed;
	struct fork_report failure;
};

/* ---- letting go ---- */

static int compare_fds(const void *a, const void *b)
{
	return *(const int *)a - *(const int *)b;
}

static void fds_let_go(const struct fork_nursery *nursery)
{
	const struct fork_origin *origin = &nursery->origin;
	_cleanup_free_ int *kept = calloc(origin->layer_count + 1, sizeof(*kept));
	size_t count = 0;
	int from = STDERR_FILENO + 1;

	if (!kept)
		return;
	kept[count++] = nursery->report_fd;
	for (size_t i = 0; i < origin->layer_count; i++)
		kept[count++] = origin->layers[i].fd;
	qsort(kept, count, sizeof(*kept), compare_fds);
	for (size_t i = 0; i < count; from = kept[i++] + 1)
		if (kept[i] > from)
			close_range((unsigned int)from, (unsigned int)kept[i] - 1, 0);
	close_range((unsigned int)from, ~0U, 0);
}

/* "FROM-TO rw-s ...": rings, the vCPUs' pages. What libraries map shared they only read. */
static void mapping_let_go(const char *line)
{
	unsigned long from, to;
	char *end;

	from = strtoul(line, &end, 16);
	if (*end != '-')
		return;
	to = strtoul(end + 1, &end, 16);
	if (strncmp(end, " rw-s", 5) == 0)
		munmap((void *)from, to - from); // NOLINT(performance-no-int-to-ptr)
}

static void mappings_let_go(void)
{
	_cleanup_free_ char *maps = NULL;
	FILE *file = fopen("/proc/self/maps", "re");
	size_t size = 0;

	/* read as a whole first: the list would change under its reader */
	if (!file)
		return;
	if (getdelim(&maps, &size, '\0', file) < 0)
		size = 0;
	fclose(file);
	for (char *rest = maps, *line; size && (line = strsep(&rest, "\n")); )
		mapping_let_go(line);
}

static void nursery_let_go(const struct fork_nursery *nursery)
{
	/* first: its signals write to an fd */
	tty_after_fork();
	setsid();
	fds_let_go(nursery);
	mappings_let_go();
	rcu_after_fork();
}

/* ---- one fork ---- */

static void fail(struct raise *raise, const struct fork_report *report)
{
	if (!raise->failed)
		raise->failure = *report;
	raise->failed = true;
}

static void fail_with(struct raise *raise, unsigned int index, int error, const char *what)
{
	struct fork_report report = { .index = index, .error = error };

	snprintf(report.text, sizeof(report.text), "%s: %s", what, strerrordesc_np(-error));
	fail(raise, &report);
}

/* Returns true in the new process. */
static bool start(struct raise *raise, struct fork_child **child, int *error)
{
	unsigned int index = raise->started;
	int ends[2];
	pid_t pid;

	*error = 0;
	if (pipe2(ends, O_CLOEXEC) < 0) {
		fail_with(raise, index, -errno, "its pipe");
		return false;
	}
	pid = fork();
	if (!pid) {
		close(raise->nursery->report_fd);
		for (unsigned int i = 0; i < raise->started; i++)
			if (raise->pipes[i].fd >= 0)
				close(raise->pipes[i].fd);
		close(ends[0]);
		*error = fork_child_begin(child, raise->nursery, index, ends[1]);
		return true;
	}
	close(ends[1]);
	if (pid < 0) {
		close(ends[0]);
		fail_with(raise, index, -errno, "its process");
		return false;
	}
	raise->pipes[index] = (struct pollfd){ .fd = ends[0], .events = POLLIN };
	raise->reports[index].pid = pid;
	raise->started++;
	raise->starting++;
	return false;
}

static void hear(struct raise *raise, unsigned int index)
{
	struct fork_report report;

	if (read(raise->pipes[index].fd, &report, sizeof(report)) != sizeof(report))
		report = (struct fork_report){ .error = -ECHILD, .text = "its process has ended" };
	close(raise->pipes[index].fd);
	raise->pipes[index].fd = -1;
	raise->starting--;
	report.index = index;
	report.pid = raise->reports[index].pid;
	raise->reports[index] = report;
	if (report.error)
		fail(raise, &report);
	else
		raise->running++;
}

static void hear_some(struct raise *raise)
{
	int ready = poll(raise->pipes, raise->started, SILENCE_MS);

	if (ready == 0)
		fail_with(raise, 0, -ETIMEDOUT, "they don't start");
	for (unsigned int i = 0; i < raise->started && ready > 0; i++)
		if (raise->pipes[i].fd >= 0 && raise->pipes[i].revents)
			hear(raise, i);
}

/* ---- all of them ---- */

/* Those that can't get on at once only hold one another up. */
static unsigned int at_once(void)
{
	return 2 * (unsigned int)MAX(get_nprocs(), 1);
}

/* Returns true in a fork. */
static bool start_all(struct raise *raise, struct fork_child **child, int *error)
{
	unsigned int most = at_once();

	while (!raise->failed && raise->running < raise->nursery->count) {
		while (!raise->failed && raise->starting < most && raise->started < raise->nursery->count)
			if (start(raise, child, error))
				return true;
		if (!raise->failed)
			hear_some(raise);
	}
	return false;
}

static bool ended(pid_t pid)
{
	return waitpid(pid, NULL, WNOHANG) != 0;
}

/* They take a signal for the end of a VM in good order, once their main loops run. */
static void end_all(struct raise *raise)
{
	uint64_t deadline = event_now_ns() + END_MS * 1000000ULL;

	for (unsigned int i = 0; i < raise->started; i++)
		kill(raise->reports[i].pid, SIGTERM);
	for (unsigned int i = 0; i < raise->started; i++) {
		pid_t pid = raise->reports[i].pid;
		_cleanup_free_ char *log = fork_log(raise->nursery, i);
		bool gone = ended(pid);

		for (; !gone && event_now_ns() < deadline; gone = ended(pid))
			usleep(END_STEP_US);
		if (!gone && !kill(pid, SIGKILL))
			waitpid(pid, NULL, 0);
		if (log)
			unlink(log);
	}
}

static void report_all(const struct raise *raise)
{
	const struct fork_nursery *nursery = raise->nursery;

	if (raise->failed) {
		if (write(nursery->report_fd, &raise->failure, sizeof(raise->failure)) < 0)
			log_debug("fork: the VM has ended");
		return;
	}
	for (unsigned int i = 0; i < nursery->count; i++)
		if (write(nursery->report_fd, &raise->reports[i], sizeof(raise->reports[i])) < 0)
			return;
}

int fork_raise(struct fork_nursery *nursery, struct fork_child **child)
{
	struct raise raise = { .nursery = nursery };
	int error = 0;
	bool forked = false;

	*child = NULL;
	nursery_let_go(nursery);
	raise.reports = calloc(nursery->count, sizeof(*raise.reports));
	raise.pipes = calloc(nursery->count, sizeof(*raise.pipes));
	if (!raise.reports || !raise.pipes)
		fail_with(&raise, 0, -ENOMEM, "the nursery");
	else
		forked = start_all(&raise, child, &error);
	if (!forked && raise.failed && raise.reports && raise.pipes)
		end_all(&raise);
	if (!forked)
		report_all(&raise);
	free(raise.reports);
	free(raise.pipes);
	return error;
}
