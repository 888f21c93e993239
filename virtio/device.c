/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What all virtio devices share: the status machine, features, queues (VirtIO 1.3, 2.1 to 2.6 and 3). Kicks are in
 * kicks.c, saved state in device-state.c.
 *
 * A device's state belongs to its event loop. Transports are called by vCPUs, on any thread; what changes
 * the device is moved to the loop here and waited for.
 */
#include "kvm/virtio.h"

#include <linux/virtio_ring.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "kvm/kvm.h"
#include "virtio/device.h"

#define STATUS_NEEDS_RESET	VIRTIO_CONFIG_S_NEEDS_RESET
#define QUEUE_SIZE_DEFAULT	256
#define PROCESS_MAX		4096	/* requests of one queue before others have their turn */

static struct virtio_transport *virtio_transports;

void virtio_transport_register(struct virtio_transport *transport)
{
	transport->next = virtio_transports;
	virtio_transports = transport;
}

/* ---- interrupts without us ---- */

int virtio_interrupt_fd(struct virtio_device *device, unsigned int queue)
{
	const struct virtio_transport_ops *ops = device->transport_ops;

	return ops && ops->interrupt_fd ? ops->interrupt_fd(device, queue) : -1;
}

static void interrupts_moved(struct event_work *work)
{
	struct virtio_device *device = container_of(work, struct virtio_device, interrupts_work);

	device->ops->interrupts_moved(device);
}

void virtio_interrupts_moved(struct virtio_device *device)
{
	if (device->ops->interrupts_moved)
		event_work_post(&device->interrupts_work);
}

/* ---- requests ---- */

void virtio_process(struct virtio_device *device, struct virtqueue *vq,
		    int (*handle)(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req))
{
	struct virtio_request *req;
	unsigned int budget = PROCESS_MAX;
	int popped;

	do {
		virtqueue_disable_kick(vq);
		while ((popped = virtqueue_pop(vq, &req)) > 0) {
			if (!handle(device, vq, req)) {
				virtqueue_flush(vq);
				return;
			}
			if (--budget)
				continue;
			/* A driver that never pauses must not have the loop for itself. */
			virtqueue_flush(vq);
			virtio_notify(device, vq->index);
			return;
		}
		virtqueue_flush(vq);
	} while (virtqueue_enable_kick(vq) && !popped);
}

/* ---- status ---- */

static void device_start_queue(struct virtio_device *device, struct virtqueue *vq)
{
	vq->event_index = virtio_has_feature(device, VIRTIO_RING_F_EVENT_IDX);
	vq->indirect = virtio_has_feature(device, VIRTIO_RING_F_INDIRECT_DESC);
	if (virtqueue_start(vq, &device->kvm->memory) || vq->outside)
		return;
	virtqueue_enable_kick(vq);
}

/* DRIVER_OK: the queues run, and what was made available before is looked at once. */
static void device_start(struct virtio_device *device)
{
	for (unsigned int i = 0; i < device->queue_count; i++)
		if (device->queues[i].enabled)
			device_start_queue(device, &device->queues[i]);
	if (atomic_load(&device->status) & STATUS_NEEDS_RESET)
		return;
	if (device->ops->start && device->ops->start(device)) {
		virtio_needs_reset(device);
		return;
	}
	device->running = true;
	if (device->quiesced)
		return;
	virtio_kicks_watch(device);
	for (unsigned int i = 0; i < device->queue_count; i++)
		virtio_kick(device, i);
}

void virtio_device_reset(void *opaque)
{
	struct virtio_device *device = opaque;

	device->running = false;
	virtio_kicks_unwatch(device);
	if (device->ops->reset)
		device->ops->reset(device);
	for (unsigned int i = 0; i < device->queue_count; i++)
		virtqueue_reset(&device->queues[i]);
	device->features = 0;
	atomic_store(&device->status, 0);
	atomic_store(&device->config_generation, 0);
	if (device->transport_ops)
		device->transport_ops->reset(device);
}

void virtio_needs_reset(struct virtio_device *device)
{
	uint8_t old = atomic_fetch_or(&device->status, STATUS_NEEDS_RESET);

	device->running = false;
	if (!(old & STATUS_NEEDS_RESET) && (old & VIRTIO_CONFIG_S_DRIVER_OK) && device->transport_ops)
		device->transport_ops->interrupt_config(device);
}

/* VirtIO 1.3, 3.1.1: step 5 fails for features that were not offered, or without VERSION_1. */
static bool features_acceptable(const struct virtio_device *device)
{
	if (device->features & ~device->features_offered)
		return false;
	return device->legacy || virtio_has_feature(device, VIRTIO_F_VERSION_1);
}

struct status_call {
	struct virtio_device *device;
	uint8_t status;
};

static void status_on_loop(void *opaque)
{
	struct status_call *call = opaque;
	struct virtio_device *device = call->device;
	uint8_t old = atomic_load(&device->status), status = call->status;

	if (!status) {
		virtio_device_reset(device);
		return;
	}
	if ((status & VIRTIO_CONFIG_S_FEATURES_OK) && !(old & VIRTIO_CONFIG_S_FEATURES_OK) &&
	    !features_acceptable(device))
		status &= (uint8_t)~VIRTIO_CONFIG_S_FEATURES_OK;
	/* 2.1.1: a driver only ever adds bits until it resets; what was settled stays so. */
	status = (uint8_t)((status & ~STATUS_NEEDS_RESET) | old);
	atomic_store(&device->status, status);
	if (!(status & VIRTIO_CONFIG_S_DRIVER_OK) || (old & (VIRTIO_CONFIG_S_DRIVER_OK | STATUS_NEEDS_RESET)))
		return;
	if (device->legacy ? !features_acceptable(device) : !(status & VIRTIO_CONFIG_S_FEATURES_OK)) {
		virtio_needs_reset(device);
		return;
	}
	device_start(device);
}

void virtio_set_status(struct virtio_device *device, uint8_t status)
{
	struct status_call call = { device, status };

	event_loop_call(device->loop, status_on_loop, &call);
}

struct features_call {
	struct virtio_device *device;
	uint64_t features;
};

static void features_on_loop(void *opaque)
{
	struct features_call *call = opaque;
	uint8_t settled = VIRTIO_CONFIG_S_DRIVER_OK | (call->device->legacy ? 0 : VIRTIO_CONFIG_S_FEATURES_OK);

	if (!(atomic_load(&call->device->status) & settled))
		call->device->features = call->features;
}

void virtio_set_features(struct virtio_device *device, uint64_t features)
{
	struct features_call call = { device, features };

	event_loop_call(device->loop, features_on_loop, &call);
}

/* ---- queues ---- */

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
	vq->enabled = true;
	if (!device->running)
		return;
	/* A legacy driver may set its queues up after DRIVER_OK. */
	device_start_queue(device, vq);
	if (!device->quiesced)
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

/* ---- config space ---- */

void virtio_config_read(struct virtio_device *device, uint64_t offset, void *buffer, size_t size)
{
	memset(buffer, 0, size);
	if (device->ops->config_read && range_contains(0, device->ops->config_size, offset, size))
		device->ops->config_read(device, (size_t)offset, buffer, size);
}

struct config_call {
	struct virtio_device *device;
	uint64_t offset;
	const void *buffer;
	size_t size;
};

static void config_write_on_loop(void *opaque)
{
	struct config_call *call = opaque;

	call->device->ops->config_write(call->device, (size_t)call->offset, call->buffer, call->size);
}

void virtio_config_write(struct virtio_device *device, uint64_t offset, const void *buffer, size_t size)
{
	struct config_call call = { device, offset, buffer, size };

	if (device->ops->config_write && range_contains(0, device->ops->config_size, offset, size))
		event_loop_call(device->loop, config_write_on_loop, &call);
}

void virtio_config_changed(struct virtio_device *device)
{
	atomic_fetch_add(&device->config_generation, 1);
	if ((atomic_load(&device->status) & VIRTIO_CONFIG_S_DRIVER_OK) && device->transport_ops)
		device->transport_ops->interrupt_config(device);
}

/* ---- life ---- */

const struct virtio_transport *virtio_transport_find(const char *name)
{
	const struct virtio_transport *transport = virtio_transports;

	while (transport && strcmp(transport->name, name))
		transport = transport->next;
	return transport;
}

static const struct virtio_transport *device_transport(const struct virtio_device *device)
{
	const char *name = device->transport_name;
	const struct virtio_transport *transport;

	if (!name)
		name = config_string(device->kvm->config, "virtio-transport");
	name = name ? name : "pci";
	transport = virtio_transport_find(name);
	if (!transport)
		log_error(EINVAL, "option --virtio-transport: '%s' is not in this build", name);
	return transport;
}

static int device_make_queues(struct virtio_device *device)
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

static void device_free_queues(struct virtio_device *device)
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

static int device_register(struct kvm *kvm, struct virtio_device *device, const char *name)
{
	const struct virtio_transport *transport = device_transport(device);
	int result;

	if (!transport)
		return -EINVAL;
	device->legacy = transport->legacy;
	device->features_offered |= BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) |
				    BIT(transport->legacy ? VIRTIO_F_ANY_LAYOUT : VIRTIO_F_VERSION_1);
	device->features_offered &= ~device->features_refused;
	result = device_make_queues(device);
	if (result)
		return log_errno(result, "%s", name);
	result = device_add(kvm, &device->device, &virtio_base_ops, "%s", name);
	if (result)
		return result;
	result = transport->add(device, transport);
	if (result)
		device_del(&device->device);
	return result;
}

int virtio_device_add(struct kvm *kvm, struct virtio_device *device, const struct virtio_device_ops *ops,
		      const char *name_format, ...)
{
	char name[64];
	va_list arguments;
	int result;

	va_start(arguments, name_format);
	vsnprintf(name, sizeof(name), name_format, arguments);
	va_end(arguments);
	device->kvm = kvm;
	device->ops = ops;
	device->loop = device->loop ? device->loop : kvm->loop;
	event_work_init(device->loop, &device->interrupts_work, interrupts_moved);
	result = device_register(kvm, device, name);
	if (result)
		device_free_queues(device);
	return result;
}

void virtio_device_del(struct virtio_device *device)
{
	if (!device->queues)
		return;
	event_loop_call(device->loop, virtio_device_reset, device);
	device->transport_ops->del(device);
	device->transport_ops = NULL;
	event_work_cancel(&device->interrupts_work);
	device_del(&device->device);
	device_free_queues(device);
}

static const char *const transport_names[] = { "pci", "pci-legacy", "mmio", "mmio-legacy", NULL };

static const struct option_def virtio_options[] = {
	{ .name = "virtio-transport", .type = OPTION_CHOICE, .argument = "KIND", .choices = transport_names,
	  .fallback = "pci", .help = "How virtio devices are found: on PCI or in MMIO slots, modern or legacy" },
	{ .name = "virtio-legacy", .type = OPTION_FLAG, .same_as = "virtio-transport=pci-legacy",
	  .help = "As --virtio-transport pci-legacy, for kvmtool's scripts" },
};
RUN_OPTIONS(virtio_options_group, "Device options", virtio_options);
