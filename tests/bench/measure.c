/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Measures whole runs of commands that use KVM, in turn, so that a machine whose speed drifts does them
 * equal harm: exec to first KVM_RUN, whole life, CPU time.
 *
 *	measure [-n RUNS] [-f | -o MARKER | -g MARKER | -s MARKER] NAME COMMAND... [+ NAME COMMAND...]...
 *
 * Prints one line a run:
 *	no option	NAME life_us cpu_us status	to the command's end
 *	-f		NAME first_us			to the first KVM_RUN of any of its threads, seen by a seccomp
 *							filter that stops just that ioctl for the tracer
 *	-o MARKER	NAME marker_us			until MARKER stands in its output
 *	-g MARKER	NAME WORDS...			what follows MARKER on its line
 *	-s MARKER	NAME rss_kb private_kb guest_kb	its memory then, without the mappings of guest RAM
 * All but the first kill the command at that point. -1 stands for a command that ended too early, or didn't say
 * MARKER within LIMIT_MS.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

static double now_us(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (double)now.tv_sec * 1e6 + (double)now.tv_nsec / 1e3;
}

static void quiet(void)
{
	int null = open("/dev/null", O_RDWR);

	dup2(null, 0);
	if (!getenv("MEASURE_SHOW")) {
		dup2(null, 1);
		dup2(null, 2);
	}
}

static void filter_kvm_run(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 3),
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1])),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, KVM_RUN, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_TRACE),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = { sizeof(code) / sizeof(code[0]), code };

	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program))
		_exit(126);
}

static void measure_life(const char *name, char **command)
{
	double begin = now_us(), end;
	struct rusage usage;
	pid_t child = fork();
	int status;

	if (!child) {
		quiet();
		execvp(command[0], command);
		_exit(127);
	}
	wait4(child, &status, 0, &usage);
	end = now_us();
	printf("%s %.0f %.0f %d\n", name, end - begin,
	       (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1e6 +
	       (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec),
	       WIFEXITED(status) ? WEXITSTATUS(status) : 256 + WTERMSIG(status));
}

static void measure_first(const char *name, char **command)
{
	const long options = PTRACE_O_TRACESECCOMP | PTRACE_O_TRACECLONE | PTRACE_O_EXITKILL | PTRACE_O_TRACEEXEC;
	pid_t child = fork(), pid;
	double begin = 0;
	int status;

	if (!child) {
		quiet();
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		filter_kvm_run();
		execvp(command[0], command);
		_exit(127);
	}
	waitpid(child, &status, 0);
	ptrace(PTRACE_SETOPTIONS, child, NULL, options);
	ptrace(PTRACE_CONT, child, NULL, 0);
	while ((pid = waitpid(-1, &status, __WALL)) > 0) {
		int event = status >> 16, signal = 0;

		if (!WIFSTOPPED(status)) {
			if (pid == child) {
				printf("%s -1\n", name);
				return;
			}
			continue;
		}
		if (event == PTRACE_EVENT_EXEC)
			begin = now_us();
		if (event == PTRACE_EVENT_SECCOMP) {
			printf("%s %.0f\n", name, now_us() - begin);
			kill(child, SIGKILL);
			while (waitpid(-1, &status, __WALL) > 0)
				;
			return;
		}
		if (!event && WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP)
			signal = WSTOPSIG(status);
		ptrace(PTRACE_CONT, pid, NULL, signal);
	}
}

/* lkvm's guest RAM has a name; QEMU's is an anonymous mapping, and nothing else of a VMM is that large. */
#define GUEST_MAPPING_KB	(64 * 1024)
#define GUEST_MAPPING_NAME	"lkvm-ram"

static void print_memory(const char *name, pid_t pid)
{
	unsigned long rss = 0, private = 0, guest = 0, begin, end, value;
	int is_guest = 0;
	char path[64], line[512];
	FILE *smaps;

	snprintf(path, sizeof(path), "/proc/%d/smaps", (int)pid);
	smaps = fopen(path, "r");
	while (smaps && fgets(line, sizeof(line), smaps)) {
		if (sscanf(line, "%lx-%lx ", &begin, &end) == 2)
			is_guest = (end - begin) / 1024 >= GUEST_MAPPING_KB || strstr(line, GUEST_MAPPING_NAME);
		else if (sscanf(line, "Rss: %lu", &value) == 1)
			*(is_guest ? &guest : &rss) += value;
		else if (!is_guest && (sscanf(line, "Private_Clean: %lu", &value) == 1 ||
				       sscanf(line, "Private_Dirty: %lu", &value) == 1))
			private += value;
	}
	if (smaps)
		fclose(smaps);
	printf("%s %lu %lu %lu\n", name, rss, private, guest);
}

#define LIMIT_MS	120000
#define OUTPUT_MAX	8192

/*
 * Reads until the marker has come, and the end of its line if @rest (of OUTPUT_MAX bytes) is given, which then
 * holds what stood behind it. What came before is kept only as far as the marker could begin in it.
 */
static int wait_for_marker(int fd, const char *marker, char *rest)
{
	double limit = now_us() + LIMIT_MS * 1e3;
	size_t length = strlen(marker), have = 0;
	char buffer[OUTPUT_MAX], *found, *end;
	struct pollfd wait = { .fd = fd, .events = POLLIN };

	for (;;) {
		int left = (int)((limit - now_us()) / 1e3);
		ssize_t got;

		if (left <= 0 || poll(&wait, 1, left) <= 0)
			return -1;
		got = read(fd, buffer + have, sizeof(buffer) - have);
		if (got <= 0)
			return -1;
		if (getenv("MEASURE_SHOW"))
			fwrite(buffer + have, 1, (size_t)got, stderr);
		have += (size_t)got;
		found = memmem(buffer, have, marker, length);
		if (found && !rest)
			return 0;
		end = found ? memchr(found, '\n', have - (size_t)(found - buffer)) : NULL;
		if (end) {
			found += length;
			snprintf(rest, OUTPUT_MAX, "%.*s", (int)strcspn(found, "\r\n"), found);
			return 0;
		}
		if (found && have == sizeof(buffer))
			return -1;
		if (!found && have >= length) {
			memmove(buffer, buffer + have - (length - 1), length - 1);
			have = length - 1;
		}
	}
}

enum at_marker { TIME, WORDS, MEMORY };

static void measure_marker(const char *name, char **command, const char *marker, enum at_marker what)
{
	double begin = now_us(), end;
	char rest[OUTPUT_MAX];
	int output[2], status, found;
	pid_t child;

	if (pipe(output))
		return;
	child = fork();
	if (!child) {
		quiet();
		dup2(output[1], 1);
		close(output[0]);
		close(output[1]);
		execvp(command[0], command);
		_exit(127);
	}
	close(output[1]);
	found = wait_for_marker(output[0], marker, what == WORDS ? rest : NULL) == 0;
	end = now_us();
	if (!found) {
		printf("%s -1\n", name);
	} else if (what == TIME) {
		printf("%s %.0f\n", name, end - begin);
	} else if (what == WORDS) {
		printf("%s %s\n", name, rest);
	} else {
		sleep(1);
		print_memory(name, child);
	}
	kill(child, SIGKILL);
	close(output[0]);
	waitpid(child, &status, 0);
}

int main(int argc, char **argv)
{
	enum at_marker what = TIME;
	int runs = 10, option, first = 0;
	const char *marker = NULL;

	while ((option = getopt(argc, argv, "+n:fo:g:s:")) != -1) {
		if (option == 'n')
			runs = (int)strtol(optarg, NULL, 10);
		else if (option == 'f')
			first = 1;
		else if (option == 'o' || option == 'g' || option == 's')
			marker = optarg, what = option == 'o' ? TIME : option == 'g' ? WORDS : MEMORY;
		else
			return 2;
	}
	argc -= optind;
	argv += optind;
	for (int i = 0; i < argc; i++)
		if (!strcmp(argv[i], "+"))
			argv[i] = NULL;
	for (int run = 0; run < runs; run++) {
		for (int at = 0; at + 1 < argc; ) {
			if (marker)
				measure_marker(argv[at], argv + at + 1, marker, what);
			else
				(first ? measure_first : measure_life)(argv[at], argv + at + 1);
			fflush(stdout);
			while (at < argc && argv[at])
				at++;
			at++;
		}
	}
	return 0;
}
