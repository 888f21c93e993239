/* SPDX-License-Identifier: BSD-2-Clause */
/* Between hw/pci.c, hw/pci-bars.c, hw/pci-msix.c, hw/pci-host.c and hw/pci-port.c. */
#ifndef HW_PCI_H
#define HW_PCI_H

#include <linux/pci_regs.h>
#include <pthread.h>
#include <stdatomic.h>

#include "kvm/device.h"
#include "kvm/kvm.h"
#include "kvm/pci.h"

#define PCI_DEVFNS	256
#define PCI_INTX_LINES	4

/** struct pci_window - where BARs get their first addresses from */
struct pci_window {
	uint64_t base, end;
};

struct pci_bus {
	struct device device;
	struct kvm *kvm;
	/* guards config space, BARs, MSI-X and INTx of all functions; taken before an address space's lock and the
	 * interrupt table's, and never while a device's loop is waited for */
	pthread_mutex_t lock;
	struct pci_device *functions[PCI_DEVFNS];
	struct irq_line lines[PCI_INTX_LINES];
	struct pci_window io, mmio32, mmio64;

	/* the host bridge's side, hw/pci-host.c */
	atomic_uint config_address;
	struct region address_region, data_region, ecam_region, io_region;
	struct coalesced address_writes;
	struct pci_device bridge;
};

/** pci_config_load(), pci_config_store() - little-endian bytes of a config space */
uint64_t pci_config_load(const uint8_t *at, unsigned int size);
void pci_config_store(uint8_t *at, unsigned int size, uint64_t value);

/** pci_requester_id() - bus, device and function as its messages carry them; the bus is what the guest calls it */
uint16_t pci_requester_id(const struct pci_device *device);
/** pci_bars_place() - the BARs' registers, before the device is on the bus; pci_bars_update_locked() - where they are seen */
int __must_check pci_bars_place(struct pci_bus *bus, struct pci_device *device);
void pci_bars_update_locked(struct pci_device *device);
/** pci_function_reset_locked() - one function as at power-on; what is behind a bridge stays as it is */
void pci_function_reset_locked(struct pci_device *device);
/** pci_intx_set_locked() - as pci_intx_set() */
void pci_intx_set_locked(struct pci_device *device, bool level);

/** pci_msix_init() - capability, BAR region and messages of @vectors vectors; pci_msix_exit() undoes it */
int __must_check pci_msix_init(struct pci_device *device, unsigned int vectors, unsigned int bar);
void pci_msix_exit(struct pci_device *device);
/** pci_msix_update() - the capability's control word was written; with the bus lock held */
void pci_msix_update_locked(struct pci_device *device);
void pci_msix_reset_locked(struct pci_device *device);
void pci_msix_save_locked(struct pci_device *device, struct state_writer *writer);
int __must_check pci_msix_load_locked(struct pci_device *device, struct state_reader *reader);

/** pci_host_init() - the ways to config space and the host bridge; pci_host_exit() takes them off */
int __must_check pci_host_init(struct pci_bus *bus);
void pci_host_exit(struct pci_bus *bus);

#endif
