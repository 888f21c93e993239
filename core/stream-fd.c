/* SPDX-License-Identifier: BSD-2-Clause */
/* A description of our own that doesn't block, or a way to do without one (kvm/stream-fd.h). */
#include "kvm/stream-fd.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "kvm/tty.h"

#define POLLED_PIPE	4096	/* a pipe that has room for anything has room for a page */
#define POLLED_TTY	256	/* a tty promises less */

int stream_fd_open(struct stream_fd *stream, int fd, int mode)
{
	int flags = fcntl(fd, F_GETFL);
	struct stat status;

	*stream = (struct stream_fd){ .fd = -1 };
	if (flags < 0 || fstat(fd, &status) < 0)
		return -errno;
	if (S_ISSOCK(status.st_mode)) {
		stream->kind = STREAM_SOCKET;
	} else if (!(flags & O_NONBLOCK) && (S_ISFIFO(status.st_mode) || isatty(fd))) {
		stream->fd = tty_reopen(fd, mode);
		if (stream->fd >= 0)
			return 0;
		stream->kind = STREAM_POLLED;
		stream->polled_max = S_ISFIFO(status.st_mode) ? POLLED_PIPE : POLLED_TTY;
	}
	stream->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	return stream->fd < 0 ? -errno : 0;
}

void stream_fd_close(struct stream_fd *stream)
{
	if (stream->fd >= 0)
		close(stream->fd);
	stream->fd = -1;
}

static bool is_ready(const struct stream_fd *stream, short events)
{
	struct pollfd poll_fd = { .fd = stream->fd, .events = events };

	return poll(&poll_fd, 1, 0) > 0;
}

ssize_t stream_fd_read(const struct stream_fd *stream, void *data, size_t length)
{
	ssize_t got;

	if (stream->kind == STREAM_POLLED && !is_ready(stream, POLLIN))
		return -EAGAIN;
	got = stream->kind == STREAM_SOCKET ? recv(stream->fd, data, length, MSG_DONTWAIT) : read(stream->fd, data, length);
	return got < 0 ? -errno : got;
}

ssize_t stream_fd_write(const struct stream_fd *stream, const void *data, size_t length)
{
	ssize_t sent;

	if (stream->kind == STREAM_POLLED) {
		if (!is_ready(stream, POLLOUT))
			return -EAGAIN;
		length = MIN(length, stream->polled_max);
	}
	sent = stream->kind == STREAM_SOCKET ? send(stream->fd, data, length, MSG_DONTWAIT | MSG_NOSIGNAL)
					     : write(stream->fd, data, length);
	return sent < 0 ? -errno : sent;
}
