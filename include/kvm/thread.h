/* SPDX-License-Identifier: BSD-2-Clause */
/* Threads: vCPUs, event loops, disk workers. The only place that makes one. */
#ifndef KVM_THREAD_H
#define KVM_THREAD_H

#include <pthread.h>
#include <sched.h>

#include "kvm/types.h"

/**
 * thread_start() - a joinable thread that runs @function(@opaque) under a name of at most 15 characters
 *
 * Its stack is THREAD_STACK bytes: glibc's 8 MiB would be given 2 MiB pages on many hosts, a whole one resident
 * for each thread. It inherits the caller's signal mask. Returns 0 or a negative errno.
 */
int __must_check thread_start(pthread_t *thread, void *(*function)(void *opaque), void *opaque,
			      const char *name_format, ...) printf_like(4, 5);
#define THREAD_STACK	KIB(512)

/** thread_pin() - the thread runs on @cpus only, and so do those that it makes from now on */
int __must_check thread_pin(pthread_t thread, const cpu_set_t *cpus);

/**
 * cpu_list_parse() - "0-3,8": CPUs of the host as the kernel writes them, each of which this process may use
 * Returns 0 or -EUSAGE, having said in the name of option --@option what is wrong. Main thread.
 */
int __must_check cpu_list_parse(const char *option, const char *text, cpu_set_t *cpus);

#endif
