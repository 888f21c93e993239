/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The libaio engine (aio=native): a batch of reads, writes and flushes is one io_submit(), and completions are read
 * from the ring that the kernel shares, without a call.
 *
 * Buffered files complete inside io_submit(), so the ring is looked at right behind it, and the eventfd is
 * asked for only where completions come later: direct I/O, block devices, flushes. Runs on the disk's loop.
 */
#include <libaio.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "kvm/log.h"

#define AIO_BATCH	64
#define AIO_LOOK_NS	1000000ULL
#define AIO_RING_MAGIC	0xa10a10a1

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
	bool reaping;
	bool unsignalled;		/* some in flight have no eventfd */
};

_Static_assert(sizeof(struct iocb) <= sizeof(((struct disk_request *)0)->engine_data), "the control block fits");

static struct iocb *request_iocb(struct disk_request *request)
{
	return (struct iocb *)(void *)request->engine_data;
}

/* ---- completion ---- */

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
		disk_engine_finish(aio->engine, event.data, (long)event.res);
	}
	aio->reaping = false;
	if (any)
		disk_engine_reaped(aio->engine);
}

/* ---- submission ---- */

static void aio_prepare(struct disk_aio *aio, struct disk_request *request)
{
	const struct disk_transfer transfer = disk_request_transfer(request);
	const struct disk_file *file = request->file;
	struct iocb *iocb = request_iocb(request);
	bool fua = request->op == DISK_WRITE && request->fua;

	if (request->op == DISK_FLUSH)
		io_prep_fdsync(iocb, file->fd);
	else if (request->op == DISK_READ)
		io_prep_preadv(iocb, file->fd, transfer.iov, (int)transfer.count, (off_t)transfer.offset);
	else
		io_prep_pwritev(iocb, file->fd, transfer.iov, (int)transfer.count, (off_t)transfer.offset);
	if (fua)
		iocb->aio_rw_flags = RWF_DSYNC;
	iocb->data = request;
	if (file->direct || file->block_device || request->op == DISK_FLUSH || fua)
		io_set_eventfd(iocb, aio->fd);
	else
		aio->unsignalled = true;
}

/* Returns how many of them were taken; what is refused is finished, and taken too. */
static int aio_send(struct disk_aio *aio, struct iocb **iocbs, int count)
{
	int done = 0;

	while (done < count) {
		int sent = io_submit(aio->context, count - done, iocbs + done);

		if (sent == -EINTR)
			continue;
		if (sent == -EAGAIN && aio->in_flight)
			break;
		if (sent > 0) {
			aio->in_flight += (unsigned int)sent;
			done += sent;
			continue;
		}
		aio->engine->ended = true;
		disk_engine_finish(aio->engine, iocbs[done++]->data, sent ? sent : -EIO);
	}
	return done;
}

/* What was asked for without an eventfd is there already, but for odd file systems. */
static void aio_look_later(struct disk_aio *aio)
{
	if (!aio->in_flight)
		aio->unsignalled = false;
	else if (aio->unsignalled && !aio->reaping)
		event_timer_set(&aio->look, event_now_ns() + AIO_LOOK_NS);
}

static struct disk_request *aio_submit(struct disk_engine *engine, struct disk_request *requests)
{
	struct disk_aio *aio = engine->aio;

	while (requests) {
		struct disk_request *batch = requests;
		struct iocb *iocbs[AIO_BATCH];
		int count = 0, sent;

		for (; requests && count < AIO_BATCH; requests = requests->next) {
			aio_prepare(aio, requests);
			iocbs[count++] = request_iocb(requests);
		}
		/* What is sent may be done and gone at once: the list is followed before. */
		sent = aio_send(aio, iocbs, count);
		if (sent < count) {
			requests = sent ? iocbs[sent]->data : batch;
			break;
		}
	}
	aio_reap(aio, false);
	aio_look_later(aio);
	return requests;
}

static void aio_wait(struct disk_engine *engine)
{
	aio_reap(engine->aio, true);
}

static void aio_ready(struct event_source *source, uint32_t events)
{
	/* Edge-triggered: the counter needs no read. */
	(void)events;
	aio_reap(container_of(source, struct disk_aio, source), false);
}

static void aio_look(struct event_timer *timer)
{
	struct disk_aio *aio = container_of(timer, struct disk_aio, look);

	aio_reap(aio, false);
	aio_look_later(aio);
}

/* ---- life ---- */

static int aio_start(struct disk_engine *engine, bool quiet)
{
	struct disk_aio *aio = calloc(1, sizeof(*aio));
	int result;

	if (!aio)
		return log_errno(ENOMEM, "asynchronous I/O");
	aio->engine = engine;
	engine->aio = aio;
	event_timer_init(engine->loop, &aio->look, aio_look);
	aio->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	result = aio->fd < 0 ? -errno : io_setup(DISK_AIO_DEPTH, &aio->context);
	if (!result)
		result = event_add(engine->loop, &aio->source, aio->fd, EPOLLIN | EPOLLET, aio_ready);
	if (result)
		return quiet ? result : log_errno(result, "no asynchronous I/O for disks (is /proc/sys/fs/aio-max-nr used up? "
						  "aio=threads needs none)");
	aio->ring = (struct aio_ring *)aio->context;
	if (aio->ring->magic != AIO_RING_MAGIC || aio->ring->header_length != sizeof(struct aio_ring) || aio->ring->incompat)
		aio->ring = NULL;
	return 0;
}

static void aio_stop(struct disk_engine *engine)
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

static const struct disk_aio_ops aio_native = {
	.name	= "native",
	.rank	= 2,
	.start	= aio_start,
	.stop	= aio_stop,
	.submit	= aio_submit,
	.wait	= aio_wait,
};
DISK_AIO(aio_native);
