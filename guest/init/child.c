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
	long result;

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
	result = cwd ? sys(__NR_chdir, cwd) : 0;
	if (result < 0)
		child_end(result == -EACCES ? ": no permission for that folder" : ": no such folder in the guest", cwd, STATUS_NOT_RUN);
	execute();
}

/* ---- in PID 1 ---- */

void terminal_resize(int fd, const char *size)
{
	struct winsize window = { .ws_row = 0 };

	window.ws_row = (uint16_t)text_number(&size);
	window.ws_col = (uint16_t)text_number(&size);
	sys(__NR_ioctl, fd, TIOCSWINSZ, &window);
}

static void make_nonblocking(int fd)
{
	if (fd >= 0)
		sys(__NR_fcntl, fd, F_SETFL, O_NONBLOCK);
}

static long make_terminal(const struct setup *setup, int *master, int *slave)
{
	const char *size = setup_get(setup, "size");
	int unlocked = 0;

	*master = sys_open("/dev/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (*master < 0)
		return *master;
	sys(__NR_ioctl, *master, TIOCSPTLCK, &unlocked);
	*slave = (int)sys(__NR_ioctl, *master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (size)
		terminal_resize(*master, size);
	return *slave < 0 ? *slave : 0;
}

/* Their ends: theirs[0] to [2] are the command's; *child has ours. */
static long make_streams(const struct setup *setup, struct child *child, int theirs[3])
{
	int in[2] = { -1, -1 }, out[2] = { -1, -1 }, error[2] = { -1, -1 };
	long result;

	if (child->tty) {
		result = make_terminal(setup, &out[0], &out[1]);
		in[0] = out[1];
		in[1] = out[0];
	} else {
		result = sys(__NR_pipe2, in, O_CLOEXEC);
		if (result >= 0)
			result = sys(__NR_pipe2, out, O_CLOEXEC);
	}
	if (result >= 0 && setup_flag(setup, "stderr"))
		result = sys(__NR_pipe2, error, O_CLOEXEC);
	theirs[0] = in[0];
	theirs[1] = out[1];
	theirs[2] = error[1];
	child->in = in[1];
	child->out = out[0];
	child->error = error[0];
	return result;
}

static void close_one(int *fd)
{
	if (*fd >= 0)
		sys_close(*fd);
	*fd = -1;
}

void child_close(struct child *child)
{
	if (child->in != child->out)
		close_one(&child->in);
	close_one(&child->out);
	close_one(&child->error);
	child->in = -1;
}

long child_start(const struct setup *setup, struct child *child)
{
	int theirs[3];
	long result;

	child->tty = setup_flag(setup, "tty");
	child->heartbeat = setup_flag(setup, "heartbeat");
	child->pid = 0;
	result = make_streams(setup, child, theirs);
	if (result >= 0) {
		result = child->pid = sys(__NR_clone, SIGCHLD, 0, 0, 0, 0);
		if (!child->pid)
			child_main(setup, theirs[0], theirs[1], theirs[2] >= 0 ? theirs[2] : theirs[1], child->tty);
	}
	if (theirs[0] != theirs[1])
		close_one(&theirs[0]);
	close_one(&theirs[1]);
	close_one(&theirs[2]);
	if (result < 0) {
		child_close(child);
		return result;
	}
	make_nonblocking(child->in);
	make_nonblocking(child->out);
	make_nonblocking(child->error);
	return 0;
}
