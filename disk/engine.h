/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside disk/: what a disk is made of. A format (raw, later qcow2 and others) turns guest requests into
 * requests on its file; an engine carries those out. Both are one file each.
 */
#ifndef DISK_ENGINE_H
#define DISK_ENGINE_H

#include "kvm/disk.h"

struct disk_aio;
struct disk_worker;

struct disk {
	char *path;
	int fd;
	bool direct;
	struct disk_info info;
	const struct disk_format *format;
	void *format_state;

	/* owned by the loop */
	struct event_loop *loop;
	void (*batch_done)(void *opaque);
	void *opaque;
	struct disk_request *queued, **queued_tail;
	unsigned int in_flight;
	struct disk_aio *aio;
	struct disk_worker *worker;
	bool flush_by_worker;		/* its file system has no asynchronous one */
};

/**
 * struct disk_format - one image format, registered by DISK_FORMAT()
 * @probe: how surely @head (the first @length bytes) is of this format: 0 not, higher is surer
 * @open: reads what it must of disk->fd and fills disk->info; nothing is written
 * @submit: takes all of disk->queued
 */
struct disk_format {
	const char *name;
	int (*probe)(const uint8_t *head, size_t length);
	int (*open)(struct disk *disk);
	void (*close)(struct disk *disk);
	void (*submit)(struct disk *disk);
};

struct disk_format_item {
	const struct disk_format *format;
	struct disk_format_item *next;
};
void disk_format_register(struct disk_format_item *item);

#define DISK_FORMAT(format_)								\
	static struct disk_format_item format_##_item = { .format = &(format_) };	\
	static void __attribute__((constructor)) format_##_register(void)		\
	{										\
		disk_format_register(&format_##_item);					\
	}										\
	struct disk_format_item /* swallows the semicolon */

/** disk_complete() - hands @request back with @result; from engines, on the loop */
void disk_complete(struct disk_request *request, int result);
/** disk_batch_done() - behind a batch of disk_complete() */
void disk_batch_done(struct disk *disk);

/** disk_lock() - QEMU's byte locks on disk->fd, for reading or for writing; -EBUSY (said) when another has it */
int __must_check disk_lock(const struct disk *disk);

/* ---- libaio: reads, writes, flushes (disk/aio.c) ---- */
int __must_check disk_aio_start(struct disk *disk);
void disk_aio_stop(struct disk *disk);
/** disk_aio_submit() - the list @requests of READ, WRITE and FLUSH in as few system calls as may be */
void disk_aio_submit(struct disk *disk, struct disk_request *requests);
/** disk_aio_wait() - blocks until at least one is complete */
void disk_aio_wait(struct disk *disk);

/* ---- a thread for calls that block: discard, write zeroes, some flushes (disk/worker.c) ---- */
void disk_worker_submit(struct disk *disk, struct disk_request *request);
/** disk_worker_wait() - blocks until at least one is complete; only while the worker has one */
void disk_worker_wait(struct disk *disk);
void disk_worker_stop(struct disk *disk);

#endif
