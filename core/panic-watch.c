/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Finds "Kernel panic - not syncing" in a console's output, however the output is cut into writes.
 *
 * Only where printk() puts it, at the start of a line or behind a time stamp, so that a guest which merely
 * talks of panics is not taken for one.
 */
#include "kvm/panic-watch.h"

#include "kvm/kvm.h"

static const char panic_line[] = "Kernel panic - not syncing";

static bool panic_may_start(const struct panic_watch *watch)
{
	uint8_t last = watch->before[1];

	return last == 0 || last == '\n' || last == '\r' || (last == ' ' && watch->before[0] == ']');
}

void panic_watch_write(struct panic_watch *watch, struct kvm *kvm, const void *data, size_t length)
{
	const uint8_t *bytes = data;

	for (size_t i = 0; i < length; i++) {
		/* 'K' stands at the start of the line only, so that a mismatch falls back to there. */
		if (watch->matched && bytes[i] == (uint8_t)panic_line[watch->matched])
			watch->matched++;
		else
			watch->matched = bytes[i] == 'K' && panic_may_start(watch);
		if (watch->matched == sizeof(panic_line) - 1) {
			watch->matched = 0;
			kvm_panic_seen(kvm);
		}
		watch->before[0] = watch->before[1];
		watch->before[1] = bytes[i];
	}
}
