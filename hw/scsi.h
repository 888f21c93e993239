/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside hw/scsi*.c: how a command's function ends it. Each ends it once, by one of these, now or when its I/O is done.
 */
#ifndef HW_SCSI_H
#define HW_SCSI_H

#include "kvm/scsi.h"

/* Sense key, additional sense code and its qualifier (SPC-4, 4.5). */
enum scsi_sense {
	SENSE_NONE			= 0x000000,
	SENSE_STOPPED			= 0x020402,	/* not ready: initializing command required */
	SENSE_TRAY_SHUT			= 0x023a01,	/* not ready: no medium */
	SENSE_TRAY_OPEN			= 0x023a02,
	SENSE_WRITE_ERROR		= 0x030c00,
	SENSE_READ_ERROR		= 0x031100,
	SENSE_INTERNAL			= 0x044400,	/* internal target failure */
	SENSE_LIST_LENGTH		= 0x051a00,
	SENSE_OPCODE			= 0x052000,
	SENSE_LBA			= 0x052100,
	SENSE_FIELD_IN_CDB		= 0x052400,
	SENSE_NO_UNIT			= 0x052500,
	SENSE_FIELD_IN_LIST		= 0x052600,
	SENSE_NO_SAVING			= 0x053900,	/* saving parameters not supported */
	SENSE_LOCKED			= 0x055302,	/* medium removal prevented */
	SENSE_MODE_FOR_TRACK		= 0x056400,
	SENSE_MEDIUM			= 0x062800,	/* unit attention, all of 06 */
	SENSE_POWER_ON			= 0x062900,
	SENSE_RESET			= 0x062903,
	SENSE_NEXUS			= 0x062907,
	SENSE_CAPACITY			= 0x062a09,
	SENSE_READ_ONLY			= 0x072700,	/* data protect */
	SENSE_NO_SPACE			= 0x072707,
	SENSE_CANCELLED			= 0x0b0000,
};

/* struct scsi_operation's flags */
#define SCSI_NEEDS_MEDIUM	0x01	/* the unit must be ready */
#define SCSI_CHANGES		0x02	/* the medium, which must not be read only */
#define SCSI_WITHOUT_ATTENTION	0x04	/* goes past what the unit has to say */

/** struct scsi_operation - one operation code, or one service action of it */
struct scsi_operation {
	uint8_t opcode;
	uint8_t flags;
	uint8_t service_action;		/* of 9Eh and ABh */
	void (*run)(struct scsi_command *command);
};

struct scsi_unit_type {
	uint8_t peripheral;		/* SPC-4, 6.4.2: peripheral device type */
	bool removable;
	const char *product;
	/** @not_ready: why, or SENSE_NONE */
	enum scsi_sense (*not_ready)(const struct scsi_unit *unit);
	/** @vpd: page @page behind its header, of at most 60 bytes; 0: there is none */
	size_t (*vpd)(const struct scsi_unit *unit, uint8_t page, uint8_t *data);
	const uint8_t *vpd_pages;	/* ascending, with those that all units have; ends with 0 */
	const uint8_t *mode_pages;	/* ascending, ends with 0 */
	const struct scsi_operation *operations;
	size_t operation_count;
};

extern const struct scsi_unit_type scsi_disk_type, scsi_cdrom_type;

/* ---- ends: hw/scsi-sense.c ---- */
void scsi_good(struct scsi_command *command);
void scsi_check(struct scsi_command *command, enum scsi_sense sense);
/** scsi_check_cdb() - INVALID FIELD IN CDB, which is in @byte; scsi_check_list() - the same of the data-out */
void scsi_check_cdb(struct scsi_command *command, unsigned int byte);
void scsi_check_list(struct scsi_command *command, unsigned int byte);
/** scsi_check_host() - the host's I/O failed with @error; of the disk's bytes from command->io.offset on */
void scsi_check_host(struct scsi_command *command, int error);
/** scsi_deliver_not() - there is no status, for what is the transport's */
void scsi_deliver_not(struct scsi_command *command, enum scsi_delivery delivery);
/** scsi_reply() - data-in of @length bytes, cut at @allocation, and GOOD */
void scsi_reply(struct scsi_command *command, const void *data, size_t length, size_t allocation);
/** scsi_build_sense() - fixed format; returns its length */
size_t scsi_build_sense(uint8_t sense[SCSI_SENSE_MAX], enum scsi_sense code);
/** scsi_build_sense_descriptor() - the same in descriptor format, of 8 bytes */
size_t scsi_build_sense_descriptor(uint8_t sense[8], enum scsi_sense code);

/** scsi_take_out() - copies @length bytes of data-out from @offset on; false, and the command is over, if there are fewer */
bool scsi_take_out(struct scsi_command *command, size_t offset, void *buffer, size_t length);
/** scsi_take_attention() - the next thing the unit has to say, which is said with this; SENSE_NONE */
enum scsi_sense scsi_take_attention(struct scsi_unit *unit);

/* ---- the medium: hw/scsi-transfer.c ---- */
uint64_t scsi_unit_blocks(const struct scsi_unit *unit);
/** scsi_decode_range() - the LBA and the number of blocks in a CDB of any of the usual four shapes */
void scsi_decode_range(const uint8_t *cdb, uint64_t *lba, uint32_t *blocks);
/** scsi_range_ok() - the command is over if it isn't */
bool scsi_range_ok(struct scsi_command *command, uint64_t lba, uint64_t blocks);
/** scsi_submit() - hands command->io to the disk; @step runs in a later turn of the loop when it is done well, or NULL */
void scsi_submit(struct scsi_command *command, enum disk_op op, uint64_t offset, uint64_t length,
		 void (*step)(struct scsi_command *command));
/** scsi_submit_next() - the same from a step: the disk is told at once */
void scsi_submit_next(struct scsi_command *command, enum disk_op op, uint64_t offset, uint64_t length,
		      void (*step)(struct scsi_command *command));
/** scsi_transfer() - reads or writes blocks between the medium and the command's data */
void scsi_transfer(struct scsi_command *command, uint64_t lba, uint64_t blocks, bool write, bool fua);
/** scsi_writes_through() - whether a change must be on the medium before its status is sent */
bool scsi_writes_through(const struct scsi_unit *unit);

/* ---- commands that both kinds have ---- */
void scsi_inquiry(struct scsi_command *command);
void scsi_report_luns(struct scsi_command *command);
void scsi_request_sense(struct scsi_command *command);
void scsi_test_unit_ready(struct scsi_command *command);
void scsi_mode_sense(struct scsi_command *command);
void scsi_mode_select(struct scsi_command *command);
void scsi_flush(struct scsi_command *command);
void scsi_read(struct scsi_command *command);
void scsi_read_capacity(struct scsi_command *command);

/* ---- hw/scsi-provision.c: blocks written without data of their own ---- */
#define SCSI_SAME_BYTES_MAX	GIB(1)		/* of one WRITE SAME, or one descriptor of UNMAP */
#define SCSI_UNMAP_DESCRIPTORS	256U
void scsi_unmap(struct scsi_command *command);
void scsi_write_same(struct scsi_command *command);

/* ---- hw/scsi-cdrom-info.c: what a drive says of its disc and of itself ---- */
void scsi_cdrom_read_toc(struct scsi_command *command);
void scsi_cdrom_get_configuration(struct scsi_command *command);
void scsi_cdrom_get_event_status(struct scsi_command *command);
void scsi_cdrom_read_disc_information(struct scsi_command *command);
void scsi_cdrom_read_track_information(struct scsi_command *command);
void scsi_cdrom_mechanism_status(struct scsi_command *command);
/* media events that GET EVENT STATUS NOTIFICATION tells (MMC-6, 6.6.2.5) */
#define SCSI_MEDIA_EJECT	1	/* somebody wants it out */
#define SCSI_MEDIA_NEW		2
#define SCSI_MEDIA_REMOVED	3
#define SCSI_MEDIA_EVENT_MAX	3

static inline uint16_t be16_load(const void *from)
{
	const uint8_t *bytes = from;

	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static inline void be16_store(void *to, uint16_t v)
{
	uint8_t *bytes = to;

	bytes[0] = (uint8_t)(v >> 8);
	bytes[1] = (uint8_t)v;
}

#endif
