/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Whether a guest gets on: --watchdog-timeout, --boot-timeout and --oops end the VM of one that doesn't.
 */
#ifndef KVM_GUEST_LIFE_H
#define KVM_GUEST_LIFE_H

#include "kvm/event.h"
#include "kvm/kvm.h"

/** guest_life_sign() - the guest printed something, answered, or served its watchdog; any thread, nearly free */
static inline void guest_life_sign(struct kvm *kvm)
{
	/* no read-modify-write: that a sign of another thread is lost changes nothing */
	unsigned int signs = atomic_load_explicit(&kvm->life_signs, memory_order_relaxed);

	atomic_store_explicit(&kvm->life_signs, signs + 1, memory_order_relaxed);
}

/** guest_life_mark() - the VM has come to @mark; what counts is the first time; any thread, nearly free */
static inline void guest_life_mark(struct kvm *kvm, enum kvm_mark mark)
{
	if (!atomic_load_explicit(&kvm->marks[mark], memory_order_relaxed))
		atomic_store_explicit(&kvm->marks[mark], event_now_ns(), memory_order_relaxed);
}

/** guest_life_user_space() - the guest's kernel is about to run init, which counts where no command is to be run */
void guest_life_user_space(struct kvm *kvm);
/** guest_life_booted() - the guest runs what it is for: the boot timeout is met; any thread */
void guest_life_booted(struct kvm *kvm);
/** guest_life_oops() - a console saw an oops: with --oops=fail it ends the VM, when its log is out; any thread */
void guest_life_oops(struct kvm *kvm);

#endif
