/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Network back ends: what stands behind a guest's network device.
 *
 * A back end is one file in net/ with a static const struct net_backend_type, registered by NET_BACKEND(). It moves
 * Ethernet frames, each behind a struct virtio_net_hdr_v1, which says what of checksums and segmentation is left to
 * the receiver. All but create and close run on the event loop that the VM's network devices share.
 */
#ifndef KVM_NET_H
#define KVM_NET_H

#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <stdatomic.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "kvm/event.h"
#include "kvm/log.h"
#include "kvm/option.h"
#include "kvm/types.h"

struct kvm;
struct net_backend;
struct vhost;

/* Newer than the kernel headers of Debian 12 */
#ifndef VIRTIO_NET_F_HOST_USO
#define VIRTIO_NET_F_GUEST_USO4	54
#define VIRTIO_NET_F_GUEST_USO6	55
#define VIRTIO_NET_F_HOST_USO	56
#endif
#ifndef VIRTIO_NET_HDR_GSO_UDP_L4
#define VIRTIO_NET_HDR_GSO_UDP_L4	5
#endif

#define NET_HEADER		sizeof(struct virtio_net_hdr_v1)
#define NET_ETHERNET		14
/** the largest frame: an IP packet of 64 KiB, with a VLAN tag */
#define NET_FRAME_MAX		(65535 + NET_ETHERNET + 4)

/** what send() gets, and receive() writes to, at most this many segments */
#define NET_SEGMENTS_MAX	1024
/** queue pairs of one device */
#define NET_PAIRS_MAX		16

/** struct net_client - the device before a back end; called on the loop */
struct net_client {
	/** @readable: receive() has something; @batch_done: behind one or more of them */
	void (*readable)(void *opaque);
	void (*batch_done)(void *opaque);
	/** @link_changed: net_backend.link_up did */
	void (*link_changed)(void *opaque);
};

struct net_backend_ops {
	/**
	 * @start: frames flow between the back end and its client from now on, and those that came before are dropped;
	 * @stop: they don't flow. They may alternate.
	 */
	int (*start)(struct net_backend *backend);
	void (*stop)(struct net_backend *backend);
	/**
	 * @send: one frame from the guest; @iov[0] is its struct virtio_net_hdr_v1 and nothing else, checked; the
	 * segments behind it may change while they are read. What can't be sent at once is dropped: nobody waits
	 */
	void (*send)(struct net_backend *backend, const struct iovec *iov, unsigned int count);
	/** @send_done: behind a batch of sends; NULL: nothing */
	void (*send_done)(struct net_backend *backend);
	/** @receive: one frame with its header into @iov: how long it is, 0 if there is none. Cut if @iov is too short */
	size_t (*receive)(struct net_backend *backend, const struct iovec *iov, unsigned int count);
	/** @want: whether readable() should be called: not while the guest has no buffers */
	void (*want)(struct net_backend *backend, bool wanted);
	/** @offloads: which of the VIRTIO_NET_F_GUEST_ bits of net_backend.features received frames may use */
	void (*offloads)(struct net_backend *backend, uint64_t features);
	void (*close)(struct net_backend *backend);
};

/** struct net_backend - one queue pair's: a device of several has as many, or fewer, which then receive for all */
struct net_backend {
	const struct net_backend_ops *ops;
	/** VIRTIO_NET_F_ bits of offloads: HOST_ and CSUM as send() takes them, GUEST_ as receive() may give them */
	uint64_t features;
	struct event_loop *loop;
	atomic_bool link_up;
	/* set by net_start(), before start() */
	const struct net_client *client;
	void *opaque;
};

/** struct net_setup - one -n, while its back end is made */
struct net_setup {
	struct keyval keyval;
	unsigned int index;		/* which -n, from 0 */
	bool implied;			/* there is no -n: the default */
	struct event_loop *loop;
	uint8_t guest_mac[6], host_mac[6];
	bool host_mac_given;
	struct in_addr host_ip, guest_ip;
	uint16_t mtu;			/* 0: not given */
	unsigned int pairs;		/* mq= */
	const char *transport;		/* trans=, or NULL */
	const char *pcap;
	bool vhost;			/* vhost=1: rings are worked on by the host's kernel */
};

/** struct network - one network device that -n asks for */
struct network {
	struct net_backend *backends[NET_PAIRS_MAX];
	unsigned int backend_count;
	/*
	 * Who works on the rings instead of send() and receive(): one a pair beside its back end, or one for all pairs.
	 * start(), stop(), offloads() and link_up are the back ends' still.
	 */
	struct vhost *vhosts[NET_PAIRS_MAX];
	unsigned int vhost_count;
	struct event_loop *loop;	/* the device's own, as it may wait for somebody; NULL: the shared one */
	/** @closed: behind the back ends' close; NULL: nothing */
	void (*closed)(struct network *network);
	pid_t helper;			/* @closed's: a process that goes with the network */
	unsigned int pairs;
	const char *transport;		/* trans=, or NULL: --virtio-transport's */
	uint8_t mac[6];
	bool mac_given;
	uint16_t mtu;			/* 0: not told to the guest */
};

/** struct net_backend_type - one mode= of -n */
struct net_backend_type {
	const char *name;
	const char *keys;		/* its own, for messages: "tapif=, script=" */
	/**
	 * @create: takes its keys from @setup, calls net_setup_done(), and only then touches the host; says its errors.
	 * Fills in backends and backend_count, of at most @setup->pairs. Main thread, before the VM starts.
	 */
	int (*create)(struct net_setup *setup, struct network *network);
};

struct net_backend_item {
	const struct net_backend_type *type;
	struct net_backend_item *next;
};

#define NET_BACKEND(type_)									\
	static struct net_backend_item type_##_item = { .type = &(type_) };			\
	static void __attribute__((constructor)) type_##_register(void)				\
	{											\
		net_backend_register(&type_##_item);						\
	}											\
	struct net_backend_item /* swallows the semicolon */

void net_backend_register(struct net_backend_item *item);

/** net_setup_done() - -EUSAGE (said) if a key is left that nobody asked for */
int __must_check net_setup_done(struct net_setup *setup, const struct net_backend_type *type);
/** net_setup_address() - an IPv4 address out of @key; *@address unchanged if absent; -EUSAGE (said) for nonsense */
int __must_check net_setup_address(struct net_setup *setup, const char *key, struct in_addr *address);
/** net_parse_mac() - "02:15:15:15:15:15"; false for nonsense and multicast addresses, @mac then being undefined */
bool net_parse_mac(const char *text, uint8_t mac[6]);

/** net_start() - gives @backend its client and starts it */
int __must_check net_start(struct net_backend *backend, const struct net_client *client, void *opaque);

/** net_pcap_wrap() - puts a capture into the file @path before each of @network's back ends */
int __must_check net_pcap_wrap(struct network *network, const char *path);

/** networks_count(), networks_get() - what -n opened for a VM (net/networks.c, dev_base_init) */
size_t networks_count(struct kvm *kvm);
struct network *networks_get(struct kvm *kvm, size_t index);
/**
 * networks_plug() - one more network, by -n's @text, for a device that comes now; networks_unplug() - closes it
 * network_default_mac() - the address of a device called @id, if none was given; as long as none is made of it
 * Main thread.
 */
int __must_check networks_plug(struct kvm *kvm, const char *text, struct network **network);
void networks_unplug(struct network *network);
void network_default_mac(const struct kvm *kvm, struct network *network, const char *id);
/** networks_loop() - the event loop that network devices share */
struct event_loop *networks_loop(struct kvm *kvm);

/* ---- frames ---- */

/** net_iov_length(), net_iov_read(), net_iov_write() - gather and scatter from @offset on; how much was moved */
size_t net_iov_length(const struct iovec *iov, unsigned int count);
size_t net_iov_read(const struct iovec *iov, unsigned int count, size_t offset, void *buffer, size_t length);
size_t net_iov_write(const struct iovec *iov, unsigned int count, size_t offset, const void *buffer, size_t length);

/**
 * net_checksum_fill() - the Internet checksum over @frame from @start to its end, at @start + @offset
 * The field holds the pseudo header's sum already (VIRTIO_NET_HDR_F_NEEDS_CSUM). Outside of @frame: nothing is done.
 */
void net_checksum_fill(uint8_t *frame, size_t length, size_t start, size_t offset);

#endif
