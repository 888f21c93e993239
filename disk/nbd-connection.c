/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The connection to an NBD server: made when the disk is opened, and again as soon as it is lost, by attempts that the
 * disk's loop doesn't wait for (disk/nbd-attempt.c).
 *
 * A server that says nothing for some time while it owes us something is lost as well as one that hangs up. What was in
 * flight, and what comes, waits for the next connection and is sent then; after some time without one it fails, and all
 * that comes fails at once, until the server is back. What a server had promised but not flushed may be gone with it, which
 * the next flush tells the guest.
 */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "disk/nbd.h"
#include "kvm/log.h"

#define SECOND_NS	1000000000ULL
#define SILENCE_NS	(30 * SECOND_NS)	/* of a server that owes us something */
#define PATIENCE_NS	(30 * SECOND_NS)	/* with one that isn't there */
#define DRAIN_NS	(10 * SECOND_NS)	/* who waits for requests to end holds up the VM */
#define CONNECT_NS	(5 * SECOND_NS)
#define PAUSE_MIN_NS	(SECOND_NS / 10)
#define PAUSE_MAX_NS	(5 * SECOND_NS)
#define STEADY_NS	(10 * SECOND_NS)	/* a connection that lasts so long was a good one */
#define POLL_MS		100
#define FAREWELL_POLLS	5

/* ---- its end ---- */

static void drop(struct disk_nbd *nbd)
{
	if (nbd->engine)
		event_del(&nbd->source);
	/* no command is told of this */
	nbd->library->close(nbd->handle);
	nbd->handle = NULL;
	nbd->generation++;
}

static void try_later(struct disk_nbd *nbd)
{
	nbd->retry_ns = event_now_ns() + nbd->pause_ns;
	nbd->pause_ns = MIN(2 * nbd->pause_ns, (uint64_t)PAUSE_MAX_NS);
}

static void lost(struct disk_nbd *nbd, const char *why)
{
	uint64_t now = event_now_ns();

	log_warn("disk '%s': its server is lost (%s); what it is asked for waits up to %llu s for it to be back", nbd->uri, why,
		 (unsigned long long)(nbd->patience_ns / SECOND_NS));
	nbd->changes_lost |= nbd->can_flush && nbd->changes != nbd->flushed;
	nbd->flushed = nbd->changes;
	nbd->lost_ns = now;
	/* at once, but not for ever so with one that comes and goes */
	if (now - nbd->made_ns >= STEADY_NS) {
		nbd->pause_ns = PAUSE_MIN_NS;
		nbd->retry_ns = now;
	} else {
		try_later(nbd);
	}
	drop(nbd);
	nbd_keep_flight(nbd);
}

/* What comes of it is nobody's business any more. */
static void attempt_drop(struct disk_nbd *nbd)
{
	if (nbd->attempt)
		nbd_attempt_abandon(nbd->attempt);
	nbd->attempt = NULL;
}

void nbd_close_connection(struct disk_nbd *nbd)
{
	const struct nbd_library *library = nbd->library;

	attempt_drop(nbd);
	if (!nbd->handle)
		return;
	if (!library->disconnect(nbd->handle, 0))
		for (unsigned int i = 0; i < FAREWELL_POLLS && !library->is_dead(nbd->handle) && !library->is_closed(nbd->handle); i++)
			if (library->poll(nbd->handle, POLL_MS) < 0)
				break;
	drop(nbd);
}

bool nbd_is_given_up(const struct disk_nbd *nbd)
{
	return !nbd->handle && event_now_ns() - nbd->lost_ns >= nbd->patience_ns;
}

void nbd_give_up(struct disk_nbd *nbd)
{
	if (nbd->handle)
		lost(nbd, "no answer");
	nbd->lost_ns = 0;
	nbd_fail_waiting(nbd);
}

/* ---- its beginning ---- */

static void attempt_begin(struct disk_nbd *nbd)
{
	nbd->attempt = nbd_attempt_begin(nbd->library, nbd->uri, CONNECT_NS, nbd->engine ? &nbd->deliver : NULL);
	if (!nbd->attempt)
		try_later(nbd);
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

/* Of an attempt that has ended: whether there is a connection now, that is of use. */
static bool attempt_end(struct disk_nbd *nbd, bool first)
{
	const char *why;

	nbd->handle = nbd_attempt_take(nbd->attempt, nbd->why);
	nbd->attempt = NULL;
	why = nbd->handle ? learn(nbd, first) : nbd->why;
	if (why) {
		if (why != nbd->why)
			snprintf(nbd->why, sizeof(nbd->why), "%s", why);
		if (nbd->handle && !first)
			log_warn("disk '%s': its server is back, but %s", nbd->uri, why);
		if (nbd->handle)
			drop(nbd);
		try_later(nbd);
		return false;
	}
	nbd->made_ns = nbd->progress_ns = event_now_ns();
	return true;
}

int nbd_open_connection(struct disk_nbd *nbd)
{
	nbd->silence_ns = SILENCE_NS;
	nbd->patience_ns = PATIENCE_NS;
	nbd->drain_ns = DRAIN_NS;
	nbd->pause_ns = PAUSE_MIN_NS;
	attempt_begin(nbd);
	if (!nbd->attempt)
		return log_errno(ENOMEM, "disk '%s'", nbd->uri);
	if (!nbd_attempt_wait(nbd->attempt, event_now_ns() + CONNECT_NS + SECOND_NS)) {
		nbd_close_connection(nbd);
		return log_error(EIO, "disk '%s': no answer in 5 s", nbd->uri);
	}
	return attempt_end(nbd, true) ? 0 : log_error(EIO, "disk '%s': %s", nbd->uri, nbd->why);
}

static void back(struct disk_nbd *nbd)
{
	log_warn("disk '%s': its server is back", nbd->uri);
	nbd->lost_ns = 0;
	nbd_send_waiting(nbd);
	/* the disk may wait too, and isn't to be called from in here */
	if (nbd->engine)
		event_work_post(&nbd->deliver);
}

int nbd_connect_wait(struct disk_nbd *nbd)
{
	uint64_t end = event_now_ns() + CONNECT_NS;

	nbd_look(nbd);
	while (!nbd->handle && !nbd->engine && event_now_ns() < end)
		nbd_poll_once(nbd);
	return nbd->handle ? 0 : -EIO;
}

/* ---- watching it ---- */

bool nbd_is_gone(const struct disk_nbd *nbd)
{
	return nbd->library->is_dead(nbd->handle) || nbd->library->is_closed(nbd->handle);
}

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

	if (nbd->source.loop)
		result = event_modify(&nbd->source, events);
	else if (fd >= 0)
		result = event_add(nbd->engine->loop, &nbd->source, fd, events, ready);
	if (result)
		lost(nbd, strerrordesc_np(-result));
}

static void look_at_connection(struct disk_nbd *nbd)
{
	if (nbd_is_gone(nbd))
		lost(nbd, "it hung up");
	else if (nbd_has_requests(nbd) && event_now_ns() - nbd->progress_ns >= nbd->silence_ns)
		lost(nbd, "no answer");
	else if (nbd->engine)
		watch(nbd);
}

static void look_for_connection(struct disk_nbd *nbd)
{
	if (nbd->attempt && nbd_attempt_wait(nbd->attempt, 0) && attempt_end(nbd, false))
		back(nbd);
	if (nbd->handle) {
		look_at_connection(nbd);
		return;
	}
	if (!nbd->attempt && event_now_ns() >= nbd->retry_ns)
		attempt_begin(nbd);
	if (nbd->lost_ns && nbd_is_given_up(nbd)) {
		log_warn("disk '%s': its server isn't back%s%s; what it is asked for fails until it is", nbd->uri,
			 *nbd->why ? ": " : "", nbd->why);
		nbd_give_up(nbd);
	}
}

/* An attempt tells of its end by itself. */
static void look_later(struct disk_nbd *nbd)
{
	uint64_t when = UINT64_MAX;

	if (nbd->handle && nbd_has_requests(nbd) && !nbd->timer.deadline_ns)
		when = nbd->progress_ns + nbd->silence_ns;
	if (!nbd->handle && !nbd->attempt)
		when = nbd->retry_ns;
	if (!nbd->handle && !nbd_is_given_up(nbd))
		when = MIN(when, nbd->lost_ns + nbd->patience_ns);
	if (when != UINT64_MAX)
		event_timer_set(&nbd->timer, when);
}

void nbd_look(struct disk_nbd *nbd)
{
	if (nbd->handle)
		look_at_connection(nbd);
	if (!nbd->handle)
		look_for_connection(nbd);
	if (nbd->engine)
		look_later(nbd);
}

void nbd_poll_once(struct disk_nbd *nbd)
{
	uint64_t until = event_now_ns() + POLL_MS * 1000000ULL;

	if (nbd->attempt)
		nbd_attempt_wait(nbd->attempt, until);
	else if (!nbd->handle)
		usleep(POLL_MS * 1000 / 4);
	else if (nbd->library->poll(nbd->handle, POLL_MS) < 0 && !nbd_is_gone(nbd))
		lost(nbd, "it breaks the protocol");
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

/* An attempt that began before has nobody to tell. */
void nbd_attach(struct disk_nbd *nbd, struct disk_engine *engine)
{
	if (nbd->engine)
		return;
	attempt_drop(nbd);
	nbd->engine = engine;
	nbd->next = engine->remotes;
	engine->remotes = nbd;
	event_timer_init(engine->loop, &nbd->timer, expired);
	event_work_init(engine->loop, &nbd->deliver, deliver);
	nbd_look(nbd);
}

void nbd_detach(struct disk_nbd *nbd)
{
	attempt_drop(nbd);
	event_del(&nbd->source);
	event_timer_cancel(&nbd->timer);
	event_work_cancel(&nbd->deliver);
	nbd->engine = NULL;
}
