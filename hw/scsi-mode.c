/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MODE SENSE and MODE SELECT, of 6 and 10 bytes (SPC-4, 6.11 to 6.14, 7.5; SBC-3, 6.4; MMC-3, 5.5.10). One bit can be
 * changed: WCE of the caching page.
 */
#include "hw/scsi.h"

#include <string.h>

#define PAGE_ALL	0x3f
#define PAGE_MAX	24
#define LIST_MAX	512
#define CACHING_WCE	0x04

enum page_control { CURRENT, CHANGEABLE, DEFAULT, SAVED };

/* ---- pages ---- */

static void page_recovery(uint8_t *page)
{
	page[2] = 0x80;			/* AWRE: the host's disk sees to that */
}

static void page_caching(const struct scsi_unit *unit, enum page_control control, uint8_t *page)
{
	const struct disk_info *info = disk_info(unit->disk);

	if (control == CHANGEABLE)
		page[2] = info->read_only ? 0 : CACHING_WCE;
	else if (control == DEFAULT ? !info->write_through : unit->write_back)
		page[2] = CACHING_WCE;
}

static void page_control(uint8_t *page)
{
	page[3] = 0x10;			/* commands are reordered freely */
}

/* What a drive of CDs and DVDs that only reads can do, at 50 times the speed of music. */
static void page_capabilities(const struct scsi_unit *unit, uint8_t *page)
{
	page[2] = 0x1b;			/* reads CD-R, CD-RW, DVD-ROM, DVD-R */
	page[4] = 0x50;			/* several sessions, mode 2 form 1 */
	page[6] = 0x20 | 0x08 | 0x01 | (unit->tray_locked ? 0x02 : 0);	/* a tray; ejects, and can be locked */
	be16_store(page + 8, 50 * 176);
	be16_store(page + 12, 512);	/* KiB of buffer */
	be16_store(page + 14, 50 * 176);
}

/* Fills a page; returns its length. */
static size_t page_fill(const struct scsi_unit *unit, uint8_t code, enum page_control control, uint8_t page[PAGE_MAX])
{
	static const struct { uint8_t code, length; } lengths[] = { { 0x01, 0x0a }, { 0x08, 0x12 }, { 0x0a, 0x0a }, { 0x2a, 0x14 } };

	memset(page, 0, PAGE_MAX);
	page[0] = code;
	for (size_t i = 0; i < ARRAY_SIZE(lengths); i++)
		if (lengths[i].code == code)
			page[1] = lengths[i].length;
	if (code == 0x08)
		page_caching(unit, control, page);
	else if (control == CHANGEABLE)
		return 2U + page[1];
	else if (code == 0x01)
		page_recovery(page);
	else if (code == 0x0a)
		page_control(page);
	else if (code == 0x2a)
		page_capabilities(unit, page);
	return 2U + page[1];
}

static bool page_exists(const struct scsi_unit *unit, uint8_t code)
{
	const uint8_t *page = unit->type->mode_pages;

	while (*page && *page != code)
		page++;
	return *page;
}

/* ---- MODE SENSE ---- */

/* SBC-3, 6.4.2: how many blocks of which size. */
static size_t block_descriptor(const struct scsi_unit *unit, bool eight_byte_lba, uint8_t *data)
{
	uint64_t blocks = scsi_unit_blocks(unit);

	if (eight_byte_lba) {
		be64_store(data, blocks);
		be32_store(data + 12, unit->block_size);
		return 16;
	}
	be32_store(data, (uint32_t)MIN(blocks, (uint64_t)UINT32_MAX));
	be32_store(data + 4, unit->block_size);
	return 8;
}

static size_t sense_pages(const struct scsi_unit *unit, uint8_t code, enum page_control control, uint8_t *data)
{
	uint8_t page[PAGE_MAX];
	size_t length = 0;

	for (const uint8_t *have = unit->type->mode_pages; *have; have++) {
		size_t more;

		if (code != PAGE_ALL && code != *have)
			continue;
		more = page_fill(unit, *have, control, page);
		memcpy(data + length, page, more);
		length += more;
	}
	return length;
}

static void sense_header(const struct scsi_unit *unit, bool ten, bool eight_byte_lba, size_t descriptor, size_t length, uint8_t *data)
{
	/* WP; DPO and FUA are known */
	uint8_t specific = scsi_unit_is_cdrom(unit) ? 0 : (uint8_t)(0x10 | (disk_info(unit->disk)->read_only ? 0x80 : 0));

	if (!ten) {
		data[0] = (uint8_t)(length - 1);
		data[2] = specific;
		data[3] = (uint8_t)descriptor;
		return;
	}
	be16_store(data, (uint16_t)(length - 2));
	data[3] = specific;
	data[4] = eight_byte_lba;
	be16_store(data + 6, (uint16_t)descriptor);
}

void scsi_mode_sense(struct scsi_command *command)
{
	const struct scsi_unit *unit = command->unit;
	const uint8_t *cdb = command->cdb;
	bool ten = cdb[0] == 0x5a, eight_byte_lba = ten && (cdb[1] & 0x10);
	uint8_t code = cdb[2] & 0x3f, data[8 + 16 + 4 * PAGE_MAX] = { 0 };
	size_t header = ten ? 8 : 4, descriptor = 0, length;

	if (code != PAGE_ALL && !page_exists(unit, code)) {
		scsi_check_cdb(command, 2);
		return;
	}
	/* no page has subpages but itself */
	if (cdb[3] && cdb[3] != 0xff) {
		scsi_check_cdb(command, 3);
		return;
	}
	if (cdb[2] >> 6 == SAVED) {
		scsi_check(command, SENSE_NO_SAVING);
		return;
	}
	if (!(cdb[1] & 0x08) && !scsi_unit_is_cdrom(unit))
		descriptor = block_descriptor(unit, eight_byte_lba, data + header);
	length = header + descriptor;
	length += sense_pages(unit, code, cdb[2] >> 6, data + length);
	sense_header(unit, ten, eight_byte_lba, descriptor, length, data);
	scsi_reply(command, data, length, ten ? be16_load(cdb + 7) : cdb[4]);
}

/* ---- MODE SELECT ---- */

/* The page at @at must be as it is, but for what can be changed; *@write_back is what it says of that. */
static bool select_page(struct scsi_command *command, const uint8_t *list, size_t length, size_t at, bool *write_back)
{
	uint8_t now[PAGE_MAX], mask[PAGE_MAX], code = list[at] & 0x3f;
	size_t size;

	/* SPF: a subpage */
	if ((list[at] & 0x40) || !page_exists(command->unit, code)) {
		scsi_check_list(command, (unsigned int)at);
		return false;
	}
	size = page_fill(command->unit, code, CURRENT, now);
	page_fill(command->unit, code, CHANGEABLE, mask);
	if (size > length - at) {
		scsi_check(command, SENSE_LIST_LENGTH);
		return false;
	}
	for (size_t i = 1; i < size; i++) {
		if (!((list[at + i] ^ now[i]) & (i == 1 ? 0xff : ~mask[i])))
			continue;
		scsi_check_list(command, (unsigned int)(at + i));
		return false;
	}
	if (code == 0x08)
		*write_back = list[at + 2] & CACHING_WCE;
	return true;
}

static bool select_pages(struct scsi_command *command, const uint8_t *list, size_t length, size_t at, bool *write_back)
{
	while (at < length) {
		if (length - at < 2) {
			scsi_check(command, SENSE_LIST_LENGTH);
			return false;
		}
		if (!select_page(command, list, length, at, write_back))
			return false;
		at += 2U + list[at + 1];
	}
	return true;
}

/* Behind the header: a block descriptor may only say what is so. Returns where the pages begin, 0 if it is over. */
static size_t select_descriptor(struct scsi_command *command, const uint8_t *list, size_t length, bool ten)
{
	size_t header = ten ? 8 : 4, descriptor = ten ? be16_load(list + 6) : list[3];

	if (descriptor > length - header) {
		scsi_check(command, SENSE_LIST_LENGTH);
		return 0;
	}
	if ((descriptor && descriptor != 8) || (ten && (list[4] & 1))) {
		scsi_check_list(command, ten ? 6 : 3);
		return 0;
	}
	if (descriptor && (be32_load(list + header + 4) & 0xffffff) != command->unit->block_size) {
		scsi_check_list(command, (unsigned int)header + 5);
		return 0;
	}
	return header + descriptor;
}

void scsi_mode_select(struct scsi_command *command)
{
	bool ten = command->cdb[0] == 0x55, write_back = command->unit->write_back;
	size_t length = ten ? be16_load(command->cdb + 7) : command->cdb[4], at;
	uint8_t list[LIST_MAX];

	/* pages of the standard's format, which aren't saved */
	if ((command->cdb[1] & 0x11) != 0x10) {
		scsi_check_cdb(command, 1);
		return;
	}
	if (!length) {
		scsi_good(command);
		return;
	}
	if (length > sizeof(list) || length < (ten ? 8 : 4)) {
		scsi_check(command, SENSE_LIST_LENGTH);
		return;
	}
	if (!scsi_take_out(command, 0, list, length))
		return;
	at = select_descriptor(command, list, length, ten);
	if (!at || !select_pages(command, list, length, at, &write_back))
		return;
	command->io.fua = false;
	if (command->unit->write_back && !write_back) {
		/* from now on nothing is in the cache */
		command->unit->write_back = false;
		scsi_submit(command, DISK_FLUSH, 0, 0, NULL);
		return;
	}
	command->unit->write_back = write_back;
	scsi_good(command);
}
