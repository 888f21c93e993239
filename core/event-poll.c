/* SPDX-License-Identifier: BSD-2-Clause */
/* An event loop that looks for work for a while before it sleeps. */
#include "core/event-loop.h"

#define POLL_FIRST_NS	4000ULL

void event_loop_set_polling(struct event_loop *loop, unsigned int max_us)
{
	loop->poll_max_ns = max_us * 1000ULL;
}

bool event_loop_polls(const struct event_loop *loop)
{
	return loop->poll_max_ns;
}

void event_poller_add(struct event_loop *loop, struct event_poller *poller)
{
	poller->next = loop->pollers;
	loop->pollers = poller;
}

void event_poller_del(struct event_loop *loop, struct event_poller *poller)
{
	struct event_poller **at = &loop->pollers;

	while (*at && *at != poller)
		at = &(*at)->next;
	if (*at)
		*at = poller->next;
}

/* What a poller does may take others off, or itself. */
static bool pollers_look(struct event_loop *loop)
{
	bool found = false;

	for (struct event_poller *poller = loop->pollers, *next; poller && !found; poller = next) {
		next = poller->next;
		found = poller->look(poller);
	}
	return found;
}

static void pollers_begin(struct event_loop *loop)
{
	if (loop->looking)
		return;
	loop->looking = true;
	for (struct event_poller *poller = loop->pollers; poller; poller = poller->next)
		poller->begin(poller);
}

static void pollers_end(struct event_loop *loop)
{
	if (!loop->looking)
		return;
	loop->looking = false;
	for (struct event_poller *poller = loop->pollers; poller; poller = poller->next)
		poller->end(poller);
}

/*
 * The next look is as long as this wait would have needed, by doubling; none at all where that is longer than allowed,
 * so that an idle loop costs nothing.
 */
static void event_loop_adapt(struct event_loop *loop, uint64_t waited_ns)
{
	if (waited_ns > loop->poll_max_ns)
		loop->poll_ns = 0;
	else if (waited_ns > loop->poll_ns)
		loop->poll_ns = MIN(MAX(2 * loop->poll_ns, POLL_FIRST_NS), loop->poll_max_ns);
}

/* Whether the look found something: *@count fds, or what a poller has done. */
static bool event_loop_look(struct event_loop *loop, uint64_t until_ns, int *count)
{
	static const struct timespec none = { 0, 0 };
	bool found;

	pollers_begin(loop);
	do {
		found = pollers_look(loop);
		*count = event_loop_wait(loop, &none);
	} while (!found && !*count && event_now_ns() < until_ns);
	return found || *count;
}

int event_loop_wait_polling(struct event_loop *loop, const struct timespec *timeout)
{
	static const struct timespec none = { 0, 0 };
	uint64_t limit = timeout ? (uint64_t)timeout->tv_sec * 1000000000ULL + (uint64_t)timeout->tv_nsec : UINT64_MAX;
	uint64_t start = event_now_ns();
	int count = 0;

	if (!limit)
		return event_loop_wait(loop, &none);
	if (loop->poll_ns && event_loop_look(loop, start + MIN(loop->poll_ns, limit), &count))
		return count;
	pollers_end(loop);
	/* A look that lasted as long as the timeout leaves none. */
	count = event_loop_wait(loop, limit <= loop->poll_ns ? &none : timeout);
	event_loop_adapt(loop, event_now_ns() - start);
	return count;
}
