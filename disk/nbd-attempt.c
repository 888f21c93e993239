/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An attempt to connect to an NBD server, on a thread of its own: names are looked up by a call that can't be bounded nor
 * called back, and nobody waits for that. Who has lost interest leaves the attempt to its thread.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "disk/nbd.h"
#include "kvm/log.h"
#include "kvm/thread.h"

#define POLL_MS	100

struct nbd_attempt {
	/* constant */
	const struct nbd_library *library;
	char *uri;
	uint64_t patience_ns;
	/* guarded by @lock, which is innermost but for an event loop's */
	pthread_mutex_t lock;
	pthread_cond_t news;		/* of @ended */
	bool ended, abandoned;
	struct nbd_handle *handle;	/* NULL: it came to nothing */
	char why[NBD_WHY_MAX];
	struct event_work *work;	/* posted when it has ended; or NULL */
};

static void attempt_free(struct nbd_attempt *attempt)
{
	if (attempt->handle)
		attempt->library->close(attempt->handle);
	pthread_cond_destroy(&attempt->news);
	pthread_mutex_destroy(&attempt->lock);
	free(attempt->uri);
	free(attempt);
}

/* ---- on its thread ---- */

static bool is_abandoned(struct nbd_attempt *attempt)
{
	bool abandoned;

	pthread_mutex_lock(&attempt->lock);
	abandoned = attempt->abandoned;
	pthread_mutex_unlock(&attempt->lock);
	return abandoned;
}

/* The library's last error is the thread's. */
static const char *reason(const struct nbd_library *library)
{
	const char *said = library->get_error();

	return said && *said ? said : "no connection";
}

/* NULL: @handle is of use */
static const char *negotiate(struct nbd_attempt *attempt, struct nbd_handle *handle)
{
	const struct nbd_library *library = attempt->library;
	uint64_t end;

	/* It takes what isn't aligned, then. */
	library->set_request_block_size(handle, false);
	if (library->connect_uri(handle, attempt->uri) < 0)
		return reason(library);
	end = event_now_ns() + attempt->patience_ns;
	while (library->is_ready(handle) <= 0) {
		if (library->poll(handle, POLL_MS) < 0 || library->is_dead(handle) || library->is_closed(handle))
			return reason(library);
		if (event_now_ns() > end)
			return "no answer";
		if (is_abandoned(attempt))
			return "nobody wants it any more";
	}
	return NULL;
}

static void *attempt_run(void *opaque)
{
	struct nbd_attempt *attempt = opaque;
	const struct nbd_library *library = attempt->library;
	struct nbd_handle *handle = library->create();
	const char *why = handle ? negotiate(attempt, handle) : "no memory";
	bool abandoned;

	pthread_mutex_lock(&attempt->lock);
	attempt->ended = true;
	attempt->handle = handle;
	abandoned = attempt->abandoned;
	if (why) {
		snprintf(attempt->why, sizeof(attempt->why), "%s", why);
		attempt->handle = NULL;
	}
	/* under the lock, so that whoever takes his work back finds it neither posted nor to be posted */
	if (attempt->work && !abandoned)
		event_work_post(attempt->work);
	pthread_cond_broadcast(&attempt->news);
	pthread_mutex_unlock(&attempt->lock);
	/* it is somebody else's from here on, unless it was left to us */
	if (why && handle)
		library->close(handle);
	if (abandoned)
		attempt_free(attempt);
	return NULL;
}

/* ---- for who wants it ---- */

struct nbd_attempt *nbd_attempt_begin(const struct nbd_library *library, const char *uri, uint64_t patience_ns, struct event_work *work)
{
	struct nbd_attempt *attempt = calloc(1, sizeof(*attempt));
	pthread_condattr_t attributes;
	pthread_t thread;

	if (!attempt)
		return NULL;
	attempt->library = library;
	attempt->uri = strdup(uri);
	attempt->patience_ns = patience_ns;
	attempt->work = work;
	pthread_mutex_init(&attempt->lock, NULL);
	pthread_condattr_init(&attributes);
	pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
	pthread_cond_init(&attempt->news, &attributes);
	pthread_condattr_destroy(&attributes);
	if (!attempt->uri || thread_start(&thread, attempt_run, attempt, "nbd-connect")) {
		attempt_free(attempt);
		return NULL;
	}
	pthread_detach(thread);
	return attempt;
}

bool nbd_attempt_wait(struct nbd_attempt *attempt, uint64_t until_ns)
{
	const struct timespec until = { .tv_sec = (time_t)(until_ns / 1000000000), .tv_nsec = (long)(until_ns % 1000000000) };
	bool ended;

	pthread_mutex_lock(&attempt->lock);
	while (until_ns && !attempt->ended && !pthread_cond_timedwait(&attempt->news, &attempt->lock, &until))
		;
	ended = attempt->ended;
	pthread_mutex_unlock(&attempt->lock);
	return ended;
}

struct nbd_handle *nbd_attempt_take(struct nbd_attempt *attempt, char why[NBD_WHY_MAX])
{
	struct nbd_handle *handle = attempt->handle;

	memcpy(why, attempt->why, NBD_WHY_MAX);
	attempt->handle = NULL;
	attempt_free(attempt);
	return handle;
}

void nbd_attempt_abandon(struct nbd_attempt *attempt)
{
	bool ended;

	pthread_mutex_lock(&attempt->lock);
	ended = attempt->ended;
	attempt->abandoned = true;
	pthread_mutex_unlock(&attempt->lock);
	if (ended)
		attempt_free(attempt);
}
