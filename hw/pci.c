/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PCI bus: functions, their config space, BARs and INTx (PCI Local Bus 3.0, chapter 6).
 *
 * Config space is an array with a write mask beside it, bit for bit; what a write means (COMMAND, BARs, MSI-X)
 * is worked out from the result. Accesses come from any vCPU and are serialized by the bus lock.
 */
#include "hw/pci.h"

#include <string.h>

#include "kvm/arch.h"
#include "kvm/log.h"
#include "kvm/rcu.h"

/* RAM is at 0: a BAR that a guest moves over RAM is not seen there, as behind a real host bridge. */
#define PCI_BAR_PRIORITY	(-1)
#define PCI_FIRST_CAPABILITY	0x40
#define COMMAND_WRITABLE	(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | \
				 PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)

static const char pci_key[] = "PCI bus";

struct pci_bus *pci_bus(struct kvm *kvm)
{
	return kvm_get_state(kvm, pci_key);
}

/* ---- config space bytes ---- */

static uint64_t config_load(const uint8_t *at, unsigned int size)
{
	le64 value = le64_of(0);

	memcpy(&value, at, size);
	return le64_get(value);
}

static void config_store(uint8_t *at, unsigned int size, uint64_t value)
{
	le64 encoded = le64_of(value);

	memcpy(at, &encoded, size);
}

uint64_t pci_config_get(struct pci_device *device, unsigned int offset, unsigned int size)
{
	uint64_t value;

	pthread_mutex_lock(&device->bus->lock);
	value = config_load(device->config + offset, size);
	pthread_mutex_unlock(&device->bus->lock);
	return value;
}

void pci_config_put(struct pci_device *device, unsigned int offset, unsigned int size, uint64_t value)
{
	pthread_mutex_lock(&device->bus->lock);
	config_store(device->config + offset, size, value);
	pthread_mutex_unlock(&device->bus->lock);
}

int pci_add_capability(struct pci_device *device, uint8_t id, uint8_t size)
{
	unsigned int at = device->capability_end ? device->capability_end : PCI_FIRST_CAPABILITY;
	uint8_t *link = &device->config[PCI_CAPABILITY_LIST];

	/* The last dword stays free, so that capability_end fits its byte. */
	if (at + ALIGN_UP(size, 4U) >= 256)
		return log_error(ENOSPC, "PCI %s: no room for another capability", device->name);
	while (*link)
		link = &device->config[*link + PCI_CAP_LIST_NEXT];
	*link = (uint8_t)at;
	device->config[at + PCI_CAP_LIST_ID] = id;
	device->config[PCI_STATUS] |= PCI_STATUS_CAP_LIST;
	device->capability_end = (uint8_t)(at + ALIGN_UP(size, 4U));
	return (int)at;
}

/* ---- BARs ---- */

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
	uint64_t low = config_load(device->config + bar_offset(index), 4), address, end;

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
		address = (low & ~(uint64_t)15) | config_load(device->config + bar_offset(index) + 4, 4) << 32;
		end = 1ULL << 52;
	}
	/* All ones is how a driver asks for the size: the highest place of a window, where no BAR is ever put. */
	if (!address || !range_contains(0, end, address, bar->region->size) || address + bar->region->size == end)
		return 0;
	return address;
}

static void bar_update_locked(struct pci_device *device, unsigned int index)
{
	struct pci_bar *bar = &device->bars[index];
	uint64_t command = config_load(device->config + PCI_COMMAND, 2);
	bool decode = command & (bar->kind == PCI_BAR_IO ? PCI_COMMAND_IO : PCI_COMMAND_MEMORY);
	uint64_t address = decode ? bar_address_locked(device, index) : 0;

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

static void bars_update_locked(struct pci_device *device)
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

static int bar_place(struct pci_bus *bus, struct pci_device *device, unsigned int index)
{
	struct pci_bar *bar = &device->bars[index];
	uint64_t size = bar->region->size, type = PCI_BASE_ADDRESS_SPACE_MEMORY, address = 0;
	uint8_t *config = device->config + bar_offset(index), *mask = device->write_mask + bar_offset(index);

	if (!IS_POWER_OF_2(size) || size < (bar->kind == PCI_BAR_IO ? 4 : 16))
		return log_error(EINVAL, "PCI %s: BAR %u of %llu bytes", device->name, index, (unsigned long long)size);
	if (bar->kind == PCI_BAR_IO) {
		type = PCI_BASE_ADDRESS_SPACE_IO;
		address = window_take(bus, device, &bus->io, size);
	} else if (bar->kind == PCI_BAR_MEM64) {
		type |= PCI_BASE_ADDRESS_MEM_TYPE_64 | (bar->prefetch ? PCI_BASE_ADDRESS_MEM_PREFETCH : 0);
		/* The high window is a prefetchable one: kernels put nothing else there. */
		address = bar->prefetch ? window_take(bus, device, &bus->mmio64, MAX(size, (uint64_t)4096)) : 0;
	}
	if (!address && bar->kind != PCI_BAR_IO)
		address = window_take(bus, device, &bus->mmio32, MAX(size, (uint64_t)4096));
	if (!address)
		return log_error(ENOSPC, "PCI %s: no room for BAR %u", device->name, index);
	bar->home = address;
	config_store(config, 4, (address & UINT32_MAX) | type);
	config_store(mask, 4, ~(size - 1) & (bar->kind == PCI_BAR_IO ? 0xfffffffcU : 0xfffffff0U));
	if (bar->kind == PCI_BAR_MEM64) {
		config_store(config + 4, 4, address >> 32);
		config_store(mask + 4, 4, ~(size - 1) >> 32);
	}
	return 0;
}

/* ---- INTx ---- */

/* INTA of slot n is on line n modulo 4: the swizzle that the tables describe. */
static unsigned int intx_line(const struct pci_device *device)
{
	return (device->devfn >> 3) % PCI_INTX_LINES;
}

static bool intx_asserted(const struct pci_device *device)
{
	return device->intx && device->intx_level && !device->msix.enabled &&
	       !(config_load(device->config + PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE);
}

static void intx_update_locked(struct pci_bus *bus, unsigned int line)
{
	bool level = false;

	for (unsigned int i = 0; i < PCI_DEVFNS && !level; i++)
		if (bus->functions[i] && intx_line(bus->functions[i]) == line)
			level = intx_asserted(bus->functions[i]);
	irq_line_set(&bus->lines[line], level);
}

void pci_intx_set(struct pci_device *device, bool level)
{
	struct pci_bus *bus = device->bus;

	pthread_mutex_lock(&bus->lock);
	device->intx_level = level;
	if (level)
		device->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	else
		device->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	intx_update_locked(bus, intx_line(device));
	pthread_mutex_unlock(&bus->lock);
}

/* ---- accesses ---- */

static struct pci_device *bus_find(struct pci_bus *bus, unsigned int bus_number, unsigned int devfn,
				   unsigned int offset, unsigned int size)
{
	if (bus_number || devfn >= PCI_DEVFNS || !range_contains(0, PCI_CONFIG_SIZE, offset, size))
		return NULL;
	return bus->functions[devfn];
}

uint32_t pci_config_read(struct pci_bus *bus, unsigned int bus_number, unsigned int devfn, unsigned int offset,
			 unsigned int size)
{
	struct pci_device *device = bus_find(bus, bus_number, devfn, offset, size);

	if (!device)
		return UINT32_MAX;
	if (device->ops && device->ops->config_read)
		device->ops->config_read(device, offset, size);
	return (uint32_t)pci_config_get(device, offset, size);
}

static void config_merge_locked(struct pci_device *device, unsigned int offset, uint32_t value, unsigned int size)
{
	for (unsigned int i = 0; i < size; i++) {
		uint8_t mask = device->write_mask[offset + i], *byte = &device->config[offset + i];

		*byte = (uint8_t)((*byte & ~mask) | ((value >> (8 * i)) & mask));
	}
}

void pci_config_write(struct pci_bus *bus, unsigned int bus_number, unsigned int devfn, unsigned int offset,
		      uint32_t value, unsigned int size)
{
	struct pci_device *device = bus_find(bus, bus_number, devfn, offset, size);

	if (!device)
		return;
	pthread_mutex_lock(&bus->lock);
	config_merge_locked(device, offset, value, size);
	if (ranges_overlap(offset, size, PCI_COMMAND, 2) ||
	    ranges_overlap(offset, size, PCI_BASE_ADDRESS_0, 4ULL * PCI_BARS))
		bars_update_locked(device);
	if (device->msix.count && ranges_overlap(offset, size, device->msix.capability, 4))
		pci_msix_update_locked(device);
	if (device->intx)
		intx_update_locked(bus, intx_line(device));
	pthread_mutex_unlock(&bus->lock);
	if (device->ops && device->ops->config_write)
		device->ops->config_write(device, offset, size);
}

/* ---- adding and removing ---- */

static int bus_find_slot(const struct pci_bus *bus)
{
	for (int devfn = 0; devfn < PCI_DEVFNS; devfn += 8)
		if (!bus->functions[devfn])
			return devfn;
	return -ENOSPC;
}

static void device_fill_config(struct pci_device *device)
{
	uint8_t *config = device->config, *mask = device->write_mask;

	config_store(config + PCI_VENDOR_ID, 2, device->vendor_id);
	config_store(config + PCI_DEVICE_ID, 2, device->device_id);
	config_store(config + PCI_CLASS_REVISION, 4, (uint64_t)device->class_code << 8 | device->revision);
	config_store(config + PCI_SUBSYSTEM_VENDOR_ID, 2, device->subsystem_vendor_id);
	config_store(config + PCI_SUBSYSTEM_ID, 2, device->subsystem_id);
	config_store(mask + PCI_COMMAND, 2, COMMAND_WRITABLE);
	mask[PCI_CACHE_LINE_SIZE] = 0xff;
	mask[PCI_INTERRUPT_LINE] = 0xff;
	if (device->intx) {
		config[PCI_INTERRUPT_PIN] = 1;
		config[PCI_INTERRUPT_LINE] = (uint8_t)device->bus->lines[intx_line(device)].gsi;
	}
}

static int device_place_bars(struct pci_bus *bus, struct pci_device *device)
{
	int result = 0;

	for (unsigned int i = 0; i < PCI_BARS && !result; i++)
		if (device->bars[i].kind != PCI_BAR_NONE)
			result = bar_place(bus, device, i);
	return result;
}

int pci_device_add(struct pci_bus *bus, struct pci_device *device, int devfn, unsigned int msix_vectors,
		   unsigned int msix_bar)
{
	int result = 0;

	if (devfn < 0)
		devfn = bus_find_slot(bus);
	if (devfn < 0 || bus->functions[devfn])
		return log_error(ENOSPC, "PCI %s: no free slot", device->name);
	device->bus = bus;
	device->devfn = (uint8_t)devfn;
	device_fill_config(device);
	if (msix_vectors)
		result = pci_msix_init(device, msix_vectors, msix_bar);
	if (!result)
		result = device_place_bars(bus, device);
	if (result) {
		pci_msix_exit(device);
		return result;
	}
	memcpy(device->power_on, device->config, sizeof(device->power_on));
	pthread_mutex_lock(&bus->lock);
	bus->functions[devfn] = device;
	pthread_mutex_unlock(&bus->lock);
	return 0;
}

void pci_device_del(struct pci_device *device)
{
	struct pci_bus *bus = device->bus;

	if (!bus)
		return;
	pthread_mutex_lock(&bus->lock);
	config_store(device->config + PCI_COMMAND, 2, 0);
	bars_update_locked(device);
	bus->functions[device->devfn] = NULL;
	intx_update_locked(bus, intx_line(device));
	pthread_mutex_unlock(&bus->lock);
	/* A look-up may still be at one of its regions. */
	rcu_synchronize();
	pci_msix_exit(device);
	device->bus = NULL;
}

void pci_for_each(struct pci_bus *bus, void (*each)(struct pci_device *device, void *opaque), void *opaque)
{
	for (unsigned int i = 0; i < PCI_DEVFNS; i++)
		if (bus->functions[i])
			each(bus->functions[i], opaque);
}

/* ---- the bus as a device of the VM: it comes before "virtio-..." by name ---- */

static struct pci_bus *bus_of(struct device *device)
{
	return container_of(device, struct pci_bus, device);
}

static void bus_reset(struct device *base)
{
	struct pci_bus *bus = bus_of(base);

	pthread_mutex_lock(&bus->lock);
	for (unsigned int i = 0; i < PCI_DEVFNS; i++) {
		struct pci_device *device = bus->functions[i];

		if (!device)
			continue;
		memcpy(device->config, device->power_on, sizeof(device->power_on));
		device->intx_level = false;
		bars_update_locked(device);
		if (device->msix.count)
			pci_msix_reset_locked(device);
	}
	for (unsigned int line = 0; line < PCI_INTX_LINES; line++)
		intx_update_locked(bus, line);
	pthread_mutex_unlock(&bus->lock);
	atomic_store(&bus->config_address, 0);
}

static const struct state_field function_fields[] = {
	STATE_BYTES(struct pci_device, config),
	STATE_BOOL(struct pci_device, intx_level),
};
STATE_TABLE(function_table, "PCI function", 1, function_fields);

static const struct state_field bus_fields[] = {
	STATE_U32(struct pci_bus, config_address),
};
STATE_TABLE(bus_table, "PCI bus", 1, bus_fields);

static void bus_save(struct device *base, struct state_writer *writer)
{
	struct pci_bus *bus = bus_of(base);

	state_save(writer, &bus_table, bus);
	pthread_mutex_lock(&bus->lock);
	for (unsigned int i = 0; i < PCI_DEVFNS; i++) {
		if (!bus->functions[i])
			continue;
		state_save(writer, &function_table, bus->functions[i]);
		if (bus->functions[i]->msix.count)
			pci_msix_save_locked(bus->functions[i], writer);
	}
	pthread_mutex_unlock(&bus->lock);
}

/* What a guest could not have written must be as this build has it. */
static int function_check(const struct pci_device *loaded, const struct pci_device *device)
{
	for (unsigned int i = 0; i < PCI_CONFIG_SIZE; i++) {
		uint8_t fixed = (uint8_t)~device->write_mask[i];

		if (i == PCI_STATUS)
			fixed &= (uint8_t)~PCI_STATUS_INTERRUPT;
		if ((loaded->config[i] ^ device->config[i]) & fixed)
			return log_error(EINVAL, "saved state: PCI %s: config byte 0x%x is 0x%02x, which this build can't have",
					 device->name, i, loaded->config[i]);
	}
	return 0;
}

static int function_load_locked(struct pci_device *device, struct state_reader *reader)
{
	struct pci_device *loaded = malloc(sizeof(*loaded));
	int result;

	if (!loaded)
		return log_errno(ENOMEM, "saved state");
	memcpy(loaded, device, sizeof(*loaded));
	result = state_load(reader, &function_table, loaded);
	if (!result)
		result = function_check(loaded, device);
	if (!result) {
		memcpy(device->config, loaded->config, sizeof(device->config));
		device->intx_level = loaded->intx_level;
		bars_update_locked(device);
		if (device->msix.count)
			result = pci_msix_load_locked(device, reader);
	}
	free(loaded);
	return result;
}

static int bus_load(struct device *base, struct state_reader *reader)
{
	struct pci_bus *bus = bus_of(base);
	int result = state_load(reader, &bus_table, bus);

	pthread_mutex_lock(&bus->lock);
	for (unsigned int i = 0; i < PCI_DEVFNS && !result; i++)
		if (bus->functions[i])
			result = function_load_locked(bus->functions[i], reader);
	for (unsigned int line = 0; line < PCI_INTX_LINES; line++)
		intx_update_locked(bus, line);
	pthread_mutex_unlock(&bus->lock);
	return result;
}

static const struct device_ops bus_ops = {
	.reset = bus_reset,
	.save = bus_save,
	.load = bus_load,
};

static int bus_start(struct kvm *kvm, struct pci_bus *bus)
{
	const struct platform_layout *layout = arch_platform(kvm);
	int result = device_add(kvm, &bus->device, &bus_ops, "pci");

	for (unsigned int i = 0; i < PCI_INTX_LINES && !result; i++)
		result = irq_line_init(kvm, &bus->lines[i], layout->pci_intx_gsi[i], IRQ_LEVEL);
	bus->io = (struct pci_window){ layout->pci_io_base, layout->pci_io_base + layout->pci_io_size };
	bus->mmio32 = (struct pci_window){ layout->pci_mmio32_base, layout->pci_mmio32_base + layout->pci_mmio32_size };
	bus->mmio64 = (struct pci_window){ layout->pci_mmio64_base, layout->pci_mmio64_base + layout->pci_mmio64_size };
	return result ? result : pci_host_init(bus);
}

static void bus_free(struct pci_bus *bus)
{
	pci_host_exit(bus);
	for (unsigned int i = 0; i < PCI_INTX_LINES; i++)
		irq_line_exit(&bus->lines[i]);
	device_del(&bus->device);
	pthread_mutex_destroy(&bus->lock);
	free(bus);
}

static void pci_exit(struct kvm *kvm)
{
	struct pci_bus *bus = pci_bus(kvm);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, pci_key, NULL))
		bus_free(bus);
}

static int pci_init(struct kvm *kvm)
{
	struct pci_bus *bus = calloc(1, sizeof(*bus));
	int result;

	if (!bus)
		return log_errno(ENOMEM, "PCI");
	bus->kvm = kvm;
	pthread_mutex_init(&bus->lock, NULL);
	result = bus_start(kvm, bus);
	if (!result)
		result = kvm_set_state(kvm, pci_key, bus);
	if (result)
		bus_free(bus);
	return result;
}
dev_base_init(pci_init);
dev_base_exit(pci_exit);
