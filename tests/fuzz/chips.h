/* SPDX-License-Identifier: BSD-2-Clause */
/* The devices of an architecture's board whose state is loaded (tests/fuzz/saved.c). */
#ifndef TESTS_FUZZ_CHIPS_H
#define TESTS_FUZZ_CHIPS_H

#include <stddef.h>

struct kvm;

/**
 * struct fuzz_chip - one device
 * @init: the init callback that makes it; one that needs another stands behind it
 * @device: its name among the VM's devices
 * @use: what a guest may do with it then; or NULL
 */
struct fuzz_chip {
	const char *init, *device;
	void (*use)(struct kvm *kvm);
};

/* tests/fuzz/x86, tests/fuzz/arm64 */
extern const struct fuzz_chip fuzz_chips[];
extern const size_t fuzz_chip_count;

#endif
