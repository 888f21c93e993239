/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SCSI commands that write blocks without data for each: UNMAP and WRITE SAME (SBC-3, 5.28, 5.43 and 5.44). They go
 * step by step, each step one request to the disk, so that a large one neither holds much memory nor outlives a reset by
 * more than that.
 */
#include "hw/scsi.h"

#include <string.h>

#include "kvm/io.h"

#define SAME_CHUNK	KIB(128)

/* ---- UNMAP ---- */

/* The next descriptor of command->buffer, or the end. */
static void unmap_step(struct scsi_command *command)
{
	uint32_t size = command->unit->block_size;

	while (command->buffer_at < command->buffer_size) {
		const uint8_t *descriptor = command->buffer + command->buffer_at;
		uint64_t lba = be64_load(descriptor);
		uint32_t blocks = be32_load(descriptor + 8);

		command->buffer_at += 16;
		if (!blocks)
			continue;
		command->io.fua = scsi_writes_through(command->unit);
		scsi_submit_next(command, DISK_DISCARD, lba * size, (uint64_t)blocks * size, unmap_step);
		return;
	}
	scsi_good(command);
}

/* All of them are looked at before the first is carried out. */
static bool unmap_check(struct scsi_command *command)
{
	uint64_t most = SCSI_SAME_BYTES_MAX / command->unit->block_size;

	for (size_t at = 0; at < command->buffer_size; at += 16) {
		uint32_t blocks = be32_load(command->buffer + at + 8);

		if (blocks > most) {
			scsi_check_list(command, (unsigned int)(8 + at + 8));
			return false;
		}
		if (!scsi_range_ok(command, be64_load(command->buffer + at), blocks))
			return false;
	}
	return true;
}

void scsi_unmap(struct scsi_command *command)
{
	uint16_t list = be16_load(command->cdb + 7), descriptors;
	uint8_t header[8];

	if ((command->cdb[1] & 0x01) || !disk_info(command->unit->disk)->discard) {
		scsi_check_cdb(command, 1);
		return;
	}
	if (!list) {
		scsi_good(command);
		return;
	}
	if (list < sizeof(header)) {
		scsi_check(command, SENSE_LIST_LENGTH);
		return;
	}
	if (!scsi_take_out(command, 0, header, sizeof(header)))
		return;
	descriptors = be16_load(header + 2);
	if (descriptors > list - sizeof(header) || descriptors % 16) {
		scsi_check(command, SENSE_LIST_LENGTH);
		return;
	}
	if (descriptors / 16 > SCSI_UNMAP_DESCRIPTORS) {
		scsi_check_list(command, 2);
		return;
	}
	command->buffer_size = descriptors;
	command->buffer_at = 0;
	command->buffer = malloc(MAX((size_t)descriptors, (size_t)1));
	if (!command->buffer) {
		scsi_check(command, SENSE_INTERNAL);
		return;
	}
	if (scsi_take_out(command, sizeof(header), command->buffer, descriptors) && unmap_check(command)) {
		command->transferred = list;
		unmap_step(command);
	}
}

/* ---- WRITE SAME ---- */

static void same_step(struct scsi_command *command)
{
	uint32_t size = command->unit->block_size;
	uint64_t lba = command->lba, blocks = MIN(command->blocks, (uint64_t)command->buffer_size / size);

	if (!blocks) {
		scsi_good(command);
		return;
	}
	command->lba += blocks;
	command->blocks -= blocks;
	command->iov = (struct iovec){ command->buffer, blocks * size };
	command->io.iov = &command->iov;
	command->io.iov_count = 1;
	scsi_submit_next(command, DISK_WRITE, lba * size, blocks * size, same_step);
}

/* The block as many times as a step writes. */
static bool same_fill(struct scsi_command *command, const uint8_t *block)
{
	uint32_t size = command->unit->block_size;

	command->buffer_size = (size_t)MIN(command->blocks * size, (uint64_t)ALIGN_DOWN(SAME_CHUNK, (uint64_t)size));
	command->buffer = malloc(command->buffer_size);
	if (!command->buffer) {
		scsi_check(command, SENSE_INTERNAL);
		return false;
	}
	for (size_t at = 0; at < command->buffer_size; at += size)
		memcpy(command->buffer + at, block, size);
	return true;
}

static void same_write(struct scsi_command *command, const uint8_t *block, bool unmap)
{
	const struct disk_info *info = disk_info(command->unit->disk);
	uint32_t size = command->unit->block_size;

	command->io.fua = scsi_writes_through(command->unit);
	command->io.may_unmap = unmap;
	if (info->write_zeroes && bytes_are_zero(block, size))
		scsi_submit(command, DISK_WRITE_ZEROES, command->lba * size, command->blocks * size, NULL);
	else if (same_fill(command, block))
		same_step(command);
}

void scsi_write_same(struct scsi_command *command)
{
	bool sixteen = command->cdb[0] == 0x93, unmap = command->cdb[1] & 0x08, without_data = sixteen && (command->cdb[1] & 0x01);
	uint32_t size = command->unit->block_size, blocks;
	uint8_t block[4096] = { 0 };

	scsi_decode_range(command->cdb, &command->lba, &blocks);
	command->blocks = blocks;
	/* WRPROTECT, ANCHOR, and what is obsolete */
	if ((command->cdb[1] & (sixteen ? 0xf6 : 0xf7)) || (unmap && !disk_info(command->unit->disk)->discard)) {
		scsi_check_cdb(command, 1);
		return;
	}
	if (!blocks || blocks > SCSI_SAME_BYTES_MAX / size) {
		scsi_check_cdb(command, sixteen ? 10 : 7);
		return;
	}
	if (!scsi_range_ok(command, command->lba, blocks) ||
	    (!without_data && !scsi_take_out(command, 0, block, MIN((size_t)size, sizeof(block)))))
		return;
	same_write(command, block, unmap);
}
