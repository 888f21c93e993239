/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtio over PCI, modern: configuration structures in BARs, told by vendor capabilities (VirtIO 1.3, 4.1).
 *
 * BAR 4 holds COMMON, ISR, DEVICE and NOTIFY a page each, BAR 1 the MSI-X table. A queue's doorbell is an
 * ioeventfd at its own four bytes of the NOTIFY page, of any size and with any data (VIRTIO_F_NOTIFICATION_DATA), for which
 * VMX needs not decode the instruction. pci->lock guards the selectors and half-written
 * addresses, which vCPUs share; it is dropped before the device or the bus is called.
 */
#include "virtio/pci.h"

#include <linux/pci_regs.h>
#include <linux/virtio_pci.h>
#include <string.h>

#include "kvm/kvm.h"
#include "kvm/log.h"

#define PAGE		4096ULL
#define COMMON_OFFSET	(0 * PAGE)
#define ISR_OFFSET	(1 * PAGE)
#define DEVICE_OFFSET	(2 * PAGE)
#define NOTIFY_OFFSET	(3 * PAGE)
#define BAR_SIZE	(4 * PAGE)
#define MODERN_BAR	4
#define MSIX_BAR	1
#define NOTIFY_MULTIPLIER 4
/* What VirtIO 1.2 put behind the common structure; not in all kernels' headers. */
#define COMMON_QUEUE_NOTIFY_DATA 56
#define COMMON_QUEUE_RESET	58
#define COMMON_SIZE	60
_Static_assert(sizeof(struct virtio_pci_common_cfg) == COMMON_QUEUE_NOTIFY_DATA, "VirtIO 1.3, 4.1.4.3");

/* ---- interrupts: both transports ---- */

static void virtio_pci_fire(struct virtio_pci *pci, uint16_t vector, uint8_t isr)
{
	if (pci_msix_enabled(&pci->function)) {
		pci_msix_raise(&pci->function, vector);
		return;
	}
	atomic_fetch_or(&pci->isr, isr);
	pci_intx_set(&pci->function, true);
}

static void virtio_pci_interrupt_queue(struct virtio_device *device, unsigned int queue)
{
	struct virtio_pci *pci = device->transport;

	virtio_pci_fire(pci, atomic_load_explicit(&pci->queues[queue].vector, memory_order_relaxed), VIRTIO_PCI_ISR_QUEUE);
}

static void virtio_pci_interrupt_config(struct virtio_device *device)
{
	struct virtio_pci *pci = device->transport;

	virtio_pci_fire(pci, atomic_load_explicit(&pci->config_vector, memory_order_relaxed), VIRTIO_PCI_ISR_CONFIG);
}

static int virtio_pci_interrupt_fd(struct virtio_device *device, unsigned int queue)
{
	struct virtio_pci *pci = device->transport;
	uint16_t vector = atomic_load_explicit(&pci->queues[queue].vector, memory_order_relaxed);

	return pci_msix_enabled(&pci->function) && vector < pci->function.msix.count ?
	       pci->function.msix.vectors[vector].message.fd : -1;
}

/* A vector's eventfd stays the same, masked or not: only turning MSI-X on or off is news. */
static void virtio_pci_msix_changed(struct pci_device *function, unsigned int vector)
{
	struct virtio_pci *pci = container_of(function, struct virtio_pci, function);
	bool enabled = pci_msix_enabled(function);

	(void)vector;
	if (enabled != pci->msix_was_enabled)
		virtio_interrupts_moved(pci->device);
	pci->msix_was_enabled = enabled;
}

uint8_t virtio_pci_read_isr(struct virtio_pci *pci)
{
	uint8_t isr = atomic_exchange(&pci->isr, 0);

	/* Reading drops the line; what is raised meanwhile raises it again. */
	pci_intx_set(&pci->function, false);
	if (atomic_load(&pci->isr))
		pci_intx_set(&pci->function, true);
	return isr;
}

uint16_t virtio_pci_check_vector(const struct virtio_pci *pci, uint16_t vector)
{
	return vector < pci->function.msix.count ? vector : VIRTIO_MSI_NO_VECTOR;
}

/* ---- COMMON ---- */

static struct virtqueue *selected_queue_locked(struct virtio_pci *pci)
{
	return pci->queue_sel < pci->device->queue_count ? &pci->device->queues[pci->queue_sel] : NULL;
}

static uint64_t common_read_queue_locked(struct virtio_pci *pci, uint64_t offset)
{
	struct virtqueue *vq = selected_queue_locked(pci);
	struct virtio_pci_queue *queue = vq ? &pci->queues[pci->queue_sel] : NULL;

	if (!vq)
		return offset == VIRTIO_PCI_COMMON_Q_MSIX ? VIRTIO_MSI_NO_VECTOR : 0;
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:		return queue->size ? queue->size : vq->size_max;
	case VIRTIO_PCI_COMMON_Q_MSIX:		return atomic_load(&queue->vector);
	case VIRTIO_PCI_COMMON_Q_ENABLE:	return vq->enabled;
	case VIRTIO_PCI_COMMON_Q_NOFF: case COMMON_QUEUE_NOTIFY_DATA:
						return pci->queue_sel;
	case COMMON_QUEUE_RESET:		return vq->resetting;
	case VIRTIO_PCI_COMMON_Q_DESCLO:	return (uint32_t)queue->desc;
	case VIRTIO_PCI_COMMON_Q_DESCHI:	return queue->desc >> 32;
	case VIRTIO_PCI_COMMON_Q_AVAILLO:	return (uint32_t)queue->avail;
	case VIRTIO_PCI_COMMON_Q_AVAILHI:	return queue->avail >> 32;
	case VIRTIO_PCI_COMMON_Q_USEDLO:	return (uint32_t)queue->used;
	case VIRTIO_PCI_COMMON_Q_USEDHI:	return queue->used >> 32;
	default:				return 0;
	}
}

static uint64_t common_read_locked(struct virtio_pci *pci, uint64_t offset)
{
	struct virtio_device *device = pci->device;

	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:	return pci->device_features_sel;
	case VIRTIO_PCI_COMMON_DF:
		return pci->device_features_sel < 2 ?
		       (uint32_t)(device->features_offered >> (32 * pci->device_features_sel)) : 0;
	case VIRTIO_PCI_COMMON_GFSELECT:	return pci->driver_features_sel;
	case VIRTIO_PCI_COMMON_GF:
		return pci->driver_features_sel < 2 ?
		       (uint32_t)(pci->driver_features >> (32 * pci->driver_features_sel)) : 0;
	case VIRTIO_PCI_COMMON_MSIX:		return atomic_load(&pci->config_vector);
	case VIRTIO_PCI_COMMON_NUMQ:		return device->queue_count;
	case VIRTIO_PCI_COMMON_STATUS:		return atomic_load(&device->status);
	case VIRTIO_PCI_COMMON_CFGGENERATION:	return atomic_load(&device->config_generation) & 0xff;
	case VIRTIO_PCI_COMMON_Q_SELECT:	return pci->queue_sel;
	default:				return common_read_queue_locked(pci, offset);
	}
}

/* A register may be read in parts (4.1.3.1 allows only whole ones, drivers of old did not care). */
static uint64_t common_read(struct virtio_pci *pci, uint64_t offset)
{
	uint64_t value;

	pthread_mutex_lock(&pci->lock);
	value = common_read_locked(pci, offset);
	pthread_mutex_unlock(&pci->lock);
	return value;
}

static void put_half(uint64_t *value, bool high, uint32_t half)
{
	*value = high ? (*value & UINT32_MAX) | (uint64_t)half << 32 : (*value & ~(uint64_t)UINT32_MAX) | half;
}

static void common_write_queue_locked(struct virtio_pci *pci, uint64_t offset, uint32_t value)
{
	struct virtio_pci_queue *queue = selected_queue_locked(pci) ? &pci->queues[pci->queue_sel] : NULL;

	if (!queue)
		return;
	switch (offset) {
	case VIRTIO_PCI_COMMON_Q_SIZE:
		queue->size = (uint16_t)value;
		break;
	case VIRTIO_PCI_COMMON_Q_MSIX:
		atomic_store(&queue->vector, virtio_pci_check_vector(pci, (uint16_t)value));
		break;
	case VIRTIO_PCI_COMMON_Q_DESCLO: case VIRTIO_PCI_COMMON_Q_DESCHI:
		put_half(&queue->desc, offset == VIRTIO_PCI_COMMON_Q_DESCHI, value);
		break;
	case VIRTIO_PCI_COMMON_Q_AVAILLO: case VIRTIO_PCI_COMMON_Q_AVAILHI:
		put_half(&queue->avail, offset == VIRTIO_PCI_COMMON_Q_AVAILHI, value);
		break;
	case VIRTIO_PCI_COMMON_Q_USEDLO: case VIRTIO_PCI_COMMON_Q_USEDHI:
		put_half(&queue->used, offset == VIRTIO_PCI_COMMON_Q_USEDHI, value);
		break;
	}
}

static void common_write_locked(struct virtio_pci *pci, uint64_t offset, uint32_t value)
{
	switch (offset) {
	case VIRTIO_PCI_COMMON_DFSELECT:	pci->device_features_sel = value; break;
	case VIRTIO_PCI_COMMON_GFSELECT:	pci->driver_features_sel = value; break;
	case VIRTIO_PCI_COMMON_GF:
		if (pci->driver_features_sel < 2)
			put_half(&pci->driver_features, pci->driver_features_sel, value);
		break;
	case VIRTIO_PCI_COMMON_MSIX:
		atomic_store(&pci->config_vector, virtio_pci_check_vector(pci, (uint16_t)value));
		break;
	case VIRTIO_PCI_COMMON_Q_SELECT:	pci->queue_sel = (uint16_t)value; break;
	default:				common_write_queue_locked(pci, offset, value);
	}
}

static void queue_enable(struct virtio_pci *pci)
{
	struct virtio_pci_queue queue;
	unsigned int index;
	uint16_t size;
	bool known;

	pthread_mutex_lock(&pci->lock);
	known = selected_queue_locked(pci);
	index = pci->queue_sel;
	if (known)
		queue = (struct virtio_pci_queue){ .size = pci->queues[index].size, .desc = pci->queues[index].desc,
						   .avail = pci->queues[index].avail, .used = pci->queues[index].used };
	pthread_mutex_unlock(&pci->lock);
	if (!known)
		return;
	size = queue.size;
	virtio_queue_setup(pci->device, index, size, gpa(queue.desc), gpa(queue.avail), gpa(queue.used));
	virtio_queue_enable(pci->device, index);
}

static void queue_registers_reset_locked(struct virtio_pci_queue *queue)
{
	queue->desc = queue->avail = queue->used = 0;
	queue->size = 0;
	queue->pfn = 0;
	atomic_store(&queue->vector, VIRTIO_MSI_NO_VECTOR);
}

/* 4.1.4.3.1: the write returns when it is done. */
static void queue_reset(struct virtio_pci *pci)
{
	unsigned int index;
	bool known;

	pthread_mutex_lock(&pci->lock);
	known = selected_queue_locked(pci) && (pci->driver_features & BIT(VIRTIO_F_RING_RESET));
	index = pci->queue_sel;
	pthread_mutex_unlock(&pci->lock);
	if (!known)
		return;
	virtio_queue_reset(pci->device, index);
	pthread_mutex_lock(&pci->lock);
	queue_registers_reset_locked(&pci->queues[index]);
	pthread_mutex_unlock(&pci->lock);
}

static void common_write(struct virtio_pci *pci, uint64_t offset, uint32_t value)
{
	uint64_t features;

	if (offset == VIRTIO_PCI_COMMON_STATUS) {
		virtio_set_status(pci->device, (uint8_t)value);
		return;
	}
	if (offset == VIRTIO_PCI_COMMON_Q_ENABLE) {
		/* 4.1.4.3.2: a driver must not write 0. */
		if (value & 1)
			queue_enable(pci);
		return;
	}
	if (offset == COMMON_QUEUE_RESET) {
		if (value & 1)
			queue_reset(pci);
		return;
	}
	pthread_mutex_lock(&pci->lock);
	common_write_locked(pci, offset, value);
	features = pci->driver_features;
	pthread_mutex_unlock(&pci->lock);
	if (offset == VIRTIO_PCI_COMMON_GF)
		virtio_set_features(pci->device, features);
	if (offset == VIRTIO_PCI_COMMON_Q_MSIX)
		virtio_interrupts_moved(pci->device);
}

/* ---- the BAR ---- */

static uint64_t modern_read(struct virtio_pci *pci, uint64_t offset, unsigned int size)
{
	le64 value = le64_of(0);

	if (offset >= NOTIFY_OFFSET)
		return 0;
	if (offset >= DEVICE_OFFSET) {
		virtio_config_read(pci->device, offset - DEVICE_OFFSET, &value, size);
		return le64_get(value);
	}
	if (offset >= ISR_OFFSET)
		return offset == ISR_OFFSET ? virtio_pci_read_isr(pci) : 0;
	return common_read(pci, offset);
}

static void modern_write(struct virtio_pci *pci, uint64_t offset, uint64_t value, unsigned int size)
{
	le64 encoded = le64_of(value);

	if (offset >= NOTIFY_OFFSET)
		virtio_notify(pci->device, (unsigned int)(offset - NOTIFY_OFFSET) / NOTIFY_MULTIPLIER);
	else if (offset >= DEVICE_OFFSET)
		virtio_config_write(pci->device, offset - DEVICE_OFFSET, &encoded, size);
	else if (offset < ISR_OFFSET)
		common_write(pci, offset, (uint32_t)value);
}
IO_OPS(modern_ops, struct virtio_pci, modern_read, modern_write, 1, 4);

/* ---- capabilities ---- */

static int add_vendor_capability(struct virtio_pci *pci, uint8_t type, uint8_t size, uint64_t offset, uint64_t length)
{
	struct virtio_pci_cap cap = {
		.cap_len = size, .cfg_type = type, .bar = MODERN_BAR,
		.offset = htole32((uint32_t)offset), .length = htole32((uint32_t)length),
	};
	int at = pci_add_capability(&pci->function, PCI_CAP_ID_VNDR, size);

	if (at < 0)
		return at;
	/* The first two bytes are the list's own. */
	memcpy(&pci->function.config[at + 2], (char *)&cap + 2, sizeof(cap) - 2);
	return at;
}

static int add_capabilities(struct virtio_pci *pci)
{
	uint8_t *config = pci->function.config, *mask = pci->function.write_mask;
	le32 multiplier = le32_of(NOTIFY_MULTIPLIER);
	int at = add_vendor_capability(pci, VIRTIO_PCI_CAP_COMMON_CFG, 16, COMMON_OFFSET, COMMON_SIZE);

	if (at >= 0)
		at = add_vendor_capability(pci, VIRTIO_PCI_CAP_ISR_CFG, 16, ISR_OFFSET, 1);
	if (at >= 0)
		at = add_vendor_capability(pci, VIRTIO_PCI_CAP_DEVICE_CFG, 16, DEVICE_OFFSET, PAGE);
	if (at >= 0)
		at = add_vendor_capability(pci, VIRTIO_PCI_CAP_NOTIFY_CFG, 20, NOTIFY_OFFSET,
					   (uint64_t)pci->device->queue_count * NOTIFY_MULTIPLIER);
	if (at >= 0) {
		memcpy(&config[at + 16], &multiplier, sizeof(multiplier));
		at = add_vendor_capability(pci, VIRTIO_PCI_CAP_PCI_CFG, 20, 0, 0);
	}
	if (at < 0)
		return at;
	/* 4.1.4.9: bar, offset, length and the data window are the driver's to write. */
	pci->window = (uint8_t)at;
	mask[at + 4] = 0xff;
	memset(&mask[at + 8], 0xff, 12);
	return 0;
}

/* Where the PCI_CFG window points, if that is a place in the modern BAR. */
static bool window_target(struct virtio_pci *pci, uint64_t *offset, unsigned int *size)
{
	unsigned int length = (unsigned int)pci_config_get(&pci->function, pci->window + 12U, 4);

	*offset = pci_config_get(&pci->function, pci->window + 8U, 4);
	*size = length;
	return pci_config_get(&pci->function, pci->window + 4U, 1) == MODERN_BAR &&
	       (length == 1 || length == 2 || length == 4) && !(*offset & (length - 1)) &&
	       range_contains(0, BAR_SIZE, *offset, length);
}

static void window_read(struct pci_device *function, unsigned int offset, unsigned int size)
{
	struct virtio_pci *pci = container_of(function, struct virtio_pci, function);
	unsigned int length;
	uint64_t target;

	if (!pci->window || !ranges_overlap(offset, size, pci->window + 16U, 4) || !window_target(pci, &target, &length))
		return;
	pci_config_put(function, pci->window + 16U, length, modern_read(pci, target, length));
}

static void window_write(struct pci_device *function, unsigned int offset, unsigned int size)
{
	struct virtio_pci *pci = container_of(function, struct virtio_pci, function);
	unsigned int length;
	uint64_t target;

	if (!pci->window || !ranges_overlap(offset, size, pci->window + 16U, 4) || !window_target(pci, &target, &length))
		return;
	modern_write(pci, target, pci_config_get(function, pci->window + 16U, length), length);
}

static const struct pci_device_ops function_ops = {
	.config_read = window_read,
	.config_write = window_write,
	.msix_changed = virtio_pci_msix_changed,
};

/* ---- the transport's side: both transports ---- */

static void virtio_pci_reset(struct virtio_device *device)
{
	struct virtio_pci *pci = device->transport;

	pthread_mutex_lock(&pci->lock);
	pci->device_features_sel = pci->driver_features_sel = 0;
	pci->queue_sel = 0;
	pci->driver_features = 0;
	atomic_store(&pci->config_vector, VIRTIO_MSI_NO_VECTOR);
	for (unsigned int i = 0; i < device->queue_count; i++)
		queue_registers_reset_locked(&pci->queues[i]);
	pthread_mutex_unlock(&pci->lock);
	atomic_store(&pci->isr, 0);
	pci_intx_set(&pci->function, false);
}

static const struct state_field pci_fields[] = {
	STATE_U8(struct virtio_pci, isr),
	STATE_U16(struct virtio_pci, config_vector),
	STATE_U32(struct virtio_pci, device_features_sel),
	STATE_U32(struct virtio_pci, driver_features_sel),
	STATE_U16(struct virtio_pci, queue_sel),
	STATE_U64(struct virtio_pci, driver_features),
};
STATE_TABLE(pci_table, "virtio-pci", 1, pci_fields);

static const struct state_field queue_fields[] = {
	STATE_U64(struct virtio_pci_queue, desc),
	STATE_U64(struct virtio_pci_queue, avail),
	STATE_U64(struct virtio_pci_queue, used),
	STATE_U16(struct virtio_pci_queue, size),
	STATE_U32(struct virtio_pci_queue, pfn),
	STATE_U16(struct virtio_pci_queue, vector),
};
STATE_TABLE(queue_table, "virtio-pci queue", 1, queue_fields);

static void virtio_pci_save(struct virtio_device *device, struct state_writer *writer)
{
	struct virtio_pci *pci = device->transport;

	state_save(writer, &pci_table, pci);
	for (unsigned int i = 0; i < device->queue_count; i++)
		state_save(writer, &queue_table, &pci->queues[i]);
}

static int virtio_pci_load(struct virtio_device *device, struct state_reader *reader)
{
	struct virtio_pci *pci = device->transport;
	int result = state_load(reader, &pci_table, pci);

	for (unsigned int i = 0; i < device->queue_count && !result; i++)
		result = state_load(reader, &queue_table, &pci->queues[i]);
	/* Vectors are only ever stored after this check. */
	atomic_store(&pci->config_vector, virtio_pci_check_vector(pci, atomic_load(&pci->config_vector)));
	for (unsigned int i = 0; i < device->queue_count; i++)
		atomic_store(&pci->queues[i].vector, virtio_pci_check_vector(pci, atomic_load(&pci->queues[i].vector)));
	/* The bus was loaded before; the reset that begins each load took the line down again. */
	pci_intx_set(&pci->function, atomic_load(&pci->isr) != 0);
	return result;
}

static void virtio_pci_free(struct virtio_pci *pci)
{
	pci_device_del(&pci->function);
	pthread_mutex_destroy(&pci->lock);
	free(pci->doorbells);
	free(pci->queues);
	free(pci);
}

static void virtio_pci_del(struct virtio_device *device)
{
	virtio_pci_free(device->transport);
	device->transport = NULL;
}

static const struct virtio_transport_ops virtio_pci_ops = {
	.name = "pci",
	.interrupt_queue = virtio_pci_interrupt_queue,
	.interrupt_config = virtio_pci_interrupt_config,
	.interrupt_fd = virtio_pci_interrupt_fd,
	.reset = virtio_pci_reset,
	.save = virtio_pci_save,
	.load = virtio_pci_load,
	.del = virtio_pci_del,
};

/* ---- life ---- */

static void fill_identity(struct virtio_pci *pci, bool legacy)
{
	struct pci_device *function = &pci->function;
	const struct virtio_device_ops *ops = pci->device->ops;

	function->name = pci->device->device.name;
	function->bridge = pci->device->bridge;
	function->ops = &function_ops;
	function->vendor_id = 0x1af4;
	function->subsystem_vendor_id = 0x1af4;
	function->class_code = ops->class_code ? ops->class_code : 0x00ff00;
	function->intx = true;
	if (legacy) {
		function->device_id = virtio_pci_legacy_id(ops->id);
		function->subsystem_id = ops->id;
		function->revision = 0;
	} else {
		function->device_id = (uint16_t)(0x1040 + ops->id);
		function->subsystem_id = (uint16_t)(0x1040 + ops->id);
		function->revision = 1;
	}
}

static int add_modern_bar(struct virtio_pci *pci)
{
	struct virtio_device *device = pci->device;
	int result = add_capabilities(pci);

	if (result)
		return result;
	region_init_io(&pci->region, device->device.name, &modern_ops, pci, BAR_SIZE);
	for (unsigned int i = 0; i < device->queue_count && !result; i++) {
		pci->doorbells[i] = (struct doorbell){ .offset = NOTIFY_OFFSET + (uint64_t)i * NOTIFY_MULTIPLIER,
						       .fd = device->kicks[i].fd };
		result = region_add_doorbell(&pci->region, &pci->doorbells[i]);
	}
	pci->function.bars[MODERN_BAR] = (struct pci_bar){ .kind = PCI_BAR_MEM64, .prefetch = true, .region = &pci->region };
	return result;
}

int virtio_pci_add(struct virtio_device *device, const struct virtio_transport *transport)
{
	struct pci_bus *bus = pci_bus(device->kvm);
	struct virtio_pci *pci = bus ? calloc(1, sizeof(*pci)) : NULL;
	int result;

	if (!pci)
		return log_errno(bus ? ENOMEM : ENODEV, "%s", device->device.name);
	pci->device = device;
	pthread_mutex_init(&pci->lock, NULL);
	pci->queues = calloc(device->queue_count, sizeof(*pci->queues));
	pci->doorbells = calloc(device->queue_count, sizeof(*pci->doorbells));
	fill_identity(pci, transport->legacy);
	result = !pci->queues || !pci->doorbells ? log_errno(ENOMEM, "%s", device->device.name) :
		 transport->legacy ? virtio_pci_add_legacy_bar(pci) : add_modern_bar(pci);
	/* what is behind a root port is PCI Express */
	if (!result && device->bridge)
		result = MIN(pci_add_express(&pci->function, PCI_EXP_TYPE_ENDPOINT), 0);
	if (!result)
		result = pci_device_add(bus, &pci->function, -1, device->queue_count + 1, MSIX_BAR);
	if (result) {
		virtio_pci_free(pci);
		return result;
	}
	device->transport = pci;
	device->transport_ops = &virtio_pci_ops;
	virtio_pci_reset(device);
	return 0;
}

static struct virtio_transport pci_transport = { .name = "pci", .add = virtio_pci_add };
VIRTIO_TRANSPORT(pci_transport);
