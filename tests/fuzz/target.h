/* SPDX-License-Identifier: BSD-2-Clause */
/* What a fuzz target is to those who run it: libFuzzer (tests/fuzz/libfuzzer.c) and tests/unit/test-fuzz-replay.c. */
#ifndef TESTS_FUZZ_TARGET_H
#define TESTS_FUZZ_TARGET_H

#include <stddef.h>
#include <stdint.h>

/**
 * struct fuzz_target - one parser
 * @begin: once a process, before the first input; or NULL
 * @one: an input; whatever it is, the process lives on
 */
struct fuzz_target {
	const char *name;
	void (*begin)(const struct fuzz_target *target);
	void (*one)(const struct fuzz_target *target, const uint8_t *data, size_t length);
	const void *opaque;		/* the target's */
	struct fuzz_target *next;
};

void fuzz_register(struct fuzz_target *target);
struct fuzz_target *fuzz_targets(void);

/** fuzz_begin() - the process is ready for @target's inputs: it says nothing, writes no large files, and needs no terminal */
void fuzz_begin(const struct fuzz_target *target);
/** fuzz_one() - an input in a copy of its own, so that reads past its end are seen */
void fuzz_one(const struct fuzz_target *target, const uint8_t *data, size_t length);

#endif
