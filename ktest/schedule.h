/* SPDX-License-Identifier: BSD-2-Clause */
/* Which run is next: as many at a time as CPUs and memory are given for. Knows of no processes. */
#ifndef KTEST_SCHEDULE_H
#define KTEST_SCHEDULE_H

#include "ktest.h"

struct schedule_ops {
	/** @start: begins @run; schedule_ended() is called later. A negative errno: it can't be, and has ended */
	int (*start)(struct ktest_run *run, void *opaque);
};

struct schedule {
	struct ktest *test;
	const struct schedule_ops *ops;
	void *opaque;
	/* of what runs */
	unsigned int jobs, cpus;
	uint64_t mem;
	size_t done;
	bool stopped;
};

/**
 * schedule_fill() - starts what there is room for, in order; a run that is larger than all of the budget runs alone
 * schedule_ended() - @run has ended, for good or to be run @again; fills the room
 * schedule_stop() - nothing is started any more
 * schedule_over() - nothing runs, and nothing will
 */
void schedule_fill(struct schedule *schedule);
void schedule_ended(struct schedule *schedule, struct ktest_run *run, bool again);
void schedule_stop(struct schedule *schedule);
bool schedule_over(const struct schedule *schedule);

#endif
