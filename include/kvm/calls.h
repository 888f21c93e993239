/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A device's calls that may block: run by a pool of threads of its own, several at once, and finished on its event loop.
 */
#ifndef KVM_CALLS_H
#define KVM_CALLS_H

#include <pthread.h>

#include "kvm/event.h"
#include "kvm/pool.h"

struct calls;

/** struct call - embedded in what the device keeps of it */
struct call {
	struct pool_job job;
	struct calls *calls;
	struct call *next;
};

/**
 * struct calls_ops - what is done with a call
 * @run:	on a thread of the pool
 * @finish:	then on the loop; the call is the device's again
 * @batch:	on the loop, behind the last of those that were finished together
 */
struct calls_ops {
	void (*run)(struct call *call);
	void (*finish)(struct call *call);
	void (*batch)(struct calls *calls);
};

/** struct calls - embedded in the device */
struct calls {
	const struct calls_ops *ops;
	struct pool *pool;
	unsigned int flights;		/* owned by the loop: calls that were submitted and are not finished */
	struct event_work work;
	pthread_mutex_t lock;		/* guards the list of those that have run; innermost */
	pthread_cond_t any;
	struct call *first, **tail;
};

/** calls_init() - a pool as pool_create() makes it; says nothing */
int __must_check calls_init(struct calls *calls, const struct calls_ops *ops, struct event_loop *loop, const char *name,
			    unsigned int threads, void (*enter)(void));
/** calls_exit() - none may be in flight; harmless if calls_init() failed, or for a zeroed struct */
void calls_exit(struct calls *calls);
/** calls_submit() - on the loop */
void calls_submit(struct calls *calls, struct call *call);
/** calls_drain() - returns when none is in flight, and all are finished; on the loop, or while that stands still */
void calls_drain(struct calls *calls);

#endif
