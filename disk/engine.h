/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside disk/: what a disk is made of. A disk is a format over a file, and perhaps over another disk behind it. A
 * format (raw, qcow2) turns guest requests into requests on files; the disk's one engine carries those out, whatever
 * files of the chain they are for.
 */
#ifndef DISK_ENGINE_H
#define DISK_ENGINE_H

#include <stdatomic.h>

#include "kvm/disk.h"
#include "kvm/image.h"

struct disk_nbd;
struct disk_remote_ops;
struct disk_threads;
struct disk_throttle;

/* Owned by the loop; what is in flight counts guest requests and those that formats and merging make of them. */
struct disk_engine {
	struct event_loop *loop;
	void (*batch_done)(void *opaque);
	void *opaque;
	unsigned int in_flight;
	const struct disk_aio_ops *wanted;	/* NULL: what there is */
	const struct disk_aio_ops *ops;	/* NULL while it is not started */
	void *aio;			/* theirs */
	struct disk_threads *threads;	/* NULL: none were needed yet */
	struct disk_request *waiting, **waiting_tail;	/* for room, or for bounces */
	unsigned int sent;		/* the ops, the threads or servers have them */
	const struct disk_remote_ops *remote_ops;	/* of the servers that were asked; NULL: none was */
	struct disk_nbd *remotes;	/* theirs */
	unsigned int remote_busy;	/* requests that they have */
	bool held;			/* the disk's batch waits until they are ready */
	uint64_t drained_from_ns;	/* when the drain began that is going on */
	unsigned int bounces;
	bool pushing;			/* what waits is on its way: an inner call has nothing to do */
	bool ended;			/* some failed on their way: the device wasn't told of the batch's end yet */
};

struct disk_errors {
	/* owned by the loop: failed requests that wait for the VM to go on */
	struct disk_request *kept, **kept_tail;
	/* from the loop to the main thread */
	atomic_uint kept_count;
	_Atomic uint32_t last;
	struct event_work tell;
};

struct disk {
	struct disk_file *file;
	struct disk_info info;
	const struct disk_format *format;
	void *format_state;
	struct disk_file *beside;	/* what disk_open_beside() opened; the format's; or NULL */
	bool handed_over;		/* another process has it: disk_hand_over() */
	struct disk *backing;		/* what the format doesn't map is read from there; or NULL */
	const char *backing_name, *backing_format;	/* as they stand in the image, which owns them; or NULL */
	bool guessed;			/* the format was probed, not given */
	const char *snapshot;		/* while it is opened: which to show, or NULL */
	bool complained;		/* one line about refused writes is enough */
	uint32_t compress_unit;		/* bytes, of a format that can write compressed ones */
	bool submitting;		/* the format's submit() is at work and takes what is queued meanwhile */

	/* the chain: what lies behind this disk is opened with these in mind */
	const struct disk *parent;	/* the disk that this one lies behind, or NULL */
	char *folder;			/* where whatever the image refers to must lie, or NULL: anywhere */
	bool backing_any;
	bool direct;
	bool alone;			/* nothing is opened behind it */

	struct disk_engine *engine;	/* &own_engine, or that of the disk which this one lies behind */
	struct disk_engine own_engine;

	struct disk_owner *owner;	/* constant while a guest runs */
	struct disk_errors errors;

	/* owned by the loop */
	struct disk_request *queued, **queued_tail;
	struct disk_throttle *throttle;	/* NULL: no limits */
};

/* A range that a format's map() found alike. */
enum disk_extent_kind { DISK_EXTENT_HOLE, DISK_EXTENT_ZERO, DISK_EXTENT_DATA, DISK_EXTENT_COMPRESSED };

struct disk_extent {
	enum disk_extent_kind kind;
	uint64_t length;
	struct disk *disk;		/* of the chain, that maps it */
	struct disk_file *file;		/* DATA: where it lies */
	uint64_t offset;		/* DATA: in that file */
	uint64_t entry;			/* COMPRESSED: the format's */
	uint32_t skip;			/* COMPRESSED: bytes of the expanded unit in front of the range */
};

/* Snapshots inside an image; for tools. A name that none has is tried as a number. */
struct disk_snapshots {
	int (*list)(struct disk *disk, json_t *list);
	int (*create)(struct disk *disk, const char *name);
	int (*apply)(struct disk *disk, const char *name);
	int (*delete)(struct disk *disk, const char *name);
};

/**
 * struct disk_format - one image format, registered by DISK_FORMAT()
 * @probe: how surely @head (the first @length bytes) is of this format: 0 not, higher is surer; by one sector's bytes
 * @open: reads what it must of disk->file and fills disk->info, whose sizes are the file's so far; nothing is written
 * @submit: takes all of disk->queued
 * @map: how the image itself maps the bytes from @offset on, at most @length (not 0) of them, all inside its size
 * @expand: the whole unit that a COMPRESSED extent lies in; valid until the next call
 * @write, @flush: synchronously, on the disk's loop; of a format whose submit() is disk_submit_mapped(). Both or neither
 *
 * For tools, on a disk that is attached to nothing (kvm/image.h); each may be NULL, and each says why it can't:
 * @create: makes an image of a file that is empty
 * @describe: adds what it knows of the image to @facts, an object, by QEMU's names; -ENOMEM is said by the caller
 * @resize: to @size bytes, a multiple of 512
 * @check: looks for what is wrong, on a disk opened with repair when @repair is said
 * @compress: writes the whole unit at @offset, of @length bytes (shorter where the disk ends), compressed if that is
 *            shorter; on a disk that nobody else writes. Its units have disk->compress_unit bytes
 * @empty: nothing is mapped any more
 * @set_backing: from now on @name lies behind it, or nothing (NULL); the disk is closed next
 */
struct disk_format {
	const char *name;
	const char *alias;		/* another name that people say; or NULL */
	int (*probe)(const uint8_t *head, size_t length);
	int (*open)(struct disk *disk);
	void (*close)(struct disk *disk);
	void (*submit)(struct disk *disk);
	int (*map)(struct disk *disk, uint64_t offset, uint64_t length, struct disk_extent *extent);
	int (*expand)(struct disk *disk, uint64_t entry, const uint8_t **bytes);

	int (*write)(struct disk *disk, uint64_t offset, const uint8_t *data, size_t length);
	int (*flush)(struct disk *disk);

	int (*create)(struct disk_file *file, const struct image_options *options);
	int (*describe)(struct disk *disk, json_t *facts);
	int (*resize)(struct disk *disk, uint64_t size);
	int (*check)(struct disk *disk, bool repair, struct image_check *found);
	int (*compress)(struct disk *disk, uint64_t offset, const uint8_t *data, size_t length);
	int (*empty)(struct disk *disk);
	int (*set_backing)(struct disk *disk, const char *name, const char *format);
	const struct disk_snapshots *snapshots;		/* NULL: it has none */
};

struct disk_format_item {
	const struct disk_format *format;
	struct disk_format_item *next;
};
void disk_format_register(struct disk_format_item *item);
/** disk_no_medium_format - of a drive that is empty (disk/medium.c); its disk has no file */
extern const struct disk_format disk_no_medium_format;
/** disk_format_find() - by its name, or NULL */
const struct disk_format *disk_format_find(const char *name);
/** disk_format_of_new() - of which an image is to be made; NULL (said): it can't */
const struct disk_format *disk_format_of_new(const struct image_options *options);

#define DISK_FORMAT(format_)								\
	static struct disk_format_item format_##_item = { .format = &(format_) };	\
	static void __attribute__((constructor)) format_##_register(void)		\
	{										\
		disk_format_register(&format_##_item);					\
	}										\
	struct disk_format_item /* swallows the semicolon */

#define DISK_HEAD_BYTES		4096u	/* what formats are probed by */

/** disk_probe() - the format that is surest of @head, of DISK_HEAD_BYTES; NULL: none */
const struct disk_format *disk_probe(const uint8_t *head);
/**
 * disk_guard_head() - carries out those of @requests that write to the head, or refuses them; returns the others
 *
 * For a disk whose format was guessed: none of its guest's writes must make it be taken for another format's.
 */
struct disk_request *disk_guard_head(struct disk *disk, struct disk_request *requests);

/** disk_change_size() - with nothing in flight; a smaller size if @shrink; says why not */
int __must_check disk_change_size(struct disk *disk, uint64_t size, bool shrink);

/** disk_take_queued() - the batch, as a list that the caller now owns */
static inline struct disk_request *disk_take_queued(struct disk *disk)
{
	struct disk_request *requests = disk->queued;

	disk->queued = NULL;
	disk->queued_tail = &disk->queued;
	return requests;
}

/* ---- the chain (disk/chain.c) ---- */

#define DISK_CHAIN_MAX	64		/* disks behind one another */

/** disk_resolve() - the file that @image means by @name: a relative one is relative to the image; says why not */
int __must_check disk_resolve(const char *image, const char *name, char *path, size_t size);
/** disk_open_backing() - opens image @name (as it stands in disk's image) behind @disk; @format NULL: probes */
int __must_check disk_open_backing(struct disk *disk, const char *name, const char *format);
/** disk_open_beside() - opens a file that @disk's image refers to, with the disk's own access */
int __must_check disk_open_beside(struct disk *disk, const char *name, struct disk_file **file);
/** disk_open_overlay() - disk_open() for options with throw_away or overlay (disk/overlay.c) */
int __must_check disk_open_overlay(struct disk **disk, const struct disk_options *options);
/** disk_open_chained() - as disk_open(), @parent being the disk in front or NULL (disk/disk.c) */
int __must_check disk_open_chained(struct disk **disk, const struct disk_options *options, const struct disk *parent);

/** disk_map() - where the chain has a range that lies inside the disk's size; never a HOLE */
int __must_check disk_map(struct disk *disk, uint64_t offset, uint64_t length, struct disk_extent *extent);
/** disk_reads_as_zeroes() - whether the maps say so, without a look at data */
int __must_check disk_reads_as_zeroes(struct disk *disk, uint64_t offset, uint64_t length, bool *zeroes);
/** disk_read() - synchronously, through the chain; what lies past the disk's end reads as zeroes */
int __must_check disk_read(struct disk *disk, uint64_t offset, void *buffer, size_t length);

/* ---- the engine: requests on files, asynchronous (disk/engine.c) ---- */

/** disk_engine_start() - on @engine->loop's thread, says why not; disk_engine_stop() with nothing in flight */
int __must_check disk_engine_start(struct disk_engine *engine);
void disk_engine_stop(struct disk_engine *engine);
/**
 * disk_engine_submit() - carries out the list @requests, all on @file, each counted in engine->in_flight already
 *
 * Offsets are the file's. Reads, writes and flushes go in one system call, neighbours merged; what blocks goes to a thread.
 */
void disk_engine_submit(struct disk_engine *engine, struct disk_file *file, struct disk_request *requests);
/** disk_engine_let_go() - a disk whose batch waits for servers goes on if they are ready; from the loop */
void disk_engine_let_go(struct disk_engine *engine);
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

/* ---- how requests are carried out: aio= ---- */

#define DISK_AIO_DEPTH	1024		/* at once, of an engine: as many as a virtqueue can hold */

/**
 * struct disk_aio_ops - a way to read, write and flush files, registered by DISK_AIO(); all of it on the engine's loop
 * @rank: with no aio= the highest whose start() succeeds is taken; 0: it must be asked for
 * @start: sets engine->aio; says why not unless @quiet
 * @stop: with nothing in flight; also after a start() that failed
 * @submit: takes the list @requests, never more than DISK_AIO_DEPTH at once. What there is no room for now it gives back,
 *          but only while it has others. Each one that it took ends in disk_engine_finish(), perhaps before it returns
 * @wait: blocks until at least one that it has is complete, and finishes what is
 *
 * A request's segments and place are disk_request_transfer()'s.
 */
struct disk_aio_ops {
	const char *name;
	unsigned int rank;
	int (*start)(struct disk_engine *engine, bool quiet);
	void (*stop)(struct disk_engine *engine);
	struct disk_request *(*submit)(struct disk_engine *engine, struct disk_request *requests);
	void (*wait)(struct disk_engine *engine);
};

struct disk_aio_item {
	const struct disk_aio_ops *ops;
	struct disk_aio_item *next;
};
void disk_aio_register(struct disk_aio_item *item);
/** disk_aio_find() - by the name that users say; NULL: not in this build, or nothing */
const struct disk_aio_ops *disk_aio_find(const char *name);

#define DISK_AIO(ops_)									\
	static struct disk_aio_item ops_##_item = { .ops = &(ops_) };			\
	static void __attribute__((constructor)) ops_##_register(void)			\
	{										\
		disk_aio_register(&ops_##_item);					\
	}										\
	struct disk_aio_item /* swallows the semicolon */

/**
 * disk_engine_finish() - a request that was submitted has come to its end, or to some of it
 * @result: bytes, or a negative errno
 */
void disk_engine_finish(struct disk_engine *engine, struct disk_request *request, int64_t result);
/** disk_engine_retry() - nothing of it was done, for a reason that goes away by itself: it is submitted again */
void disk_engine_retry(struct disk_engine *engine, struct disk_request *request);
/** disk_engine_reaped() - behind a batch of disk_engine_finish() */
void disk_engine_reaped(struct disk_engine *engine);

/* What is read or written next of a request. */
struct disk_transfer {
	const struct iovec *iov;
	unsigned int count;
	uint64_t offset, length;
};

static inline struct disk_transfer disk_request_transfer(const struct disk_request *request)
{
	if (request->bounce)
		return (struct disk_transfer){ &request->bounce_iov, 1, request->offset + request->moved, request->bounce_iov.iov_len };
	return (struct disk_transfer){ request->iov, request->iov_count, request->offset, request->length };
}

/* ---- buffers for what can't go from and to the guest's own (disk/bounce.c) ---- */

/** disk_request_aligned() - whether its segments are as direct I/O on its file wants them */
bool disk_request_aligned(const struct disk_request *request);
/** disk_bounce_make() - for the next piece of @request; -EAGAIN: others must end first; -ENOMEM */
int __must_check disk_bounce_make(struct disk_engine *engine, struct disk_request *request);
/** disk_bounce_end() - @length bytes went through it; 0: none, for the time being */
void disk_bounce_end(struct disk_engine *engine, struct disk_request *request, uint64_t length);

/* ---- neighbours (disk/merge.c) ---- */

/** disk_merge() - @requests on one file, each run of neighbours made one; returns the list of what is left */
struct disk_request *disk_merge(struct disk_engine *engine, struct disk_request *requests);
/** disk_engine_again() - one of a merged request that failed, alone; counted in engine->in_flight still */
void disk_engine_again(struct disk_engine *engine, struct disk_request *request);

/* ---- threads: all of aio=threads, and what blocks with any other (disk/threads.c) ---- */

void disk_threads_submit(struct disk_engine *engine, struct disk_request *request);
/** disk_threads_busy() - how many requests they have */
unsigned int disk_threads_busy(const struct disk_engine *engine);
/** disk_threads_wait() - blocks until at least one is complete; only while they have one */
void disk_threads_wait(struct disk_engine *engine);
void disk_threads_stop(struct disk_engine *engine);

#endif
