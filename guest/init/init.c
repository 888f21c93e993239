/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PID 1 of `lkvm run -- COMMAND`: init.h says what it is told, and what it says. Under an init of the root's own it is
 * run once more, by that, for the command.
 */
#include "init.h"

#include <asm/fcntl.h>
#include <asm/signal.h>
#include <linux/reboot.h>

static char setup_text[SETUP_MAX];

/* ---- the setup ---- */

const char *setup_next(const struct setup *setup, const char *key, size_t *at)
{
	while (*at < setup->length) {
		const char *record = setup->text + *at, *value = text_after(record, key);

		*at += text_length(record) + 1;
		if (value && *value == ' ')
			return value + 1;
	}
	return NULL;
}

const char *setup_get(const struct setup *setup, const char *key)
{
	size_t at = 0;

	return setup_next(setup, key, &at);
}

bool setup_flag(const struct setup *setup, const char *key)
{
	const char *value = setup_get(setup, key);

	return value && *value == '1';
}

static struct setup setup_read(const char *path)
{
	struct setup setup = { .text = setup_text };
	int fd = sys_open(path, O_RDONLY);
	long n = fd;

	while (n >= 0 && setup.length < sizeof(setup_text) - 1) {
		n = sys(__NR_read, fd, setup.text + setup.length, sizeof(setup_text) - 1 - setup.length);
		if (n <= 0)
			break;
		setup.length += (size_t)n;
	}
	if (n < 0)
		fail(path, "", n);
	sys_close(fd);
	return setup;
}

/* ---- the end ---- */

void power_off(void)
{
	sys(__NR_sync);
	sys(__NR_reboot, LINUX_REBOOT_MAGIC1, LINUX_REBOOT_MAGIC2, LINUX_REBOOT_CMD_POWER_OFF, NULL);
	for (;;)
		sys_sleep_ms(1000);
}

void fail(const char *what, const char *which, long error)
{
	struct line line = { .length = 0 };

	line_add(&line, "error ");
	line_add(&line, what);
	line_add(&line, which);
	if (error < 0) {
		line_add(&line, " (error ");
		line_add_number(&line, (uint64_t)-error);
		line_add(&line, ")");
	}
	line_add(&line, "\n");
	control_say(line.text);
	power_off();
}

/* ---- the way in ---- */

__attribute__((noreturn)) static void run_command(const struct setup *setup)
{
	struct child child;
	long result;

	control_say("started\n");
	result = child_start(setup, &child);
	if (result < 0)
		fail(child.tty ? "the command can't be started; it wants a terminal, thus CONFIG_UNIX98_PTYS" : "the command can't be started",
		     "", result);
	relay_run(&child);
}

/* A service of the root's init, which has made the machine what it is. */
__attribute__((noreturn)) static void serve(void)
{
	struct setup setup = setup_read(SERVICE_SETUP);
	const uint64_t all_signals = ~0ULL;

	/* SIGPIPE above all; the command is started with none blocked. */
	sys(__NR_rt_sigprocmask, SIG_SETMASK, &all_signals, NULL, sizeof(all_signals));
	control_open();
	run_command(&setup);
}

__attribute__((used, noreturn)) void init_main(void)
{
	struct setup setup;
	const char *init;
	int program, script;

	if (sys(__NR_getpid) != 1)
		serve();
	mount_early();
	setup = setup_read("/lkvm/setup");
	load_modules(&setup);
	program = sys_open("/init", O_RDONLY | O_CLOEXEC);
	script = sys_open("/lkvm/script", O_RDONLY | O_CLOEXEC);
	init = setup_get(&setup, "init");
	/* What the host says once a port is open would be lost with us. */
	if (!init)
		control_open();
	mount_root(&setup);
	if (script >= 0)
		copy_file(script, SCRIPT, 0755);
	agent_start();
	if (init)
		become_init(&setup, init, program);
	sys_close(program);
	run_command(&setup);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\txor %ebp, %ebp\n\tand $-16, %rsp\n\tcall init_main\n\thlt\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\tmov x29, #0\n\tmov x30, #0\n\tbl init_main\n\tbrk #0\n");
#endif
