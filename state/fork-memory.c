/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest memory that a VM and its forks share, copied as one of them writes to it.
 *
 * A VM's memory is a shared mapping of a file. At its first fork the same file is mapped privately in its place: from
 * there on nobody writes to the file, and a page that is written to becomes the writer's own. What is private already,
 * be it by an earlier fork or over a snapshot, needs nothing: fork(2) shares it as it is. So each generation has what
 * the one before had written, without a copy, and pages are freed when the last of those that see them has ended.
 *
 * Tried and dropped: write protection by userfaultfd while the parent's writes are copied to a base of the forks', which
 * is a second copy of the memory and a wait for each of its pages. Main thread, the VM paused.
 */
#include <errno.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kvm/log.h"
#include "kvm/numa.h"
#include "kvm/ram-blocks.h"
#include "state/fork.h"

#define PROTECTION	(PROT_READ | PROT_WRITE)
#define FLAGS		(MAP_PRIVATE | MAP_NORESERVE)

/* Nothing goes back to the host any more: a hole would show what is in the file. */
static void memory_is_private(struct kvm *kvm)
{
	for (unsigned int i = 0; i < kvm->ram_count + ram_block_count(kvm); i++) {
		__atomic_store_n(&kvm->ram_regions[i].discard_page, 0, __ATOMIC_RELAXED);
		kvm->ram_regions[i].fd = -1;
	}
	/* the mapping holds the file */
	close(kvm->ram_fd);
	kvm->ram_fd = -1;
	madvise(kvm->ram_host, kvm->ram_size, MADV_DONTDUMP);
}

int fork_memory_share(struct kvm *kvm)
{
	void *trial;

	if (kvm->ram_fd < 0)
		return 0;
	/* A host that doesn't promise more than it has refuses this, and may do so when the old mapping is gone. */
	trial = mmap(NULL, kvm->ram_size, PROTECTION, FLAGS, kvm->ram_fd, 0);
	if (trial == MAP_FAILED)
		return log_errno(errno, "fork: guest memory can't be shared");
	munmap(trial, kvm->ram_size);
	if (mmap(kvm->ram_host, kvm->ram_size, PROTECTION, FLAGS | MAP_FIXED, kvm->ram_fd, 0) == MAP_FAILED) {
		int error = errno;

		kvm_end_request(kvm, KVM_END_HOST_ERROR);
		return log_errno(error, "fork: guest memory is lost");
	}
	memory_is_private(kvm);
	/* what the old mapping had is gone with it; where copies come from is no reason to end a VM that runs */
	if (kvm->numa && numa_bind(kvm->numa, kvm->ram_host))
		log_warn("fork: memory that is copied comes from any of the host's nodes");
	return 0;
}
