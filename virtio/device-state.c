/* SPDX-License-Identifier: BSD-2-Clause */
/* A virtio device among the VM's devices: reset, quiesced, saved, loaded, counted. */
#include "kvm/kvm.h"
#include "virtio/device.h"

static struct virtio_device *virtio_of(struct device *device)
{
	return container_of(device, struct virtio_device, device);
}

static void device_power_on_on_loop(void *opaque)
{
	struct virtio_device *device = opaque;

	virtio_device_reset(device);
	if (device->transport_ops->power_on)
		device->transport_ops->power_on(device);
	if (device->ops->power_on)
		device->ops->power_on(device);
}

static void virtio_reset_op(struct device *device)
{
	event_loop_call(virtio_of(device)->loop, device_power_on_on_loop, virtio_of(device));
}

struct quiesce_call {
	struct virtio_device *device;
	int result;
};

int virtio_device_quiesce(struct virtio_device *device)
{
	int result;

	device->quiesced = true;
	virtio_kicks_unwatch(device);
	result = device->ops->quiesce ? device->ops->quiesce(device) : 0;
	/* What was done meanwhile is told now: a packed ring's batch that isn't is no part of saved state. */
	for (unsigned int i = 0; i < device->queue_count; i++)
		if (!device->queues[i].outside)
			virtqueue_flush(&device->queues[i]);
	if (result) {
		device->quiesced = false;
		virtio_kicks_watch(device);
	}
	return result;
}

static void quiesce_on_loop(void *opaque)
{
	struct quiesce_call *call = opaque;

	call->result = virtio_device_quiesce(call->device);
}

static int virtio_quiesce_op(struct device *device)
{
	struct quiesce_call call = { virtio_of(device), 0 };

	event_loop_call(call.device->loop, quiesce_on_loop, &call);
	return call.result;
}

/* An interrupt may have been on its way when the state was saved: one too many does no harm. */
static void interrupt_all(struct virtio_device *device)
{
	for (unsigned int i = 0; i < device->queue_count; i++)
		if (device->running && device->queues[i].enabled)
			device->transport_ops->interrupt_queue(device, i);
	device->interrupts_due = false;
}

void virtio_device_resume(struct virtio_device *device)
{
	device->quiesced = false;
	if (device->ops->resume)
		device->ops->resume(device);
	if (!device->running)
		return;
	if (device->interrupts_due)
		interrupt_all(device);
	virtio_kicks_watch(device);
	for (unsigned int i = 0; i < device->queue_count; i++)
		virtio_kick(device, i);
}

static void resume_on_loop(void *opaque)
{
	virtio_device_resume(opaque);
}

static void virtio_resume_op(struct device *device)
{
	event_loop_call(virtio_of(device)->loop, resume_on_loop, virtio_of(device));
}

static const struct state_field device_fields[] = {
	STATE_U64(struct virtio_device, features),
	STATE_U8(struct virtio_device, status),
	STATE_U32(struct virtio_device, config_generation),
	STATE_BOOL(struct virtio_device, running),
};
STATE_TABLE(device_table, "virtio", 1, device_fields);

/* Those that were never started don't know, and the features tell what is saved of each. */
static void queues_settle_kind(struct virtio_device *device)
{
	for (unsigned int i = 0; i < device->queue_count; i++)
		device->queues[i].packed = virtio_has_feature(device, VIRTIO_F_RING_PACKED);
}

static void virtio_save_op(struct device *base, struct state_writer *writer)
{
	struct virtio_device *device = virtio_of(base);

	state_save(writer, &device_table, device);
	queues_settle_kind(device);
	for (unsigned int i = 0; i < device->queue_count; i++)
		virtqueue_save(&device->queues[i], writer);
	device->transport_ops->save(device, writer);
	if (device->ops->save)
		device->ops->save(device, writer);
}

static int load_queues(struct virtio_device *device, struct state_reader *reader)
{
	int result = 0;

	queues_settle_kind(device);
	for (unsigned int i = 0; i < device->queue_count && !result; i++)
		result = virtqueue_load(&device->queues[i], reader);
	for (unsigned int i = 0; i < device->queue_count && !result; i++)
		/* where RAM comes and goes a driver may have unplugged it under its ring: its queue is broken then, no more */
		if (device->running && device->queues[i].enabled && virtqueue_start(&device->queues[i], &device->kvm->memory) &&
		    !device->kvm->ram_more)
			result = log_error(EINVAL, "saved state: %s: queue %u lies outside RAM", device->device.name, i);
	return result;
}

/* What a driver asks for before it is settled is not refused yet, and comes to nothing. */
static bool features_loadable(const struct virtio_device *device)
{
	bool settled = device->running || (!device->legacy && (atomic_load(&device->status) & VIRTIO_CONFIG_S_FEATURES_OK));

	return !settled || !(device->features & ~device->features_offered);
}

static int virtio_load_op(struct device *base, struct state_reader *reader)
{
	struct virtio_device *device = virtio_of(base);
	int result;

	virtio_device_reset(device);
	result = state_load(reader, &device_table, device);
	if (!result && !features_loadable(device))
		result = log_error(EINVAL, "saved state: %s: features 0x%llx that this build doesn't offer", base->name,
				   (unsigned long long)(device->features & ~device->features_offered));
	if (!result)
		result = load_queues(device, reader);
	if (!result)
		result = device->transport_ops->load(device, reader);
	if (!result && device->ops->load)
		result = device->ops->load(device, reader);
	if (result)
		virtio_device_reset(device);
	device->interrupts_due = !result;
	return result;
}

const struct device_ops virtio_base_ops = {
	.reset = virtio_reset_op,
	.quiesce = virtio_quiesce_op,
	.resume = virtio_resume_op,
	.save = virtio_save_op,
	.load = virtio_load_op,
};

bool virtio_count(const struct device *base, struct virtio_counts *counts)
{
	const struct virtio_device *device = container_of(base, const struct virtio_device, device);

	if (base->ops != &virtio_base_ops)
		return false;
	*counts = (struct virtio_counts){ 0 };
	for (unsigned int i = 0; i < device->queue_count; i++) {
		counts->requests += atomic_load_explicit(&device->queues[i].requests, memory_order_relaxed);
		counts->bytes_read += atomic_load_explicit(&device->queues[i].bytes_read, memory_order_relaxed);
		counts->bytes_written += atomic_load_explicit(&device->queues[i].bytes_written, memory_order_relaxed);
	}
	return true;
}
