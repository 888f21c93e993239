/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The libaio engine: a batch of reads, writes and flushes is one io_submit(), and completions are read from
 * the ring that the kernel shares, without a call.
 *
 * Buffered files complete inside io_submit(), so the ring is looked at right behind it, and the eventfd is
 * asked for only where completions come later: direct I/O, block devices, flushes. Runs on the disk's loop.
 */
#include <libaio.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/log.h"

#define AIO_DEPTH	1024		/* as many requests as a virtqueue can hold */
#define AIO_BATCH	64
#define AIO_LOOK_NS	1000000ULL
#define AIO_RING_MAGIC	0xa10a10a1
/* A guest chooses the size of its requests, but not how much memory they take here. */
#define BOUNCE_BYTES	MIB(1)		/* a longer request goes through in pieces */
#define BOUNCES		16		/* at once; what is more waits */

/* The head of the completion ring (fs/aio.c); an io_context_t points at it since Linux 2.6. */
struct aio_ring {
	unsigned int id, nr, head, tail, magic, compat, incompat, header_length;
	struct io_event events[];
};

struct disk_aio {
	struct disk_engine *engine;
	io_context_t context;
	struct aio_ring *ring;		/* NULL when its layout is not the known one */
	int fd;
	struct event_source source;
	struct event_timer look;
	unsigned int in_flight;		/* submitted, not reaped */
	unsigned int bounces;
	bool reaping;
	bool unsignalled;		/* some in flight have no eventfd */
	struct disk_request *waiting, **waiting_tail;	/* the kernel had no room, or there are bounces enough */
};

_Static_assert(sizeof(struct iocb) <= sizeof(((struct disk_request *)0)->engine_data), "the control block fits");

static struct iocb *request_iocb(struct disk_request *request)
{
	return (struct iocb *)(void *)request->engine_data;
}

/* ---- direct I/O wants aligned buffers ---- */

static bool request_aligned(const struct disk_request *request)
{
	size_t mask = request->file->block_size - 1;

	for (unsigned int i = 0; i < request->iov_count; i++)
		if (((uintptr_t)request->iov[i].iov_base | request->iov[i].iov_len) & mask)
			return false;
	return true;
}

/* Moves the bounce buffer's part of the request: to it (@out) or from it. */
static void bounce_copy(struct disk_request *request, bool out)
{
	size_t left = request->bounce_iov.iov_len, skip = request->bounced;
	char *at = request->bounce;

	for (unsigned int i = 0; i < request->iov_count && left; i++) {
		size_t skipped = MIN(skip, request->iov[i].iov_len);
		size_t part = MIN(request->iov[i].iov_len - skipped, left);
		char *guest = (char *)request->iov[i].iov_base + skipped;

		memcpy(out ? at : guest, out ? guest : at, part);
		skip -= skipped;
		at += part;
		left -= part;
	}
}

static int bounce_make(struct disk_aio *aio, struct disk_request *request)
{
	size_t length = MIN(request->length - request->bounced, BOUNCE_BYTES);

	if (aio->bounces == BOUNCES)
		return -EAGAIN;
	if (posix_memalign(&request->bounce, 4096, length))
		return -ENOMEM;
	aio->bounces++;
	request->bounce_iov = (struct iovec){ request->bounce, length };
	if (request->op == DISK_WRITE)
		bounce_copy(request, true);
	return 0;
}

static void bounce_free(struct disk_aio *aio, struct disk_request *request)
{
	free(request->bounce);
	request->bounce = NULL;
	aio->bounces--;
}

/* ---- completion ---- */

static int request_result(const struct disk_request *request, long result)
{
	uint64_t wanted = request->bounce ? request->bounce_iov.iov_len : request->length;

	if (result < 0)
		return (int)result;
	/* Short: the file was cut behind our back, or the medium is full. */
	if (request->op != DISK_FLUSH && (uint64_t)result != wanted)
		return request->op == DISK_WRITE ? -ENOSPC : -EIO;
	return 0;
}

static void aio_keep(struct disk_aio *aio, struct disk_request *request)
{
	request->next = NULL;
	*aio->waiting_tail = request;
	aio->waiting_tail = &request->next;
}

static void aio_finish(struct disk_aio *aio, struct disk_request *request, long result)
{
	int error = request_result(request, result);

	if (request->bounce) {
		if (!error && request->op == DISK_READ)
			bounce_copy(request, false);
		request->bounced += request->bounce_iov.iov_len;
		bounce_free(aio, request);
		if (!error && request->bounced < request->length) {
			aio_keep(aio, request);
			return;
		}
	}
	disk_complete(request, error);
}

/* One event off the shared ring; false when there is none. */
static bool ring_take(struct aio_ring *ring, struct io_event *event)
{
	unsigned int head = ring->head;

	/* Pairs with the kernel's barrier between writing events and moving the tail. */
	if (head == __atomic_load_n(&ring->tail, __ATOMIC_ACQUIRE))
		return false;
	*event = ring->events[head];
	__atomic_store_n(&ring->head, (head + 1) % ring->nr, __ATOMIC_RELEASE);
	return true;
}

static bool aio_take(struct disk_aio *aio, struct io_event *event, bool wait)
{
	struct timespec none = { 0, 0 };

	if (aio->ring && ring_take(aio->ring, event))
		return true;
	if (aio->ring && !wait)
		return false;
	return io_getevents(aio->context, wait, 1, event, wait ? NULL : &none) == 1;
}

static void aio_reap(struct disk_aio *aio, bool wait)
{
	struct io_event event;
	bool any = false;

	/* A done callback may submit again, which reaps: its completions are found by the loop below. */
	if (aio->reaping)
		return;
	aio->reaping = true;
	while (aio->in_flight && aio_take(aio, &event, wait && !any)) {
		aio->in_flight--;
		any = true;
		aio_finish(aio, event.data, (long)event.res);
	}
	aio->reaping = false;
	if (any)
		disk_batch_done(aio->engine);
}

/* ---- submission ---- */

static int aio_prepare(struct disk_aio *aio, struct disk_request *request)
{
	const struct disk_file *file = request->file;
	struct iocb *iocb = request_iocb(request);
	const struct iovec *iov = request->iov;
	int count = (int)request->iov_count, result;

	request->bounce = NULL;
	if (request->op == DISK_FLUSH) {
		io_prep_fdsync(iocb, file->fd);
	} else {
		if (file->direct && !request_aligned(request)) {
			result = bounce_make(aio, request);
			if (result)
				return result;
			iov = &request->bounce_iov;
			count = 1;
		}
		if (request->op == DISK_READ)
			io_prep_preadv(iocb, file->fd, iov, count, (off_t)(request->offset + request->bounced));
		else
			io_prep_pwritev(iocb, file->fd, iov, count, (off_t)(request->offset + request->bounced));
		if (request->op == DISK_WRITE && request->fua)
			iocb->aio_rw_flags = RWF_DSYNC;
	}
	iocb->data = request;
	if (file->direct || file->block_device || request->op == DISK_FLUSH || (request->op == DISK_WRITE && request->fua))
		io_set_eventfd(iocb, aio->fd);
	else
		aio->unsignalled = true;
	return 0;
}

/* Returns whether the request is done. A file system without asynchronous flush has the worker do it, from now on. */
static bool aio_refused(struct disk_aio *aio, struct disk_request *request, int error)
{
	if (request->op == DISK_FLUSH && (error == -EINVAL || error == -EOPNOTSUPP)) {
		request->file->flush_by_worker = true;
		disk_worker_submit(aio->engine, request);
		return false;
	}
	aio_finish(aio, request, error);
	return true;
}

/* Unprepared again, for aio_retry(). */
static void aio_take_back(struct disk_aio *aio, struct disk_request *request)
{
	if (request->bounce)
		bounce_free(aio, request);
	aio_keep(aio, request);
}

static void aio_send(struct disk_aio *aio, struct iocb **iocbs, int count)
{
	bool done = false;

	while (count) {
		int sent = io_submit(aio->context, count, iocbs);

		if (sent == -EINTR)
			continue;
		if (sent == -EAGAIN && aio->in_flight) {
			for (int i = 0; i < count; i++)
				aio_take_back(aio, iocbs[i]->data);
			break;
		}
		if (sent <= 0) {
			done |= aio_refused(aio, iocbs[0]->data, sent ? sent : -EIO);
			sent = 1;
		} else {
			aio->in_flight += (unsigned int)sent;
		}
		iocbs += sent;
		count -= sent;
	}
	if (done)
		disk_batch_done(aio->engine);
}

static void aio_submit_list(struct disk_aio *aio, struct disk_request *requests)
{
	struct iocb *iocbs[AIO_BATCH];
	struct disk_request *next;
	bool failed = false;
	int count = 0;

	for (struct disk_request *request = requests; request; request = next) {
		int result = aio_prepare(aio, request);

		next = request->next;
		if (result == -EAGAIN) {
			aio_keep(aio, request);
			continue;
		}
		if (result) {
			aio_finish(aio, request, result);
			failed = true;
			continue;
		}
		iocbs[count++] = request_iocb(request);
		if (count == AIO_BATCH) {
			aio_send(aio, iocbs, count);
			count = 0;
		}
	}
	if (count)
		aio_send(aio, iocbs, count);
	if (failed)
		disk_batch_done(aio->engine);
}

static void aio_retry(struct disk_aio *aio)
{
	struct disk_request *requests = aio->waiting;

	aio->waiting = NULL;
	aio->waiting_tail = &aio->waiting;
	if (requests)
		aio_submit_list(aio, requests);
}

/* What was asked for without an eventfd is there already, but for odd file systems. */
static void aio_look_later(struct disk_aio *aio)
{
	if (!aio->in_flight)
		aio->unsignalled = false;
	else if (aio->unsignalled && !aio->reaping)
		event_timer_set(&aio->look, event_now_ns() + AIO_LOOK_NS);
}

void disk_aio_submit(struct disk_engine *engine, struct disk_request *requests)
{
	struct disk_aio *aio = engine->aio;

	aio_submit_list(aio, requests);
	aio_reap(aio, false);
	aio_retry(aio);
	aio_look_later(aio);
}

void disk_aio_wait(struct disk_engine *engine)
{
	/* Not by polling the loop: that would dispatch other devices from inside a callback. */
	if (engine->aio->in_flight)
		aio_reap(engine->aio, true);
	else if (!engine->aio->waiting)
		disk_worker_wait(engine);
	aio_retry(engine->aio);
}

static void aio_ready(struct event_source *source, uint32_t events)
{
	struct disk_aio *aio = container_of(source, struct disk_aio, source);

	/* Edge-triggered: the counter needs no read. */
	(void)events;
	aio_reap(aio, false);
	aio_retry(aio);
}

static void aio_look(struct event_timer *timer)
{
	struct disk_aio *aio = container_of(timer, struct disk_aio, look);

	aio_reap(aio, false);
	aio_retry(aio);
	aio_look_later(aio);
}

/* ---- life ---- */

int disk_aio_start(struct disk_engine *engine)
{
	struct disk_aio *aio = calloc(1, sizeof(*aio));
	int result;

	if (!aio)
		return log_errno(ENOMEM, "asynchronous I/O");
	aio->engine = engine;
	aio->waiting_tail = &aio->waiting;
	engine->aio = aio;
	event_timer_init(engine->loop, &aio->look, aio_look);
	aio->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	result = aio->fd < 0 ? -errno : io_setup(AIO_DEPTH, &aio->context);
	if (!result)
		result = event_add(engine->loop, &aio->source, aio->fd, EPOLLIN | EPOLLET, aio_ready);
	if (result) {
		disk_aio_stop(engine);
		return log_errno(result, "no asynchronous I/O for disks (is /proc/sys/fs/aio-max-nr used up?)");
	}
	aio->ring = (struct aio_ring *)aio->context;
	if (aio->ring->magic != AIO_RING_MAGIC || aio->ring->header_length != sizeof(struct aio_ring) || aio->ring->incompat)
		aio->ring = NULL;
	return 0;
}

void disk_aio_stop(struct disk_engine *engine)
{
	struct disk_aio *aio = engine->aio;

	if (!aio)
		return;
	event_timer_cancel(&aio->look);
	event_del(&aio->source);
	if (aio->context)
		io_destroy(aio->context);
	if (aio->fd >= 0)
		close(aio->fd);
	free(aio);
	engine->aio = NULL;
}
