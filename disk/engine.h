/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside disk/: what a disk is made of. A disk is a format over a file, and perhaps over another disk behind it. A
 * format (raw, qcow2) turns guest requests into requests on files; the disk's one engine carries those out, whatever
 * files of the chain they are for.
 */
#ifndef DISK_ENGINE_H
#define DISK_ENGINE_H

#include "kvm/disk.h"

struct disk_aio;
struct disk_worker;

/* Owned by the loop; what is in flight counts guest requests and those that formats make of them. */
struct disk_engine {
	struct event_loop *loop;
	void (*batch_done)(void *opaque);
	void *opaque;
	unsigned int in_flight;
	struct disk_aio *aio;
	struct disk_worker *worker;
};

struct disk {
	struct disk_file *file;
	struct disk_info info;
	const struct disk_format *format;
	void *format_state;
	bool guessed;			/* the format was probed, not given */
	struct disk_engine *engine;	/* &own_engine, or that of the disk which this one lies behind */
	struct disk_engine own_engine;

	/* owned by the loop */
	struct disk_request *queued, **queued_tail;
};

/**
 * struct disk_format - one image format, registered by DISK_FORMAT()
 * @probe: how surely @head (the first @length bytes) is of this format: 0 not, higher is surer
 * @open: reads what it must of disk->file and fills disk->info, whose sizes are the file's so far; nothing is written
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

/** disk_take_queued() - the batch, as a list that the caller now owns */
static inline struct disk_request *disk_take_queued(struct disk *disk)
{
	struct disk_request *requests = disk->queued;

	disk->queued = NULL;
	disk->queued_tail = &disk->queued;
	return requests;
}

/* ---- the engine: requests on files, asynchronous (disk/engine.c) ---- */

/** disk_engine_start() - on @engine->loop's thread, says why not; disk_engine_stop() with nothing in flight */
int __must_check disk_engine_start(struct disk_engine *engine);
void disk_engine_stop(struct disk_engine *engine);
/**
 * disk_engine_submit() - carries out the list @requests, all on @file, each counted in engine->in_flight already
 *
 * Offsets are the file's. Reads, writes and flushes go in one system call, what blocks goes to the worker.
 */
void disk_engine_submit(struct disk_engine *engine, struct disk_file *file, struct disk_request *requests);
/** disk_engine_drain() - returns when nothing is in flight, all done callbacks having run */
void disk_engine_drain(struct disk_engine *engine);

/** disk_complete() - hands @request back with @result; from engines and formats, on the loop */
static inline void disk_complete(struct disk_request *request, int result)
{
	request->engine->in_flight--;
	request->done(request, result);
}

/** disk_batch_done() - behind a batch of disk_complete() */
static inline void disk_batch_done(struct disk_engine *engine)
{
	if (engine->batch_done)
		engine->batch_done(engine->opaque);
}

/* ---- libaio: reads, writes, flushes (disk/aio.c) ---- */
int __must_check disk_aio_start(struct disk_engine *engine);
void disk_aio_stop(struct disk_engine *engine);
/** disk_aio_submit() - the list @requests of READ, WRITE and FLUSH in as few system calls as may be */
void disk_aio_submit(struct disk_engine *engine, struct disk_request *requests);
/** disk_aio_wait() - blocks until at least one is complete */
void disk_aio_wait(struct disk_engine *engine);

/* ---- a thread for calls that block: discard, write zeroes, some flushes (disk/worker.c) ---- */
void disk_worker_submit(struct disk_engine *engine, struct disk_request *request);
/** disk_worker_wait() - blocks until at least one is complete; only while the worker has one */
void disk_worker_wait(struct disk_engine *engine);
void disk_worker_stop(struct disk_engine *engine);

#endif
