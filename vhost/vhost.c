/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What all vhost back ends share: guest RAM as a table, the rings' begin and end, who interrupts, and where a ring
 * goes on when its back end comes back.
 *
 * A ring's place is known to its back end alone while that works, and asked for at the end. One that died can't be
 * asked: then all that isn't in the used ring is taken again, unless the back end keeps a record of its own.
 */
#include "kvm/vhost.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "kvm/dirty.h"

struct vhost_queue {
	struct virtqueue *vq;
	bool running;			/* the back end was told of the ring */
	int call_fd;			/* what it was told to interrupt by */
	struct event_source call;	/* our own eventfd, where the transport has none */
};

/* ---- guest RAM ---- */

struct regions {
	struct vhost_region at[VHOST_REGIONS_MAX];
	unsigned int count;
	bool too_many;
	const struct ram_range *more;	/* RAM that may be plugged */
};

static bool region_grows(const struct vhost_region *last, const struct vhost_region *next)
{
	return last->guest + last->size == next->guest && last->fd == next->fd &&
	       last->fd_offset + last->size == next->fd_offset && (char *)last->host + last->size == next->host;
}

static void regions_add(const struct flat_range *range, void *opaque)
{
	struct regions *regions = opaque;
	const struct region *region = range->region;
	struct vhost_region next = { .guest = range->base, .size = range->size };

	/* What no other process can map isn't where a driver has rings and buffers. */
	if (region->kind != REGION_RAM || region->fd < 0 || range_contains(regions->more->base, regions->more->size, range->base, 1))
		return;
	next.host = (char *)region->host + range->offset;
	next.fd = region->fd;
	next.fd_offset = region->fd_offset + range->offset;
	if (regions->count && region_grows(&regions->at[regions->count - 1], &next))
		regions->at[regions->count - 1].size += next.size;
	else if (regions->count < VHOST_REGIONS_MAX)
		regions->at[regions->count++] = next;
	else
		regions->too_many = true;
}

/*
 * What may be plugged is there as a whole: it comes and goes while rings are worked on. A guest that points there at
 * blocks that it hasn't been given has them filled, at most with what it might have had, until a driver begins anew.
 */
static void regions_add_more(const struct kvm *kvm, struct regions *regions)
{
	const struct ram_range *more = regions->more;

	if (!more->size || kvm->ram_fd < 0)
		return;
	if (regions->count == VHOST_REGIONS_MAX)
		regions->too_many = true;
	else
		regions->at[regions->count++] = (struct vhost_region){
			.guest = more->base, .size = more->size, .host = (char *)kvm->ram_host + more->offset, .fd = kvm->ram_fd,
			.fd_offset = more->offset };
}

/* ---- interrupts ---- */

static void call_ready(struct event_source *source, uint32_t events)
{
	struct vhost_queue *queue = container_of(source, struct vhost_queue, call);
	struct virtio_device *device = queue->vq->device;
	uint64_t count;

	(void)events;
	if (read(source->fd, &count, sizeof(count)) == sizeof(count) && device->transport_ops)
		device->transport_ops->interrupt_queue(device, queue->vq->index);
}

/* The eventfd to interrupt by; ours is watched as long as it is that. */
static int queue_call_fd(struct vhost_queue *queue)
{
	struct virtio_device *device = queue->vq->device;
	int fd = virtio_interrupt_fd(device, queue->vq->index);

	if (fd >= 0)
		return fd;
	if (!queue->call.loop && event_add(device->loop, &queue->call, queue->call.fd, EPOLLIN, call_ready))
		log_warn("%s: queue %u can't be watched", device->device.name, queue->vq->index);
	return queue->call.fd;
}

/* What was raised on the old one counts there still; an interrupt too many does no harm. */
static void queue_interrupt(struct vhost_queue *queue)
{
	struct virtio_device *device = queue->vq->device;

	if (device->transport_ops)
		device->transport_ops->interrupt_queue(device, queue->vq->index);
}

void vhost_interrupts_moved(struct vhost *vhost)
{
	for (unsigned int i = 0; i < vhost->count && vhost->live; i++) {
		struct vhost_queue *queue = &vhost->queues[i];
		int fd = queue->running ? queue_call_fd(queue) : queue->call_fd;

		if (fd == queue->call_fd)
			continue;
		if (vhost->ops->ring_call(vhost, i, fd))
			return;
		queue->call_fd = fd;
		if (fd != queue->call.fd)
			event_del(&queue->call);
		queue_interrupt(queue);
	}
}

/* ---- rings ---- */

static int queue_begin(struct vhost *vhost, unsigned int index)
{
	struct vhost_queue *queue = &vhost->queues[index];
	struct virtqueue *vq = queue->vq;
	struct vhost_ring ring = {
		.index = index, .size = vq->size, .base = virtqueue_base(vq), .desc = vq->desc_host, .avail = vq->avail_host,
		.used = vq->used_host, .kick_fd = vhost->device->kicks[vq->index].fd,
	};
	int result;

	/* One that its device took back is another's: virtio-net's control queue lies where the driver's features say. */
	if (!vq->enabled || !vq->desc_host || !vq->outside)
		return 0;
	ring.call_fd = queue->call_fd = queue_call_fd(queue);
	result = vhost->ops->ring_begin(vhost, &ring);
	queue->running = !result;
	return result;
}

static void queue_is_lost(struct vhost *vhost, const struct vhost_queue *queue, const char *why)
{
	log_guest(&vhost->log, "%s: queue %u: %s; it waits for a reset", vhost->device->device.name, queue->vq->index, why);
	vhost->started = false;
	virtio_needs_reset(vhost->device);
}

/* What the back end says of its place is checked: it goes into saved state. */
static void queue_end(struct vhost *vhost, unsigned int index)
{
	struct vhost_queue *queue = &vhost->queues[index];
	struct virtqueue *vq = queue->vq;
	uint32_t base = 0;
	int result;

	event_del(&queue->call);
	if (!queue->running)
		return;
	result = vhost->ops->ring_end(vhost, index, &base);
	/* It may have been lost over that, and vhost_lost() has seen to it. */
	if (!queue->running)
		return;
	queue->running = false;
	if ((result || virtqueue_set_base(vq, base)) && !virtqueue_take_again(vq) && vq->packed)
		queue_is_lost(vhost, queue, "its back end can't say where in its ring it was");
}

static int queues_enable(struct vhost *vhost)
{
	int result = 0;

	for (unsigned int i = 0; i < vhost->count && !result; i++)
		if (vhost->queues[i].running)
			result = vhost->ops->ring_enable(vhost, i, i < vhost->enabled);
	return result;
}

static void vhost_end(struct vhost *vhost)
{
	if (vhost->live && vhost->ops->run && vhost->ops->run(vhost, false))
		log_debug("%s: its back end doesn't stop", vhost->device->device.name);
	for (unsigned int i = 0; i < vhost->count && vhost->live; i++)
		if (vhost->queues[i].running && vhost->ops->ring_enable(vhost, i, false))
			break;
	for (unsigned int i = 0; i < vhost->count; i++)
		queue_end(vhost, i);
	vhost->live = false;
}

/* Both sides look at once: what was made available, or used, while nobody was told. */
static void queues_look(struct vhost *vhost)
{
	for (unsigned int i = 0; i < vhost->count; i++) {
		struct vhost_queue *queue = &vhost->queues[i];

		if (!queue->running)
			continue;
		virtio_notify(vhost->device, queue->vq->index);
		if (queue->vq->packed || queue->vq->last_avail)
			queue_interrupt(queue);
	}
}

static int vhost_begin(struct vhost *vhost)
{
	struct virtio_device *device = vhost->device;
	struct regions regions = { .more = &device->kvm->ram[device->kvm->ram_count] };
	struct dirty_map *log;
	int result;

	log = atomic_load(&device->kvm->memory.written);
	address_space_for_each(&device->kvm->memory, regions_add, &regions);
	regions_add_more(device->kvm, &regions);
	if (regions.too_many)
		return log_error(E2BIG, "%s: guest memory is in more than %d pieces", device->device.name, VHOST_REGIONS_MAX);
	result = vhost->ops->begin(vhost, device->features & vhost->features, regions.at, regions.count);
	/* From the first ring on there is something to end. */
	vhost->live = !result;
	/* rings are known to have been written when they are saved; what else it writes is to be anywhere */
	if (log && vhost->live && !vhost->logs)
		atomic_store(&log->blind, true);
	for (unsigned int i = 0; i < vhost->count && !result; i++)
		result = queue_begin(vhost, i);
	if (!result && vhost->ops->run)
		result = vhost->ops->run(vhost, true);
	if (!result)
		result = queues_enable(vhost);
	if (result)
		vhost_end(vhost);
	else
		queues_look(vhost);
	return result;
}

/* ---- life ---- */

int vhost_start(struct vhost *vhost)
{
	int result;

	if (vhost->started)
		return 0;
	result = vhost_begin(vhost);
	vhost->started = !result || result == -ENOTCONN;
	return vhost->started ? 0 : result;
}

void vhost_stop(struct vhost *vhost)
{
	if (!vhost->started)
		return;
	vhost->started = false;
	vhost_end(vhost);
}

static void reset_on_loop(void *opaque)
{
	struct vhost *vhost = opaque;

	vhost_stop(vhost);
	vhost->enabled = vhost->count;
	if (vhost->ops->reset)
		vhost->ops->reset(vhost);
}

/* A load resets from the main thread, while the loop may hear from a back end. */
void vhost_reset(struct vhost *vhost)
{
	if (vhost->device)
		event_loop_call(vhost->device->loop, reset_on_loop, vhost);
}

int vhost_enable(struct vhost *vhost, unsigned int count)
{
	int result;

	if (vhost->enabled == count)
		return 0;
	vhost->enabled = count;
	result = vhost->live ? queues_enable(vhost) : 0;
	return result == -ENOTCONN ? 0 : result;
}

void vhost_lost(struct vhost *vhost)
{
	bool was_live = vhost->live;

	vhost->live = false;
	for (unsigned int i = 0; i < vhost->count && was_live; i++) {
		struct vhost_queue *queue = &vhost->queues[i];

		event_del(&queue->call);
		if (!queue->running)
			continue;
		queue->running = false;
		if (virtqueue_take_again(queue->vq) || (vhost->repeats && !queue->vq->packed))
			continue;
		queue_is_lost(vhost, queue, queue->vq->packed ? "a packed ring doesn't tell where its back end was" :
			      "its back end kept no record of what it was at, and did it out of order");
	}
}

int vhost_revive(struct vhost *vhost)
{
	return vhost->started && !vhost->live ? vhost_begin(vhost) : 0;
}

int vhost_attach(struct vhost *vhost, struct virtio_device *device, unsigned int first, unsigned int count)
{
	vhost->queues = calloc(count, sizeof(*vhost->queues));
	if (!vhost->queues)
		return log_errno(ENOMEM, "%s", device->device.name);
	vhost->device = device;
	vhost->first = first;
	vhost->count = vhost->enabled = count;
	for (unsigned int i = 0; i < count; i++)
		vhost->queues[i].call.fd = -1;
	for (unsigned int i = 0; i < count; i++) {
		struct vhost_queue *queue = &vhost->queues[i];

		queue->vq = &device->queues[first + i];
		queue->vq->outside = true;
		queue->call.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (queue->call.fd < 0)
			return log_errno(errno, "%s", device->device.name);
	}
	return 0;
}

static void detach_on_loop(void *opaque)
{
	struct vhost *vhost = opaque;

	for (unsigned int i = 0; i < vhost->count; i++)
		if (vhost->queues[i].call.fd >= 0)
			close(vhost->queues[i].call.fd);
	free(vhost->queues);
	vhost->queues = NULL;
	vhost->count = 0;
	vhost->device = NULL;
}

/* On the loop, since a back end may be about to come back there. */
void vhost_detach(struct vhost *vhost)
{
	if (vhost->device)
		event_loop_call(vhost->device->loop, detach_on_loop, vhost);
}

void vhost_close(struct vhost *vhost)
{
	if (!vhost)
		return;
	vhost_detach(vhost);
	vhost->ops->close(vhost);
}
