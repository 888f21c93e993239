/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An NBD server of the tests' own, on a thread and a Unix socket: one export in memory, and manners that can be switched
 * off. Serves one connection after the other.
 */
#ifndef TESTS_UNIT_NBD_SERVER_H
#define TESTS_UNIT_NBD_SERVER_H

#include <endian.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "tests/unit/suite.h"

#define NBD_SERVER_BYTES	MIB(4)

static struct {
	int listener;
	pthread_t thread;
	uint8_t bytes[NBD_SERVER_BYTES];
	atomic_bool stop;
	atomic_uint connections, commands, flushes;
	/* what it does wrong */
	atomic_bool mute;		/* greets nobody */
	atomic_uint silent;		/* of so many connections: takes commands and answers none */
	atomic_uint hang_up;		/* so often: at a command, having carried it out */
	atomic_bool smaller;		/* says that the export is half of what it was */
} nbd_server;

static inline bool nbd_server_move(int fd, void *buffer, size_t length, bool out)
{
	while (length) {
		struct pollfd look = { .fd = fd, .events = out ? POLLOUT : POLLIN };
		ssize_t moved;

		if (atomic_load(&nbd_server.stop))
			return false;
		if (poll(&look, 1, 20) <= 0)
			continue;
		moved = out ? send(fd, buffer, length, MSG_NOSIGNAL) : recv(fd, buffer, length, 0);
		if (moved <= 0)
			return false;
		buffer = (char *)buffer + moved;
		length -= (size_t)moved;
	}
	return true;
}

static inline bool nbd_server_say(int fd, const void *buffer, size_t length)
{
	return nbd_server_move(fd, (void *)(uintptr_t)buffer, length, true);
}

static inline bool nbd_server_reply(int fd, uint32_t option, uint32_t type, const void *data, uint32_t length)
{
	struct __attribute__((packed)) { uint64_t magic; uint32_t option, type, length; } reply = {
		htobe64(0x3e889045565a9), htobe32(option), htobe32(type), htobe32(length),
	};

	return nbd_server_say(fd, &reply, sizeof(reply)) && (!length || nbd_server_say(fd, data, length));
}

/* Newstyle, until NBD_OPT_GO. */
static inline bool nbd_server_negotiate(int fd)
{
	struct __attribute__((packed)) { uint64_t magic, have_option; uint16_t flags; } hello = {
		htobe64(0x4e42444d41474943), htobe64(0x49484156454f5054), htobe16(3),
	};
	struct __attribute__((packed)) { uint16_t kind; uint64_t size; uint16_t flags; } export = {
		0, htobe64(NBD_SERVER_BYTES >> atomic_load(&nbd_server.smaller)), htobe16(1 | 4 | 8 | 32 | 64),
	};
	struct __attribute__((packed)) { uint64_t magic; uint32_t option, length; } ask;
	uint8_t data[4096];
	uint32_t flags;

	if (!nbd_server_say(fd, &hello, sizeof(hello)) || !nbd_server_move(fd, &flags, sizeof(flags), false))
		return false;
	while (nbd_server_move(fd, &ask, sizeof(ask), false) && be32toh(ask.length) <= sizeof(data) &&
	       nbd_server_move(fd, data, be32toh(ask.length), false)) {
		uint32_t option = be32toh(ask.option);

		if (option != 6 && option != 7) {
			if (!nbd_server_reply(fd, option, 0x80000001, NULL, 0))
				return false;
			continue;
		}
		if (!nbd_server_reply(fd, option, 3, &export, sizeof(export)) || !nbd_server_reply(fd, option, 1, NULL, 0))
			return false;
		if (option == 7)
			return true;
	}
	return false;
}

struct __attribute__((packed)) nbd_server_request {
	uint32_t magic;
	uint16_t flags, type;
	uint64_t cookie, offset;
	uint32_t length;
};

/* Takes it with its data, and carries it out. */
static inline bool nbd_server_take(int fd, struct nbd_server_request *request, uint8_t **data, uint32_t *length)
{
	uint64_t offset;

	if (!nbd_server_move(fd, request, sizeof(*request), false) || request->magic != htobe32(0x25609513))
		return false;
	offset = be64toh(request->offset);
	*length = be32toh(request->length);
	if (offset > NBD_SERVER_BYTES || *length > NBD_SERVER_BYTES - offset)
		return false;
	*data = nbd_server.bytes + offset;
	atomic_fetch_add(&nbd_server.commands, 1);
	switch (be16toh(request->type)) {
	case 1:
		return nbd_server_move(fd, *data, *length, false);
	case 3:
		atomic_fetch_add(&nbd_server.flushes, 1);
		return true;
	case 6:
		memset(*data, 0, *length);
		return true;
	default:
		return be16toh(request->type) != 2;
	}
}

static inline bool nbd_server_once(atomic_uint *count)
{
	unsigned int had = atomic_load(count);

	return had && atomic_compare_exchange_strong(count, &had, had - 1);
}

static inline void nbd_server_serve(int fd)
{
	struct nbd_server_request request;
	uint8_t *data;
	uint32_t length;
	bool silent = nbd_server_once(&nbd_server.silent);

	while (nbd_server_take(fd, &request, &data, &length)) {
		struct __attribute__((packed)) { uint32_t magic, error; uint64_t cookie; } reply = {
			htobe32(0x67446698), 0, request.cookie,
		};

		if (nbd_server_once(&nbd_server.hang_up))
			return;
		if (silent)
			continue;
		if (!nbd_server_say(fd, &reply, sizeof(reply)) ||
		    (!request.type && !nbd_server_say(fd, data, length)))
			return;
	}
}

static inline void *nbd_server_run(void *opaque)
{
	while (!atomic_load(&nbd_server.stop)) {
		struct pollfd look = { .fd = nbd_server.listener, .events = POLLIN };
		int fd;

		if (atomic_load(&nbd_server.mute) || poll(&look, 1, 20) <= 0) {
			usleep(1000);
			continue;
		}
		fd = accept4(nbd_server.listener, NULL, NULL, SOCK_CLOEXEC);
		if (fd < 0)
			continue;
		atomic_fetch_add(&nbd_server.connections, 1);
		if (nbd_server_negotiate(fd))
			nbd_server_serve(fd);
		close(fd);
	}
	return opaque;
}

static inline void nbd_server_start(const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	unlink(path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
	nbd_server.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(nbd_server.listener, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(nbd_server.listener, 8), 0);
	atomic_store(&nbd_server.stop, false);
	ck_assert_int_eq(pthread_create(&nbd_server.thread, NULL, nbd_server_run, NULL), 0);
}

/* What is connected is hung up on; nobody can connect from here on. */
static inline void nbd_server_stop(void)
{
	if (atomic_exchange(&nbd_server.stop, true))
		return;
	pthread_join(nbd_server.thread, NULL);
	close(nbd_server.listener);
}

#endif
