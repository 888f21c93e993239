/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI: functions on a root bus and behind its root ports, by conf1 ports and ECAM (PCI Local Bus 3.0, PCI Express Base 5.0).
 *
 * A device fills its identity, BARs and capabilities before pci_device_add(); from then on the core owns
 * config space: BAR sizing, COMMAND decode, capability write masks bit for bit, INTx, MSI-X with its table
 * and pending bits. Config space and BAR changes are serialized by the bus lock.
 */
#ifndef KVM_PCI_H
#define KVM_PCI_H

#include "kvm/device.h"
#include "kvm/irq.h"
#include "kvm/memory.h"

#define PCI_CONFIG_SIZE		4096
#define PCI_BARS		6
#define PCI_MSIX_MAX		2048

enum pci_bar_kind { PCI_BAR_NONE, PCI_BAR_IO, PCI_BAR_MEM32, PCI_BAR_MEM64 };

struct pci_device;
struct pci_bus;

struct pci_bar {
	enum pci_bar_kind kind;
	bool prefetch;
	struct region *region;		/* owned by the device; its size, a power of 2, is the BAR's */
	/* owned by the core */
	uint64_t home;			/* where pci_device_add() put it */
	uint64_t address;		/* where it is, while @mapped */
	bool mapped;
};

struct pci_msix_vector {
	uint32_t address_low, address_high, data, control;
	bool pending;			/* fired while masked, and found out by a read of the PBA */
	struct irq_message message;	/* its eventfd counts what fires while it isn't routed */
};

struct pci_msix {
	unsigned int count;		/* vectors; 0: no MSI-X */
	unsigned int bar;		/* holds the table at 0 and the PBA at @pba_offset */
	uint32_t pba_offset;
	uint8_t capability;		/* its offset in config space */
	bool enabled, masked;
	struct pci_msix_vector *vectors;
	struct region region;
};

struct pci_device_ops {
	/**
	 * @config_read, @config_write: for capability bytes that live (virtio's PCI_CFG): before a read is answered,
	 * and after a write was stored; without the bus lock. NULL: none.
	 */
	void (*config_read)(struct pci_device *device, unsigned int offset, unsigned int size);
	void (*config_write)(struct pci_device *device, unsigned int offset, unsigned int size);
	/** @msix_changed: vector @vector was masked or unmasked or rewritten (irqfd users); NULL: nobody cares */
	void (*msix_changed)(struct pci_device *device, unsigned int vector);
	/**
	 * @written_locked: as config_write, with what was written, for registers where 1 clears; @reset_locked: config
	 * space is as at power-on again; @loaded_locked: it is what was saved, whose @live bytes nobody has looked at yet;
	 * @behind_locked: a bridge's: something came or went behind it. With the bus lock held. NULL: nothing
	 */
	void (*written_locked)(struct pci_device *device, unsigned int offset, uint32_t value, unsigned int size);
	void (*reset_locked)(struct pci_device *device);
	void (*loaded_locked)(struct pci_device *device);
	void (*behind_locked)(struct pci_device *device);
};

struct pci_device {
	const char *name;
	const struct pci_device_ops *ops;
	uint16_t vendor_id, device_id, subsystem_vendor_id, subsystem_id;
	uint32_t class_code;		/* 24 bits: class, subclass, programming interface */
	uint8_t revision;
	bool intx;			/* has an INTx pin (INTA) */
	bool is_bridge;			/* a header of type 1, with two BARs at most */
	uint8_t live, live_size;	/* bytes of config space that @ops change and a guest can't write */
	struct pci_device *bridge;	/* the bridge that it is behind, as its device 0; NULL: it is on the root bus */
	struct pci_bar bars[PCI_BARS];
	struct pci_msix msix;

	/* the core's */
	struct pci_bus *bus;
	uint8_t devfn;
	uint8_t config[PCI_CONFIG_SIZE];
	uint8_t write_mask[PCI_CONFIG_SIZE];
	uint8_t power_on[256];		/* config space after pci_device_add() */
	uint8_t capability_end;
	bool intx_level;
	struct pci_device *behind;	/* a bridge's */
	bool link_up;			/* a bridge's, set by @ops under the bus lock: what is behind it answers */
};

/** pci_bus() - the VM's root bus, NULL without PCI */
struct pci_bus *pci_bus(struct kvm *kvm);

/**
 * pci_add_express() - the PCI Express capability of a function of @type (PCI_EXP_TYPE_), before pci_device_add()
 * Returns its offset, or -ENOSPC.
 */
int __must_check pci_add_express(struct pci_device *device, unsigned int type);

/**
 * pci_add_capability() - reserves @size bytes (header included) in config space, before pci_device_add()
 * Returns its offset, or -ENOSPC. The body reads as written into device->config; writes go by device->write_mask.
 */
int __must_check pci_add_capability(struct pci_device *device, uint8_t id, uint8_t size);

/**
 * pci_device_add() - puts the function on the bus
 * @devfn: slot and function, or -1 for the next free slot (slot order is the order of calls)
 * @msix_vectors: 0 for none; the core makes the capability and BAR @msix_bar
 *
 * BARs get an address at once, as firmware would give them, and COMMAND is 0 until the guest enables decode. Behind a
 * bridge they are 0, as of any device that nobody has seen yet, and only what its windows pass on is decoded.
 * The bus resets, saves and loads the functions' config space, BARs and MSI-X; the caller does so for what is
 * its own. Returns 0, -ENOSPC without a free slot or room in a window, or what the host said.
 */
int __must_check pci_device_add(struct pci_bus *bus, struct pci_device *device, int devfn,
				unsigned int msix_vectors, unsigned int msix_bar);
/**
 * pci_device_del() - takes it off; its regions are unmapped, its messages given back
 * Main thread, with every vCPU parked: one inside a callback may be waiting for the main loop.
 */
void pci_device_del(struct pci_device *device);

/** pci_msix_raise() - fires @vector; masked: sets the pending bit; 0xffff or out of range: nothing. Any thread. */
void pci_msix_raise(struct pci_device *device, unsigned int vector);
/** pci_msix_enabled() - the driver uses MSI-X; any thread */
bool pci_msix_enabled(const struct pci_device *device);
/** pci_intx_set() - drives INTA; nothing while INTX_DISABLE is set or MSI-X is on; any thread */
void pci_intx_set(struct pci_device *device, bool level);

/** pci_config_get(), pci_config_put() - little-endian bytes of a function's config space, under the bus lock */
uint64_t pci_config_get(struct pci_device *device, unsigned int offset, unsigned int size);
void pci_config_put(struct pci_device *device, unsigned int offset, unsigned int size, uint64_t value);

/**
 * pci_config_read(), pci_config_write() - the guest's access to function @devfn of bus @bus_number; any thread
 * An absent function, and what reaches past config space, reads as all ones.
 */
uint32_t pci_config_read(struct pci_bus *bus, unsigned int bus_number, unsigned int devfn, unsigned int offset,
			 unsigned int size);
void pci_config_write(struct pci_bus *bus, unsigned int bus_number, unsigned int devfn, unsigned int offset,
		      uint32_t value, unsigned int size);

/** pci_for_each() - the root bus's functions in devfn order (firmware tables: DSDT, FDT) */
void pci_for_each(struct pci_bus *bus, void (*each)(struct pci_device *device, void *opaque), void *opaque);

#endif
