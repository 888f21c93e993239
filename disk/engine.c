/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine of a disk: what goes to files on its way to libaio, io_uring, threads or a server, and back. Neighbours are merged,
 * what direct I/O can't take as it is goes by bounce buffers, what came short goes on, and what there is no room for
 * waits. Runs on the disk's loop.
 */
#include "disk/engine.h"

#include <string.h>

#include "disk/file.h"
#include "disk/remote.h"
#include "kvm/log.h"

static REGISTRY struct disk_aio_item *registered_aio;

REGISTERS void disk_aio_register(struct disk_aio_item *item)
{
	item->next = registered_aio;
	registered_aio = item;
}

const struct disk_aio_ops *disk_aio_find(const char *name)
{
	for (struct disk_aio_item *item = registered_aio; item; item = item->next)
		if (!strcmp(item->ops->name, name))
			return item->ops;
	return NULL;
}

/* ---- there ---- */

static bool engine_blocks(const struct disk_request *request)
{
	return !request->file->remote_ops && (request->op == DISK_DISCARD || request->op == DISK_WRITE_ZEROES ||
					      (request->op == DISK_FLUSH && request->file->flush_by_thread));
}

static int engine_tap(struct disk_file *file, const struct disk_request *request)
{
	return request->op == DISK_READ ? 0 :
	       disk_file_change(file, request->op, request->offset, request->length, request->iov, request->iov_count,
				request->fua);
}

static void engine_keep(struct disk_engine *engine, struct disk_request *request)
{
	request->next = NULL;
	*engine->waiting_tail = request;
	engine->waiting_tail = &request->next;
}

/* Whether its own segments will do. Of what came back short, the rest begins in the middle of one. */
static bool engine_fits(const struct disk_request *request)
{
	if (request->op != DISK_READ && request->op != DISK_WRITE)
		return true;
	if (request->moved)
		return false;
	if (request->file->remote_ops)
		return request->iov_count == 1 && request->length <= request->file->remote_ops->most;
	return !request->file->direct || disk_request_aligned(request);
}

static int engine_prepare(struct disk_engine *engine, struct disk_request *request)
{
	request->bounce = NULL;
	return engine_fits(request) ? 0 : disk_bounce_make(engine, request);
}

static void engine_send_away(struct disk_engine *engine, struct disk_request *request)
{
	engine->remote_busy++;
	engine->remote_ops->submit(engine, request);
}

/* As much as there is room for, off what waits; what is a server's is on its way already. */
static struct disk_request *engine_take(struct disk_engine *engine)
{
	struct disk_request *list = NULL, **tail = &list, *request;

	while ((request = engine->waiting) && engine->sent < DISK_AIO_DEPTH) {
		int result = engine_prepare(engine, request);

		if (result == -EAGAIN)
			break;
		engine->waiting = request->next;
		if (!engine->waiting)
			engine->waiting_tail = &engine->waiting;
		request->next = NULL;
		if (result) {
			disk_complete(request, result);
			engine->ended = true;
			continue;
		}
		engine->sent++;
		if (request->file->remote_ops) {
			engine_send_away(engine, request);
			continue;
		}
		*tail = request;
		tail = &request->next;
	}
	return list;
}

/* In front of all others, unprepared. */
static void engine_take_back(struct disk_engine *engine, struct disk_request *list)
{
	struct disk_request **tail = &list;

	for (; *tail; tail = &(*tail)->next) {
		engine->sent--;
		if ((*tail)->bounce)
			disk_bounce_end(engine, *tail, 0);
	}
	*tail = engine->waiting;
	if (!engine->waiting)
		engine->waiting_tail = tail;
	engine->waiting = list;
}

static unsigned int engine_elsewhere(const struct disk_engine *engine)
{
	return disk_threads_busy(engine) + engine->remote_busy;
}

static void engine_push(struct disk_engine *engine)
{
	struct disk_request *list;

	/* What a done callback submits meanwhile is found by the loop below. */
	if (engine->pushing)
		return;
	engine->pushing = true;
	while ((list = engine_take(engine))) {
		list = engine->ops->submit(engine, list);
		if (!list)
			continue;
		engine_take_back(engine, list);
		/* Unless those that it had are done already, their end brings us back. */
		if (engine->sent > engine_elsewhere(engine))
			break;
	}
	engine->pushing = false;
}

static void engine_batch_done(struct disk_engine *engine)
{
	engine->ended = false;
	disk_batch_done(engine);
}

void disk_engine_submit(struct disk_engine *engine, struct disk_file *file, struct disk_request *requests)
{
	struct disk_request *next, *list = NULL, **tail = &list;

	for (struct disk_request *request = requests; request; request = next) {
		bool for_nothing = file->no_flush && request->op == DISK_FLUSH;
		int result = file->tap && !for_nothing ? engine_tap(file, request) : 0;

		next = request->next;
		request->next = NULL;
		request->file = file;
		request->moved = 0;
		request->bounce = NULL;
		request->by_thread = request->alone = false;
		request->fua &= !file->no_flush;
		if (result || for_nothing) {
			disk_complete(request, result);
			engine->ended = true;
		} else if (engine_blocks(request)) {
			engine->sent++;
			disk_threads_submit(engine, request);
		} else {
			*tail = request;
			tail = &request->next;
		}
	}
	list = disk_merge(engine, list);
	for (; list; list = next) {
		next = list->next;
		engine_keep(engine, list);
	}
	engine_push(engine);
	if (engine->ended)
		engine_batch_done(engine);
}

void disk_engine_again(struct disk_engine *engine, struct disk_request *request)
{
	request->alone = true;
	engine_keep(engine, request);
}

/* ---- and back ---- */

/* Returns 1 when there is more to do. */
static int engine_moved(struct disk_engine *engine, struct disk_request *request, int64_t result)
{
	struct disk_transfer transfer = disk_request_transfer(request);
	uint64_t length = result > 0 ? MIN((uint64_t)result, transfer.length) : 0;
	bool whole = length == transfer.length;

	if (request->bounce)
		disk_bounce_end(engine, request, length);
	if (result < 0)
		return (int)result;
	request->moved += length;
	if (whole)
		return request->moved < request->length;
	/* Short: the file was cut behind our back, or the medium is full, unless the host merely stopped for a moment. */
	if (!length || (request->file->direct && length % request->file->block_size))
		return request->op == DISK_WRITE ? -ENOSPC : -EIO;
	return 1;
}

void disk_engine_finish(struct disk_engine *engine, struct disk_request *request, int64_t result)
{
	int error = result < 0 ? (int)result : 0;

	engine->sent--;
	/* A file system without asynchronous flush has a thread do it, from now on. */
	if (request->op == DISK_FLUSH && !request->by_thread && !request->file->remote_ops && (result == -EINVAL || result == -EOPNOTSUPP)) {
		request->file->flush_by_thread = true;
		engine->sent++;
		disk_threads_submit(engine, request);
		return;
	}
	if (request->op == DISK_READ || request->op == DISK_WRITE)
		error = engine_moved(engine, request, result);
	if (error > 0)
		engine_keep(engine, request);
	else
		disk_complete(request, error);
}

void disk_engine_retry(struct disk_engine *engine, struct disk_request *request)
{
	engine->sent--;
	if (request->bounce)
		disk_bounce_end(engine, request, 0);
	engine_keep(engine, request);
}

void disk_engine_reaped(struct disk_engine *engine)
{
	engine_push(engine);
	engine_batch_done(engine);
}

void disk_engine_let_go(struct disk_engine *engine)
{
	if (!engine->held || !engine->remote_ops->ready(engine))
		return;
	engine->held = false;
	disk_submit(container_of(engine, struct disk, own_engine));
}

void disk_engine_drain(struct disk_engine *engine)
{
	engine->drained_from_ns = event_now_ns();
	/* Not by polling the loop: that would dispatch other devices from inside a callback. */
	while (engine->in_flight)
		if (engine->sent > engine_elsewhere(engine))
			engine->ops->wait(engine);
		else if (disk_threads_busy(engine))
			disk_threads_wait(engine);
		else
			engine->remote_ops->wait(engine);
}

/* ---- life ---- */

static const struct disk_aio_ops *next_best(unsigned int below)
{
	const struct disk_aio_ops *best = NULL;

	for (struct disk_aio_item *item = registered_aio; item; item = item->next)
		if (item->ops->rank && item->ops->rank < below && (!best || item->ops->rank > best->rank))
			best = item->ops;
	return best;
}

static int engine_try(struct disk_engine *engine, const struct disk_aio_ops *ops, bool quiet)
{
	int result;

	engine->ops = ops;
	result = ops->start(engine, quiet);
	if (result) {
		ops->stop(engine);
		engine->ops = NULL;
	}
	return result;
}

int disk_engine_start(struct disk_engine *engine)
{
	const struct disk_aio_ops *ops = engine->wanted;
	int result = -ENOSYS;

	engine->waiting_tail = &engine->waiting;
	if (ops)
		return engine_try(engine, ops, false);
	for (ops = next_best(~0U); ops && result; ops = next_best(ops->rank))
		result = engine_try(engine, ops, true);
	return result ? log_errno(result, "no asynchronous I/O for disks") : 0;
}

void disk_engine_stop(struct disk_engine *engine)
{
	disk_threads_stop(engine);
	if (engine->remote_ops)
		engine->remote_ops->stop(engine);
	engine->remote_ops = NULL;
	if (engine->ops)
		engine->ops->stop(engine);
	engine->ops = NULL;
}
