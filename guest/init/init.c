/* SPDX-License-Identifier: BSD-2-Clause */
/* PID 1 of `lkvm run -- COMMAND`: init.h says what it is told, and what it says. */
#include "init.h"

#include <asm/fcntl.h>
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

static struct setup setup_read(void)
{
	struct setup setup = { .text = setup_text };
	int fd = sys_open("/lkvm/setup", O_RDONLY);
	long n = fd;

	while (n >= 0 && setup.length < sizeof(setup_text) - 1) {
		n = sys(__NR_read, fd, setup.text + setup.length, sizeof(setup_text) - 1 - setup.length);
		if (n <= 0)
			break;
		setup.length += (size_t)n;
	}
	if (n < 0)
		fail("/lkvm/setup", "", n);
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

__attribute__((used, noreturn)) void init_main(void)
{
	struct setup setup;
	struct child child;

	mount_early();
	setup = setup_read();
	load_modules(&setup);
	control_open();
	mount_root(&setup);
	child_start(&setup, &child);
	relay_run(&child);
}

#if defined(__x86_64__)
__asm__(".globl _start\n_start:\txor %ebp, %ebp\n\tand $-16, %rsp\n\tcall init_main\n\thlt\n");
#elif defined(__aarch64__)
__asm__(".globl _start\n_start:\tmov x29, #0\n\tmov x30, #0\n\tbl init_main\n\tbrk #0\n");
#endif
