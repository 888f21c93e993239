/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pools of threads; see kvm/pool.h. pool->lock guards all that changes; it is innermost, and not held over a job.
 */
#include "kvm/pool.h"

#include <pthread.h>

#include "kvm/thread.h"

#define POOL_THREADS_MAX	16

struct pool {
	const char *name;
	void (*enter)(void);
	unsigned int limit;
	pthread_mutex_t lock;
	pthread_cond_t wanted;		/* a job, or the end */
	pthread_t threads[POOL_THREADS_MAX];
	unsigned int count, idle, waiting;	/* threads, those of them without a job, jobs that no thread has */
	struct pool_job *first, **tail;
	bool stop;
};

static struct pool_job *pool_take(struct pool *pool)
{
	struct pool_job *job;

	pthread_mutex_lock(&pool->lock);
	pool->idle++;
	while (!pool->first && !pool->stop)
		pthread_cond_wait(&pool->wanted, &pool->lock);
	pool->idle--;
	job = pool->first;
	if (job) {
		pool->waiting--;
		pool->first = job->next;
		if (!pool->first)
			pool->tail = &pool->first;
	}
	pthread_mutex_unlock(&pool->lock);
	return job;
}

static void *pool_thread(void *opaque)
{
	struct pool *pool = opaque;
	struct pool_job *job;

	if (pool->enter)
		pool->enter();
	while ((job = pool_take(pool)))
		job->run(job);
	return NULL;
}

int pool_create(struct pool **out, const char *name, unsigned int threads, void (*enter)(void))
{
	struct pool *pool = calloc(1, sizeof(*pool));

	if (!pool)
		return -ENOMEM;
	pool->name = name;
	pool->enter = enter;
	pool->limit = MIN(threads, (unsigned int)POOL_THREADS_MAX);
	pool->tail = &pool->first;
	pthread_mutex_init(&pool->lock, NULL);
	pthread_cond_init(&pool->wanted, NULL);
	*out = pool;
	return 0;
}

void pool_destroy(struct pool *pool)
{
	if (!pool)
		return;
	pthread_mutex_lock(&pool->lock);
	pool->stop = true;
	pthread_cond_broadcast(&pool->wanted);
	pthread_mutex_unlock(&pool->lock);
	for (unsigned int i = 0; i < pool->count; i++)
		pthread_join(pool->threads[i], NULL);
	pthread_cond_destroy(&pool->wanted);
	pthread_mutex_destroy(&pool->lock);
	free(pool);
}

void pool_submit(struct pool *pool, struct pool_job *job)
{
	bool alone;

	pthread_mutex_lock(&pool->lock);
	if (pool->waiting >= pool->idle && pool->count < pool->limit &&
	    !thread_start(&pool->threads[pool->count], pool_thread, pool, "%s-%u", pool->name, pool->count))
		pool->count++;
	alone = !pool->count;
	if (!alone) {
		job->next = NULL;
		*pool->tail = job;
		pool->tail = &job->next;
		pool->waiting++;
		pthread_cond_signal(&pool->wanted);
	}
	pthread_mutex_unlock(&pool->lock);
	if (alone)
		job->run(job);
}
