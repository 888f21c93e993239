/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Shared libraries that are loaded when a VM or a command needs them: few do, and those that don't would pay for it at
 * each start. Not in a static program, which has the library linked in or does without.
 */
#ifndef KVM_LIBRARY_H
#define KVM_LIBRARY_H

#include "kvm/types.h"

struct library_function {
	void **at;		/* where its address goes */
	const char *name;
};

/**
 * library_load() - load a shared library and find functions in it
 * @name: its file by the dynamic linker's rules, "libzstd.so.1"
 * @handle: for dlsym(), or NULL
 *
 * It stays loaded; a second call finds it loaded. Says nothing.
 *
 * Returns 0, or -ENOENT; then dlerror() has the reason, and what is in @functions is not to be used.
 * Any thread, at the same time as well.
 */
int __must_check library_load(const char *name, const struct library_function *functions, size_t count, void **handle);

#endif
