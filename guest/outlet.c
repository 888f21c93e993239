/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An outlet holds nothing back: what its reader has no room for stays with the guest.
 */
#include "guest/outlet.h"

#include <fcntl.h>
#include <sys/epoll.h>

#include "kvm/log.h"
#include "kvm/tty.h"

void outlet_open(struct outlet *outlet, struct event_loop *loop, int fd)
{
	outlet->loop = loop;
	/* A description of our own, since O_NONBLOCK would be everybody's. What has none (a socket, a file) is waited for. */
	outlet->own_fd = tty_reopen(fd, O_WRONLY);
	outlet->fd = outlet->own_fd >= 0 ? outlet->own_fd : fd;
}

void outlet_close(struct outlet *outlet)
{
	event_del(&outlet->source);
	if (outlet->own_fd >= 0)
		close(outlet->own_fd);
	outlet->own_fd = -1;
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
	int result = outlet->source.loop ? 0 : event_add(outlet->loop, &outlet->source, outlet->fd, EPOLLOUT, outlet_writable);

	if (result)
		log_errno(result, "the command's output can't be written");
	outlet->closed |= result < 0;
}

size_t outlet_write(struct outlet *outlet, const void *bytes, size_t length)
{
	size_t done = 0;

	while (done < length && !outlet->closed) {
		ssize_t n = write(outlet->fd, (const char *)bytes + done, length - done);

		if (n > 0) {
			done += (size_t)n;
			continue;
		}
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN) {
			outlet_stalled(outlet);
			break;
		}
		if (errno != EPIPE)
			log_errno(errno, "the command's output can't be written");
		outlet->closed = true;
		outlet->gone(outlet);
	}
	if (outlet->closed)
		done = length;
	outlet->taken += done;
	return done;
}
