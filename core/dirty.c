/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The record of written pages (kvm/dirty.h): what lkvm marks, what KVM logs (core/memslot.c), and what vhost back ends do.
 *
 * Who writes marks behind its write, and who collects takes the mark away before it reads: a write that was missed has a
 * mark that is still to come. It is turned on and off while nobody writes.
 */
#include "kvm/dirty.h"

#include <sys/mman.h>

#include "core/memslot.h"

#define WORD_BITS	(8 * sizeof(unsigned long))

static struct dirty_map *dirty_of(const struct kvm *kvm)
{
	return atomic_load_explicit(&kvm->memory.written, memory_order_relaxed);
}

void memory_dirty_mark(struct dirty_map *map, const void *host, size_t length)
{
	uint64_t offset = (uint64_t)((uintptr_t)host - (uintptr_t)map->ram), last;

	if (!length || !range_contains(0, map->size, offset, length))
		return;
	last = (offset + length - 1) >> map->page_shift;
	for (uint64_t page = offset >> map->page_shift; page <= last; page++)
		/* also where it is marked: behind the write, or the page might have been taken before it */
		atomic_fetch_or(&map->marked[page / WORD_BITS], 1UL << (page % WORD_BITS));
}

/* ---- the log of vhost back ends ---- */

static uint64_t guest_end(const struct kvm *kvm)
{
	uint64_t end = 0;

	for (unsigned int i = 0; i <= kvm->ram_count; i++)
		end = MAX(end, kvm->ram[i].base + kvm->ram[i].size);
	return end;
}

static int outside_make(const struct kvm *kvm, struct dirty_map *map)
{
	map->outside_size = (size_t)ALIGN_UP(guest_end(kvm) / DIRTY_OUTSIDE_PAGE / 8 + 1, (uint64_t)sysconf(_SC_PAGESIZE));
	map->outside_fd = memfd_create("lkvm-dirty", MFD_CLOEXEC);
	if (map->outside_fd < 0 || ftruncate(map->outside_fd, (off_t)map->outside_size) < 0)
		return -errno;
	map->outside = mmap(NULL, map->outside_size, PROT_READ | PROT_WRITE, MAP_SHARED, map->outside_fd, 0);
	if (map->outside != MAP_FAILED)
		return 0;
	map->outside = NULL;
	return -errno;
}

/* A page of theirs, where it lies in RAM's file. */
static void outside_page(const struct kvm *kvm, struct dirty_map *map, uint64_t guest)
{
	for (unsigned int i = 0; i <= kvm->ram_count; i++) {
		const struct ram_range *range = &kvm->ram[i];

		if (range_contains(range->base, range->size, guest, DIRTY_OUTSIDE_PAGE))
			memory_dirty_mark(map, map->ram + range->offset + (guest - range->base), DIRTY_OUTSIDE_PAGE);
	}
}

static void outside_collect(const struct kvm *kvm, struct dirty_map *map)
{
	for (size_t i = 0; i < map->outside_size / sizeof(unsigned long); i++) {
		unsigned long word = atomic_load_explicit(&map->outside[i], memory_order_relaxed) ? atomic_exchange(&map->outside[i], 0) : 0;

		for (; word; word &= word - 1)
			outside_page(kvm, map, (i * WORD_BITS + (unsigned int)__builtin_ctzl(word)) * DIRTY_OUTSIDE_PAGE);
	}
}

/* ---- life ---- */

static void map_free(struct dirty_map *map)
{
	if (map->outside)
		munmap(map->outside, map->outside_size);
	if (map->outside_fd >= 0)
		close(map->outside_fd);
	free(map);
}

int dirty_start(struct kvm *kvm)
{
	size_t words = dirty_words(kvm);
	struct dirty_map *map = calloc(1, sizeof(*map) + words * sizeof(map->marked[0]));
	int result;

	if (!map)
		return log_errno(ENOMEM, "guest memory: its written pages can't be recorded");
	*map = (struct dirty_map){ .ram = kvm->ram_host, .size = kvm->ram_size, .words = words, .outside_fd = -1,
				   .page_shift = (unsigned int)__builtin_ctz(dirty_page_size(kvm)) };
	result = outside_make(kvm, map);
	if (result)
		log_errno(result, "guest memory: its written pages can't be recorded");
	else
		result = memslots_log(kvm, true);
	if (result) {
		map_free(map);
		return result;
	}
	atomic_store(&kvm->memory.written, map);
	return 0;
}

void dirty_stop(struct kvm *kvm)
{
	struct dirty_map *map = atomic_exchange(&kvm->memory.written, NULL);

	if (!map)
		return;
	if (memslots_log(kvm, false))
		log_debug("guest memory: KVM goes on recording");
	map_free(map);
}

int dirty_collect(struct kvm *kvm, unsigned long *pages)
{
	struct dirty_map *map = dirty_of(kvm);
	int result;

	if (!map)
		return 0;
	result = memslots_collect(kvm, map);
	outside_collect(kvm, map);
	for (size_t i = 0; i < map->words; i++)
		if (atomic_load_explicit(&map->marked[i], memory_order_relaxed))
			pages[i] |= atomic_exchange(&map->marked[i], 0);
	return result;
}

unsigned int dirty_page_size(const struct kvm *kvm)
{
	(void)kvm;
	return (unsigned int)sysconf(_SC_PAGESIZE);
}

size_t dirty_words(const struct kvm *kvm)
{
	uint64_t pages = (kvm->ram_size + dirty_page_size(kvm) - 1) / dirty_page_size(kvm);

	return (size_t)((pages + WORD_BITS - 1) / WORD_BITS);
}
