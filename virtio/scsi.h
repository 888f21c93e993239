/* SPDX-License-Identifier: BSD-2-Clause */
/* Inside virtio/scsi*.c: a controller, and what of it is in flight. All of it belongs to the controller's event loop. */
#ifndef VIRTIO_SCSI_H
#define VIRTIO_SCSI_H

#include <linux/virtio_scsi.h>

#include "kvm/disk.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/scsi.h"
#include "kvm/virtio.h"
#include "virtio/waiting.h"

#define SCSI_QUEUE_CONTROL	0
#define SCSI_QUEUE_EVENT	1
#define SCSI_QUEUE_REQUESTS	2	/* the first of them */
#define SCSI_QUEUE_SIZE		256
#define SCSI_QUEUES_MAX		((unsigned int)VIRTIO_QUEUES_MAX - SCSI_QUEUE_REQUESTS)	/* of requests */
/* What a driver may set: all that SPC-4 has use for. */
#define SCSI_SENSE_SIZE_MAX	252
#define SCSI_CDB_SIZE_MAX	260

struct scsi;

/* A SCSI command in flight, or kept for the next. */
struct scsi_request {
	struct scsi_command command;
	struct scsi *scsi;
	struct virtqueue *vq;
	struct virtio_request *req;
	uint64_t tag, serial;
	uint8_t ended_by;		/* a VIRTIO_SCSI_S_* that a task management function gives it instead of its own */
	struct iovec *trimmed;		/* the segment that data-in begins in, behind the response, and by how much; or NULL */
	size_t trim;
	struct scsi_request *next, **link;
};

/* A task management function that waits until the commands it ends are over. */
struct scsi_tmf {
	struct virtqueue *vq;
	struct virtio_request *req;
	uint32_t subtype;
	uint8_t target;
	const struct scsi_unit *unit;	/* NULL: all of the target */
	uint64_t tag;			/* ABORT TASK: of the command */
	uint64_t before;		/* commands with a smaller serial */
	struct scsi_tmf *next;
};

struct scsi_unit_slot {
	struct scsi_unit unit;
	struct disk_owner owner;
	/* a drive's tray: how often it has moved since it was shut first, and how much of that clients were told */
	_Atomic uint32_t tray_moves;	/* written by the loop */
	uint32_t tray_told;		/* the main thread's */
	struct event_work tray_work;	/* on the main loop */
	char name[32];			/* the owner's: "disk0", as disks_find() knows it */
	bool attached;
	uint8_t subscribed;		/* to VIRTIO_SCSI_EVT_ASYNC_* of GET EVENT STATUS NOTIFICATION's classes; saved */
};

struct scsi {
	struct virtio_device device;
	struct scsi_bus bus;
	struct virtio_scsi_config config;	/* constant but for what the driver writes */
	_Atomic uint32_t sense_size, cdb_size;	/* the driver's choice; vCPUs read it */

	struct scsi_request *pool, *flying;
	uint64_t serial;		/* of the next command */
	uint64_t pushed;		/* queues that have completions which the driver wasn't told of, one bit each */
	struct scsi_tmf *functions;
	uint8_t missed;			/* an event found no buffer */
	struct virtio_waiting waiting;	/* loaded, until the device resumes */

	struct scsi *next;		/* of the VM's */
	size_t count;
	struct scsi_unit_slot slots[];
};

/** scsi_power_on() - what a reset does, with nothing in flight; scsi_ops - virtio/scsi.c's, for virtio/scsi-setup.c */
void scsi_power_on(struct scsi *scsi);
extern const struct virtio_device_ops scsi_ops;
/** scsi_find_lun() - what the eight bytes of a request name; NULL in *@unit: no such unit; the result: the target exists */
bool scsi_find_lun(const struct scsi *scsi, const uint8_t lun[8], uint8_t *target, struct scsi_unit **unit);
struct scsi_unit_slot *scsi_slot_of(struct scsi_unit *unit);
/** scsi_submit_all() - hands the batch of commands to the disks */
void scsi_submit_all(struct scsi *scsi);
/** scsi_batch_done() - tells the driver of what has come back, and ends the functions that waited for it */
void scsi_batch_done(void *opaque);
/** scsi_bus_batch() - the same, for the bus */
void scsi_bus_batch(struct scsi_bus *bus);

/* ---- virtio/scsi-request.c ---- */
void scsi_handle_requests(struct scsi *scsi, struct virtqueue *vq);
/** scsi_requests_waiting() - adds those that disks keep until the VM goes on; or -ENOMEM */
int __must_check scsi_requests_waiting(const struct scsi *scsi, struct virtio_waiting *waiting);
/** scsi_requests_resume() - those, and those that were loaded, are tried again */
void scsi_requests_resume(struct scsi *scsi);
/** scsi_requests_end() - commands that are cancelled and that a disk keeps come to their end */
void scsi_requests_end(struct scsi *scsi);
void scsi_requests_free(struct scsi *scsi);

/* ---- virtio/scsi-control.c ---- */
void scsi_handle_control(struct scsi *scsi, struct virtqueue *vq);
/** scsi_functions_end() - those whose commands are all over */
void scsi_functions_end(struct scsi *scsi);
/** scsi_handle_event_queue() - the driver has put buffers there */
void scsi_handle_event_queue(struct scsi *scsi, struct virtqueue *vq);
void scsi_unit_changed(struct scsi_unit *unit, enum scsi_change change);

/* ---- virtio/scsi-drive.c ---- */
/** scsi_drive_init() - of a slot whose unit is a drive, before it is on its loop; scsi_drive_exit() - of any */
void scsi_drive_init(struct scsi_unit_slot *slot);
void scsi_drive_exit(struct scsi_unit_slot *slot);
/** scsi_drive_look() - the tray may have moved: clients are told; on the loop */
void scsi_drive_look(struct scsi_unit_slot *slot);

#endif
