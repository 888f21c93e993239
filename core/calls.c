/* SPDX-License-Identifier: BSD-2-Clause */
/* Calls of devices that may block; see kvm/calls.h. calls->lock guards the list between the pool and the loop. */
#include "kvm/calls.h"

static void call_run(struct pool_job *job)
{
	struct call *call = container_of(job, struct call, job);
	struct calls *calls = call->calls;

	calls->ops->run(call);
	pthread_mutex_lock(&calls->lock);
	call->next = NULL;
	*calls->tail = call;
	calls->tail = &call->next;
	pthread_cond_signal(&calls->any);
	pthread_mutex_unlock(&calls->lock);
	/* The call may be gone by now, but what it is one of waits for this thread. */
	event_work_post(&calls->work);
}

static struct call *calls_take(struct calls *calls, bool wait)
{
	struct call *first;

	pthread_mutex_lock(&calls->lock);
	while (wait && !calls->first)
		pthread_cond_wait(&calls->any, &calls->lock);
	first = calls->first;
	calls->first = NULL;
	calls->tail = &calls->first;
	pthread_mutex_unlock(&calls->lock);
	return first;
}

static void calls_finish(struct calls *calls, bool wait)
{
	struct call *call = calls_take(calls, wait), *next;

	if (!call)
		return;
	for (; call; call = next) {
		next = call->next;
		calls->flights--;
		calls->ops->finish(call);
	}
	calls->ops->batch(calls);
}

static void calls_work(struct event_work *work)
{
	calls_finish(container_of(work, struct calls, work), false);
}

int calls_init(struct calls *calls, const struct calls_ops *ops, struct event_loop *loop, const char *name, unsigned int threads,
	       void (*enter)(void))
{
	int result = pool_create(&calls->pool, name, threads, enter);

	if (result)
		return result;
	calls->ops = ops;
	calls->flights = 0;
	calls->first = NULL;
	calls->tail = &calls->first;
	pthread_mutex_init(&calls->lock, NULL);
	pthread_cond_init(&calls->any, NULL);
	event_work_init(loop, &calls->work, calls_work);
	return 0;
}

void calls_exit(struct calls *calls)
{
	if (!calls->pool)
		return;
	/* Waits for the threads, which may still be about to post the work. */
	pool_destroy(calls->pool);
	calls->pool = NULL;
	event_work_cancel(&calls->work);
	pthread_cond_destroy(&calls->any);
	pthread_mutex_destroy(&calls->lock);
}

void calls_submit(struct calls *calls, struct call *call)
{
	call->calls = calls;
	call->job.run = call_run;
	calls->flights++;
	pool_submit(calls->pool, &call->job);
}

void calls_drain(struct calls *calls)
{
	while (calls->flights)
		calls_finish(calls, true);
}
