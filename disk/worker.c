/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thread for what would block the loop: discard and write zeroes, by fallocate(2) or the block device's
 * ioctls, and flushes where libaio has none. Started at the first such request.
 *
 * worker->lock guards both lists and the stop flag; innermost. Results go back to the loop by posted work.
 */
#include <fcntl.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <pthread.h>
#include <sys/ioctl.h>

#include "disk/engine.h"
#include "kvm/log.h"
#include "kvm/thread.h"

struct disk_worker {
	struct disk *disk;
	pthread_t thread;
	struct event_work finished;
	pthread_mutex_t lock;
	pthread_cond_t wanted;		/* something to do, or stop */
	pthread_cond_t any_done;
	struct disk_request *todo, **todo_tail;
	struct disk_request *done, **done_tail;
	bool stop;
};

/* Writes zeroes the slow way, where nothing better is offered. */
static int zero_by_writing(int fd, uint64_t offset, uint64_t length)
{
	static const char zeroes[65536] __attribute__((aligned(4096)));

	while (length) {
		ssize_t done = pwrite(fd, zeroes, MIN(length, (uint64_t)sizeof(zeroes)), (off_t)offset);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0)
			return done ? -errno : -EIO;
		offset += (uint64_t)done;
		length -= (uint64_t)done;
	}
	return 0;
}

static int worker_allocate(const struct disk *disk, int mode, const struct disk_request *request)
{
	int result;

	do {
		result = fallocate(disk->fd, mode | FALLOC_FL_KEEP_SIZE, (off_t)request->offset, (off_t)request->length);
	} while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : 0;
}

/* A discard is a hint: where it can't be followed, the data just stays. */
static int worker_discard(const struct disk *disk, const struct disk_request *request)
{
	uint64_t range[2] = { request->offset, request->length };
	int result;

	if (disk->info.block_device)
		result = ioctl(disk->fd, BLKDISCARD, range) < 0 ? -errno : 0;
	else
		result = worker_allocate(disk, FALLOC_FL_PUNCH_HOLE, request);
	return result == -EOPNOTSUPP || result == -ENOTTY ? 0 : result;
}

static int worker_write_zeroes(const struct disk *disk, const struct disk_request *request)
{
	uint64_t range[2] = { request->offset, request->length };
	int result;

	if (disk->info.block_device)
		result = ioctl(disk->fd, BLKZEROOUT, range) < 0 ? -errno : 0;
	else
		result = worker_allocate(disk, request->may_unmap ? FALLOC_FL_PUNCH_HOLE : FALLOC_FL_ZERO_RANGE, request);
	if (result == -EOPNOTSUPP || result == -ENOTTY)
		result = zero_by_writing(disk->fd, request->offset, request->length);
	return result;
}

static int worker_do(const struct disk *disk, const struct disk_request *request)
{
	switch (request->op) {
	case DISK_DISCARD:
		return worker_discard(disk, request);
	case DISK_WRITE_ZEROES:
		return worker_write_zeroes(disk, request);
	case DISK_FLUSH:
		return fdatasync(disk->fd) < 0 ? -errno : 0;
	default:
		return -EINVAL;
	}
}

static void *worker_thread(void *opaque)
{
	struct disk_worker *worker = opaque;

	pthread_mutex_lock(&worker->lock);
	for (;;) {
		struct disk_request *request = worker->todo;

		if (!request && worker->stop)
			break;
		if (!request) {
			pthread_cond_wait(&worker->wanted, &worker->lock);
			continue;
		}
		worker->todo = request->next;
		if (!worker->todo)
			worker->todo_tail = &worker->todo;
		pthread_mutex_unlock(&worker->lock);
		request->engine_data[0] = (uint64_t)(int64_t)worker_do(worker->disk, request);
		pthread_mutex_lock(&worker->lock);
		request->next = NULL;
		*worker->done_tail = request;
		worker->done_tail = &request->next;
		pthread_cond_signal(&worker->any_done);
		event_work_post(&worker->finished);
	}
	pthread_mutex_unlock(&worker->lock);
	return NULL;
}

static void worker_finished(struct event_work *work)
{
	struct disk_worker *worker = container_of(work, struct disk_worker, finished);
	struct disk_request *request, *next;

	pthread_mutex_lock(&worker->lock);
	request = worker->done;
	worker->done = NULL;
	worker->done_tail = &worker->done;
	pthread_mutex_unlock(&worker->lock);
	if (!request)
		return;
	for (; request; request = next) {
		next = request->next;
		disk_complete(request, (int)(int64_t)request->engine_data[0]);
	}
	disk_batch_done(worker->disk);
}

static struct disk_worker *worker_start(struct disk *disk)
{
	struct disk_worker *worker = calloc(1, sizeof(*worker));

	if (!worker)
		return NULL;
	worker->disk = disk;
	worker->todo_tail = &worker->todo;
	worker->done_tail = &worker->done;
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->wanted, NULL);
	pthread_cond_init(&worker->any_done, NULL);
	event_work_init(disk->loop, &worker->finished, worker_finished);
	if (thread_start(&worker->thread, worker_thread, worker, "disk-worker")) {
		free(worker);
		return NULL;
	}
	return worker;
}

void disk_worker_submit(struct disk *disk, struct disk_request *request)
{
	struct disk_worker *worker = disk->worker;

	if (!worker)
		worker = disk->worker = worker_start(disk);
	if (!worker) {
		disk_complete(request, -ENOMEM);
		disk_batch_done(disk);
		return;
	}
	pthread_mutex_lock(&worker->lock);
	*worker->todo_tail = request;
	worker->todo_tail = &request->next;
	pthread_cond_signal(&worker->wanted);
	pthread_mutex_unlock(&worker->lock);
}

void disk_worker_wait(struct disk *disk)
{
	struct disk_worker *worker = disk->worker;

	pthread_mutex_lock(&worker->lock);
	while (!worker->done)
		pthread_cond_wait(&worker->any_done, &worker->lock);
	pthread_mutex_unlock(&worker->lock);
	worker_finished(&worker->finished);
}

void disk_worker_stop(struct disk *disk)
{
	struct disk_worker *worker = disk->worker;

	if (!worker)
		return;
	pthread_mutex_lock(&worker->lock);
	worker->stop = true;
	pthread_cond_signal(&worker->wanted);
	pthread_mutex_unlock(&worker->lock);
	pthread_join(worker->thread, NULL);
	event_work_cancel(&worker->finished);
	pthread_cond_destroy(&worker->any_done);
	pthread_cond_destroy(&worker->wanted);
	pthread_mutex_destroy(&worker->lock);
	free(worker);
	disk->worker = NULL;
}
