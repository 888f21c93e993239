/* SPDX-License-Identifier: BSD-2-Clause */
/* Between core/vm.c and core/memslot.c: KVM's slots follow kvm->memory and kvm->ports from init to exit. */
#ifndef CORE_MEMSLOT_H
#define CORE_MEMSLOT_H

#include "kvm/kvm.h"

/** memslots_init() - after KVM_CREATE_VM, before any region is added; memslots_exit() before the VM fd closes */
int __must_check memslots_init(struct kvm *kvm);
void memslots_exit(struct kvm *kvm);

/** memslots_log() - KVM records which pages of RAM are written, from now on or no more; 0 or negative errno (said) */
int __must_check memslots_log(struct kvm *kvm, bool on);
/** memslots_collect() - marks those in @map that KVM has recorded since the last time; any thread; 0 or negative errno (said) */
struct dirty_map;
int __must_check memslots_collect(struct kvm *kvm, struct dirty_map *map);

#endif
