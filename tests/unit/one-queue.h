/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * One virtqueue of a device without a transport, and the ring of its driver: the fixture of test-virtqueue.c and
 * test-virtqueue-packed.c, whose drivers are good ones, and of test-virtqueue-hostile.c and
 * test-virtqueue-packed-hostile.c, whose drivers aren't.
 */
#ifndef TESTS_UNIT_ONE_QUEUE_H
#define TESTS_UNIT_ONE_QUEUE_H

#include "tests/unit/board.h"

#include <linux/virtio_ring.h>

#include "kvm/virtio.h"
#include "tests/unit/guest-ring.h"

#define SIZE		8
#define BUFFER		(RAM_BASE + 0x10000)
#define TABLE		(RAM_BASE + 0x20000)
#define NEXT		VRING_DESC_F_NEXT
#define WRITE		VRING_DESC_F_WRITE
#define INDIRECT	VRING_DESC_F_INDIRECT

static struct address_space space;
static struct guest_ram guest;
static struct virtio_device device;
static struct virtqueue vq;
static struct ring ring;
static unsigned int queue_interrupts, config_interrupts;
static struct virtio_request *popped[SIZE];
static unsigned int popped_count;

static inline void count_queue(struct virtio_device *owner, unsigned int queue)
{
	ck_assert_ptr_eq(owner, &device);
	ck_assert_uint_eq(queue, 3);
	queue_interrupts++;
}

static inline void count_config(struct virtio_device *owner)
{
	ck_assert_ptr_eq(owner, &device);
	config_interrupts++;
}

static const struct virtio_transport_ops transport_ops = {
	.interrupt_queue = count_queue, .interrupt_config = count_config,
};

static inline void queue_place(uint16_t size)
{
	ring_init(&ring, &guest, size, RAM_BASE);
	ring.packed = vq.packed;
	vq.size = size;
	vq.desc = gpa(ring.desc);
	vq.avail = gpa(ring.avail);
	vq.used = gpa(ring.used);
	vq.enabled = true;
}

static inline void queue_start(uint16_t size)
{
	queue_place(size);
	ck_assert_int_eq(virtqueue_start(&vq, &space), 0);
}

static inline void setup_kind(bool packed)
{
	log_set_sink(board_hush);
	ck_assert_int_eq(address_space_init(&space, "memory", 0), 0);
	guest_ram_add(&guest, &space);
	memset(&device, 0, sizeof(device));
	memset(&vq, 0, sizeof(vq));
	device.transport_ops = &transport_ops;
	device.running = true;
	atomic_store(&device.status, VIRTIO_CONFIG_S_DRIVER_OK);
	vq.device = &device;
	vq.index = 3;
	vq.size_max = 256;
	vq.indirect = true;
	vq.packed = packed;
	queue_interrupts = config_interrupts = 0;
	popped_count = 0;
	queue_start(SIZE);
}

static inline void setup(void)
{
	setup_kind(false);
}

static inline bool in_pool(const struct virtio_request *req)
{
	const struct virtio_request *other = vq.pool;

	while (other && other != req)
		other = other->next;
	return other;
}

static inline void teardown(void)
{
	virtqueue_stop(&vq);
	for (unsigned int i = 0; i < popped_count; i++)
		if (!in_pool(popped[i]))
			virtqueue_push(&vq, popped[i], 0);
	virtqueue_reset(&vq);
	guest_ram_remove(&guest);
	address_space_exit(&space);
	log_set_sink(NULL);
}

/* teardown() gives back what a test leaves in flight, for the leak checker's sake. */
static inline void remember(struct virtio_request *req)
{
	for (unsigned int i = 0; i < popped_count; i++)
		if (popped[i] == req)
			return;
	ck_assert_uint_lt(popped_count, SIZE);
	popped[popped_count++] = req;
}

static inline struct virtio_request *pop(void)
{
	struct virtio_request *req = NULL;

	ck_assert_int_eq(virtqueue_pop(&vq, &req), 1);
	ck_assert_ptr_nonnull(req);
	remember(req);
	return req;
}

static inline void pop_finds_nothing(void)
{
	struct virtio_request *req;

	ck_assert_int_eq(virtqueue_pop(&vq, &req), 0);
}

/* The next pop, and each after it, finds a broken rule; the driver is told once. */
static inline void pop_breaks_the_device(void)
{
	struct virtio_request *req;

	ck_assert_int_eq(virtqueue_pop(&vq, &req), -EPROTO);
	ck_assert_uint_ne(atomic_load(&device.status) & VIRTIO_CONFIG_S_NEEDS_RESET, 0);
	ck_assert(!device.running);
	ck_assert_uint_eq(config_interrupts, 1);
	ck_assert_int_eq(virtqueue_pop(&vq, &req), -EPROTO);
	ck_assert_uint_eq(config_interrupts, 1);
	ck_assert_uint_eq(vq.in_flight, 0);
}

static inline void offer_one(uint64_t address, uint32_t length, uint16_t flags)
{
	ring_describe(&ring, 0, address, length, flags, 0);
	ring_offer(&ring, 0);
}

#endif
