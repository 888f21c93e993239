/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ways to config space: x86's ports (configuration mechanism #1) and ECAM (PCI Express Base 5.0, 7.2.2);
 * the host bridge as function 0; and arm64's window to the I/O ports.
 */
#include "hw/pci.h"
#include "kvm/arch.h"
#include "kvm/log.h"

#define CONFIG_ADDRESS	0xcf8
#define CONFIG_DATA	0xcfc
#define CONFIG_ENABLE	BIT(31)
#define RESET_CONTROL	1		/* port 0xcf9, by bytes only: the chipset's reset register */
#define RESET_CPU	0x04

/* ---- configuration mechanism #1 ---- */

static uint64_t address_read(struct pci_bus *bus, uint64_t offset, unsigned int size)
{
	if (size != 4)
		return offset == RESET_CONTROL && size == 1 ? 0 : UINT32_MAX;
	return atomic_load_explicit(&bus->config_address, memory_order_relaxed);
}

static void address_write(struct pci_bus *bus, uint64_t offset, uint64_t value, unsigned int size)
{
	/* Anything but a dword is not for the address register. */
	if (size != 4) {
		if (offset == RESET_CONTROL && size == 1 && (value & RESET_CPU))
			kvm_reset_request(bus->kvm);
		return;
	}
	/* Bits 1 and 0, and 30 to 24, are hardwired to 0. */
	atomic_store_explicit(&bus->config_address, (uint32_t)value & 0x80fffffc, memory_order_relaxed);
}
IO_OPS(address_ops, struct pci_bus, address_read, address_write, 1, 4);

static uint64_t data_read(struct pci_bus *bus, uint64_t offset, unsigned int size)
{
	uint32_t address = atomic_load_explicit(&bus->config_address, memory_order_relaxed);

	if (!(address & CONFIG_ENABLE))
		return UINT32_MAX;
	return pci_config_read(bus, (address >> 16) & 0xff, (address >> 8) & 0xff,
			       (address & 0xfc) + (unsigned int)offset, size);
}

static void data_write(struct pci_bus *bus, uint64_t offset, uint64_t value, unsigned int size)
{
	uint32_t address = atomic_load_explicit(&bus->config_address, memory_order_relaxed);

	if (address & CONFIG_ENABLE)
		pci_config_write(bus, (address >> 16) & 0xff, (address >> 8) & 0xff,
				 (address & 0xfc) + (unsigned int)offset, (uint32_t)value, size);
}
IO_OPS(data_ops, struct pci_bus, data_read, data_write, 1, 4);

static int ports_add(struct pci_bus *bus)
{
	struct address_space *ports = &bus->kvm->ports;
	int result;

	region_init_io(&bus->address_region, "pci config address", &address_ops, bus, 4);
	region_init_io(&bus->data_region, "pci config data", &data_ops, bus, 4);
	/* The data access that follows drains the address, so half of the exits can go. */
	bus->address_writes = (struct coalesced){ .offset = 0, .size = 4 };
	result = region_coalesce(&bus->address_region, &bus->address_writes);
	if (!result)
		result = region_add(ports, &bus->address_region, CONFIG_ADDRESS, 0);
	return result ? result : region_add(ports, &bus->data_region, CONFIG_DATA, 0);
}

/* ---- ECAM ---- */

static uint64_t ecam_read(struct pci_bus *bus, uint64_t offset, unsigned int size)
{
	return pci_config_read(bus, (unsigned int)(offset >> 20), (offset >> 12) & 0xff, offset & 0xfff, size);
}

static void ecam_write(struct pci_bus *bus, uint64_t offset, uint64_t value, unsigned int size)
{
	pci_config_write(bus, (unsigned int)(offset >> 20), (offset >> 12) & 0xff, offset & 0xfff, (uint32_t)value, size);
}
IO_OPS(ecam_ops, struct pci_bus, ecam_read, ecam_write, 1, 4);

/* ---- I/O ports where the CPU has none ---- */

static uint64_t window_read(struct pci_bus *bus, uint64_t offset, unsigned int size)
{
	uint64_t value;

	space_io_read(&bus->kvm->ports, offset, size, &value);
	return value;
}

static void window_write(struct pci_bus *bus, uint64_t offset, uint64_t value, unsigned int size)
{
	space_io_write(&bus->kvm->ports, offset, size, value);
}
IO_OPS(window_ops, struct pci_bus, window_read, window_write, 1, 4);

/* ---- life ---- */

static int bridge_add(struct pci_bus *bus)
{
	bus->bridge = (struct pci_device){
		.name = "host bridge",
		/* Red Hat's generic host bridge: a plain one, which no kernel has special ideas about. */
		.vendor_id = 0x1b36, .device_id = 0x0008,
		.subsystem_vendor_id = 0x1af4, .subsystem_id = 0x1100,
		.class_code = 0x060000,
	};
	return pci_device_add(bus, &bus->bridge, 0, 0, 0);
}

int pci_host_init(struct pci_bus *bus)
{
	const struct platform_layout *layout = arch_platform(bus->kvm);
	struct address_space *memory = &bus->kvm->memory;
	int result = bridge_add(bus);

	region_init_io(&bus->ecam_region, "pci ecam", &ecam_ops, bus, layout->pci_ecam_size);
	if (!result)
		result = region_add(memory, &bus->ecam_region, layout->pci_ecam_base, 1);
	if (!result && !layout->pci_io_window)
		result = ports_add(bus);
	if (!result && layout->pci_io_window) {
		region_init_io(&bus->io_region, "pci i/o window", &window_ops, bus, KIB(64));
		result = region_add(memory, &bus->io_region, layout->pci_io_window, 1);
	}
	return result ? log_errno(result, "PCI host bridge") : 0;
}

void pci_host_exit(struct pci_bus *bus)
{
	region_del(&bus->io_region);
	region_del(&bus->data_region);
	region_del(&bus->address_region);
	region_del(&bus->ecam_region);
	pci_device_del(&bus->bridge);
}
