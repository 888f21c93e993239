/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtio driver small enough for a payload: one queue, split ring, modern PCI or MMIO version 2. */
#ifndef TESTS_GUEST_VIRTIO_H
#define TESTS_GUEST_VIRTIO_H

#include "guest.h"

#define VIRTIO_RNG		4
#define VIRTIO_VERSION_1	32	/* feature bits */
#define VIRTIO_EVENT_INDEX	29
#define VIRTIO_INDIRECT		28

#define STATUS_ACKNOWLEDGE	1
#define STATUS_DRIVER		2
#define STATUS_DRIVER_OK	4
#define STATUS_FEATURES_OK	8
#define STATUS_NEEDS_RESET	64

#define DESC_NEXT		1
#define DESC_WRITE		2
#define DESC_INDIRECT		4

#define RING_SIZE		8

struct virtio {
	bool mmio;
	unsigned int devfn;		/* PCI */
	uint32_t base;			/* MMIO registers, or PCI's common configuration */
	uint32_t notify, isr;		/* PCI */
	uint32_t notify_multiplier;
};

struct descriptor {
	uint32_t address, address_high, length;
	uint16_t flags, next;
};

struct ring {
	struct descriptor descriptors[RING_SIZE];
	struct {
		uint16_t flags, index, ring[RING_SIZE], used_event;
	} available;
	struct {
		uint16_t flags, index;
		struct {
			uint32_t id, length;
		} ring[RING_SIZE];
		uint16_t avail_event;
	} used __attribute__((aligned(4)));
} __attribute__((aligned(16)));

extern volatile struct ring ring;

/** virtio_open() - finds the device of @type on the transport that is there; false: on none */
bool virtio_open(struct virtio *virtio, unsigned int type);
uint8_t virtio_status(struct virtio *virtio);
void virtio_set_status(struct virtio *virtio, uint8_t status);
/** virtio_features() - bits 32 * @word and up that the device offers; virtio_accept() - those that we take */
uint32_t virtio_features(struct virtio *virtio, unsigned int word);
void virtio_accept(struct virtio *virtio, unsigned int word, uint32_t bits);
/** virtio_start() - reset to DRIVER_OK with queue 0 on ring, accepting VERSION_1 and @low; false if the device refuses */
bool virtio_start(struct virtio *virtio, uint32_t low);
/** virtio_queue() - selects @queue; its largest size */
uint16_t virtio_queue(struct virtio *virtio, uint16_t queue);
/** virtio_set_queue() - size and addresses of the selected queue, and enables it */
void virtio_set_queue(struct virtio *virtio, uint16_t size, uint32_t descriptors, uint32_t available, uint32_t used);
/** virtio_set_vector() - MSI-X vector of the selected queue; what the device says it took */
uint16_t virtio_set_vector(struct virtio *virtio, uint16_t vector);
void virtio_notify(struct virtio *virtio, uint16_t queue);
/** virtio_acknowledge() - the interrupt status, cleared */
uint8_t virtio_acknowledge(struct virtio *virtio);
/** virtio_offer() - descriptor @head goes on the available ring; the device isn't told yet */
void virtio_offer(uint16_t head);
/** virtio_wait_used() - until used.index is @index, at most 2 s */
bool virtio_wait_used(uint16_t index);
void virtio_describe(unsigned int at, uint32_t address, uint32_t length, uint16_t flags, uint16_t next);

#endif
