/* SPDX-License-Identifier: BSD-2-Clause */
/* The command: its descriptors, its user, and the way to its program. */
#include "init.h"

#include <asm/fcntl.h>
#include <asm/ioctls.h>
#include <asm/signal.h>
#include <asm/termios.h>

#define ENOENT		2
#define ENOTDIR		20
#define EACCES		13
#define STATUS_NOT_RUN	126	/* as shells have it */
#define STATUS_NOT_FOUND 127

static char *words[WORDS_MAX + 1], *environment[WORDS_MAX + 1];

/* ---- in the child ---- */

__attribute__((noreturn)) static void child_end(const char *what, const char *which, int status)
{
	struct line line = { .length = 0 };

	line_add(&line, "lkvm: ");
	line_add(&line, which);
	line_add(&line, what);
	line_add(&line, "\n");
	sys(__NR_write, 2, line.text, line.length);
	for (;;)
		sys(__NR_exit_group, status);
}

static void take_words(const struct setup *setup, const char *key, char **to)
{
	size_t at = 0, count = 0;
	const char *value;

	while (count < WORDS_MAX && (value = setup_next(setup, key, &at)))
		to[count++] = (char *)value;
	to[count] = NULL;
}

static void take_user(const struct setup *setup)
{
	const char *user = setup_get(setup, "user"), *value;
	uint32_t groups[GROUPS_MAX], uid, count = 0;
	size_t at = 0;
	long result;

	while (count < GROUPS_MAX && (value = setup_next(setup, "group", &at)))
		groups[count++] = (uint32_t)text_number(&value);
	if (!user || !count)
		return;
	uid = (uint32_t)text_number(&user);
	result = sys(__NR_setgroups, count, groups);
	if (result >= 0)
		result = sys(__NR_setresgid, groups[0], groups[0], groups[0]);
	if (result >= 0)
		result = sys(__NR_setresuid, uid, uid, uid);
	if (result < 0)
		child_end("can't become the user who called", "", STATUS_NOT_RUN);
}

static const char *variable(const char *name)
{
	for (size_t i = 0; environment[i]; i++) {
		const char *value = text_after(environment[i], name);

		if (value && *value == '=')
			return value + 1;
	}
	return NULL;
}

static bool has_slash(const char *text)
{
	while (*text)
		if (*text++ == '/')
			return true;
	return false;
}

/* Tries each folder of PATH; the last refusal that is more than "not there" counts. */
static long execute_by_path(const char *path)
{
	long refused = -ENOENT;

	while (*path) {
		struct line file = { .length = 0 };
		char letter[2] = "";
		long result;

		for (; *path && *path != ':'; path++) {
			letter[0] = *path;
			line_add(&file, letter);
		}
		line_add(&file, file.length ? "/" : "./");
		line_add(&file, words[0]);
		result = sys(__NR_execve, file.text, words, environment);
		if (result != -ENOENT && result != -ENOTDIR)
			refused = result;
		path += *path == ':';
	}
	return refused;
}

__attribute__((noreturn)) static void execute(void)
{
	const char *path = variable("PATH");
	long result;

	if (!words[0])
		child_end("no command", "", STATUS_NOT_RUN);
	result = has_slash(words[0]) ? sys(__NR_execve, words[0], words, environment) :
				       execute_by_path(path ? path : "/usr/local/bin:/usr/bin:/bin");
	if (result == -ENOENT)
		child_end(": not found", words[0], STATUS_NOT_FOUND);
	child_end(result == -EACCES ? ": no permission" : ": can't be run", words[0], STATUS_NOT_RUN);
}

__attribute__((noreturn)) static void child_main(const struct setup *setup, int in, int out, int error, bool tty)
{
	const char *cwd = setup_get(setup, "cwd");
	const uint64_t no_signals = 0;

	sys(__NR_setsid);
	sys(__NR_dup3, in, 0, 0);
	sys(__NR_dup3, out, 1, 0);
	sys(__NR_dup3, error, 2, 0);
	if (tty)
		sys(__NR_ioctl, 0, TIOCSCTTY, 0);
	sys(__NR_rt_sigprocmask, SIG_SETMASK, &no_signals, NULL, sizeof(no_signals));
	take_words(setup, "arg", words);
	take_words(setup, "env", environment);
	take_user(setup);
	if (cwd && sys(__NR_chdir, cwd) < 0)
		child_end(": no such folder in the guest", cwd, STATUS_NOT_RUN);
	execute();
}

/* ---- in PID 1 ---- */

static void make_pipe(int ends[2])
{
	long result = sys(__NR_pipe2, ends, O_CLOEXEC);

	if (result < 0)
		fail("no pipe", "", result);
}

void terminal_resize(int fd, const char *size)
{
	struct winsize window = { .ws_row = 0 };

	window.ws_row = (uint16_t)text_number(&size);
	window.ws_col = (uint16_t)text_number(&size);
	sys(__NR_ioctl, fd, TIOCSWINSZ, &window);
}

static int make_nonblocking(int fd)
{
	sys(__NR_fcntl, fd, F_SETFL, O_NONBLOCK);
	return fd;
}

static void make_terminal(const struct setup *setup, int *master, int *slave)
{
	const char *size = setup_get(setup, "size");
	int unlocked = 0;

	*master = sys_open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*master < 0)
		fail("no terminal: this kernel wants CONFIG_UNIX98_PTYS", "", *master);
	sys(__NR_ioctl, *master, TIOCSPTLCK, &unlocked);
	*slave = (int)sys(__NR_ioctl, *master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*slave < 0)
		fail("no terminal", "", *slave);
	if (size)
		terminal_resize(*master, size);
}

void child_start(const struct setup *setup, struct child *child)
{
	bool apart = setup_flag(setup, "stderr");
	int in[2], out[2], error[2];

	child->tty = setup_flag(setup, "tty");
	child->heartbeat = setup_flag(setup, "heartbeat");
	if (child->tty) {
		make_terminal(setup, &out[0], &out[1]);
		in[0] = out[1];
		in[1] = out[0];
	} else {
		make_pipe(in);
		make_pipe(out);
	}
	error[0] = -1;
	error[1] = out[1];
	if (apart)
		make_pipe(error);
	control_say("started\n");
	child->pid = sys(__NR_clone, SIGCHLD, 0, 0, 0, 0);
	if (!child->pid)
		child_main(setup, in[0], out[1], error[1], child->tty);
	if (child->pid < 0)
		fail("the command can't be started", "", child->pid);
	sys_close(in[0]);
	if (!child->tty)
		sys_close(out[1]);
	if (apart)
		sys_close(error[1]);
	child->in = make_nonblocking(in[1]);
	child->out = make_nonblocking(out[0]);
	child->error = apart ? make_nonblocking(error[0]) : -1;
}
