/* SPDX-License-Identifier: BSD-2-Clause */
/* Between virtio/pci.c (the function, the modern interface) and virtio/pci-legacy.c (the interface before 1.0). */
#ifndef VIRTIO_PCI_H
#define VIRTIO_PCI_H

#include <pthread.h>
#include <stdatomic.h>

#include "kvm/pci.h"
#include "kvm/virtio.h"

#define VIRTIO_PCI_ISR_QUEUE	1

struct virtio_pci_queue {
	uint64_t desc, avail, used;
	uint16_t size;			/* 0: the largest */
	uint32_t pfn;			/* legacy */
	_Atomic uint16_t vector;	/* checked: a vector of the table or NO_VECTOR */
};

struct virtio_pci {
	struct virtio_device *device;
	struct pci_device function;
	struct region region;
	struct doorbell *doorbells;
	uint8_t window;			/* offset of the PCI_CFG capability, 0 if there is none */
	bool msix_was_enabled;		/* guarded by the bus lock */
	_Atomic uint8_t isr;
	_Atomic uint16_t config_vector;
	pthread_mutex_t lock;		/* guards what follows; taken before no other */
	uint32_t device_features_sel, driver_features_sel;
	uint16_t queue_sel;
	uint64_t driver_features;
	struct virtio_pci_queue *queues;
};

/** virtio_pci_add() - what both transports' add does */
int virtio_pci_add(struct virtio_device *device, const struct virtio_transport *transport);
/** virtio_pci_read_isr() - the ISR byte; reading clears it and drops the line */
uint8_t virtio_pci_read_isr(struct virtio_pci *pci);
/** virtio_pci_check_vector() - @vector, or NO_VECTOR if the table has no such entry */
uint16_t virtio_pci_check_vector(const struct virtio_pci *pci, uint16_t vector);
/** virtio_pci_legacy_id() - the PCI device ID before virtio 1.0 */
uint16_t virtio_pci_legacy_id(uint16_t virtio_id);
/** virtio_pci_add_legacy_bar() - BAR 0, I/O ports, with its doorbells */
int __must_check virtio_pci_add_legacy_bar(struct virtio_pci *pci);

#endif
