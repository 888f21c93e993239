/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mode=vhost-user: a daemon works on the device's rings itself (DPDK, passt); no frame passes here.
 *
 * What is left for a back end is the link: it is up while there is a daemon. The device has a loop of its own, since
 * it may wait for the daemon.
 */
#include "kvm/net.h"
#include "vhost/user.h"
#include "vhost-user.h"

#define DAEMON_OFFLOADS (BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_GUEST_CSUM) | BIT(VIRTIO_NET_F_GUEST_TSO4) | \
			 BIT(VIRTIO_NET_F_GUEST_TSO6) | BIT(VIRTIO_NET_F_GUEST_ECN) | BIT(VIRTIO_NET_F_HOST_TSO4) | \
			 BIT(VIRTIO_NET_F_HOST_TSO6) | BIT(VIRTIO_NET_F_HOST_ECN) | BIT(VIRTIO_NET_F_GUEST_USO4) | \
			 BIT(VIRTIO_NET_F_GUEST_USO6) | BIT(VIRTIO_NET_F_HOST_USO))

struct daemon_net {
	struct net_backend backend;
	struct vhost_user *user;
};

static struct daemon_net *daemon_of(struct net_backend *backend)
{
	return container_of(backend, struct daemon_net, backend);
}

/* ---- the link ---- */

static void daemon_presence_changed(void *opaque)
{
	struct daemon_net *daemon = opaque;

	atomic_store(&daemon->backend.link_up, vhost_user_is_present(daemon->user));
	if (daemon->backend.client)
		daemon->backend.client->link_changed(daemon->backend.opaque);
}

static void daemon_config_changed(void *opaque)
{
	(void)opaque;
}

static const struct vhost_user_client daemon_client = {
	.config_changed = daemon_config_changed, .presence_changed = daemon_presence_changed,
};

/* ---- the back end ---- */

static int daemon_start(struct net_backend *backend)
{
	(void)backend;
	return 0;
}

static void daemon_stop(struct net_backend *backend)
{
	(void)backend;
}

static void daemon_send(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	(void)backend;
	(void)iov;
	(void)count;
}

static size_t daemon_receive(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	(void)backend;
	(void)iov;
	(void)count;
	return 0;
}

static void daemon_want(struct net_backend *backend, bool wanted)
{
	(void)backend;
	(void)wanted;
}

static void daemon_close(struct net_backend *backend)
{
	free(daemon_of(backend));
}

static const struct net_backend_ops daemon_ops = {
	.start		= daemon_start,
	.stop		= daemon_stop,
	.send		= daemon_send,
	.receive	= daemon_receive,
	.want		= daemon_want,
	.close		= daemon_close,
};

/* ---- making it ---- */

int net_vhost_user_open(const struct net_setup *setup, struct network *network, const char *path, int fd)
{
	struct daemon_net *daemon = calloc(1, sizeof(*daemon));
	int result;

	if (!daemon) {
		if (fd >= 0)
			close(fd);
		return log_errno(ENOMEM, "option --network: %s", path);
	}
	daemon->backend.ops = &daemon_ops;
	atomic_init(&daemon->backend.link_up, true);
	network->backends[network->backend_count++] = &daemon->backend;
	result = event_loop_create(&network->loop, "vhost-net");
	if (result && fd >= 0)
		close(fd);
	daemon->backend.loop = network->loop;
	if (!result)
		result = vhost_user_open(&daemon->user, path, fd, network->loop, &daemon_client, daemon);
	if (result)
		return result;
	network->vhosts[network->vhost_count++] = vhost_user_base(daemon->user);
	daemon->backend.features = vhost_user_base(daemon->user)->features & DAEMON_OFFLOADS;
	if (vhost_user_queues(daemon->user) < 2 * setup->pairs)
		return log_error(EUSAGE, "option --network: mq=%u: the daemon at %s has %u queue pairs", setup->pairs, path,
				 vhost_user_queues(daemon->user) / 2);
	return 0;
}

static const struct net_backend_type vhost_user_type;

static int vhost_user_create(struct net_setup *setup, struct network *network)
{
	const char *path = keyval_get(&setup->keyval, "socket");
	int result;

	if (!path || !*path)
		return log_error(EUSAGE, "option --network: mode=vhost-user needs socket=PATH, which its daemon made");
	result = net_setup_done(setup, &vhost_user_type);
	return result ? result : net_vhost_user_open(setup, network, path, -1);
}

static const struct net_backend_type vhost_user_type = {
	.name = "vhost-user", .keys = "socket=", .create = vhost_user_create,
};
NET_BACKEND(vhost_user_type);
