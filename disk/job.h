/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A guest's request in the hands of a format that maps: parts of it, each a request on one file, and what is to
 * happen when all of them are done. On the disk's loop.
 */
#ifndef DISK_JOB_H
#define DISK_JOB_H

#include "disk/engine.h"

struct disk_job {
	struct disk *disk;
	struct disk_request *guest;
	/** @finish: all parts are done, with job->result; owns the job from then on */
	void (*finish)(struct disk_job *job);
	unsigned int pending;		/* parts, and one for disk_job_begin() */
	int result;			/* the first error */
	bool fua;			/* its writes reach the medium themselves */
};

/* Parts on their way to the engine: those for one file go together. */
struct disk_issue {
	struct disk_engine *engine;
	struct disk_file *file;
	struct disk_request *list, **tail;
};

/* A place among a request's segments. */
struct disk_cursor {
	const struct iovec *iov;
	unsigned int left;		/* segments */
	size_t skip;			/* bytes of the first */
};

void disk_issue_begin(struct disk_issue *issue, struct disk_engine *engine);
/** disk_issue_send() - hands what was gathered to the engine; parts may be done before it returns */
void disk_issue_send(struct disk_issue *issue);

/** disk_job_begin() - from here to disk_job_end() the job can't finish */
void disk_job_begin(struct disk_job *job);
void disk_job_end(struct disk_job *job);

/**
 * disk_job_part() - reads or writes [@offset, @offset + @length) of @file, from or to the next segments of @cursor
 *
 * The segments' memory must stay until the job is finished; -ENOMEM becomes job->result.
 */
void disk_job_part(struct disk_job *job, struct disk_issue *issue, struct disk_file *file, enum disk_op kind, uint64_t offset,
		  uint64_t length, struct disk_cursor *cursor);
/** disk_job_read() - fills job->guest's segments from wherever the chain has its range */
void disk_job_read(struct disk_job *job, struct disk_issue *issue);

struct disk_cursor disk_cursor_of(const struct disk_request *request);
/** disk_cursor_put() - copies @length bytes out to the next segments; @from NULL: zeroes */
void disk_cursor_put(struct disk_cursor *cursor, const uint8_t *from, uint64_t length);

/** disk_submit_each() - takes all of disk->queued, and what is queued meanwhile: @one carries a request out, or fails it */
void disk_submit_each(struct disk *disk, void (*one)(struct disk *disk, struct disk_request *request, struct disk_issue *issue));
/** disk_submit_mapped() - the submit() of a format that can only be read, or has write() and flush() */
void disk_submit_mapped(struct disk *disk);

#endif
