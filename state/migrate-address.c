/* SPDX-License-Identifier: BSD-2-Clause */
/* Connections of a migration (migrate-address.h). Whoever has one has all of the guest: they are for networks that are trusted. */
#include "state/migrate-address.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "kvm/log.h"
#include "kvm/option.h"
#include "kvm/spawn.h"

#define STALL_S		30		/* a side that takes nothing for so long is lost */
#define CHILD_MS	1000		/* until a command whose connection is closed is ended */

typedef int link_function(int fd, const struct sockaddr *address, socklen_t length);

static const char *behind(const char *address, const char *scheme)
{
	size_t length = strlen(scheme);

	return strncmp(address, scheme, length) ? NULL : address + length;
}

int migrate_address_check(const char *address)
{
	const char *path = behind(address, "unix:"), *tcp = behind(address, "tcp:"), *exec = behind(address, "exec:");
	const char *number = behind(address, "fd:");
	uint64_t fd;

	if (path && *path && strlen(path) < sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return 0;
	if ((tcp && strrchr(tcp, ':')) || (exec && *exec) || (number && !parse_uint(number, &fd) && fd <= INT32_MAX))
		return 0;
	return log_error(EUSAGE, "'%s' is no address of a migration (tcp:HOST:PORT, unix:PATH, exec:COMMAND or fd:N)", address);
}

/* A side that has gone without a word is noticed, on whichever network. */
static void tune(int fd)
{
	const struct timeval stall = { .tv_sec = STALL_S };
	const int on = 1, idle = 5, times = 5;

	(void)!setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &stall, sizeof(stall));
	/* what isn't TCP refuses the rest */
	(void)!setsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on));
	(void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPIDLE, &idle, sizeof(idle));
	(void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPINTVL, &idle, sizeof(idle));
	(void)!setsockopt(fd, IPPROTO_TCP, TCP_KEEPCNT, &times, sizeof(times));
	(void)!setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
}

/* ---- sockets that have addresses ---- */

struct link {
	const char *address;
	bool listens;
	void (*made)(void *opaque, int fd);
	void *opaque;
};

static int socket_link(const struct link *link, const struct sockaddr *name, socklen_t length)
{
	_cleanup_close_ int fd = socket(name->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
	const int on = 1;

	if (fd < 0)
		return -errno;
	tune(fd);
	if (link->listens) {
		(void)!setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
		/* the mode of a Unix socket before bind() is that of the name it makes */
		(void)!fchmod(fd, 0600);
		return bind(fd, name, length) || listen(fd, 1) ? -errno : take_fd(&fd);
	}
	if (link->made)
		link->made(link->opaque, fd);
	if (!connect(fd, name, length))
		return take_fd(&fd);
	if (link->made)
		link->made(link->opaque, -1);
	return -errno;
}

static int unix_link(const struct link *link, const char *path)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };
	struct stat status;

	memcpy(name.sun_path, path, strlen(path));
	/* what one that was killed has left; a socket that somebody listens at is theirs */
	if (link->listens && !lstat(path, &status) && S_ISSOCK(status.st_mode)) {
		_cleanup_close_ int probe = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

		if (connect(probe, (struct sockaddr *)&name, sizeof(name)) && errno == ECONNREFUSED)
			unlink(path);
	}
	return socket_link(link, (struct sockaddr *)&name, sizeof(name));
}

static int tcp_resolve(const char *host, const char *port, bool listens, struct addrinfo **found)
{
	const struct addrinfo hints = { .ai_socktype = SOCK_STREAM, .ai_flags = listens ? AI_PASSIVE : 0 };

	switch (getaddrinfo(*host ? host : NULL, port, &hints, found)) {
	case 0:			return 0;
	case EAI_MEMORY:	return -ENOMEM;
	case EAI_SERVICE:	return -EUSAGE;
	default:		return -EHOSTUNREACH;
	}
}

static int tcp_link(const struct link *link, const char *text)
{
	const char *colon = strrchr(text, ':');
	bool brackets = *text == '[' && colon > text + 1 && colon[-1] == ']';
	_cleanup_free_ char *host = strndup(text + brackets, (size_t)(colon - text) - (brackets ? 2 : 0));
	struct addrinfo *found = NULL;
	int result = host ? tcp_resolve(host, colon + 1, link->listens, &found) : -ENOMEM;

	for (const struct addrinfo *at = found; at; at = at->ai_next) {
		result = socket_link(link, at->ai_addr, at->ai_addrlen);
		if (result >= 0)
			break;
	}
	if (found)
		freeaddrinfo(found);
	return result;
}

/* ---- those that have none ---- */

static int exec_link(struct migrate_connection *connection, const char *command)
{
	char *const arguments[] = { (char *)(uintptr_t)"sh", (char *)(uintptr_t)"-c", (char *)(uintptr_t)command, NULL };
	posix_spawn_file_actions_t actions;
	int ends[2], error;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) < 0)
		return -errno;
	tune(ends[0]);
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&actions, ends[1], STDOUT_FILENO);
	error = spawn_program(&connection->child, "/bin/sh", arguments, &actions);
	posix_spawn_file_actions_destroy(&actions);
	close(ends[1]);
	if (!error)
		return ends[0];
	connection->child = 0;
	close(ends[0]);
	return -error;
}

static int fd_link(const char *text)
{
	socklen_t length = sizeof(int);
	uint64_t number;
	int type, fd;

	if (parse_uint(text, &number) || number > INT32_MAX)
		return -EUSAGE;
	if (getsockopt((int)number, SOL_SOCKET, SO_TYPE, &type, &length))
		return -errno;
	if (type != SOCK_STREAM)
		return -EPROTOTYPE;
	fd = fcntl((int)number, F_DUPFD_CLOEXEC, 0);
	if (fd >= 0)
		tune(fd);
	return fd < 0 ? -errno : fd;
}

static int link_made(struct migrate_connection *connection, const struct link *link)
{
	const char *rest;
	int fd;

	*connection = (struct migrate_connection){ .fd = -1, .addressed = true };
	if ((rest = behind(link->address, "unix:"))) {
		fd = unix_link(link, rest);
	} else if ((rest = behind(link->address, "tcp:"))) {
		fd = tcp_link(link, rest);
	} else {
		rest = behind(link->address, "exec:");
		fd = rest ? exec_link(connection, rest) : fd_link(link->address + 3);
		connection->addressed = false;
		if (fd >= 0 && link->made)
			link->made(link->opaque, fd);
	}
	if (fd < 0)
		return log_errno(fd, "migration: '%s'", link->address);
	connection->fd = fd;
	return 0;
}

int migrate_connect(struct migrate_connection *connection, const char *address, void (*made)(void *opaque, int fd), void *opaque)
{
	const struct link link = { .address = address, .made = made, .opaque = opaque };

	return link_made(connection, &link);
}

/* Returns a socket or negative errno. */
static int accept_one(int listener, int stop_fd)
{
	struct pollfd fds[] = { { .fd = listener, .events = POLLIN }, { .fd = stop_fd, .events = POLLIN } };
	int fd = -1;

	while (fd < 0) {
		if (poll(fds, ARRAY_SIZE(fds), -1) < 0 && errno != EINTR)
			return -errno;
		if (fds[1].revents)
			return -ECANCELED;
		fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0 && errno != EINTR && errno != ECONNABORTED)
			return -errno;
	}
	return fd;
}

int migrate_accept(struct migrate_connection *connection, const char *address, int stop_fd)
{
	const struct link link = { .address = address, .listens = true };
	const char *path = behind(address, "unix:");
	int result = link_made(connection, &link), listener = connection->fd;

	if (result || !connection->addressed)
		return result;
	log_info("migration: waiting at %s", address);
	connection->fd = accept_one(listener, stop_fd);
	if (connection->fd >= 0)
		tune(connection->fd);
	else
		result = connection->fd == -ECANCELED ? -ECANCELED : log_errno(connection->fd, "migration: '%s'", address);
	close(listener);
	/* one is all that comes */
	if (path)
		unlink(path);
	return result;
}

/* ---- what is at its ends ---- */

static int end_name(int fd, bool far, char *text, size_t size)
{
	struct sockaddr_storage name = { .ss_family = AF_UNSPEC };
	struct ucred owner = { .pid = getpid() };
	socklen_t length = sizeof(name), owner_length = sizeof(owner);
	char host[64], port[8];
	const char *number = host;

	if ((far ? getpeername : getsockname)(fd, (struct sockaddr *)&name, &length))
		return -errno;
	if (name.ss_family == AF_UNIX) {
		if (far && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &owner, &owner_length))
			return -errno;
		return snprintf(text, size, "%d", (int)owner.pid) < 0;
	}
	if (getnameinfo((struct sockaddr *)&name, length, host, sizeof(host), port, sizeof(port), NI_NUMERICHOST | NI_NUMERICSERV))
		return -EAFNOSUPPORT;
	/* one of IPv4 that a socket of IPv6 has taken; and an interface has a name on its own host only */
	if (strncmp(host, "::ffff:", 7) == 0)
		number += 7;
	host[strcspn(host, "%")] = '\0';
	return snprintf(text, size, "%s:%s", number, port) < 0;
}

void migrate_ends(int fd, bool far_first, char *text)
{
	char first[MIGRATE_ENDS / 2 - 1], second[MIGRATE_ENDS / 2 - 1];

	*text = '\0';
	if (!end_name(fd, far_first, first, sizeof(first)) && !end_name(fd, !far_first, second, sizeof(second)))
		snprintf(text, MIGRATE_ENDS, "%s %s", first, second);
}

/* ---- its end ---- */

/* Its connection is closed, which is what most commands end by. */
static void child_end(pid_t child)
{
	const struct timespec pause = { .tv_nsec = 10000000 };

	for (unsigned int ms = 0; ms < CHILD_MS; ms += 10) {
		if (waitpid(child, NULL, WNOHANG) == child)
			return;
		nanosleep(&pause, NULL);
	}
	kill(child, SIGTERM);
	while (waitpid(child, NULL, 0) < 0 && errno == EINTR)
		;
}

void migrate_disconnect(struct migrate_connection *connection)
{
	if (connection->fd >= 0)
		close(connection->fd);
	if (connection->child > 0)
		child_end(connection->child);
	*connection = (struct migrate_connection){ .fd = -1 };
}
