/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A virtio device for tests: each request's readable bytes are echoed into its writable ones. Two queues, and 24
 * bytes of config space that may be read and written. Include after board.h and guest-ring.h.
 */
#ifndef TESTS_UNIT_ECHO_DEVICE_H
#define TESTS_UNIT_ECHO_DEVICE_H

#include <linux/virtio_ring.h>

#include "kvm/virtio.h"
#include "tests/unit/guest-ring.h"

#define ECHO_FEATURE		5
#define ECHO_QUEUES		2
#define ECHO_QUEUE_SIZE		64
#define ECHO_CONFIG_SIZE	24
#define ECHO_BUFFER		(RAM_BASE + 0x20000)
#define ECHO_RING(queue)	(RAM_BASE + 0x8000ULL * (queue))

struct echo {
	struct virtio_device device;
	pthread_mutex_t lock;		/* guards config: vCPUs read it */
	uint8_t config[ECHO_CONFIG_SIZE];
	unsigned int handled, started, resets;
	bool refuse_start;
	bool put_back;			/* handle_queue serves nothing */
};

static inline int echo_handle(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct echo *echo = container_of(device, struct echo, device);
	char bytes[256];
	size_t length;

	if (echo->put_back) {
		virtqueue_unpop(vq, req);
		return 0;
	}
	echo->handled++;
	length = virtio_request_read(req, 0, bytes, sizeof(bytes));
	length = virtio_request_write(req, 0, bytes, length);
	virtqueue_push(vq, req, (uint32_t)length);
	return 1;
}

static inline void echo_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	virtio_process(device, vq, echo_handle);
}

static inline void echo_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	struct echo *echo = container_of(device, struct echo, device);

	ck_assert(range_contains(0, ECHO_CONFIG_SIZE, offset, size));
	pthread_mutex_lock(&echo->lock);
	memcpy(buffer, echo->config + offset, size);
	pthread_mutex_unlock(&echo->lock);
}

static inline void echo_config_write(struct virtio_device *device, size_t offset, const void *buffer, size_t size)
{
	struct echo *echo = container_of(device, struct echo, device);

	ck_assert(range_contains(0, ECHO_CONFIG_SIZE, offset, size));
	pthread_mutex_lock(&echo->lock);
	memcpy(echo->config + offset, buffer, size);
	pthread_mutex_unlock(&echo->lock);
}

static inline int echo_start(struct virtio_device *device)
{
	struct echo *echo = container_of(device, struct echo, device);

	echo->started++;
	return echo->refuse_start ? -EIO : 0;
}

static inline void echo_reset(struct virtio_device *device)
{
	container_of(device, struct echo, device)->resets++;
}

static const struct virtio_device_ops echo_ops = {
	.name = "virtio-echo", .id = VIRTIO_ID_RNG, .class_code = 0x00ff00, .queues = ECHO_QUEUES,
	.queue_size = ECHO_QUEUE_SIZE, .config_size = ECHO_CONFIG_SIZE,
	.handle_queue = echo_handle_queue, .config_read = echo_config_read, .config_write = echo_config_write,
	.start = echo_start, .reset = echo_reset,
};

static inline void echo_add(struct kvm *kvm, struct echo *echo)
{
	memset(echo, 0, sizeof(*echo));
	pthread_mutex_init(&echo->lock, NULL);
	for (unsigned int i = 0; i < ECHO_CONFIG_SIZE; i++)
		echo->config[i] = (uint8_t)(0xa0 + i);
	echo->device.features_offered = BIT(ECHO_FEATURE);
	ck_assert_int_eq(virtio_device_add(kvm, &echo->device, &echo_ops, "virtio-echo0"), 0);
}

/* A request of the driver's: @text in, room for 32 bytes out. It goes round @ring without waiting. */
static inline void echo_offer(struct ring *ring, const char *text)
{
	uint16_t head = (uint16_t)(ring->next_avail * 2U % ring->size);

	guest_poke(ring->guest, ECHO_BUFFER, text, strlen(text));
	ring_describe(ring, head, ECHO_BUFFER, (uint32_t)strlen(text), VRING_DESC_F_NEXT, (uint16_t)(head + 1));
	ring_describe(ring, head + 1U, ECHO_BUFFER + 0x100, 32, VRING_DESC_F_WRITE, 0);
	ring_offer(ring, head);
}

static inline void echo_check(struct ring *ring, const char *text)
{
	char bytes[32];

	ck_assert_uint_eq(ring_used_index(ring), ring->next_avail);
	ck_assert_int_eq(memory_read(ring->guest->space, gpa(ECHO_BUFFER + 0x100), bytes, sizeof(bytes)), 0);
	ck_assert_mem_eq(bytes, text, strlen(text));
}

/* Numbers from a fixed seed; the same on each run. */
static inline uint32_t echo_random(uint32_t *seed)
{
	*seed = *seed * 1664525 + 1013904223;
	return *seed ^ *seed >> 15;
}

#endif
