/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-net: a network device for the guest (VirtIO 1.3, 5.1), before one of the back ends of net/.
 *
 * Pairs of queues and the control queue, on the event loop that network devices share. Frames go between the guest's
 * buffers and the back end without a copy here; a batch is one update of the used ring and at most one interrupt.
 * What a header says is checked before a back end sees it.
 */
#include "net.h"

#include <linux/virtio_ring.h>
#include <stdio.h>
#include <string.h>

#include "kvm/kvm.h"
#include "kvm/pci-port.h"
#include "kvm/plug.h"
#include "virtio/device.h"

static const char net_key[] = "virtio-net";

/* What a back end that works on the rings must know itself: how they are written, and what stands before a frame. */
#define NET_RING_FEATURES (BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(VIRTIO_F_VERSION_1) | \
			   BIT(VIRTIO_F_ANY_LAYOUT) | BIT(VIRTIO_F_RING_PACKED) | BIT(VIRTIO_F_IN_ORDER) | \
			   BIT(VIRTIO_NET_F_MRG_RXBUF))

/* ---- what the guest sends ---- */

struct gso_kind {
	uint8_t type;
	unsigned int feature;
};

static const struct gso_kind gso_kinds[] = {
	{ VIRTIO_NET_HDR_GSO_TCPV4, VIRTIO_NET_F_HOST_TSO4 },
	{ VIRTIO_NET_HDR_GSO_TCPV6, VIRTIO_NET_F_HOST_TSO6 },
	{ VIRTIO_NET_HDR_GSO_UDP_L4, VIRTIO_NET_F_HOST_USO },
};

static const char *gso_wrong(const struct net *net, const struct virtio_net_hdr_v1 *header, size_t length)
{
	uint8_t type = header->gso_type & (uint8_t)~VIRTIO_NET_HDR_GSO_ECN;
	bool known = false;

	for (size_t i = 0; i < ARRAY_SIZE(gso_kinds); i++)
		known |= gso_kinds[i].type == type && virtio_has_feature(&net->device, gso_kinds[i].feature);
	if (!known)
		return "segmentation that was not negotiated";
	if ((header->gso_type & VIRTIO_NET_HDR_GSO_ECN) && !virtio_has_feature(&net->device, VIRTIO_NET_F_HOST_ECN))
		return "segmentation with ECN that was not negotiated";
	if (!(header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM))
		return "segmentation without a checksum to fill in";
	if (!le16toh(header->gso_size))
		return "segments of no size";
	if (le16toh(header->hdr_len) > length)
		return "headers that are longer than the frame";
	return NULL;
}

/* Says what is wrong with a frame of @length bytes, or NULL. */
static const char *frame_wrong(const struct net *net, const struct virtio_net_hdr_v1 *header, size_t length)
{
	size_t start = le16toh(header->csum_start), offset = le16toh(header->csum_offset);

	if (length < NET_ETHERNET || length > NET_FRAME_MAX)
		return "a frame of a length that none has";
	if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM) {
		if (!virtio_has_feature(&net->device, VIRTIO_NET_F_CSUM))
			return "a checksum that was not negotiated";
		if (start > length || !range_contains(0, length - start, offset, 2))
			return "a checksum outside the frame";
	}
	return header->gso_type == VIRTIO_NET_HDR_GSO_NONE ? NULL : gso_wrong(net, header, length);
}

/* Fields that say nothing are nothing: whatever a driver left in them. */
static void header_clean(struct virtio_net_hdr_v1 *header)
{
	header->flags &= VIRTIO_NET_HDR_F_NEEDS_CSUM;
	header->num_buffers = 0;
	if (!header->flags)
		header->csum_start = header->csum_offset = 0;
	if (header->gso_type == VIRTIO_NET_HDR_GSO_NONE)
		header->gso_size = header->hdr_len = 0;
}

/* The segments behind the guest's header, with ours before them; 0 if they are too many. */
static unsigned int frame_iov(const struct virtio_request *req, size_t skip, struct virtio_net_hdr_v1 *header,
			      struct iovec iov[NET_SEGMENTS_MAX])
{
	unsigned int count = 1;

	iov[0] = (struct iovec){ header, sizeof(*header) };
	for (unsigned int i = 0; i < req->readable; i++) {
		struct iovec segment = req->segments[i];
		size_t cut = MIN(skip, segment.iov_len);

		skip -= cut;
		if (segment.iov_len == cut)
			continue;
		if (count == NET_SEGMENTS_MAX)
			return 0;
		iov[count++] = (struct iovec){ (char *)segment.iov_base + cut, segment.iov_len - cut };
	}
	return count;
}

/* A pair without a back end of its own sends through another's. */
static struct net_pair *net_sender(struct net *net, unsigned int pair)
{
	struct net_pair *own = &net->pairs[pair % net->backend_count];

	return own->started ? own : &net->pairs[0];
}

static int net_transmit(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct net *net = container_of(device, struct net, device);
	struct virtio_net_hdr_v1 header = { 0 };
	size_t size = net_header_size(net);
	struct iovec iov[NET_SEGMENTS_MAX];
	struct net_backend *backend = net_sender(net, vq->index / 2)->backend;
	const char *wrong;
	unsigned int count;

	if (virtio_request_read(req, 0, &header, size) != size) {
		virtqueue_push(vq, req, 0);
		virtqueue_fail(vq, "a frame without its header");
		return 1;
	}
	wrong = frame_wrong(net, &header, req->readable_bytes - size);
	header_clean(&header);
	count = frame_iov(req, size, &header, iov);
	if (!wrong && !count)
		wrong = "a frame in too many pieces";
	if (wrong)
		log_guest(&net->odd_frames, "%s: %s; it is dropped", device->device.name, wrong);
	else if (!net->unplugged)
		backend->ops->send(backend, iov, count);
	virtqueue_push(vq, req, 0);
	return 1;
}

static void net_send_queue(struct net *net, struct virtqueue *vq)
{
	struct net_pair *sender = net_sender(net, vq->index / 2);

	virtio_process(&net->device, vq, net_transmit);
	if (sender->backend->ops->send_done)
		sender->backend->ops->send_done(sender->backend);
	/* user mode answers while it is sent to */
	net_receive_flush(sender);
}

static void net_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	struct net *net = container_of(device, struct net, device);

	if (!net->started || vq->index > net_control_index(net))
		return;
	if (vq->index == net_control_index(net))
		virtio_process(device, vq, net_control);
	else if (vq->index % 2)
		net_send_queue(net, vq);
	else
		net_receive_kicked(&net->pairs[vq->index / 2]);
}

/* ---- what the back end says ---- */

static void net_readable(void *opaque)
{
	net_receive_frames(opaque);
}

static void net_batch_done(void *opaque)
{
	net_receive_flush(opaque);
}

/* Of several back ends the first one speaks for all. */
static bool net_link_is_up(const struct net *net)
{
	return !net->unplugged && atomic_load(&net->pairs[0].backend->link_up);
}

static void net_link_update(struct net *net)
{
	unsigned int old = atomic_load(&net->status);
	unsigned int status = (old & ~(unsigned int)VIRTIO_NET_S_LINK_UP) | (net_link_is_up(net) ? VIRTIO_NET_S_LINK_UP : 0);

	if (status == old)
		return;
	atomic_store(&net->status, status);
	virtio_config_changed(&net->device);
}

static void net_link_changed(void *opaque)
{
	const struct net_pair *pair = opaque;

	net_link_update(pair->net);
}

void net_unplug(struct net *net, bool unplugged)
{
	net->unplugged = unplugged;
	if (net->started && net_vhost_apply(net))
		virtio_needs_reset(&net->device);
	net_link_update(net);
}

static const struct net_client net_client = {
	.readable	= net_readable,
	.batch_done	= net_batch_done,
	.link_changed	= net_link_changed,
};

/* ---- config ---- */

static void net_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	struct net *net = container_of(device, struct net, device);
	uint64_t mac = atomic_load(&net->mac);
	struct virtio_net_config config = {
		.status = htole16((uint16_t)atomic_load(&net->status)), .max_virtqueue_pairs = htole16((uint16_t)net->pair_count),
		.mtu = htole16(net->mtu),
	};

	memcpy(config.mac, &mac, sizeof(config.mac));
	memcpy(buffer, (char *)&config + offset, size);
}

/* VirtIO 1.3, 5.1.4.2: only a legacy driver may set the address here; others have the control queue. */
static void net_config_write(struct virtio_device *device, size_t offset, const void *buffer, size_t size)
{
	struct net *net = container_of(device, struct net, device);
	uint64_t mac = atomic_load(&net->mac);

	if (!device->legacy || offset >= 6)
		return;
	memcpy((char *)&mac + offset, buffer, MIN(size, 6 - offset));
	atomic_store(&net->mac, mac);
}

/* ---- life of the device ---- */

/* What a reset leaves: VirtIO 1.3 says nothing of the filters; drivers expect all frames until they ask for less. */
static void net_power_on(struct net *net)
{
	uint64_t mac = 0;

	memcpy(&mac, net->mac_default, sizeof(net->mac_default));
	atomic_store(&net->mac, mac);
	atomic_store(&net->status, net_link_is_up(net) ? VIRTIO_NET_S_LINK_UP : 0U);
	net->rx_mode = NET_RX_PROMISCUOUS;
	net->mac_count = 0;
	memset(net->vlans, 0, sizeof(net->vlans));
	net->offloads = 0;
	net->active = 1;
}

static void pair_stop(struct net_pair *pair)
{
	if (pair->started)
		pair->backend->ops->stop(pair->backend);
	pair->started = false;
	net_receive_stop(pair);
}

int net_set_active(struct net *net, uint16_t pairs)
{
	int result = 0;

	net->active = pairs;
	for (unsigned int i = 0; i < net->backend_count && !result; i++) {
		struct net_pair *pair = &net->pairs[i];

		if (i >= pairs) {
			pair_stop(pair);
		} else if (!pair->started) {
			result = net_start(pair->backend, &net_client, pair);
			pair->started = !result;
		}
	}
	return result ? result : net_vhost_apply(net);
}

static int net_begin(struct net *net)
{
	int result;

	for (unsigned int i = 0; i < net->backend_count; i++)
		if (net->pairs[i].backend->ops->offloads)
			net->pairs[i].backend->ops->offloads(net->pairs[i].backend, net->offloads);
	net_vhost_begin(net);
	result = net_set_active(net, net->active);
	net->started = !result;
	/* Nobody said so while it was stopped. */
	net_link_update(net);
	return result;
}

static void net_stop(struct net *net)
{
	net_vhost_stop(net);
	for (unsigned int i = 0; i < net->backend_count; i++)
		pair_stop(&net->pairs[i]);
	net->started = false;
}

static int net_device_start(struct virtio_device *device)
{
	struct net *net = container_of(device, struct net, device);

	net->offloads = device->features & NET_GUEST_OFFLOADS;
	return device->quiesced ? 0 : net_begin(net);
}

static void net_reset(struct virtio_device *device)
{
	struct net *net = container_of(device, struct net, device);

	net_stop(net);
	for (unsigned int i = 0; i < net->vhost_count; i++)
		vhost_reset(net->vhosts[i]);
	net_power_on(net);
}

static void net_interrupts_moved(struct virtio_device *device)
{
	struct net *net = container_of(device, struct net, device);

	for (unsigned int i = 0; i < net->vhost_count; i++)
		vhost_interrupts_moved(net->vhosts[i]);
}

static int net_quiesce(struct virtio_device *device)
{
	net_stop(container_of(device, struct net, device));
	return 0;
}

static void net_resume(struct virtio_device *device)
{
	struct net *net = container_of(device, struct net, device);

	if (!device->running)
		return;
	if (!net->started && net_begin(net))
		virtio_needs_reset(device);
	else if (atomic_load(&net->status) & VIRTIO_NET_S_ANNOUNCE)
		virtio_config_changed(device);
}

/* ---- saved state ---- */

static const struct state_field net_fields[] = {
	STATE_U64(struct net, mac),
	STATE_U32_MAX(struct net, rx_mode, BIT(NET_RX_BITS) - 1),
	STATE_U32_MAX(struct net, mac_count, NET_MACS_MAX),
	STATE_BYTES(struct net, macs),
	STATE_BYTES(struct net, vlans),
	STATE_U64(struct net, offloads),
	STATE_U16(struct net, active),
};
STATE_TABLE(net_table, "virtio-net", 1, net_fields);

static void net_save(struct virtio_device *device, struct state_writer *writer)
{
	state_save(writer, &net_table, container_of(device, struct net, device));
}

/* Elsewhere now, perhaps: a driver that can is asked to tell the network so. */
static int net_load(struct virtio_device *device, struct state_reader *reader)
{
	struct net *net = container_of(device, struct net, device);
	int result = state_load(reader, &net_table, net);

	if (result)
		return result;
	if ((net->offloads & ~(device->features & NET_GUEST_OFFLOADS)) || (atomic_load(&net->mac) >> 48) ||
	    !net->active || net->active > net->pair_count)
		return log_error(EINVAL, "saved state: %s: offloads, queue pairs or a MAC address that it can't have",
				 device->device.name);
	if (virtio_has_feature(device, VIRTIO_NET_F_GUEST_ANNOUNCE))
		atomic_fetch_or(&net->status, VIRTIO_NET_S_ANNOUNCE);
	return 0;
}

static const struct virtio_device_ops net_ops = {
	.name		= "virtio-net",
	.id		= VIRTIO_ID_NET,
	.class_code	= 0x020000,
	.queues		= 3,
	.queue_size	= NET_QUEUE_SIZE,
	.config_size	= offsetof(struct virtio_net_config, speed),
	.in_order	= true,
	.handle_queue	= net_handle_queue,
	.config_read	= net_config_read,
	.config_write	= net_config_write,
	.start		= net_device_start,
	.interrupts_moved = net_interrupts_moved,
	.reset		= net_reset,
	.quiesce	= net_quiesce,
	.resume		= net_resume,
	.save		= net_save,
	.load		= net_load,
};

static uint64_t net_features(const struct net *net, const struct net_backend *backend)
{
	uint64_t features = backend->features;

	/* A daemon can't be told of them while it runs. */
	if ((features & NET_GUEST_OFFLOADS) && backend->ops->offloads)
		features |= BIT(VIRTIO_NET_F_CTRL_GUEST_OFFLOADS);
	if (net->mtu)
		features |= BIT(VIRTIO_NET_F_MTU);
	if (net->pair_count > 1)
		features |= BIT(VIRTIO_NET_F_MQ);
	return features | BIT(VIRTIO_NET_F_MAC) | BIT(VIRTIO_NET_F_STATUS) | BIT(VIRTIO_NET_F_MRG_RXBUF) |
	       BIT(VIRTIO_NET_F_CTRL_VQ) | BIT(VIRTIO_NET_F_CTRL_RX) | BIT(VIRTIO_NET_F_CTRL_RX_EXTRA) |
	       BIT(VIRTIO_NET_F_CTRL_VLAN) | BIT(VIRTIO_NET_F_CTRL_MAC_ADDR) | BIT(VIRTIO_NET_F_GUEST_ANNOUNCE);
}

/* ---- the devices of a VM ---- */

static void net_free(struct net *net)
{
	for (unsigned int i = 0; i < net->backend_count; i++)
		net_receive_free(&net->pairs[i]);
	free(net->spill);
	free(net);
}

static struct net *net_make(const struct network *network, struct event_loop *loop)
{
	struct net *net = calloc(1, sizeof(*net));

	if (!net)
		return NULL;
	net->spill = malloc(NET_SPILL_SIZE);
	if (!net->spill) {
		free(net);
		return NULL;
	}
	net->mtu = network->mtu;
	memcpy(net->mac_default, network->mac, sizeof(net->mac_default));
	net->pair_count = network->pairs;
	net->backend_count = network->backend_count;
	for (unsigned int i = 0; i < net->backend_count; i++) {
		net->pairs[i] = (struct net_pair){ .net = net, .index = i, .backend = network->backends[i] };
		net_receive_init(&net->pairs[i], loop);
	}
	net->device.loop = loop;
	net->device.transport_name = network->transport;
	net->device.queue_count = 2 * net->pair_count + 1;
	net->device.features_offered = net_features(net, network->backends[0]);
	net->vhosts = network->vhosts;
	net->vhost_count = network->vhost_count;
	if (net->vhost_count)
		net->device.features_refused = NET_RING_FEATURES & ~net->vhosts[0]->features;
	net_power_on(net);
	return net;
}

/* @plug: what it belongs to; NULL: it is there from the start */
static int net_add(struct kvm *kvm, struct network *network, size_t index, const struct plug *plug, struct net **out)
{
	struct net *net = net_make(network, network->loop ? network->loop : networks_loop(kvm));
	int result;

	if (!net)
		return log_errno(ENOMEM, "virtio-net");
	net->device.bridge = plug ? pci_port_bridge(plug->port) : NULL;
	result = plug ? virtio_device_add(kvm, &net->device, &net_ops, "virtio-net-%s", plug->id) :
		 virtio_device_add(kvm, &net->device, &net_ops, "virtio-net%zu", index);
	if (!result) {
		result = net_vhost_attach(net);
		if (result)
			virtio_device_del(&net->device);
	}
	if (result)
		net_free(net);
	else
		*out = net;
	return result;
}

static void net_del(struct net *net)
{
	virtio_device_del(&net->device);
	net_vhost_detach(net);
	net_free(net);
}

static void net_free_all(struct net *net)
{
	for (struct net *next; net; net = next) {
		next = net->next;
		net_del(net);
	}
}

struct net *net_find(struct kvm *kvm, const char *name)
{
	struct plug *plug = plug_find(kvm, name);
	struct device *device = plug && plug->device ? &plug->device->device : device_find(kvm, name);
	struct virtio_device *virtio = container_of(device, struct virtio_device, device);

	if (!device || device->ops != &virtio_base_ops || virtio->ops != &net_ops)
		return NULL;
	return container_of(virtio, struct net, device);
}

static void net_exit(struct kvm *kvm)
{
	struct net *first = kvm_get_state(kvm, net_key);

	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, net_key, NULL))
		net_free_all(first);
}

static int net_init(struct kvm *kvm)
{
	struct net *first = NULL, **at = &first;
	int result = 0;

	if (!networks_count(kvm))
		return INIT_SKIP;
	for (size_t i = 0; i < networks_count(kvm) && !result; i++) {
		result = net_add(kvm, networks_get(kvm, i), i, NULL, at);
		if (!result)
			at = &(*at)->next;
	}
	if (!result)
		result = kvm_set_state(kvm, net_key, first);
	if (result)
		net_free_all(first);
	return result;
}
virtio_dev_init(net_init);
virtio_dev_exit(net_exit);

/* ---- those that come and go ---- */

static int net_plug_open(struct plug *plug)
{
	struct network *network;
	int result = networks_plug(plug->kvm, plug->text, &network);

	if (!result)
		plug->back = network;
	return result;
}

static void net_plug_close(struct plug *plug)
{
	networks_unplug(plug->back);
}

static int net_plug_add(struct plug *plug)
{
	struct network *network = plug->back;
	struct net *net;
	int result;

	network_default_mac(plug->kvm, network, plug->id);
	result = net_add(plug->kvm, network, 0, plug, &net);
	if (!result)
		plug->device = &net->device;
	return result;
}

static void net_plug_del(struct plug *plug)
{
	net_del(container_of(plug->device, struct net, device));
}

static struct plug_kind net_plug_item = {
	.option = "network", .open = net_plug_open, .close = net_plug_close, .add = net_plug_add, .del = net_plug_del,
};
PLUG_KIND(net_plug_item);
