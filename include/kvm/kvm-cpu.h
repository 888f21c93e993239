/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vCPUs: one pthread each, the KVM_RUN loop, and the requests that can't be lost.
 */
#ifndef KVM_KVM_CPU_H
#define KVM_KVM_CPU_H

#include <linux/kvm.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "kvm/kvm.h"

/* What a vCPU is asked to do; bits of kvm_cpu.requests. Set the bit, then kick. */
#define CPU_REQUEST_PAUSE	BIT(0)	/* park until it is cleared */
#define CPU_REQUEST_STOP	BIT(1)	/* leave the thread */
#define CPU_REQUEST_NMI		BIT(2)
#define CPU_REQUEST_HOLD	BIT(3)	/* the debugger's: park while others may run */
#define CPU_REQUEST_THROTTLE	BIT(4)	/* sleep for kvm->throttle_us, once */
#define CPU_REQUEST_OFF		BIT(5)	/* the machine has it no more: park until it has */

struct kvm_cpu_arch;

struct kvm_cpu {
	struct kvm *kvm;
	unsigned int index;		/* its number, which the guest knows it by */
	unsigned int place;		/* in kvm->cpus; as its number, unless it came later */
	int fd;
	struct kvm_run *run;
	pthread_t thread;
	atomic_bool started;		/* written by the main thread */
	bool parked;			/* guarded by kvm->pause_lock */
	bool io_pending;		/* own thread: KVM completes the last exit at the next KVM_RUN */
	unsigned int mends;		/* own thread: what file_memory_mend() said last */
	atomic_ulong requests;
	cpu_set_t *affinity;		/* --vcpu-affinity's, or NULL; core/cpu-list.c */
	struct kvm_cpu_arch *arch;	/* arch_cpu_init() makes it, arch_cpu_exit() frees it */
	/* counted by the vCPU's thread, read by anyone (statistics) */
	atomic_ulong exits;
};

/** kvm_cpus_start() - one thread a vCPU, named kvm-vcpu-N; kvm_cpus_stop() - stops and joins them; main thread */
int __must_check kvm_cpus_start(struct kvm *kvm);
void kvm_cpus_stop(struct kvm *kvm);

/** kvm_cpu_start() - the same for one, which is in kvm->cpus or will be; 0 or negative errno (said) */
int __must_check kvm_cpu_start(struct kvm_cpu *cpu);

/**
 * kvm_cpu_find() - vCPU @number, if the machine has it now; any thread, but for what it has been a moment later
 * kvm_cpu_is_off() - was it taken out? It is in kvm->cpus still, since KVM can't let go of one, and parked
 * kvm_cpus_present() - how many the machine has
 * kvm_cpu_is_there() - as kvm_cpu_find(), for tables: any below cpu_count where vCPUs don't come and go
 */
struct kvm_cpu *kvm_cpu_find(const struct kvm *kvm, unsigned int number);
bool kvm_cpu_is_off(const struct kvm_cpu *cpu);
unsigned int kvm_cpus_present(const struct kvm *kvm);
bool kvm_cpu_is_there(const struct kvm *kvm, unsigned int number);
/** kvm_cpus_possible() - how many there may be, which is all there are where they don't come and go */
unsigned int kvm_cpus_possible(const struct kvm *kvm);

/**
 * kvm_cpu_plug() - the machine has vCPU @number from now on, which waits for its start-up
 * Made now, unless it was there before. Main thread, while all others are parked; 0 or negative errno (said).
 */
int __must_check kvm_cpu_plug(struct kvm *kvm, unsigned int number);
/** kvm_cpu_unplug() - the machine has it no more, whatever it was about; likewise */
void kvm_cpu_unplug(struct kvm_cpu *cpu);

/** cpu_affinity_init() - sets @cpu->affinity as --vcpu-affinity says; 0 or negative errno (said) */
int __must_check cpu_affinity_init(struct kvm_cpu *cpu);

/** kvm_cpu_request() - sets request bits and makes the vCPU notice, in or out of the guest; any thread */
void kvm_cpu_request(struct kvm_cpu *cpu, unsigned long bits);

/** kvm_cpus_park() - returns when all vCPUs are out of the guest; kvm_cpus_unpark() lets them go; main thread */
void kvm_cpus_park(struct kvm *kvm);
void kvm_cpus_unpark(struct kvm *kvm);

/** kvm_drain_coalesced() - delivers batched writes; any thread */
void kvm_drain_coalesced(struct kvm *kvm);

#endif
