/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-vsock's way in: a Unix socket that host programs connect to, and say `CONNECT PORT\n` on. The answer is
 * `OK PORT\n` with the port that the guest sees, or the end of the connection. As Firecracker's docs/vsock.md has it.
 */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "kvm/option.h"
#include "vsock.h"

#define BACKLOG		64
#define AGAIN_NS	100000000ULL
#define PORT_FIRST	0x40000000U	/* far from the ports that programs choose */

/* ---- CONNECT ---- */

static bool parse_connect(const char *line, uint32_t *port)
{
	static const char word[] = "CONNECT ";
	uint64_t value;

	if (strncmp(line, word, sizeof(word) - 1) || parse_uint(line + sizeof(word) - 1, &value) || value > UINT32_MAX)
		return false;
	*port = (uint32_t)value;
	return true;
}

static uint32_t free_port(struct vsock *vsock, uint32_t guest_port)
{
	do
		vsock->next_port = MAX(vsock->next_port + 1, PORT_FIRST);
	while (vsock_connection_find(vsock, guest_port, vsock->next_port));
	return vsock->next_port;
}

static void ask_guest(struct vsock_connection *connection)
{
	struct vsock *vsock = connection->vsock;
	uint32_t port;

	if (!parse_connect(connection->line, &port) || !vsock->device.running) {
		vsock_connection_free(connection);
		return;
	}
	connection->host_port = free_port(vsock, port);
	connection->guest_port = port;
	connection->state = VSOCK_ASKING;
	connection->pending = VSOCK_SEND_REQUEST;
	vsock_connection_watch(connection);
	vsock_wake(vsock);
}

/* A byte at a time, as what stands behind the line is the guest's. */
void vsock_greet(struct vsock_connection *connection)
{
	char byte;

	for (;;) {
		ssize_t got = recv(connection->source.fd, &byte, 1, MSG_DONTWAIT);

		if (got < 0 && (errno == EAGAIN || errno == EINTR))
			return;
		if (got <= 0 || connection->line_length == VSOCK_LINE_MAX - 1) {
			vsock_connection_free(connection);
			return;
		}
		if (byte == '\n')
			break;
		connection->line[connection->line_length++] = byte;
	}
	connection->line[connection->line_length] = '\0';
	ask_guest(connection);
}

/* ---- the socket ---- */

static void listen_again(struct event_timer *timer)
{
	struct vsock *vsock = container_of(timer, struct vsock, listen_again);

	vsock_listen_watch(vsock, !vsock->quiesced);
}

static void listener_ready(struct event_source *source, uint32_t events)
{
	struct vsock *vsock = container_of(source, struct vsock, listener);
	int fd = -1;

	(void)events;
	if (vsock->count < VSOCK_CONNECTIONS_MAX)
		fd = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (fd >= 0) {
		struct vsock_connection *connection = vsock_connection_new(vsock, fd, VSOCK_GREETING);

		if (connection)
			vsock_connection_watch(connection);
	} else if (vsock->count == VSOCK_CONNECTIONS_MAX || (errno != EAGAIN && errno != ECONNABORTED)) {
		/* No room, no descriptors: those who wait would wake the loop without end. */
		vsock_listen_watch(vsock, false);
		event_timer_set(&vsock->listen_again, event_now_ns() + AGAIN_NS);
	}
}

void vsock_listen_watch(struct vsock *vsock, bool on)
{
	struct event_source *source = &vsock->listener;

	if (!on)
		event_del(source);
	else if (!source->loop && event_add(vsock->device.loop, source, source->fd, EPOLLIN, listener_ready))
		log_warn("option --vsock: '%s' can't be watched", vsock->path);
}

/* What a VM that was killed has left behind answers nobody. */
static int bind_path(int fd, const struct sockaddr_un *address)
{
	_cleanup_close_ int probe = -1;

	if (bind(fd, (const struct sockaddr *)address, sizeof(*address)) == 0)
		return 0;
	if (errno != EADDRINUSE)
		return -errno;
	probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (probe < 0)
		return -errno;
	if (connect(probe, (const struct sockaddr *)address, sizeof(*address)) == 0 || errno != ECONNREFUSED)
		return -EADDRINUSE;
	if (unlink(address->sun_path))
		return -errno;
	return bind(fd, (const struct sockaddr *)address, sizeof(*address)) ? -errno : 0;
}

static int listen_socket(struct vsock *vsock, const struct sockaddr_un *address)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct stat status;
	int result;

	/* The mode of a socket before bind() is that of the name it makes, whatever the umask. */
	if (fd < 0 || fchmod(fd, 0600) < 0)
		return -errno;
	result = bind_path(fd, address);
	if (result)
		return result;
	if (lstat(vsock->path, &status) < 0 || listen(fd, BACKLOG) < 0) {
		result = -errno;
		unlink(vsock->path);
		return result;
	}
	vsock->inode = status.st_ino;
	vsock->listener.fd = take_fd(&fd);
	return 0;
}

int vsock_listen_open(struct vsock *vsock)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	int result;

	event_timer_init(vsock->device.loop, &vsock->listen_again, listen_again);
	/* The host's are PATH_4294967295 at the longest. */
	if (strlen(vsock->path) + sizeof("_4294967295") > sizeof(address.sun_path))
		return log_error(ENAMETOOLONG, "option --vsock: '%s' is too long for a socket (say path=)", vsock->path);
	memcpy(address.sun_path, vsock->path, strlen(vsock->path));
	result = listen_socket(vsock, &address);
	if (result)
		return log_errno(result, "option --vsock: socket '%s'", vsock->path);
	vsock_listen_watch(vsock, true);
	return 0;
}

void vsock_listen_close(struct vsock *vsock)
{
	struct stat status;

	event_timer_cancel(&vsock->listen_again);
	event_del(&vsock->listener);
	if (vsock->listener.fd < 0)
		return;
	close(vsock->listener.fd);
	vsock->listener.fd = -1;
	/* not what somebody else has put there since */
	if (lstat(vsock->path, &status) == 0 && status.st_ino == vsock->inode)
		unlink(vsock->path);
}
