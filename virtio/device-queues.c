/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The queues of a virtio device as its driver sets them up, enables and resets them (VirtIO 1.3, 2.6).
 *
 * Called by the transports on any thread; what changes a queue is moved to the loop that owns the device and waited for.
 */
#include <linux/virtio_ring.h>
#include <sys/eventfd.h>

#include "kvm/kvm.h"
#include "virtio/device.h"

#define QUEUE_SIZE_DEFAULT	256

void virtio_queue_start(struct virtio_device *device, struct virtqueue *vq)
{
	vq->event_index = virtio_has_feature(device, VIRTIO_RING_F_EVENT_IDX);
	vq->indirect = virtio_has_feature(device, VIRTIO_RING_F_INDIRECT_DESC);
	vq->packed = virtio_has_feature(device, VIRTIO_F_RING_PACKED);
	if (virtqueue_start(vq, &device->kvm->memory) || vq->outside)
		return;
	virtqueue_enable_kick(vq);
}

/*
 * A queue comes or goes while the device runs (2.6.1): the others stand still for that, quiesced as for saved state. So
 * nothing of it is in flight then, and back ends hear of it, whatever device it is. Returns not 0 if that fails.
 */
static int queues_hold(struct virtio_device *device)
{
	if (!device->quiesced && !virtio_device_quiesce(device)) {
		device->holding = true;
		return 0;
	}
	if (device->quiesced)
		return 0;
	virtio_needs_reset(device);
	return -EIO;
}

static void queues_go_on(struct virtio_device *device)
{
	if (device->holding)
		virtio_device_resume(device);
	device->holding = false;
}

struct queue_call {
	struct virtio_device *device;
	unsigned int queue;
	uint16_t size;
	gpa_t desc, avail, used;
	uint64_t address, align;
};

static void queue_setup_on_loop(void *opaque)
{
	struct queue_call *call = opaque;
	struct virtqueue *vq = &call->device->queues[call->queue];

	if (vq->enabled)
		return;
	if (call->size && call->size <= vq->size_max)
		vq->size = call->size;
	vq->desc = call->desc;
	vq->avail = call->avail;
	vq->used = call->used;
}

void virtio_queue_setup(struct virtio_device *device, unsigned int queue, uint16_t size, gpa_t desc, gpa_t avail,
			gpa_t used)
{
	struct queue_call call = { .device = device, .queue = queue, .size = size,
				   .desc = desc, .avail = avail, .used = used };

	if (queue < device->queue_count)
		event_loop_call(device->loop, queue_setup_on_loop, &call);
}

static void queue_enable_now(struct virtio_device *device, struct virtqueue *vq)
{
	bool was_reset = device->running && virtio_has_feature(device, VIRTIO_F_RING_RESET);

	if (was_reset && queues_hold(device))
		return;
	vq->enabled = true;
	/* A legacy driver may set its queues up after DRIVER_OK. */
	if (device->running)
		virtio_queue_start(device, vq);
	if (was_reset)
		queues_go_on(device);
	else if (device->running && !device->quiesced)
		virtio_kicks_watch(device);
}

static void queue_enable_on_loop(void *opaque)
{
	struct queue_call *call = opaque;
	struct virtqueue *vq = &call->device->queues[call->queue];

	if (!vq->enabled)
		queue_enable_now(call->device, vq);
}

void virtio_queue_enable(struct virtio_device *device, unsigned int queue)
{
	struct queue_call call = { .device = device, .queue = queue };

	if (queue < device->queue_count)
		event_loop_call(device->loop, queue_enable_on_loop, &call);
}

/* A queue can't be stopped alone without VIRTIO_F_RING_RESET: taking it away in use breaks the device. */
static void queue_disable_on_loop(void *opaque)
{
	struct queue_call *call = opaque;
	struct virtqueue *vq = &call->device->queues[call->queue];

	if (!vq->enabled)
		return;
	if (call->device->running)
		virtqueue_fail(vq, "disabled while it is in use");
	else
		vq->enabled = false;
}

void virtio_queue_disable(struct virtio_device *device, unsigned int queue)
{
	struct queue_call call = { .device = device, .queue = queue };

	if (queue < device->queue_count)
		event_loop_call(device->loop, queue_disable_on_loop, &call);
}

static void queue_reset_on_loop(void *opaque)
{
	struct queue_call *call = opaque;
	struct virtio_device *device = call->device;
	struct virtqueue *vq = &device->queues[call->queue];
	bool running = device->running;

	if (!vq->enabled || !virtio_has_feature(device, VIRTIO_F_RING_RESET) || (running && queues_hold(device)))
		return;
	if (device->ops->queue_reset)
		device->ops->queue_reset(device, vq);
	virtqueue_reset(vq);
	if (running)
		queues_go_on(device);
}

void virtio_queue_reset(struct virtio_device *device, unsigned int queue)
{
	struct queue_call call = { .device = device, .queue = queue };

	if (queue >= device->queue_count)
		return;
	atomic_store(&device->queues[queue].resetting, true);
	event_loop_call(device->loop, queue_reset_on_loop, &call);
	atomic_store(&device->queues[queue].resetting, false);
}

/* VirtIO 1.3, 2.7.2 (legacy layout): descriptors, available ring, then the used ring at the next boundary. */
static void queue_legacy_on_loop(void *opaque)
{
	struct queue_call *call = opaque;
	struct virtqueue *vq = &call->device->queues[call->queue];
	uint64_t avail = call->address + 16ULL * vq->size;

	if (!call->address) {
		queue_disable_on_loop(call);
		return;
	}
	if (vq->enabled)
		return;
	vq->desc = gpa(call->address);
	vq->avail = gpa(avail);
	vq->used = gpa(ALIGN_UP(avail + 6 + 2ULL * vq->size, call->align));
	queue_enable_now(call->device, vq);
}

void virtio_queue_legacy(struct virtio_device *device, unsigned int queue, uint64_t address, uint64_t align)
{
	struct queue_call call = { .device = device, .queue = queue, .address = address, .align = align };

	if (queue < device->queue_count && IS_POWER_OF_2(align))
		event_loop_call(device->loop, queue_legacy_on_loop, &call);
}

/* ---- life ---- */

int virtio_queues_make(struct virtio_device *device)
{
	uint16_t size = device->ops->queue_size ? device->ops->queue_size : QUEUE_SIZE_DEFAULT;

	if (!device->queue_count)
		device->queue_count = device->ops->queues;
	device->queues = calloc(device->queue_count, sizeof(*device->queues));
	device->kicks = calloc(device->queue_count, sizeof(*device->kicks));
	if (!device->queues || !device->kicks)
		return -ENOMEM;
	for (unsigned int i = 0; i < device->queue_count; i++)
		device->kicks[i].fd = -1;
	for (unsigned int i = 0; i < device->queue_count; i++) {
		device->queues[i].device = device;
		device->queues[i].index = i;
		device->queues[i].size_max = device->queues[i].size = size;
		device->kicks[i].opaque = &device->queues[i];
		device->kicks[i].fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
		if (device->kicks[i].fd < 0)
			return -errno;
	}
	return 0;
}

void virtio_queues_free(struct virtio_device *device)
{
	for (unsigned int i = 0; device->kicks && i < device->queue_count; i++)
		if (device->kicks[i].fd >= 0)
			close(device->kicks[i].fd);
	for (unsigned int i = 0; device->queues && i < device->queue_count; i++)
		virtqueue_reset(&device->queues[i]);
	free(device->kicks);
	free(device->queues);
	device->kicks = NULL;
	device->queues = NULL;
}
