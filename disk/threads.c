/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests carried out by threads, which may block: with aio=threads all of them; with any other engine discard, write
 * zeroes and the flushes that it refuses, one after the other. Threads are started as they are needed.
 *
 * threads->lock guards the list of what is done; innermost. It goes back to the loop by posted work.
 */
#include <pthread.h>
#include <stdlib.h>
#include <sys/uio.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/log.h"
#include "kvm/pool.h"

#define THREADS_MAX	16

struct disk_threads {
	struct disk_engine *engine;
	struct pool *pool;
	struct event_work finished;
	unsigned int busy;		/* the loop's */
	pthread_mutex_t lock;
	pthread_cond_t any_done;
	struct disk_request *done, **done_tail;
};

/* In a request's engine_data. */
struct thread_job {
	struct pool_job job;
	int64_t result;
};
_Static_assert(sizeof(struct thread_job) <= sizeof(((struct disk_request *)0)->engine_data), "the job fits");

static struct thread_job *request_job(struct disk_request *request)
{
	return (struct thread_job *)(void *)request->engine_data;
}

/* ---- on a thread ---- */

static int64_t thread_transfer(const struct disk_request *request)
{
	struct disk_transfer transfer = disk_request_transfer(request);
	int fd = request->file->fd, count = (int)transfer.count;
	ssize_t result;

	do {
		result = request->op == DISK_READ ? preadv(fd, transfer.iov, count, (off_t)transfer.offset) :
			 pwritev2(fd, transfer.iov, count, (off_t)transfer.offset, request->fua ? RWF_DSYNC : 0);
	} while (result < 0 && errno == EINTR);
	return result < 0 ? -errno : result;
}

static int64_t thread_do(const struct disk_request *request)
{
	const struct disk_file *file = request->file;
	int result = 0;

	if (request->op == DISK_READ || request->op == DISK_WRITE)
		return thread_transfer(request);
	if (request->op == DISK_DISCARD)
		result = disk_file_discard_now(file, request->offset, request->length);
	else if (request->op == DISK_WRITE_ZEROES)
		result = disk_file_write_zeroes_now(file, request->offset, request->length, request->may_unmap);
	if (result || (request->op != DISK_FLUSH && !request->fua))
		return result;
	return fdatasync(file->fd) < 0 ? -errno : 0;
}

static void thread_run(struct pool_job *job)
{
	struct disk_request *request = container_of((uint64_t (*)[8])(void *)job, struct disk_request, engine_data);
	struct disk_threads *threads = request->engine->threads;

	request_job(request)->result = thread_do(request);
	pthread_mutex_lock(&threads->lock);
	request->next = NULL;
	*threads->done_tail = request;
	threads->done_tail = &request->next;
	pthread_cond_signal(&threads->any_done);
	event_work_post(&threads->finished);
	pthread_mutex_unlock(&threads->lock);
}

/* ---- on the loop ---- */

static void threads_finished(struct event_work *work)
{
	struct disk_threads *threads = container_of(work, struct disk_threads, finished);
	struct disk_engine *engine = threads->engine;
	struct disk_request *request, *next;

	pthread_mutex_lock(&threads->lock);
	request = threads->done;
	threads->done = NULL;
	threads->done_tail = &threads->done;
	pthread_mutex_unlock(&threads->lock);
	if (!request)
		return;
	for (; request; request = next) {
		next = request->next;
		threads->busy--;
		disk_engine_finish(engine, request, request_job(request)->result);
	}
	disk_engine_reaped(engine);
}

static int threads_make(struct disk_engine *engine, unsigned int count)
{
	struct disk_threads *threads = calloc(1, sizeof(*threads));
	int result = threads ? pool_create(&threads->pool, "disk-worker", count, NULL) : -ENOMEM;

	if (result) {
		free(threads);
		return result;
	}
	threads->engine = engine;
	threads->done_tail = &threads->done;
	pthread_mutex_init(&threads->lock, NULL);
	pthread_cond_init(&threads->any_done, NULL);
	event_work_init(engine->loop, &threads->finished, threads_finished);
	engine->threads = threads;
	return 0;
}

void disk_threads_submit(struct disk_engine *engine, struct disk_request *request)
{
	int result = engine->threads ? 0 : threads_make(engine, 1);

	request->by_thread = true;
	if (result) {
		engine->ended = true;
		disk_engine_finish(engine, request, result);
		return;
	}
	engine->threads->busy++;
	request_job(request)->job.run = thread_run;
	pool_submit(engine->threads->pool, &request_job(request)->job);
}

unsigned int disk_threads_busy(const struct disk_engine *engine)
{
	return engine->threads ? engine->threads->busy : 0;
}

void disk_threads_wait(struct disk_engine *engine)
{
	struct disk_threads *threads = engine->threads;

	pthread_mutex_lock(&threads->lock);
	while (!threads->done)
		pthread_cond_wait(&threads->any_done, &threads->lock);
	pthread_mutex_unlock(&threads->lock);
	threads_finished(&threads->finished);
}

void disk_threads_stop(struct disk_engine *engine)
{
	struct disk_threads *threads = engine->threads;

	if (!threads)
		return;
	pool_destroy(threads->pool);
	event_work_cancel(&threads->finished);
	pthread_cond_destroy(&threads->any_done);
	pthread_mutex_destroy(&threads->lock);
	free(threads);
	engine->threads = NULL;
}

/* ---- aio=threads ---- */

static int threads_start(struct disk_engine *engine, bool quiet)
{
	int result = threads_make(engine, THREADS_MAX);

	return result && !quiet ? log_errno(result, "threads for disks") : result;
}

static struct disk_request *threads_submit(struct disk_engine *engine, struct disk_request *requests)
{
	for (struct disk_request *next; requests; requests = next) {
		next = requests->next;
		disk_threads_submit(engine, requests);
	}
	return NULL;
}

static const struct disk_aio_ops aio_threads = {
	.name	= "threads",
	.rank	= 1,
	.start	= threads_start,
	.stop	= disk_threads_stop,
	.submit	= threads_submit,
	.wait	= disk_threads_wait,
};
DISK_AIO(aio_threads);
