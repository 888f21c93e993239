/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One try of a run: `lkvm run` of this same program, with its output read line by line, into a log and for KTAP.
 *
 * It leads a process group, so that the terminal's Ctrl-C is ours alone; should this process die, the kernel tells it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ktest/text.h"
#include "kvm/log.h"
#include "test.h"

#define NS_PER_S	1000000000ULL
#define GRACE_S		5		/* between SIGTERM and SIGKILL */
#define LINE_SIZE	4096
#define LOG_MAX		MIB(64)
#define LOG_NAME_MAX	80
#define REPORT_MAX	KIB(64)
#define READS_MAX	16		/* at a time, so that one guest doesn't hold up the others */

struct stream {
	struct event_source source;
	struct test_process *process;
	struct ktap *ktap;
	bool is_error;
	size_t length;
	char line[LINE_SIZE];
};

struct test_process {
	struct test_session *session;
	struct ktest_run *run;
	pid_t pid;
	int report;			/* memory that it writes its report to */
	struct event_source exited;
	struct event_timer timer;
	struct stream output, error;
	FILE *log;
	uint64_t logged;
	enum ktest_outcome why;		/* that it was ended by us, or KTEST_NOT_RUN */
};

static struct ktest_try *current_try(const struct test_process *process)
{
	return &process->run->tries[process->run->try_count - 1];
}

/* ---- its output ---- */

static void log_bytes(struct test_process *process, const char *bytes, size_t length, bool whole)
{
	if (process->logged > LOG_MAX)
		return;
	process->logged += length + 1;
	if (process->logged > LOG_MAX) {
		fputs("lkvm: the rest is left out: it is too much\n", process->log);
		return;
	}
	fwrite(bytes, 1, length, process->log);
	if (whole)
		fputc('\n', process->log);
}

/* @whole: its end was seen; else it goes on in the next one */
static void take_line(struct stream *stream, bool whole)
{
	char text[512];

	log_bytes(stream->process, stream->line, stream->length, whole);
	ktap_line(stream->ktap, stream->line, stream->length);
	if (stream->is_error) {
		size_t length = stream->length - (stream->length && stream->line[stream->length - 1] == '\r');

		text_clean(text, sizeof(text), stream->line, length, false);
		ktest_note(current_try(stream->process), text);
	}
	stream->length = 0;
}

static void take_bytes(struct stream *stream, const char *bytes, size_t length)
{
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] == '\n') {
			take_line(stream, true);
			continue;
		}
		stream->line[stream->length++] = bytes[i];
		if (stream->length == LINE_SIZE)
			take_line(stream, false);
	}
}

/* Whether there may be more now. */
static bool take_some(struct stream *stream)
{
	char bytes[4096];
	ssize_t n = stream->source.loop ? read(stream->source.fd, bytes, sizeof(bytes)) : 0;

	if (n > 0) {
		take_bytes(stream, bytes, (size_t)n);
		return true;
	}
	if (n < 0 && errno == EINTR)
		return true;
	if ((n < 0 && errno == EAGAIN) || !stream->source.loop)
		return false;
	event_del(&stream->source);
	close(stream->source.fd);
	return false;
}

static void stream_ready(struct event_source *source, uint32_t events)
{
	struct stream *stream = container_of(source, struct stream, source);

	(void)events;
	for (unsigned int i = 0; i < READS_MAX && take_some(stream); i++)
		;
	fflush(stream->process->log);
}

/* What its process group still holds open is not waited for. */
static void stream_finish(struct stream *stream)
{
	for (uint64_t i = 0; i < LOG_MAX / LINE_SIZE && take_some(stream); i++)
		;
	if (stream->length)
		take_line(stream, true);
	if (stream->source.loop) {
		event_del(&stream->source);
		close(stream->source.fd);
	}
	ktap_end(stream->ktap);
}

static int stream_open(struct stream *stream, struct test_process *process, bool is_error, int *child_end)
{
	int ends[2], result;

	stream->process = process;
	stream->is_error = is_error;
	stream->ktap = ktap_new(is_error ? KTAP_CONSOLE : KTAP_OUTPUT);
	if (!stream->ktap || pipe2(ends, O_CLOEXEC) < 0)
		return stream->ktap ? -errno : -ENOMEM;
	result = fcntl(ends[0], F_SETFL, O_NONBLOCK) < 0 ? -errno : 0;
	if (!result)
		result = event_add(process->session->loop, &stream->source, ends[0], EPOLLIN, stream_ready);
	*child_end = ends[1];
	if (result)
		close(ends[0]);
	return result;
}

/* ---- its end ---- */

static char *read_report(int fd)
{
	char *text = calloc(1, REPORT_MAX + 1);
	ssize_t length = text ? pread(fd, text, REPORT_MAX, 0) : 0;

	if (length > 0)
		return text;
	free(text);
	return NULL;
}

static void process_free(struct test_process *process)
{
	if (process->exited.loop) {
		event_del(&process->exited);
		close(process->exited.fd);
	}
	event_timer_cancel(&process->timer);
	if (process->log)
		fclose(process->log);
	if (process->report >= 0)
		close(process->report);
	process->run->process = NULL;
	free(process);
}

static void judge(struct test_process *process, int status)
{
	struct ktest_try *try = current_try(process);
	_cleanup_free_ char *report = read_report(process->report);

	try->ended_ns = event_now_ns();
	try->status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	try->outcome = process->why;
	try->output = process->output.ktap;
	try->console = process->error.ktap;
	ktest_judge(try, report);
}

static void process_exited(struct event_source *source, uint32_t events)
{
	struct test_process *process = container_of(source, struct test_process, exited);
	struct test_session *session = process->session;
	struct ktest_run *run = process->run;
	int status;

	(void)events;
	if (waitpid(process->pid, &status, WNOHANG) != process->pid)
		return;
	stream_finish(&process->output);
	stream_finish(&process->error);
	judge(process, status);
	process_free(process);
	test_session_ended(session, run);
}

static void time_is_over(struct event_timer *timer)
{
	test_process_stop(container_of(timer, struct test_process, timer)->run, KTEST_TIMEOUT);
}

void test_process_stop(struct ktest_run *run, enum ktest_outcome why)
{
	struct test_process *process = run->process;

	if (process->why == KTEST_NOT_RUN) {
		process->why = why;
		kill(process->pid, SIGTERM);
	} else {
		kill(-process->pid, SIGKILL);
	}
	event_timer_set(&process->timer, event_now_ns() + GRACE_S * NS_PER_S);
}

/* ---- its beginning ---- */

/* Without what a file had better not be called by. */
static char *log_name(const struct test_process *process)
{
	const struct ktest_run *run = process->run;
	size_t index = (size_t)(run - process->session->test.runs) + 1;
	char name[LOG_NAME_MAX + 1], *path;

	snprintf(name, sizeof(name), "%s", run->name);
	for (char *at = name; *at; at++)
		if (!strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-", *at))
			*at = '_';
	return asprintf(&path, "%04zu-%s.%u.log", index, name, run->try_count) < 0 ? NULL : path;
}

static int open_log(struct test_process *process)
{
	struct ktest_try *try = current_try(process);
	_cleanup_free_ char *path = NULL;

	try->log = log_name(process);
	if (!try->log || asprintf(&path, "%s/%s", process->session->test.folder, try->log) < 0)
		return log_errno(ENOMEM, "test");
	process->log = fopen(path, "we");
	return process->log ? 0 : log_errno(errno, "test: '%s'", path);
}

static void child_main(const struct test_process *process, int output, int error, pid_t parent)
{
	_cleanup_free_ char *report = NULL;
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	size_t count = 0;
	const char **words;
	sigset_t none;

	while (process->run->argv[count])
		count++;
	words = calloc(count + 4, sizeof(*words));
	if (!words || asprintf(&report, "--report=/proc/self/fd/%d", process->report) < 0)
		_exit(LKVM_STATUS_ERROR);
	words[0] = "lkvm";
	words[1] = "run";
	words[2] = report;
	memcpy(words + 3, process->run->argv, count * sizeof(*words));
	setpgid(0, 0);
	prctl(PR_SET_PDEATHSIG, SIGTERM);
	if (getppid() != parent || null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(output, STDOUT_FILENO) < 0 ||
	    dup2(error, STDERR_FILENO) < 0 || fcntl(process->report, F_SETFD, 0) < 0)
		_exit(LKVM_STATUS_ERROR);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	signal(SIGPIPE, SIG_DFL);
	execv("/proc/self/exe", (char **)words);
	log_errno(errno, "test: lkvm can't be started");
	_exit(LKVM_STATUS_ERROR);
}

static int begin(struct test_process *process, int output, int error)
{
	pid_t parent = getpid();
	int fd, result;

	process->report = memfd_create("lkvm-report", MFD_CLOEXEC);
	if (process->report < 0)
		return -errno;
	current_try(process)->started_ns = event_now_ns();
	process->pid = fork();
	if (!process->pid)
		child_main(process, output, error, parent);
	if (process->pid < 0)
		return -errno;
	setpgid(process->pid, process->pid);
	fd = (int)syscall(SYS_pidfd_open, process->pid, 0);
	result = fd < 0 ? -errno : event_add(process->session->loop, &process->exited, fd, EPOLLIN, process_exited);
	if (!result)
		return 0;
	if (fd >= 0)
		close(fd);
	kill(-process->pid, SIGKILL);
	waitpid(process->pid, NULL, 0);
	return result;
}

static int try_start(struct test_process *process)
{
	_cleanup_close_ int output = -1, error = -1;
	int result = open_log(process);

	if (!result)
		result = stream_open(&process->output, process, false, &output);
	if (!result)
		result = stream_open(&process->error, process, true, &error);
	return result ? result : begin(process, output, error);
}

int test_process_start(struct test_session *session, struct ktest_run *run)
{
	struct test_process *process = calloc(1, sizeof(*process));
	struct ktest_try *try = process ? ktest_run_try(run) : NULL;
	int result;

	if (!try) {
		free(process);
		return log_errno(ENOMEM, "test: %s", run->name);
	}
	process->session = session;
	process->run = run;
	process->report = -1;
	try->started_ns = event_now_ns();
	event_timer_init(session->loop, &process->timer, time_is_over);
	run->process = process;
	result = try_start(process);
	if (!result) {
		if (run->timeout_s)
			event_timer_set(&process->timer, try->started_ns + run->timeout_s * NS_PER_S);
		return 0;
	}
	log_errno(result, "test: %s can't be started", run->name);
	try->outcome = KTEST_HOST_ERROR;
	try->reason = strdup(strerrordesc_np(-result));
	try->ended_ns = event_now_ns();
	try->output = process->output.ktap;
	try->console = process->error.ktap;
	if (process->output.ktap)
		stream_finish(&process->output);
	if (process->error.ktap)
		stream_finish(&process->error);
	process_free(process);
	return result;
}
