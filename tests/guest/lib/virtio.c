/* SPDX-License-Identifier: BSD-2-Clause */
/* The payloads' virtio driver: see virtio.h. */
#include "virtio.h"

#define VENDOR			0x1af4
#define MODERN			0x1040
#define MMIO_FIRST		0xf0000000u	/* the window for platform devices, and how they are spaced */
#define MMIO_STEP		0x200u
#define MMIO_SLOTS		32
#define MMIO_MAGIC		0x74726976u

/* common configuration on PCI */
#define PCI_DEVICE_SELECT	0x00
#define PCI_DEVICE_FEATURES	0x04
#define PCI_DRIVER_SELECT	0x08
#define PCI_DRIVER_FEATURES	0x0c
#define PCI_STATUS		0x14
#define PCI_QUEUE_SELECT	0x16
#define PCI_QUEUE_SIZE		0x18
#define PCI_QUEUE_VECTOR	0x1a
#define PCI_QUEUE_ENABLE	0x1c
#define PCI_NOTIFY_OFF		0x1e
#define PCI_QUEUE_ADDRESSES	0x20

/* MMIO registers */
#define MMIO_VERSION		0x04
#define MMIO_TYPE		0x08
#define MMIO_DEVICE_FEATURES	0x10
#define MMIO_DEVICE_SELECT	0x14
#define MMIO_DRIVER_FEATURES	0x20
#define MMIO_DRIVER_SELECT	0x24
#define MMIO_QUEUE_SELECT	0x30
#define MMIO_QUEUE_MAX		0x34
#define MMIO_QUEUE_SIZE		0x38
#define MMIO_QUEUE_READY	0x44
#define MMIO_NOTIFY		0x50
#define MMIO_INTERRUPT		0x60
#define MMIO_ACKNOWLEDGE	0x64
#define MMIO_STATUS		0x70
#define MMIO_QUEUE_ADDRESSES	0x80

volatile struct ring ring;

static uint32_t capability_address(unsigned int devfn, unsigned int at)
{
	uint32_t base = pci_bar(devfn, pci_read8(devfn, at + 4));

	return base ? base + pci_read(devfn, at + 8) : 0;
}

static bool virtio_pci_open(struct virtio *virtio, unsigned int type)
{
	unsigned int devfn = pci_find(VENDOR, (uint16_t)(MODERN + type)), at = 0;

	if (devfn == PCI_NONE)
		return false;
	virtio->devfn = devfn;
	/* Memory and bus master. */
	pci_write16(devfn, 4, (uint16_t)(pci_read16(devfn, 4) | 6));
	while ((at = pci_capability(devfn, 9, at)) != 0) {
		switch (pci_read8(devfn, at + 3)) {
		case 1:
			virtio->base = capability_address(devfn, at);
			break;
		case 2:
			virtio->notify = capability_address(devfn, at);
			virtio->notify_multiplier = pci_read(devfn, at + 16);
			break;
		case 3:
			virtio->isr = capability_address(devfn, at);
			break;
		default:
			break;
		}
	}
	return virtio->base && virtio->notify && virtio->isr;
}

static bool virtio_mmio_open(struct virtio *virtio, unsigned int type)
{
	for (unsigned int slot = 0; slot < MMIO_SLOTS; slot++) {
		uint32_t base = MMIO_FIRST + slot * MMIO_STEP;

		if (peek32(base) != MMIO_MAGIC || peek32(base + MMIO_VERSION) != 2 || peek32(base + MMIO_TYPE) != type)
			continue;
		virtio->base = base;
		virtio->mmio = true;
		return true;
	}
	return false;
}

bool virtio_open(struct virtio *virtio, unsigned int type)
{
	fill(virtio, 0, sizeof(*virtio));
	return virtio_pci_open(virtio, type) || virtio_mmio_open(virtio, type);
}

uint8_t virtio_status(struct virtio *virtio)
{
	return virtio->mmio ? (uint8_t)peek32(virtio->base + MMIO_STATUS) : peek8(virtio->base + PCI_STATUS);
}

void virtio_set_status(struct virtio *virtio, uint8_t status)
{
	if (virtio->mmio)
		poke32(virtio->base + MMIO_STATUS, status);
	else
		poke8(virtio->base + PCI_STATUS, status);
}

uint32_t virtio_features(struct virtio *virtio, unsigned int word)
{
	poke32(virtio->base + (virtio->mmio ? MMIO_DEVICE_SELECT : PCI_DEVICE_SELECT), word);
	return peek32(virtio->base + (virtio->mmio ? MMIO_DEVICE_FEATURES : PCI_DEVICE_FEATURES));
}

void virtio_accept(struct virtio *virtio, unsigned int word, uint32_t bits)
{
	poke32(virtio->base + (virtio->mmio ? MMIO_DRIVER_SELECT : PCI_DRIVER_SELECT), word);
	poke32(virtio->base + (virtio->mmio ? MMIO_DRIVER_FEATURES : PCI_DRIVER_FEATURES), bits);
}

uint16_t virtio_queue(struct virtio *virtio, uint16_t queue)
{
	if (virtio->mmio) {
		poke32(virtio->base + MMIO_QUEUE_SELECT, queue);
		return (uint16_t)peek32(virtio->base + MMIO_QUEUE_MAX);
	}
	poke16(virtio->base + PCI_QUEUE_SELECT, queue);
	return peek16(virtio->base + PCI_QUEUE_SIZE);
}

static void set_addresses(uint32_t at, uint32_t step, uint32_t descriptors, uint32_t available, uint32_t used)
{
	poke32(at, descriptors);
	poke32(at + 4, 0);
	poke32(at + step, available);
	poke32(at + step + 4, 0);
	poke32(at + 2 * step, used);
	poke32(at + 2 * step + 4, 0);
}

void virtio_set_queue(struct virtio *virtio, uint16_t size, uint32_t descriptors, uint32_t available, uint32_t used)
{
	if (virtio->mmio) {
		poke32(virtio->base + MMIO_QUEUE_SIZE, size);
		set_addresses(virtio->base + MMIO_QUEUE_ADDRESSES, 0x10, descriptors, available, used);
		poke32(virtio->base + MMIO_QUEUE_READY, 1);
	} else {
		poke16(virtio->base + PCI_QUEUE_SIZE, size);
		set_addresses(virtio->base + PCI_QUEUE_ADDRESSES, 8, descriptors, available, used);
		poke16(virtio->base + PCI_QUEUE_ENABLE, 1);
	}
}

uint16_t virtio_set_vector(struct virtio *virtio, uint16_t vector)
{
	poke16(virtio->base + PCI_QUEUE_VECTOR, vector);
	return peek16(virtio->base + PCI_QUEUE_VECTOR);
}

bool virtio_start(struct virtio *virtio, uint32_t low)
{
	uint32_t start = ticks();

	virtio_set_status(virtio, 0);
	while (virtio_status(virtio) && !passed(start, 1000))
		;
	virtio_set_status(virtio, STATUS_ACKNOWLEDGE | STATUS_DRIVER);
	virtio_accept(virtio, 0, low);
	virtio_accept(virtio, 1, 1);
	virtio_set_status(virtio, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK);
	if (!(virtio_status(virtio) & STATUS_FEATURES_OK))
		return false;
	fill((void *)&ring, 0, sizeof(ring));
	if (virtio_queue(virtio, 0) < RING_SIZE)
		return false;
	virtio_set_queue(virtio, RING_SIZE, physical(&ring.descriptors), physical(&ring.available),
			 physical(&ring.used));
	virtio_set_status(virtio, STATUS_ACKNOWLEDGE | STATUS_DRIVER | STATUS_FEATURES_OK | STATUS_DRIVER_OK);
	return true;
}

void virtio_notify(struct virtio *virtio, uint16_t queue)
{
	if (virtio->mmio) {
		poke32(virtio->base + MMIO_NOTIFY, queue);
		return;
	}
	poke16(virtio->base + PCI_QUEUE_SELECT, queue);
	poke16(virtio->notify + peek16(virtio->base + PCI_NOTIFY_OFF) * virtio->notify_multiplier, queue);
}

uint8_t virtio_acknowledge(struct virtio *virtio)
{
	uint32_t status;

	if (!virtio->mmio)
		return peek8(virtio->isr);
	status = peek32(virtio->base + MMIO_INTERRUPT);
	poke32(virtio->base + MMIO_ACKNOWLEDGE, status);
	return (uint8_t)status;
}

void virtio_describe(unsigned int at, uint32_t address, uint32_t length, uint16_t flags, uint16_t next)
{
	ring.descriptors[at].address = address;
	ring.descriptors[at].address_high = 0;
	ring.descriptors[at].length = length;
	ring.descriptors[at].flags = flags;
	ring.descriptors[at].next = next;
}

void virtio_offer(uint16_t head)
{
	ring.available.ring[ring.available.index % RING_SIZE] = head;
	__asm__ volatile("" : : : "memory");
	ring.available.index++;
}

bool virtio_wait_used(uint16_t index)
{
	uint32_t start = ticks();

	while (ring.used.index != index && !passed(start, 2000))
		;
	return ring.used.index == index;
}
