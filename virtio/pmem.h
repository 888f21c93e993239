/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside virtio/pmem*.c: the files behind --pmem, mapped into the guest before any device exists. */
#ifndef VIRTIO_PMEM_H
#define VIRTIO_PMEM_H

#include "disk/file.h"
#include "kvm/file-memory.h"
#include "kvm/kvm.h"
#include "kvm/memory.h"

/** struct pmem_file - one --pmem: what of a file is guest memory, and where; constant but for what the file may lose */
struct pmem_file {
	struct disk_file *file;
	bool read_only;
	uint64_t size;
	void *host;
	uint64_t base;			/* guest physical */
	struct region region;
	struct file_memory memory;	/* watched once @host is there */
	struct event_source cut;	/* its event, on the main loop */
	struct pmem_file *next;
};

/** pmem_files() - in the order given; or NULL */
struct pmem_file *pmem_files(const struct kvm *kvm);

#endif
