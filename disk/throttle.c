/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Requests that a disk's limits hold back, on its loop: reads and writes wait in a line each, and the two take turns
 * where both could go. A flush is for what is done, and waits for nothing. A disk without limits has none of this.
 *
 * What is held counts as in flight. Nothing is held from a drain: a VM that is paused, saved or reset doesn't wait for
 * its limits.
 */
#include <stdlib.h>

#include "disk/engine.h"
#include "disk/limits.h"
#include "kvm/log.h"

struct disk_throttle {
	struct disk *disk;
	struct disk_buckets buckets;
	struct event_timer timer;
	bool open;
	bool turn;			/* the writes' */
	struct { struct disk_request *first, **tail; } held[2];	/* reads, writes */
};

/* A discard tells the medium something, and moves no data. */
static void throttle_charge(struct disk_throttle *throttle, const struct disk_request *request)
{
	disk_buckets_charge(&throttle->buckets, request->op != DISK_READ, request->op == DISK_DISCARD ? 0 : request->length);
}

/* Takes what is queued; flushes go back at once. */
static void throttle_hold(struct disk_throttle *throttle)
{
	struct disk_request *request = disk_take_queued(throttle->disk), *next;

	for (; request; request = next) {
		bool write = request->op != DISK_READ;

		next = request->next;
		request->next = NULL;
		if (request->op == DISK_FLUSH) {
			*throttle->disk->queued_tail = request;
			throttle->disk->queued_tail = &request->next;
		} else {
			*throttle->held[write].tail = request;
			throttle->held[write].tail = &request->next;
		}
	}
}

static void throttle_release(struct disk_throttle *throttle, bool write)
{
	struct disk_request *request = throttle->held[write].first;

	throttle->held[write].first = request->next;
	if (!request->next)
		throttle->held[write].tail = &throttle->held[write].first;
	request->next = NULL;
	throttle_charge(throttle, request);
	*throttle->disk->queued_tail = request;
	throttle->disk->queued_tail = &request->next;
	throttle->turn = !write;
}

/* How long the first of a line must wait; UINT64_MAX: there is none. */
static uint64_t throttle_wait(struct disk_throttle *throttle, bool write, uint64_t now)
{
	if (!throttle->held[write].first)
		return UINT64_MAX;
	return throttle->open ? 0 : disk_buckets_wait(&throttle->buckets, write, now);
}

void disk_throttle_pass(struct disk *disk)
{
	struct disk_throttle *throttle = disk->throttle;
	uint64_t now = event_now_ns(), wait[2];

	throttle_hold(throttle);
	for (;;) {
		for (unsigned int write = 0; write < 2; write++)
			wait[write] = throttle_wait(throttle, write, now);
		if (wait[0] && wait[1])
			break;
		throttle_release(throttle, wait[throttle->turn] ? !throttle->turn : throttle->turn);
	}
	if (MIN(wait[0], wait[1]) != UINT64_MAX)
		event_timer_set(&throttle->timer, now + MIN(wait[0], wait[1]));
}

static void throttle_expired(struct event_timer *timer)
{
	disk_submit(container_of(timer, struct disk_throttle, timer)->disk);
}

void disk_throttle_open(struct disk *disk, bool open)
{
	if (disk->throttle)
		disk->throttle->open = open;
}

/* ---- life ---- */

const struct disk_limits *disk_throttle_limits(const struct disk *disk)
{
	return disk->throttle ? &disk->throttle->buckets.limits : NULL;
}

void disk_throttle_attach(struct disk *disk)
{
	if (disk->throttle)
		event_timer_init(disk->engine->loop, &disk->throttle->timer, throttle_expired);
}

void disk_throttle_detach(struct disk *disk)
{
	if (disk->throttle)
		event_timer_cancel(&disk->throttle->timer);
}

void disk_throttle_free(struct disk *disk)
{
	free(disk->throttle);
	disk->throttle = NULL;
}

static int throttle_make(struct disk *disk)
{
	struct disk_throttle *throttle = calloc(1, sizeof(*throttle));

	if (!throttle)
		return -ENOMEM;
	throttle->disk = disk;
	throttle->held[0].tail = &throttle->held[0].first;
	throttle->held[1].tail = &throttle->held[1].first;
	disk->throttle = throttle;
	if (disk->engine->loop)
		disk_throttle_attach(disk);
	return 0;
}

/* Lets go what is held and what waited for it. */
static void throttle_end(struct disk *disk)
{
	disk->throttle->open = true;
	disk_submit(disk);
	if (disk->engine->loop)
		disk_throttle_detach(disk);
	disk_throttle_free(disk);
}

int disk_throttle_set(struct disk *disk, const struct disk_limits *limits)
{
	int result = 0;

	if (!disk_limits_any(limits)) {
		if (disk->throttle)
			throttle_end(disk);
		return 0;
	}
	if (!disk->throttle)
		result = throttle_make(disk);
	if (result)
		return result;
	disk_buckets_set(&disk->throttle->buckets, limits, event_now_ns());
	/* Those that were held by the old ones may go by the new. */
	disk_submit(disk);
	return 0;
}
