/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A CD-ROM drive from outside: what the host does to its tray and its disc, and what clients hear of the tray, whoever
 * moved it. The unit belongs to the controller's loop; clients are told by work on the main loop.
 */
#include "kvm/control.h"
#include "virtio/scsi.h"

static struct scsi_unit_slot *slot_of(struct disk_owner *owner)
{
	return container_of(owner, struct scsi_unit_slot, owner);
}

static struct scsi *scsi_of(const struct scsi_unit_slot *slot)
{
	return container_of(slot->unit.bus, struct scsi, bus);
}

/* ---- what clients hear ---- */

/* It opens and shuts in turns, so that an odd number of moves is an open one. */
static void tray_tell(struct event_work *work)
{
	struct scsi_unit_slot *slot = container_of(work, struct scsi_unit_slot, tray_work);
	uint32_t moves = atomic_load(&slot->tray_moves);

	/* a guest that plays with it makes two events, not thousands */
	if (moves - slot->tray_told > 2)
		slot->tray_told = moves - 2;
	while (slot->tray_told != moves) {
		slot->tray_told++;
		control_event(slot->owner.kvm, "DEVICE_TRAY_MOVED",
			      json_pack("{s:s,s:s,s:b}", "device", slot->name, "id", slot->name, "tray-open", slot->tray_told & 1));
	}
}

void scsi_drive_look(struct scsi_unit_slot *slot)
{
	bool open = atomic_load(&slot->tray_moves) & 1;

	if (!slot->owner.drive || open == slot->unit.tray_open)
		return;
	atomic_fetch_add(&slot->tray_moves, 1);
	event_work_post(&slot->tray_work);
}

/* ---- what the host does ---- */

struct drive_call {
	struct scsi_unit_slot *slot;
	struct disk *disk;
	bool force, open;
	int result;
};

static struct drive_call drive_call(struct disk_owner *owner, void (*function)(void *opaque), bool force, struct disk *disk)
{
	struct drive_call call = { .slot = slot_of(owner), .force = force, .disk = disk };

	event_loop_call(scsi_of(call.slot)->device.loop, function, &call);
	return call;
}

static void open_on_loop(void *opaque)
{
	struct drive_call *call = opaque;

	call->result = scsi_unit_open_tray(&call->slot->unit, call->force);
}

static int drive_open_tray(struct disk_owner *owner, bool force)
{
	return drive_call(owner, open_on_loop, force, NULL).result;
}

static void close_on_loop(void *opaque)
{
	scsi_unit_close_tray(&((struct drive_call *)opaque)->slot->unit);
}

static void drive_close_tray(struct disk_owner *owner)
{
	drive_call(owner, close_on_loop, false, NULL);
}

static void look_on_loop(void *opaque)
{
	struct drive_call *call = opaque;

	call->open = call->slot->unit.tray_open;
}

static bool drive_tray_is_open(struct disk_owner *owner)
{
	return drive_call(owner, look_on_loop, false, NULL).open;
}

static void exchange_on_loop(void *opaque)
{
	struct drive_call *call = opaque;
	struct scsi *scsi = scsi_of(call->slot);

	scsi_unit_exchange(&call->slot->unit, call->disk);
	/* while it is quiesced nothing of the guest's may change: what was cancelled ends when the device resumes */
	if (scsi->device.quiesced)
		return;
	scsi_requests_end(scsi);
	scsi_batch_done(scsi);
}

static int drive_exchange(struct disk_owner *owner, struct disk *disk)
{
	struct scsi_unit_slot *slot = slot_of(owner);
	struct scsi *scsi = scsi_of(slot);
	struct disk *old = slot->unit.disk;
	int result = scsi_check_disc(disk);

	if (!result)
		result = disk_attach(disk, scsi->device.loop, scsi_batch_done, scsi);
	if (result)
		return result;
	disk_set_owner(disk, owner);
	drive_call(owner, exchange_on_loop, false, disk);
	disk_set_owner(old, NULL);
	disk_detach(old);
	return 0;
}

static const struct disk_drive_ops drive_ops = {
	.open_tray = drive_open_tray,
	.close_tray = drive_close_tray,
	.tray_is_open = drive_tray_is_open,
	.exchange = drive_exchange,
};

/* ---- life ---- */

void scsi_drive_init(struct scsi_unit_slot *slot)
{
	slot->owner.drive = &drive_ops;
	event_work_init(slot->owner.kvm->loop, &slot->tray_work, tray_tell);
}

void scsi_drive_exit(struct scsi_unit_slot *slot)
{
	if (slot->owner.drive)
		event_work_cancel(&slot->tray_work);
}
