/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A SCSI disk: the commands of direct access block devices (SBC-3), over a struct disk in any format.
 *
 * There are no reservations, so that PERSISTENT RESERVE IN and OUT are operation codes that it doesn't know.
 */
#include "hw/scsi.h"

static enum scsi_sense disk_not_ready(const struct scsi_unit *unit)
{
	return unit->stopped ? SENSE_STOPPED : SENSE_NONE;
}

/* ---- vital product data ---- */

static uint32_t physical_block_size(const struct scsi_unit *unit)
{
	uint32_t said = unit->physical_block_size;

	return MAX(said ? said : disk_info(unit->disk)->physical_block_size, unit->block_size);
}

/* How many of the disk's own blocks its medium would rather have at once, as a power of 2. */
static unsigned int physical_exponent(const struct scsi_unit *unit)
{
	return (unsigned int)__builtin_ctz(physical_block_size(unit) / unit->block_size);
}

/* SBC-3, 6.5.3; offsets are the page's, less its header. */
static size_t vpd_block_limits(const struct scsi_unit *unit, uint8_t *data)
{
	const struct disk_info *info = disk_info(unit->disk);
	uint32_t same = (uint32_t)(SCSI_SAME_BYTES_MAX / unit->block_size);

	data[4 - 4] = 0x01;		/* WSNZ: WRITE SAME of 0 blocks isn't "up to the end" */
	be16_store(data + 6 - 4, (uint16_t)(MAX(unit->min_io_size, physical_block_size(unit)) / unit->block_size));
	be32_store(data + 12 - 4, unit->opt_io_size / unit->block_size);
	be64_store(data + 36 - 4, same);
	if (!info->discard)
		return 60;
	be32_store(data + 20 - 4, same);
	be32_store(data + 24 - 4, SCSI_UNMAP_DESCRIPTORS);
	be32_store(data + 28 - 4, MAX(physical_block_size(unit), 4096U) / unit->block_size);
	return 60;
}

/* SBC-3, 6.5.2: nothing turns. */
static size_t vpd_characteristics(uint8_t *data)
{
	be16_store(data, 1);
	return 60;
}

/* SBC-3, 6.5.4. What an unmapped block reads as depends on the format and the host. */
static size_t vpd_provisioning(const struct scsi_unit *unit, uint8_t *data)
{
	const struct disk_info *info = disk_info(unit->disk);

	if (info->discard) {
		data[1] = 0x80 | 0x40 | 0x20;	/* LBPU, LBPWS, LBPWS10 */
		data[2] = 2;			/* thin */
	}
	return 4;
}

static size_t disk_vpd(const struct scsi_unit *unit, uint8_t page, uint8_t *data)
{
	switch (page) {
	case 0xb0:	return vpd_block_limits(unit, data);
	case 0xb1:	return vpd_characteristics(data);
	case 0xb2:	return vpd_provisioning(unit, data);
	default:	return 0;
	}
}

/* ---- commands ---- */

static void disk_write(struct scsi_command *command)
{
	uint64_t lba;
	uint32_t blocks;
	bool six = command->cdb[0] == 0x0a;

	scsi_decode_range(command->cdb, &lba, &blocks);
	if (!six && command->cdb[1] >> 5) {
		scsi_check_cdb(command, 1);
		return;
	}
	scsi_transfer(command, lba, blocks, true, !six && (command->cdb[1] & 0x08));
}

/* VERIFY (10), (12), (16): that the blocks exist; comparing them with data (BYTCHK) isn't offered. */
static void disk_verify(struct scsi_command *command)
{
	uint64_t lba;
	uint32_t blocks;

	scsi_decode_range(command->cdb, &lba, &blocks);
	if (command->cdb[1] & 0xe6)
		scsi_check_cdb(command, 1);
	else if (scsi_range_ok(command, lba, blocks))
		scsi_good(command);
}

static void disk_read_capacity_16(struct scsi_command *command)
{
	const struct scsi_unit *unit = command->unit;
	uint8_t data[32] = { 0 };

	be64_store(data, scsi_unit_blocks(unit) - 1);
	be32_store(data + 8, unit->block_size);
	data[13] = (uint8_t)physical_exponent(unit);
	data[14] = disk_info(unit->disk)->discard ? 0x80 : 0;
	scsi_reply(command, data, sizeof(data), be32_load(command->cdb + 10));
}

/* SBC-3, 5.25. A disk that stops has all that it was given on its medium; there is nothing to load or eject. */
static void disk_start_stop(struct scsi_command *command)
{
	bool start = command->cdb[4] & 0x01, power_condition = command->cdb[4] >> 4;

	if (command->cdb[4] & 0x02) {
		scsi_check_cdb(command, 4);
		return;
	}
	if (!power_condition)
		command->unit->stopped = !start;
	if (start || power_condition || disk_info(command->unit->disk)->read_only)
		scsi_good(command);
	else
		scsi_submit(command, DISK_FLUSH, 0, 0, NULL);
}

/* SPC-4, 6.42: its own test finds nothing wrong; there are no pages. */
static void disk_send_diagnostic(struct scsi_command *command)
{
	if (command->cdb[1] & 0x04)
		scsi_good(command);
	else
		scsi_check_cdb(command, 1);
}

static const struct scsi_operation operations[] = {
	{ 0x00, SCSI_NEEDS_MEDIUM, 0, scsi_test_unit_ready },
	{ 0x03, SCSI_WITHOUT_ATTENTION, 0, scsi_request_sense },
	{ 0x08, SCSI_NEEDS_MEDIUM, 0, scsi_read },
	{ 0x0a, SCSI_NEEDS_MEDIUM | SCSI_CHANGES, 0, disk_write },
	{ 0x12, SCSI_WITHOUT_ATTENTION, 0, scsi_inquiry },
	{ 0x15, 0, 0, scsi_mode_select },
	{ 0x1a, 0, 0, scsi_mode_sense },
	{ 0x1b, 0, 0, disk_start_stop },
	{ 0x1d, 0, 0, disk_send_diagnostic },
	{ 0x25, SCSI_NEEDS_MEDIUM, 0, scsi_read_capacity },
	{ 0x28, SCSI_NEEDS_MEDIUM, 0, scsi_read },
	{ 0x2a, SCSI_NEEDS_MEDIUM | SCSI_CHANGES, 0, disk_write },
	{ 0x2f, SCSI_NEEDS_MEDIUM, 0, disk_verify },
	{ 0x35, SCSI_NEEDS_MEDIUM, 0, scsi_flush },
	{ 0x41, SCSI_NEEDS_MEDIUM | SCSI_CHANGES, 0, scsi_write_same },
	{ 0x42, SCSI_NEEDS_MEDIUM | SCSI_CHANGES, 0, scsi_unmap },
	{ 0x55, 0, 0, scsi_mode_select },
	{ 0x5a, 0, 0, scsi_mode_sense },
	{ 0x88, SCSI_NEEDS_MEDIUM, 0, scsi_read },
	{ 0x8a, SCSI_NEEDS_MEDIUM | SCSI_CHANGES, 0, disk_write },
	{ 0x8f, SCSI_NEEDS_MEDIUM, 0, disk_verify },
	{ 0x91, SCSI_NEEDS_MEDIUM, 0, scsi_flush },
	{ 0x93, SCSI_NEEDS_MEDIUM | SCSI_CHANGES, 0, scsi_write_same },
	{ 0x9e, SCSI_NEEDS_MEDIUM, 0x10, disk_read_capacity_16 },
	{ 0xa0, SCSI_WITHOUT_ATTENTION, 0, scsi_report_luns },
	{ 0xa8, SCSI_NEEDS_MEDIUM, 0, scsi_read },
	{ 0xaa, SCSI_NEEDS_MEDIUM | SCSI_CHANGES, 0, disk_write },
	{ 0xaf, SCSI_NEEDS_MEDIUM, 0, disk_verify },
};

static const uint8_t vpd_pages[] = { 0x00, 0x80, 0x83, 0xb0, 0xb1, 0xb2, 0 };
static const uint8_t mode_pages[] = { 0x01, 0x08, 0x0a, 0 };

const struct scsi_unit_type scsi_disk_type = {
	.peripheral = 0x00, .product = "LKVM DISK       ", .not_ready = disk_not_ready, .vpd = disk_vpd,
	.vpd_pages = vpd_pages, .mode_pages = mode_pages, .operations = operations, .operation_count = ARRAY_SIZE(operations),
};
