/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-net in five files: the device and what it sends (net.c), receiving (net-receive.c), control (net-control.c),
 * QMP's set_link (net-link.c), rings that somebody else works on (net-vhost.c).
 */
#ifndef VIRTIO_NET_H
#define VIRTIO_NET_H

#include "kvm/net.h"
#include "kvm/vhost.h"
#include "kvm/virtio.h"

/* Queues: receive and transmit of each pair in turn, then control (VirtIO 1.3, 5.1.2). */
#define NET_RECEIVE(pair)	(2 * (pair))
#define NET_TRANSMIT(pair)	(2 * (pair) + 1)
#define NET_QUEUE_SIZE		256

#define NET_MACS_MAX	64
#define NET_VLANS	4096

/* what the driver asked for by VIRTIO_NET_CTRL_RX, a bit a command */
#define NET_RX_PROMISCUOUS	BIT(VIRTIO_NET_CTRL_RX_PROMISC)
#define NET_RX_ALL_MULTICAST	BIT(VIRTIO_NET_CTRL_RX_ALLMULTI)
#define NET_RX_ALL_UNICAST	BIT(VIRTIO_NET_CTRL_RX_ALLUNI)
#define NET_RX_NO_MULTICAST	BIT(VIRTIO_NET_CTRL_RX_NOMULTI)
#define NET_RX_NO_UNICAST	BIT(VIRTIO_NET_CTRL_RX_NOUNI)
#define NET_RX_NO_BROADCAST	BIT(VIRTIO_NET_CTRL_RX_NOBCAST)
#define NET_RX_BITS		6

/* the GUEST_ features that VIRTIO_NET_CTRL_GUEST_OFFLOADS turns on and off */
#define NET_GUEST_OFFLOADS (BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) | BIT(VIRTIO_NET_F_GUEST_TSO6) | \
			    BIT(VIRTIO_NET_F_GUEST_ECN) | BIT(VIRTIO_NET_F_GUEST_USO4) | BIT(VIRTIO_NET_F_GUEST_USO6))

/* Frames on their way to the guest. */
struct net_receive {
	struct virtio_request *taken[NET_QUEUE_SIZE];	/* popped and not used yet, in the ring's order */
	unsigned int taken_first, taken_count;
	size_t taken_bytes;
	uint8_t *held;			/* a frame that waits for buffers; made at the first */
	size_t held_length;		/* with its header; 0: none */
	struct event_timer held_too_long;
	bool starved;			/* the guest has no buffers: the back end was told */
};

struct net_pair {
	struct net *net;
	unsigned int index;
	struct net_backend *backend;	/* NULL: there are fewer than pairs, and this one only sends */
	bool started;
	struct net_receive receive;
};

struct net {
	struct virtio_device device;
	unsigned int pair_count, backend_count;
	uint16_t mtu;			/* 0: not told */
	uint8_t mac_default[6];
	struct net *next;
	struct log_limit odd_frames;
	struct vhost *const *vhosts;	/* who works on the pairs' rings; see struct network */
	unsigned int vhost_count;	/* 0: this file does */

	/* read by vCPUs, written by the loop */
	_Atomic uint64_t mac;		/* its 6 bytes as they lie in config space */
	atomic_uint status;		/* VIRTIO_NET_S_ */

	/* owned by the loop */
	bool unplugged;			/* by the user: no frame passes */
	uint32_t rx_mode;		/* NET_RX_ */
	uint32_t mac_count;
	uint8_t macs[NET_MACS_MAX * 6];
	uint8_t vlans[NET_VLANS / 8];
	uint64_t offloads;		/* of the negotiated ones, those that are on */
	uint16_t active;		/* pairs that the driver uses, from 1 */
	bool started;
	uint8_t *spill;			/* what of a frame doesn't fit the guest's buffers */
	struct net_pair pairs[NET_PAIRS_MAX];
};

/** net_header_size() - as negotiated; VirtIO 1.3, 5.1.6 */
static inline size_t net_header_size(const struct net *net)
{
	return virtio_has_feature(&net->device, VIRTIO_F_VERSION_1) || virtio_has_feature(&net->device, VIRTIO_NET_F_MRG_RXBUF) ?
	       NET_HEADER : sizeof(struct virtio_net_hdr);
}

static inline struct virtqueue *net_queue(struct net *net, unsigned int index)
{
	return &net->device.queues[index];
}

/** net_control_index() - of the control queue: it depends on what the driver knows */
static inline unsigned int net_control_index(const struct net *net)
{
	return 2 * (virtio_has_feature(&net->device, VIRTIO_NET_F_MQ) ? net->pair_count : 1);
}

/** net_set_active() - the driver uses the first @pairs from now on; -errno: one can't be started */
int __must_check net_set_active(struct net *net, uint16_t pairs);

/**
 * net_vhost_begin() - the rings of pairs are others' from now on, the control queue is ours: where it lies is negotiated
 * net_vhost_apply() - of the pairs that the driver uses, whoever works on them does, unless no frame may pass
 * net_vhost_stop() - nobody does
 */
void net_vhost_begin(struct net *net);
int __must_check net_vhost_apply(struct net *net);
void net_vhost_stop(struct net *net);
int __must_check net_vhost_attach(struct net *net);
void net_vhost_detach(struct net *net);

/** net_receive_frames() - takes frames from the back end as long as both sides have some; net_receive_flush() behind it */
void net_receive_frames(struct net_pair *pair);
/** net_receive_flush() - tells the driver of the buffers that were used */
void net_receive_flush(struct net_pair *pair);
/** net_receive_kicked() - the driver offers buffers */
void net_receive_kicked(struct net_pair *pair);
void net_receive_init(struct net_pair *pair, struct event_loop *loop);
/** net_receive_stop() - gives the taken buffers back; no frame is held, no timer runs */
void net_receive_stop(struct net_pair *pair);
void net_receive_free(struct net_pair *pair);
#define NET_SPILL_SIZE	(NET_HEADER + NET_FRAME_MAX)

/** net_control() - virtio_process()'s handler of the control queue */
int net_control(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req);
/** net_wants() - whether the driver's filters let a frame through; @head is its first 18 bytes, or as many as there are */
bool net_wants(const struct net *net, const uint8_t *head, size_t length);

/** net_find() - a VM's network device by its name ("virtio-net0"); NULL: it has none called so; main thread */
struct net *net_find(struct kvm *kvm, const char *name);
/** net_unplug() - as if the cable were pulled, or put back; loop */
void net_unplug(struct net *net, bool unplugged);

#endif
