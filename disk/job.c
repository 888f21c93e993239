/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Guest requests as parts on files. A read whose range lies in one piece costs one small allocation and no copy of
 * its segments.
 */
#include "disk/job.h"

#include <limits.h>
#include <string.h>

#include "disk/file.h"

struct part {
	struct disk_request io;
	struct disk_job *job;
	struct iovec iov[];
};

/* ---- segments ---- */

struct disk_cursor disk_cursor_of(const struct disk_request *request)
{
	return (struct disk_cursor){ request->iov, request->iov_count, 0 };
}

static struct iovec cursor_next(struct disk_cursor *cursor, uint64_t length)
{
	struct iovec segment = { (char *)cursor->iov->iov_base + cursor->skip, cursor->iov->iov_len - cursor->skip };

	if (segment.iov_len > length) {
		segment.iov_len = (size_t)length;
		cursor->skip += segment.iov_len;
	} else {
		cursor->iov++;
		cursor->left--;
		cursor->skip = 0;
	}
	return segment;
}

void disk_cursor_put(struct disk_cursor *cursor, const uint8_t *from, uint64_t length)
{
	while (length && cursor->left) {
		struct iovec segment = cursor_next(cursor, length);

		if (from)
			memcpy(segment.iov_base, from, segment.iov_len);
		else
			memset(segment.iov_base, 0, segment.iov_len);
		from = from ? from + segment.iov_len : NULL;
		length -= segment.iov_len;
	}
}

/* How many segments the next @length bytes touch. */
static unsigned int cursor_count(struct disk_cursor cursor, uint64_t length)
{
	unsigned int count = 0;

	for (; length && cursor.left; count++)
		length -= cursor_next(&cursor, length).iov_len;
	return count;
}

/* ---- on the way to the engine ---- */

void disk_issue_begin(struct disk_issue *issue, struct disk_engine *engine)
{
	issue->engine = engine;
	issue->file = NULL;
	issue->list = NULL;
	issue->tail = &issue->list;
}

void disk_issue_send(struct disk_issue *issue)
{
	struct disk_request *list = issue->list;

	issue->list = NULL;
	issue->tail = &issue->list;
	if (list)
		disk_engine_submit(issue->engine, issue->file, list);
}

static void issue_add(struct disk_issue *issue, struct disk_file *file, struct disk_request *request)
{
	if (issue->file != file)
		disk_issue_send(issue);
	issue->file = file;
	request->engine = issue->engine;
	request->next = NULL;
	*issue->tail = request;
	issue->tail = &request->next;
	issue->engine->in_flight++;
}

/* ---- parts ---- */

void disk_job_begin(struct disk_job *job)
{
	job->pending = 1;
	job->result = 0;
}

void disk_job_end(struct disk_job *job)
{
	if (!--job->pending)
		job->finish(job);
}

static void part_done(struct disk_request *io, int result)
{
	struct part *part = container_of(io, struct part, io);
	struct disk_job *job = part->job;

	free(part);
	if (result && !job->result)
		job->result = result;
	disk_job_end(job);
}

/* The next segments, @count of them, as they are or (@iov NULL) cut out. Returns the bytes that go. */
static uint64_t part_add(struct disk_job *job, struct disk_issue *issue, struct disk_file *file, const struct disk_request *io,
			 const struct iovec *iov, unsigned int count, struct disk_cursor *cursor)
{
	struct part *part = malloc(sizeof(*part) + (iov ? 0 : count * sizeof(struct iovec)));
	uint64_t left = io->length;

	if (!part) {
		job->result = -ENOMEM;
		return io->length;
	}
	for (unsigned int i = 0; i < count && !iov; i++) {
		part->iov[i] = cursor_next(cursor, left);
		left -= part->iov[i].iov_len;
	}
	part->job = job;
	part->io = *io;
	part->io.iov = iov ? iov : part->iov;
	part->io.iov_count = count;
	part->io.length = iov ? io->length : io->length - left;
	part->io.done = part_done;
	job->pending++;
	issue_add(issue, file, &part->io);
	return part->io.length;
}

void disk_job_part(struct disk_job *job, struct disk_issue *issue, struct disk_file *file, enum disk_op kind, uint64_t offset,
		   uint64_t length, struct disk_cursor *cursor)
{
	struct disk_request io = { .op = kind, .offset = offset, .length = length, .fua = job->fua && kind == DISK_WRITE };
	uint64_t whole = 0;

	/* Up to the request's very end: its own segments will do. */
	for (unsigned int i = 0; !cursor->skip && i < cursor->left && whole <= length; i++)
		whole += cursor->iov[i].iov_len;
	if (whole == length && cursor->left <= IOV_MAX && !cursor->skip) {
		part_add(job, issue, file, &io, cursor->iov, cursor->left, cursor);
		return;
	}
	while (io.length && !job->result) {
		unsigned int count = cursor_count(*cursor, io.length);
		uint64_t gone = part_add(job, issue, file, &io, NULL, MIN(count, (unsigned int)IOV_MAX), cursor);

		io.offset += gone;
		io.length -= gone;
	}
}

static int read_expanded(const struct disk_extent *extent, struct disk_cursor *cursor)
{
	const uint8_t *bytes;
	int result = extent->disk->format->expand(extent->disk, extent->entry, &bytes);

	if (!result)
		disk_cursor_put(cursor, bytes + extent->skip, extent->length);
	return result;
}

void disk_job_read(struct disk_job *job, struct disk_issue *issue)
{
	struct disk_cursor cursor = disk_cursor_of(job->guest);
	uint64_t offset = job->guest->offset, end = offset + job->guest->length;
	struct disk_extent extent;

	for (; offset < end && !job->result; offset += extent.length) {
		job->result = disk_map(job->disk, offset, end - offset, &extent);
		if (job->result)
			break;
		if (extent.kind == DISK_EXTENT_DATA)
			disk_job_part(job, issue, extent.file, DISK_READ, extent.offset, extent.length, &cursor);
		else if (extent.kind == DISK_EXTENT_COMPRESSED)
			job->result = read_expanded(&extent, &cursor);
		else
			disk_cursor_put(&cursor, NULL, extent.length);
	}
}

/* ---- formats that map, and write synchronously if at all ---- */

static void read_finish(struct disk_job *job)
{
	struct disk_request *guest = job->guest;
	int result = job->result;

	free(job);
	disk_complete(guest, result);
}

static int write_segments(struct disk *disk, const struct disk_request *request)
{
	uint64_t offset = request->offset;
	int result = 0;

	for (unsigned int i = 0; i < request->iov_count && !result; i++) {
		result = disk->format->write(disk, offset, request->iov[i].iov_base, request->iov[i].iov_len);
		offset += request->iov[i].iov_len;
	}
	return !result && request->fua ? disk->format->flush(disk) : result;
}

static int write_zeroes(struct disk *disk, const struct disk_request *request)
{
	uint64_t offset = request->offset, end = offset + request->length, part;
	int result = 0;

	for (; offset < end && !result; offset += part) {
		bool done;

		part = MIN(end - offset, (uint64_t)DISK_ZEROES_SIZE);
		result = disk_reads_as_zeroes(disk, offset, part, &done);
		if (!result && !done)
			result = disk->format->write(disk, offset, disk_zeroes, (size_t)part);
	}
	return result;
}

static int mapped_change(struct disk *disk, const struct disk_request *request)
{
	if (request->op == DISK_FLUSH)
		return disk->format->flush && !disk->info.read_only ? disk->format->flush(disk) : 0;
	if (!disk->format->write || disk->info.read_only)
		return -EROFS;
	switch (request->op) {
	case DISK_WRITE:
		return write_segments(disk, request);
	case DISK_WRITE_ZEROES:
		return write_zeroes(disk, request);
	default:
		return 0;
	}
}

static void mapped_request(struct disk *disk, struct disk_request *request, struct disk_issue *issue)
{
	struct disk_job *job = request->op == DISK_READ ? malloc(sizeof(*job)) : NULL;

	if (!job) {
		disk_complete(request, request->op == DISK_READ ? -ENOMEM : mapped_change(disk, request));
		return;
	}
	*job = (struct disk_job){ .disk = disk, .guest = request, .finish = read_finish };
	disk_job_begin(job);
	disk_job_read(job, issue);
	disk_job_end(job);
}

void disk_submit_each(struct disk *disk, void (*one)(struct disk *disk, struct disk_request *request, struct disk_issue *issue))
{
	struct disk_issue issue;

	/* A done callback that submits again is served by the loop below, not by a call within the call. */
	if (disk->submitting)
		return;
	disk->submitting = true;
	disk_issue_begin(&issue, disk->engine);
	while (disk->queued) {
		struct disk_request *requests = disk_take_queued(disk), *next;

		for (; requests; requests = next) {
			next = requests->next;
			one(disk, requests, &issue);
		}
		disk_issue_send(&issue);
	}
	disk->submitting = false;
	disk_batch_done(disk->engine);
}

void disk_submit_mapped(struct disk *disk)
{
	disk_submit_each(disk, mapped_request);
}
