/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests on a qcow2 disk, on its loop: guest data goes to the engine, tables are changed when it is there.
 *
 * Reads, and writes to clusters that are there, share their clusters with each other. What changes the map (a write
 * that allocates, zeroes, discards) has its clusters for itself: it waits for all earlier requests on them, and later
 * ones wait for it. So no table changes under a request, and a cluster that is given up has no reader.
 */
#include <string.h>

#include "disk/job.h"
#include "disk/qcow2.h"
#include "kvm/log.h"

/* Copy-on-write buffers of one disk; the first request is taken however much it needs. */
#define BOUNCE_MAX	MIB(16)

struct qcow2_job {
	struct disk_job job;
	struct qcow2 *q;
	struct qcow2_job *next, **link;
	uint64_t first, last;		/* the guest's clusters */
	bool exclusive, waiting;
	bool planned;
	struct qcow2_plan plan;
	uint64_t bounced;
	struct iovec *iov;		/* the guest's segments with what is copied around them */
};

static void job_try(struct qcow2_job *job, struct disk_issue *issue);

/* ---- who waits for whom ---- */

static void job_enter(struct qcow2_job *job)
{
	struct qcow2 *q = job->q;

	job->link = q->jobs_tail;
	*q->jobs_tail = job;
	q->jobs_tail = &job->next;
}

static void job_leave(struct qcow2_job *job)
{
	struct qcow2 *q = job->q;

	*job->link = job->next;
	if (job->next)
		job->next->link = job->link;
	else
		q->jobs_tail = job->link;
	q->exclusive -= job->exclusive;
	q->bounced -= job->bounced;
}

static bool job_conflicts(const struct qcow2_job *job)
{
	/* The common case: nothing that changes the map is about. */
	if (!job->q->exclusive)
		return false;
	for (const struct qcow2_job *other = job->q->jobs; other != job; other = other->next)
		if ((job->exclusive || other->exclusive) && job->first <= other->last && other->first <= job->last)
			return true;
	return false;
}

static void job_set_exclusive(struct qcow2_job *job, bool exclusive)
{
	job->q->exclusive += exclusive;
	job->q->exclusive -= job->exclusive;
	job->exclusive = exclusive;
}

/* In the order of their coming. What ends meanwhile asks for another round, and does not nest. */
static void jobs_retry(struct qcow2 *q)
{
	struct disk_issue issue;

	if (q->retrying || !q->waiting)
		return;
	q->retrying = true;
	disk_issue_begin(&issue, q->disk->engine);
	do {
		q->ended = false;
		for (struct qcow2_job *job = q->jobs, *next; job && !q->ended; job = next) {
			next = job->next;
			if (job->waiting)
				job_try(job, &issue);
		}
		disk_issue_send(&issue);
	} while (q->ended && q->waiting);
	q->retrying = false;
}

static void job_finish(struct disk_job *base)
{
	struct qcow2_job *job = container_of(base, struct qcow2_job, job);
	struct qcow2 *q = job->q;
	struct disk_request *guest = base->guest;
	int result = base->result;

	if (job->planned)
		result = qcow2_plan_end(q, &job->plan, result);
	/* Data that was written in place is there; its entry may be not. */
	if (!result && guest->fua && guest->op != DISK_READ && (!base->fua || qcow2_maps_dirty(q)))
		result = qcow2_write_back(q);
	job_leave(job);
	free(job->iov);
	free(job);
	q->ended = true;
	disk_complete(guest, result);
	jobs_retry(q);
}

/* ---- writes ---- */

static void write_in_place(struct qcow2_job *job, struct disk_issue *issue)
{
	const struct disk_request *guest = job->job.guest;
	struct disk_cursor cursor = disk_cursor_of(guest);
	uint64_t offset = guest->offset, left = guest->length;

	job->job.fua = guest->fua;
	while (left && !job->job.result) {
		struct qcow2_run run;

		job->job.result = qcow2_lookup(job->q, offset, left, &run);
		if (job->job.result)
			break;
		disk_job_part(&job->job, issue, job->q->file, DISK_WRITE, run.host, run.length, &cursor);
		offset += run.length;
		left -= run.length;
	}
}

/* The guest's segments between what is copied. */
static int job_segments(struct qcow2_job *job, struct disk_cursor *cursor)
{
	const struct disk_request *guest = job->job.guest;
	const struct qcow2_plan *plan = &job->plan;
	unsigned int count = 0;

	*cursor = disk_cursor_of(guest);
	if (!plan->head_length && !plan->tail_length)
		return 0;
	job->iov = calloc(guest->iov_count + 2, sizeof(job->iov[0]));
	if (!job->iov)
		return -ENOMEM;
	if (plan->head_length)
		job->iov[count++] = (struct iovec){ plan->head, plan->head_length };
	memcpy(job->iov + count, guest->iov, guest->iov_count * sizeof(job->iov[0]));
	count += guest->iov_count;
	if (plan->tail_length)
		job->iov[count++] = (struct iovec){ plan->tail, plan->tail_length };
	*cursor = (struct disk_cursor){ job->iov, count, 0 };
	return 0;
}

static void write_planned(struct qcow2_job *job, struct disk_issue *issue)
{
	const struct disk_request *guest = job->job.guest;
	struct disk_cursor cursor;
	int result = qcow2_plan_write(job->q, guest->offset, guest->length, &job->plan);

	job->planned = !result;
	if (!result)
		result = job_segments(job, &cursor);
	job->job.result = result;
	for (size_t i = 0; i < job->plan.place_count && !job->job.result; i++)
		disk_job_part(&job->job, issue, job->q->file, DISK_WRITE, job->plan.places[i].host, job->plan.places[i].length,
			      &cursor);
}

/* ---- any request ---- */

int qcow2_begin_writing(struct qcow2 *q)
{
	uint8_t none[8] = { 0 };
	int result = q->incompatible & QCOW2_CORRUPT ? -EIO : 0;

	/* Features that say something of the data, of which we know nothing: from now on it isn't so. */
	if (!result && !q->begun && q->autoclear) {
		result = disk_file_write(q->file, QCOW2_AT_AUTOCLEAR, none, sizeof(none));
		if (!result)
			result = disk_file_flush(q->file);
		if (!result)
			q->autoclear = 0;
	}
	q->begun |= !result;
	return result;
}

static int job_classify(struct qcow2_job *job)
{
	const struct disk_request *guest = job->job.guest;
	bool in_place = guest->op == DISK_READ;
	int result = 0;

	if (guest->op == DISK_WRITE)
		result = qcow2_write_in_place(job->q, guest->offset, guest->length, &in_place);
	job_set_exclusive(job, !in_place);
	return result;
}

static bool job_must_wait(struct qcow2_job *job)
{
	struct qcow2 *q = job->q;
	uint64_t need = job->exclusive && job->job.guest->op == DISK_WRITE ? 2ULL * q->cluster_size : 0;

	if (job_conflicts(job) || (need && q->bounced && q->bounced + need > BOUNCE_MAX))
		return true;
	job->bounced = need;
	q->bounced += need;
	return false;
}

static void job_start(struct qcow2_job *job, struct disk_issue *issue)
{
	const struct disk_request *guest = job->job.guest;
	struct qcow2 *q = job->q;

	if (guest->op == DISK_READ)
		disk_job_read(&job->job, issue);
	else if (guest->op == DISK_DISCARD)
		job->job.result = qcow2_discard_range(q, guest->offset, guest->length);
	else if (guest->op == DISK_WRITE_ZEROES)
		job->job.result = qcow2_zero_range(q, guest->offset, guest->length, guest->may_unmap);
	else if (job->exclusive)
		write_planned(job, issue);
	else
		write_in_place(job, issue);
}

static void job_try(struct qcow2_job *job, struct disk_issue *issue)
{
	struct qcow2 *q = job->q;
	int result = 0;

	disk_job_begin(&job->job);
	if (job->job.guest->op != DISK_READ)
		result = qcow2_begin_writing(q);
	if (!result)
		result = job_classify(job);
	q->waiting -= job->waiting;
	job->waiting = !result && job_must_wait(job);
	q->waiting += job->waiting;
	if (job->waiting) {
		/* What it will be when its turn comes isn't known: nothing may overtake it on its clusters. */
		if (job->job.guest->op == DISK_WRITE)
			job_set_exclusive(job, true);
		return;
	}
	if (result)
		job->job.result = result;
	else
		job_start(job, issue);
	disk_job_end(&job->job);
}

/* ---- flushes, and the way in ---- */

static void forward_done(struct disk_job *job)
{
	struct disk_request *guest = job->guest;
	int result = job->result;

	free(job);
	disk_complete(guest, result);
}

/* Where tables wait, with them; else the data alone, and without waiting. */
static void flush(struct qcow2 *q, struct disk_request *guest, struct disk_issue *issue)
{
	struct disk_cursor none = { NULL, 0, 0 };
	struct disk_job *job;

	if (qcow2_maps_dirty(q) || q->disk->info.read_only) {
		disk_complete(guest, q->disk->info.read_only ? 0 : qcow2_write_back(q));
		return;
	}
	job = malloc(sizeof(*job));
	if (!job) {
		disk_complete(guest, -ENOMEM);
		return;
	}
	*job = (struct disk_job){ .disk = q->disk, .guest = guest, .finish = forward_done };
	disk_job_begin(job);
	disk_job_part(job, issue, q->file, DISK_FLUSH, 0, 0, &none);
	disk_job_end(job);
}

static void submit_one(struct disk *disk, struct disk_request *guest, struct disk_issue *issue)
{
	struct qcow2 *q = disk->format_state;
	struct qcow2_job *job;

	if (guest->op == DISK_FLUSH) {
		flush(q, guest, issue);
		return;
	}
	job = q->disk->info.read_only && guest->op != DISK_READ ? NULL : malloc(sizeof(*job));
	if (!job || !guest->length) {
		free(job);
		disk_complete(guest, job ? 0 : q->disk->info.read_only ? -EROFS : -ENOMEM);
		return;
	}
	*job = (struct qcow2_job){ .job = { .disk = q->disk, .guest = guest, .finish = job_finish }, .q = q };
	job->first = guest->offset >> q->cluster_bits;
	job->last = (guest->offset + guest->length - 1) >> q->cluster_bits;
	job_enter(job);
	job_try(job, issue);
}

void qcow2_submit(struct disk *disk)
{
	disk_submit_each(disk, submit_one);
}
