/* SPDX-License-Identifier: BSD-2-Clause */
/* Iothreads: event loops with a thread of their own that --iothread names, for the devices that ask for one. */
#ifndef KVM_IOTHREAD_H
#define KVM_IOTHREAD_H

#include "kvm/types.h"

struct event_loop;
struct kvm;

/**
 * iothread_loop() - the loop of the iothread called @name, in *@loop, for option --@option's iothread=
 * @name: NULL leaves *@loop as it is
 *
 * From dev_base_init on; it lives until all devices are gone. -EUSAGE (said) if there is none called so.
 */
int __must_check iothread_loop(struct kvm *kvm, const char *option, const char *name, struct event_loop **loop);

#endif
