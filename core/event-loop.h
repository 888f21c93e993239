/* SPDX-License-Identifier: BSD-2-Clause */
/* What an event loop is made of, for core/event.c and core/event-poll.c. */
#ifndef CORE_EVENT_LOOP_H
#define CORE_EVENT_LOOP_H

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <time.h>

#include "kvm/event.h"

#define EVENT_BATCH	32

struct event_call {
	void (*function)(void *opaque);
	void *opaque;
	bool done;
	struct event_call *next;
};

struct event_loop {
	const char *name;
	int epoll_fd, wake_fd;
	pthread_t owner;
	bool has_thread;

	/* owner only: the batch being dispatched, so that a removal can blank what is still to come */
	struct epoll_event batch[EVENT_BATCH];
	int batch_next, batch_count;

	/* owner only, but for poll_max_ns, which is set before the loop has pollers */
	struct event_poller *pollers;
	uint64_t poll_max_ns, poll_ns;
	bool looking;			/* pollers have begun and not ended */

	pthread_mutex_t lock;
	pthread_cond_t called;		/* a call was done (callers wait), or one came (the owner waits) */
	struct event_timer *timers;	/* by deadline */
	uint64_t timers_looked_ns;	/* the last look at them: what was due then has fired or is about to */
	struct event_work *work, **work_tail;
	size_t work_count;
	struct event_call *calls, **calls_tail;
	bool stop;
	atomic_bool woken;		/* a wake-up is under way: no need for a second write */
};

/** event_loop_wait() - fills loop->batch; @timeout NULL: for ever. Returns how many, or -1 with errno. */
int event_loop_wait(struct event_loop *loop, const struct timespec *timeout);
/** event_loop_wait_polling() - the same for a loop with pollers, which are asked for a while before it sleeps */
int event_loop_wait_polling(struct event_loop *loop, const struct timespec *timeout);

#endif
