/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * SCSI commands and the medium: ranges of blocks, reads and writes between the initiator's buffers and the disk, the
 * cache (SBC-3, 5). A range is checked against the disk's size before it becomes host I/O, so that no command reads past
 * the end or makes a file grow.
 */
#include "hw/scsi.h"

#include <limits.h>

uint64_t scsi_unit_blocks(const struct scsi_unit *unit)
{
	return disk_info(unit->disk)->size / unit->block_size;
}

bool scsi_writes_through(const struct scsi_unit *unit)
{
	return !unit->write_back;
}

void scsi_decode_range(const uint8_t *cdb, uint64_t *lba, uint32_t *blocks)
{
	switch (cdb[0] >> 5) {
	case 0:
		*lba = (uint32_t)(cdb[1] & 0x1f) << 16 | be16_load(cdb + 2);
		*blocks = cdb[4] ? cdb[4] : 256;
		return;
	case 4:
		*lba = be64_load(cdb + 2);
		*blocks = be32_load(cdb + 10);
		return;
	case 5:
		*lba = be32_load(cdb + 2);
		*blocks = be32_load(cdb + 6);
		return;
	default:
		*lba = be32_load(cdb + 2);
		*blocks = be16_load(cdb + 7);
		return;
	}
}

bool scsi_range_ok(struct scsi_command *command, uint64_t lba, uint64_t blocks)
{
	if (range_contains(0, scsi_unit_blocks(command->unit), lba, blocks))
		return true;
	scsi_check(command, SENSE_LBA);
	return false;
}

/* ---- host I/O ---- */

static void wait_for_turn(struct scsi_command *command)
{
	struct scsi_bus *bus = command->unit->bus;

	command->next = NULL;
	*bus->waiting_tail = command;
	bus->waiting_tail = &command->next;
	event_work_post(&bus->work);
}

static void io_done(struct disk_request *io, int result)
{
	struct scsi_command *command = container_of(io, struct scsi_command, io);
	enum disk_policy policy = DISK_IGNORE;

	/* what was to end anyway isn't worth standing still for */
	if (result)
		policy = command->cancelled ? DISK_REPORT : disk_failed(command->unit->disk, io, result);
	if (policy == DISK_STOP)
		return;
	if (policy == DISK_REPORT)
		scsi_check_host(command, result);
	else if (!command->step)
		scsi_good(command);
	else
		wait_for_turn(command);
}

/* The next step of those that wait now; false: none did. */
static bool take_turns(struct scsi_bus *bus)
{
	struct scsi_command *command = bus->waiting, *next;

	if (!command)
		return false;
	bus->waiting = NULL;
	bus->waiting_tail = &bus->waiting;
	for (; command; command = next) {
		next = command->next;
		if (command->cancelled)
			scsi_check(command, SENSE_CANCELLED);
		else
			command->step(command);
	}
	bus->batch(bus);
	return true;
}

static void turns_work(struct event_work *work)
{
	take_turns(container_of(work, struct scsi_bus, work));
}

void scsi_bus_init(struct scsi_bus *bus, struct event_loop *loop)
{
	bus->waiting_tail = &bus->waiting;
	event_work_init(loop, &bus->work, turns_work);
}

void scsi_bus_exit(struct scsi_bus *bus)
{
	event_work_cancel(&bus->work);
}

void scsi_bus_drain(struct scsi_bus *bus)
{
	do {
		for (struct scsi_unit *unit = bus->first; unit; unit = unit->next)
			disk_drain(unit->disk);
	} while (take_turns(bus));
	bus->batch(bus);
}

void scsi_unit_end_cancelled(struct scsi_unit *unit)
{
	struct disk_request *io, *others = NULL, **tail = &others;

	while ((io = disk_take_kept(unit->disk))) {
		struct scsi_command *command = container_of(io, struct scsi_command, io);

		if (command->cancelled) {
			scsi_check(command, SENSE_CANCELLED);
			continue;
		}
		io->next = NULL;
		*tail = io;
		tail = &io->next;
	}
	while ((io = others)) {
		others = io->next;
		disk_keep(unit->disk, io);
	}
}

void scsi_submit(struct scsi_command *command, enum disk_op op, uint64_t offset, uint64_t length,
		 void (*step)(struct scsi_command *command))
{
	struct disk_request *io = &command->io;

	io->op = op;
	io->offset = offset;
	io->length = length;
	io->done = io_done;
	command->step = step;
	disk_queue(command->unit->disk, io);
}

void scsi_submit_next(struct scsi_command *command, enum disk_op op, uint64_t offset, uint64_t length,
		      void (*step)(struct scsi_command *command))
{
	struct disk *disk = command->unit->disk;

	scsi_submit(command, op, offset, length, step);
	disk_submit(disk);
}

/* ---- reads and writes ---- */

/* The first @bytes of the command's segments; false: they are fewer, or more than a host takes at once. */
static bool transfer_take(struct scsi_command *command, struct scsi_data *data, uint64_t bytes)
{
	uint64_t left = bytes;
	unsigned int count = 0;

	if (bytes > data->bytes) {
		scsi_deliver_not(command, SCSI_OVERRUN);
		return false;
	}
	for (; left; count++) {
		data->iov[count].iov_len = MIN((uint64_t)data->iov[count].iov_len, left);
		left -= data->iov[count].iov_len;
	}
	if (count > IOV_MAX) {
		scsi_deliver_not(command, SCSI_FAILED);
		return false;
	}
	command->io.iov = data->iov;
	command->io.iov_count = count;
	command->transferred = (uint32_t)bytes;
	return true;
}

static void read_flushed(struct scsi_command *command)
{
	uint32_t size = command->unit->block_size;

	scsi_submit_next(command, DISK_READ, command->lba * size, command->blocks * size, NULL);
}

void scsi_transfer(struct scsi_command *command, uint64_t lba, uint64_t blocks, bool write, bool fua)
{
	uint32_t size = command->unit->block_size;

	if (!scsi_range_ok(command, lba, blocks))
		return;
	if (!blocks) {
		scsi_good(command);
		return;
	}
	if (!transfer_take(command, write ? &command->out : &command->in, blocks * size))
		return;
	command->io.fua = write && (fua || scsi_writes_through(command->unit));
	if (fua && !write && !disk_info(command->unit->disk)->read_only) {
		/* SBC-3, 4.15: what is read so must be on the medium before */
		command->lba = lba;
		command->blocks = blocks;
		scsi_submit(command, DISK_FLUSH, 0, 0, read_flushed);
		return;
	}
	scsi_submit(command, write ? DISK_WRITE : DISK_READ, lba * size, blocks * size, NULL);
}

/* READ (6), (10), (12), (16). */
void scsi_read(struct scsi_command *command)
{
	uint64_t lba;
	uint32_t blocks;
	bool six = command->cdb[0] == 0x08;

	scsi_decode_range(command->cdb, &lba, &blocks);
	/* RDPROTECT: there is no protection information to check. MMC has nothing in these bits. */
	if (!six && !scsi_unit_is_cdrom(command->unit) && command->cdb[1] >> 5) {
		scsi_check_cdb(command, 1);
		return;
	}
	scsi_transfer(command, lba, blocks, false, !six && (command->cdb[1] & 0x08));
}

/* SYNCHRONIZE CACHE (10), (16): all of it, whatever part is asked for. */
void scsi_flush(struct scsi_command *command)
{
	uint64_t lba;
	uint32_t blocks;

	scsi_decode_range(command->cdb, &lba, &blocks);
	if (!scsi_range_ok(command, lba, blocks))
		return;
	command->io.fua = false;
	scsi_submit(command, DISK_FLUSH, 0, 0, NULL);
}

/* READ CAPACITY (10). */
void scsi_read_capacity(struct scsi_command *command)
{
	uint64_t last = scsi_unit_blocks(command->unit) - 1;
	uint8_t data[8];

	/* an LBA is there for PMI, which is obsolete */
	if (!(command->cdb[8] & 1) && be32_load(command->cdb + 2)) {
		scsi_check_cdb(command, 2);
		return;
	}
	be32_store(data, (uint32_t)MIN(last, (uint64_t)UINT32_MAX));
	be32_store(data + 4, command->unit->block_size);
	scsi_reply(command, data, sizeof(data), sizeof(data));
}
