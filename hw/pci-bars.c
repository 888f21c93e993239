/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * BARs: their registers, the places that they get at first, and what is seen where. A bridge passes on to what is behind it
 * what lies in its windows. With the bus lock held, but for pci_bars_place(), whose device nobody sees yet.
 */
#include "hw/pci.h"
#include "kvm/log.h"

/* RAM is at 0: a BAR that a guest moves over RAM is not seen there, as behind a real host bridge. */
#define PCI_BAR_PRIORITY	(-1)

static unsigned int bar_offset(unsigned int index)
{
	return PCI_BASE_ADDRESS_0 + 4 * index;
}

static struct address_space *bar_space(const struct pci_device *device, const struct pci_bar *bar)
{
	return bar->kind == PCI_BAR_IO ? &device->bus->kvm->ports : &device->bus->kvm->memory;
}

/* The address that the registers hold, or 0 when nothing may be decoded: sizing, or past the end. */
static uint64_t bar_address_locked(const struct pci_device *device, unsigned int index)
{
	const struct pci_bar *bar = &device->bars[index];
	uint64_t low = pci_config_load(device->config + bar_offset(index), 4), address, end;

	switch (bar->kind) {
	case PCI_BAR_IO:
		address = low & ~(uint64_t)3;
		end = KIB(64);
		break;
	case PCI_BAR_MEM32:
		address = low & ~(uint64_t)15;
		end = GIB(4);
		break;
	default:
		address = (low & ~(uint64_t)15) | pci_config_load(device->config + bar_offset(index) + 4, 4) << 32;
		end = 1ULL << 52;
	}
	/* All ones is how a driver asks for the size: the highest place of a window, where no BAR is ever put. */
	if (!address || !range_contains(0, end, address, bar->region->size) || address + bar->region->size == end)
		return 0;
	return address;
}

/* Memory behind a bridge, by a window of its: [base, limit], of 1 MiB pieces; none if the limit is the lower one. */
static bool window_has(uint64_t base, uint64_t limit, uint64_t address, uint64_t size)
{
	limit |= 0xfffff;
	return base <= limit && range_contains(base, limit - base + 1, address, size);
}

static bool bridge_passes(const struct pci_device *bridge, uint64_t address, uint64_t size)
{
	const uint8_t *config = bridge->config;

	/* I/O windows are hardwired to nothing. */
	if (!bridge->link_up || !(pci_config_load(config + PCI_COMMAND, 2) & PCI_COMMAND_MEMORY))
		return false;
	return window_has((pci_config_load(config + PCI_MEMORY_BASE, 2) & 0xfff0) << 16,
			  (pci_config_load(config + PCI_MEMORY_LIMIT, 2) & 0xfff0) << 16, address, size) ||
	       window_has((pci_config_load(config + PCI_PREF_MEMORY_BASE, 2) & 0xfff0) << 16 |
			  pci_config_load(config + PCI_PREF_BASE_UPPER32, 4) << 32,
			  (pci_config_load(config + PCI_PREF_MEMORY_LIMIT, 2) & 0xfff0) << 16 |
			  pci_config_load(config + PCI_PREF_LIMIT_UPPER32, 4) << 32, address, size);
}

static void bar_update_locked(struct pci_device *device, unsigned int index)
{
	struct pci_bar *bar = &device->bars[index];
	uint64_t command = pci_config_load(device->config + PCI_COMMAND, 2);
	bool decode = command & (bar->kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);
	uint64_t address = decode ? bar_address_locked(device, index) : 0;

	if (address && device->bridge && (bar->kind == PCI_BAR_IO || !bridge_passes(device->bridge, address, bar->region->size)))
		address = 0;
	if (bar->mapped && address == bar->address)
		return;
	if (bar->mapped && !address) {
		region_del(bar->region);
		bar->mapped = false;
	} else if (bar->mapped) {
		if (!region_move(bar->region, address))
			bar->address = address;
	} else if (address && !region_add(bar_space(device, bar), bar->region, address, PCI_BAR_PRIORITY)) {
		bar->address = address;
		bar->mapped = true;
	}
}

void pci_bars_update_locked(struct pci_device *device)
{
	for (unsigned int i = 0; i < PCI_BARS; i++)
		if (device->bars[i].kind != PCI_BAR_NONE)
			bar_update_locked(device, i);
}

/* A BAR of @device whose home is in the way of [@at, @at + @size), or NULL. */
static const struct pci_bar *device_in_the_way(const struct pci_device *device, bool io, uint64_t at, uint64_t size)
{
	for (unsigned int i = 0; device && i < PCI_BARS; i++) {
		const struct pci_bar *bar = &device->bars[i];

		if (bar->home && (bar->kind == PCI_BAR_IO) == io && ranges_overlap(at, size, bar->home, bar->region->size))
			return bar;
	}
	return NULL;
}

static const struct pci_bar *bus_in_the_way(const struct pci_bus *bus, bool io, uint64_t at, uint64_t size)
{
	const struct pci_bar *bar = NULL;

	for (unsigned int i = 0; i < PCI_DEVFNS && !bar; i++)
		bar = device_in_the_way(bus->functions[i], io, at, size);
	return bar;
}

/* The first naturally aligned address of a window that no BAR has, @device's own included; 0 when it is full. */
static uint64_t window_take(const struct pci_bus *bus, const struct pci_device *device,
			    const struct pci_window *window, uint64_t size)
{
	bool io = window == &bus->io;
	uint64_t at = ALIGN_UP(window->base, size);

	while (window->end && range_contains(window->base, window->end - window->base, at, size)) {
		const struct pci_bar *other = bus_in_the_way(bus, io, at, size);

		other = other ? other : device_in_the_way(device, io, at, size);
		if (!other)
			return at;
		at = ALIGN_UP(other->home + other->region->size, size);
	}
	return 0;
}

/* As firmware would choose it; 0: there is no room. */
static uint64_t bar_home(const struct pci_bus *bus, const struct pci_device *device, const struct pci_bar *bar)
{
	uint64_t size = bar->region->size, address = 0;

	if (bar->kind == PCI_BAR_IO)
		return window_take(bus, device, &bus->io, size);
	/* The high window is a prefetchable one: kernels put nothing else there. */
	if (bar->kind == PCI_BAR_MEM64 && bar->prefetch)
		address = window_take(bus, device, &bus->mmio64, MAX(size, (uint64_t)4096));
	return address ? address : window_take(bus, device, &bus->mmio32, MAX(size, (uint64_t)4096));
}

static int bar_place(struct pci_bus *bus, struct pci_device *device, unsigned int index)
{
	struct pci_bar *bar = &device->bars[index];
	uint64_t size = bar->region->size, type = PCI_BASE_ADDRESS_SPACE_MEMORY;
	uint8_t *config = device->config + bar_offset(index), *mask = device->write_mask + bar_offset(index);

	if (!IS_POWER_OF_2(size) || size < (bar->kind == PCI_BAR_IO ? 4 : 16))
		return log_error(EINVAL, "PCI %s: BAR %u of %llu bytes", device->name, index, (unsigned long long)size);
	if (bar->kind == PCI_BAR_IO)
		type = PCI_BASE_ADDRESS_SPACE_IO;
	else if (bar->kind == PCI_BAR_MEM64)
		type |= PCI_BASE_ADDRESS_MEM_TYPE_64 | (bar->prefetch ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0);
	bar->home = device->bridge ? 0 : bar_home(bus, device, bar);
	if (!bar->home && !device->bridge)
		return log_error(ENOSPC, "PCI %s: no room for BAR %u", device->name, index);
	pci_config_store(config, 4, (bar->home & UINT32_MAX) | type);
	pci_config_store(mask, 4, ~(size - 1) & (bar->kind == PCI_BAR_IO ? 0xfffffffcU : 0xfffffff0U));
	if (bar->kind == PCI_BAR_MEM64) {
		pci_config_store(config + 4, 4, bar->home >> 32);
		pci_config_store(mask + 4, 4, ~(size - 1) >> 32);
	}
	return 0;
}

int pci_bars_place(struct pci_bus *bus, struct pci_device *device)
{
	int result = 0;

	for (unsigned int i = 0; i < PCI_BARS && !result; i++)
		if (device->bars[i].kind != PCI_BAR_NONE)
			result = bar_place(bus, device, i);
	return result;
}
