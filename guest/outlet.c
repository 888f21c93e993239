/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An outlet holds nothing back: what its reader has no room for stays with the guest.
 */
#include "guest/outlet.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include "kvm/log.h"

int outlet_open(struct outlet *outlet, struct event_loop *loop, int fd)
{
	outlet->loop = loop;
	return stream_fd_open(&outlet->stream, fd, O_WRONLY);
}

void outlet_close(struct outlet *outlet)
{
	event_del(&outlet->source);
	stream_fd_close(&outlet->stream);
}

static void outlet_writable(struct event_source *source, uint32_t events)
{
	struct outlet *outlet = container_of(source, struct outlet, source);

	(void)events;
	event_del(source);
	outlet->ready(outlet);
}

static void outlet_stalled(struct outlet *outlet)
{
	int result;

	if (outlet->source.loop)
		return;
	result = event_add(outlet->loop, &outlet->source, outlet->stream.fd, EPOLLOUT, outlet_writable);
	if (result)
		log_errno(result, "the command's output can't be written");
	outlet->closed |= result < 0;
}

size_t outlet_write(struct outlet *outlet, const void *bytes, size_t length)
{
	size_t done = 0;

	while (done < length && !outlet->closed) {
		ssize_t n = stream_fd_write(&outlet->stream, (const char *)bytes + done, length - done);

		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (n == -EINTR)
			continue;
		if (n == -EAGAIN) {
			outlet_stalled(outlet);
			break;
		}
		if (n != -EPIPE)
			log_errno((int)n, "the command's output can't be written");
		outlet->closed = true;
		outlet->gone(outlet);
	}
	if (outlet->closed)
		done = length;
	outlet->taken += done;
	return done;
}
