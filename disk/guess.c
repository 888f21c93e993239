/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Disks that were taken for raw by a look at their head. A guest that wrote another format's magic there would have
 * the next one who opens the disk take it for that, with whatever backing file its header names: such a write is
 * refused. What the user called raw is the guest's own.
 *
 * The bytes are looked at in a copy, which is what gets written: the guest may change its own meanwhile.
 */
#include <string.h>

#include "disk/file.h"
#include "disk/job.h"
#include "kvm/log.h"

struct head_write {
	struct disk_job job;
	uint8_t *bytes;			/* of what is written, up to the end of the head */
	struct iovec iov[];		/* those, and the rest as the guest has it */
};

static void head_write_free(struct head_write *write)
{
	if (write)
		free(write->bytes);
	free(write);
}

static void head_write_done(struct disk_job *job)
{
	struct disk_request *guest = job->guest;
	int result = job->result;

	head_write_free(container_of(job, struct head_write, job));
	disk_complete(guest, result);
}

static struct head_write *head_write_make(struct disk *disk, struct disk_request *guest)
{
	struct head_write *write = calloc(1, sizeof(*write) + (guest->iov_count + 1) * sizeof(write->iov[0]));
	size_t length = (size_t)MIN(guest->length, DISK_HEAD_BYTES - guest->offset);
	void *bytes = NULL;

	/* Whole blocks, for direct I/O. */
	if (!write || posix_memalign(&bytes, 4096, length)) {
		free(write);
		return NULL;
	}
	write->job = (struct disk_job){ .disk = disk, .guest = guest, .finish = head_write_done, .fua = guest->fua };
	write->bytes = bytes;
	write->iov[0] = (struct iovec){ bytes, length };
	return write;
}

/* Fills write->bytes, and the segments behind them. Returns how many there are. */
static unsigned int head_write_take(struct head_write *write)
{
	const struct disk_request *guest = write->job.guest;
	size_t left = write->iov[0].iov_len;
	uint8_t *at = write->bytes;
	unsigned int count = 1;

	for (unsigned int i = 0; i < guest->iov_count; i++) {
		struct iovec segment = guest->iov[i];
		size_t part = MIN(left, segment.iov_len);

		memcpy(at, segment.iov_base, part);
		at += part;
		left -= part;
		if (part < segment.iov_len)
			write->iov[count++] = (struct iovec){ (char *)segment.iov_base + part, segment.iov_len - part };
	}
	return count;
}

/* A magic lies in one sector, and sectors are written whole: what else the head has doesn't matter. */
static bool head_write_is_raw(const struct head_write *write)
{
	uint8_t head[DISK_HEAD_BYTES] = { 0 };

	memcpy(head + write->job.guest->offset, write->bytes, write->iov[0].iov_len);
	return disk_probe(head) == write->job.disk->format;
}

static void submit_to_head(struct disk *disk, struct disk_request *guest, struct disk_issue *issue)
{
	struct head_write *write = head_write_make(disk, guest);
	struct disk_cursor cursor;

	if (!write) {
		disk_complete(guest, -ENOMEM);
		return;
	}
	cursor = (struct disk_cursor){ write->iov, head_write_take(write), 0 };
	disk_job_begin(&write->job);
	if (head_write_is_raw(write)) {
		disk_job_part(&write->job, issue, disk->file, DISK_WRITE, guest->offset, guest->length, &cursor);
	} else {
		if (!disk->complained)
			log_warn("disk '%s': a write is refused that would turn it into an image of another format; say ',format=raw' "
				 "if all of it is the guest's", disk->file->path);
		disk->complained = true;
		write->job.result = -EPERM;
	}
	disk_job_end(&write->job);
}

struct disk_request *disk_guard_head(struct disk *disk, struct disk_request *requests)
{
	struct disk_request *others = NULL, **tail = &others, *next;
	struct disk_issue issue;

	disk_issue_begin(&issue, disk->engine);
	for (; requests; requests = next) {
		next = requests->next;
		if (requests->op == DISK_WRITE && requests->offset < DISK_HEAD_BYTES && requests->length) {
			submit_to_head(disk, requests, &issue);
			continue;
		}
		requests->next = NULL;
		*tail = requests;
		tail = &requests->next;
	}
	disk_issue_send(&issue);
	disk_batch_done(disk->engine);
	return others;
}
