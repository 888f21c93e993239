/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Batched output: what consoles print on its way to the host.
 *
 * A console gives us one byte at a time, and each write(2) costs more than the exit that brought the byte.
 * So bytes gather in a ring. The first byte of a batch arms a timer on the event loop, once; whoever fills
 * the batch writes it out in place. Nobody ever blocks (kvm/stream-fd.h): when the host's end is full the ring waits
 * for EPOLLOUT. Past the ring's ceiling the oldest bytes are dropped and counted.
 *
 * Any thread writes; `lock` guards the ring. Event sources are added by anyone, deleted by the loop's thread.
 */
#include "kvm/output.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <string.h>
#include <sys/epoll.h>

#include "kvm/log.h"
#include "kvm/stream-fd.h"

#define OUTPUT_RETRY_MS		20	/* when the host's end is full and can't be watched */
#define OUTPUT_FLUSH_MAX_MS	10000	/* a reader that takes a byte now and then must not hold us for ever */

struct output {
	struct event_loop *loop;
	const char *name;
	struct stream_fd stream;
	struct event_timer timer;
	struct event_source writable;

	pthread_mutex_t lock;	/* guards all below; only the event loop's lock is taken inside */
	char *ring;		/* NULL until there was something to print */
	size_t start, length;
	uint64_t dropped;
	bool timer_armed;
	uint64_t written_ns;	/* when the timer wrote a batch last */
	bool stalled;		/* @writable is added */
	bool dead;		/* nobody will ever read again */
};

static void output_arm_locked(struct output *output, uint64_t delay_ms)
{
	if (output->timer_armed)
		return;
	output->timer_armed = true;
	event_timer_set(&output->timer, event_now_ns() + delay_ms * 1000000);
}

/* What comes alone (an echo, a prompt) goes out soon; a stream that goes on may gather for longer. */
static void output_arm_batch_locked(struct output *output)
{
	bool stream;

	if (output->timer_armed)
		return;
	stream = event_now_ns() - output->written_ns < 2ULL * OUTPUT_STREAM_MS * 1000000;
	output_arm_locked(output, stream ? OUTPUT_STREAM_MS : OUTPUT_FLUSH_MS);
}

static void output_writable(struct event_source *source, uint32_t events);

static void output_stall_locked(struct output *output)
{
	if (output->stalled)
		return;
	if (event_add(output->loop, &output->writable, output->stream.fd, EPOLLOUT, output_writable) == 0)
		output->stalled = true;
	else
		output_arm_locked(output, OUTPUT_RETRY_MS);
}

/* Writes until the ring is empty or the host's end is full; false if it is full. */
static bool output_drain_locked(struct output *output)
{
	ssize_t written;

	while (output->length) {
		written = stream_fd_write(&output->stream, output->ring + output->start,
					  MIN(output->length, (size_t)OUTPUT_CEILING - output->start));
		if (written > 0) {
			output->length -= (size_t)written;
			output->start = (output->start + (size_t)written) % OUTPUT_CEILING;
			continue;
		}
		if (written == -EINTR)
			continue;
		if (written == -EAGAIN)
			return false;
		/* A full disk may have room later; a closed pipe and a hung-up tty are gone for good. */
		output->dead = written == -EPIPE || written == -EIO || written == -EBADF || written == -ECONNRESET;
		if (!output->dead)
			output->dropped += output->length;
		output->length = 0;
	}
	/* From the beginning again, so that a console that is read touches a few pages only. */
	output->start = 0;
	return true;
}

static void output_writable(struct event_source *source, uint32_t events)
{
	struct output *output = container_of(source, struct output, writable);

	(void)events;
	pthread_mutex_lock(&output->lock);
	if (output_drain_locked(output)) {
		event_del(source);
		output->stalled = false;
	}
	pthread_mutex_unlock(&output->lock);
}

static void output_expired(struct event_timer *timer)
{
	struct output *output = container_of(timer, struct output, timer);

	pthread_mutex_lock(&output->lock);
	output->timer_armed = false;
	output->written_ns = event_now_ns();
	if (!output->stalled && !output_drain_locked(output))
		output_stall_locked(output);
	pthread_mutex_unlock(&output->lock);
}

static void output_append_locked(struct output *output, const char *data, size_t length)
{
	size_t end, piece;

	/* Most consoles of most machines never print; one that does touches the ring as far as it fills it. */
	if (!output->ring)
		output->ring = malloc(OUTPUT_CEILING);
	if (!output->ring) {
		output->dropped += length;
		return;
	}
	if (length > OUTPUT_CEILING) {
		output->dropped += length - OUTPUT_CEILING;
		data += length - OUTPUT_CEILING;
		length = OUTPUT_CEILING;
	}
	if (length > OUTPUT_CEILING - output->length) {
		size_t excess = length - (OUTPUT_CEILING - output->length);

		output->start = (output->start + excess) % OUTPUT_CEILING;
		output->length -= excess;
		output->dropped += excess;
	}
	end = (output->start + output->length) % OUTPUT_CEILING;
	piece = MIN(length, (size_t)OUTPUT_CEILING - end);
	memcpy(output->ring + end, data, piece);
	memcpy(output->ring, data + piece, length - piece);
	output->length += length;
}

void output_write(struct output *output, const void *data, size_t length)
{
	if (!length)
		return;
	pthread_mutex_lock(&output->lock);
	if (!output->dead) {
		output_append_locked(output, data, length);
		if (!output->stalled) {
			if (output->length < OUTPUT_BATCH)
				output_arm_batch_locked(output);
			else if (!output_drain_locked(output))
				output_stall_locked(output);
		}
	}
	pthread_mutex_unlock(&output->lock);
}

void output_flush(struct output *output)
{
	struct pollfd poll_fd = { .fd = output->stream.fd, .events = POLLOUT };
	uint64_t start = event_now_ns(), progress = start, now;
	size_t before, left;

	for (;;) {
		pthread_mutex_lock(&output->lock);
		before = output->length;
		output_drain_locked(output);
		left = output->length;
		pthread_mutex_unlock(&output->lock);
		if (!left)
			return;
		now = event_now_ns();
		if (left < before)
			progress = now;
		if (now - progress > OUTPUT_STALL_MS * 1000000ULL ||
		    now - start > OUTPUT_FLUSH_MAX_MS * 1000000ULL)
			return;
		poll(&poll_fd, 1, 50);
	}
}

uint64_t output_dropped(struct output *output)
{
	uint64_t dropped;

	pthread_mutex_lock(&output->lock);
	dropped = output->dropped;
	pthread_mutex_unlock(&output->lock);
	return dropped;
}

int output_open(struct output **output, struct event_loop *loop, int fd, const char *name)
{
	struct output *new = calloc(1, sizeof(*new));
	int error;

	if (!new)
		return -ENOMEM;
	error = stream_fd_open(&new->stream, fd, O_WRONLY);
	if (error) {
		free(new);
		return error;
	}
	new->loop = loop;
	new->name = name;
	pthread_mutex_init(&new->lock, NULL);
	event_timer_init(loop, &new->timer, output_expired);
	*output = new;
	return 0;
}

void output_close(struct output *output)
{
	if (!output)
		return;
	output_flush(output);
	event_timer_cancel(&output->timer);
	event_del(&output->writable);
	if (!output->dead)
		output->dropped += output->length;
	if (output->dropped)
		log_warn("%s: %llu bytes of output were dropped, since nobody read them in time", output->name,
			 (unsigned long long)output->dropped);
	pthread_mutex_destroy(&output->lock);
	stream_fd_close(&output->stream);
	free(output->ring);
	free(output);
}
