/* SPDX-License-Identifier: BSD-2-Clause */
#include "kvm/library.h"

#include <dlfcn.h>
#include <pthread.h>

static pthread_mutex_t library_lock = PTHREAD_MUTEX_INITIALIZER;

static int find(void *library, const struct library_function *functions, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		*functions[i].at = dlsym(library, functions[i].name);
		if (!*functions[i].at)
			return -ENOENT;
	}
	return 0;
}

int library_load(const char *name, const struct library_function *functions, size_t count, void **handle)
{
	void *library = dlopen(name, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
	int result;

	if (!library)
		return -ENOENT;
	pthread_mutex_lock(&library_lock);
	result = find(library, functions, count);
	pthread_mutex_unlock(&library_lock);
	if (!result && handle)
		*handle = library;
	return result;
}
