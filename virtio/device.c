/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What all virtio devices share: the status machine and features (VirtIO 1.3, 2.1 to 2.5 and 3). Queues are in
 * device-queues.c, kicks in kicks.c, saved state in device-state.c.
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
#define PROCESS_MAX		4096	/* requests of one queue before others have their turn */

static REGISTRY struct virtio_transport *virtio_transports;

REGISTERS void virtio_transport_register(struct virtio_transport *transport)
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

/* DRIVER_OK: the queues run, and what was made available before is looked at once. */
static void device_start(struct virtio_device *device)
{
	for (unsigned int i = 0; i < device->queue_count; i++)
		if (device->queues[i].enabled)
			virtio_queue_start(device, &device->queues[i]);
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
	const char *name = device->bridge ? "pci" : device->transport_name;
	const struct virtio_transport *transport;

	if (!name)
		name = config_string(device->kvm->config, "virtio-transport");
	name = name ? name : "pci";
	transport = virtio_transport_find(name);
	if (!transport)
		log_error(EINVAL, "option --virtio-transport: '%s' is not in this build", name);
	return transport;
}

static bool device_wants_packed(const struct virtio_device *device)
{
	const char *ring = config_string(device->kvm->config, "virtio-ring");

	return ring && !strcmp(ring, "packed");
}

/* What takes part of who works on the rings: a back end may not have it. */
static uint64_t device_ring_features(const struct virtio_device *device)
{
	uint64_t features = BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX);

	if (device->legacy)
		return features | BIT(VIRTIO_F_ANY_LAYOUT);
	return features | BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_F_RING_PACKED) | (device->ops->in_order ? BIT(VIRTIO_F_IN_ORDER) : 0);
}

/* What is done by the core and the transports, whoever works on the rings. */
static uint64_t device_core_features(const struct virtio_device *device)
{
	if (device->legacy)
		return 0;
	return BIT(VIRTIO_F_RING_RESET) |
	       (config_flag(device->kvm->config, "virtio-notification-data") ? BIT(VIRTIO_F_NOTIFICATION_DATA) : 0);
}

static int device_register(struct kvm *kvm, struct virtio_device *device, const char *name)
{
	const struct virtio_transport *transport = device_transport(device);
	int result;

	if (!transport)
		return -EINVAL;
	device->legacy = transport->legacy;
	device->features_offered = ((device->features_offered | device_ring_features(device)) & ~device->features_refused) |
				   device_core_features(device);
	if (!device_wants_packed(device))
		device->features_offered &= ~BIT(VIRTIO_F_RING_PACKED);
	result = virtio_queues_make(device);
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
		virtio_queues_free(device);
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
	virtio_queues_free(device);
}

static const char *const ring_names[] = { "split", "packed", NULL };
static const char *const transport_names[] = { "pci", "pci-legacy", "mmio", "mmio-legacy", NULL };

static const struct option_def virtio_options[] = {
	{ .name = "virtio-transport", .type = OPTION_CHOICE, .argument = "KIND", .choices = transport_names,
	  .fallback = "pci", .help = "How virtio devices are found: on PCI or in MMIO slots, modern or legacy" },
	{ .name = "virtio-ring", .type = OPTION_CHOICE, .argument = "KIND", .choices = ring_names, .fallback = "split",
	  .help = "What drivers may choose: split virtqueues, or packed ones too" },
	{ .name = "virtio-notification-data", .type = OPTION_FLAG,
	  .help = "Drivers may say with each notification how far they are, which tests them" },
	{ .name = "virtio-legacy", .type = OPTION_FLAG, .same_as = "virtio-transport=pci-legacy",
	  .help = "As --virtio-transport pci-legacy, for kvmtool's scripts" },
};
RUN_OPTIONS(virtio_options_group, "Device options", virtio_options);
