/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Finds a few lines of the kernel's in a console's output, however the output is cut into writes.
 *
 * Only where printk() puts them, at the start of a line or behind a time stamp, so that a guest which merely
 * talks of panics is not taken for one. Consoles call this for each byte or batch: away from a line's start
 * nothing is compared.
 */
#include "kvm/console-watch.h"

#include <assert.h>
#include <string.h>

#include "kvm/guest-life.h"
#include "kvm/kvm.h"
#include "kvm/trouble-log.h"

enum line_means { LINE_PANIC, LINE_OOPS, LINE_USER_SPACE };

/*
 * How oopses begin: on x86 by what the trap is called, on all others by "Internal error" or "Unable to handle";
 * "BUG: " is also what sanitizers, lockdep and the soft lockup detector say.
 */
static const struct {
	const char *text;
	enum line_means means;
} lines[] = {
	{ "Kernel panic - not syncing", LINE_PANIC },
	{ "BUG: ", LINE_OOPS },
	{ "Oops: ", LINE_OOPS },
	{ "kernel BUG at ", LINE_OOPS },
	{ "general protection fault", LINE_OOPS },
	{ "invalid opcode: ", LINE_OOPS },
	{ "divide error: ", LINE_OOPS },
	{ "stack segment: ", LINE_OOPS },
	{ "Internal error: ", LINE_OOPS },
	{ "Unable to handle kernel ", LINE_OOPS },
	{ "watchdog: BUG: ", LINE_OOPS },
	/* "Run /init as init process": Linux since 4.20, unless it is quiet */
	{ "Run /", LINE_USER_SPACE },
};
static_assert(ARRAY_SIZE(lines) <= 32, "a bit each");

/* A line of the kernel's may have its time, and who said it, in brackets before it; a program's name is in none. */
enum line_at { AT_START, AT_BRACKETS, AT_BRACKETS_END, AT_TEXT };

static enum line_at line_go_on(enum line_at at, uint8_t byte)
{
	if (byte == '\n' || byte == '\r')
		return AT_START;
	switch (at) {
	case AT_START:		return byte == '[' ? AT_BRACKETS : AT_TEXT;
	case AT_BRACKETS:	return byte == ']' ? AT_BRACKETS_END : AT_BRACKETS;
	case AT_BRACKETS_END:	return byte == '[' ? AT_BRACKETS : byte == ' ' ? AT_START : AT_TEXT;
	default:		return AT_TEXT;
	}
}

static void line_start(struct console_watch *watch, uint8_t byte)
{
	watch->matched = 1;
	watch->candidates = 0;
	for (size_t i = 0; i < ARRAY_SIZE(lines); i++)
		if ((uint8_t)lines[i].text[0] == byte)
			watch->candidates |= 1U << i;
}

/* Takes out the lines that don't go on with @byte; returns the one that is complete, or -1. */
static int line_match(struct console_watch *watch, uint8_t byte)
{
	for (uint32_t left = watch->candidates; left; left &= left - 1) {
		int i = __builtin_ctz(left);

		if ((uint8_t)lines[i].text[watch->matched] != byte)
			watch->candidates &= ~(1U << i);
		else if (!lines[i].text[watch->matched + 1])
			return i;
	}
	watch->matched++;
	return -1;
}

static void line_found(struct console_watch *watch, struct kvm *kvm, int which)
{
	watch->candidates = 0;
	if (lines[which].means == LINE_USER_SPACE) {
		guest_life_user_space(kvm);
		return;
	}
	if (lines[which].means == LINE_PANIC)
		kvm_panic_seen(kvm);
	else
		guest_life_oops(kvm);
	trouble_log_begin(kvm);
	/* What is logged already has all but this last character, which its writer logs. */
	if (!watch->logging)
		trouble_log_write(kvm, lines[which].text, strlen(lines[which].text) - 1);
	watch->logging = true;
}

void console_watch_write(struct console_watch *watch, struct kvm *kvm, const void *data, size_t length)
{
	const uint8_t *bytes = data;
	size_t logged = watch->logging ? 0 : length;

	guest_life_sign(kvm);
	guest_life_mark(kvm, KVM_MARK_CONSOLE);
	for (size_t i = 0; i < length; i++) {
		int found = watch->candidates ? line_match(watch, bytes[i]) : -1;

		if (found >= 0) {
			line_found(watch, kvm, found);
			logged = MIN(logged, i);
		} else if (watch->at == AT_START) {
			line_start(watch, bytes[i]);
		}
		watch->at = (uint8_t)line_go_on((enum line_at)watch->at, bytes[i]);
	}
	if (logged < length)
		trouble_log_write(kvm, bytes + logged, length - logged);
}
