/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A driver for tests of virtio devices, with packed rings if LKVM_TEST_RING=packed is in the environment: a transport of the test's own, one queue at a time in guest-ring.h's memory.
 *
 * The device may live on a loop thread of its own: used entries are waited for by its interrupts. Include after
 * board.h.
 */
#ifndef TESTS_UNIT_VIRTIO_DRIVER_H
#define TESTS_UNIT_VIRTIO_DRIVER_H

#include "kvm/virtio.h"
#include "tests/unit/guest-ring.h"

#define DRIVER_RING(queue)	(RAM_BASE + 0x8000ULL * (queue))
#define DRIVER_QUEUE_SIZE	64
#define DRIVER_WAIT_NS		10000000000ULL
/* A test that wants more says so before. Data can lie behind DRIVER_RING(DRIVER_RINGS). */
#ifndef DRIVER_RINGS
#define DRIVER_RINGS		2
#endif

static struct virtio_device *driven;
static struct guest_ram driver_ram;
static struct ring driver_rings[DRIVER_RINGS];
static atomic_uint driver_interrupts, driver_config_interrupts;

/* ---- the transport ---- */

static void driver_interrupt_queue(struct virtio_device *device, unsigned int queue)
{
	(void)device;
	(void)queue;
	atomic_fetch_add(&driver_interrupts, 1);
}

static void driver_interrupt_config(struct virtio_device *device)
{
	(void)device;
	atomic_fetch_add(&driver_config_interrupts, 1);
}

static void driver_nothing(struct virtio_device *device)
{
	(void)device;
}

static void driver_save(struct virtio_device *device, struct state_writer *writer)
{
	(void)device;
	(void)writer;
}

static int driver_load(struct virtio_device *device, struct state_reader *reader)
{
	(void)device;
	(void)reader;
	return 0;
}

static const struct virtio_transport_ops driver_transport_ops = {
	.name = "test", .interrupt_queue = driver_interrupt_queue, .interrupt_config = driver_interrupt_config,
	.reset = driver_nothing, .save = driver_save, .load = driver_load, .del = driver_nothing,
};

static int driver_transport_add(struct virtio_device *device, const struct virtio_transport *transport)
{
	(void)transport;
	device->transport_ops = &driver_transport_ops;
	driven = device;
	return 0;
}

/* Registered last by main(), hence found before the real one of that name. */
static struct virtio_transport driver_transport = { .name = "pci", .add = driver_transport_add };

/* ---- the machine ---- */

static inline bool driver_is_packed(void)
{
	const char *ring = getenv("LKVM_TEST_RING");

	return ring && !strcmp(ring, "packed");
}

static inline void driver_ring_init(struct ring *ring, unsigned int queue)
{
	ring_init(ring, &driver_ram, DRIVER_QUEUE_SIZE, DRIVER_RING(queue));
	ring->packed = driver_is_packed();
}

/* A VM without devices whose --virtio-transport is the one above. The caller sets options and adds its device. */
static inline struct kvm *driver_machine(void)
{
	struct kvm *kvm = board_create();

	ck_assert_int_eq(config_set(kvm->config, "virtio-transport", "pci"), 0);
	ck_assert_int_eq(config_set(kvm->config, "virtio-ring", driver_is_packed() ? "packed" : "split"), 0);
	guest_ram_add(&driver_ram, &kvm->memory);
	for (unsigned int i = 0; i < ARRAY_SIZE(driver_rings); i++)
		driver_ring_init(&driver_rings[i], i);
	return kvm;
}

/* Through the status machine to DRIVER_OK, with every feature that is offered and @without isn't. */
static inline void driver_start(uint64_t without, unsigned int queues)
{
	static const uint8_t zeroes[0x8000];

	virtio_set_status(driven, 0);
	virtio_set_status(driven, VIRTIO_CONFIG_S_ACKNOWLEDGE);
	virtio_set_status(driven, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER);
	virtio_set_features(driven, (driven->features_offered | BIT(VIRTIO_F_VERSION_1)) & ~without & ~BIT(VIRTIO_RING_F_EVENT_IDX));
	virtio_set_status(driven, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK);
	ck_assert(atomic_load(&driven->status) & VIRTIO_CONFIG_S_FEATURES_OK);
	for (unsigned int i = 0; i < queues; i++) {
		struct ring *ring = &driver_rings[i];

		guest_poke(&driver_ram, DRIVER_RING(i), zeroes, sizeof(zeroes));
		ring_restart(ring);
		virtio_queue_setup(driven, i, ring->size, gpa(ring->desc), gpa(ring->avail), gpa(ring->used));
		virtio_queue_enable(driven, i);
	}
	virtio_set_status(driven, VIRTIO_CONFIG_S_ACKNOWLEDGE | VIRTIO_CONFIG_S_DRIVER | VIRTIO_CONFIG_S_FEATURES_OK |
				  VIRTIO_CONFIG_S_DRIVER_OK);
	ck_assert(driven->running);
}

static inline bool driver_needs_reset(void)
{
	return atomic_load(&driven->status) & VIRTIO_CONFIG_S_NEEDS_RESET;
}

/* ---- requests ---- */

struct driver_buffer {
	uint64_t address;
	uint32_t length;
	bool writable;
};

/* Offers a chain of descriptors from @head on, without a kick. */
static inline void driver_offer(unsigned int queue, uint16_t head, const struct driver_buffer *buffers, unsigned int count)
{
	struct ring *ring = &driver_rings[queue];

	for (unsigned int i = 0; i < count; i++)
		ring_describe(ring, head + i, buffers[i].address, buffers[i].length,
			      (uint16_t)((buffers[i].writable ? VRING_DESC_F_WRITE : 0) | (i + 1 < count ? VRING_DESC_F_NEXT : 0)),
			      (uint16_t)(head + i + 1));
	ring_offer(ring, head);
}

/* Serves the VM's main loop meanwhile, as the device may live there. */
static inline bool driver_wait(struct kvm *kvm, bool (*reached)(void))
{
	uint64_t end = event_now_ns() + DRIVER_WAIT_NS;

	while (!reached()) {
		if (event_now_ns() > end)
			return false;
		event_loop_poll(kvm->loop, 1);
	}
	return true;
}

static inline bool driver_all_used(void)
{
	/* The interrupt orders what the device wrote before this look. */
	if (!atomic_load(&driver_interrupts))
		return false;
	for (unsigned int i = 0; i < ARRAY_SIZE(driver_rings); i++)
		if (driver_rings[i].next_avail && ring_used_index(&driver_rings[i]) != driver_rings[i].next_avail)
			return false;
	return true;
}

static inline void driver_kick(struct kvm *kvm, unsigned int queue)
{
	virtio_notify(driven, queue);
	event_loop_poll(kvm->loop, 0);
}

/* Kicks @queue and waits until all that was offered is used. */
static inline void driver_finish(struct kvm *kvm, unsigned int queue)
{
	atomic_store(&driver_interrupts, 0);
	driver_kick(kvm, queue);
	ck_assert_msg(driver_wait(kvm, driver_all_used), "the device left a request unused for 10 s");
}

/* What the used ring says was written by the request @back entries before the last. */
static inline uint32_t driver_used_length(unsigned int queue, unsigned int back)
{
	struct ring *ring = &driver_rings[queue];
	uint16_t index = (uint16_t)(ring_used_index(ring) - 1 - back);

	return ring_used_length(ring, index);
}

static inline uint8_t driver_peek(uint64_t at)
{
	uint8_t value;

	ck_assert_int_eq(memory_read(driver_ram.space, gpa(at), &value, 1), 0);
	return value;
}

#endif
