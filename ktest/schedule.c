/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * First fit, in order: a large run that waits for room lets smaller ones pass, but not for ever, since there are only so many.
 */
#include "schedule.h"

static bool fits(const struct schedule *schedule, const struct ktest_run *run)
{
	const struct ktest *test = schedule->test;

	if (!schedule->jobs)
		return true;
	return schedule->jobs < test->jobs && schedule->cpus < test->cpus && run->cpus <= test->cpus - schedule->cpus &&
	       schedule->mem < test->mem && run->mem <= test->mem - schedule->mem;
}

static void give_back(struct schedule *schedule, const struct ktest_run *run)
{
	schedule->jobs--;
	schedule->cpus -= run->cpus;
	schedule->mem -= run->mem;
}

static void start(struct schedule *schedule, struct ktest_run *run)
{
	schedule->jobs++;
	schedule->cpus += run->cpus;
	schedule->mem += run->mem;
	run->state = KTEST_RUNNING;
	if (!schedule->ops->start(run, schedule->opaque))
		return;
	give_back(schedule, run);
	run->state = KTEST_DONE;
	schedule->done++;
}

void schedule_fill(struct schedule *schedule)
{
	struct ktest *test = schedule->test;

	for (size_t i = 0; i < test->count && !schedule->stopped && (!schedule->jobs || schedule->jobs < test->jobs); i++)
		if (test->runs[i].state == KTEST_WAITING && fits(schedule, &test->runs[i]))
			start(schedule, &test->runs[i]);
}

void schedule_ended(struct schedule *schedule, struct ktest_run *run, bool again)
{
	give_back(schedule, run);
	run->state = again && !schedule->stopped ? KTEST_WAITING : KTEST_DONE;
	schedule->done += run->state == KTEST_DONE;
	schedule_fill(schedule);
}

void schedule_stop(struct schedule *schedule)
{
	schedule->stopped = true;
}

bool schedule_over(const struct schedule *schedule)
{
	return !schedule->jobs && (schedule->stopped || schedule->done == schedule->test->count);
}
