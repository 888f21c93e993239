/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The user's tty: raw mode and its way back.
 *
 * While a guest has the tty, keys go to it unprocessed. The tty is put back when the VM ends, when a signal
 * kills the process, and while it is stopped; it is made raw again when the process continues in the
 * foreground. In the background we touch nothing: the tty is the shell's.
 *
 * A tty belongs to the process and signal handlers can be given no argument, so that this file holds the one
 * piece of state that can't hang from a VM. tty_take() and tty_release() run on the main thread; the rest is
 * read by signal handlers, which use async-signal-safe calls only.
 */
#include "kvm/tty.h"

#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <termios.h>

#include "kvm/terminal.h"

static void tty_fatal(int signal_number);
static void tty_stop(int signal_number);
static void tty_changed(int signal_number);

/* Caught only if nobody else has: `lkvm run` ends a VM in good order at SIGTERM, where it is used. */
static const struct tty_signal {
	int number;
	void (*handler)(int signal_number);
} tty_signals[] = {
	{ SIGHUP, tty_fatal },	{ SIGINT, tty_fatal },	{ SIGQUIT, tty_fatal },	{ SIGTERM, tty_fatal },
	{ SIGILL, tty_fatal },	{ SIGABRT, tty_fatal },	{ SIGBUS, tty_fatal },	{ SIGFPE, tty_fatal },
	{ SIGSEGV, tty_fatal },	{ SIGSYS, tty_fatal },	{ SIGXCPU, tty_fatal },	{ SIGALRM, tty_fatal },
	{ SIGUSR1, tty_fatal }, { SIGUSR2, tty_fatal }, { SIGTRAP, tty_fatal },	{ SIGIO, tty_fatal },
	{ SIGPROF, tty_fatal }, { SIGVTALRM, tty_fatal }, { SIGPWR, tty_fatal }, { SIGXFSZ, tty_fatal },
	{ SIGTSTP, tty_stop },	{ SIGCONT, tty_changed }, { SIGWINCH, tty_changed },
	/* A background job that writes with TOSTOP set, or reads, shall get an error instead of being stopped. */
	{ SIGTTOU, SIG_IGN },	{ SIGTTIN, SIG_IGN },
};

static struct {
	atomic_int fd;		/* -1: nobody has the tty */
	atomic_bool raw;
	int notify_fd;
	struct termios cooked_mode, raw_mode;
	struct sigaction before[ARRAY_SIZE(tty_signals)];
	bool caught[ARRAY_SIZE(tty_signals)];
} tty_owner = { .fd = -1, .notify_fd = -1 };

/* No controlling tty, or not this one: there is no job control to obey. */
static bool tty_foreground(int fd)
{
	pid_t group = tcgetpgrp(fd);

	return group < 0 || group == getpgrp();
}

bool tty_enter_raw(int fd)
{
	if (!tty_foreground(fd))
		return false;
	if (atomic_load(&tty_owner.fd) != fd)
		return true;
	/* First the mark: a signal between the two restores what is not yet changed, which is harmless. */
	atomic_store(&tty_owner.raw, true);
	tcsetattr(fd, TCSANOW, &tty_owner.raw_mode);
	return true;
}

void terminal_restore_all(void)
{
	int fd = atomic_load(&tty_owner.fd), saved = errno;

	if (fd >= 0 && atomic_exchange(&tty_owner.raw, false) && tty_foreground(fd))
		tcsetattr(fd, TCSANOW, &tty_owner.cooked_mode);
	errno = saved;
}

static void tty_notify(void)
{
	uint64_t one = 1;
	ssize_t ignored = write(tty_owner.notify_fd, &one, sizeof(one));

	(void)ignored;
}

static void tty_fatal(int signal_number)
{
	terminal_restore_all();
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

static void tty_changed(int signal_number)
{
	int saved = errno, fd = atomic_load(&tty_owner.fd);

	/* The shell may have set its own modes while we were stopped, even by SIGSTOP. */
	if (signal_number == SIGCONT && fd >= 0)
		tty_enter_raw(fd);
	tty_notify();
	errno = saved;
}

static void tty_stop(int signal_number)
{
	int saved = errno;

	(void)signal_number;
	terminal_restore_all();
	kill(getpid(), SIGSTOP);
	/* SIGCONT's handler makes the tty raw again. */
	errno = saved;
}

static void tty_catch_signals(void)
{
	struct sigaction action;

	for (size_t i = 0; i < ARRAY_SIZE(tty_signals); i++) {
		memset(&action, 0, sizeof(action));
		sigemptyset(&action.sa_mask);
		action.sa_handler = tty_signals[i].handler;
		action.sa_flags = SA_RESTART;
		if (action.sa_handler == tty_fatal)
			action.sa_flags |= SA_NODEFER;
		tty_owner.caught[i] = sigaction(tty_signals[i].number, NULL, &tty_owner.before[i]) == 0 &&
			tty_owner.before[i].sa_handler == SIG_DFL &&
			sigaction(tty_signals[i].number, &action, NULL) == 0;
	}
}

static void tty_leave_signals(void)
{
	struct sigaction now;

	for (size_t i = 0; i < ARRAY_SIZE(tty_signals); i++) {
		if (tty_owner.caught[i] && sigaction(tty_signals[i].number, NULL, &now) == 0 &&
		    now.sa_handler == tty_signals[i].handler)
			sigaction(tty_signals[i].number, &tty_owner.before[i], NULL);
		tty_owner.caught[i] = false;
	}
}

int tty_take(int fd)
{
	struct termios *raw = &tty_owner.raw_mode;
	unsigned int number;

	/* The master of a pty that was made for the guest: its modes are nobody else's business. */
	if (ioctl(fd, TIOCGPTN, &number) == 0)
		return -ENOTTY;
	if (atomic_load(&tty_owner.fd) >= 0)
		return -EBUSY;
	if (tcgetattr(fd, &tty_owner.cooked_mode) < 0)
		return -errno;
	tty_owner.notify_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (tty_owner.notify_fd < 0)
		return -errno;
	*raw = tty_owner.cooked_mode;
	raw->c_iflag &= ~(tcflag_t)(IGNBRK | BRKINT | PARMRK | ISTRIP | INLCR | IGNCR | ICRNL | IXON);
	/* OPOST stays: our own messages on the same tty end in a bare newline. */
	raw->c_lflag &= ~(tcflag_t)(ECHO | ECHONL | ICANON | ISIG | IEXTEN);
	raw->c_cc[VMIN] = 1;
	raw->c_cc[VTIME] = 0;
	atomic_store(&tty_owner.fd, fd);
	tty_catch_signals();
	tty_enter_raw(fd);
	return tty_owner.notify_fd;
}

void tty_raw_output(int fd)
{
	if (atomic_load(&tty_owner.fd) != fd)
		return;
	tty_owner.raw_mode.c_oflag &= ~(tcflag_t)OPOST;
	if (atomic_load(&tty_owner.raw))
		tty_enter_raw(fd);
}

void tty_release(int fd)
{
	if (atomic_load(&tty_owner.fd) != fd)
		return;
	terminal_restore_all();
	tty_leave_signals();
	atomic_store(&tty_owner.fd, -1);
	close(tty_owner.notify_fd);
	tty_owner.notify_fd = -1;
}

void tty_after_fork(void)
{
	atomic_store(&tty_owner.raw, false);
	tty_leave_signals();
	atomic_store(&tty_owner.fd, -1);
	tty_owner.notify_fd = -1;
}

int tty_reopen(int fd, int flags)
{
	struct stat before, after;
	unsigned int number;
	char path[32];
	int new;

	/* A pty's master is opened through /dev/ptmx, which would make another pty. */
	if (ioctl(fd, TIOCGPTN, &number) == 0)
		return -EINVAL;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	new = open(path, flags | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	if (new < 0)
		return -errno;
	if (fstat(fd, &before) < 0 || fstat(new, &after) < 0 || before.st_ino != after.st_ino ||
	    before.st_rdev != after.st_rdev) {
		close(new);
		return -ENXIO;
	}
	return new;
}
