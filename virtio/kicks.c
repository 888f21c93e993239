/* SPDX-License-Identifier: BSD-2-Clause */
/* How a device hears of its queues: doorbells on its loop, or a look at the rings before the loop sleeps. */
#include <sys/epoll.h>

#include "kvm/kvm.h"
#include "virtio/device.h"

static void kick_ready(struct event_source *source, uint32_t events)
{
	struct virtqueue *vq = source->opaque;
	struct virtio_device *device = vq->device;

	/* The source is edge-triggered, so the eventfd needs no read. */
	(void)events;
	if (device->running && vq->enabled && !vq->outside)
		device->ops->handle_queue(device, vq);
}

/* ---- looking at the rings before the loop sleeps ---- */

static struct virtio_device *polled_device(struct event_poller *poller)
{
	return container_of(poller, struct virtio_device, poller);
}

static void poll_begin(struct event_poller *poller)
{
	struct virtio_device *device = polled_device(poller);

	for (unsigned int i = 0; i < device->queue_count; i++)
		virtqueue_poll_begin(&device->queues[i]);
}

static bool poll_look(struct event_poller *poller)
{
	struct virtio_device *device = polled_device(poller);
	bool found = false;

	/* A broken rule takes it off the list's use, not off the list. */
	for (unsigned int i = 0; i < device->queue_count && device->running; i++) {
		if (!virtqueue_poll_waiting(&device->queues[i]))
			continue;
		kick_ready(&device->kicks[i], 0);
		found = true;
	}
	return found;
}

static void poll_end(struct event_poller *poller)
{
	struct virtio_device *device = polled_device(poller);

	for (unsigned int i = 0; i < device->queue_count; i++)
		if (virtqueue_poll_end(&device->queues[i]))
			virtio_notify(device, i);
}

static void poll_start(struct virtio_device *device)
{
	if (device->polled || !event_loop_polls(device->loop))
		return;
	device->polled = true;
	device->poller = (struct event_poller){ .begin = poll_begin, .look = poll_look, .end = poll_end };
	event_poller_add(device->loop, &device->poller);
}

static void poll_stop(struct virtio_device *device)
{
	if (!device->polled)
		return;
	device->polled = false;
	event_poller_del(device->loop, &device->poller);
	poll_end(&device->poller);
}

/* ---- watching the doorbells ---- */

void virtio_kicks_unwatch(struct virtio_device *device)
{
	poll_stop(device);
	for (unsigned int i = 0; i < device->queue_count; i++)
		event_del(&device->kicks[i]);
}

void virtio_kicks_watch(struct virtio_device *device)
{
	for (unsigned int i = 0; i < device->queue_count; i++) {
		struct event_source *source = &device->kicks[i];

		if (source->loop || !device->queues[i].enabled || device->queues[i].outside)
			continue;
		if (event_add(device->loop, source, source->fd, EPOLLIN | EPOLLET, kick_ready))
			log_warn("%s: queue %u can't be watched", device->device.name, i);
	}
	poll_start(device);
}

void virtio_notify(struct virtio_device *device, unsigned int queue)
{
	static const uint64_t one = 1;

	if (queue < device->queue_count && write(device->kicks[queue].fd, &one, sizeof(one)) < 0)
		return;
}

void virtio_kick(struct virtio_device *device, unsigned int queue)
{
	if (queue < device->queue_count && !device->quiesced)
		kick_ready(&device->kicks[queue], 0);
}
