/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtio over PCI as before version 1.0 (VirtIO 1.3, 4.1.4.10): one block of I/O ports in BAR 0.
 *
 * Device config follows the header, four bytes later while MSI-X is on. Same locking as virtio/pci.c.
 */
#include <linux/virtio_pci.h>
#include <string.h>

#include "kvm/kvm.h"
#include "kvm/log.h"
#include "virtio/pci.h"

#define LEGACY_BAR_SIZE	0x200ULL
#define LEGACY_ALIGN	4096

uint16_t virtio_pci_legacy_id(uint16_t virtio_id)
{
	static const uint16_t ids[] = {
		[VIRTIO_ID_NET] = 0x1000, [VIRTIO_ID_BLOCK] = 0x1001, [VIRTIO_ID_BALLOON] = 0x1002,
		[VIRTIO_ID_CONSOLE] = 0x1003, [VIRTIO_ID_SCSI] = 0x1004, [VIRTIO_ID_RNG] = 0x1005,
		[VIRTIO_ID_9P] = 0x1009,
	};

	if (virtio_id < ARRAY_SIZE(ids) && ids[virtio_id])
		return ids[virtio_id];
	/* Devices younger than the legacy interface have no number of it; drivers go by the subsystem ID. */
	return (uint16_t)(0x1000 + (virtio_id & 0x3f));
}

static uint64_t config_base(const struct virtio_pci *pci)
{
	return (uint64_t)VIRTIO_PCI_CONFIG_OFF(pci_msix_enabled(&pci->function));
}

/* ---- reading ---- */

static uint64_t legacy_read_queue_locked(struct virtio_pci *pci, uint64_t offset)
{
	bool known = pci->queue_sel < pci->device->queue_count;

	switch (offset) {
	case VIRTIO_PCI_QUEUE_PFN:	return known ? pci->queues[pci->queue_sel].pfn : 0;
	case VIRTIO_PCI_QUEUE_NUM:	return known ? pci->device->queues[pci->queue_sel].size_max : 0;
	case VIRTIO_MSI_QUEUE_VECTOR:	return known ? atomic_load(&pci->queues[pci->queue_sel].vector) : VIRTIO_MSI_NO_VECTOR;
	default:			return 0;
	}
}

static uint64_t legacy_read_header(struct virtio_pci *pci, uint64_t offset)
{
	uint64_t value;

	switch (offset) {
	case VIRTIO_PCI_HOST_FEATURES:	return (uint32_t)pci->device->features_offered;
	case VIRTIO_PCI_STATUS:		return atomic_load(&pci->device->status);
	case VIRTIO_PCI_ISR:		return virtio_pci_read_isr(pci);
	case VIRTIO_MSI_CONFIG_VECTOR:	return atomic_load(&pci->config_vector);
	}
	pthread_mutex_lock(&pci->lock);
	value = offset == VIRTIO_PCI_GUEST_FEATURES ? pci->driver_features :
		offset == VIRTIO_PCI_QUEUE_SEL ? pci->queue_sel : legacy_read_queue_locked(pci, offset);
	pthread_mutex_unlock(&pci->lock);
	return value;
}

static uint64_t legacy_read(struct virtio_pci *pci, uint64_t offset, unsigned int size)
{
	uint64_t base = config_base(pci);
	le64 value = le64_of(0);

	if (offset < base)
		return legacy_read_header(pci, offset);
	virtio_config_read(pci->device, offset - base, &value, size);
	return le64_get(value);
}

/* ---- writing ---- */

static void legacy_write_pfn(struct virtio_pci *pci, uint32_t pfn)
{
	unsigned int index;
	bool known;

	pthread_mutex_lock(&pci->lock);
	index = pci->queue_sel;
	known = index < pci->device->queue_count;
	if (known)
		pci->queues[index].pfn = pfn;
	pthread_mutex_unlock(&pci->lock);
	if (known)
		virtio_queue_legacy(pci->device, index, (uint64_t)pfn << VIRTIO_PCI_QUEUE_ADDR_SHIFT, LEGACY_ALIGN);
}

static void legacy_write_vector(struct virtio_pci *pci, uint64_t offset, uint16_t value)
{
	uint16_t vector = virtio_pci_check_vector(pci, value);

	pthread_mutex_lock(&pci->lock);
	if (offset == VIRTIO_MSI_CONFIG_VECTOR)
		atomic_store(&pci->config_vector, vector);
	else if (pci->queue_sel < pci->device->queue_count)
		atomic_store(&pci->queues[pci->queue_sel].vector, vector);
	pthread_mutex_unlock(&pci->lock);
	virtio_interrupts_moved(pci->device);
}

static void legacy_write_header(struct virtio_pci *pci, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_PCI_GUEST_FEATURES:
		pthread_mutex_lock(&pci->lock);
		pci->driver_features = value;
		pthread_mutex_unlock(&pci->lock);
		virtio_set_features(pci->device, value);
		break;
	case VIRTIO_PCI_QUEUE_PFN:
		legacy_write_pfn(pci, value);
		break;
	case VIRTIO_PCI_QUEUE_SEL:
		pthread_mutex_lock(&pci->lock);
		pci->queue_sel = (uint16_t)value;
		pthread_mutex_unlock(&pci->lock);
		break;
	case VIRTIO_PCI_QUEUE_NOTIFY:
		virtio_notify(pci->device, value & 0xffff);
		break;
	case VIRTIO_PCI_STATUS:
		virtio_set_status(pci->device, (uint8_t)value);
		break;
	case VIRTIO_MSI_CONFIG_VECTOR: case VIRTIO_MSI_QUEUE_VECTOR:
		legacy_write_vector(pci, offset, (uint16_t)value);
		break;
	}
}

static void legacy_write(struct virtio_pci *pci, uint64_t offset, uint64_t value, unsigned int size)
{
	uint64_t base = config_base(pci);
	le64 encoded = le64_of(value);

	if (offset < base)
		legacy_write_header(pci, offset, (uint32_t)value);
	else
		virtio_config_write(pci->device, offset - base, &encoded, size);
}
IO_OPS(legacy_ops, struct virtio_pci, legacy_read, legacy_write, 1, 4);

/* ---- life ---- */

int virtio_pci_add_legacy_bar(struct virtio_pci *pci)
{
	struct virtio_device *device = pci->device;
	int result = 0;

	region_init_io(&pci->region, device->device.name, &legacy_ops, pci, LEGACY_BAR_SIZE);
	for (unsigned int i = 0; i < device->queue_count && !result; i++) {
		pci->doorbells[i] = (struct doorbell){ .offset = VIRTIO_PCI_QUEUE_NOTIFY, .size = 2, .match = true,
						       .datamatch = i, .fd = device->kicks[i].fd };
		result = region_add_doorbell(&pci->region, &pci->doorbells[i]);
	}
	pci->function.bars[0] = (struct pci_bar){ .kind = PCI_BAR_IO, .region = &pci->region };
	return result;
}

static struct virtio_transport pci_legacy_transport = { .name = "pci-legacy", .legacy = true, .add = virtio_pci_add };
VIRTIO_TRANSPORT(pci_legacy_transport);
