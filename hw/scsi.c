/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The SCSI bus and what all of its units have in common: which unit a command is for, what stands in its way, and the
 * commands of SPC-4 that say what a unit is.
 */
#include "hw/scsi.h"

#include <stdio.h>
#include <string.h>

#include "kvm/log.h"

#define SCSI_VENDOR	"LKVM    "
#define SCSI_REVISION	"1.0 "
#define PERIPHERAL_NONE	0x7f	/* no unit here, and the target can't have one */
#define LUNS_MAX	((size_t)1024)
#define CDROM_BLOCK	2048U

/* ---- the bus ---- */

struct scsi_unit *scsi_bus_find(const struct scsi_bus *bus, uint8_t target, uint16_t lun)
{
	struct scsi_unit *unit = bus->first;

	while (unit && (unit->target != target || unit->lun != lun))
		unit = unit->next;
	return unit;
}

bool scsi_bus_has_target(const struct scsi_bus *bus, uint8_t target)
{
	const struct scsi_unit *unit = bus->first;

	while (unit && unit->target != target)
		unit = unit->next;
	return unit;
}

int scsi_check_disc(const struct disk *disk)
{
	const struct disk_info *info = disk_info(disk);

	if (info->no_medium)
		return 0;
	if (info->block_size > CDROM_BLOCK)
		return log_error(EINVAL, "option --disk: a CD-ROM has blocks of 2048 bytes, and this image of %u (leave ',direct' out)",
				 info->block_size);
	if (info->size < CDROM_BLOCK)
		return log_error(EINVAL, "option --disk: a CD-ROM of less than a block of 2048 bytes");
	return 0;
}

int scsi_bus_add(struct scsi_bus *bus, struct scsi_unit *unit, struct disk *disk, bool cdrom, uint8_t target, uint16_t lun)
{
	const struct disk_info *info = disk_info(disk);
	struct scsi_unit **at = &bus->first;

	if (scsi_bus_find(bus, target, lun))
		return log_error(EEXIST, "option --disk: two have target=%u,lun=%u", target, lun);
	unit->bus = bus;
	unit->disk = disk;
	unit->type = cdrom ? &scsi_cdrom_type : &scsi_disk_type;
	unit->target = target;
	unit->lun = lun;
	unit->block_size = cdrom ? CDROM_BLOCK : info->block_size;
	if (cdrom && scsi_check_disc(disk))
		return -EINVAL;
	while (*at && ((*at)->target < target || ((*at)->target == target && (*at)->lun < lun)))
		at = &(*at)->next;
	unit->next = *at;
	*at = unit;
	scsi_unit_power_on(unit);
	return 0;
}

void scsi_lun_encode(uint8_t bytes[2], uint16_t lun)
{
	/* SAM-5, 4.7: peripheral device addressing where it suffices, else flat space */
	be16_store(bytes, lun < 256 ? lun : (uint16_t)(lun | 0x4000));
}

bool scsi_lun_decode(const uint8_t bytes[2], uint16_t *lun)
{
	uint16_t value = be16_load(bytes);

	*lun = value & 0x3fff;
	return value < 256 || value >> 14 == 1;
}

/* ---- a unit ---- */

bool scsi_unit_is_cdrom(const struct scsi_unit *unit)
{
	return unit->type == &scsi_cdrom_type;
}

void scsi_unit_power_on(struct scsi_unit *unit)
{
	unit->attention = SCSI_ATTENTION_POWER_ON;
	unit->write_back = !disk_info(unit->disk)->write_through;
	unit->stopped = unit->tray_open = unit->tray_locked = unit->media_event = 0;
}

void scsi_unit_reset(struct scsi_unit *unit, uint8_t attention)
{
	unit->attention |= attention;
	unit->write_back = !disk_info(unit->disk)->write_through;
	unit->stopped = unit->tray_locked = 0;
}

void scsi_unit_resized(struct scsi_unit *unit)
{
	unit->attention |= SCSI_ATTENTION_CAPACITY;
	if (unit->bus->changed)
		unit->bus->changed(unit, SCSI_CHANGE_CAPACITY);
}

enum scsi_sense scsi_take_attention(struct scsi_unit *unit)
{
	static const struct { uint8_t bit; enum scsi_sense sense; } attentions[] = {
		{ SCSI_ATTENTION_POWER_ON, SENSE_POWER_ON }, { SCSI_ATTENTION_RESET, SENSE_RESET },
		{ SCSI_ATTENTION_NEXUS, SENSE_NEXUS }, { SCSI_ATTENTION_MEDIUM, SENSE_MEDIUM },
		{ SCSI_ATTENTION_CAPACITY, SENSE_CAPACITY },
	};

	for (size_t i = 0; i < ARRAY_SIZE(attentions); i++) {
		if (!(unit->attention & attentions[i].bit))
			continue;
		unit->attention &= (uint8_t)~attentions[i].bit;
		return attentions[i].sense;
	}
	return SENSE_NONE;
}

/* ---- INQUIRY ---- */

static size_t designator(const struct scsi_unit *unit, uint8_t *data)
{
	const char *serial = disk_info(unit->disk)->serial;
	char text[33];
	int length;

	/* SPC-4, 7.8.6.4: T10 vendor ID based, ASCII, of the unit */
	if (*serial)
		length = snprintf(text, sizeof(text), SCSI_VENDOR "%s", serial);
	else
		length = snprintf(text, sizeof(text), SCSI_VENDOR "%u-%u", unit->target, unit->lun);
	data[0] = 0x02;
	data[1] = 0x01;
	data[2] = 0;
	data[3] = (uint8_t)length;
	memcpy(data + 4, text, (size_t)length);
	return 4 + (size_t)length;
}

static size_t inquiry_page_list(const struct scsi_unit *unit, uint8_t *data)
{
	size_t count = 0;

	for (const uint8_t *page = unit->type->vpd_pages; *page || !count; page++)
		if (*page != 0x80 || *disk_info(unit->disk)->serial)
			data[count++] = *page;
	return count;
}

/* The page behind its header; false: the unit has none of that number. */
static bool inquiry_page(const struct scsi_unit *unit, uint8_t page, uint8_t *data, size_t *length)
{
	const char *serial = disk_info(unit->disk)->serial;

	switch (page) {
	case 0x00:
		*length = inquiry_page_list(unit, data);
		return true;
	case 0x80:
		*length = strlen(serial);
		memcpy(data, serial, *length);
		return *length;
	case 0x83:
		*length = designator(unit, data);
		return true;
	default:
		*length = unit->type->vpd ? unit->type->vpd(unit, page, data) : 0;
		return *length;
	}
}

static void inquiry_vital(struct scsi_command *command)
{
	uint8_t data[4 + 60] = { 0 };
	size_t length;

	if (!command->unit || !inquiry_page(command->unit, command->cdb[2], data + 4, &length)) {
		scsi_check_cdb(command, 2);
		return;
	}
	data[0] = command->unit->type->peripheral;
	data[1] = command->cdb[2];
	be16_store(data + 2, (uint16_t)length);
	scsi_reply(command, data, 4 + length, be16_load(command->cdb + 3));
}

void scsi_inquiry(struct scsi_command *command)
{
	const struct scsi_unit *unit = command->unit;
	uint8_t data[36] = { PERIPHERAL_NONE };

	if (command->cdb[1] & 0x02) {
		scsi_check_cdb(command, 1);
		return;
	}
	if (command->cdb[1] & 0x01) {
		inquiry_vital(command);
		return;
	}
	if (command->cdb[2]) {
		scsi_check_cdb(command, 2);
		return;
	}
	if (unit) {
		data[0] = unit->type->peripheral;
		data[1] = unit->type->removable ? 0x80 : 0;
	}
	data[2] = 6;			/* SPC-4 */
	data[3] = 0x10 | 2;		/* HISUP, the response's format */
	data[4] = sizeof(data) - 5;
	data[7] = 0x02;			/* CMDQUE */
	memcpy(data + 8, SCSI_VENDOR, 8);
	memcpy(data + 16, unit ? unit->type->product : "LKVM            ", 16);
	memcpy(data + 32, SCSI_REVISION, 4);
	scsi_reply(command, data, sizeof(data), be16_load(command->cdb + 3));
}

/* ---- which units there are ---- */

/*
 * Of the command's target, as a LUN has it; or (@all) of the controller, as the transport writes them. LUN 0 is there
 * even where no unit is, since it answers (SPC-4, 6.33).
 */
static size_t report_fill(const struct scsi_command *command, bool all, uint8_t *list)
{
	size_t count = 0;

	for (const struct scsi_unit *unit = command->bus->first; unit && count < LUNS_MAX; unit = unit->next) {
		uint8_t *entry = list + 8 * count;

		if (!all && unit->target != command->target)
			continue;
		if (!all && !count && unit->lun) {
			entry += 8;
			count++;
		}
		if (all) {
			entry[0] = 1;
			entry[1] = unit->target;
		}
		scsi_lun_encode(entry + (all ? 2 : 0), unit->lun);
		count++;
	}
	return count;
}

static void report(struct scsi_command *command, bool all)
{
	uint32_t allocation = be32_load(command->cdb + 6);
	uint8_t kind = command->cdb[2];
	uint8_t *data;
	size_t count = 0;

	if (kind > 2 || allocation < 16) {
		scsi_check_cdb(command, kind > 2 ? 2 : 6);
		return;
	}
	data = calloc(1, 8 + 8 * (LUNS_MAX + 1));
	if (!data) {
		scsi_check(command, SENSE_INTERNAL);
		return;
	}
	/* 1: well known ones only, of which a target has none */
	if (kind != 1)
		count = report_fill(command, all, data + 8);
	be32_store(data, (uint32_t)(8 * count));
	scsi_reply(command, data, 8 + 8 * count, allocation);
	free(data);
}

void scsi_report_luns(struct scsi_command *command)
{
	report(command, false);
}

/* ---- whether it is ready ---- */

void scsi_test_unit_ready(struct scsi_command *command)
{
	scsi_good(command);
}

/* All sense data went with the status, so that there is only what the unit has to say by itself. */
void scsi_request_sense(struct scsi_command *command)
{
	uint8_t data[SCSI_SENSE_MAX];
	enum scsi_sense sense = SENSE_NO_UNIT;
	size_t length;

	if (command->unit) {
		sense = scsi_take_attention(command->unit);
		if (sense == SENSE_NONE)
			sense = command->unit->type->not_ready(command->unit);
	}
	length = command->cdb[1] & 1 ? scsi_build_sense_descriptor(data, sense) : scsi_build_sense(data, sense);
	scsi_reply(command, data, length, command->cdb[4]);
}

/* ---- running a command ---- */

static void command_begin(const struct scsi_bus *bus, struct scsi_command *command)
{
	command->bus = bus;
	command->unit = NULL;
	command->delivery = SCSI_DELIVERED;
	command->status = SCSI_GOOD;
	command->sense_length = 0;
	command->transferred = 0;
	command->cancelled = false;
	command->buffer = NULL;
	command->step = NULL;
	command->io.fua = command->io.may_unmap = false;
}

/* What can be asked where there is no unit. */
static void execute_nowhere(struct scsi_command *command)
{
	switch (command->cdb[0]) {
	case 0x03:
		scsi_request_sense(command);
		return;
	case 0x12:
		scsi_inquiry(command);
		return;
	case 0xa0:
		scsi_report_luns(command);
		return;
	default:
		scsi_check(command, SENSE_NO_UNIT);
		return;
	}
}

/* *@known: whether the operation code is one of the unit's, of another service action perhaps. */
static const struct scsi_operation *operation_find(const struct scsi_unit_type *type, const uint8_t *cdb, bool *known)
{
	*known = false;
	for (size_t i = 0; i < type->operation_count; i++) {
		const struct scsi_operation *operation = &type->operations[i];

		if (operation->opcode != cdb[0])
			continue;
		*known = true;
		if (cdb[0] != 0x9e || operation->service_action == (cdb[1] & 0x1f))
			return operation;
	}
	return NULL;
}

/* SAM-5, 5.2: NACA in the CONTROL byte asks for what no unit here has. */
static bool wants_naca(const uint8_t *cdb, unsigned int *byte)
{
	static const uint8_t control[8] = { 5, 9, 9, 0, 15, 11, 0, 0 };

	*byte = control[cdb[0] >> 5];
	return *byte && (cdb[*byte] & 0x04);
}

static void execute_on_unit(struct scsi_command *command)
{
	struct scsi_unit *unit = command->unit;
	bool known;
	const struct scsi_operation *operation = operation_find(unit->type, command->cdb, &known);
	uint8_t flags = operation ? operation->flags : 0;
	enum scsi_sense not_ready;
	unsigned int byte;

	if (unit->attention && !(flags & SCSI_WITHOUT_ATTENTION)) {
		scsi_check(command, scsi_take_attention(unit));
		return;
	}
	if (!known) {
		scsi_check(command, SENSE_OPCODE);
		return;
	}
	if (!operation || wants_naca(command->cdb, &byte)) {
		scsi_check_cdb(command, operation ? byte : 1);
		return;
	}
	not_ready = flags & SCSI_NEEDS_MEDIUM ? unit->type->not_ready(unit) : SENSE_NONE;
	if (not_ready != SENSE_NONE)
		scsi_check(command, not_ready);
	else if ((flags & SCSI_CHANGES) && disk_info(unit->disk)->read_only)
		scsi_check(command, SENSE_READ_ONLY);
	else
		operation->run(command);
}

void scsi_execute(const struct scsi_bus *bus, uint8_t target, uint16_t lun, struct scsi_command *command)
{
	command_begin(bus, command);
	command->target = target;
	command->unit = scsi_bus_find(bus, target, lun);
	if (command->unit)
		execute_on_unit(command);
	else
		execute_nowhere(command);
}

void scsi_execute_well_known(const struct scsi_bus *bus, struct scsi_command *command)
{
	command_begin(bus, command);
	if (command->cdb[0] == 0xa0)
		report(command, true);
	else
		scsi_check(command, SENSE_OPCODE);
}
