/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-scsi: a SCSI controller with disks and CD-ROM drives (VirtIO 1.3, 5.6).
 *
 * This is the device: its config, its life, its state. Commands come by virtio/scsi-request.c, what else a driver wants
 * by virtio/scsi-control.c, and what commands do stands in hw/scsi*.c. Which controllers a VM has is virtio/scsi-setup.c's.
 */
#include "virtio/scsi.h"

#include <stddef.h>
#include <string.h>

bool scsi_find_lun(const struct scsi *scsi, const uint8_t lun[8], uint8_t *target, struct scsi_unit **unit)
{
	static const uint8_t zero[4];
	uint16_t number;

	*unit = NULL;
	*target = lun[1];
	/* 5.6.6.1: 1, the target, a single level LUN, zeroes */
	if (lun[0] != 1 || memcmp(lun + 4, zero, 4) || !scsi_bus_has_target(&scsi->bus, lun[1]))
		return false;
	if (scsi_lun_decode(lun + 2, &number))
		*unit = scsi_bus_find(&scsi->bus, lun[1], number);
	return true;
}

struct scsi_unit_slot *scsi_slot_of(struct scsi_unit *unit)
{
	return container_of(unit, struct scsi_unit_slot, unit);
}

/* ---- queues ---- */

void scsi_submit_all(struct scsi *scsi)
{
	for (size_t i = 0; i < scsi->count; i++)
		disk_submit(scsi->slots[i].unit.disk);
}

void scsi_batch_done(void *opaque)
{
	struct scsi *scsi = opaque;

	/* commands that were ended come back before what ended them */
	for (unsigned int i = 0; scsi->pushed && i < scsi->device.queue_count; i++)
		if (scsi->pushed & BIT(i))
			virtqueue_flush(&scsi->device.queues[i]);
	scsi->pushed = 0;
	if (!scsi->functions)
		return;
	scsi_functions_end(scsi);
	virtqueue_flush(&scsi->device.queues[SCSI_QUEUE_CONTROL]);
	scsi->pushed = 0;
}

void scsi_bus_batch(struct scsi_bus *bus)
{
	scsi_batch_done(container_of(bus, struct scsi, bus));
}

static void scsi_handle_queue(struct virtio_device *device, struct virtqueue *vq)
{
	struct scsi *scsi = container_of(device, struct scsi, device);

	if (vq->index == SCSI_QUEUE_CONTROL)
		scsi_handle_control(scsi, vq);
	else if (vq->index == SCSI_QUEUE_EVENT)
		scsi_handle_event_queue(scsi, vq);
	else
		scsi_handle_requests(scsi, vq);
}

/* ---- config ---- */

static void scsi_config_read(struct virtio_device *device, size_t offset, void *buffer, size_t size)
{
	struct scsi *scsi = container_of(device, struct scsi, device);
	struct virtio_scsi_config config = scsi->config;

	config.sense_size = htole32(atomic_load(&scsi->sense_size));
	config.cdb_size = htole32(atomic_load(&scsi->cdb_size));
	memcpy(buffer, (const char *)&config + offset, size);
}

/* Whole fields only, and what is outside of their ranges changes nothing. */
static void scsi_config_write(struct virtio_device *device, size_t offset, const void *buffer, size_t size)
{
	struct scsi *scsi = container_of(device, struct scsi, device);
	uint32_t value;

	if (size != sizeof(value))
		return;
	memcpy(&value, buffer, sizeof(value));
	value = le32toh(value);
	if (offset == offsetof(struct virtio_scsi_config, sense_size) && value <= SCSI_SENSE_SIZE_MAX)
		atomic_store(&scsi->sense_size, value);
	if (offset == offsetof(struct virtio_scsi_config, cdb_size) && value <= SCSI_CDB_SIZE_MAX)
		atomic_store(&scsi->cdb_size, value);
}

/* ---- reset, save and load ---- */

void scsi_power_on(struct scsi *scsi)
{
	atomic_store(&scsi->sense_size, VIRTIO_SCSI_SENSE_DEFAULT_SIZE);
	atomic_store(&scsi->cdb_size, VIRTIO_SCSI_CDB_DEFAULT_SIZE);
	scsi->missed = false;
	for (size_t i = 0; i < scsi->count; i++) {
		scsi_unit_power_on(&scsi->slots[i].unit);
		scsi_drive_look(&scsi->slots[i]);
		scsi->slots[i].subscribed = 0;
	}
}

static void scsi_reset(struct virtio_device *device)
{
	struct scsi *scsi = container_of(device, struct scsi, device);

	/* commands of many steps end at their next */
	for (struct scsi_request *request = scsi->flying; request; request = request->next)
		request->command.cancelled = true;
	scsi_bus_drain(&scsi->bus);
	scsi_requests_end(scsi);
	scsi_batch_done(scsi);
	scsi_requests_free(scsi);
	virtio_waiting_free(&scsi->waiting);
	scsi_power_on(scsi);
}

/* Commands of it that are kept end, in the ring that is there still. */
static void scsi_queue_reset(struct virtio_device *device, struct virtqueue *vq)
{
	struct scsi *scsi = container_of(device, struct scsi, device);

	for (struct scsi_request *request = scsi->flying; request; request = request->next)
		if (request->vq == vq)
			request->command.cancelled = true;
	scsi_requests_end(scsi);
	scsi_batch_done(scsi);
}

static int scsi_quiesce(struct virtio_device *device)
{
	scsi_bus_drain(&container_of(device, struct scsi, device)->bus);
	return 0;
}

static void scsi_resume(struct virtio_device *device)
{
	scsi_requests_resume(container_of(device, struct scsi, device));
}

static const struct state_field scsi_fields[] = {
	STATE_U32_MAX(struct scsi, sense_size, SCSI_SENSE_SIZE_MAX),
	STATE_U32_MAX(struct scsi, cdb_size, SCSI_CDB_SIZE_MAX),
	STATE_U8_MAX(struct scsi, missed, 1),
};
STATE_TABLE(scsi_table, "virtio-scsi", 1, scsi_fields);

static const struct state_field unit_fields[] = {
	STATE_U8(struct scsi_unit_slot, unit.target),
	STATE_U16(struct scsi_unit_slot, unit.lun),
	STATE_U8_MAX(struct scsi_unit_slot, unit.attention, SCSI_ATTENTION_ALL),
	STATE_U8_MAX(struct scsi_unit_slot, unit.write_back, 1),
	STATE_U8_MAX(struct scsi_unit_slot, unit.stopped, 1),
	STATE_U8_MAX(struct scsi_unit_slot, unit.tray_open, 1),
	STATE_U8_MAX(struct scsi_unit_slot, unit.tray_locked, 1),
	STATE_U8_MAX(struct scsi_unit_slot, unit.media_event, 3),
	STATE_U8(struct scsi_unit_slot, subscribed),
};
STATE_TABLE(unit_table, "scsi-unit", 1, unit_fields);

#define WAITING_SECTION	"virtio-scsi waiting"

static void scsi_save(struct virtio_device *device, struct state_writer *writer)
{
	struct scsi *scsi = container_of(device, struct scsi, device);
	struct virtio_waiting kept = { 0 };

	state_save(writer, &scsi_table, scsi);
	for (size_t i = 0; i < scsi->count; i++)
		state_save(writer, &unit_table, &scsi->slots[i]);
	if (scsi_requests_waiting(scsi, &kept))
		writer->error = -ENOMEM;
	/* what was loaded waits in place of what was kept, until the device resumes */
	virtio_waiting_save(scsi->waiting.count ? &scsi->waiting : &kept, WAITING_SECTION, writer);
	virtio_waiting_free(&kept);
}

/* Only what the unit can be in; another machine's units are none of ours. */
static int unit_load(struct scsi_unit_slot *slot, struct state_reader *reader)
{
	struct scsi_unit_slot loaded = { 0 };
	bool cdrom = scsi_unit_is_cdrom(&slot->unit);
	int result = state_load(reader, &unit_table, &loaded);

	if (result)
		return result;
	if (loaded.unit.target != slot->unit.target || loaded.unit.lun != slot->unit.lun)
		return log_error(EINVAL, "saved state: the SCSI unit of target %u, LUN %u, and here is that of %u, %u",
				 loaded.unit.target, loaded.unit.lun, slot->unit.target, slot->unit.lun);
	if (cdrom ? loaded.unit.stopped || (loaded.subscribed & ~0x10) :
		    loaded.unit.tray_open || loaded.unit.tray_locked || loaded.unit.media_event || loaded.subscribed)
		return log_error(EINVAL, "saved state: the SCSI unit of target %u, LUN %u is of another kind", slot->unit.target,
				 slot->unit.lun);
	slot->unit.attention = loaded.unit.attention;
	slot->unit.write_back = loaded.unit.write_back;
	slot->unit.stopped = loaded.unit.stopped;
	slot->unit.tray_open = loaded.unit.tray_open;
	slot->unit.tray_locked = loaded.unit.tray_locked;
	slot->unit.media_event = loaded.unit.media_event;
	slot->subscribed = loaded.subscribed;
	scsi_drive_look(slot);
	return 0;
}

static int scsi_load(struct virtio_device *device, struct state_reader *reader)
{
	struct scsi *scsi = container_of(device, struct scsi, device);
	int result = state_load(reader, &scsi_table, scsi);

	for (size_t i = 0; i < scsi->count && !result; i++)
		result = unit_load(&scsi->slots[i], reader);
	return result ? result : virtio_waiting_load(&scsi->waiting, WAITING_SECTION, device, SCSI_QUEUE_REQUESTS, reader);
}

const struct virtio_device_ops scsi_ops = {
	.name		= "virtio-scsi",
	.id		= VIRTIO_ID_SCSI,
	.class_code	= 0x010000,
	.queues		= SCSI_QUEUE_REQUESTS + 1,
	.queue_size	= SCSI_QUEUE_SIZE,
	.config_size	= sizeof(struct virtio_scsi_config),
	.handle_queue	= scsi_handle_queue,
	.config_read	= scsi_config_read,
	.config_write	= scsi_config_write,
	.reset		= scsi_reset,
	.queue_reset	= scsi_queue_reset,
	.quiesce	= scsi_quiesce,
	.resume		= scsi_resume,
	.save		= scsi_save,
	.load		= scsi_load,
};
