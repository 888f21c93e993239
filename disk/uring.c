/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The io_uring engine (aio=io_uring): a batch is one io_uring_enter(), whatever it holds; files are registered with
 * the ring, so that the kernel doesn't look them up for each request. Runs on the disk's loop, alone.
 *
 * Completions are told by an eventfd. Where they run on our thread, it is kept still while a batch goes in: what the
 * page cache has is complete by then, and is found in the ring. Guest RAM is not registered: the ring would pin all of it, and pages that the
 * balloon gives back would stay with the ring while the guest sees new ones.
 */
#include <errno.h>
#include <liburing.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/uio.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/log.h"

#define URING_ENTRIES	256		/* of the submission ring; a larger batch goes in parts */
#define URING_LOOK_NS	1000000ULL
#define URING_FILES	DISK_CHAIN_MAX

struct disk_uring {
	struct disk_engine *engine;
	struct io_uring ring;
	bool made;
	bool deferred;			/* completions run when we look for them */
	int fd;
	struct event_source source;
	struct event_timer look;	/* what the kernel had no memory to take */
	unsigned int in_flight;		/* in the ring, not reaped */
	bool reaping;
	bool files_registered;
	struct disk_file *files[URING_FILES];	/* by their place in the ring's table; they outlive it */
};

/* ---- completion ---- */

static void uring_reap(struct disk_uring *uring)
{
	struct io_uring_cqe *cqe;
	bool any = false;

	/* A done callback may submit again, which reaps: its completions are found by the loop below. */
	if (uring->reaping)
		return;
	uring->reaping = true;
	while (uring->in_flight && !io_uring_peek_cqe(&uring->ring, &cqe)) {
		struct disk_request *request = io_uring_cqe_get_data(cqe);
		int result = cqe->res;

		io_uring_cqe_seen(&uring->ring, cqe);
		uring->in_flight--;
		any = true;
		/* Both mean: not now. A request that moved nothing yet is as it was. */
		if (result == -EINTR || result == -EAGAIN)
			disk_engine_retry(uring->engine, request);
		else
			disk_engine_finish(uring->engine, request, result);
	}
	uring->reaping = false;
	if (any)
		disk_engine_reaped(uring->engine);
}

/* ---- submission ---- */

/* The file's place in the ring's table, where it is put at its first request; or -1. */
static int uring_place(struct disk_uring *uring, struct disk_file *file)
{
	unsigned int place = 0;

	if (!uring->files_registered)
		return -1;
	if (file->place < URING_FILES && uring->files[file->place] == file)
		return (int)file->place;
	while (place < URING_FILES && uring->files[place] && uring->files[place] != file)
		place++;
	if (place == URING_FILES)
		return -1;
	if (!uring->files[place] && io_uring_register_files_update(&uring->ring, place, &file->fd, 1) != 1)
		return -1;
	uring->files[place] = file;
	file->place = place;
	return (int)place;
}

static void uring_prepare(struct disk_uring *uring, struct disk_request *request, struct io_uring_sqe *sqe)
{
	const struct disk_transfer transfer = disk_request_transfer(request);
	int place = uring_place(uring, request->file), fd = place < 0 ? request->file->fd : place;

	if (request->op == DISK_FLUSH)
		io_uring_prep_fsync(sqe, fd, IORING_FSYNC_DATASYNC);
	else if (request->op == DISK_READ)
		io_uring_prep_readv(sqe, fd, transfer.iov, transfer.count, transfer.offset);
	else
		io_uring_prep_writev2(sqe, fd, transfer.iov, transfer.count, transfer.offset, request->fua ? RWF_DSYNC : 0);
	if (place >= 0)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, request);
	uring->in_flight++;
}

/* What stays behind for want of memory is tried again when something completes, or soon. */
static bool uring_enter(struct disk_uring *uring)
{
	while (io_uring_sq_ready(&uring->ring)) {
		int result = io_uring_submit(&uring->ring);

		if (result < 0 && result != -EINTR) {
			event_timer_set(&uring->look, event_now_ns() + URING_LOOK_NS);
			return false;
		}
	}
	return true;
}

static struct disk_request *uring_submit(struct disk_engine *engine, struct disk_request *requests)
{
	struct disk_uring *uring = engine->aio;

	if (uring->deferred)
		io_uring_cq_eventfd_toggle(&uring->ring, false);
	while (requests) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&uring->ring);

		if (sqe) {
			uring_prepare(uring, requests, sqe);
			requests = requests->next;
		} else if (!uring_enter(uring)) {
			break;
		}
	}
	uring_enter(uring);
	if (uring->deferred) {
		io_uring_cq_eventfd_toggle(&uring->ring, true);
		/* Pairs with the kernel's between its noting work and looking whether to tell: one of us sees the other. */
		atomic_thread_fence(memory_order_seq_cst);
	}
	uring_reap(uring);
	return requests;
}

static void uring_wait(struct disk_engine *engine)
{
	struct disk_uring *uring = engine->aio;

	io_uring_submit_and_wait(&uring->ring, 1);
	uring_reap(uring);
}

static void uring_ready(struct event_source *source, uint32_t events)
{
	/* Edge-triggered: the counter needs no read. */
	(void)events;
	uring_reap(container_of(source, struct disk_uring, source));
}

static void uring_look(struct event_timer *timer)
{
	struct disk_uring *uring = container_of(timer, struct disk_uring, look);

	uring_enter(uring);
	uring_reap(uring);
}

/* ---- life ---- */

/* The newest first: completions run when we look for them, instead of interrupting us. */
static int uring_make(struct disk_uring *uring)
{
	static const unsigned int flags[] = {
		IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
		IORING_SETUP_COOP_TASKRUN | IORING_SETUP_TASKRUN_FLAG | IORING_SETUP_SUBMIT_ALL,
		0,
	};
	int result = -EINVAL;

	for (size_t i = 0; i < ARRAY_SIZE(flags) && result == -EINVAL; i++) {
		struct io_uring_params parameters = { .flags = flags[i] | IORING_SETUP_CQSIZE, .cq_entries = DISK_AIO_DEPTH };

		result = io_uring_queue_init_params(URING_ENTRIES, &uring->ring, &parameters);
	}
	uring->made = !result;
	uring->deferred = uring->made && (uring->ring.flags & IORING_SETUP_DEFER_TASKRUN);
	return result;
}

static int uring_set_up(struct disk_uring *uring)
{
	int none[URING_FILES], result;

	uring->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	result = uring->fd < 0 ? -errno : uring_make(uring);
	if (!result)
		result = io_uring_register_eventfd(&uring->ring, uring->fd);
	if (result)
		return result;
	for (size_t i = 0; i < URING_FILES; i++)
		none[i] = -1;
	/* Both save the kernel a look-up; it goes without. */
	uring->files_registered = !io_uring_register_files(&uring->ring, none, URING_FILES);
	io_uring_register_ring_fd(&uring->ring);
	return event_add(uring->engine->loop, &uring->source, uring->fd, EPOLLIN | EPOLLET, uring_ready);
}

static int uring_refused(int result)
{
	switch (-result) {
	case ENOSYS:
		return log_error(ENOSYS, "disks with aio=io_uring: this kernel has no io_uring (say aio=native)");
	case EPERM: case EACCES:
		return log_error(EPERM, "disks with aio=io_uring: the host forbids it, by the sysctl kernel.io_uring_disabled or a "
				 "seccomp filter (say aio=native)");
	case ENOMEM:
		return log_error(ENOMEM, "disks with aio=io_uring: no memory that may be locked (raise ulimit -l, or say aio=native)");
	default:
		return log_errno(result, "disks with aio=io_uring (say aio=native)");
	}
}

static int uring_start(struct disk_engine *engine, bool quiet)
{
	struct disk_uring *uring = calloc(1, sizeof(*uring));
	int result = -ENOMEM;

	engine->aio = uring;
	if (uring) {
		uring->engine = engine;
		uring->fd = -1;
		event_timer_init(engine->loop, &uring->look, uring_look);
		result = uring_set_up(uring);
	}
	return result && !quiet ? uring_refused(result) : result;
}

static void uring_stop(struct disk_engine *engine)
{
	struct disk_uring *uring = engine->aio;

	if (!uring)
		return;
	event_timer_cancel(&uring->look);
	event_del(&uring->source);
	/* The ring itself ends some time later: till then it would keep the files, and so the image's lock. */
	if (uring->made && uring->files_registered)
		io_uring_unregister_files(&uring->ring);
	if (uring->made)
		io_uring_queue_exit(&uring->ring);
	if (uring->fd >= 0)
		close(uring->fd);
	free(uring);
	engine->aio = NULL;
}

static const struct disk_aio_ops aio_io_uring = {
	.name	= "io_uring",
	.start	= uring_start,
	.stop	= uring_stop,
	.submit	= uring_submit,
	.wait	= uring_wait,
};
DISK_AIO(aio_io_uring);
