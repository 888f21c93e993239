/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a CD-ROM drive says of its disc and of itself (MMC-6, 5.3 and 6): the table of contents, its features, events,
 * disc and track information. The disc has one session with one data track.
 */
#include "hw/scsi.h"

#include <string.h>

#define LEAD_OUT		0xaa
#define DATA_TRACK		0x14		/* ADR 1, CONTROL: data */
#define CD_BLOCKS_MAX		360000U			/* 80 minutes; what is larger is a DVD */
#define PROFILE_CD_ROM		0x0008
#define PROFILE_DVD_ROM		0x0010
#define CLASS_MEDIA		4
#define MODE_DATA		0x04

static uint32_t disc_blocks(const struct scsi_unit *unit)
{
	return (uint32_t)MIN(scsi_unit_blocks(unit), (uint64_t)UINT32_MAX);
}

/* ---- READ TOC/PMA/ATIP ---- */

/* MMC-6, 4.2.3.6: minutes, seconds and frames, from two seconds before block 0; 255:59:74 at most. */
static void store_msf(uint8_t *at, uint32_t block)
{
	uint32_t frames = MIN(block, 255 * 4500U + 59 * 75 + 74 - 150) + 150;

	at[0] = (uint8_t)(frames / 4500);
	at[1] = (uint8_t)(frames / 75 % 60);
	at[2] = (uint8_t)(frames % 75);
}

static size_t toc_track(uint8_t *at, uint8_t track, uint32_t block, bool msf)
{
	at[1] = DATA_TRACK;
	at[2] = track;
	if (msf)
		store_msf(at + 5, block);
	else
		be32_store(at + 4, block);
	return 8;
}

/* Format 0: tracks from @first on. 0: there is none. */
static size_t toc_tracks(const struct scsi_unit *unit, uint8_t first, bool msf, uint8_t *data)
{
	size_t length = 4;

	if (first > 1 && first != LEAD_OUT)
		return 0;
	data[2] = data[3] = 1;
	if (first <= 1)
		length += toc_track(data + length, 1, 0, msf);
	return length + toc_track(data + length, LEAD_OUT, disc_blocks(unit), msf);
}

/* Format 1: the first track of the last session. */
static size_t toc_sessions(bool msf, uint8_t *data)
{
	data[2] = data[3] = 1;
	return 4 + toc_track(data + 4, 1, 0, msf);
}

/* Format 2: as the lead-in has it. */
static size_t toc_full(const struct scsi_unit *unit, uint8_t *data)
{
	static const uint8_t points[] = { 0xa0, 0xa1, 0xa2, 1 };
	size_t length = 4;

	data[2] = data[3] = 1;
	for (size_t i = 0; i < ARRAY_SIZE(points); i++, length += 11) {
		uint8_t *entry = data + length;

		entry[0] = 1;
		entry[1] = DATA_TRACK;
		entry[3] = points[i];
		if (points[i] == 0xa2)
			store_msf(entry + 8, disc_blocks(unit));
		else if (points[i] == 1)
			store_msf(entry + 8, 0);
		else
			entry[8] = 1;	/* the first track, the last one */
	}
	return length;
}

void scsi_cdrom_read_toc(struct scsi_command *command)
{
	const uint8_t *cdb = command->cdb;
	bool msf = cdb[1] & 0x02;
	/* older initiators have the format in what is the CONTROL byte now */
	uint8_t format = cdb[2] & 0x0f ? cdb[2] & 0x0f : cdb[9] >> 6, data[4 + 4 * 11] = { 0 };
	size_t length;

	if (format == 0)
		length = toc_tracks(command->unit, cdb[6], msf, data);
	else if (format == 1)
		length = toc_sessions(msf, data);
	else if (format == 2)
		length = toc_full(command->unit, data);
	else
		length = 0;
	if (!length) {
		scsi_check_cdb(command, format ? 2 : 6);
		return;
	}
	be16_store(data, (uint16_t)(length - 2));
	scsi_reply(command, data, length, be16_load(cdb + 7));
}

/* ---- GET CONFIGURATION ---- */

static uint16_t current_profile(const struct scsi_unit *unit)
{
	if (unit->tray_open || disk_info(unit->disk)->no_medium)
		return 0;
	return scsi_unit_blocks(unit) > CD_BLOCKS_MAX ? PROFILE_DVD_ROM : PROFILE_CD_ROM;
}

struct feature {
	uint16_t code;
	uint8_t version;
	uint8_t length;
	uint8_t data[8];
};

/* Of those that aren't persistent, which are there depends on the disc. */
static bool feature_current(uint16_t code, uint16_t profile)
{
	switch (code) {
	case 0x0010:	return profile;
	case 0x001d:
	case 0x001e:	return profile == PROFILE_CD_ROM;
	case 0x001f:	return profile == PROFILE_DVD_ROM;
	default:	return true;
	}
}

static size_t feature_store(const struct feature *feature, uint16_t profile, uint8_t *at)
{
	bool persistent = feature->code < 0x0010;

	be16_store(at, feature->code);
	at[2] = (uint8_t)(feature->version << 2 | persistent << 1 | feature_current(feature->code, profile));
	at[3] = feature->length;
	memcpy(at + 4, feature->data, feature->length);
	if (!feature->code) {
		at[4 + 2] = profile == PROFILE_DVD_ROM;
		at[8 + 2] = profile == PROFILE_CD_ROM;
	}
	return 4U + feature->length;
}

static const struct feature features[] = {
	{ 0x0000, 0, 8, { 0, PROFILE_DVD_ROM, 0, 0, 0, PROFILE_CD_ROM } },
	{ 0x0001, 2, 8, { 0, 0, 0, 1 } },	/* core: the SCSI family */
	{ 0x0002, 1, 4, { 0 } },		/* morphing: changes of state are events */
	{ 0x0003, 0, 4, { 0x29 } },		/* removable medium: a tray, which ejects and can be locked */
	{ 0x0010, 0, 8, { 0, 0, 0x08, 0, 0, 1 } },	/* random readable: blocks of 2048 bytes */
	{ 0x001d, 0, 0, { 0 } },		/* multi-read */
	{ 0x001e, 2, 4, { 0 } },		/* CD read */
	{ 0x001f, 0, 0, { 0 } },		/* DVD read */
};

void scsi_cdrom_get_configuration(struct scsi_command *command)
{
	uint8_t which = command->cdb[1] & 3, data[8 + ARRAY_SIZE(features) * 12] = { 0 };
	uint16_t from = be16_load(command->cdb + 2), profile = current_profile(command->unit);
	size_t length = 8;

	if (which == 3) {
		scsi_check_cdb(command, 1);
		return;
	}
	for (size_t i = 0; i < ARRAY_SIZE(features); i++) {
		if (features[i].code < from || (which == 2 && features[i].code != from) ||
		    (which == 1 && !feature_current(features[i].code, profile)))
			continue;
		length += feature_store(&features[i], profile, data + length);
	}
	be32_store(data, (uint32_t)(length - 4));
	be16_store(data + 6, profile);
	scsi_reply(command, data, length, be16_load(command->cdb + 7));
}

/* ---- GET EVENT STATUS NOTIFICATION ---- */

void scsi_cdrom_get_event_status(struct scsi_command *command)
{
	struct scsi_unit *unit = command->unit;
	bool asked = command->cdb[4] & 1U << CLASS_MEDIA;
	size_t length = asked ? 8 : 4, allocation = be16_load(command->cdb + 7);
	uint8_t data[8] = { 0 };

	/* notifications that wait for an event need a queue of their own */
	if (!(command->cdb[1] & 0x01)) {
		scsi_check_cdb(command, 1);
		return;
	}
	be16_store(data, (uint16_t)(length - 2));
	data[2] = asked ? CLASS_MEDIA : 0x80;
	data[3] = 1U << CLASS_MEDIA;
	if (asked) {
		data[4] = unit->media_event;
		data[5] = unit->tray_open ? 0x01 : disk_info(unit->disk)->no_medium ? 0 : 0x02;
		/* what fell off the end is still to be told */
		if (allocation > 4)
			unit->media_event = 0;
	}
	scsi_reply(command, data, length, allocation);
}

/* ---- the disc, its track, the mechanism ---- */

void scsi_cdrom_read_disc_information(struct scsi_command *command)
{
	uint8_t data[34] = { 0 };

	if (command->cdb[1] & 7) {
		scsi_check_cdb(command, 1);
		return;
	}
	be16_store(data, sizeof(data) - 2);
	data[2] = 0x0e;			/* the last session is complete, the disc finalized */
	data[3] = data[4] = data[5] = data[6] = 1;	/* first track, sessions, first and last track of the last one */
	data[7] = 0x20;			/* unrestricted use */
	/* lead-in and lead-out of a session that could follow: none can */
	memset(data + 16, 0xff, 8);
	scsi_reply(command, data, sizeof(data), be16_load(command->cdb + 7));
}

void scsi_cdrom_read_track_information(struct scsi_command *command)
{
	uint8_t by = command->cdb[1] & 3, data[36] = { 0 };
	uint32_t number = be32_load(command->cdb + 2), blocks = disc_blocks(command->unit);

	if (by == 3 || (by == 0 ? number >= blocks : number != 1)) {
		scsi_check_cdb(command, by == 3 ? 1 : 2);
		return;
	}
	be16_store(data, sizeof(data) - 2);
	data[2] = data[3] = 1;		/* track, session */
	data[5] = MODE_DATA;
	data[6] = 1;			/* data mode 1 */
	be32_store(data + 24, blocks);
	scsi_reply(command, data, sizeof(data), be16_load(command->cdb + 7));
}

void scsi_cdrom_mechanism_status(struct scsi_command *command)
{
	uint8_t data[8] = { 0 };

	data[1] = command->unit->tray_open ? 0x10 : 0;
	data[5] = 1;			/* slots, of which no table follows */
	scsi_reply(command, data, sizeof(data), be16_load(command->cdb + 8));
}
