/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Forks of a running VM: `lkvm fork` (state/fork.c).
 *
 * The VM's process forks a nursery, which forks one process for each VM that is to be; what they have of their parent is
 * the kernel's copy of its address space. Only cmd/ ends processes, so that the way there leads through kvm->run_forks.
 */
#ifndef KVM_FORK_H
#define KVM_FORK_H

#include "kvm/kvm.h"

#define FORKS_MAX	1000		/* by one command */
#define FORK_LAYERS_MAX	32		/* of one disk: forks of forks of forks... */

/** struct fork_layer - what was written to a disk whose writes go with it, up to a fork: an image, to be read only */
struct fork_layer {
	size_t disk;			/* which image of -d, from 0 */
	int fd;
};

/** struct fork_origin - what a forked VM is made from; lives as long as its process */
struct fork_origin {
	const char *parent;		/* its name */
	void *ram;			/* guest memory, this process's own copy */
	uint64_t ram_size;
	struct fork_layer *layers;	/* of all disks, the newest of each last */
	size_t layer_count;
};

struct fork_nursery;
struct fork_child;

/**
 * fork_raise() - in the nursery: starts all forks and waits until they run, or ends them again
 *
 * Returns 0 in the nursery, which is to end; and in each fork, with *@child set, which is to become a VM: fork_config(),
 * kvm_create(), fork_attach(), and what a VM does. In the nursery *@child is NULL.
 */
int __must_check fork_raise(struct fork_nursery *nursery, struct fork_child **child);

/** fork_config() - the parent's options into @config, which has none; 0 or negative errno (said) */
int __must_check fork_config(const struct fork_child *child, struct config *config);
/** fork_attach() - to the VM made by that config, before kvm_init(); 0 or negative errno (said) */
int __must_check fork_attach(struct fork_child *child, struct kvm *kvm);
/** fork_failed() - tells the nursery why; nothing once the VM has run. All that was said until then has been kept for this */
void fork_failed(struct fork_child *child);

#endif
