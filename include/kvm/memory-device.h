/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device that lets RAM grow and shrink (--mem SIZE,max=SIZE), for those who ask about it: QMP, `lkvm memory`, `lkvm stat`.
 * Main thread.
 */
#ifndef KVM_MEMORY_DEVICE_H
#define KVM_MEMORY_DEVICE_H

#include "kvm/kvm.h"

#define MEMORY_DEVICE_ID	"virtio-mem"
#define MEMORY_DEVICE_PATH	"/machine/peripheral/" MEMORY_DEVICE_ID

struct memory_device_info {
	uint64_t base, block, max;	/* guest addresses; bytes of a block, and of what there can be */
	uint64_t requested, plugged;	/* bytes that the guest is to have, beside what it began with, and that it has */
	bool driven;			/* a driver runs */
};

/** memory_device_query() - false if the VM's RAM doesn't grow */
bool memory_device_query(struct kvm *kvm, struct memory_device_info *info);

/**
 * memory_device_request() - asks the guest to have @bytes plugged; what comes of it is the driver's
 * Returns 0, -ENODEV if RAM doesn't grow, -EINVAL if it is more than there can be or isn't whole blocks.
 */
int __must_check memory_device_request(struct kvm *kvm, uint64_t bytes);

#endif
