/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --port ...,socket=PATH: a port on the clients of a Unix socket, one at a time; the next one waits in the backlog.
 *
 * The guest sees the host's end open while a client is there. A client that leaves, or says by shutdown() that it has
 * no more to say, closes it, once all it sent has been read. A socket that a killed lkvm left behind, where nobody
 * listens, is taken over. Main loop.
 */
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "kvm/event.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/port-fds.h"
#include "port-option.h"

#define BACKLOG		4
#define RETRY_NS	1000000000ULL	/* when there is no fd left for a client */
#define BETWEEN_NS	200000000ULL	/* Linux knows no ends, only whether the host is there: a reader shall see that it isn't */

struct port_socket {
	struct kvm *kvm;
	struct port_fds *fds;
	int fd;				/* listens; -1: not yet */
	struct event_source source;
	struct event_timer wait;	/* until the next client may come */
	struct sockaddr_un address;
	dev_t device;
	ino_t inode;
};

/* ---- clients ---- */

static void socket_ready(struct event_source *source, uint32_t events);

static void socket_watch(struct port_socket *port)
{
	if (!port->source.loop && event_add(port->kvm->loop, &port->source, port->fd, EPOLLIN, socket_ready))
		event_timer_set(&port->wait, event_now_ns() + RETRY_NS);
}

static void wait_expired(struct event_timer *timer)
{
	socket_watch(container_of(timer, struct port_socket, wait));
}

static void client_ended(void *opaque)
{
	struct port_socket *port = opaque;

	if (port_fds_guest_is_open(port->fds))
		event_timer_set(&port->wait, event_now_ns() + BETWEEN_NS);
	else
		socket_watch(port);
}

static void socket_ready(struct event_source *source, uint32_t events)
{
	struct port_socket *port = container_of(source, struct port_socket, source);
	_cleanup_close_ int client = accept4(source->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

	(void)events;
	if (client < 0 && (errno == EAGAIN || errno == EINTR || errno == ECONNABORTED))
		return;
	event_del(source);
	if (client < 0 || port_fds_attach(port->fds, client, client))
		event_timer_set(&port->wait, event_now_ns() + RETRY_NS);
}

/* ---- the socket ---- */

static bool nobody_listens(const struct sockaddr_un *address)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	return fd >= 0 && connect(fd, (const struct sockaddr *)address, sizeof(*address)) < 0 && errno == ECONNREFUSED;
}

static int socket_bind(struct port_socket *port)
{
	const struct sockaddr *address = (const struct sockaddr *)&port->address;
	struct stat status;

	if (bind(port->fd, address, sizeof(port->address)) == 0)
		return 0;
	if (errno != EADDRINUSE || lstat(port->address.sun_path, &status) < 0 || !S_ISSOCK(status.st_mode))
		return errno == EADDRINUSE ? -EEXIST : -errno;
	if (!nobody_listens(&port->address))
		return -EADDRINUSE;
	if (unlink(port->address.sun_path) < 0 || bind(port->fd, address, sizeof(port->address)) < 0)
		return -errno;
	return 0;
}

static int socket_listen(struct port_socket *port)
{
	struct stat status;
	int result;

	port->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* The mode of a socket before bind() is that of the name it makes, whatever the umask. */
	if (port->fd < 0 || fchmod(port->fd, 0600) < 0)
		return -errno;
	result = socket_bind(port);
	if (result)
		return result;
	if (lstat(port->address.sun_path, &status) == 0) {
		port->device = status.st_dev;
		port->inode = status.st_ino;
	}
	return listen(port->fd, BACKLOG) < 0 ? -errno : 0;
}

int port_socket_create(struct kvm *kvm, const char *name, const char *path, struct port_socket **out)
{
	struct port_socket *port;
	int result;

	if (!*path || strlen(path) >= sizeof(port->address.sun_path))
		return log_error(EUSAGE, "option --port: socket '%s': a socket's path has 1 to %zu bytes", path,
				 sizeof(port->address.sun_path) - 1);
	port = calloc(1, sizeof(*port));
	if (!port)
		return log_errno(ENOMEM, "option --port");
	port->kvm = kvm;
	port->fd = -1;
	port->address.sun_family = AF_UNIX;
	snprintf(port->address.sun_path, sizeof(port->address.sun_path), "%s", path);
	event_timer_init(kvm->loop, &port->wait, wait_expired);
	result = port_fds_create(kvm, name, client_ended, port, &port->fds);
	if (!result) {
		result = socket_listen(port);
		if (result)
			log_errno(result, "option --port: socket '%s': can't listen there", path);
	}
	if (result) {
		port_socket_destroy(port);
		return result;
	}
	socket_watch(port);
	*out = port;
	return 0;
}

void port_socket_destroy(struct port_socket *port)
{
	struct stat status;

	if (!port)
		return;
	event_del(&port->source);
	event_timer_cancel(&port->wait);
	port_fds_destroy(port->fds);
	if (port->inode && lstat(port->address.sun_path, &status) == 0 && status.st_ino == port->inode &&
	    status.st_dev == port->device)
		unlink(port->address.sun_path);
	if (port->fd >= 0)
		close(port->fd);
	free(port);
}
