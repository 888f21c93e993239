/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A drive of CD-ROMs and DVD-ROMs with an ISO image in it: the commands of MMC-6 that such a drive has. One data track
 * of blocks of 2048 bytes, read only; a tray that opens and closes over the image, and can be locked. From outside, the
 * host opens and closes it too, and puts another image in, or none.
 */
#include "hw/scsi.h"

static enum scsi_sense cdrom_not_ready(const struct scsi_unit *unit)
{
	if (unit->tray_open)
		return SENSE_TRAY_OPEN;
	return disk_info(unit->disk)->no_medium ? SENSE_TRAY_SHUT : SENSE_NONE;
}

/* ---- the tray ---- */

static void tray_set(struct scsi_unit *unit, bool open)
{
	bool medium = !disk_info(unit->disk)->no_medium;

	if (unit->tray_open == open)
		return;
	unit->tray_open = open;
	unit->media_event = open ? SCSI_MEDIA_REMOVED : medium ? SCSI_MEDIA_NEW : 0;
	if (!open && medium)
		unit->attention |= SCSI_ATTENTION_MEDIUM;
	if (unit->bus->changed)
		unit->bus->changed(unit, SCSI_CHANGE_MEDIUM);
}

int scsi_unit_open_tray(struct scsi_unit *unit, bool force)
{
	if (!unit->tray_open && unit->tray_locked && !force) {
		unit->media_event = SCSI_MEDIA_EJECT;
		if (unit->bus->changed)
			unit->bus->changed(unit, SCSI_CHANGE_MEDIUM);
		return -EBUSY;
	}
	if (force)
		unit->tray_locked = 0;
	tray_set(unit, true);
	return 0;
}

void scsi_unit_close_tray(struct scsi_unit *unit)
{
	tray_set(unit, false);
}

/*
 * What waits for the VM to go on wanted the other disc. It is kept as cancelled, since the guest must not see an end of it
 * while it stands still.
 */
void scsi_unit_exchange(struct scsi_unit *unit, struct disk *disk)
{
	struct disk_request *io;

	scsi_bus_drain(unit->bus);
	while ((io = disk_take_kept(unit->disk))) {
		container_of(io, struct scsi_command, io)->cancelled = true;
		disk_keep(disk, io);
	}
	unit->disk = disk;
}

/* MMC-6, 6.42. The image turns as fast as it may: starting and stopping alone change nothing. */
static void cdrom_start_stop(struct scsi_command *command)
{
	struct scsi_unit *unit = command->unit;
	bool power_condition = command->cdb[4] >> 4, load_eject = command->cdb[4] & 0x02, start = command->cdb[4] & 0x01;

	if (power_condition || !load_eject) {
		scsi_good(command);
		return;
	}
	if (!start && !unit->tray_open && unit->tray_locked) {
		scsi_check(command, SENSE_LOCKED);
		return;
	}
	tray_set(unit, !start);
	scsi_good(command);
}

static void cdrom_prevent_removal(struct scsi_command *command)
{
	command->unit->tray_locked = command->cdb[4] & 0x01;
	scsi_good(command);
}

/* ---- the disc ---- */

/* MMC-6, 6.18: user data of whole data blocks alone; there is nothing else in an image. */
static void cdrom_read_cd(struct scsi_command *command)
{
	uint8_t type = command->cdb[1] >> 2 & 7, what = command->cdb[9] & 0xfe;
	uint32_t blocks = (uint32_t)command->cdb[6] << 16 | be16_load(command->cdb + 7);

	if (type != 0 && type != 2)
		scsi_check(command, SENSE_MODE_FOR_TRACK);
	else if ((what && what != 0x10) || (command->cdb[10] & 7))
		scsi_check_cdb(command, what && what != 0x10 ? 9 : 10);
	else
		scsi_transfer(command, be32_load(command->cdb + 2), what ? blocks : 0, false, false);
}

static void cdrom_seek(struct scsi_command *command)
{
	if (scsi_range_ok(command, be32_load(command->cdb + 2), 1))
		scsi_good(command);
}

static void cdrom_set_speed(struct scsi_command *command)
{
	scsi_good(command);
}

static const struct scsi_operation operations[] = {
	{ 0x00, SCSI_NEEDS_MEDIUM, 0, scsi_test_unit_ready },
	{ 0x03, SCSI_WITHOUT_ATTENTION, 0, scsi_request_sense },
	{ 0x08, SCSI_NEEDS_MEDIUM, 0, scsi_read },
	{ 0x12, SCSI_WITHOUT_ATTENTION, 0, scsi_inquiry },
	{ 0x15, 0, 0, scsi_mode_select },
	{ 0x1a, 0, 0, scsi_mode_sense },
	{ 0x1b, 0, 0, cdrom_start_stop },
	{ 0x1e, 0, 0, cdrom_prevent_removal },
	{ 0x25, SCSI_NEEDS_MEDIUM, 0, scsi_read_capacity },
	{ 0x28, SCSI_NEEDS_MEDIUM, 0, scsi_read },
	{ 0x2b, SCSI_NEEDS_MEDIUM, 0, cdrom_seek },
	{ 0x35, SCSI_NEEDS_MEDIUM, 0, scsi_flush },
	{ 0x43, SCSI_NEEDS_MEDIUM, 0, scsi_cdrom_read_toc },
	{ 0x46, SCSI_WITHOUT_ATTENTION, 0, scsi_cdrom_get_configuration },
	{ 0x4a, SCSI_WITHOUT_ATTENTION, 0, scsi_cdrom_get_event_status },
	{ 0x51, SCSI_NEEDS_MEDIUM, 0, scsi_cdrom_read_disc_information },
	{ 0x52, SCSI_NEEDS_MEDIUM, 0, scsi_cdrom_read_track_information },
	{ 0x55, 0, 0, scsi_mode_select },
	{ 0x5a, 0, 0, scsi_mode_sense },
	{ 0xa0, SCSI_WITHOUT_ATTENTION, 0, scsi_report_luns },
	{ 0xa8, SCSI_NEEDS_MEDIUM, 0, scsi_read },
	{ 0xbb, 0, 0, cdrom_set_speed },
	{ 0xbd, 0, 0, scsi_cdrom_mechanism_status },
	{ 0xbe, SCSI_NEEDS_MEDIUM, 0, cdrom_read_cd },
};

static const uint8_t vpd_pages[] = { 0x00, 0x80, 0x83, 0 };
static const uint8_t mode_pages[] = { 0x01, 0x2a, 0 };

const struct scsi_unit_type scsi_cdrom_type = {
	.peripheral = 0x05, .removable = true, .product = "LKVM CD-ROM     ", .not_ready = cdrom_not_ready,
	.vpd_pages = vpd_pages, .mode_pages = mode_pages, .operations = operations, .operation_count = ARRAY_SIZE(operations),
};
