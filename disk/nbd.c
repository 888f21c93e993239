/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files that are exports of an NBD server (nbd://, nbd+unix://), by libnbd. Requests are commands in flight on one
 * connection, and end on the disk's loop; a format's own calls wait for theirs, bounded, and for no connection.
 *
 * libnbd tells of a command's end inside whatever call of ours finds it: it is noted there and delivered from the
 * loop, so that a format that waits for a table isn't called back in the midst of it.
 */
#include "disk/nbd.h"

#include <stdlib.h>
#include <string.h>

#include "kvm/log.h"

#define NBD_BYTES_MAX	MIB(32)		/* of a read or write, which every server takes */
#define NBD_LOSSES_MAX	3		/* a request that is there whenever a server ends may be why */
#define NBD_RANGE_MAX	GIB(1)		/* of a trim or write of zeroes */

/* In a request's engine_data. */
struct command {
	int64_t result;
	struct disk_request *next, **link;	/* among those in flight */
	uint64_t changes;			/* a flush: what it is for */
	bool flushing;				/* a change that is done, but for its FUA */
	uint8_t losses;				/* of connections, while it was in flight */
};
_Static_assert(sizeof(struct command) <= sizeof(((struct disk_request *)0)->engine_data), "the command fits");

static struct command *request_command(struct disk_request *request)
{
	return (struct command *)(void *)request->engine_data;
}

/* What one command is told. */
struct order {
	enum disk_op op;
	uint64_t offset, length;
	void *buffer;
	bool fua, may_unmap;
};

/* ---- the library's errors, and the protocol's ---- */

static int error_of(int error)
{
	return error == ENOSPC || error == EPERM || error == EOPNOTSUPP || error == EINVAL || error == ENOMEM ? -error : -EIO;
}

static int order_send(struct disk_nbd *nbd, const struct order *order, nbd_completion_callback done)
{
	const struct nbd_library *library = nbd->library;
	uint32_t flags = order->fua && nbd->can_fua ? LIBNBD_CMD_FLAG_FUA : 0;
	int64_t cookie;

	switch (order->op) {
	case DISK_READ:
		cookie = library->pread(nbd->handle, order->buffer, (size_t)order->length, order->offset, done, 0);
		break;
	case DISK_WRITE:
		cookie = library->pwrite(nbd->handle, order->buffer, (size_t)order->length, order->offset, done, flags);
		break;
	case DISK_DISCARD:
		cookie = library->trim(nbd->handle, order->length, order->offset, done, flags);
		break;
	case DISK_WRITE_ZEROES:
		flags |= order->may_unmap ? 0 : LIBNBD_CMD_FLAG_NO_HOLE;
		cookie = library->zero(nbd->handle, order->length, order->offset, done, flags);
		break;
	default:
		cookie = library->flush(nbd->handle, done, 0);
	}
	return cookie < 0 ? error_of(library->get_errno()) : 0;
}

/* 1: there is something to send; 0: it is done as it is; or why it can't be. */
static int order_check(struct disk_nbd *nbd, const struct order *order)
{
	if (order->op == DISK_FLUSH) {
		bool broken = nbd->changes_lost;

		nbd->changes_lost = false;
		return broken ? -EIO : nbd->can_flush;
	}
	if (order->op == DISK_DISCARD && !nbd->can_trim)
		return 0;
	if (order->op == DISK_WRITE_ZEROES && !nbd->can_zero)
		return -EOPNOTSUPP;
	if (order->offset > nbd->file->size || order->length > nbd->file->size - order->offset)
		return order->op == DISK_READ ? -EIO : -ENOSPC;
	return 1;
}

/* ---- calls that wait ---- */

struct call {
	bool done;
	int error;
};

static int call_done(void *opaque, int *error)
{
	struct call *call = opaque;

	call->done = true;
	call->error = *error;
	return 1;
}

static int call_one(struct disk_nbd *nbd, const struct order *order)
{
	struct call call = { 0 };
	uint64_t changes = nbd->changes, generation;
	int result = nbd_connect_wait(nbd);

	if (!result)
		result = order_check(nbd, order);
	if (result <= 0)
		return result;
	nbd->progress_ns = event_now_ns();
	nbd->calling = true;
	generation = nbd->generation;
	result = order_send(nbd, order, (nbd_completion_callback){ .callback = call_done, .user_data = &call });
	/* Without the connection nobody calls back. */
	while (!result && !call.done && nbd->generation == generation)
		nbd_poll_once(nbd);
	nbd->calling = false;
	if (result || !call.done || call.error)
		return result ? result : call.done ? error_of(call.error) : -EIO;
	if (order->op == DISK_FLUSH)
		nbd->flushed = MAX(nbd->flushed, changes);
	else if (order->op != DISK_READ)
		nbd->changes++;
	return 0;
}

static int nbd_call(struct disk_file *file, enum disk_op op, uint64_t offset, void *buffer, uint64_t length, bool may_unmap)
{
	struct order order = { .op = op, .offset = offset, .buffer = buffer, .may_unmap = may_unmap };
	uint64_t most = op == DISK_READ || op == DISK_WRITE ? NBD_BYTES_MAX : NBD_RANGE_MAX;
	int result = 0;

	do {
		order.length = MIN(length, most);
		result = call_one(file->remote, &order);
		order.offset += order.length;
		order.buffer = order.buffer ? (char *)order.buffer + order.length : NULL;
		length -= order.length;
	} while (length && !result);
	return result;
}

/* ---- requests ---- */

static void command_end(struct disk_nbd *nbd, struct disk_request *request, int result)
{
	struct command *command = request_command(request);

	command->result = result;
	request->next = NULL;
	*nbd->done_tail = request;
	nbd->done_tail = &request->next;
	if (!nbd->notifying)
		event_work_post(&nbd->deliver);
}

static void flight_leave(struct disk_request *request)
{
	struct command *command = request_command(request);

	*command->link = command->next;
	if (command->next)
		request_command(command->next)->link = command->link;
}

static void wait_for_connection(struct disk_nbd *nbd, struct disk_request *request)
{
	request->next = NULL;
	*nbd->waiting_tail = request;
	nbd->waiting_tail = &request->next;
}

/*
 * Its connection is gone. It is sent again from its beginning: a change that was carried out already is so once more, with
 * the same bytes.
 */
static void command_lost(struct disk_nbd *nbd, struct disk_request *request)
{
	if (++request_command(request)->losses >= NBD_LOSSES_MAX)
		command_end(nbd, request, -EIO);
	else
		wait_for_connection(nbd, request);
}

/* ENOTCONN is the library's, of what was in flight when the connection ended; no server says that. */
static int command_done(void *opaque, int *error)
{
	struct disk_request *request = opaque;
	struct disk_nbd *nbd = request->file->remote;

	flight_leave(request);
	if (*error == ENOTCONN) {
		command_lost(nbd, request);
		return 1;
	}
	nbd->progress_ns = event_now_ns();
	command_end(nbd, request, *error ? error_of(*error) : 0);
	return 1;
}

static void flight_enter(struct disk_nbd *nbd, struct disk_request *request)
{
	struct command *command = request_command(request);

	if (!nbd->flight)
		nbd->progress_ns = event_now_ns();
	command->next = nbd->flight;
	command->link = &nbd->flight;
	if (command->next)
		request_command(command->next)->link = &command->next;
	nbd->flight = request;
}

static void command_send(struct disk_nbd *nbd, struct disk_request *request, bool flush)
{
	const struct disk_transfer transfer = disk_request_transfer(request);
	struct order order = { .op = flush ? DISK_FLUSH : request->op, .offset = request->offset, .length = request->length,
			       .fua = request->fua, .may_unmap = request->may_unmap };
	int result;

	if (order.op == DISK_READ || order.op == DISK_WRITE) {
		order.offset = transfer.offset;
		order.length = transfer.length;
		order.buffer = transfer.iov->iov_base;
	}
	request_command(request)->changes = nbd->changes;
	request_command(request)->flushing = flush && request->op != DISK_FLUSH;
	result = order_check(nbd, &order);
	if (result > 0) {
		/* It may be over before the call returns. */
		flight_enter(nbd, request);
		result = order_send(nbd, &order, (nbd_completion_callback){ .callback = command_done, .user_data = request });
		if (!result)
			return;
		flight_leave(request);
		if (nbd_is_gone(nbd)) {
			command_lost(nbd, request);
			return;
		}
	}
	command_end(nbd, request, result);
}

static void nbd_submit(struct disk_engine *engine, struct disk_request *request)
{
	struct disk_nbd *nbd = request->file->remote;

	nbd_attach(nbd, engine);
	request_command(request)->losses = 0;
	if (nbd->handle)
		command_send(nbd, request, false);
	else if (nbd_is_given_up(nbd))
		command_end(nbd, request, -EIO);
	else
		wait_for_connection(nbd, request);
	nbd_look(nbd);
}

static struct disk_request *take_waiting(struct disk_nbd *nbd)
{
	struct disk_request *list = nbd->waiting;

	nbd->waiting = NULL;
	nbd->waiting_tail = &nbd->waiting;
	return list;
}

void nbd_send_waiting(struct disk_nbd *nbd)
{
	struct disk_request *request = take_waiting(nbd), *next;

	for (; request; request = next) {
		next = request->next;
		command_send(nbd, request, false);
	}
}

void nbd_fail_waiting(struct disk_nbd *nbd)
{
	struct disk_request *request = take_waiting(nbd), *next;

	for (; request; request = next) {
		next = request->next;
		command_end(nbd, request, -EIO);
	}
}

void nbd_keep_flight(struct disk_nbd *nbd)
{
	struct disk_request *request;

	while ((request = nbd->flight)) {
		flight_leave(request);
		command_lost(nbd, request);
	}
}

bool nbd_has_requests(const struct disk_nbd *nbd)
{
	return nbd->flight || nbd->calling;
}

/* Returns false when it isn't over yet. */
static bool command_is_over(struct disk_nbd *nbd, struct disk_request *request)
{
	struct command *command = request_command(request);

	if (command->result || request->op == DISK_READ)
		return true;
	if (request->op == DISK_FLUSH || command->flushing) {
		nbd->flushed = MAX(nbd->flushed, command->changes);
		return true;
	}
	nbd->changes += !request->fua || !nbd->can_fua;
	if (!request->fua || nbd->can_fua || !nbd->can_flush)
		return true;
	/* whether it is on the medium went with the connection: all of it again */
	if (!nbd->handle)
		wait_for_connection(nbd, request);
	else
		command_send(nbd, request, true);
	return false;
}

void nbd_deliver(struct disk_nbd *nbd)
{
	struct disk_request *request = nbd->done, *next;
	struct disk_engine *engine = nbd->engine;

	disk_engine_let_go(engine);
	if (!request)
		return;
	nbd->done = NULL;
	nbd->done_tail = &nbd->done;
	for (; request; request = next) {
		int64_t result = request_command(request)->result;

		next = request->next;
		if (!command_is_over(nbd, request))
			continue;
		engine->remote_busy--;
		disk_engine_finish(engine, request, result ? result : (int64_t)disk_request_transfer(request).length);
	}
	disk_engine_reaped(engine);
	nbd_look(nbd);
}

/* ---- as a file ---- */

static void nbd_wait(struct disk_engine *engine)
{
	uint64_t waited = event_now_ns() - engine->drained_from_ns;
	bool any = false;

	for (struct disk_nbd *nbd = engine->remotes; nbd && !any; nbd = nbd->next)
		if ((any = nbd->done))
			nbd_deliver(nbd);
	for (struct disk_nbd *nbd = engine->remotes; nbd && !any; nbd = nbd->next) {
		if (nbd->flight || nbd->waiting || (engine->held && !nbd->handle)) {
			nbd_poll_once(nbd);
			if (waited >= nbd->drain_ns)
				nbd_give_up(nbd);
		}
		nbd_deliver(nbd);
	}
}

/* Without a connection a format couldn't read its tables: it isn't asked to, until there is one or nobody waits for it. */
static bool nbd_ready(struct disk_engine *engine)
{
	for (const struct disk_nbd *nbd = engine->remotes; nbd; nbd = nbd->next)
		if (!nbd->handle && !nbd_is_given_up(nbd))
			return false;
	return true;
}

static void nbd_attach_file(struct disk_engine *engine, struct disk_file *file)
{
	nbd_attach(file->remote, engine);
}

static void nbd_stop(struct disk_engine *engine)
{
	struct disk_nbd *nbd = engine->remotes;

	for (; nbd; nbd = nbd->next)
		nbd_detach(nbd);
	engine->remotes = NULL;
}

static void nbd_close_file(struct disk_file *file)
{
	struct disk_nbd *nbd = file->remote;

	if (!nbd)
		return;
	nbd_close_connection(nbd);
	free(nbd->uri);
	free(nbd);
	file->remote = NULL;
}

static int nbd_open_file(struct disk_file *file, const char *uri)
{
	const struct nbd_library *library = nbd_library();
	struct disk_nbd *nbd;

	if (!library)
		return -ENOENT;
	nbd = calloc(1, sizeof(*nbd));
	file->remote = nbd;
	if (!nbd || !(nbd->uri = strdup(uri)))
		return log_errno(ENOMEM, "disk '%s'", uri);
	nbd->library = library;
	nbd->file = file;
	nbd->waiting_tail = &nbd->waiting;
	nbd->done_tail = &nbd->done;
	return nbd_open_connection(nbd);
}

static const struct disk_remote_ops nbd_remote = {
	.scheme		= "nbd",
	.most		= NBD_BYTES_MAX,
	.open		= nbd_open_file,
	.close		= nbd_close_file,
	.call		= nbd_call,
	.attach		= nbd_attach_file,
	.ready		= nbd_ready,
	.submit		= nbd_submit,
	.wait		= nbd_wait,
	.stop		= nbd_stop,
};
DISK_REMOTE(nbd_remote);
