/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The connection to an NBD server: made when the disk is opened, and again, when a request wants it, after it was lost.
 *
 * A server that says nothing for some time while it owes us something is lost as well as one that hangs up. Nothing waits
 * longer than that: what was under way fails, and so does all that comes until the server is back. What it had promised
 * but not flushed may be gone with it, which the next flush tells the guest.
 */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>

#include "disk/nbd.h"
#include "kvm/log.h"

#define SILENCE_NS	30000000000ULL	/* of a server that owes us something */
#define CONNECT_NS	5000000000ULL
#define RETRY_NS	1000000000ULL
#define POLL_MS		100
#define FAREWELL_POLLS	5

/* ---- its end ---- */

static void drop(struct disk_nbd *nbd)
{
	if (nbd->engine) {
		event_del(&nbd->source);
		event_timer_cancel(&nbd->timer);
	}
	/* no command is told of this */
	nbd->library->close(nbd->handle);
	nbd->handle = NULL;
	nbd->connecting = false;
}

static const char *reason(struct disk_nbd *nbd, const char *otherwise)
{
	const char *said = nbd->library->get_error();

	snprintf(nbd->why, sizeof(nbd->why), "%s", said && *said ? said : otherwise);
	return nbd->why;
}

static void lost(struct disk_nbd *nbd, const char *why)
{
	if (!nbd->connecting)
		log_warn("disk '%s': its server is lost (%s); what it is asked for fails until it is back", nbd->uri, why);
	nbd->changes_lost |= nbd->can_flush && nbd->changes != nbd->flushed;
	nbd->flushed = nbd->changes;
	nbd->retry_ns = event_now_ns() + RETRY_NS;
	drop(nbd);
	nbd_fail_all(nbd);
}

void nbd_close_connection(struct disk_nbd *nbd)
{
	const struct nbd_library *library = nbd->library;

	if (!nbd->handle)
		return;
	if (!nbd->connecting && !library->disconnect(nbd->handle, 0))
		for (unsigned int i = 0; i < FAREWELL_POLLS && !library->is_dead(nbd->handle) && !library->is_closed(nbd->handle); i++)
			if (library->poll(nbd->handle, POLL_MS) < 0)
				break;
	drop(nbd);
}

/* ---- its beginning ---- */

int nbd_connect(struct disk_nbd *nbd)
{
	if (nbd->handle)
		return 0;
	if (event_now_ns() < nbd->retry_ns)
		return -EIO;
	nbd->retry_ns = event_now_ns() + RETRY_NS;
	nbd->handle = nbd->library->create();
	if (!nbd->handle)
		return -EIO;
	/* It takes what isn't aligned, then. */
	nbd->library->set_request_block_size(nbd->handle, false);
	nbd->connecting = true;
	nbd->progress_ns = event_now_ns();
	if (nbd->library->connect_uri(nbd->handle, nbd->uri) < 0) {
		reason(nbd, "no connection");
		drop(nbd);
		return -EIO;
	}
	return 0;
}

/* What a server may say of an export, or NULL. */
static const char *learn(struct disk_nbd *nbd, bool first)
{
	const struct nbd_library *library = nbd->library;
	struct nbd_handle *handle = nbd->handle;
	int64_t size = library->get_size(handle);

	if (size < 0)
		return "it says no size";
	if (!nbd->file->read_only && library->is_read_only(handle) != 0)
		return "it is read-only (add ',ro')";
	if (first)
		nbd->file->size = (uint64_t)size;
	if ((uint64_t)size < nbd->file->size)
		return "it is smaller than it was";
	nbd->can_flush = library->can_flush(handle) > 0;
	nbd->can_fua = library->can_fua(handle) > 0;
	nbd->can_trim = library->can_trim(handle) > 0;
	nbd->can_zero = library->can_zero(handle) > 0;
	nbd->file->no_zeroes = !nbd->can_zero;
	return NULL;
}

static bool usable(const struct disk_nbd *nbd)
{
	return nbd->library->is_ready(nbd->handle) > 0 || nbd->library->is_processing(nbd->handle) > 0;
}

static bool gone(const struct disk_nbd *nbd)
{
	return nbd->library->is_dead(nbd->handle) || nbd->library->is_closed(nbd->handle);
}

int nbd_open_connection(struct disk_nbd *nbd)
{
	uint64_t end = event_now_ns() + CONNECT_NS;
	const char *why = nbd_connect(nbd) ? nbd->why : NULL;

	while (!why && !usable(nbd)) {
		if (nbd->library->poll(nbd->handle, POLL_MS) < 0 || gone(nbd))
			why = reason(nbd, "no connection");
		else if (event_now_ns() > end)
			why = "no answer in 5 s";
	}
	if (!why)
		why = learn(nbd, true);
	if (why) {
		log_error(EIO, "disk '%s': %s", nbd->uri, why);
		if (nbd->handle)
			drop(nbd);
		return -EIO;
	}
	nbd->connecting = false;
	return 0;
}

static void back(struct disk_nbd *nbd)
{
	const char *why = learn(nbd, false);

	if (why) {
		log_warn("disk '%s': its server is back, but %s", nbd->uri, why);
		lost(nbd, why);
		return;
	}
	nbd->connecting = false;
	nbd->progress_ns = event_now_ns();
	log_warn("disk '%s': its server is back", nbd->uri);
	nbd_send_waiting(nbd);
}

int nbd_connect_wait(struct disk_nbd *nbd)
{
	int result = nbd_connect(nbd);

	while (!result && nbd->connecting) {
		nbd_poll_once(nbd);
		result = nbd->handle ? 0 : -EIO;
	}
	return result;
}

/* ---- watching it ---- */

static void ready(struct event_source *source, uint32_t events)
{
	struct disk_nbd *nbd = container_of(source, struct disk_nbd, source);
	unsigned int direction = nbd->library->get_direction(nbd->handle);

	nbd->notifying = true;
	/* Either may be the last thing that this handle hears: its state is looked at behind it. */
	if ((direction & LIBNBD_AIO_DIRECTION_READ) && (events & (EPOLLIN | EPOLLHUP | EPOLLERR)))
		nbd->library->notify_read(nbd->handle);
	else if (direction & LIBNBD_AIO_DIRECTION_WRITE)
		nbd->library->notify_write(nbd->handle);
	nbd->notifying = false;
	nbd_look(nbd);
	nbd_deliver(nbd);
}

static void watch(struct disk_nbd *nbd)
{
	unsigned int direction = nbd->library->get_direction(nbd->handle);
	uint32_t events = (direction & LIBNBD_AIO_DIRECTION_READ ? EPOLLIN : 0) | (direction & LIBNBD_AIO_DIRECTION_WRITE ? EPOLLOUT : 0);
	int fd = nbd->library->get_fd(nbd->handle), result = 0;

	/* On its way to a server it may try one address after the other, each by a socket of the same number. */
	if (nbd->source.loop && (nbd->connecting || nbd->source.fd != fd))
		event_del(&nbd->source);
	if (nbd->source.loop)
		result = event_modify(&nbd->source, events);
	else if (fd >= 0)
		result = event_add(nbd->engine->loop, &nbd->source, fd, events, ready);
	if (result)
		lost(nbd, strerrordesc_np(-result));
}

void nbd_look(struct disk_nbd *nbd)
{
	uint64_t silent = event_now_ns() - nbd->progress_ns;

	if (nbd->handle && gone(nbd))
		lost(nbd, "it hung up");
	else if (nbd->handle && silent >= (nbd->connecting ? CONNECT_NS : SILENCE_NS) && (nbd->connecting || nbd_has_requests(nbd)))
		lost(nbd, "no answer");
	else if (nbd->handle && nbd->connecting && usable(nbd))
		back(nbd);
	if (!nbd->handle || !nbd->engine)
		return;
	watch(nbd);
	if (nbd->handle && (nbd->connecting || nbd_has_requests(nbd)) && !nbd->timer.deadline_ns)
		event_timer_set(&nbd->timer, nbd->progress_ns + (nbd->connecting ? CONNECT_NS : SILENCE_NS));
}

void nbd_poll_once(struct disk_nbd *nbd)
{
	if (nbd->handle && nbd->library->poll(nbd->handle, POLL_MS) < 0 && !gone(nbd))
		lost(nbd, reason(nbd, "no answer"));
	nbd_look(nbd);
}

static void expired(struct event_timer *timer)
{
	struct disk_nbd *nbd = container_of(timer, struct disk_nbd, timer);

	nbd_look(nbd);
	nbd_deliver(nbd);
}

static void deliver(struct event_work *work)
{
	struct disk_nbd *nbd = container_of(work, struct disk_nbd, deliver);

	nbd_look(nbd);
	nbd_deliver(nbd);
}

void nbd_attach(struct disk_nbd *nbd, struct disk_engine *engine)
{
	if (nbd->engine)
		return;
	nbd->engine = engine;
	nbd->next = engine->remotes;
	engine->remotes = nbd;
	event_timer_init(engine->loop, &nbd->timer, expired);
	event_work_init(engine->loop, &nbd->deliver, deliver);
}

void nbd_detach(struct disk_nbd *nbd)
{
	event_del(&nbd->source);
	event_timer_cancel(&nbd->timer);
	event_work_cancel(&nbd->deliver);
	nbd->engine = NULL;
}
