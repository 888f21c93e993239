/* SPDX-License-Identifier: BSD-2-Clause */
/* A network device before a back end of the test's own, and what its driver does. Include after board.h. */
#ifndef TESTS_UNIT_NET_FAKE_H
#define TESTS_UNIT_NET_FAKE_H

#include <stdlib.h>

#define DRIVER_RINGS	5
#include "tests/unit/net-driver.h"

#define RX		0
#define TX		1
#define CTRL		2		/* with one pair; 4 with two */
#define HEADER		FRAME
#define DATA		(RAM_BASE + 0x31000)
#define ACK		(RAM_BASE + 0x30800)
#define FRAME_SIZE	1000u
#define OFFLOADS	(BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) | \
			 BIT(VIRTIO_NET_F_HOST_USO) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4))

static const uint8_t our_mac[6] = { 0x02, 0x15, 0x15, 1, 2, 3 };

/* ---- a back end: what it got, and what it gives ---- */

static struct fake {
	struct net_backend backend;
	bool started, wanted;
	uint64_t offloads;
	unsigned int sent, batches, left, served;	/* frames: from the guest; for it, still and so far */
	struct virtio_net_hdr_v1 header;
	uint8_t frame[NET_FRAME_MAX], given[NET_FRAME_MAX];
	size_t frame_length, given_length;
} fakes[2];

static inline struct fake *fake_of(struct net_backend *backend)
{
	return container_of(backend, struct fake, backend);
}

static inline int fake_start(struct net_backend *backend)
{
	fake_of(backend)->started = fake_of(backend)->wanted = true;
	return 0;
}

static inline void fake_stop(struct net_backend *backend)
{
	fake_of(backend)->started = false;
}

static inline void fake_send(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	struct fake *fake = fake_of(backend);

	ck_assert(fake->started);
	ck_assert_uint_eq(iov[0].iov_len, HEADER_SIZE);
	memcpy(&fake->header, iov[0].iov_base, HEADER_SIZE);
	for (unsigned int i = 1; i < count; i++)
		ck_assert(guest_owns(&driver_ram, &iov[i]));
	fake->frame_length = net_iov_read(iov + 1, count - 1, 0, fake->frame, sizeof(fake->frame));
	fake->sent++;
}

static inline void fake_send_done(struct net_backend *backend)
{
	fake_of(backend)->batches++;
}

static inline size_t fake_receive(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	struct fake *fake = fake_of(backend);
	struct virtio_net_hdr_v1 header = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };

	ck_assert(fake->started);
	if (!fake->left)
		return 0;
	fake->left--;
	fake->served++;
	return net_iov_write(iov, count, 0, &header, HEADER_SIZE) +
	       net_iov_write(iov, count, HEADER_SIZE, fake->given, fake->given_length);
}

static inline void fake_want(struct net_backend *backend, bool wanted)
{
	fake_of(backend)->wanted = wanted;
}

static inline void fake_offloads(struct net_backend *backend, uint64_t features)
{
	fake_of(backend)->offloads = features;
}

static inline void fake_close(struct net_backend *backend)
{
	ck_assert(!fake_of(backend)->started);
}

static const struct net_backend_ops fake_ops = {
	.start = fake_start, .stop = fake_stop, .send = fake_send, .send_done = fake_send_done, .receive = fake_receive,
	.want = fake_want, .offloads = fake_offloads, .close = fake_close,
};

static const struct net_backend_type fake_type;

static inline int fake_create(struct net_setup *setup, struct network *network)
{
	int result = net_setup_done(setup, &fake_type);

	for (unsigned int i = 0; i < setup->pairs && i < 2 && !result; i++) {
		fakes[i].backend = (struct net_backend){ .ops = &fake_ops, .features = OFFLOADS, .loop = setup->loop, .link_up = true };
		network->backends[network->backend_count++] = &fakes[i].backend;
	}
	return result;
}

static const struct net_backend_type fake_type = { .name = "test", .keys = "", .create = fake_create };
NET_BACKEND(fake_type);

/* ---- the machine ---- */

static inline void machine(const char *network)
{
	log_set_sink(board_hush);
	net_machine(network);
}

static inline void setup(void)
{
	machine("mode=test,guest_mac=02:15:15:01:02:03,mtu=1400");
	driver_start(0, 3);
}

static inline void setup_small(void)
{
	machine("mode=test,guest_mac=02:15:15:01:02:03");
	driver_start(BIT(VIRTIO_NET_F_MRG_RXBUF) | BIT(VIRTIO_NET_F_CSUM), 3);
}

static inline void setup_pairs(void)
{
	machine("mode=test,guest_mac=02:15:15:01:02:03,mq=2");
	driver_start(0, 5);
}

static inline void teardown(void)
{
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	log_set_sink(NULL);
}

/* The loop has done what it was kicked for. */
static inline void nothing(void *opaque)
{
	(void)opaque;
}

static inline void settle(void)
{
	/* A batch that is cut short posts its rest. */
	for (unsigned int i = 0; i < 3; i++)
		event_loop_call(driven->loop, nothing, NULL);
}

static inline void on_loop_readable(void *opaque)
{
	struct fake *fake = opaque;

	/* As a back end without an fd to be watched does it. */
	if (!fake->started || !fake->wanted)
		return;
	fake->backend.client->readable(fake->backend.opaque);
	fake->backend.client->batch_done(fake->backend.opaque);
}

/* @count frames of @length bytes for the guest, to @mac. */
static inline void give(struct fake *fake, const uint8_t *mac, size_t length, unsigned int count)
{
	for (size_t i = 0; i < length; i++)
		fake->given[i] = (uint8_t)(i * 7 + length);
	memcpy(fake->given, mac, 6);
	fake->given_length = length;
	fake->left = count;
	event_loop_call(driven->loop, on_loop_readable, fake);
	settle();
}

static inline void wait_kicked(unsigned int queue)
{
	virtio_notify(driven, queue);
	/* The kick's eventfd and the call's are seen by one epoll_wait(), the kick first, or in two. */
	for (unsigned int i = 0; i < 100 && ring_used_index(&driver_rings[queue]) != driver_rings[queue].next_avail; i++) {
		settle();
		usleep(1000);
	}
	settle();
}

/* For a queue that doesn't use all at once. */
static inline void kick(unsigned int queue)
{
	virtio_notify(driven, queue);
	settle();
	usleep(2000);
	settle();
}

static inline uint16_t used(unsigned int queue)
{
	return ring_used_index(&driver_rings[queue]);
}

/* A frame of @length bytes behind @header, in one piece each. */
static inline void send_frame(unsigned int queue, const struct virtio_net_hdr_v1 *header, uint32_t length)
{
	const struct driver_buffer buffers[] = { { HEADER, HEADER_SIZE, false }, { DATA, length, false } };

	guest_poke(&driver_ram, HEADER, header, HEADER_SIZE);
	driver_offer(queue, 0, buffers, 2);
	wait_kicked(queue);
}

static inline void offer_buffers(unsigned int queue, unsigned int count, uint32_t size)
{
	for (unsigned int i = 0; i < count; i++)
		driver_offer(queue, (uint16_t)i, &(struct driver_buffer){ BUFFERS + (uint64_t)i * size, size, true }, 1);
	kick(queue);
}

static inline uint8_t control(unsigned int queue, const void *command, uint32_t length)
{
	const struct driver_buffer buffers[] = { { DATA, length, false }, { ACK, 1, true } };
	uint8_t untouched = 0xee;

	guest_poke(&driver_ram, DATA, command, length);
	guest_poke(&driver_ram, ACK, &untouched, 1);
	driver_offer(queue, 0, buffers, 2);
	wait_kicked(queue);
	return driver_peek(ACK);
}

#define COMMAND_(...) ((const uint8_t[]){ __VA_ARGS__ })
#define ask(...) control(CTRL, COMMAND_(__VA_ARGS__), sizeof(COMMAND_(__VA_ARGS__)))

static inline uint16_t config16(size_t offset)
{
	le16 value;

	virtio_config_read(driven, offset, &value, sizeof(value));
	return le16_get(value);
}

#endif
