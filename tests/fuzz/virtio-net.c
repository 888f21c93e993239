/* SPDX-License-Identifier: BSD-2-Clause */
/* virtio-net under fuzz, before a back end that takes every frame and has as many as the input says. */
#include "tests/fuzz/virtio.h"

#include <linux/virtio_net.h>

#include "kvm/kvm.h"
#include "kvm/net.h"

#define PAIRS	2

static struct peer {
	struct net_backend backend;
	bool started, wanted;
	unsigned int left;		/* frames for the guest */
	size_t length;
	uint8_t fill;
} peers[PAIRS];

static struct peer *peer_of(struct net_backend *backend)
{
	return container_of(backend, struct peer, backend);
}

static int peer_start(struct net_backend *backend)
{
	peer_of(backend)->started = peer_of(backend)->wanted = true;
	return 0;
}

static void peer_stop(struct net_backend *backend)
{
	peer_of(backend)->started = false;
}

static void peer_send(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	static uint8_t frame[NET_FRAME_MAX];

	FUZZ_CHECK(peer_of(backend)->started && count && iov[0].iov_len == sizeof(struct virtio_net_hdr_v1));
	(void)net_iov_read(iov, count, 0, frame, sizeof(frame));
}

static void peer_send_done(struct net_backend *backend)
{
	FUZZ_CHECK(peer_of(backend)->started);
}

static size_t peer_receive(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	static uint8_t frame[NET_FRAME_MAX];
	struct virtio_net_hdr_v1 header = { .flags = VIRTIO_NET_HDR_F_DATA_VALID };
	struct peer *peer = peer_of(backend);

	FUZZ_CHECK(peer->started);
	if (!peer->left)
		return 0;
	peer->left--;
	memset(frame, peer->fill, peer->length);
	return net_iov_write(iov, count, 0, &header, sizeof(header)) + net_iov_write(iov, count, sizeof(header), frame, peer->length);
}

static void peer_want(struct net_backend *backend, bool wanted)
{
	peer_of(backend)->wanted = wanted;
}

static void peer_offloads(struct net_backend *backend, uint64_t features)
{
	FUZZ_CHECK(!(features & ~backend->features));
}

static void peer_close(struct net_backend *backend)
{
	FUZZ_CHECK(!peer_of(backend)->started);
}

static const struct net_backend_ops peer_ops = {
	.start = peer_start, .stop = peer_stop, .send = peer_send, .send_done = peer_send_done, .receive = peer_receive,
	.want = peer_want, .offloads = peer_offloads, .close = peer_close,
};

static const struct net_backend_type fuzz_type;

static int peer_create(struct net_setup *setup, struct network *network)
{
	static const uint64_t features = BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) |
					 BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4);
	int result = net_setup_done(setup, &fuzz_type);

	for (unsigned int i = 0; i < setup->pairs && i < PAIRS && !result; i++) {
		peers[i].backend = (struct net_backend){ .ops = &peer_ops, .features = features, .loop = setup->loop, .link_up = true };
		network->backends[network->backend_count++] = &peers[i].backend;
	}
	return result;
}

static const struct net_backend_type fuzz_type = { .name = "fuzz", .keys = "", .create = peer_create };
NET_BACKEND(fuzz_type);

static void net_machine(struct kvm *kvm)
{
	fuzz_machine_set(kvm, "network", "mode=fuzz,guest_mac=02:15:15:01:02:03,mtu=1400,mq=2");
	fuzz_machine_add(kvm, "networks_init");
	fuzz_machine_add(kvm, "net_init");
}

static void net_event(struct kvm *kvm, struct virtio_device *device, struct fuzz_input *input)
{
	struct peer *peer = &peers[fuzz_u8(input) % PAIRS];

	(void)kvm;
	(void)device;
	peer->left = fuzz_u8(input) % 16;
	peer->length = fuzz_u16(input) % NET_FRAME_MAX;
	peer->fill = fuzz_u8(input);
	if (!peer->started || !peer->wanted)
		return;
	peer->backend.client->readable(peer->backend.opaque);
	peer->backend.client->batch_done(peer->backend.opaque);
}

static void net_between(struct virtio_device *device)
{
	(void)device;
	for (unsigned int i = 0; i < PAIRS; i++)
		FUZZ_CHECK(!peers[i].started);
}

/* two pairs, and control */
static const struct fuzz_virtio net_spec = { .machine = net_machine, .queues = 5, .event = net_event, .between = net_between };
FUZZ_VIRTIO(net, "net", net_spec);

static const struct fuzz_virtio net_packed_spec = {
	.machine = net_machine, .queues = 5, .packed = true, .event = net_event, .between = net_between,
};
FUZZ_VIRTIO(net_packed, "net-packed", net_packed_spec);
