/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where the gdb server listens: a TCP port of the loopback, or a Unix socket, mode 0600.
 *
 * Who speaks with it has all of the guest, and the protocol asks for no password: so it is never a port that
 * other hosts reach. A Unix socket keeps other users of this host out too.
 */
#include "gdb-address.h"

#include <arpa/inet.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "gdb-internal.h"
#include "kvm/log.h"
#include "kvm/option.h"

#define BACKLOG		4

static const struct {
	const char *name;
	bool ipv6;
} hosts[] = {
	{ "", false }, { "localhost", false }, { "127.0.0.1", false }, { "::1", true }, { "[::1]", true },
};

static bool parse_host(struct gdb_address *address, const char *text, size_t length)
{
	for (size_t i = 0; i < ARRAY_SIZE(hosts); i++) {
		if (strlen(hosts[i].name) != length || strncmp(hosts[i].name, text, length) != 0)
			continue;
		address->ipv6 = hosts[i].ipv6;
		return true;
	}
	return false;
}

static int parse_tcp(struct gdb_address *address, const char *whole, const char *text)
{
	const char *colon = strrchr(text, ':'), *port = colon ? colon + 1 : text;
	uint64_t number;

	if (colon && !parse_host(address, text, (size_t)(colon - text)))
		return log_error(EUSAGE, "option --gdb: '%s': TCP is for the loopback only (tcp:PORT; from another host, "
				 "forward the port by ssh -L)", whole);
	if (parse_uint(port, &number) || number > UINT16_MAX)
		return log_error(EUSAGE, "option --gdb: '%s': '%s' is no port (0 to 65535)", whole, port);
	address->port = (uint16_t)number;
	return 0;
}

/* gdb may be started in another folder, so the path is made absolute. */
static int parse_unix(struct gdb_address *address, const char *text)
{
	_cleanup_free_ char *folder = *text == '/' ? NULL : getcwd(NULL, 0);
	int length;

	if (!*text)
		return log_error(EUSAGE, "option --gdb: 'unix:' wants a path behind it");
	if (*text != '/' && !folder)
		return log_errno(errno, "option --gdb: this folder");
	length = asprintf(&address->path, "%s%s%s", folder ? folder : "", folder ? "/" : "", text);
	if (length < 0) {
		address->path = NULL;
		return log_errno(ENOMEM, "option --gdb");
	}
	if ((size_t)length >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
		return log_error(EUSAGE, "option --gdb: '%s' is too long for a socket (%zu bytes at most)", address->path,
				 sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
	return 0;
}

int gdb_address_parse(struct gdb_address *address, const char *text)
{
	*address = (struct gdb_address){ .port = GDB_DEFAULT_PORT };
	if (!text)
		return 0;
	if (strncmp(text, "unix:", 5) == 0)
		return parse_unix(address, text + 5);
	if (strncmp(text, "tcp:", 4) == 0)
		return parse_tcp(address, text, text + 4);
	return log_error(EUSAGE, "option --gdb: '%s' is no address (tcp:PORT or unix:PATH)", text);
}

/* ---- listening ---- */

static int listen_tcp(struct gdb_address *address, int fd)
{
	struct sockaddr_in v4 = { .sin_family = AF_INET, .sin_port = htons(address->port),
				  .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockaddr_in6 v6 = { .sin6_family = AF_INET6, .sin6_port = htons(address->port),
				   .sin6_addr = IN6ADDR_LOOPBACK_INIT };
	struct sockaddr *name = address->ipv6 ? (struct sockaddr *)&v6 : (struct sockaddr *)&v4;
	socklen_t length = address->ipv6 ? sizeof(v6) : sizeof(v4);
	const int one = 1;

	(void)!setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
	if (bind(fd, name, length) < 0 || listen(fd, BACKLOG) < 0 || getsockname(fd, name, &length) < 0)
		return -errno;
	address->port = ntohs(address->ipv6 ? v6.sin6_port : v4.sin_port);
	return asprintf(&address->text, "%s:%u", address->ipv6 ? "[::1]" : "127.0.0.1", address->port) < 0 ? -ENOMEM : 0;
}

static struct sockaddr_un unix_name(const struct gdb_address *address)
{
	struct sockaddr_un name = { .sun_family = AF_UNIX };

	snprintf(name.sun_path, sizeof(name.sun_path), "%s", address->path);
	return name;
}

/* A socket that nobody listens at is what a VM that was killed has left; any other file stays. */
static void unlink_dead(const struct gdb_address *address)
{
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	struct sockaddr_un name = unix_name(address);
	struct stat st;

	if (lstat(address->path, &st) == 0 && S_ISSOCK(st.st_mode) &&
	    connect(fd, (struct sockaddr *)&name, sizeof(name)) < 0 && errno == ECONNREFUSED)
		unlink(address->path);
}

static int listen_unix(struct gdb_address *address, int fd)
{
	struct sockaddr_un name = unix_name(address);
	struct stat st;

	unlink_dead(address);
	/* the mode of a socket before bind() is that of the name it makes */
	if (fchmod(fd, 0600) < 0 || bind(fd, (struct sockaddr *)&name, sizeof(name)) < 0)
		return -errno;
	if (lstat(address->path, &st) == 0)
		address->inode = st.st_ino;
	address->text = strdup(address->path);
	if (!address->text)
		return -ENOMEM;
	return listen(fd, BACKLOG) < 0 ? -errno : 0;
}

int gdb_address_listen(struct gdb_address *address)
{
	int family = address->path ? AF_UNIX : address->ipv6 ? AF_INET6 : AF_INET;
	_cleanup_close_ int fd = socket(family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int result;

	if (fd < 0)
		return log_errno(errno, "option --gdb");
	result = address->path ? listen_unix(address, fd) : listen_tcp(address, fd);
	if (result && address->path)
		return log_errno(result, "option --gdb: can't listen at '%s'", address->path);
	if (result)
		return log_errno(result, "option --gdb: can't listen on port %u (--gdb=tcp:0 takes a free one)", address->port);
	return take_fd(&fd);
}

void gdb_address_unlink(const struct gdb_address *address)
{
	struct stat st;

	if (address->path && address->inode && lstat(address->path, &st) == 0 && st.st_ino == address->inode)
		unlink(address->path);
}

void gdb_address_free(struct gdb_address *address)
{
	free(address->path);
	free(address->text);
}
