/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The whole machine but its memory as one stream of sections: chips, vCPUs, devices, time. Main thread.
 */
#ifndef STATE_MACHINE_H
#define STATE_MACHINE_H

#include "kvm/kvm.h"
#include "kvm/state.h"

/** machine_save() - appends it; the VM is paused (kvm_pause()). KVM may write tables into guest memory: save that later. */
int __must_check machine_save(struct kvm *kvm, struct state_writer *writer);

/**
 * machine_load() - takes it over, in a machine of the same options whose vCPUs have not run yet, and whose memory is there
 * Returns 0 or negative errno (said); then the machine is of no use.
 */
int __must_check machine_load(struct kvm *kvm, struct state_reader *reader);

/**
 * machine_set_discards() - whether guest memory that the guest has freed may go back to the host, in pages of so many bytes
 * (0: it stays, since it is read meanwhile); returns what it was
 */
uint64_t machine_set_discards(struct kvm *kvm, uint64_t page);

#endif
