/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A machine that moves to another process, here or on another host, while its guest runs: `lkvm migrate` there, `lkvm run
 * --incoming` here (state/migrate*.c, state/incoming.c). Main thread.
 */
#ifndef KVM_MIGRATE_H
#define KVM_MIGRATE_H

#include "kvm/kvm.h"

/**
 * incoming_prepare() - waits at the address that --incoming says, and puts the options of the machine that comes into @config
 * What was said beside --incoming stays where it may differ; anything else is refused. 0 or negative errno (said).
 */
int __must_check incoming_prepare(struct incoming **incoming, struct config *config);
/** incoming_attach() - receives the machine, before @kvm's init lists run, until it stands still there; 0 or negative errno (said) */
int __must_check incoming_attach(struct incoming *incoming, struct kvm *kvm);
/** incoming_free() - after kvm_exit(); NULL is fine */
void incoming_free(struct incoming *incoming);

/** migration_is_active() - whether @kvm is on its way to another process, or has gone there */
bool migration_is_active(const struct kvm *kvm);
/** migration_pause_name() - what QMP calls the pause of a paused VM: "paused", unless a migration is why */
const char *migration_pause_name(const struct kvm *kvm);
/** migration_holds() - why the guest may not be let go on here, as a string; NULL: it may */
const char *migration_holds(struct kvm *kvm);

#endif
