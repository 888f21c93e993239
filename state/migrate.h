/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of state/migrate*.c share; nobody else includes it.
 *
 * A migration is the main thread's (migrate.c), which pauses the machine, saves its state and hands its disks over; a thread
 * of its own (migrate-send.c) has the connection. Who may run the guest is settled by these steps:
 *
 *	1. The source pauses it, gives its disks' locks back, and sends all that is left.
 *	2. The destination makes the machine, with its disks and their locks, and says READY. It doesn't run it.
 *	3. The source says GO. Before that, whatever fails, the guest goes on at the source, as soon as that has its locks
 *	   again: the destination never runs one without GO. Behind it the source runs it only if it knows that the
 *	   destination doesn't and won't.
 *	4. The destination says RUNNING, and, if that could be sent, runs it. With RUNNING the source is done.
 *
 * If the connection ends between GO and RUNNING, then either GO or RUNNING was lost. The destination holds the locks of the
 * disks as long as it lives: who gets them back knows that it is no more, and goes on with the guest. Without a lock that
 * would tell, the connection does: a socket that the other side itself has closed has delivered all that was sent before, so
 * that there was no RUNNING, and never will be. That it is the other side's own, and not a tunnel's, is known by READY, which
 * says what its ends are. Where it doesn't (a network that is gone, a tunnel, a command in between) nobody can
 * know, and the guest stays paused at the source until its user lets it go on, or quits it.
 */
#ifndef STATE_MIGRATE_H
#define STATE_MIGRATE_H

#include <pthread.h>
#include <semaphore.h>
#include <stdatomic.h>

#include "kvm/control.h"
#include "kvm/migrate.h"
#include "kvm/state.h"
#include "state/migrate-address.h"
#include "state/migrate-stream.h"

enum migration_status {
	MIGRATION_NONE, MIGRATION_SETUP, MIGRATION_ACTIVE, MIGRATION_DEVICE, MIGRATION_COMPLETED, MIGRATION_FAILED,
	MIGRATION_CANCELLING, MIGRATION_CANCELLED, MIGRATION_POSTCOPY, MIGRATION_POSTCOPY_PAUSED,
};

/* Which way it goes can't be changed by both at a time. */
enum migration_phase { PHASE_OPEN, PHASE_CANCELLED, PHASE_COMMITTED };

/* How it ended for the guest. */
enum migration_outcome { GUEST_IS_HERE, GUEST_IS_THERE, GUEST_IS_ANYWHERE };

/** struct migration_parameters - bytes a second, 0: as many as go; nanoseconds */
struct migration_parameters {
	_Atomic uint64_t max_bandwidth, downtime_limit_ns;
	atomic_bool auto_converge, compress, postcopy;
	_Atomic uint64_t postcopy_after;	/* rounds; 0: when somebody says so */
};

/** struct migration_counts - written by the thread, read by anyone */
struct migration_counts {
	_Atomic uint64_t sent, remaining, normal, zero, rounds, bandwidth, dirty_pages, expected_downtime_ns, wanted, downtime_ns;
	atomic_uint throttle;		/* percent of their time that vCPUs sleep */
};

struct migration {
	struct kvm *kvm;
	struct migration_parameters parameters;
	struct migration_counts counts;
	_Atomic enum migration_status status;

	/* main thread */
	char *address, *info;
	struct state_writer state;
	bool stopped, handed_over;	/* it holds a pause; and the disks are anybody's */
	bool tells;			/* a disk's lock tells whether the other side lives */
	bool undecided;			/* the guest may run elsewhere: its user has to say */
	uint64_t discard_page, began_ns, ended_ns, setup_ns, stopped_ns, retry_until_ns;
	struct event_work stop, finished;
	struct event_timer throttle, retry;
	pthread_t thread;
	char error[MIGRATE_TEXT];

	/* from the main thread to the thread, and back, over the posts in between */
	sem_t stop_done;
	int stop_result;
	bool user_paused;
	int result;
	enum migration_outcome outcome;

	/* both */
	atomic_bool switches;		/* to post-copy, as soon as it can */
	_Atomic enum migration_phase phase;
	pthread_mutex_t lock;		/* guards the next: somebody may shut it down */
	int fd;

	/* the thread's */
	struct migrate_connection connection;
	struct migrate_stream stream;
	unsigned long *pages, *there;	/* a bit a page: to be sent; sent, and not as zeroes */
	uint64_t frames, limit_from_ns, limit_sent;
	bool postcopy, again;		/* @pages are those that the other side is missing; the connection is not the first */
	uint64_t cursor, sent_before;	/* a page; what went by earlier connections */
	bool direct;			/* nobody is between the two sides */
};

/** migration_of() - never NULL while a VM is there */
struct migration *migration_of(const struct kvm *kvm);
const char *migration_status_name(enum migration_status status);
/** migration_begin() - 0 or negative errno, with @error a new string or NULL; migration_cancel() - -EBUSY: it is too late */
int __must_check migration_begin(struct migration *job, const char *address, char **error);
int __must_check migration_cancel(struct migration *job);

/** migration_switch() - to post-copy: -EINVAL: it isn't under way, or wasn't begun so */
int __must_check migration_switch(struct migration *job);
/** migration_resume() - connects again, where post-copy has lost its connection; as migration_begin() */
int __must_check migration_resume(struct migration *job, const char *address, char **error);

/** migration_thread() - sends it; migrate-send.c */
void *migration_thread(void *opaque);
/** migration_introduce() - connects, and says what machine it is */
int __must_check migration_introduce(struct migration *job);

/** postcopy_announce() - the pages that stand in the bitmap are missing over there; migrate-postcopy.c */
int __must_check postcopy_announce(struct migration *job);
/** postcopy_serve() - sends memory, what is asked for first, until a frame comes that is no WANT, or the time is over */
int __must_check postcopy_serve(struct migration *job, struct migrate_frame *frame);
/** postcopy_again() - connects again, and hears what is still missing */
int __must_check postcopy_again(struct migration *job);

#endif
