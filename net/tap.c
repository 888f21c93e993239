/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mode=tap: a network interface of the host's, a tap or macvtap, one queue of it a queue pair.
 *
 * Frames go between the guest's buffers and the kernel by one readv() or writev() each, with the header that virtio
 * has (IFF_VNET_HDR), so that checksums and segmentation are left to whom they don't trouble. The kernel's queue is
 * bounded and drops; a write never waits. All but create and close on the event loop.
 */
#include "tap.h"

#include <linux/if_tun.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "kvm/vhost.h"

/* Newer than the kernel headers of Debian 12 */
#ifndef TUN_F_USO4
#define TUN_F_USO4	0x20
#define TUN_F_USO6	0x40
#endif
/* More than a queue of the kernel's holds (txqueuelen is 1000) */
#define STALE_MAX	4096

struct tap {
	struct net_backend backend;
	char name[IFNAMSIZ];
	char *downscript;		/* the first queue's; or NULL */
	unsigned int index;
	int fd;
	bool has_header, detachable;
	bool vhost;			/* the kernel moves the frames by itself */
	unsigned int offloads;		/* TUN_F_, those that the interface takes */
	struct event_source source;
};

static struct tap *tap_of(struct net_backend *backend)
{
	return container_of(backend, struct tap, backend);
}

/* Somebody deleted the interface: epoll would say so for ever. */
static void tap_gone(struct tap *tap)
{
	log_warn("network: the interface %s is gone", tap->name);
	event_del(&tap->source);
	atomic_store(&tap->backend.link_up, false);
	tap->backend.client->link_changed(tap->backend.opaque);
}

static void tap_ready(struct event_source *source, uint32_t events)
{
	struct tap *tap = source->opaque;

	if (events & (EPOLLERR | EPOLLHUP)) {
		tap_gone(tap);
		return;
	}
	tap->backend.client->readable(tap->backend.opaque);
	tap->backend.client->batch_done(tap->backend.opaque);
}

/* ---- the back end ---- */

static int tap_queue(struct tap *tap, int flag)
{
	struct ifreq request = { .ifr_flags = (short)flag };

	return tap->detachable && ioctl(tap->fd, TUNSETQUEUE, &request) < 0 ? -errno : 0;
}

/* What came while nobody listened is as old as that. */
static void tap_drop_stale(const struct tap *tap)
{
	char byte[NET_HEADER + 1];

	for (unsigned int i = 0; i < STALE_MAX && read(tap->fd, byte, sizeof(byte)) > 0; i++)
		;
}

static int tap_start(struct net_backend *backend)
{
	struct tap *tap = tap_of(backend);
	int result;

	if (!atomic_load(&backend->link_up))
		return 0;
	result = tap_queue(tap, IFF_ATTACH_QUEUE);
	if (result)
		return log_errno(result, "network: %s: queue %u", tap->name, tap->index);
	tap_drop_stale(tap);
	if (tap->vhost)
		return 0;
	tap->source.opaque = tap;
	result = event_add(backend->loop, &tap->source, tap->fd, EPOLLIN, tap_ready);
	return result ? log_errno(result, "network: %s", tap->name) : 0;
}

static void tap_stop(struct net_backend *backend)
{
	struct tap *tap = tap_of(backend);

	event_del(&tap->source);
	if (tap_queue(tap, IFF_DETACH_QUEUE))
		log_debug("network: %s: queue %u stays attached", tap->name, tap->index);
}

static void tap_send(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	const struct tap *tap = tap_of(backend);
	unsigned int first = tap->has_header ? 0 : 1;

	/* A frame that the kernel doesn't take, as it is full, down or of another opinion on the header, is lost. */
	if (writev(tap->fd, iov + first, (int)(count - first)) < 0)
		log_debug("network: %s: a frame was dropped: %s", tap->name, strerror(errno));
}

static size_t tap_receive(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	const struct tap *tap = tap_of(backend);
	unsigned int first = tap->has_header ? 0 : 1;
	ssize_t length;

	do
		length = readv(tap->fd, iov + first, (int)(count - first));
	while (length < 0 && errno == EINTR);
	if (length <= 0)
		return 0;
	return (size_t)length + (tap->has_header ? 0 : iov[0].iov_len);
}

static void tap_want(struct net_backend *backend, bool wanted)
{
	struct tap *tap = tap_of(backend);

	if (tap->source.loop && event_modify(&tap->source, wanted ? EPOLLIN : 0))
		log_debug("network: %s: epoll", tap->name);
}

static const struct { unsigned int tun, guest, host; } tap_offloads_known[] = {
	{ TUN_F_CSUM, VIRTIO_NET_F_GUEST_CSUM, VIRTIO_NET_F_CSUM },
	{ TUN_F_TSO4, VIRTIO_NET_F_GUEST_TSO4, VIRTIO_NET_F_HOST_TSO4 },
	{ TUN_F_TSO6, VIRTIO_NET_F_GUEST_TSO6, VIRTIO_NET_F_HOST_TSO6 },
	{ TUN_F_TSO_ECN, VIRTIO_NET_F_GUEST_ECN, VIRTIO_NET_F_HOST_ECN },
	{ TUN_F_USO4, VIRTIO_NET_F_GUEST_USO4, VIRTIO_NET_F_HOST_USO },
	{ TUN_F_USO6, VIRTIO_NET_F_GUEST_USO6, VIRTIO_NET_F_HOST_USO },
};

/* They are the interface's, and a queue that is detached has none. */
static void tap_offloads(struct net_backend *backend, uint64_t features)
{
	const struct tap *tap = tap_of(backend);
	unsigned int offloads = 0;

	if (tap->index || !tap->has_header)
		return;
	for (size_t i = 0; i < ARRAY_SIZE(tap_offloads_known); i++)
		if (features & BIT(tap_offloads_known[i].guest))
			offloads |= tap_offloads_known[i].tun;
	/* The rest is nothing without checksums; the kernel takes both sorts of USO or none. */
	offloads = offloads & TUN_F_CSUM ? offloads & tap->offloads : 0;
	if ((offloads & (TUN_F_USO4 | TUN_F_USO6)) != (TUN_F_USO4 | TUN_F_USO6))
		offloads &= ~(unsigned int)(TUN_F_USO4 | TUN_F_USO6);
	if (ioctl(tap->fd, TUNSETOFFLOAD, offloads) < 0)
		log_warn("network: %s: it doesn't take offloads 0x%x: %s", tap->name, offloads, strerror(errno));
}

static void tap_close(struct net_backend *backend)
{
	struct tap *tap = tap_of(backend);

	if (tap->downscript)
		tap_script(tap->downscript, tap->name);
	close(tap->fd);
	free(tap->downscript);
	free(tap);
}

static const struct net_backend_ops tap_ops = {
	.start		= tap_start,
	.stop		= tap_stop,
	.send		= tap_send,
	.receive	= tap_receive,
	.want		= tap_want,
	.offloads	= tap_offloads,
	.close		= tap_close,
};

/* ---- making it ---- */

static uint64_t tap_features(unsigned int offloads)
{
	uint64_t features = 0;

	for (size_t i = 0; i < ARRAY_SIZE(tap_offloads_known); i++)
		if (offloads & tap_offloads_known[i].tun)
			features |= BIT(tap_offloads_known[i].guest) | BIT(tap_offloads_known[i].host);
	return features;
}

static struct tap *tap_make(const struct net_setup *setup, const struct tap_interface *interface, unsigned int index)
{
	struct tap *tap = calloc(1, sizeof(*tap));

	if (!tap)
		return NULL;
	memcpy(tap->name, interface->name, sizeof(tap->name));
	tap->fd = interface->fds[index];
	tap->index = index;
	tap->has_header = interface->has_header;
	tap->vhost = setup->vhost;
	tap->offloads = interface->offloads;
	tap->backend.ops = &tap_ops;
	tap->backend.features = tap_features(interface->offloads);
	tap->backend.loop = setup->loop;
	atomic_init(&tap->backend.link_up, true);
	/* The first one stays: an interface without a queue has no carrier. */
	tap->detachable = index > 0;
	if (tap_queue(tap, IFF_DETACH_QUEUE))
		tap->detachable = false;
	return tap;
}

/* Without the header that virtio has vhost would take the frames' own first bytes for one. */
static int tap_open_vhost(struct network *network, const struct tap *tap)
{
	int result;

	if (!tap->has_header)
		return log_error(EUSAGE, "option --network: vhost=1: %s was made without IFF_VNET_HDR", tap->name);
	result = vhost_net_open(&network->vhosts[network->vhost_count], tap->fd);
	if (!result)
		network->vhost_count++;
	return result;
}

static const struct net_backend_type tap_type;

static int tap_create(struct net_setup *setup, struct network *network)
{
	struct tap_interface interface;
	struct tap_options options;
	struct tap *tap;
	int result = tap_options_parse(setup, &options);

	if (!result)
		result = net_setup_done(setup, &tap_type);
	if (!result)
		result = tap_open(setup, &options, &interface);
	if (result)
		return result;
	if (setup->vhost && interface.count < setup->pairs)
		result = log_error(EUSAGE, "option --network: vhost=1: fd= names fewer descriptors than mq=%u", setup->pairs);
	for (unsigned int i = 0; i < interface.count; i++) {
		tap = result ? NULL : tap_make(setup, &interface, i);
		if (!tap) {
			result = result ? result : -ENOMEM;
			close(interface.fds[i]);
			continue;
		}
		network->backends[network->backend_count++] = &tap->backend;
		if (setup->vhost)
			result = tap_open_vhost(network, tap);
		if (i == 0 && options.downscript)
			tap->downscript = strdup(options.downscript);
	}
	return result == -ENOMEM ? log_errno(result, "network: %s", interface.name) : result;
}

static const struct net_backend_type tap_type = {
	.name = "tap", .keys = "tapif=, fd=, bridge=, script=, downscript=", .create = tap_create,
};
NET_BACKEND(tap_type);
