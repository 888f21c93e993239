/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Read-copy-update for look-ups without a lock: address space views and the like.
 *
 * Readers bracket their use of a shared pointer; a writer swaps the pointer and hands the old object to
 * rcu_defer(), which frees it once every reader that might hold it has left. Writers serialize among
 * themselves. rcu_defer() never waits, so a reader (a vCPU that moves a BAR from inside its MMIO exit) may
 * call it.
 */
#ifndef KVM_RCU_H
#define KVM_RCU_H

#include "kvm/types.h"

/** rcu_read_lock() - enters a read section; nests; any thread; costs one store when it is the outermost */
void rcu_read_lock(void);
void rcu_read_unlock(void);

/** rcu_defer() - calls @release(@object) when no reader from before this call is left; from a writer */
void rcu_defer(void (*release)(void *object), void *object);

/**
 * rcu_synchronize() - waits until every reader from before this call has left, and all that was deferred before
 * it has been released, be it by another thread
 *
 * Not inside a read section, nor from a release: each would wait for itself.
 */
void rcu_synchronize(void);

/**
 * rcu_after_fork() - in a new process, of one thread that is in no section: the other threads' slots are free
 *
 * What had been deferred is not released: what it is part of is not this process's to take apart.
 */
void rcu_after_fork(void);

static inline void rcu_cleanup_unlock_(int *unused)
{
	(void)unused;
	rcu_read_unlock();
}

/** RCU_READ_SCOPE() - a read section until the end of the enclosing block */
#define RCU_READ_SCOPE() \
	int rcu_scope_ __attribute__((cleanup(rcu_cleanup_unlock_), unused)) = (rcu_read_lock(), 0)

#endif
