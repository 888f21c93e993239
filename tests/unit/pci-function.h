/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A PCI function with a BAR of each kind and MSI-X, on a bus of a board without a guest and without KVM: the fixture
 * of test-pci*.c.
 */
#ifndef TESTS_UNIT_PCI_FUNCTION_H
#define TESTS_UNIT_PCI_FUNCTION_H

#include "tests/unit/board.h"

#include <linux/pci_regs.h>

#include "hw/pci.h"
#include "tests/unit/guest-ring.h"

#define IO_BAR		0
#define MEM_BAR		1
#define MSIX_BAR	2
#define MEM64_BAR	4
#define IO_SIZE		32U
#define MEM_SIZE	0x10000U
#define MEM64_SIZE	0x100000U
#define VECTORS		3

struct function {
	struct pci_device pci;
	struct region io, mem, mem64;
	atomic_uint accesses;
};

static struct kvm *kvm;
static struct pci_bus *bus;
static struct guest_ram guest;
static struct function *function;
static const struct platform_layout *layout;

/* ---- functions ---- */

/* Reads tell which function it was. */
static inline uint64_t function_read(struct function *of, uint64_t offset, unsigned int size)
{
	(void)size;
	atomic_fetch_add(&of->accesses, 1);
	return of->pci.device_id + (offset << 16);
}

static inline void function_write(struct function *of, uint64_t offset, uint64_t value, unsigned int size)
{
	(void)offset;
	(void)value;
	(void)size;
	atomic_fetch_add(&of->accesses, 1);
}
IO_OPS(function_ops, struct function, function_read, function_write, 1, 4);

static inline struct function *function_new(uint16_t id)
{
	struct function *of = calloc(1, sizeof(*of));

	of->pci.name = "test";
	of->pci.vendor_id = 0x1234;
	of->pci.device_id = id;
	of->pci.subsystem_vendor_id = 0x5678;
	of->pci.subsystem_id = 0x9abc;
	of->pci.class_code = 0x020304;
	of->pci.revision = 7;
	of->pci.intx = true;
	region_init_io(&of->io, "io", &function_ops, of, IO_SIZE);
	region_init_io(&of->mem, "mem", &function_ops, of, MEM_SIZE);
	region_init_io(&of->mem64, "mem64", &function_ops, of, MEM64_SIZE);
	of->pci.bars[IO_BAR] = (struct pci_bar){ .kind = PCI_BAR_IO, .region = &of->io };
	of->pci.bars[MEM_BAR] = (struct pci_bar){ .kind = PCI_BAR_MEM32, .region = &of->mem };
	of->pci.bars[MEM64_BAR] = (struct pci_bar){ .kind = PCI_BAR_MEM64, .prefetch = true, .region = &of->mem64 };
	return of;
}

static inline struct function *function_add(uint16_t id, int devfn)
{
	struct function *of = function_new(id);

	ck_assert_int_eq(pci_device_add(bus, &of->pci, devfn, VECTORS, MSIX_BAR), 0);
	return of;
}

static inline void function_del(struct function *of)
{
	pci_device_del(&of->pci);
	free(of);
}

static inline void setup(void)
{
	log_set_sink(board_hush);
	kvm = board_create();
	board_add(kvm, "pci_init");
	bus = pci_bus(kvm);
	ck_assert_ptr_nonnull(bus);
	layout = arch_platform(kvm);
	guest_ram_add(&guest, &kvm->memory);
	function = function_add(0x1111, -1);
}

static inline void teardown(void)
{
	function_del(function);
	guest_ram_remove(&guest);
	board_destroy(kvm);
	log_set_sink(NULL);
}

/* ---- accesses ---- */

static inline uint32_t get(const struct function *of, unsigned int offset, unsigned int size)
{
	uint32_t value = pci_config_read(bus, 0, of->pci.devfn, offset, size);

	return size == 4 ? value : value & ((1U << 8 * size) - 1);
}

static inline void set(const struct function *of, unsigned int offset, unsigned int size, uint32_t value)
{
	pci_config_write(bus, 0, of->pci.devfn, offset, value, size);
}

static inline unsigned int bar(unsigned int index)
{
	return PCI_BASE_ADDRESS_0 + 4 * index;
}

static inline uint32_t mem_address(const struct function *of, unsigned int index)
{
	return get(of, bar(index), 4) & ~15U;
}

static inline uint64_t memory_in(uint64_t address, unsigned int size)
{
	uint64_t value;

	space_io_read(&kvm->memory, address, size, &value);
	return value;
}

static inline uint64_t ecam_in(unsigned int devfn, unsigned int offset, unsigned int size)
{
	return memory_in(layout->pci_ecam_base + (devfn << 12) + offset, size);
}

static inline void count_region(const struct flat_range *range, void *opaque)
{
	struct { const struct region *region; unsigned int ranges; } *count = opaque;

	count->ranges += range->region == count->region;
}

static inline bool is_mapped(struct region *region)
{
	struct { const struct region *region; unsigned int ranges; } count = { region, 0 };

	address_space_for_each(&kvm->memory, count_region, &count);
	address_space_for_each(&kvm->ports, count_region, &count);
	return count.ranges;
}

static inline void decode(const struct function *of, uint16_t command)
{
	set(of, PCI_COMMAND, 2, command);
}

/* ---- MSI-X ---- */

static inline unsigned int msix_at(void)
{
	return function->pci.msix.capability;
}

static inline uint64_t msix_table(void)
{
	return mem_address(function, MSIX_BAR);
}

static inline uint32_t pending(void)
{
	uint64_t pba = msix_table() + (get(function, msix_at() + PCI_MSIX_PBA, 4) & ~7U);

	return (uint32_t)memory_in(pba, 4);
}

static inline void table_set(unsigned int vector, unsigned int word, uint32_t value)
{
	space_io_write(&kvm->memory, msix_table() + vector * 16 + word, 4, value);
}

static inline uint32_t table_get(unsigned int vector, unsigned int word)
{
	return (uint32_t)memory_in(msix_table() + vector * 16 + word, 4);
}

#endif
