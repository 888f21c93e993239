/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads with a name and a modest stack; see kvm/thread.h. */
#include "kvm/thread.h"

#include <stdarg.h>
#include <stdio.h>

int thread_start(pthread_t *thread, void *(*function)(void *opaque), void *opaque, const char *name_format, ...)
{
	pthread_attr_t attributes;
	va_list arguments;
	char name[16];
	int error;

	va_start(arguments, name_format);
	vsnprintf(name, sizeof(name), name_format, arguments);
	va_end(arguments);
	error = pthread_attr_init(&attributes);
	if (error)
		return -error;
	pthread_attr_setstacksize(&attributes, THREAD_STACK);
	error = pthread_create(thread, &attributes, function, opaque);
	pthread_attr_destroy(&attributes);
	if (!error)
		pthread_setname_np(*thread, name);
	return -error;
}
