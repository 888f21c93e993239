/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-net, receiving (VirtIO 1.3, 5.1.6.3 and 5.1.6.4).
 *
 * The back end writes into the guest's buffers itself. As many are taken off the ring as the largest frame may need;
 * what a frame doesn't use serves the next one, and goes back when the device stops. A frame for which the guest has
 * too little room so far is held until it has more.
 */
#include <string.h>

#include "net.h"

#define BATCH_MAX		256		/* frames of one device before others have their turn */
#define HELD_MAX_NS		1000000000ULL

enum outcome { RECEIVED, NOTHING, NO_ROOM };

static bool may_merge(const struct net *net)
{
	return virtio_has_feature(&net->device, VIRTIO_NET_F_MRG_RXBUF);
}

/* What a frame with its header may need, of the guest's kind. */
static size_t frame_room(const struct net *net)
{
	static const uint64_t large = NET_GUEST_OFFLOADS & ~BIT(VIRTIO_NET_F_GUEST_CSUM);

	if (net->offloads & large)
		return net_header_size(net) + NET_FRAME_MAX;
	return net_header_size(net) + MAX(net->mtu, 1500) + NET_ETHERNET + 4;
}

static struct virtio_request *taken_at(struct net_receive *receive, unsigned int index)
{
	return receive->taken[(receive->taken_first + index) % NET_QUEUE_SIZE];
}

static struct virtqueue *pair_queue(struct net_pair *pair)
{
	return net_queue(pair->net, NET_RECEIVE(pair->index));
}

/* Until there is room for the largest frame, or the ring is empty. */
static int take_buffers(struct net_pair *pair)
{
	const struct net *net = pair->net;
	struct net_receive *receive = &pair->receive;
	struct virtqueue *vq = pair_queue(pair);
	size_t room = may_merge(net) ? frame_room(net) : 1;
	struct virtio_request *req;
	int popped = 0;

	while (receive->taken_bytes < room && receive->taken_count < NET_QUEUE_SIZE && (popped = virtqueue_pop(vq, &req)) > 0) {
		receive->taken[(receive->taken_first + receive->taken_count++) % NET_QUEUE_SIZE] = req;
		receive->taken_bytes += req->writable_bytes;
		if (!req->writable_bytes)
			return virtqueue_fail(vq, "a receive buffer without room");
	}
	if (receive->taken_count && taken_at(receive, 0)->writable_bytes < net_header_size(net))
		return virtqueue_fail(vq, "a receive buffer that is shorter than the header");
	return popped < 0 ? popped : 0;
}

/* Last in, first out: each is then the one that was popped last. */
static void untake_buffers(struct net_pair *pair)
{
	struct net_receive *receive = &pair->receive;

	while (receive->taken_count)
		virtqueue_unpop(pair_queue(pair), taken_at(receive, --receive->taken_count));
	receive->taken_first = 0;
	receive->taken_bytes = 0;
}

/* The buffers taken as the frame's room, behind @header, before the spill. Returns the number of segments. */
static unsigned int room_iov(struct net_pair *pair, struct virtio_net_hdr_v1 *header, struct iovec iov[NET_SEGMENTS_MAX],
			     size_t *room)
{
	const struct net *net = pair->net;
	struct net_receive *receive = &pair->receive;
	size_t skip = net_header_size(net);
	unsigned int count = 1;

	iov[0] = (struct iovec){ header, sizeof(*header) };
	*room = 0;
	for (unsigned int i = 0; i < receive->taken_count && (i == 0 || may_merge(net)); i++) {
		struct virtio_request *req = taken_at(receive, i);

		for (unsigned int j = 0; j < req->writable && count < NET_SEGMENTS_MAX - 1; j++) {
			struct iovec segment = req->segments[req->readable + j];
			size_t cut = MIN(skip, segment.iov_len);

			skip -= cut;
			if (segment.iov_len == cut)
				continue;
			iov[count++] = (struct iovec){ (char *)segment.iov_base + cut, segment.iov_len - cut };
			*room += segment.iov_len - cut;
		}
	}
	iov[count] = (struct iovec){ net->spill, NET_SPILL_SIZE };
	return count + 1;
}

/* The frame, its header in @header, goes to the guest: its header is written, and the buffers it covers are used. */
static void use_buffers(struct net_pair *pair, struct virtio_net_hdr_v1 *header, size_t frame_length)
{
	struct net_receive *receive = &pair->receive;
	struct virtqueue *vq = pair_queue(pair);
	size_t left = net_header_size(pair->net) + frame_length, covered = 0;
	unsigned int buffers = 0;

	while (covered < left)
		covered += taken_at(receive, buffers++)->writable_bytes;
	header->num_buffers = htole16((uint16_t)buffers);
	virtio_request_write(taken_at(receive, 0), 0, header, net_header_size(pair->net));
	for (unsigned int i = 0; i < buffers; i++) {
		struct virtio_request *req = taken_at(receive, 0);
		size_t part = MIN(left, (size_t)req->writable_bytes);

		receive->taken_first = (receive->taken_first + 1) % NET_QUEUE_SIZE;
		receive->taken_count--;
		receive->taken_bytes -= req->writable_bytes;
		left -= part;
		virtqueue_push(vq, req, (uint32_t)part);
	}
}

/* ---- a frame that found no room ---- */

static void hold(struct net_pair *pair, const struct iovec *iov, unsigned int count, size_t length)
{
	struct net_receive *receive = &pair->receive;

	if (!receive->held)
		receive->held = malloc(NET_SPILL_SIZE);
	if (!receive->held)
		return;
	receive->held_length = net_iov_read(iov, count, 0, receive->held, MIN(length, NET_SPILL_SIZE));
	event_timer_set(&receive->held_too_long, event_now_ns() + HELD_MAX_NS);
}

static void drop_held(struct net_pair *pair)
{
	pair->receive.held_length = 0;
	event_timer_cancel(&pair->receive.held_too_long);
}

/* A driver that has all its buffers in the ring, and still too few of them, would never hear of us again. */
static void held_too_long(struct event_timer *timer)
{
	struct net_pair *pair = container_of(timer, struct net_pair, receive.held_too_long);

	pair->receive.held_length = 0;
	net_receive_kicked(pair);
}

/* ---- frames ---- */

/* The held frame or the back end's next one, with its header, into @iov; 0: there is none. */
static size_t next_frame(struct net_pair *pair, const struct iovec *iov, unsigned int count)
{
	struct net_receive *receive = &pair->receive;
	size_t length = receive->held_length;

	if (!length)
		return pair->backend->ops->receive(pair->backend, iov, count);
	net_iov_write(iov, count, 0, receive->held, length);
	drop_held(pair);
	return length;
}

static bool frame_wanted(const struct net *net, const struct iovec *iov, unsigned int count, size_t length)
{
	uint8_t head[NET_ETHERNET + 4];

	if (net->unplugged || length < NET_ETHERNET || length > NET_FRAME_MAX)
		return false;
	return net_wants(net, head, net_iov_read(iov, count, 0, head, MIN(sizeof(head), length)));
}

static enum outcome receive_one(struct net_pair *pair)
{
	struct net_receive *receive = &pair->receive;
	struct virtio_net_hdr_v1 header = { 0 };
	struct iovec iov[NET_SEGMENTS_MAX];
	size_t room, length;
	unsigned int count;
	bool may_grow;

	if (take_buffers(pair))
		return NOTHING;
	if (!receive->taken_count)
		return NO_ROOM;
	count = room_iov(pair, &header, iov, &room);
	/* Without merging the next buffer isn't larger. */
	may_grow = may_merge(pair->net) && receive->taken_bytes < frame_room(pair->net);
	if (may_grow && receive->held_length > NET_HEADER + room)
		return NO_ROOM;
	length = next_frame(pair, iov, count);
	if (!length)
		return NOTHING;
	if (length <= NET_HEADER || !frame_wanted(pair->net, iov + 1, count - 1, length - NET_HEADER))
		return RECEIVED;
	if (length <= NET_HEADER + room) {
		use_buffers(pair, &header, length - NET_HEADER);
		return RECEIVED;
	}
	if (!may_grow)
		return RECEIVED;
	hold(pair, iov, count, length);
	return NO_ROOM;
}

void net_receive_flush(struct net_pair *pair)
{
	virtqueue_flush(pair_queue(pair));
}

static void starve(struct net_pair *pair, bool starved)
{
	if (pair->receive.starved == starved)
		return;
	pair->receive.starved = starved;
	pair->backend->ops->want(pair->backend, !starved);
}

void net_receive_frames(struct net_pair *pair)
{
	struct virtio_device *device = &pair->net->device;
	struct virtqueue *vq = pair_queue(pair);

	if (!pair->started)
		return;
	/* A broken device, or a driver without this queue: until a kick, or for good. */
	if (!device->running || !vq->enabled) {
		starve(pair, true);
		return;
	}
	virtqueue_disable_kick(vq);
	for (unsigned int i = 0; i < BATCH_MAX; i++) {
		enum outcome outcome = receive_one(pair);

		if (outcome == NOTHING)
			return;
		if (outcome == RECEIVED)
			continue;
		net_receive_flush(pair);
		if (!virtqueue_enable_kick(vq)) {
			starve(pair, true);
			return;
		}
		virtqueue_disable_kick(vq);
	}
	virtio_notify(device, NET_RECEIVE(pair->index));
}

void net_receive_kicked(struct net_pair *pair)
{
	if (!pair->started)
		return;
	starve(pair, false);
	net_receive_frames(pair);
	net_receive_flush(pair);
}

void net_receive_init(struct net_pair *pair, struct event_loop *loop)
{
	event_timer_init(loop, &pair->receive.held_too_long, held_too_long);
}

void net_receive_stop(struct net_pair *pair)
{
	untake_buffers(pair);
	pair->receive.starved = false;
	drop_held(pair);
}

void net_receive_free(struct net_pair *pair)
{
	free(pair->receive.held);
}
