/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RAM that comes and goes while the guest runs, in blocks, from 0 on: kvm->ram_more bytes of it at the end of RAM's file.
 * Main thread.
 */
#ifndef KVM_RAM_BLOCKS_H
#define KVM_RAM_BLOCKS_H

#include "kvm/kvm.h"
#include "kvm/state.h"

#define RAM_BLOCKS_MAX	1024

/** ram_block_count() - how many there can be; 0: RAM doesn't grow */
static inline unsigned int ram_block_count(const struct kvm *kvm)
{
	return kvm->ram_block ? (unsigned int)(kvm->ram_more / kvm->ram_block) : 0;
}

/** ram_block_is_plugged() - of one that there can be */
bool ram_block_is_plugged(const struct kvm *kvm, unsigned int index);

/** ram_blocks_plug() - makes RAM of blocks that are none; 0, or a negative errno, and then nothing has changed */
int __must_check ram_blocks_plug(struct kvm *kvm, unsigned int first, unsigned int count);

/**
 * ram_blocks_unplug() - the reverse, of any of these blocks that are RAM; what was in them goes back to the host
 * Returns 0 or a negative errno, and then nothing has changed.
 */
int __must_check ram_blocks_unplug(struct kvm *kvm, unsigned int first, unsigned int count);

/** ram_blocks_sweep() - gives back what lies in blocks that are no RAM: who had an address from before may write there */
void ram_blocks_sweep(struct kvm *kvm);

/** ram_blocks_are_held() - what goes back to the host now would be missed: a snapshot is written, or the VM is on its way */
bool ram_blocks_are_held(const struct kvm *kvm);

/**
 * ram_blocks_save(), ram_blocks_load() - which of them are RAM; what is in them is in RAM's file, and stays
 * Nothing is saved of RAM that doesn't grow. Loaded before all that has addresses in RAM. 0 or negative errno (said).
 */
void ram_blocks_save(const struct kvm *kvm, struct state_writer *writer);
int __must_check ram_blocks_load(struct kvm *kvm, struct state_reader *reader);

#endif
