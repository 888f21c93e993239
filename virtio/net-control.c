/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-net's control queue (VirtIO 1.3, 5.1.6.5), and the filters that a driver sets by it.
 */
#include <string.h>

#include "net.h"

static const uint8_t broadcast[6] = { 0xff, 0xff, 0xff, 0xff, 0xff, 0xff };

/* ---- filters ---- */

static bool vlan_wanted(const struct net *net, const uint8_t *head, size_t length)
{
	unsigned int vlan;

	if (!virtio_has_feature(&net->device, VIRTIO_NET_F_CTRL_VLAN) || length < NET_ETHERNET + 2 ||
	    head[12] != 0x81 || head[13] != 0x00)
		return true;
	vlan = (head[14] & 0x0fU) << 8 | head[15];
	return net->vlans[vlan / 8] & BIT(vlan % 8);
}

static bool mac_listed(const struct net *net, const uint8_t *mac)
{
	for (uint32_t i = 0; i < net->mac_count; i++)
		if (!memcmp(net->macs + i * (size_t)6, mac, 6))
			return true;
	return false;
}

bool net_wants(const struct net *net, const uint8_t *head, size_t length)
{
	uint64_t mac = atomic_load(&net->mac);

	if (length < 6)
		return false;
	if (net->rx_mode & NET_RX_PROMISCUOUS)
		return true;
	if (!vlan_wanted(net, head, length))
		return false;
	if (!memcmp(head, broadcast, sizeof(broadcast)))
		return !(net->rx_mode & NET_RX_NO_BROADCAST);
	if (head[0] & 1)
		return !(net->rx_mode & NET_RX_NO_MULTICAST) &&
		       ((net->rx_mode & NET_RX_ALL_MULTICAST) || mac_listed(net, head));
	return !(net->rx_mode & NET_RX_NO_UNICAST) &&
	       ((net->rx_mode & NET_RX_ALL_UNICAST) || !memcmp(head, &mac, 6) || mac_listed(net, head));
}

/* ---- commands: each true if it was carried out ---- */

static bool control_rx(struct net *net, const struct virtio_request *req, uint8_t command)
{
	uint8_t on;

	if (command >= NET_RX_BITS || virtio_request_read(req, 2, &on, 1) != 1)
		return false;
	if (!virtio_has_feature(&net->device, command <= VIRTIO_NET_CTRL_RX_ALLMULTI ? VIRTIO_NET_F_CTRL_RX :
							VIRTIO_NET_F_CTRL_RX_EXTRA))
		return false;
	if (on)
		net->rx_mode |= (uint32_t)BIT(command);
	else
		net->rx_mode &= (uint32_t)~BIT(command);
	return true;
}

/* One of the two tables at @*at; too many entries are taken for all of its kind (@overflow). */
static bool read_macs(struct net *net, const struct virtio_request *req, size_t *at, uint32_t overflow)
{
	le32 entries;
	size_t length;

	if (virtio_request_read(req, *at, &entries, sizeof(entries)) != sizeof(entries))
		return false;
	*at += sizeof(entries);
	length = (size_t)le32_get(entries) * 6;
	if (length > req->readable_bytes - *at)
		return false;
	if (le32_get(entries) > NET_MACS_MAX - net->mac_count) {
		net->rx_mode |= overflow;
	} else {
		virtio_request_read(req, *at, net->macs + net->mac_count * (size_t)6, length);
		net->mac_count += le32_get(entries);
	}
	*at += length;
	return true;
}

static bool control_mac(struct net *net, const struct virtio_request *req, uint8_t command)
{
	uint64_t mac = 0;
	size_t at = 2;

	switch (command) {
	case VIRTIO_NET_CTRL_MAC_ADDR_SET:
		if (!virtio_has_feature(&net->device, VIRTIO_NET_F_CTRL_MAC_ADDR) || virtio_request_read(req, 2, &mac, 6) != 6)
			return false;
		atomic_store(&net->mac, mac);
		return true;
	case VIRTIO_NET_CTRL_MAC_TABLE_SET:
		if (!virtio_has_feature(&net->device, VIRTIO_NET_F_CTRL_RX))
			return false;
		net->mac_count = 0;
		return read_macs(net, req, &at, NET_RX_ALL_UNICAST) && read_macs(net, req, &at, NET_RX_ALL_MULTICAST);
	default:
		return false;
	}
}

static bool control_vlan(struct net *net, const struct virtio_request *req, uint8_t command)
{
	le16 vlan;
	unsigned int id;

	if (!virtio_has_feature(&net->device, VIRTIO_NET_F_CTRL_VLAN) ||
	    virtio_request_read(req, 2, &vlan, sizeof(vlan)) != sizeof(vlan) || le16_get(vlan) >= NET_VLANS)
		return false;
	id = le16_get(vlan);
	if (command == VIRTIO_NET_CTRL_VLAN_ADD)
		net->vlans[id / 8] |= (uint8_t)BIT(id % 8);
	else if (command == VIRTIO_NET_CTRL_VLAN_DEL)
		net->vlans[id / 8] &= (uint8_t)~BIT(id % 8);
	else
		return false;
	return true;
}

static bool control_announce(struct net *net, uint8_t command)
{
	if (command != VIRTIO_NET_CTRL_ANNOUNCE_ACK || !virtio_has_feature(&net->device, VIRTIO_NET_F_GUEST_ANNOUNCE))
		return false;
	atomic_fetch_and(&net->status, ~(unsigned int)VIRTIO_NET_S_ANNOUNCE);
	return true;
}

static bool control_offloads(struct net *net, const struct virtio_request *req, uint8_t command)
{
	le64 wanted;

	if (command != VIRTIO_NET_CTRL_GUEST_OFFLOADS_SET ||
	    !virtio_has_feature(&net->device, VIRTIO_NET_F_CTRL_GUEST_OFFLOADS) ||
	    virtio_request_read(req, 2, &wanted, sizeof(wanted)) != sizeof(wanted) ||
	    (le64_get(wanted) & ~(net->device.features & NET_GUEST_OFFLOADS)))
		return false;
	net->offloads = le64_get(wanted);
	/* Offered for back ends that have offloads() alone. */
	for (unsigned int i = 0; i < net->backend_count; i++)
		net->pairs[i].backend->ops->offloads(net->pairs[i].backend, net->offloads);
	return true;
}

static bool control_pairs(struct net *net, const struct virtio_request *req, uint8_t command)
{
	le16 pairs;

	if (command != VIRTIO_NET_CTRL_MQ_VQ_PAIRS_SET || !virtio_has_feature(&net->device, VIRTIO_NET_F_MQ) ||
	    virtio_request_read(req, 2, &pairs, sizeof(pairs)) != sizeof(pairs) ||
	    le16_get(pairs) < VIRTIO_NET_CTRL_MQ_VQ_PAIRS_MIN || le16_get(pairs) > net->pair_count)
		return false;
	return !net_set_active(net, le16_get(pairs));
}

static bool control_execute(struct net *net, const struct virtio_request *req)
{
	struct virtio_net_ctrl_hdr header;

	if (virtio_request_read(req, 0, &header, sizeof(header)) != sizeof(header))
		return false;
	switch (header.class) {
	case VIRTIO_NET_CTRL_RX:
		return control_rx(net, req, header.cmd);
	case VIRTIO_NET_CTRL_MAC:
		return control_mac(net, req, header.cmd);
	case VIRTIO_NET_CTRL_VLAN:
		return control_vlan(net, req, header.cmd);
	case VIRTIO_NET_CTRL_ANNOUNCE:
		return control_announce(net, header.cmd);
	case VIRTIO_NET_CTRL_MQ:
		return control_pairs(net, req, header.cmd);
	case VIRTIO_NET_CTRL_GUEST_OFFLOADS:
		return control_offloads(net, req, header.cmd);
	default:
		return false;
	}
}

int net_control(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req)
{
	struct net *net = container_of(device, struct net, device);
	uint8_t ack;

	if (!req->writable_bytes) {
		virtqueue_push(vq, req, 0);
		virtqueue_fail(vq, "a control command without room for its status");
		return 1;
	}
	ack = control_execute(net, req) ? VIRTIO_NET_OK : VIRTIO_NET_ERR;
	virtqueue_push(vq, req, (uint32_t)virtio_request_write(req, 0, &ack, sizeof(ack)));
	return 1;
}
