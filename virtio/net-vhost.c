/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-net whose frames don't come by here: the pairs' rings belong to vhost back ends, the host's kernel or a daemon.
 *
 * The control queue, config space and the link's state stay the device's. The driver's filters do not: what works on
 * the rings knows nothing of them, so that a driver may get more than it asked for, which VirtIO 1.3 (5.1.6.5) allows.
 */
#include "net.h"

static bool net_vhost_for_all(const struct net *net)
{
	return net->vhost_count == 1 && net->pair_count > 1;
}

void net_vhost_begin(struct net *net)
{
	for (unsigned int i = 0; i < net->device.queue_count && net->vhost_count; i++) {
		struct virtqueue *vq = net_queue(net, i);

		vq->outside = i < net_control_index(net);
		/* The core left it alone, as it was taken for another's. */
		if (!vq->outside && vq->enabled && virtqueue_enable_kick(vq))
			virtio_notify(&net->device, i);
	}
}

int net_vhost_apply(struct net *net)
{
	unsigned int wanted = net->unplugged ? 0 : net->active;
	int result = 0;

	for (unsigned int i = 0; i < net->vhost_count && !result; i++) {
		if (i >= wanted) {
			vhost_stop(net->vhosts[i]);
			continue;
		}
		if (net_vhost_for_all(net))
			result = vhost_enable(net->vhosts[i], 2 * wanted);
		if (!result)
			result = vhost_start(net->vhosts[i]);
	}
	return result;
}

void net_vhost_stop(struct net *net)
{
	for (unsigned int i = 0; i < net->vhost_count; i++)
		vhost_stop(net->vhosts[i]);
}

int net_vhost_attach(struct net *net)
{
	unsigned int each = 2 * (net_vhost_for_all(net) ? net->pair_count : 1);
	int result = 0;

	for (unsigned int i = 0; i < net->vhost_count && !result; i++)
		result = vhost_attach(net->vhosts[i], &net->device, 2 * i, each);
	return result;
}

void net_vhost_detach(struct net *net)
{
	for (unsigned int i = 0; i < net->vhost_count; i++)
		vhost_detach(net->vhosts[i]);
}
