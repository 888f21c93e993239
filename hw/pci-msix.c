/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MSI-X (PCI Local Bus 3.0, 6.8.2): the table and pending bits in a BAR, vectors on irqfds.
 *
 * A vector's eventfd exists from the start and is bound to KVM only while the vector can fire. What is raised
 * meanwhile counts up in the eventfd, which is the pending bit; binding it delivers. So raising needs neither
 * lock nor look at the mask. The bus lock guards everything else here.
 */
#include <string.h>

#include "hw/pci.h"
#include "kvm/log.h"

#define ENTRY_SIZE	16
#define ENTRY_MASKED	PCI_MSIX_ENTRY_CTRL_MASKBIT

static bool vector_may_fire(const struct pci_msix *msix, const struct pci_msix_vector *vector)
{
	return msix->enabled && !msix->masked && !(vector->control & ENTRY_MASKED);
}

static void vector_update_locked(struct pci_device *device, unsigned int index)
{
	struct pci_msix_vector *vector = &device->msix.vectors[index];
	uint64_t address = (uint64_t)vector->address_high << 32 | vector->address_low;

	vector->message.device_id = pci_requester_id(device);
	if (!vector_may_fire(&device->msix, vector)) {
		irq_message_unroute(&vector->message);
	} else if (irq_message_route(&vector->message, address, vector->data)) {
		log_debug("PCI %s: vector %u can't be routed", device->name, index);
	} else if (vector->pending) {
		vector->pending = false;
		irq_message_raise(&vector->message);
	}
	if (device->ops && device->ops->msix_changed)
		device->ops->msix_changed(device, index);
}

void pci_msix_update_locked(struct pci_device *device)
{
	struct pci_msix *msix = &device->msix;
	const uint8_t *control = &device->config[msix->capability + PCI_MSIX_FLAGS];
	uint16_t flags = (uint16_t)(control[0] | control[1] << 8);

	/* Read without the lock by pci_msix_enabled(). */
	__atomic_store_n(&msix->enabled, (flags & PCI_MSIX_FLAGS_ENABLE) != 0, __ATOMIC_RELAXED);
	msix->masked = flags & PCI_MSIX_FLAGS_MASKALL;
	for (unsigned int i = 0; i < msix->count; i++)
		vector_update_locked(device, i);
}

bool pci_msix_enabled(const struct pci_device *device)
{
	return device->msix.count && __atomic_load_n(&device->msix.enabled, __ATOMIC_RELAXED);
}

void pci_msix_raise(struct pci_device *device, unsigned int vector)
{
	if (vector < device->msix.count)
		irq_message_raise(&device->msix.vectors[vector].message);
}

/* ---- table and pending bits ---- */

static uint32_t *table_word(struct pci_msix_vector *vector, uint64_t offset)
{
	switch (offset & (ENTRY_SIZE - 1)) {
	case PCI_MSIX_ENTRY_LOWER_ADDR:	return &vector->address_low;
	case PCI_MSIX_ENTRY_UPPER_ADDR:	return &vector->address_high;
	case PCI_MSIX_ENTRY_DATA:	return &vector->data;
	default:			return &vector->control;
	}
}

/* Moves what the eventfd counted while unbound into the flag, where it can be looked at. */
static bool vector_pending_locked(const struct pci_msix *msix, struct pci_msix_vector *vector)
{
	if (!vector_may_fire(msix, vector) && irq_message_consume(&vector->message))
		vector->pending = true;
	return vector->pending;
}

static uint32_t pending_word_locked(struct pci_msix *msix, unsigned int first)
{
	uint32_t word = 0;

	for (unsigned int i = 0; i < 32 && first + i < msix->count; i++)
		if (vector_pending_locked(msix, &msix->vectors[first + i]))
			word |= 1U << i;
	return word;
}

static uint64_t msix_read(struct pci_device *device, uint64_t offset, unsigned int size)
{
	struct pci_msix *msix = &device->msix;
	uint32_t value = 0;

	(void)size;
	pthread_mutex_lock(&device->bus->lock);
	if (offset < (uint64_t)msix->count * ENTRY_SIZE)
		value = *table_word(&msix->vectors[offset / ENTRY_SIZE], offset);
	else if (offset >= msix->pba_offset)
		value = pending_word_locked(msix, (unsigned int)(offset - msix->pba_offset) * 8);
	pthread_mutex_unlock(&device->bus->lock);
	return value;
}

static void msix_write(struct pci_device *device, uint64_t offset, uint64_t value, unsigned int size)
{
	struct pci_msix *msix = &device->msix;
	unsigned int index = (unsigned int)(offset / ENTRY_SIZE);
	uint32_t *word;

	(void)size;
	if (offset >= (uint64_t)msix->count * ENTRY_SIZE)
		return;
	pthread_mutex_lock(&device->bus->lock);
	word = table_word(&msix->vectors[index], offset);
	*word = (uint32_t)value;
	if (word == &msix->vectors[index].address_low)
		*word &= ~3U;
	if (word == &msix->vectors[index].control)
		*word &= ENTRY_MASKED;
	vector_update_locked(device, index);
	pthread_mutex_unlock(&device->bus->lock);
}
IO_OPS(msix_ops, struct pci_device, msix_read, msix_write, 4, 4);

/* ---- state ---- */

void pci_msix_reset_locked(struct pci_device *device)
{
	struct pci_msix *msix = &device->msix;

	for (unsigned int i = 0; i < msix->count; i++) {
		struct pci_msix_vector *vector = &msix->vectors[i];

		vector->address_low = vector->address_high = vector->data = 0;
		vector->control = ENTRY_MASKED;
	}
	pci_msix_update_locked(device);
	for (unsigned int i = 0; i < msix->count; i++) {
		irq_message_consume(&msix->vectors[i].message);
		msix->vectors[i].pending = false;
	}
}

static const struct state_field vector_fields[] = {
	STATE_U32(struct pci_msix_vector, address_low),
	STATE_U32(struct pci_msix_vector, address_high),
	STATE_U32(struct pci_msix_vector, data),
	STATE_U32_MAX(struct pci_msix_vector, control, 1),
	STATE_BOOL(struct pci_msix_vector, pending),
};
STATE_TABLE(vector_table, "MSI-X vector", 1, vector_fields);

void pci_msix_save_locked(struct pci_device *device, struct state_writer *writer)
{
	for (unsigned int i = 0; i < device->msix.count; i++) {
		vector_pending_locked(&device->msix, &device->msix.vectors[i]);
		state_save(writer, &vector_table, &device->msix.vectors[i]);
	}
}

int pci_msix_load_locked(struct pci_device *device, struct state_reader *reader)
{
	int result = 0;

	for (unsigned int i = 0; i < device->msix.count && !result; i++)
		result = state_load(reader, &vector_table, &device->msix.vectors[i]);
	pci_msix_update_locked(device);
	return result;
}

/* ---- life ---- */

static int msix_make_vectors(struct pci_device *device, unsigned int count)
{
	struct pci_msix *msix = &device->msix;

	msix->vectors = calloc(count, sizeof(*msix->vectors));
	if (!msix->vectors)
		return log_errno(ENOMEM, "PCI %s", device->name);
	for (msix->count = 0; msix->count < count; msix->count++) {
		struct pci_msix_vector *vector = &msix->vectors[msix->count];
		int result = irq_message_init(device->bus->kvm, &vector->message, device->devfn);

		if (result)
			return result;
		vector->control = ENTRY_MASKED;
	}
	return 0;
}

int pci_msix_init(struct pci_device *device, unsigned int vectors, unsigned int bar)
{
	struct pci_msix *msix = &device->msix;
	uint64_t size = 4096;
	int capability, result;
	le32 offsets[2];

	if (vectors > PCI_MSIX_MAX)
		return log_error(EINVAL, "PCI %s: %u MSI-X vectors", device->name, vectors);
	result = msix_make_vectors(device, vectors);
	if (result)
		return result;
	capability = pci_add_capability(device, PCI_CAP_ID_MSIX, PCI_CAP_MSIX_SIZEOF);
	if (capability < 0)
		return capability;
	while (size < 2ULL * vectors * ENTRY_SIZE)
		size *= 2;
	msix->bar = bar;
	msix->capability = (uint8_t)capability;
	msix->pba_offset = (uint32_t)(size / 2);
	offsets[0] = le32_of(bar);
	offsets[1] = le32_of(msix->pba_offset | bar);
	device->config[capability + PCI_MSIX_FLAGS] = (uint8_t)(vectors - 1);
	device->config[capability + PCI_MSIX_FLAGS + 1] = (uint8_t)((vectors - 1) >> 8);
	memcpy(&device->config[capability + PCI_MSIX_TABLE], offsets, sizeof(offsets));
	device->write_mask[capability + PCI_MSIX_FLAGS + 1] = (PCI_MSIX_FLAGS_ENABLE | PCI_MSIX_FLAGS_MASKALL) >> 8;
	region_init_io(&msix->region, "msi-x", &msix_ops, device, size);
	device->bars[bar] = (struct pci_bar){ .kind = PCI_BAR_MEM32, .region = &msix->region };
	return 0;
}

void pci_msix_exit(struct pci_device *device)
{
	struct pci_msix *msix = &device->msix;

	for (unsigned int i = 0; i < msix->count; i++)
		irq_message_exit(&msix->vectors[i].message);
	free(msix->vectors);
	msix->vectors = NULL;
	msix->count = 0;
}
