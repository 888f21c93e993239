/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtio over MMIO (VirtIO 1.3, 4.2): version 2, and version 1 for legacy drivers.
 *
 * A slot of 512 bytes a device, an edge interrupt each; ACPI and the device tree say where. mmio->lock guards
 * the selectors and half-written addresses, which vCPUs share; it is dropped before the device is called.
 * interrupt_status is atomic, since any thread raises.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>

#include "kvm/arch.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/rcu.h"
#include "kvm/virtio.h"

#define SLOT_SIZE	0x200ULL
#define MAGIC		0x74726976	/* "virt" */
#define VENDOR		0x4d564b4c	/* "LKVM" */
#define INTERRUPT_QUEUE	BIT(0)
#define INTERRUPT_CONFIG BIT(1)
#define CONFIG_OFFSET	0x100

enum mmio_register {
	REG_MAGIC = 0x00, REG_VERSION = 0x04, REG_DEVICE_ID = 0x08, REG_VENDOR_ID = 0x0c,
	REG_DEVICE_FEATURES = 0x10, REG_DEVICE_FEATURES_SEL = 0x14,
	REG_DRIVER_FEATURES = 0x20, REG_DRIVER_FEATURES_SEL = 0x24, REG_GUEST_PAGE_SIZE = 0x28,
	REG_QUEUE_SEL = 0x30, REG_QUEUE_NUM_MAX = 0x34, REG_QUEUE_NUM = 0x38, REG_QUEUE_ALIGN = 0x3c,
	REG_QUEUE_PFN = 0x40, REG_QUEUE_READY = 0x44, REG_QUEUE_NOTIFY = 0x50,
	REG_INTERRUPT_STATUS = 0x60, REG_INTERRUPT_ACK = 0x64, REG_STATUS = 0x70,
	REG_DESC_LOW = 0x80, REG_DESC_HIGH = 0x84, REG_AVAIL_LOW = 0x90, REG_AVAIL_HIGH = 0x94,
	REG_USED_LOW = 0xa0, REG_USED_HIGH = 0xa4, REG_SHM_LEN_LOW = 0xb0, REG_SHM_LEN_HIGH = 0xb4,
	REG_QUEUE_RESET = 0xc0,
	REG_CONFIG_GENERATION = 0xfc,
};

struct mmio_queue {
	uint64_t desc, avail, used;
	uint32_t size;
	uint32_t pfn;			/* legacy */
};

struct virtio_mmio {
	struct virtio_device *device;
	struct region region;
	struct platform_device platform;
	struct irq_line line;
	struct doorbell *doorbells;
	atomic_uint interrupt_status;
	pthread_mutex_t lock;		/* guards what follows; innermost */
	uint32_t device_features_sel, driver_features_sel, queue_sel, page_size, align;
	uint64_t driver_features;
	struct mmio_queue *queues;
};

static bool selected(const struct virtio_mmio *mmio)
{
	return mmio->queue_sel < mmio->device->queue_count;
}

static uint32_t half(uint64_t value, uint32_t selector)
{
	return selector == 0 ? (uint32_t)value : selector == 1 ? (uint32_t)(value >> 32) : 0;
}

static void set_half(uint64_t *value, bool high, uint32_t part)
{
	*value = high ? (*value & UINT32_MAX) | (uint64_t)part << 32 : (*value & ~(uint64_t)UINT32_MAX) | part;
}

/* ---- reading ---- */

static uint32_t mmio_read_queue_locked(struct virtio_mmio *mmio, uint64_t offset)
{
	struct virtqueue *vq = selected(mmio) ? &mmio->device->queues[mmio->queue_sel] : NULL;

	if (!vq)
		return 0;
	switch (offset) {
	case REG_QUEUE_NUM_MAX:	return vq->size_max;
	case REG_QUEUE_PFN:	return mmio->device->legacy ? mmio->queues[mmio->queue_sel].pfn : 0;
	case REG_QUEUE_READY:	return !mmio->device->legacy && vq->enabled;
	case REG_QUEUE_RESET:	return vq->resetting;
	default:		return 0;
	}
}

static uint32_t mmio_read_register(struct virtio_mmio *mmio, uint64_t offset)
{
	struct virtio_device *device = mmio->device;
	uint32_t value;

	switch (offset) {
	case REG_MAGIC:			return MAGIC;
	case REG_VERSION:		return device->legacy ? 1 : 2;
	case REG_DEVICE_ID:		return device->ops->id;
	case REG_VENDOR_ID:		return VENDOR;
	case REG_INTERRUPT_STATUS:	return atomic_load(&mmio->interrupt_status);
	case REG_STATUS:		return atomic_load(&device->status);
	case REG_CONFIG_GENERATION:	return atomic_load(&device->config_generation);
	/* VirtIO 1.3, 4.2.2: of a region that isn't there it is -1, and a driver takes 0 for a region. */
	case REG_SHM_LEN_LOW:
	case REG_SHM_LEN_HIGH:		return device->legacy ? 0 : UINT32_MAX;
	}
	pthread_mutex_lock(&mmio->lock);
	value = offset == REG_DEVICE_FEATURES ? half(device->features_offered, mmio->device_features_sel) :
						mmio_read_queue_locked(mmio, offset);
	pthread_mutex_unlock(&mmio->lock);
	return value;
}

static uint64_t mmio_read(struct virtio_mmio *mmio, uint64_t offset, unsigned int size)
{
	le64 value = le64_of(0);

	if (offset >= CONFIG_OFFSET) {
		virtio_config_read(mmio->device, offset - CONFIG_OFFSET, &value, size);
		return le64_get(value);
	}
	/* 4.2.2.2: control registers are 32 bits wide and only read so. */
	return size == 4 ? mmio_read_register(mmio, offset) : 0;
}

/* ---- writing ---- */

static void mmio_write_queue_address_locked(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	struct mmio_queue *queue = &mmio->queues[mmio->queue_sel];

	switch (offset) {
	case REG_DESC_LOW: case REG_DESC_HIGH:
		set_half(&queue->desc, offset == REG_DESC_HIGH, value);
		break;
	case REG_AVAIL_LOW: case REG_AVAIL_HIGH:
		set_half(&queue->avail, offset == REG_AVAIL_HIGH, value);
		break;
	case REG_USED_LOW: case REG_USED_HIGH:
		set_half(&queue->used, offset == REG_USED_HIGH, value);
		break;
	}
}

static void mmio_write_selector_locked(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case REG_DEVICE_FEATURES_SEL:	mmio->device_features_sel = value; break;
	case REG_DRIVER_FEATURES_SEL:	mmio->driver_features_sel = value; break;
	case REG_GUEST_PAGE_SIZE:	mmio->page_size = value; break;
	case REG_QUEUE_SEL:		mmio->queue_sel = value; break;
	case REG_QUEUE_ALIGN:		mmio->align = value; break;
	case REG_DRIVER_FEATURES:
		if (mmio->driver_features_sel < 2)
			set_half(&mmio->driver_features, mmio->driver_features_sel, value);
		break;
	case REG_QUEUE_NUM:
		if (selected(mmio))
			mmio->queues[mmio->queue_sel].size = value;
		break;
	default:
		if (selected(mmio))
			mmio_write_queue_address_locked(mmio, offset, value);
	}
}

static void mmio_queue_pfn(struct virtio_mmio *mmio, uint32_t pfn)
{
	struct mmio_queue queue = { 0 };
	uint32_t index, page_size, align;
	bool known;

	pthread_mutex_lock(&mmio->lock);
	index = mmio->queue_sel;
	known = selected(mmio);
	page_size = mmio->page_size;
	align = mmio->align;
	if (known) {
		mmio->queues[index].pfn = pfn;
		queue = mmio->queues[index];
	}
	pthread_mutex_unlock(&mmio->lock);
	if (!known || !mmio->device->legacy)
		return;
	virtio_queue_setup(mmio->device, index, (uint16_t)MIN(queue.size, 0xffffU), gpa(0), gpa(0), gpa(0));
	virtio_queue_legacy(mmio->device, index, (uint64_t)pfn * page_size, align);
}

static void mmio_queue_ready(struct virtio_mmio *mmio, uint32_t ready)
{
	struct mmio_queue queue = { 0 };
	uint32_t index;
	bool known;

	pthread_mutex_lock(&mmio->lock);
	index = mmio->queue_sel;
	known = selected(mmio);
	if (known)
		queue = mmio->queues[index];
	pthread_mutex_unlock(&mmio->lock);
	if (!known || mmio->device->legacy)
		return;
	if (!(ready & 1)) {
		virtio_queue_disable(mmio->device, index);
		return;
	}
	virtio_queue_setup(mmio->device, index, (uint16_t)MIN(queue.size, 0xffffU), gpa(queue.desc), gpa(queue.avail),
			   gpa(queue.used));
	virtio_queue_enable(mmio->device, index);
}

/* 4.2.2.2: the write returns when it is done. */
static void mmio_queue_reset(struct virtio_mmio *mmio)
{
	uint32_t index;
	bool known;

	pthread_mutex_lock(&mmio->lock);
	index = mmio->queue_sel;
	known = selected(mmio) && (mmio->driver_features & BIT(VIRTIO_F_RING_RESET));
	pthread_mutex_unlock(&mmio->lock);
	if (!known || mmio->device->legacy)
		return;
	virtio_queue_reset(mmio->device, index);
	pthread_mutex_lock(&mmio->lock);
	mmio->queues[index] = (struct mmio_queue){ 0 };
	pthread_mutex_unlock(&mmio->lock);
}

static void mmio_write_register(struct virtio_mmio *mmio, uint64_t offset, uint32_t value)
{
	uint64_t features;

	switch (offset) {
	case REG_QUEUE_NOTIFY:
		/* With VIRTIO_F_NOTIFICATION_DATA the driver's place stands above, and no doorbell of KVM's matches. */
		virtio_notify(mmio->device, value & 0xffff);
		return;
	case REG_INTERRUPT_ACK:
		atomic_fetch_and(&mmio->interrupt_status, ~value);
		return;
	case REG_STATUS:
		virtio_set_status(mmio->device, (uint8_t)value);
		return;
	case REG_QUEUE_PFN:
		mmio_queue_pfn(mmio, value);
		return;
	case REG_QUEUE_READY:
		mmio_queue_ready(mmio, value);
		return;
	case REG_QUEUE_RESET:
		if (value & 1)
			mmio_queue_reset(mmio);
		return;
	}
	pthread_mutex_lock(&mmio->lock);
	mmio_write_selector_locked(mmio, offset, value);
	features = mmio->driver_features;
	pthread_mutex_unlock(&mmio->lock);
	if (offset == REG_DRIVER_FEATURES)
		virtio_set_features(mmio->device, features);
}

static void mmio_write(struct virtio_mmio *mmio, uint64_t offset, uint64_t value, unsigned int size)
{
	le64 encoded = le64_of(value);

	if (offset >= CONFIG_OFFSET)
		virtio_config_write(mmio->device, offset - CONFIG_OFFSET, &encoded, size);
	else if (size == 4)
		mmio_write_register(mmio, offset, (uint32_t)value);
}
IO_OPS(mmio_io_ops, struct virtio_mmio, mmio_read, mmio_write, 1, 8);

/* ---- the transport's side ---- */

static void mmio_interrupt(struct virtio_device *device, unsigned int bit)
{
	struct virtio_mmio *mmio = device->transport;

	atomic_fetch_or(&mmio->interrupt_status, bit);
	irq_line_pulse(&mmio->line);
}

static void mmio_interrupt_queue(struct virtio_device *device, unsigned int queue)
{
	(void)queue;
	mmio_interrupt(device, INTERRUPT_QUEUE);
}

static void mmio_interrupt_config(struct virtio_device *device)
{
	mmio_interrupt(device, INTERRUPT_CONFIG);
}

static void mmio_reset(struct virtio_device *device)
{
	struct virtio_mmio *mmio = device->transport;

	pthread_mutex_lock(&mmio->lock);
	/* Linux tells the page size once, and resets the device after it: that stays. */
	mmio->device_features_sel = mmio->driver_features_sel = mmio->queue_sel = 0;
	mmio->align = 4096;
	mmio->driver_features = 0;
	memset(mmio->queues, 0, device->queue_count * sizeof(*mmio->queues));
	pthread_mutex_unlock(&mmio->lock);
	atomic_store(&mmio->interrupt_status, 0);
}

static void mmio_power_on(struct virtio_device *device)
{
	struct virtio_mmio *mmio = device->transport;

	pthread_mutex_lock(&mmio->lock);
	mmio->page_size = 0;
	pthread_mutex_unlock(&mmio->lock);
}

static const struct state_field mmio_fields[] = {
	STATE_U32(struct virtio_mmio, interrupt_status),
	STATE_U32(struct virtio_mmio, device_features_sel),
	STATE_U32(struct virtio_mmio, driver_features_sel),
	STATE_U32(struct virtio_mmio, queue_sel),
	STATE_U32(struct virtio_mmio, page_size),
	STATE_U32(struct virtio_mmio, align),
	STATE_U64(struct virtio_mmio, driver_features),
};
STATE_TABLE(mmio_table, "virtio-mmio", 1, mmio_fields);

static const struct state_field mmio_queue_fields[] = {
	STATE_U64(struct mmio_queue, desc),
	STATE_U64(struct mmio_queue, avail),
	STATE_U64(struct mmio_queue, used),
	STATE_U32(struct mmio_queue, size),
	STATE_U32(struct mmio_queue, pfn),
};
STATE_TABLE(mmio_queue_table, "virtio-mmio queue", 1, mmio_queue_fields);

static void mmio_save(struct virtio_device *device, struct state_writer *writer)
{
	struct virtio_mmio *mmio = device->transport;

	state_save(writer, &mmio_table, mmio);
	for (unsigned int i = 0; i < device->queue_count; i++)
		state_save(writer, &mmio_queue_table, &mmio->queues[i]);
}

static int mmio_load(struct virtio_device *device, struct state_reader *reader)
{
	struct virtio_mmio *mmio = device->transport;
	int result = state_load(reader, &mmio_table, mmio);

	for (unsigned int i = 0; i < device->queue_count && !result; i++)
		result = state_load(reader, &mmio_queue_table, &mmio->queues[i]);
	return result;
}

/* ---- life ---- */

static void mmio_free(struct virtio_mmio *mmio)
{
	if (mmio->platform.base)
		platform_device_del(mmio->device->kvm, &mmio->platform);
	region_del(&mmio->region);
	/* A look-up may still be at it. */
	rcu_synchronize();
	if (mmio->line.kvm) {
		irq_line_free(mmio->device->kvm, mmio->line.gsi);
		irq_line_exit(&mmio->line);
	}
	pthread_mutex_destroy(&mmio->lock);
	free(mmio->doorbells);
	free(mmio->queues);
	free(mmio);
}

static void mmio_del(struct virtio_device *device)
{
	mmio_free(device->transport);
	device->transport = NULL;
}

static const struct virtio_transport_ops mmio_ops = {
	.name = "mmio",
	.interrupt_queue = mmio_interrupt_queue,
	.interrupt_config = mmio_interrupt_config,
	.reset = mmio_reset,
	.power_on = mmio_power_on,
	.save = mmio_save,
	.load = mmio_load,
	.del = mmio_del,
};

/* The first slot that no platform device has. */
static uint64_t mmio_find_slot(struct kvm *kvm)
{
	const struct platform_layout *layout = arch_platform(kvm);

	for (uint64_t at = layout->mmio_base; at < layout->mmio_base + layout->mmio_size; at += SLOT_SIZE) {
		struct platform_device *other = platform_devices(kvm);

		while (other && other->base != at)
			other = other->next;
		if (!other)
			return at;
	}
	return 0;
}

static int mmio_place(struct virtio_mmio *mmio)
{
	struct virtio_device *device = mmio->device;
	uint64_t base = mmio_find_slot(device->kvm);
	int gsi, result;

	if (!base)
		return log_error(ENOSPC, "%s: all slots for virtio-mmio are taken", device->device.name);
	gsi = irq_line_alloc(device->kvm);
	if (gsi < 0)
		return gsi;
	result = irq_line_init(device->kvm, &mmio->line, (uint32_t)gsi, IRQ_EDGE);
	if (result) {
		irq_line_free(device->kvm, (uint32_t)gsi);
		return result;
	}
	region_init_io(&mmio->region, device->device.name, &mmio_io_ops, mmio, SLOT_SIZE);
	for (unsigned int i = 0; i < device->queue_count && !result; i++) {
		mmio->doorbells[i] = (struct doorbell){ .offset = REG_QUEUE_NOTIFY, .size = 4, .match = true,
							.datamatch = i, .fd = device->kicks[i].fd };
		result = region_add_doorbell(&mmio->region, &mmio->doorbells[i]);
	}
	if (!result)
		result = region_add(&device->kvm->memory, &mmio->region, base, 1);
	if (result)
		return log_errno(result, "%s", device->device.name);
	mmio->platform = (struct platform_device){
		.compatible = "virtio,mmio", .acpi_hid = "LNRO0005", .base = base, .size = SLOT_SIZE,
		.gsi = gsi, .trigger = IRQ_EDGE,
	};
	platform_device_add(device->kvm, &mmio->platform);
	return 0;
}

static int mmio_add(struct virtio_device *device, const struct virtio_transport *transport)
{
	struct virtio_mmio *mmio = calloc(1, sizeof(*mmio));
	int result;

	(void)transport;
	if (!mmio)
		return log_errno(ENOMEM, "%s", device->device.name);
	mmio->device = device;
	mmio->align = 4096;
	pthread_mutex_init(&mmio->lock, NULL);
	mmio->queues = calloc(device->queue_count, sizeof(*mmio->queues));
	mmio->doorbells = calloc(device->queue_count, sizeof(*mmio->doorbells));
	result = mmio->queues && mmio->doorbells ? mmio_place(mmio) : log_errno(ENOMEM, "%s", device->device.name);
	if (result) {
		mmio_free(mmio);
		return result;
	}
	device->transport = mmio;
	device->transport_ops = &mmio_ops;
	return 0;
}

static struct virtio_transport mmio_transport = { .name = "mmio", .add = mmio_add };
VIRTIO_TRANSPORT(mmio_transport);

static struct virtio_transport mmio_legacy_transport = { .name = "mmio-legacy", .legacy = true, .add = mmio_add };
VIRTIO_TRANSPORT(mmio_legacy_transport);
