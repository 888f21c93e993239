/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VM's terminals: stdin and stdout for terminal 0, a pty of its own for each --tty.
 *
 * Made before the devices that print on them, closed after those are gone. Main thread.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <termios.h>

#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/option.h"
#include "kvm/terminal.h"

struct terminals {
	struct terminal *terminal[TERMINALS_MAX];
	struct terminal_pty {
		int master, slave;
	} pty[TERMINALS_MAX];
};

/* The key under which they hang from the VM. */
static const char terminals_key, redirect_key;

int terminal_redirect(struct kvm *kvm, struct terminal_fds *fds)
{
	return kvm_set_state(kvm, &redirect_key, fds);
}

struct terminal *terminal_get(struct kvm *kvm, unsigned int index)
{
	struct terminals *terminals = kvm_get_state(kvm, &terminals_key);

	return terminals && index < TERMINALS_MAX ? terminals->terminal[index] : NULL;
}

static int terminal_open_pty(struct kvm *kvm, struct terminals *terminals, unsigned int index)
{
	struct terminal_pty *pty = &terminals->pty[index];
	struct termios mode;
	char path[64];

	pty->master = posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
	if (pty->master < 0 || grantpt(pty->master) < 0 || unlockpt(pty->master) < 0 ||
	    ptsname_r(pty->master, path, sizeof(path)) != 0)
		return log_errno(errno, "option --tty: can't make a pty for terminal %u", index);
	/* While we hold the slave, a user who comes and goes is no hang-up. */
	pty->slave = open(path, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (pty->slave < 0)
		return log_errno(errno, "option --tty: can't open %s for terminal %u", path, index);
	/* The guest's own tty echoes and edits. */
	if (tcgetattr(pty->slave, &mode) == 0) {
		cfmakeraw(&mode);
		tcsetattr(pty->slave, TCSANOW, &mode);
	}
	/* kvmtool's words, which scripts look for. */
	dprintf(STDERR_FILENO, "  Assigned terminal %u to pty %s\n", index, path);
	return terminal_open(kvm, index, pty->master, pty->master, &terminals->terminal[index]);
}

static int terminals_open(struct kvm *kvm, struct terminals *terminals)
{
	const struct terminal_fds *fds = kvm_get_state(kvm, &redirect_key);
	uint64_t index;
	int error;

	for (size_t i = 0; i < config_count(kvm->config, "tty"); i++) {
		if (parse_uint(config_item(kvm->config, "tty", i), &index) < 0 || index >= TERMINALS_MAX)
			return log_error(EUSAGE, "option --tty: '%s' is no terminal (0 to %d)",
					 config_item(kvm->config, "tty", i), TERMINALS_MAX - 1);
		if (terminals->terminal[index])
			continue;
		error = terminal_open_pty(kvm, terminals, (unsigned int)index);
		if (error)
			return error;
	}
	if (terminals->terminal[0])
		return 0;
	return terminal_open(kvm, 0, fds ? fds->in : STDIN_FILENO, fds ? fds->out : STDOUT_FILENO, &terminals->terminal[0]);
}

static void terminals_close(struct terminals *terminals)
{
	for (unsigned int i = 0; i < TERMINALS_MAX; i++) {
		terminal_close(terminals->terminal[i]);
		if (terminals->pty[i].master >= 0)
			close(terminals->pty[i].master);
		if (terminals->pty[i].slave >= 0)
			close(terminals->pty[i].slave);
	}
	free(terminals);
}

static int terminals_init(struct kvm *kvm)
{
	struct terminals *terminals = calloc(1, sizeof(*terminals));
	int error;

	if (!terminals)
		return -ENOMEM;
	for (unsigned int i = 0; i < TERMINALS_MAX; i++)
		terminals->pty[i] = (struct terminal_pty){ -1, -1 };
	/* A reader that leaves is an error of write(2), not the end of the process. */
	signal(SIGPIPE, SIG_IGN);
	error = terminals_open(kvm, terminals);
	if (!error)
		error = kvm_set_state(kvm, &terminals_key, terminals);
	if (error)
		terminals_close(terminals);
	return error;
}
dev_base_init(terminals_init);

static void terminals_exit(struct kvm *kvm)
{
	struct terminals *terminals = kvm_get_state(kvm, &terminals_key);

	if (kvm_set_state(kvm, &terminals_key, NULL) == 0)
		terminals_close(terminals);
}
dev_base_exit(terminals_exit);

static const char *const console_choices[] = { "serial", "virtio", "hv", NULL };

static const struct option_def terminal_options[] = {
	{ .name = "console", .type = OPTION_CHOICE, .argument = "serial|virtio|hv", .choices = console_choices,
	  .fallback = "serial", .help = "The guest's console, which gets the input of terminal 0" },
	{ .name = "tty", .type = OPTION_LIST, .argument = "ID",
	  .help = "Give terminal ID (0 to 3) a pty of its own on the host" },
};
RUN_OPTIONS(terminal_options_group, "Terminal options", terminal_options);
