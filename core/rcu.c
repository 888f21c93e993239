/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Read-copy-update, small: each thread owns a slot in which its outermost read section publishes the epoch
 * it began in; what was retired in epoch E may be freed when no slot holds an epoch at or below E.
 *
 * Slots, the retired list and the batches in release belong to the process, since threads do. Slots come from a
 * fixed table, so that entering a section can't fail; a thread past the table's end counts in one shared counter
 * until its outermost section ends. rcu_lock guards the lists and is innermost: nothing is called with it held.
 */
#include "kvm/rcu.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <time.h>

#define RCU_OUTSIDE	0
#define RCU_SLOTS	1024

struct rcu_slot {
	atomic_bool taken;
	atomic_ulong epoch;		/* RCU_OUTSIDE, or when the section began; written by the owner */
	unsigned int nesting;		/* owner only */
} __attribute__((aligned(64)));

struct rcu_retired {
	unsigned long epoch;
	void (*release)(void *object);
	void *object;
	struct rcu_retired *next;
};

/* Objects that a thread has taken off the list and is releasing; lies on that thread's stack. */
struct rcu_batch {
	unsigned long oldest;		/* epoch */
	struct rcu_batch *next;
};

static atomic_ulong rcu_epoch = 1;
static struct rcu_slot rcu_slots[RCU_SLOTS];
static atomic_uint rcu_slots_used;		/* one past the highest slot ever taken */
static atomic_uint rcu_overflow;		/* threads in a section without a slot */
static pthread_mutex_t rcu_lock = PTHREAD_MUTEX_INITIALIZER;
static struct rcu_retired *rcu_retired;
static struct rcu_batch *rcu_batches;
static pthread_key_t rcu_key;
static pthread_once_t rcu_once = PTHREAD_ONCE_INIT;
static _Thread_local struct rcu_slot *rcu_mine;
static _Thread_local unsigned int rcu_overflowed;	/* nesting of this thread's sections without a slot */

static void rcu_slot_release(void *slot)
{
	struct rcu_slot *mine = slot;

	rcu_mine = NULL;
	atomic_store(&mine->taken, false);
}

static void rcu_key_make(void)
{
	pthread_key_create(&rcu_key, rcu_slot_release);
}

static struct rcu_slot *rcu_slot_take(void)
{
	pthread_once(&rcu_once, rcu_key_make);
	for (unsigned int i = 0; i < RCU_SLOTS; i++) {
		unsigned int used = atomic_load(&rcu_slots_used);

		if (atomic_exchange(&rcu_slots[i].taken, true))
			continue;
		while (used < i + 1 && !atomic_compare_exchange_weak(&rcu_slots_used, &used, i + 1))
			;
		rcu_mine = &rcu_slots[i];
		pthread_setspecific(rcu_key, rcu_mine);
		return rcu_mine;
	}
	return NULL;
}

/* A section that began without a slot ends without one, even if one has become free meanwhile. */
static struct rcu_slot *rcu_slot_for_lock(void)
{
	if (rcu_mine)
		return rcu_mine;
	return rcu_overflowed ? NULL : rcu_slot_take();
}

void rcu_read_lock(void)
{
	struct rcu_slot *slot = rcu_slot_for_lock();

	if (!slot) {
		if (rcu_overflowed++ == 0)
			atomic_fetch_add(&rcu_overflow, 1);
		return;
	}
	/*
	 * seq_cst orders the slot before the reads of what it protects; the partner is rcu_oldest(). acquire:
	 * who reads a writer's new epoch sees what that writer had put in place before.
	 */
	if (slot->nesting++ == 0)
		atomic_store(&slot->epoch, atomic_load_explicit(&rcu_epoch, memory_order_acquire));
}

void rcu_read_unlock(void)
{
	struct rcu_slot *slot = rcu_mine;

	if (!slot) {
		if (--rcu_overflowed == 0)
			atomic_fetch_sub(&rcu_overflow, 1);
	} else if (--slot->nesting == 0) {
		atomic_store_explicit(&slot->epoch, RCU_OUTSIDE, memory_order_release);
	}
}

/* The oldest epoch that a reader may still be in. */
static unsigned long rcu_oldest(void)
{
	unsigned int used = atomic_load(&rcu_slots_used);
	unsigned long oldest = atomic_load(&rcu_overflow) ? 0 : ~0UL;

	for (unsigned int i = 0; i < used; i++) {
		unsigned long epoch = atomic_load(&rcu_slots[i].epoch);

		if (epoch != RCU_OUTSIDE && epoch < oldest)
			oldest = epoch;
	}
	return oldest;
}

/* Moves what no reader can hold any more from the list to @batch, which others can see from then on. */
static struct rcu_retired *rcu_take_ready(struct rcu_batch *batch)
{
	struct rcu_retired *ready = NULL, **at, *item;
	unsigned long oldest;

	batch->oldest = ~0UL;
	pthread_mutex_lock(&rcu_lock);
	oldest = rcu_oldest();
	for (at = &rcu_retired; (item = *at); ) {
		if (item->epoch < oldest) {
			*at = item->next;
			item->next = ready;
			ready = item;
			batch->oldest = MIN(batch->oldest, item->epoch);
		} else {
			at = &item->next;
		}
	}
	batch->next = rcu_batches;
	rcu_batches = batch;
	pthread_mutex_unlock(&rcu_lock);
	return ready;
}

static void rcu_batch_over(struct rcu_batch *batch)
{
	struct rcu_batch **at = &rcu_batches;

	pthread_mutex_lock(&rcu_lock);
	while (*at != batch)
		at = &(*at)->next;
	*at = batch->next;
	pthread_mutex_unlock(&rcu_lock);
}

static void rcu_reclaim(void)
{
	struct rcu_batch batch;
	struct rcu_retired *ready = rcu_take_ready(&batch), *item;

	while ((item = ready)) {
		ready = item->next;
		item->release(item->object);
		free(item);
	}
	rcu_batch_over(&batch);
}

void rcu_defer(void (*release)(void *object), void *object)
{
	struct rcu_retired *item = malloc(sizeof(*item));

	/* Out of memory: leaking one view is the only thing that is safe inside a read section. */
	if (!item)
		return;
	item->release = release;
	item->object = object;
	pthread_mutex_lock(&rcu_lock);
	item->epoch = atomic_fetch_add(&rcu_epoch, 1);
	item->next = rcu_retired;
	rcu_retired = item;
	pthread_mutex_unlock(&rcu_lock);
	rcu_reclaim();
}

/* Whether something deferred in an epoch up to @target is not yet released, be it by another thread. */
static bool rcu_pending(unsigned long target)
{
	bool pending = false;

	pthread_mutex_lock(&rcu_lock);
	for (const struct rcu_retired *item = rcu_retired; item && !pending; item = item->next)
		pending = item->epoch <= target;
	for (const struct rcu_batch *batch = rcu_batches; batch && !pending; batch = batch->next)
		pending = batch->oldest <= target;
	pthread_mutex_unlock(&rcu_lock);
	return pending;
}

/* Sections are short, but one may do a device's I/O: past the first looks, others need the CPU more. */
static void rcu_wait(unsigned int look)
{
	const struct timespec pause = { .tv_nsec = 50000 };

	if (look < 100)
		sched_yield();
	else
		nanosleep(&pause, NULL);
}

void rcu_synchronize(void)
{
	unsigned long target = atomic_fetch_add(&rcu_epoch, 1);

	for (unsigned int look = 0; rcu_oldest() <= target; look++)
		rcu_wait(look);
	rcu_reclaim();
	for (unsigned int look = 0; rcu_pending(target); look++) {
		rcu_wait(look);
		rcu_reclaim();
	}
}

void rcu_after_fork(void)
{
	pthread_mutex_init(&rcu_lock, NULL);
	rcu_retired = NULL;
	rcu_batches = NULL;
	atomic_store(&rcu_overflow, 0);
	for (unsigned int i = 0; i < RCU_SLOTS; i++) {
		/* a page that nobody has written to is shared with the other process */
		if (&rcu_slots[i] == rcu_mine || !atomic_load(&rcu_slots[i].taken))
			continue;
		rcu_slots[i].nesting = 0;
		atomic_store(&rcu_slots[i].epoch, RCU_OUTSIDE);
		atomic_store(&rcu_slots[i].taken, false);
	}
}
