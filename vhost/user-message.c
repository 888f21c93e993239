/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost-user's messages: a header, a payload, and descriptors beside it.
 *
 * The socket doesn't block; each message has a deadline for all of it. The peer is a stranger: no length of its is
 * believed before it is checked, and each descriptor that it sends is closed or owned by somebody.
 */
#include <poll.h>
#include <string.h>
#include <sys/socket.h>

#include "user.h"

#define FDS_MAX	VHOST_REGIONS_MAX

static int user_wait(int socket, short events, uint64_t deadline_ns)
{
	struct pollfd entry = { .fd = socket, .events = events };
	uint64_t now = event_now_ns();
	int ready;

	if (now >= deadline_ns)
		return -ETIMEDOUT;
	ready = poll(&entry, 1, (int)MIN((deadline_ns - now) / 1000000 + 1, (uint64_t)INT32_MAX));
	return ready < 0 && errno != EINTR ? -errno : 0;
}

static ssize_t send_part(int socket, const struct iovec *iov, int count, const int *fds, unsigned int fd_count)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;
	struct msghdr message = { .msg_iov = (struct iovec *)iov, .msg_iovlen = (size_t)count };
	struct cmsghdr *part;

	if (fd_count) {
		memset(&control, 0, sizeof(control));
		message.msg_control = control.bytes;
		message.msg_controllen = CMSG_SPACE(fd_count * sizeof(int));
		part = CMSG_FIRSTHDR(&message);
		part->cmsg_level = SOL_SOCKET;
		part->cmsg_type = SCM_RIGHTS;
		part->cmsg_len = CMSG_LEN(fd_count * sizeof(int));
		memcpy(CMSG_DATA(part), fds, fd_count * sizeof(int));
	}
	return sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

int user_send(int socket, const struct user_header *header, const void *payload, const int *fds, unsigned int fd_count,
	      uint64_t deadline_ns)
{
	char bytes[sizeof(*header) + sizeof(union user_payload)];
	size_t length = sizeof(*header) + header->size, done = 0;

	if (header->size > sizeof(union user_payload) || fd_count > FDS_MAX)
		return -EINVAL;
	memcpy(bytes, header, sizeof(*header));
	if (header->size)
		memcpy(bytes + sizeof(*header), payload, header->size);
	while (done < length) {
		const struct iovec iov = { bytes + done, length - done };
		ssize_t sent = send_part(socket, &iov, 1, fds, done ? 0 : fd_count);
		int result = 0;

		if (sent > 0)
			done += (size_t)sent;
		else if (errno == EAGAIN)
			result = user_wait(socket, POLLOUT, deadline_ns);
		else if (errno != EINTR)
			result = errno == EPIPE ? -ECONNRESET : -errno;
		if (result)
			return result;
	}
	return 0;
}

/* The first descriptor is kept, if there is room for one. */
static void take_fds(struct msghdr *message, int *kept)
{
	for (struct cmsghdr *part = CMSG_FIRSTHDR(message); part; part = CMSG_NXTHDR(message, part)) {
		size_t count = (part->cmsg_len - CMSG_LEN(0)) / sizeof(int);

		if (part->cmsg_level != SOL_SOCKET || part->cmsg_type != SCM_RIGHTS)
			continue;
		for (size_t i = 0; i < count; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(part) + i * sizeof(int), sizeof(fd));
			if (kept && *kept < 0)
				*kept = fd;
			else
				close(fd);
		}
	}
}

static int receive_exactly(int socket, void *buffer, size_t length, int *fd, uint64_t deadline_ns)
{
	union {
		struct cmsghdr align;
		char bytes[CMSG_SPACE(FDS_MAX * sizeof(int))];
	} control;

	for (size_t done = 0; done < length; ) {
		struct iovec iov = { (char *)buffer + done, length - done };
		struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control.bytes,
					  .msg_controllen = sizeof(control) };
		ssize_t got = recvmsg(socket, &message, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
		int result = 0;

		if (got >= 0)
			take_fds(&message, fd);
		if (got > 0)
			done += (size_t)got;
		else if (!got)
			result = -ECONNRESET;
		else if (errno == EAGAIN)
			result = user_wait(socket, POLLIN, deadline_ns);
		else if (errno != EINTR)
			result = -errno;
		if (!result && got > 0 && (message.msg_flags & MSG_CTRUNC))
			result = -EPROTO;
		if (result)
			return result;
	}
	return 0;
}

int user_receive(int socket, struct user_message *message, uint64_t deadline_ns)
{
	int result;

	memset(message, 0, sizeof(*message));
	message->fd = -1;
	result = receive_exactly(socket, &message->header, sizeof(message->header), &message->fd, deadline_ns);
	if (!result && ((message->header.flags & USER_VERSION_MASK) != USER_VERSION ||
			message->header.size > sizeof(message->payload)))
		result = -EPROTO;
	if (!result)
		result = receive_exactly(socket, &message->payload, message->header.size, &message->fd, deadline_ns);
	if (result && message->fd >= 0) {
		close(message->fd);
		message->fd = -1;
	}
	return result;
}

int user_receive_reply(int socket, uint32_t request, size_t size, bool with_fd, struct user_message *message,
		       uint64_t deadline_ns)
{
	int result = user_receive(socket, message, deadline_ns);

	if (result)
		return result;
	if (message->header.request != request || !(message->header.flags & USER_REPLY) || message->header.size != size)
		result = -EPROTO;
	if ((result || !with_fd) && message->fd >= 0) {
		close(message->fd);
		message->fd = -1;
	}
	return result;
}
