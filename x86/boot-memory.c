/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The memory map that boot protocols hand to a kernel, and where an initrd may lie in it.
 */
#include "kvm/log.h"
#include "kvm/x86.h"

#define PAGE 4096ULL

static void add(struct x86_memory map[X86_MEMORY_MAX], size_t *count, uint64_t base, uint64_t end, uint32_t type)
{
	if (end > base && *count < X86_MEMORY_MAX)
		map[(*count)++] = (struct x86_memory){ .base = base, .size = end - base, .type = type };
}

size_t x86_memory_map(const struct kvm *kvm, struct x86_memory map[X86_MEMORY_MAX])
{
	size_t count = 0;

	add(map, &count, 0, X86_LOW_RAM_END, X86_MEMORY_RAM);
	add(map, &count, X86_EBDA, 0xa0000, X86_MEMORY_RESERVED);
	add(map, &count, X86_TABLES, X86_TABLES_END, X86_MEMORY_RESERVED);
	add(map, &count, MIB(1), kvm->ram[0].size, X86_MEMORY_RAM);
	add(map, &count, X86_ECAM, X86_ECAM + X86_ECAM_SIZE, X86_MEMORY_RESERVED);
	add(map, &count, X86_IDENTITY_MAP, X86_TSS + 3 * PAGE, X86_MEMORY_RESERVED);
	for (unsigned int i = 1; i < kvm->ram_count; i++)
		add(map, &count, kvm->ram[i].base, kvm->ram[i].base + kvm->ram[i].size, X86_MEMORY_RAM);
	return count;
}

/* The highest place in [base, end) below @last and clear of the kernel; 0 if none. */
static uint64_t place_in(uint64_t base, uint64_t end, uint64_t size, uint64_t last, uint64_t kernel,
			 uint64_t kernel_size)
{
	uint64_t at;

	if (last != UINT64_MAX && end > last + 1)
		end = last + 1;
	if (end <= base || size > end - base)
		return 0;
	at = ALIGN_DOWN(end - size, PAGE);
	if (at >= base && !ranges_overlap(at, size, kernel, kernel_size))
		return at;
	if (kernel < base || size > kernel - base)
		return 0;
	at = ALIGN_DOWN(kernel - size, PAGE);
	return at >= base ? at : 0;
}

uint64_t x86_place_initrd(const struct kvm *kvm, uint64_t size, uint64_t last, uint64_t kernel, uint64_t kernel_size)
{
	struct x86_memory map[X86_MEMORY_MAX];
	size_t count = x86_memory_map(kvm, map);
	uint64_t found = 0;

	/* Low memory first: every kernel can read it there, whatever it says of its limits. */
	for (size_t i = 0; i < count && !found; i++)
		if (map[i].type == X86_MEMORY_RAM && map[i].base >= MIB(1))
			found = place_in(map[i].base, map[i].base + map[i].size, size, last, kernel, kernel_size);
	return found;
}
