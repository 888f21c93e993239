/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Post-copy, on the side where the guest runs already: memory that isn't there yet is fetched when somebody touches it.
 *
 * userfaultfd catches vCPUs, devices' threads and the kernel's own accesses alike. A thread of its own asks the source for what
 * is wanted, and puts in place whatever comes; everybody else may wait for it, the main thread too. If the connection is lost
 * behind GO it listens at the same address again, for as long as it takes.
 */
#ifndef STATE_POSTCOPY_H
#define STATE_POSTCOPY_H

#include "state/migrate-address.h"
#include "state/migrate-receive.h"

struct kvm;
struct postcopy;

/** struct postcopy_owner - called on the main thread */
struct postcopy_owner {
	bool (*go)(void *opaque);		/* GO has come; false: the guest doesn't run, and postcopy_stop() was called */
	void (*lost)(void *opaque, int result);	/* it never will */
	void (*ends)(void *opaque);		/* the VM ends before: postcopy_stop() has to be called */
	void (*done)(void *opaque);		/* all memory is here; the postcopy is no more behind that */
	void *opaque;
	const char *address;
	struct migrate_connection *connection;
	struct migrate_receiver *receiver;
};

/** postcopy_check() - whether @kvm's memory may come that late, and prepares it; before any of it is there. 0 or negative errno (said) */
int __must_check postcopy_check(const struct kvm *kvm);
/** postcopy_over() - undoes what postcopy_check() has prepared: all memory is there */
void postcopy_over(const struct kvm *kvm);
/**
 * postcopy_start() - from now on what the receiver is missing is fetched when it is touched; nobody has touched it
 * The thread reads the receiver's stream from then on, and postcopy_say() writes it. 0 or negative errno (said).
 */
int __must_check postcopy_start(struct postcopy **postcopy, struct kvm *kvm, const struct postcopy_owner *owner);
/** postcopy_say() - a frame of the owner's; 0 or negative errno */
int __must_check postcopy_say(struct postcopy *postcopy, enum migrate_type type, const char *text);
/** postcopy_keep() - the machine is made: what the guest frees stays until all is there */
void postcopy_keep(struct postcopy *postcopy);
/** postcopy_stop() - whatever isn't there is zeroes from now on; the guest doesn't run any more, or never did; NULL is fine */
void postcopy_stop(struct postcopy *postcopy);
/** postcopy_is_active() - whether some of the guest's memory is elsewhere */
bool postcopy_is_active(const struct kvm *kvm);

#endif
