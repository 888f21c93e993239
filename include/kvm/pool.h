/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pools of threads, for calls that may block: a device's event loop hands them over and goes on.
 */
#ifndef KVM_POOL_H
#define KVM_POOL_H

#include "kvm/types.h"

struct pool;

/** struct pool_job - embedded in what it is about; the pool doesn't touch it once @run was called */
struct pool_job {
	void (*run)(struct pool_job *job);
	struct pool_job *next;
};

/**
 * pool_create() - up to @threads threads called @name (at most 12 characters), started as they are needed
 * @enter: called first on each of them; or NULL
 */
int __must_check pool_create(struct pool **pool, const char *name, unsigned int threads, void (*enter)(void));
/** pool_destroy() - every job must have been run; NULL is fine */
void pool_destroy(struct pool *pool);
/** pool_submit() - any thread; jobs begin in this order. Without a single thread, @job runs in here */
void pool_submit(struct pool *pool, struct pool_job *job);

#endif
