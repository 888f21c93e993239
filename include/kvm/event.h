/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Event loops: one epoll, timers and posted calls; one thread owns each.
 *
 * The VM's main loop (kvm->loop) runs on the main thread while vCPUs run on theirs. A device belongs to one
 * loop: its queues, its host I/O and its timers all run there, so it needs no lock for them.
 */
#ifndef KVM_EVENT_H
#define KVM_EVENT_H

#include <sched.h>

#include "kvm/types.h"

struct event_loop;

/** event_loop_create() - a loop owned by the calling thread, until event_loop_start_thread() */
int __must_check event_loop_create(struct event_loop **loop, const char *name);
void event_loop_destroy(struct event_loop *loop);

/** event_loop_run() - dispatches on the calling thread until event_loop_stop() */
int __must_check event_loop_run(struct event_loop *loop);
/** event_loop_stop() - makes event_loop_run() return; any thread; remembered if it isn't running yet */
void event_loop_stop(struct event_loop *loop);
/** event_loop_start_thread() - runs the loop on a new thread of the loop's name (iothreads); stopped by destroy */
int __must_check event_loop_start_thread(struct event_loop *loop);
/** event_loop_pin() - the loop's thread, started, runs on @cpus only, as do the threads that its sources make */
int __must_check event_loop_pin(struct event_loop *loop, const cpu_set_t *cpus);
/** event_loop_poll() - dispatches what is ready, waiting at most @timeout_ms (-1: for ever); owner thread, tests */
int event_loop_poll(struct event_loop *loop, int timeout_ms);

/** struct event_source - a watched fd, embedded in its owner */
struct event_source {
	struct event_loop *loop;	/* NULL while not added */
	int fd;
	uint32_t events;
	void (*ready)(struct event_source *source, uint32_t events);
	void *opaque;			/* the owner's, untouched */
};

/**
 * event_add() - calls @source->ready on the loop's thread whenever @fd has @events (EPOLLIN, ...; level)
 * Any thread. event_del() returns when @ready is not running and won't be called again, unless it is called
 * on the loop's own thread, where it takes effect at once.
 */
int __must_check event_add(struct event_loop *loop, struct event_source *source, int fd, uint32_t events,
			   void (*ready)(struct event_source *source, uint32_t events));
int __must_check event_modify(struct event_source *source, uint32_t events);
void event_del(struct event_source *source);

/** struct event_timer - a one-shot timer on CLOCK_MONOTONIC, embedded in its owner; re-arm it for a period */
struct event_timer {
	struct event_loop *loop;
	uint64_t deadline_ns;		/* 0: not armed */
	void (*expired)(struct event_timer *timer);
	struct event_timer *next;
};

void event_timer_init(struct event_loop *loop, struct event_timer *timer, void (*expired)(struct event_timer *timer));
/**
 * event_timer_set() - fires at @deadline_ns (event_now_ns() based), replacing an earlier deadline; any thread
 * A deadline that is past fires at the loop's next look, behind the timers that were due at the last: a timer that
 * is set for the past again and again holds up nobody.
 */
void event_timer_set(struct event_timer *timer, uint64_t deadline_ns);
/** event_timer_cancel() - as event_del() */
void event_timer_cancel(struct event_timer *timer);
uint64_t event_now_ns(void);

/**
 * event_loop_call() - runs @function(@opaque) on the loop's thread and waits for it
 *
 * On that thread it is a plain call. A vCPU may wait here while the main thread waits for vCPUs to pause:
 * kvm_pause() serves such calls while it waits.
 */
void event_loop_call(struct event_loop *loop, void (*function)(void *opaque), void *opaque);

/** event_loop_serve_calls() - runs waiting event_loop_call()s; waits at most @timeout_ms for one; owner thread */
void event_loop_serve_calls(struct event_loop *loop, int timeout_ms);
/** event_loop_nudge() - makes event_loop_serve_calls() return early; any thread */
void event_loop_nudge(struct event_loop *loop);

/** struct event_work - something to do soon on the loop's thread; embedded; posting twice runs it once */
struct event_work {
	struct event_loop *loop;
	void (*run)(struct event_work *work);
	bool queued;			/* guarded by the loop's lock */
	struct event_work *next;
};

void event_work_init(struct event_loop *loop, struct event_work *work, void (*run)(struct event_work *work));
/** event_work_post() - any thread, signal-unsafe; what work posts runs when the loop has looked at all else */
void event_work_post(struct event_work *work);
void event_work_cancel(struct event_work *work);

/**
 * struct event_poller - work that a loop can find by looking, before it sleeps; embedded in its owner
 *
 * All are called on the loop's thread, between event_poller_add() and event_poller_del(), which are called there too.
 */
struct event_poller {
	/** @begin: the loop looks from now on, so that nobody need wake it */
	void (*begin)(struct event_poller *poller);
	/** @look: does what there is to do; whether there was something */
	bool (*look)(struct event_poller *poller);
	/** @end: the loop is about to sleep, and has to be woken for what comes, or has come unseen */
	void (*end)(struct event_poller *poller);
	struct event_poller *next;
};

/**
 * event_loop_set_polling() - the loop looks for up to @max_us microseconds before it sleeps; 0: it doesn't; any thread
 *
 * How long it really looks follows what came of it: not at all once it has slept longer than that.
 */
void event_loop_set_polling(struct event_loop *loop, unsigned int max_us);
/** event_loop_polls() - whether it does, so that pollers are of use */
bool event_loop_polls(const struct event_loop *loop);
void event_poller_add(struct event_loop *loop, struct event_poller *poller);
void event_poller_del(struct event_loop *loop, struct event_poller *poller);

/** event_loop_is_current() - whether the calling thread runs @loop */
bool event_loop_is_current(const struct event_loop *loop);

#endif
