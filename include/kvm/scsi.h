/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SCSI logical units on disks: what a command does, without a word of how it came (SAM-5, SPC-4, SBC-3, MMC-6).
 *
 * A unit is a disk (hw/scsi-disk.c) or a CD-ROM drive (hw/scsi-cdrom.c) on a struct disk. Its transport fills a
 * struct scsi_command and calls scsi_execute(); the command comes back by done(), at once or later. All of it belongs to
 * the event loop that the disks are attached to. Every byte of a command and of its data is the guest's.
 */
#ifndef KVM_SCSI_H
#define KVM_SCSI_H

#include <sys/uio.h>

#include "kvm/disk.h"
#include "kvm/types.h"

#define SCSI_CDB_MAX	32
#define SCSI_SENSE_MAX	18

#define SCSI_GOOD		0x00
#define SCSI_CHECK_CONDITION	0x02

struct scsi_bus;
struct scsi_unit_type;

/** struct scsi_data - a command's data, one way: segments without an empty one. A command may shorten them */
struct scsi_data {
	struct iovec *iov;
	unsigned int count;
	uint32_t bytes;
};

/** enum scsi_delivery - what the transport says besides the status, which means nothing unless it is DELIVERED */
enum scsi_delivery { SCSI_DELIVERED, SCSI_OVERRUN, SCSI_FAILED };

/** enum scsi_change - what a unit tells its transport, for those that tell their initiator by themselves */
enum scsi_change { SCSI_CHANGE_CAPACITY, SCSI_CHANGE_MEDIUM };

/* What a unit has to say at the next command, one bit each; the lower ones first. */
#define SCSI_ATTENTION_POWER_ON	0x01
#define SCSI_ATTENTION_RESET	0x02	/* of the unit, by its initiator */
#define SCSI_ATTENTION_NEXUS	0x04
#define SCSI_ATTENTION_MEDIUM	0x08
#define SCSI_ATTENTION_CAPACITY	0x10
#define SCSI_ATTENTION_ALL	0x1f

struct scsi_unit {
	/* constant once it is on a bus */
	struct scsi_bus *bus;
	const struct scsi_unit_type *type;
	struct disk *disk;
	uint8_t target;
	uint16_t lun;
	uint32_t block_size;
	uint32_t physical_block_size, min_io_size, opt_io_size;	/* bytes; 0: as the image says; set before it is added */
	struct scsi_unit *next;

	/* owned by the loop; saved */
	uint8_t attention;
	uint8_t write_back;		/* the caching page's WCE */
	uint8_t stopped;		/* by START STOP UNIT */
	uint8_t tray_open, tray_locked;	/* of a CD-ROM drive */
	uint8_t media_event;		/* MMC's code, which GET EVENT STATUS NOTIFICATION has yet to tell */
};

struct scsi_bus {
	struct scsi_unit *first;	/* by target, then LUN */
	/** @changed: on the loop; or NULL */
	void (*changed)(struct scsi_unit *unit, enum scsi_change change);
	/** @batch: behind commands that came to their end without the disk's own batch_done(); on the loop */
	void (*batch)(struct scsi_bus *bus);
	/* owned by the loop: commands whose next step has its turn later, so that none has the loop for itself */
	struct event_work work;
	struct scsi_command *waiting, **waiting_tail;
};

struct scsi_command {
	/* set by the transport, which keeps it all until done() */
	uint8_t cdb[SCSI_CDB_MAX];	/* what is shorter, is zero behind */
	struct scsi_data out, in;
	void (*done)(struct scsi_command *command);
	bool cancelled;			/* set at any time: a command of many steps ends at its next, see scsi_unit_end_cancelled() */

	/* for done() */
	enum scsi_delivery delivery;
	uint8_t status;
	uint8_t sense_length;
	uint8_t sense[SCSI_SENSE_MAX];
	uint32_t transferred;		/* bytes, either way */

	/* private to hw/scsi*.c */
	const struct scsi_bus *bus;
	struct scsi_unit *unit;		/* NULL: the target has none at that LUN */
	uint8_t target;
	struct disk_request io;
	void (*step)(struct scsi_command *command);	/* when @io is done; NULL: the command is done too */
	struct scsi_command *next;
	uint64_t lba, blocks;		/* what is left of it */
	uint8_t *buffer;		/* its own; or NULL */
	size_t buffer_size, buffer_at;
	struct iovec iov;
};

/** scsi_bus_init() - of a zeroed struct, whose callbacks the caller sets; scsi_bus_exit() with nothing in flight */
void scsi_bus_init(struct scsi_bus *bus, struct event_loop *loop);
void scsi_bus_exit(struct scsi_bus *bus);
/** scsi_bus_drain() - returns when nothing is in flight on any unit, all done() having run; on the loop */
void scsi_bus_drain(struct scsi_bus *bus);
/** scsi_bus_add() - -EEXIST for a unit that is there already, -EINVAL for a disk that can't be one; says why not */
int __must_check scsi_bus_add(struct scsi_bus *bus, struct scsi_unit *unit, struct disk *disk, bool cdrom, uint8_t target,
			      uint16_t lun);
/** scsi_bus_find() - or NULL; scsi_bus_has_target() - at any LUN */
struct scsi_unit *scsi_bus_find(const struct scsi_bus *bus, uint8_t target, uint16_t lun);
bool scsi_bus_has_target(const struct scsi_bus *bus, uint8_t target);

/** scsi_unit_power_on() - with nothing in flight */
void scsi_unit_power_on(struct scsi_unit *unit);
/** scsi_unit_reset() - by a task management function; @attention says which */
void scsi_unit_reset(struct scsi_unit *unit, uint8_t attention);
/** scsi_unit_end_cancelled() - ends those cancelled commands that the disk keeps until the VM goes on; on the loop */
void scsi_unit_end_cancelled(struct scsi_unit *unit);
bool scsi_unit_is_cdrom(const struct scsi_unit *unit);
/** scsi_check_disc() - -EINVAL (said): an image that can't be in a CD-ROM drive */
int __must_check scsi_check_disc(const struct disk *disk);
/**
 * scsi_unit_open_tray() - of a CD-ROM drive, from outside; on the loop
 * @force: although it is locked; else that is -EBUSY, and the initiator is asked to let go
 */
int __must_check scsi_unit_open_tray(struct scsi_unit *unit, bool force);
void scsi_unit_close_tray(struct scsi_unit *unit);
/** scsi_unit_exchange() - @disk, attached, is in the drive from now on, whose tray is open; the other has nothing in flight; on the loop */
void scsi_unit_exchange(struct scsi_unit *unit, struct disk *disk);
/** scsi_unit_resized() - the disk has another size now: the initiator is told */
void scsi_unit_resized(struct scsi_unit *unit);

/** scsi_execute() - at @lun of a @target that has one at least; the disk's batch is left to disk_submit() */
void scsi_execute(const struct scsi_bus *bus, uint8_t target, uint16_t lun, struct scsi_command *command);
/** scsi_execute_well_known() - at the well known logical unit that only knows REPORT LUNS, of all targets */
void scsi_execute_well_known(const struct scsi_bus *bus, struct scsi_command *command);
/** scsi_lun_encode() - @lun as the two bytes of a single level LUN */
void scsi_lun_encode(uint8_t bytes[2], uint16_t lun);
/** scsi_lun_decode() - its reverse; false: of another addressing method */
bool scsi_lun_decode(const uint8_t bytes[2], uint16_t *lun);

#endif
