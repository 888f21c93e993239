/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm up: starts the VMs of a file, each as `lkvm run --config FILE --name NAME` in the background. All come up or
 * none: if one fails, those that were started here are ended again.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "kvm/command.h"
#include "kvm/config-file.h"
#include "kvm/control.h"
#include "kvm/event.h"
#include "kvm/log.h"
#include "kvm/runtime-directory.h"

#define WAIT_S_DEFAULT	"30"
#define POLL_US		20000
#define GREETING_MS	250
#define LINE_SIZE	256

static const struct option_def up_options[] = {
	{ .name = "timeout", .letter = 't', .type = OPTION_UINT, .argument = "SECONDS", .max = 86400, .fallback = WAIT_S_DEFAULT,
	  .help = "How long all may take until they answer on their control sockets" },
};

struct started {
	const char *name;
	char *log;		/* where its console and messages go */
	pid_t pid;		/* 0: ran before */
	bool answers;
};

/* ---- one VM ---- */

static void child_main(const char *file, const char *name, int log)
{
	const char *const words[] = { "lkvm", "run", "--config", file, "--name", name, NULL };
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);

	setsid();
	if (null < 0 || dup2(null, STDIN_FILENO) < 0 || dup2(log, STDOUT_FILENO) < 0 || dup2(log, STDERR_FILENO) < 0)
		_exit(LKVM_STATUS_ERROR);
	execv("/proc/self/exe", (char **)words);
	log_errno(errno, "up: %s can't be started", name);
	_exit(LKVM_STATUS_ERROR);
}

static int start(struct started *vm, const char *file, const char *folder)
{
	_cleanup_close_ int log = -1;

	if (asprintf(&vm->log, "%s/%s.log", folder, vm->name) < 0) {
		vm->log = NULL;
		return log_errno(ENOMEM, "up");
	}
	log = open(vm->log, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (log < 0)
		return log_errno(errno, "up: '%s', where the output of %s would go", vm->log, vm->name);
	vm->pid = fork();
	if (!vm->pid)
		child_main(file, vm->name, log);
	return vm->pid < 0 ? log_errno(errno, "up: %s can't be started", vm->name) : 0;
}

/* The last line of what it said, which is why it ended. */
static void last_line(const char *path, char line[LINE_SIZE])
{
	FILE *file = fopen(path, "re");
	char text[LINE_SIZE];

	line[0] = '\0';
	while (file && fgets(text, sizeof(text), file)) {
		text[strcspn(text, "\r\n")] = '\0';
		if (text[0])
			memcpy(line, text, sizeof(text));
	}
	if (file)
		fclose(file);
}

/* -ECHILD (said): it failed. A VM that did its work and ended meanwhile has come up. */
static int check_child(struct started *vm)
{
	char line[LINE_SIZE];
	int status;

	if (!vm->pid || waitpid(vm->pid, &status, WNOHANG) != vm->pid)
		return 0;
	vm->pid = 0;
	vm->answers = true;
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	last_line(vm->log, line);
	return log_error(ECHILD, "up: %s ended with status %d: '%s' (all of it is in %s)", vm->name,
			 WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status), line, vm->log);
}

/* ---- all of them ---- */

struct all {
	struct started *vms;
	size_t count;
};

static void note_answer(const char *name, void *opaque)
{
	const struct all *all = opaque;

	for (size_t i = 0; i < all->count; i++)
		if (strcmp(all->vms[i].name, name) == 0)
			all->vms[i].answers = true;
}

static struct started *first_silent(const struct all *all)
{
	for (size_t i = 0; i < all->count; i++)
		if (!all->vms[i].answers)
			return &all->vms[i];
	return NULL;
}

static void hush(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

/*
 * Its socket is there early, but the greeting comes from its main loop: all that it needs has been opened by then. That it
 * doesn't greet yet is nothing to be said.
 */
static bool greets(const char *name)
{
	struct qmp_client *client;
	int result;

	log_set_sink(hush);
	result = control_connect(name, GREETING_MS, &client);
	log_set_sink(NULL);
	if (!result)
		control_disconnect(client);
	return !result;
}

static int wait_all(struct all *all, uint64_t seconds)
{
	uint64_t end = event_now_ns() + seconds * 1000000000;
	int result = 0;

	while (!result) {
		for (size_t i = 0; i < all->count && !result; i++) {
			result = check_child(&all->vms[i]);
			if (!result && !all->vms[i].answers)
				all->vms[i].answers = greets(all->vms[i].name);
		}
		if (result || !first_silent(all))
			break;
		if (event_now_ns() > end)
			return log_error(ETIMEDOUT, "up: %s doesn't answer (what it says is in %s)", first_silent(all)->name,
					 first_silent(all)->log);
		usleep(POLL_US);
	}
	return result;
}

static void end_all(const struct all *all)
{
	for (size_t i = 0; i < all->count; i++)
		if (all->vms[i].pid > 0)
			kill(all->vms[i].pid, SIGTERM);
	for (size_t i = 0; i < all->count; i++)
		if (all->vms[i].pid > 0)
			waitpid(all->vms[i].pid, NULL, 0);
}

static void report(const struct all *all)
{
	for (size_t i = 0; i < all->count; i++) {
		const struct started *vm = &all->vms[i];

		if (vm->pid)
			printf("%-20s started, PID %d, output in %s\n", vm->name, (int)vm->pid, vm->log);
		else
			printf("%-20s %s\n", vm->name, vm->log ? "has ended already" : "runs already");
	}
}

static int start_all(struct all *all, const char *file, uint64_t seconds)
{
	_cleanup_free_ char *folder = NULL;
	int result = runtime_directory(&folder, true);

	if (result)
		return log_errno(result, "up: the folder of control sockets%s%s", folder ? " " : "", folder ? folder : "");
	result = control_for_each(note_answer, all);
	for (size_t i = 0; i < all->count && !result; i++)
		if (!all->vms[i].answers)
			result = start(&all->vms[i], file, folder);
	if (!result)
		result = wait_all(all, seconds);
	if (result)
		end_all(all);
	else
		report(all);
	return result;
}

static int up_run(struct config *config, int argc, char **argv)
{
	struct config_file_names names;
	struct all all = { .vms = NULL };
	int result;

	if (argc != 1) {
		log_error(EINVAL, "up: which file? (say one FILE)");
		return LKVM_STATUS_USAGE;
	}
	result = config_file_names(&names, argv[0]);
	if (!result && !names.count)
		result = log_error(ENOENT, "%s: has no VM (say [vm \"NAME\"] before its options)", argv[0]);
	all.vms = calloc(names.count + 1, sizeof(*all.vms));
	if (!result && !all.vms)
		result = log_errno(ENOMEM, "up");
	for (; !result && all.count < names.count; all.count++)
		all.vms[all.count].name = names.names[all.count];
	if (!result)
		result = start_all(&all, argv[0], config_uint(config, "timeout"));
	for (size_t i = 0; i < all.count; i++)
		free(all.vms[i].log);
	free(all.vms);
	config_file_names_free(&names);
	return result || fflush(stdout) ? LKVM_STATUS_ERROR : 0;
}

static struct command up_command = {
	.name = "up",
	.operands = "FILE",
	.help = "Start all VMs of a file in the background",
	.options = up_options,
	.option_count = ARRAY_SIZE(up_options),
	.run = up_run,
};
COMMAND(up_command);
