/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How SCSI commands end: status, sense data, data-in (SAM-5, 5.3; SPC-4, 4.5). Sense data are of the fixed format, as
 * the control mode page says.
 */
#include <string.h>

#include "hw/scsi.h"

static void finish(struct scsi_command *command)
{
	free(command->buffer);
	command->buffer = NULL;
	command->done(command);
}

void scsi_good(struct scsi_command *command)
{
	command->status = SCSI_GOOD;
	finish(command);
}

void scsi_deliver_not(struct scsi_command *command, enum scsi_delivery delivery)
{
	command->delivery = delivery;
	finish(command);
}

size_t scsi_build_sense(uint8_t sense[SCSI_SENSE_MAX], enum scsi_sense code)
{
	memset(sense, 0, SCSI_SENSE_MAX);
	sense[0] = 0x70;
	sense[2] = (uint8_t)(code >> 16);
	sense[7] = SCSI_SENSE_MAX - 8;
	sense[12] = (uint8_t)(code >> 8);
	sense[13] = (uint8_t)code;
	return SCSI_SENSE_MAX;
}

size_t scsi_build_sense_descriptor(uint8_t sense[8], enum scsi_sense code)
{
	memset(sense, 0, 8);
	sense[0] = 0x72;
	sense[1] = (uint8_t)(code >> 16);
	sense[2] = (uint8_t)(code >> 8);
	sense[3] = (uint8_t)code;
	return 8;
}

static void set_sense(struct scsi_command *command, enum scsi_sense code)
{
	command->status = SCSI_CHECK_CONDITION;
	command->transferred = 0;
	command->sense_length = (uint8_t)scsi_build_sense(command->sense, code);
}

void scsi_check(struct scsi_command *command, enum scsi_sense sense)
{
	set_sense(command, sense);
	finish(command);
}

/* SPC-4, 4.5.2.4.2: sense key specific, that a field pointer is valid, and whether it points into the CDB. */
static void check_field(struct scsi_command *command, enum scsi_sense sense, uint8_t where, unsigned int byte)
{
	set_sense(command, sense);
	command->sense[15] = 0x80 | where;
	be16_store(command->sense + 16, (uint16_t)byte);
	finish(command);
}

void scsi_check_cdb(struct scsi_command *command, unsigned int byte)
{
	check_field(command, SENSE_FIELD_IN_CDB, 0x40, byte);
}

void scsi_check_list(struct scsi_command *command, unsigned int byte)
{
	check_field(command, SENSE_FIELD_IN_LIST, 0, byte);
}

/* The information field is the first LBA that may be bad, where four bytes can say it. */
static void set_information(struct scsi_command *command)
{
	uint64_t lba = command->io.offset / command->unit->block_size;

	if (lba > UINT32_MAX)
		return;
	command->sense[0] |= 0x80;
	be32_store(command->sense + 3, (uint32_t)lba);
}

void scsi_check_host(struct scsi_command *command, int error)
{
	bool read = command->io.op == DISK_READ;

	if (error == -ENOSPC || error == -EDQUOT) {
		scsi_check(command, SENSE_NO_SPACE);
	} else if (error == -EPERM || error == -EROFS || error == -EACCES) {
		/* what the image's own rules refuse */
		scsi_check(command, SENSE_READ_ONLY);
	} else if (error == -ENOMEM) {
		scsi_check(command, SENSE_INTERNAL);
	} else {
		set_sense(command, read ? SENSE_READ_ERROR : SENSE_WRITE_ERROR);
		if (command->io.op != DISK_FLUSH)
			set_information(command);
		finish(command);
	}
}

void scsi_reply(struct scsi_command *command, const void *data, size_t length, size_t allocation)
{
	size_t left = MIN(length, allocation);

	if (left > command->in.bytes) {
		scsi_deliver_not(command, SCSI_OVERRUN);
		return;
	}
	command->transferred = (uint32_t)left;
	for (unsigned int i = 0; left && i < command->in.count; i++) {
		size_t part = MIN(left, command->in.iov[i].iov_len);

		memcpy(command->in.iov[i].iov_base, data, part);
		data = (const char *)data + part;
		left -= part;
	}
	scsi_good(command);
}

bool scsi_take_out(struct scsi_command *command, size_t offset, void *buffer, size_t length)
{
	const struct scsi_data *out = &command->out;
	size_t done = 0;

	if (!range_contains(0, out->bytes, offset, length)) {
		scsi_deliver_not(command, SCSI_OVERRUN);
		return false;
	}
	for (unsigned int i = 0; i < out->count && done < length; i++) {
		size_t part;

		if (offset >= out->iov[i].iov_len) {
			offset -= out->iov[i].iov_len;
			continue;
		}
		part = MIN(out->iov[i].iov_len - offset, length - done);
		memcpy((char *)buffer + done, (const char *)out->iov[i].iov_base + offset, part);
		done += part;
		offset = 0;
	}
	command->transferred = MAX(command->transferred, (uint32_t)length);
	return true;
}
