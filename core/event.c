/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Event loops on epoll: watched fds, timers, posted work and calls from other threads.
 *
 * loop->lock guards the lists that other threads may touch (timers, work, calls, the stop flag); it is
 * innermost and never held over a callback. Sources are added and removed through epoll itself; a removal
 * from another thread is moved to the owner, so that it can't race with a dispatch.
 */
#include "core/event-loop.h"

#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>

#include "kvm/log.h"
#include "kvm/thread.h"

uint64_t event_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000ULL + (uint64_t)now.tv_nsec;
}

bool event_loop_is_current(const struct event_loop *loop)
{
	return pthread_equal(loop->owner, pthread_self());
}

static void event_loop_wake(struct event_loop *loop)
{
	static const uint64_t one = 1;

	if (atomic_exchange(&loop->woken, true))
		return;
	if (write(loop->wake_fd, &one, sizeof(one)) < 0)
		return;
}

/* ---- sources ---- */

int event_add(struct event_loop *loop, struct event_source *source, int fd, uint32_t events,
	      void (*ready)(struct event_source *source, uint32_t events))
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	source->loop = loop;
	source->fd = fd;
	source->events = events;
	source->ready = ready;
	if (epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0) {
		int error = errno;

		source->loop = NULL;
		return -error;
	}
	return 0;
}

int event_modify(struct event_source *source, uint32_t events)
{
	struct epoll_event event = { .events = events, .data.ptr = source };

	if (source->events == events)
		return 0;
	if (epoll_ctl(source->loop->epoll_fd, EPOLL_CTL_MOD, source->fd, &event) < 0)
		return -errno;
	source->events = events;
	return 0;
}

static void event_del_on_owner(void *opaque)
{
	struct event_source *source = opaque;
	struct event_loop *loop = source->loop;

	epoll_ctl(loop->epoll_fd, EPOLL_CTL_DEL, source->fd, NULL);
	for (int i = loop->batch_next; i < loop->batch_count; i++)
		if (loop->batch[i].data.ptr == source)
			loop->batch[i].data.ptr = NULL;
	source->loop = NULL;
}

void event_del(struct event_source *source)
{
	if (source->loop)
		event_loop_call(source->loop, event_del_on_owner, source);
}

/* ---- timers ---- */

void event_timer_init(struct event_loop *loop, struct event_timer *timer, void (*expired)(struct event_timer *timer))
{
	memset(timer, 0, sizeof(*timer));
	timer->loop = loop;
	timer->expired = expired;
}

static void timer_unlink_locked(struct event_timer *timer)
{
	struct event_timer **at = &timer->loop->timers;

	while (*at && *at != timer)
		at = &(*at)->next;
	if (*at)
		*at = timer->next;
	timer->deadline_ns = 0;
}

void event_timer_set(struct event_timer *timer, uint64_t deadline_ns)
{
	struct event_loop *loop = timer->loop;
	struct event_timer **at;
	bool first;

	pthread_mutex_lock(&loop->lock);
	if (timer->deadline_ns)
		timer_unlink_locked(timer);
	/* Never 0, which is "not armed"; never what the pass under way would fire again at once. */
	timer->deadline_ns = MAX(deadline_ns, loop->timers_looked_ns + 1);
	for (at = &loop->timers; *at && (*at)->deadline_ns <= timer->deadline_ns; at = &(*at)->next)
		;
	timer->next = *at;
	*at = timer;
	first = loop->timers == timer;
	pthread_mutex_unlock(&loop->lock);
	if (first && !event_loop_is_current(loop))
		event_loop_wake(loop);
}

static void timer_cancel_on_owner(void *opaque)
{
	struct event_timer *timer = opaque;

	pthread_mutex_lock(&timer->loop->lock);
	if (timer->deadline_ns)
		timer_unlink_locked(timer);
	pthread_mutex_unlock(&timer->loop->lock);
}

void event_timer_cancel(struct event_timer *timer)
{
	if (timer->loop)
		event_loop_call(timer->loop, timer_cancel_on_owner, timer);
}

static void event_loop_run_timers(struct event_loop *loop)
{
	struct event_timer *timer;

	pthread_mutex_lock(&loop->lock);
	loop->timers_looked_ns = event_now_ns();
	while ((timer = loop->timers) && timer->deadline_ns <= loop->timers_looked_ns) {
		timer_unlink_locked(timer);
		pthread_mutex_unlock(&loop->lock);
		timer->expired(timer);
		pthread_mutex_lock(&loop->lock);
	}
	pthread_mutex_unlock(&loop->lock);
}

/* ---- work ---- */

void event_work_init(struct event_loop *loop, struct event_work *work, void (*run)(struct event_work *work))
{
	memset(work, 0, sizeof(*work));
	work->loop = loop;
	work->run = run;
}

void event_work_post(struct event_work *work)
{
	struct event_loop *loop = work->loop;
	bool fresh;

	pthread_mutex_lock(&loop->lock);
	fresh = !work->queued;
	if (fresh) {
		work->queued = true;
		work->next = NULL;
		*loop->work_tail = work;
		loop->work_tail = &work->next;
		loop->work_count++;
	}
	pthread_mutex_unlock(&loop->lock);
	if (fresh)
		event_loop_wake(loop);
}

static void work_cancel_on_owner(void *opaque)
{
	struct event_work *work = opaque, **at;
	struct event_loop *loop = work->loop;

	pthread_mutex_lock(&loop->lock);
	for (at = &loop->work; *at && *at != work; at = &(*at)->next)
		;
	if (*at) {
		*at = work->next;
		if (loop->work_tail == &work->next)
			loop->work_tail = at;
		loop->work_count--;
	}
	work->queued = false;
	pthread_mutex_unlock(&loop->lock);
}

void event_work_cancel(struct event_work *work)
{
	if (work->loop)
		event_loop_call(work->loop, work_cancel_on_owner, work);
}

static struct event_work *event_loop_take_work(struct event_loop *loop)
{
	struct event_work *work;

	pthread_mutex_lock(&loop->lock);
	work = loop->work;
	if (work) {
		loop->work = work->next;
		if (!loop->work)
			loop->work_tail = &loop->work;
		loop->work_count--;
		work->queued = false;
	}
	pthread_mutex_unlock(&loop->lock);
	return work;
}

/* No more than there is now: for what is left, the next wait is none. */
static void event_loop_run_work(struct event_loop *loop)
{
	struct event_work *work;
	size_t count;

	pthread_mutex_lock(&loop->lock);
	count = loop->work_count;
	pthread_mutex_unlock(&loop->lock);
	while (count-- && (work = event_loop_take_work(loop)))
		work->run(work);
}

/* ---- calls ---- */

void event_loop_call(struct event_loop *loop, void (*function)(void *opaque), void *opaque)
{
	struct event_call call = { .function = function, .opaque = opaque };

	if (event_loop_is_current(loop)) {
		function(opaque);
		return;
	}
	pthread_mutex_lock(&loop->lock);
	/* It is off the list again before this function returns. */
	*loop->calls_tail = &call;
	loop->calls_tail = &call.next;
	pthread_cond_broadcast(&loop->called);
	event_loop_wake(loop);
	while (!call.done)
		pthread_cond_wait(&loop->called, &loop->lock);
	pthread_mutex_unlock(&loop->lock);
}

/* With loop->lock held, which is dropped over each call. */
static void event_loop_run_calls_locked(struct event_loop *loop)
{
	struct event_call *call;

	while ((call = loop->calls)) {
		loop->calls = call->next;
		if (!loop->calls)
			loop->calls_tail = &loop->calls;
		pthread_mutex_unlock(&loop->lock);
		call->function(call->opaque);
		pthread_mutex_lock(&loop->lock);
		call->done = true;
		pthread_cond_broadcast(&loop->called);
	}
}

void event_loop_serve_calls(struct event_loop *loop, int timeout_ms)
{
	uint64_t deadline = event_now_ns() + (uint64_t)timeout_ms * 1000000ULL;
	struct timespec until = {
		.tv_sec = (time_t)(deadline / 1000000000ULL),
		.tv_nsec = (long)(deadline % 1000000000ULL),
	};

	pthread_mutex_lock(&loop->lock);
	if (!loop->calls && timeout_ms)
		pthread_cond_timedwait(&loop->called, &loop->lock, &until);
	event_loop_run_calls_locked(loop);
	pthread_mutex_unlock(&loop->lock);
}

void event_loop_nudge(struct event_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	pthread_cond_broadcast(&loop->called);
	pthread_mutex_unlock(&loop->lock);
}

/* ---- the loop ---- */

static void event_loop_run_posted(struct event_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	event_loop_run_calls_locked(loop);
	pthread_mutex_unlock(&loop->lock);
	event_loop_run_work(loop);
}

static void event_loop_clear_wake(struct event_loop *loop)
{
	uint64_t count;

	/*
	 * In this order: a post between the two doesn't write, and is found on its list, which is looked at behind this.
	 * The other way round its write would be read away and leave woken set, and no later post would write again.
	 */
	if (read(loop->wake_fd, &count, sizeof(count)) < 0 && errno != EAGAIN)
		log_errno(errno, "event loop %s", loop->name);
	atomic_store(&loop->woken, false);
}

/* How long to sleep: until the first timer, at most @timeout_ms. NULL: for ever. */
static const struct timespec *event_loop_timeout(struct event_loop *loop, int timeout_ms, struct timespec *storage)
{
	uint64_t wait_ns = timeout_ms < 0 ? UINT64_MAX : (uint64_t)timeout_ms * 1000000ULL;

	pthread_mutex_lock(&loop->lock);
	if (loop->calls || loop->work || loop->stop) {
		wait_ns = 0;
	} else if (loop->timers) {
		uint64_t now = event_now_ns(), deadline = loop->timers->deadline_ns;

		wait_ns = MIN(wait_ns, deadline > now ? deadline - now : 0);
	}
	pthread_mutex_unlock(&loop->lock);
	if (wait_ns == UINT64_MAX)
		return NULL;
	storage->tv_sec = (time_t)(wait_ns / 1000000000ULL);
	storage->tv_nsec = (long)(wait_ns % 1000000000ULL);
	return storage;
}

int event_loop_wait(struct event_loop *loop, const struct timespec *timeout)
{
	int64_t ms;
#ifndef __SANITIZE_THREAD__	/* which knows what epoll_wait() orders, and hasn't heard of this one */
	int count = epoll_pwait2(loop->epoll_fd, loop->batch, EVENT_BATCH, timeout, NULL);

	if (count >= 0 || errno != ENOSYS)
		return count;
#endif
	/* Before Linux 5.11 the resolution is a millisecond, rounded up so that no timer spins. */
	ms = timeout ? timeout->tv_sec * 1000 + (timeout->tv_nsec + 999999) / 1000000 : -1;
	return epoll_wait(loop->epoll_fd, loop->batch, EVENT_BATCH, (int)MIN(ms, (int64_t)INT32_MAX));
}

int event_loop_poll(struct event_loop *loop, int timeout_ms)
{
	struct timespec storage;
	const struct timespec *timeout = event_loop_timeout(loop, timeout_ms, &storage);
	int count = loop->pollers ? event_loop_wait_polling(loop, timeout) : event_loop_wait(loop, timeout);

	if (count < 0 && errno != EINTR)
		return log_errno(errno, "event loop %s", loop->name);
	loop->batch_count = MAX(count, 0);
	for (loop->batch_next = 0; loop->batch_next < loop->batch_count; ) {
		struct epoll_event event = loop->batch[loop->batch_next++];
		struct event_source *source = event.data.ptr;

		if (event.data.ptr == loop)
			event_loop_clear_wake(loop);
		else if (source)
			source->ready(source, event.events);
	}
	loop->batch_count = 0;
	event_loop_run_timers(loop);
	event_loop_run_posted(loop);
	return MAX(count, 0);
}

static bool event_loop_stopping(struct event_loop *loop)
{
	bool stop;

	pthread_mutex_lock(&loop->lock);
	stop = loop->stop;
	loop->stop = false;
	pthread_mutex_unlock(&loop->lock);
	return stop;
}

int event_loop_run(struct event_loop *loop)
{
	while (!event_loop_stopping(loop)) {
		int result = event_loop_poll(loop, -1);

		if (result < 0)
			return result;
	}
	return 0;
}

void event_loop_stop(struct event_loop *loop)
{
	pthread_mutex_lock(&loop->lock);
	loop->stop = true;
	pthread_mutex_unlock(&loop->lock);
	event_loop_wake(loop);
}

/* ---- life ---- */

int event_loop_create(struct event_loop **loop_out, const char *name)
{
	struct event_loop *loop = calloc(1, sizeof(*loop));
	struct epoll_event wake = { .events = EPOLLIN, .data.ptr = loop };
	pthread_condattr_t monotonic;

	if (!loop)
		return log_errno(ENOMEM, "event loop %s", name);
	loop->name = name;
	loop->owner = pthread_self();
	loop->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	loop->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	pthread_mutex_init(&loop->lock, NULL);
	pthread_condattr_init(&monotonic);
	pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
	pthread_cond_init(&loop->called, &monotonic);
	pthread_condattr_destroy(&monotonic);
	loop->work_tail = &loop->work;
	loop->calls_tail = &loop->calls;
	if (loop->epoll_fd < 0 || loop->wake_fd < 0 ||
	    epoll_ctl(loop->epoll_fd, EPOLL_CTL_ADD, loop->wake_fd, &wake) < 0) {
		int error = errno;

		event_loop_destroy(loop);
		return log_errno(error, "event loop %s", name);
	}
	*loop_out = loop;
	return 0;
}

void event_loop_destroy(struct event_loop *loop)
{
	if (!loop)
		return;
	if (loop->has_thread) {
		event_loop_stop(loop);
		pthread_join(loop->owner, NULL);
	}
	if (loop->epoll_fd >= 0)
		close(loop->epoll_fd);
	if (loop->wake_fd >= 0)
		close(loop->wake_fd);
	pthread_cond_destroy(&loop->called);
	pthread_mutex_destroy(&loop->lock);
	free(loop);
}

static void *event_loop_thread(void *opaque)
{
	struct event_loop *loop = opaque;

	/* The creator holds the lock until loop->owner is set. */
	pthread_mutex_lock(&loop->lock);
	pthread_mutex_unlock(&loop->lock);
	if (event_loop_run(loop) < 0)
		log_error(EIO, "event loop %s has ended", loop->name);
	return NULL;
}

int event_loop_start_thread(struct event_loop *loop)
{
	int error;

	pthread_mutex_lock(&loop->lock);
	error = thread_start(&loop->owner, event_loop_thread, loop, "lkvm-%.10s", loop->name);
	loop->has_thread = !error;
	pthread_mutex_unlock(&loop->lock);
	if (error) {
		loop->owner = pthread_self();
		return log_errno(error, "event loop %s", loop->name);
	}
	return 0;
}

int event_loop_pin(struct event_loop *loop, const cpu_set_t *cpus)
{
	return thread_pin(loop->owner, cpus);
}
