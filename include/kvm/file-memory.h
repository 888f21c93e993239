/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory that is a file of somebody's, and may lose its end while a guest has it: who cuts the file short takes pages away
 * from under the mapping, and the next access would be a SIGBUS, which ends the process.
 *
 * Watched memory is mended instead: what lies past the file's new end is anonymous memory of zeroes from then on, which
 * goes with the VM, and stays so should the file grow again. The whole page that the file still has something of stays
 * the file's. Accesses of the kernel's own (I/O into it, KVM_RUN) fail with EFAULT until then.
 */
#ifndef KVM_FILE_MEMORY_H
#define KVM_FILE_MEMORY_H

#include <stdatomic.h>

#include "kvm/types.h"

struct file_memory {
	/* set by the owner; constant while it is watched */
	void *host;			/* page-aligned, mapped shared from the beginning of @fd */
	uint64_t size;
	int fd;
	bool read_only;
	int event;			/* an eventfd that is written to when it was mended; or -1 */
	/* private */
	_Atomic uint64_t kept;		/* bytes that are the file's still */
	_Atomic(struct file_memory *) next;
};

/** file_memory_watch() - main thread; until file_memory_unwatch(), before it is unmapped */
void file_memory_watch(struct file_memory *memory);
void file_memory_unwatch(struct file_memory *memory);
/**
 * file_memory_mend() - looks at all that is watched; any thread
 * Returns how often anything was mended since the process began: a caller whose access failed tries again if that is news.
 */
unsigned int file_memory_mend(void);
/** file_memory_kept() - how many bytes of it are the file's, as far as is known; any thread */
uint64_t file_memory_kept(const struct file_memory *memory);

#endif
