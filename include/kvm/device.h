/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What every device has, from the day it is written: reset, quiesce, resume, save and load.
 */
#ifndef KVM_DEVICE_H
#define KVM_DEVICE_H

#include "kvm/state.h"
#include "kvm/types.h"

struct kvm;
struct device;

/**
 * struct device_ops - all called on the main thread, with every vCPU paused
 *
 * @reset:	power-on state; requests in flight are waited for (their buffers live until the host I/O is done)
 * @quiesce:	no host I/O in flight and no timer running when it returns; guest-visible state doesn't change
 *		until @resume. NULL if the device never does anything by itself.
 * @resume:	undoes @quiesce
 * @save:	appends its state; only after @quiesce
 * @load:	takes over what @save wrote, validated like guest input; only after @quiesce; 0 or -EINVAL
 */
struct device_ops {
	void (*reset)(struct device *device);
	int (*quiesce)(struct device *device);
	void (*resume)(struct device *device);
	void (*save)(struct device *device, struct state_writer *writer);
	int (*load)(struct device *device, struct state_reader *reader);
};

/** struct device - embedded in its owner */
struct device {
	const char *name;	/* unique in the VM; a copy made by device_add() */
	const struct device_ops *ops;
	struct kvm *kvm;
	struct device *next;
};

/** device_add() - the VM now resets, quiesces, saves and loads @device; -EEXIST for a taken name. Main thread. */
int __must_check device_add(struct kvm *kvm, struct device *device, const struct device_ops *ops,
			    const char *name_format, ...) printf_like(4, 5);
void device_del(struct device *device);

struct device *device_find(struct kvm *kvm, const char *name);
void device_for_each(struct kvm *kvm, void (*each)(struct device *device, void *opaque), void *opaque);

/** devices_reset(), ... - all devices in the order of their names; quiesce undoes itself on failure */
void devices_reset(struct kvm *kvm);
int __must_check devices_quiesce(struct kvm *kvm);
void devices_resume(struct kvm *kvm);
void devices_save(struct kvm *kvm, struct state_writer *writer);
int __must_check devices_load(struct kvm *kvm, struct state_reader *reader);

#endif
