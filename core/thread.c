/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads with a name and a modest stack; see kvm/thread.h. */
#include "kvm/thread.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>

struct thread_start {
	void *(*function)(void *opaque);
	void *opaque;
	char name[16];
};

/* It names itself: another's name goes by a file of /proc, whose look-up costs more than the thread. */
static void *thread_run(void *opaque)
{
	struct thread_start start = *(struct thread_start *)opaque;

	free(opaque);
	prctl(PR_SET_NAME, start.name);
	return start.function(start.opaque);
}

int thread_start(pthread_t *thread, void *(*function)(void *opaque), void *opaque, const char *name_format, ...)
{
	struct thread_start *start = malloc(sizeof(*start));
	pthread_attr_t attributes;
	va_list arguments;
	int error;

	if (!start)
		return -ENOMEM;
	start->function = function;
	start->opaque = opaque;
	va_start(arguments, name_format);
	vsnprintf(start->name, sizeof(start->name), name_format, arguments);
	va_end(arguments);
	error = pthread_attr_init(&attributes);
	if (!error) {
		pthread_attr_setstacksize(&attributes, THREAD_STACK);
		error = pthread_create(thread, &attributes, thread_run, start);
		pthread_attr_destroy(&attributes);
	}
	if (error)
		free(start);
	return -error;
}

int thread_pin(pthread_t thread, const cpu_set_t *cpus)
{
	return -pthread_setaffinity_np(thread, sizeof(*cpus), cpus);
}
