/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks: image formats and I/O engines behind one interface.
 *
 * A disk is opened once (dev_base_init), and used by one device on one event loop: requests are submitted in
 * batches and complete on that loop. A format registers a struct disk_format; raw is one among them.
 */
#ifndef KVM_DISK_H
#define KVM_DISK_H

#include <sys/uio.h>

#include "kvm/event.h"
#include "kvm/log.h"
#include "kvm/types.h"

struct disk;
struct disk_aio_ops;
struct disk_engine;
struct disk_file;
struct disk_request;
struct keyval;
struct kvm;

enum disk_op { DISK_READ, DISK_WRITE, DISK_FLUSH, DISK_DISCARD, DISK_WRITE_ZEROES };

/** struct disk_request - embedded in the device's request; the caller keeps it and its iovecs until @done */
struct disk_request {
	enum disk_op op;
	uint64_t offset;		/* bytes; a multiple of the disk's logical block size */
	uint64_t length;		/* bytes; READ and WRITE: the sum of @iov */
	const struct iovec *iov;
	unsigned int iov_count;
	bool fua;			/* a change: on the medium before it is done */
	bool may_unmap;			/* WRITE_ZEROES: may free the space */
	/** @done: 0 or negative errno; on the disk's loop; may submit again */
	void (*done)(struct disk_request *request, int result);
	/* private to the disk and its engine */
	struct disk_engine *engine;
	struct disk_file *file;
	struct disk_request *next;
	void *bounce;
	struct iovec bounce_iov;
	uint64_t moved;			/* bytes of the request that are done already */
	bool by_thread;			/* in the hands of disk/threads.c */
	bool alone;			/* not to be merged with others, again */
	uint64_t engine_data[8];	/* the engine's control block */
};

struct disk_info {
	uint64_t size;			/* bytes */
	uint32_t block_size;		/* logical: 512 or 4096 */
	uint32_t physical_block_size;
	bool read_only;
	bool write_through;		/* changes are wanted with fua, whatever the guest says */
	bool discard, write_zeroes;
	bool no_medium;			/* what an empty drive has in place of a disk: no I/O but flushes, and no bytes */
	char serial[21];		/* "" unless serial= was given */
};

enum disk_limit_kind { DISK_LIMIT_TOTAL, DISK_LIMIT_READ, DISK_LIMIT_WRITE, DISK_LIMIT_KINDS };

struct disk_limit {
	uint64_t rate;			/* a second; 0: no limit */
	uint64_t max;			/* a second, in a burst; 0: no bursts */
	uint64_t max_length;		/* seconds that a burst may go on; 0: 1, spent at any speed */
};

/** struct disk_limits - of requests and bytes, with QEMU's meaning (disk/limits.c) */
struct disk_limits {
	struct disk_limit ops[DISK_LIMIT_KINDS], bytes[DISK_LIMIT_KINDS];
	uint64_t ops_size;		/* a request of more bytes counts as several; 0: as one */
};

/** struct disk_place - what kind of device the guest sees a disk as */
struct disk_place {
	bool scsi;			/* on the SCSI bus; else a virtio-blk device of its own */
	bool cdrom;			/* in a drive of CD-ROMs there */
	int target, lun;		/* there; @target -1: the next that is free */
};

/**
 * enum disk_policy - what becomes of a request that failed: the guest is told, or isn't, or stands still with the
 * request kept; STOP_ENOSPC: stands still where the host has no room, and is told otherwise
 */
enum disk_policy { DISK_REPORT, DISK_IGNORE, DISK_STOP, DISK_STOP_ENOSPC };

/** struct disk_device_options - what -d says of the guest's device */
struct disk_device_options {
	unsigned int queues;		/* 0: one a vCPU */
	char *iothread;			/* NULL: the loop that disks share */
	uint32_t physical_block_size, min_io_size, opt_io_size;	/* bytes; 0: as the image says */
	enum disk_policy read_error, write_error;
};

int __must_check disk_device_options_fill(struct disk_device_options *options, struct keyval *keyval);
void disk_device_options_free(struct disk_device_options *options);

/**
 * struct disk_options - one -d argument: "image[,ro][,direct][,cache=C][,aio=A][,serial=S][,format=F][,snapshot-name=N][,backing=any]
 * [,if=I][,KEY=VALUE of the device...]"
 */
struct disk_options {
	struct disk_place place;
	char *path;			/* "": a drive without a medium */
	char *format;			/* NULL: probe */
	char *serial;
	char *snapshot;			/* the disk as it was then, read only; NULL: as it is */
	bool read_only, direct;
	bool write_through;		/* see struct disk_info */
	bool no_flush;			/* nothing waits for the medium: a power cut may cost the image */
	const struct disk_aio_ops *aio;	/* by what its I/O is done; NULL: what there is */
	struct disk_limits limits;
	bool throw_away;		/* what is written goes with the disk */
	char *overlay;			/* what is written goes to this image, which is made if need be; or NULL */
	const int *written;		/* with throw_away: images of such, over which the new one lies, the newest first */
	size_t written_count;
	bool backing_any;		/* an image whose format was probed may refer to files in other folders */
	struct disk_device_options device;
	/* of tools (kvm/image.h), not of -d */
	bool alone;			/* leaves out what lies behind the image: its clusters there are holes */
	bool repair;			/* a disk that is read only on a file that is not */
	const char *beneath;		/* the real path of the folder it must lie in, with what it refers to; or NULL */
	const char *shown;		/* what messages call it, in the same folder; NULL: @path */
};

int __must_check disk_options_parse(struct disk_options *options, const char *text);
void disk_options_free(struct disk_options *options);

/**
 * disk_open() - opens, locks and probes an image; nothing on it is changed, but for the refcounts of one that is opened
 *		 for writing and says that it wasn't closed
 *
 * Says one line on failure: no such file, no permission (and ",ro"), in use, not a file or block device.
 * The lock is as QEMU's (OFD byte locks 100..), so that the two never write one image at once.
 */
int __must_check disk_open(struct disk **disk, const struct disk_options *options);
/** disk_close() - no request may be in flight */
void disk_close(struct disk *disk);
const struct disk_info *disk_info(const struct disk *disk);

/**
 * disk_attach() - completions run on @loop from now on; disk_detach() before another loop takes it
 * @batch_done: called behind a batch of done callbacks, so that the device can tell its driver once; or NULL
 */
int __must_check disk_attach(struct disk *disk, struct event_loop *loop, void (*batch_done)(void *opaque),
			     void *opaque);
void disk_detach(struct disk *disk);

/** disk_queue() - adds a request to the batch; disk_submit() sends the batch in one system call; loop thread */
void disk_queue(struct disk *disk, struct disk_request *request);
void disk_submit(struct disk *disk);
/** disk_drain() - returns when nothing is in flight, all done callbacks having run; loop thread */
void disk_drain(struct disk *disk);

struct disk_owner;

/** struct disk_drive_ops - a drive with a tray; main thread */
struct disk_drive_ops {
	/**
	 * @open_tray: 0, also where it is open; -EBUSY: its guest has locked it, and is asked to let go
	 * @force: whatever the guest has locked
	 */
	int (*open_tray)(struct disk_owner *owner, bool force);
	void (*close_tray)(struct disk_owner *owner);
	bool (*tray_is_open)(struct disk_owner *owner);
	/** @exchange: with an open tray: @disk is in it from now on, and the other is detached; says why it can't be */
	int (*exchange)(struct disk_owner *owner, struct disk *disk);
};

/**
 * struct disk_owner - the device of a disk, for whoever speaks of it by its name; embedded in the device
 */
struct disk_owner {
	struct kvm *kvm;
	const char *name;		/* the device's: "virtio-blk0" */
	enum disk_policy read_error, write_error;
	struct log_limit log_limit;	/* of what its guest can make fail */
	const struct disk_drive_ops *drive;	/* of a drive whose medium can be taken out; else NULL */
	/** @resized: disk_info()'s size is another one now; on the disk's loop; may be NULL */
	void (*resized)(struct disk_owner *owner);
	/**
	 * @replace: @disk, of the same size and properties, takes the other's place, which is detached; the device is quiesced
	 * and nothing is kept; main thread; 0 or negative errno, and all is as it was; may be NULL
	 */
	int (*replace)(struct disk_owner *owner, struct disk *disk);
};

/** disk_set_owner() - of an attached disk that is idle; NULL before it is detached; main thread */
void disk_set_owner(struct disk *disk, struct disk_owner *owner);
/** disk_owner() - or NULL */
struct disk_owner *disk_owner(const struct disk *disk);

/**
 * disk_failed() - what becomes of @request, whose done was called with @result below 0; from there, on the loop
 *
 * DISK_REPORT: it failed. DISK_IGNORE: it is to look done. DISK_STOP: it is kept, the VM is about to be paused, and done
 * is called again after disk_retry(); until then the request and its segments have to stay. Clients are told.
 */
enum disk_policy disk_failed(struct disk *disk, struct disk_request *request, int result);
/** disk_retry() - sends what is kept again: when the device resumes */
void disk_retry(struct disk *disk);
/**
 * disk_grow() - a larger size for an attached disk, while a guest uses it; main thread
 * 0, -EROFS, or a negative errno that was said: -EUSAGE for a smaller size or part of a block
 */
int __must_check disk_grow(struct disk *disk, uint64_t size);

/**
 * disk_kept() - the first request that is kept, the others by next; disk_take_kept() - takes it off; NULL: none
 * disk_keep() - puts one back, behind the others
 */
struct disk_request *disk_kept(struct disk *disk);
struct disk_request *disk_take_kept(struct disk *disk);
void disk_keep(struct disk *disk, struct disk_request *request);

/** disk_set_limits() - they must have been checked; any thread */
int __must_check disk_set_limits(struct disk *disk, const struct disk_limits *limits);

/** disks_find() - by its device's name ("virtio-blk0"), its place among all of -d ("disk0") or its serial; NULL: there is none */
struct disk *disks_find(struct kvm *kvm, const char *name);
/** disks_index() - the same as disks_get() counts them; SIZE_MAX: there is none */
size_t disks_index(struct kvm *kvm, const char *name);

/** struct disks_medium - a disk that is to take the place of what -d named; disk/medium.c; main thread */
struct disks_medium {
	struct disk *disk;
	char *text;			/* -d, as it would be then */
};

/**
 * disks_medium_open() - image @path with all that -d says of disk @index; nothing of the VM is changed
 * @path: NULL: no medium; @format: NULL: as -d says. Says why not.
 */
int __must_check disks_medium_open(struct kvm *kvm, size_t index, const char *path, const char *format, struct disks_medium *medium);
/** disks_medium_use() - it is disk @index from now on, and what was that, detached, goes into @medium; or -ENOMEM */
int __must_check disks_medium_use(struct kvm *kvm, size_t index, struct disks_medium *medium);
void disks_medium_close(struct disks_medium *medium);

/** struct disk_identity - one of the files that a disk is made of, as it is now */
struct disk_identity {
	char *path;			/* real and absolute, or as a server's disk was named; to be freed */
	uint64_t bytes;
	int64_t changed_ns;		/* when it was last written to; 0: a block device or a server can't tell */
	bool writable;
	bool nameless;			/* it goes with the VM */
};

/**
 * disk_identify() - of image @depth of the chain, 0 being the one in front; 1, 0: there is no such, or negative errno
 * disk_sync() - all that the guest was told is written is in the files, by the disk's own loop; nothing is in flight
 */
int __must_check disk_identify(const struct disk *disk, unsigned int depth, struct disk_identity *identity);
int __must_check disk_sync(struct disk *disk);
/**
 * disk_hand_over() - of a disk that was synced and is quiesced: another process may open it, and write to it
 * disk_take_back() - it is ours again. -EBUSY (not said): somebody has it; -ESTALE (said): somebody has written to it
 * disk_is_held() - whether a lock of ours keeps others from writing to it, so that who has the disk is known to all
 */
bool disk_is_held(const struct disk *disk);
void disk_hand_over(struct disk *disk);
int __must_check disk_take_back(struct disk *disk);
/**
 * disk_copy_writes() - what was written to a disk that was opened with throw_away, as a new image of its own: *@fd
 *
 * -1 for a disk that is read only. 0 or negative errno (said): -ENOTSUP for a disk that can be written and stays. It has
 * been synced, and is quiesced.
 */
int __must_check disk_copy_writes(const struct disk *disk, int *fd);

/**
 * disks_plug() - one more disk, by -d's @text, for a device that comes now; -EUSAGE for what isn't an image of virtio-blk's
 * disks_name() - what clients call it; disks_place_of() - as disks_get() counts it, until another one goes
 * disks_unplug() - closes it; nobody is attached. The disks must have been made: with --root-ports they are. Main thread.
 */
int __must_check disks_plug(struct kvm *kvm, const char *text, const char *id, struct disk **disk);
int __must_check disks_name(struct kvm *kvm, const struct disk *disk, const char *id);
size_t disks_place_of(struct kvm *kvm, const struct disk *disk);
void disks_unplug(struct kvm *kvm, struct disk *disk);
/** disks_count(), disks_get() - what -d opened for a VM (disk/disks.c, dev_base_init) */
size_t disks_count(struct kvm *kvm);
struct disk *disks_get(struct kvm *kvm, size_t index);
/** disks_place() - of a disk that there is */
const struct disk_place *disks_place(struct kvm *kvm, size_t index);
/** disks_root() - the kernel's parameters for the first virtio or else SCSI disk as its root; NULL without one */
struct config;
const char *disks_root(const struct config *config);
/** disks_device_options() - what that -d says of the device; lives as long as the disk */
const struct disk_device_options *disks_device_options(struct kvm *kvm, size_t index);
/** disks_loop() - the event loop that disks' devices share: a thread of its own, since page cache reads may block */
struct event_loop *disks_loop(struct kvm *kvm);

#endif
