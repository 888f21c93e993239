/* SPDX-License-Identifier: BSD-2-Clause */
/* RAM that grows, for machines of tests (board.h): a file like the real one, of which nothing is there but what was plugged. */
#ifndef TESTS_UNIT_GROWING_RAM_H
#define TESTS_UNIT_GROWING_RAM_H

#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kvm/ram-blocks.h"

#define GROWING_BASE	GIB(4)
#define GROWING_BLOCK	MIB(2)

/* False: the host has no room. */
static inline bool growing_ram_add(struct kvm *kvm, unsigned int blocks)
{
	uint64_t boot = kvm->ram_size;

	kvm->ram_block = GROWING_BLOCK;
	kvm->ram_more = blocks * GROWING_BLOCK;
	kvm->ram_size = boot + kvm->ram_more;
	kvm->ram[kvm->ram_count] = (struct ram_range){ .base = GROWING_BASE, .size = kvm->ram_more, .offset = boot };
	kvm->ram_regions = calloc(kvm->ram_count + blocks, sizeof(*kvm->ram_regions));
	kvm->ram_fd = memfd_create("lkvm-test", MFD_CLOEXEC);
	if (!kvm->ram_regions || kvm->ram_fd < 0 || ftruncate(kvm->ram_fd, (off_t)kvm->ram_size) < 0)
		return false;
	kvm->ram_regions[0].discard_page = (uint64_t)sysconf(_SC_PAGESIZE);
	kvm->ram_host = mmap(NULL, kvm->ram_size, PROT_READ | PROT_WRITE, MAP_SHARED, kvm->ram_fd, 0);
	return kvm->ram_host != MAP_FAILED;
}

static inline void growing_ram_remove(struct kvm *kvm)
{
	for (unsigned int i = 0; i < ram_block_count(kvm); i++)
		region_del(&kvm->ram_regions[kvm->ram_count + i]);
	rcu_synchronize();
	munmap(kvm->ram_host, kvm->ram_size);
	if (kvm->ram_fd >= 0)
		close(kvm->ram_fd);
	free(kvm->ram_regions);
	kvm->ram_regions = NULL;
	kvm->ram_host = NULL;
	kvm->ram_fd = -1;
}

/* Bytes of it that the host has memory for. */
static inline uint64_t growing_ram_held(const struct kvm *kvm)
{
	struct stat status;

	return fstat(kvm->ram_fd, &status) ? 0 : (uint64_t)status.st_blocks * 512;
}

#endif
