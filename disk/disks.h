/* SPDX-License-Identifier: BSD-2-Clause */
/* Between disk/disks.c, which has a VM's disks, and disk/medium.c, which changes what is in a drive. */
#ifndef DISK_DISKS_H
#define DISK_DISKS_H

#include "kvm/disk.h"

struct disks_item {
	struct disk *disk;
	char *id;			/* of one that was plugged in; else NULL */
	size_t option;			/* its place among all of -d, folders and daemons' included */
	struct disk_place place;
	struct disk_device_options options;
};

struct disks {
	size_t count;
	struct event_loop *loop;	/* NULL: there was no disk yet */
	struct disks_item **items;	/* those that were plugged in come last */
};

/** disks_of() - or NULL: the VM has none */
struct disks *disks_of(struct kvm *kvm);

/** disks_label() - what clients call disk @index: "disk0", or what it was plugged in as */
#define DISKS_LABEL_SIZE	64
void disks_label(struct kvm *kvm, size_t index, char *name, size_t size);

#endif
