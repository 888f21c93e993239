/* SPDX-License-Identifier: BSD-2-Clause */
/* A kernel's modules: where they are, and in which order they must be loaded. */
#ifndef GUEST_MODULES_H
#define GUEST_MODULES_H

#include "kvm/types.h"

/** modules_find() - the folder of the modules of @kernel (it has modules.dep), to be freed; NULL if there is none */
char *modules_find(const char *kernel);

struct modules {
	char *folder;
	char **paths;		/* relative to @folder, each behind those that it needs */
	size_t count;
};

/**
 * modules_resolve() - the files of @wanted (NULL-terminated names) and of what they need, in order
 * @folder: has modules.dep, as depmod writes it. A name that isn't there is taken to be built in, or missed later by
 * who needs it. Returns 0, or negative errno (said).
 */
int __must_check modules_resolve(struct modules *modules, const char *folder, const char *const *wanted);
void modules_free(struct modules *modules);

/** modules_want_virtiofs() - whether the kernel has no 9p, but virtio-fs, as @folder (NULL: none) or its build's .config tells */
bool modules_want_virtiofs(const char *folder, const char *kernel);

#endif
