/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The PCI bus: functions, their config space and INTx (PCI Local Bus 3.0, chapter 6); bridges to one device each.
 *
 * Config space is an array with a write mask beside it, bit for bit; what a write means (COMMAND, BARs, MSI-X)
 * is worked out from the result. Accesses come from any vCPU and are serialized by the bus lock.
 */
#include "hw/pci.h"

#include <string.h>

#include "kvm/arch.h"
#include "kvm/log.h"
#include "kvm/rcu.h"

#define PCI_FIRST_CAPABILITY	0x40
#define COMMAND_WRITABLE	(PCI_COMMAND_IO | PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER | PCI_COMMAND_PARITY | \
				 PCI_COMMAND_SERR | PCI_COMMAND_INTX_DISABLE)

static const char pci_key[] = "PCI bus";

struct pci_bus *pci_bus(struct kvm *kvm)
{
	return kvm_get_state(kvm, pci_key);
}

/* ---- config space bytes ---- */

uint64_t pci_config_load(const uint8_t *at, unsigned int size)
{
	le64 value = le64_of(0);

	memcpy(&value, at, size);
	return le64_get(value);
}

void pci_config_store(uint8_t *at, unsigned int size, uint64_t value)
{
	le64 encoded = le64_of(value);

	memcpy(at, &encoded, size);
}

uint64_t pci_config_get(struct pci_device *device, unsigned int offset, unsigned int size)
{
	uint64_t value;

	pthread_mutex_lock(&device->bus->lock);
	value = pci_config_load(device->config + offset, size);
	pthread_mutex_unlock(&device->bus->lock);
	return value;
}

void pci_config_put(struct pci_device *device, unsigned int offset, unsigned int size, uint64_t value)
{
	pthread_mutex_lock(&device->bus->lock);
	pci_config_store(device->config + offset, size, value);
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

/* The body of a capability of version 2, of which all that isn't said here is 0 (PCI Express Base 5.0, 7.5.3). */
int pci_add_express(struct pci_device *device, unsigned int type)
{
	int at = pci_add_capability(device, PCI_CAP_ID_EXP, PCI_EXP_SLTSTA2 + 2);
	uint8_t *config = device->config + at, *mask = device->write_mask + at;

	if (at < 0)
		return at;
	pci_config_store(config + PCI_EXP_FLAGS, 2, 2 | type << 4);
	pci_config_store(config + PCI_EXP_DEVCAP, 4, PCI_EXP_DEVCAP_RBER);
	pci_config_store(mask + PCI_EXP_DEVCTL, 2, PCI_EXP_DEVCTL_CERE | PCI_EXP_DEVCTL_NFERE | PCI_EXP_DEVCTL_FERE | PCI_EXP_DEVCTL_URRE);
	pci_config_store(config + PCI_EXP_LNKCAP, 4, PCI_EXP_LNKCAP_SLS_2_5GB | 1 << 4);
	pci_config_store(mask + PCI_EXP_LNKCTL, 2, PCI_EXP_LNKCTL_CCC | PCI_EXP_LNKCTL_ES);
	pci_config_store(config + PCI_EXP_LNKSTA, 2, PCI_EXP_LNKSTA_CLS_2_5GB | PCI_EXP_LNKSTA_NLW_X1);
	pci_config_store(config + PCI_EXP_LNKCAP2, 4, PCI_EXP_LNKCAP2_SLS_2_5GB);
	return at;
}

/* ---- all functions: those of the root bus, each followed by what is behind it ---- */

static struct pci_device *function_next(const struct pci_bus *bus, const struct pci_device *at)
{
	if (at && at->behind)
		return at->behind;
	if (at && at->bridge)
		at = at->bridge;
	for (unsigned int i = at ? at->devfn + 1U : 0; i < PCI_DEVFNS; i++)
		if (bus->functions[i])
			return bus->functions[i];
	return NULL;
}

uint16_t pci_requester_id(const struct pci_device *device)
{
	return (uint16_t)((device->bridge ? device->bridge->config[PCI_SECONDARY_BUS] << 8 : 0) | device->devfn);
}

/* ---- INTx ---- */

/* INTA of slot n is on line n modulo 4: the swizzle that the tables describe. That of device 0 is its bridge's. */
static unsigned int intx_line(const struct pci_device *device)
{
	return ((device->bridge ? device->bridge : device)->devfn >> 3) % PCI_INTX_LINES;
}

static bool intx_asserted(const struct pci_device *device)
{
	return device->intx && device->intx_level && !device->msix.enabled &&
	       !(pci_config_load(device->config + PCI_COMMAND, 2) & PCI_COMMAND_INTX_DISABLE);
}

static void intx_update_locked(struct pci_bus *bus, unsigned int line)
{
	bool level = false;

	for (struct pci_device *at = function_next(bus, NULL); at && !level; at = function_next(bus, at))
		level = intx_line(at) == line && intx_asserted(at);
	irq_line_set(&bus->lines[line], level);
}

void pci_intx_set_locked(struct pci_device *device, bool level)
{
	device->intx_level = level;
	if (level)
		device->config[PCI_STATUS] |= PCI_STATUS_INTERRUPT;
	else
		device->config[PCI_STATUS] &= (uint8_t)~PCI_STATUS_INTERRUPT;
	intx_update_locked(device->bus, intx_line(device));
}

void pci_intx_set(struct pci_device *device, bool level)
{
	struct pci_bus *bus = device->bus;

	pthread_mutex_lock(&bus->lock);
	pci_intx_set_locked(device, level);
	pthread_mutex_unlock(&bus->lock);
}

/* ---- accesses ---- */

/* By the bus's number, which is the guest's to choose, on both sides of a link that is up. */
static struct pci_device *bus_find_behind(struct pci_bus *bus, unsigned int bus_number)
{
	struct pci_device *found = NULL;

	pthread_mutex_lock(&bus->lock);
	for (struct pci_device *at = function_next(bus, NULL); at && !found; at = function_next(bus, at))
		if (at->is_bridge && at->link_up && at->config[PCI_SECONDARY_BUS] == bus_number)
			found = at->behind;
	pthread_mutex_unlock(&bus->lock);
	return found;
}

static struct pci_device *bus_find(struct pci_bus *bus, unsigned int bus_number, unsigned int devfn,
				   unsigned int offset, unsigned int size)
{
	if (devfn >= PCI_DEVFNS || !range_contains(0, PCI_CONFIG_SIZE, offset, size))
		return NULL;
	if (bus_number)
		return devfn ? NULL : bus_find_behind(bus, bus_number);
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
		pci_bars_update_locked(device);
	if (device->is_bridge && device->behind &&
	    (ranges_overlap(offset, size, PCI_COMMAND, 2) || ranges_overlap(offset, size, PCI_PRIMARY_BUS, PCI_IO_BASE_UPPER16 - PCI_PRIMARY_BUS)))
		pci_bars_update_locked(device->behind);
	if (device->msix.count && ranges_overlap(offset, size, device->msix.capability, 4))
		pci_msix_update_locked(device);
	if (device->intx)
		intx_update_locked(bus, intx_line(device));
	if (device->ops && device->ops->written_locked)
		device->ops->written_locked(device, offset, value, size);
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

	pci_config_store(config + PCI_VENDOR_ID, 2, device->vendor_id);
	pci_config_store(config + PCI_DEVICE_ID, 2, device->device_id);
	pci_config_store(config + PCI_CLASS_REVISION, 4, (uint64_t)device->class_code << 8 | device->revision);
	if (device->is_bridge) {
		config[PCI_HEADER_TYPE] = PCI_HEADER_TYPE_BRIDGE;
	} else {
		pci_config_store(config + PCI_SUBSYSTEM_VENDOR_ID, 2, device->subsystem_vendor_id);
		pci_config_store(config + PCI_SUBSYSTEM_ID, 2, device->subsystem_id);
	}
	pci_config_store(mask + PCI_COMMAND, 2, COMMAND_WRITABLE);
	mask[PCI_CACHE_LINE_SIZE] = 0xff;
	mask[PCI_INTERRUPT_LINE] = 0xff;
	if (device->intx) {
		config[PCI_INTERRUPT_PIN] = 1;
		config[PCI_INTERRUPT_LINE] = (uint8_t)device->bus->lines[intx_line(device)].gsi;
	}
}

/* Where the bus has it, under which nobody else is. */
static struct pci_device **device_place(struct pci_bus *bus, const struct pci_device *device)
{
	return device->bridge ? &device->bridge->behind : &bus->functions[device->devfn];
}

static int device_choose_place(struct pci_bus *bus, struct pci_device *device, int devfn)
{
	if (device->bridge)
		devfn = 0;
	else if (devfn < 0)
		devfn = bus_find_slot(bus);
	device->devfn = (uint8_t)devfn;
	if (devfn < 0 || *device_place(bus, device))
		return log_error(ENOSPC, "PCI %s: no free slot", device->name);
	return 0;
}

/* Puts @there where @device has its place, and tells the bridge. */
static void device_publish(struct pci_bus *bus, struct pci_device *device, struct pci_device *there)
{
	pthread_mutex_lock(&bus->lock);
	*device_place(bus, device) = there;
	if (device->bridge && device->bridge->ops->behind_locked)
		device->bridge->ops->behind_locked(device->bridge);
	pthread_mutex_unlock(&bus->lock);
}

int pci_device_add(struct pci_bus *bus, struct pci_device *device, int devfn, unsigned int msix_vectors,
		   unsigned int msix_bar)
{
	int result = device_choose_place(bus, device, devfn);

	if (result)
		return result;
	device->bus = bus;
	device_fill_config(device);
	if (msix_vectors)
		result = pci_msix_init(device, msix_vectors, msix_bar);
	if (!result)
		result = pci_bars_place(bus, device);
	if (result) {
		pci_msix_exit(device);
		device->bus = NULL;
		return result;
	}
	memcpy(device->power_on, device->config, sizeof(device->power_on));
	device_publish(bus, device, device);
	return 0;
}

void pci_device_del(struct pci_device *device)
{
	struct pci_bus *bus = device->bus;

	if (!bus)
		return;
	pthread_mutex_lock(&bus->lock);
	pci_config_store(device->config + PCI_COMMAND, 2, 0);
	pci_bars_update_locked(device);
	device->intx_level = false;
	intx_update_locked(bus, intx_line(device));
	pthread_mutex_unlock(&bus->lock);
	device_publish(bus, device, NULL);
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

void pci_function_reset_locked(struct pci_device *device)
{
	memcpy(device->config, device->power_on, sizeof(device->power_on));
	device->intx_level = false;
	if (device->ops && device->ops->reset_locked)
		device->ops->reset_locked(device);
	pci_bars_update_locked(device);
	if (device->msix.count)
		pci_msix_reset_locked(device);
}

static void bus_reset(struct device *base)
{
	struct pci_bus *bus = bus_of(base);

	pthread_mutex_lock(&bus->lock);
	for (struct pci_device *at = function_next(bus, NULL); at; at = function_next(bus, at))
		pci_function_reset_locked(at);
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
	for (struct pci_device *at = function_next(bus, NULL); at; at = function_next(bus, at)) {
		state_save(writer, &function_table, at);
		if (at->msix.count)
			pci_msix_save_locked(at, writer);
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
		if (i >= device->live && i - device->live < device->live_size)
			continue;
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
		if (device->ops && device->ops->loaded_locked)
			device->ops->loaded_locked(device);
		pci_bars_update_locked(device);
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
	for (struct pci_device *at = function_next(bus, NULL); at && !result; at = function_next(bus, at))
		result = function_load_locked(at, reader);
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
