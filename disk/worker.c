/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A thread for what would block the loop: discard, write zeroes, and flushes where libaio has none. Started at
 * the first such request.
 *
 * worker->lock guards both lists and the stop flag; innermost. Results go back to the loop by posted work.
 */
#include <pthread.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/log.h"
#include "kvm/thread.h"

struct disk_worker {
	struct disk_engine *engine;
	pthread_t thread;
	struct event_work finished;
	pthread_mutex_t lock;
	pthread_cond_t wanted;		/* something to do, or stop */
	pthread_cond_t any_done;
	struct disk_request *todo, **todo_tail;
	struct disk_request *done, **done_tail;
	bool stop;
};

static int worker_do(const struct disk_request *request)
{
	const struct disk_file *file = request->file;
	int result = 0;

	if (request->op == DISK_DISCARD)
		result = disk_file_discard_now(file, request->offset, request->length);
	else if (request->op == DISK_WRITE_ZEROES)
		result = disk_file_write_zeroes_now(file, request->offset, request->length, request->may_unmap);
	if (result || (request->op != DISK_FLUSH && !request->fua))
		return result;
	return fdatasync(file->fd) < 0 ? -errno : 0;
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
		request->engine_data[0] = (uint64_t)(int64_t)worker_do(request);
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
	disk_batch_done(worker->engine);
}

static struct disk_worker *worker_start(struct disk_engine *engine)
{
	struct disk_worker *worker = calloc(1, sizeof(*worker));

	if (!worker)
		return NULL;
	worker->engine = engine;
	worker->todo_tail = &worker->todo;
	worker->done_tail = &worker->done;
	pthread_mutex_init(&worker->lock, NULL);
	pthread_cond_init(&worker->wanted, NULL);
	pthread_cond_init(&worker->any_done, NULL);
	event_work_init(engine->loop, &worker->finished, worker_finished);
	if (thread_start(&worker->thread, worker_thread, worker, "disk-worker")) {
		free(worker);
		return NULL;
	}
	return worker;
}

void disk_worker_submit(struct disk_engine *engine, struct disk_request *request)
{
	struct disk_worker *worker = engine->worker;

	if (!worker)
		worker = engine->worker = worker_start(engine);
	if (!worker) {
		disk_complete(request, -ENOMEM);
		disk_batch_done(engine);
		return;
	}
	pthread_mutex_lock(&worker->lock);
	*worker->todo_tail = request;
	worker->todo_tail = &request->next;
	pthread_cond_signal(&worker->wanted);
	pthread_mutex_unlock(&worker->lock);
}

void disk_worker_wait(struct disk_engine *engine)
{
	struct disk_worker *worker = engine->worker;

	pthread_mutex_lock(&worker->lock);
	while (!worker->done)
		pthread_cond_wait(&worker->any_done, &worker->lock);
	pthread_mutex_unlock(&worker->lock);
	worker_finished(&worker->finished);
}

void disk_worker_stop(struct disk_engine *engine)
{
	struct disk_worker *worker = engine->worker;

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
	engine->worker = NULL;
}
