/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The engine of a disk: hands requests on files to libaio, or to the worker what would block. Runs on the disk's
 * loop.
 */
#include "disk/engine.h"

#include "disk/file.h"

static bool engine_blocks(const struct disk_file *file, const struct disk_request *request)
{
	return request->op == DISK_DISCARD || request->op == DISK_WRITE_ZEROES ||
	       (request->op == DISK_FLUSH && file->flush_by_worker);
}

static int engine_tap(struct disk_file *file, const struct disk_request *request)
{
	return request->op == DISK_READ ? 0 :
	       disk_file_change(file, request->op, request->offset, request->length, request->iov, request->iov_count,
				request->fua);
}

void disk_engine_submit(struct disk_engine *engine, struct disk_file *file, struct disk_request *requests)
{
	struct disk_request *next, *list = NULL, **tail = &list;
	bool ended = false;

	for (struct disk_request *request = requests; request; request = next) {
		bool for_nothing = file->no_flush && request->op == DISK_FLUSH;
		int result = file->tap && !for_nothing ? engine_tap(file, request) : 0;

		next = request->next;
		request->next = NULL;
		request->file = file;
		request->bounced = 0;
		request->fua &= !file->no_flush;
		if (result || for_nothing) {
			disk_complete(request, result);
			ended = true;
		} else if (engine_blocks(file, request)) {
			disk_worker_submit(engine, request);
		} else {
			*tail = request;
			tail = &request->next;
		}
	}
	if (list)
		disk_aio_submit(engine, list);
	if (ended)
		disk_batch_done(engine);
}

void disk_engine_drain(struct disk_engine *engine)
{
	while (engine->in_flight)
		disk_aio_wait(engine);
}

int disk_engine_start(struct disk_engine *engine)
{
	return disk_aio_start(engine);
}

void disk_engine_stop(struct disk_engine *engine)
{
	disk_worker_stop(engine);
	disk_aio_stop(engine);
}
