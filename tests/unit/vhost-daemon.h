/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A vhost-user daemon for tests, on a thread: it answers each request by copying the readable bytes, turned over bit by
 * bit, into the writable ones. It can be told to keep requests, to leave, and to break the protocol's rules.
 *
 * It goes by the memory table and the addresses that the front end sends, as a daemon in a process of its own would.
 */
#ifndef TESTS_UNIT_VHOST_DAEMON_H
#define TESTS_UNIT_VHOST_DAEMON_H

#include <linux/virtio_ring.h>
#include <poll.h>
#include <pthread.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "vhost/user.h"

#define DAEMON_RINGS	2
#define DAEMON_CONFIG	60
#define DAEMON_FEATURES	(BIT(VIRTIO_F_VERSION_1) | BIT(VIRTIO_RING_F_INDIRECT_DESC) | BIT(VIRTIO_RING_F_EVENT_IDX) | BIT(2) | BIT(12) | \
			 BIT(VIRTIO_F_RING_PACKED) | BIT(26))

enum daemon_fault {
	FAULT_NONE, FAULT_OTHER_REQUEST, FAULT_NO_REPLY_FLAG, FAULT_OTHER_VERSION, FAULT_SHORT, FAULT_LONG, FAULT_HUGE, FAULT_CUT_OFF,
	FAULT_LEAVE, FAULT_NOT_THE_RING, FAULT_BASE_TOO_LARGE, FAULT_REFUSE, FAULT_NO_FD, FAULT_TWENTY_FDS, FAULTS,
};

struct daemon_ring {
	uint32_t size;
	uint16_t taken;
	uint32_t base;			/* what SET_VRING_BASE said */
	uint16_t given;			/* packed: @taken and @given are places, wrap counters on top */
	uint64_t desc, avail, used;	/* the front end's addresses */
	int kick_fd, call_fd;
	bool enabled;
};

struct daemon {
	/* the test's, before daemon_start() */
	uint64_t features, protocol;
	uint32_t fault_request;		/* is answered by @fault */
	enum daemon_fault fault;
	atomic_bool keep;		/* take requests, and give none back */
	atomic_bool reverse;		/* give back what lies there at once, the last one first */

	/* seen, and not taken back */
	atomic_uint connections, served, kept, seen[64], wrong_fd_counts;
	_Atomic uint64_t features_set, inflight_inode;

	char path[64];
	int listen_fd, fd, requests_fd, inflight_fd, stop_fd;
	pthread_t thread;
	bool runs;
	struct user_memory memory;
	char *maps[VHOST_REGIONS_MAX];
	struct daemon_ring rings[DAEMON_RINGS];
	uint8_t config[DAEMON_CONFIG];
};

/* ---- guest memory ---- */

static inline char *daemon_at(struct daemon *daemon, uint64_t address, bool guest)
{
	for (uint32_t i = 0; i < daemon->memory.count; i++) {
		uint64_t base = guest ? daemon->memory.regions[i].guest : daemon->memory.regions[i].user;

		if (address >= base && address - base < daemon->memory.regions[i].size)
			return daemon->maps[i] + (address - base);
	}
	return NULL;
}

static inline void daemon_map(struct daemon *daemon, const struct user_memory *memory, const int *fds)
{
	daemon->memory = *memory;
	for (uint32_t i = 0; i < memory->count; i++) {
		char *map = mmap(NULL, memory->regions[i].offset + memory->regions[i].size, PROT_READ | PROT_WRITE, MAP_SHARED, fds[i], 0);

		ck_assert_ptr_ne(map, MAP_FAILED);
		daemon->maps[i] = map + memory->regions[i].offset;
	}
}

/* ---- requests ---- */

/* One readable descriptor, one writable one. */
static inline uint32_t daemon_do(struct daemon *daemon, struct daemon_ring *ring, uint16_t head)
{
	const struct vring_desc *table = (void *)daemon_at(daemon, ring->desc, false), *out = &table[head], *in = &table[out->next];
	const char *from = daemon_at(daemon, out->addr, true);
	char *to = daemon_at(daemon, in->addr, true);
	uint32_t length = MIN(out->len, in->len);

	for (uint32_t i = 0; i < length; i++)
		to[i] = (char)~from[i];
	return length;
}

static inline void daemon_give(struct daemon *daemon, struct daemon_ring *ring, uint16_t head)
{
	struct vring_used *used = (void *)daemon_at(daemon, ring->used, false);
	const uint64_t one = 1;

	used->ring[used->idx % ring->size] = (struct vring_used_elem){ .id = head, .len = daemon_do(daemon, ring, head) };
	__atomic_store_n(&used->idx, (uint16_t)(used->idx + 1), __ATOMIC_RELEASE);
	atomic_fetch_add(&daemon->served, 1);
	ck_assert_int_eq(write(ring->call_fd, &one, sizeof(one)), sizeof(one));
}

/* ---- packed rings ---- */

struct daemon_desc {
	uint64_t address;
	uint32_t length;
	uint16_t id, flags;
};

static inline bool daemon_is_packed(struct daemon *daemon)
{
	return atomic_load(&daemon->features_set) & BIT(VIRTIO_F_RING_PACKED);
}

static inline struct daemon_desc *daemon_desc(struct daemon *daemon, const struct daemon_ring *ring, uint16_t place)
{
	return (struct daemon_desc *)(void *)daemon_at(daemon, ring->desc, false) + (place & 0x7fff);
}

static inline uint16_t daemon_next(const struct daemon_ring *ring, uint16_t place)
{
	return (place & 0x7fff) + 1U == ring->size ? (place & 0x8000) ^ 0x8000 : (uint16_t)(place + 1);
}

/* One readable descriptor, one writable one, as ever. */
static inline void daemon_give_packed(struct daemon *daemon, struct daemon_ring *ring)
{
	const struct daemon_desc *out = daemon_desc(daemon, ring, ring->taken);
	const struct daemon_desc *in = daemon_desc(daemon, ring, daemon_next(ring, ring->taken));
	struct daemon_desc *used = daemon_desc(daemon, ring, ring->given);
	const char *from = daemon_at(daemon, out->address, true);
	char *to = daemon_at(daemon, in->address, true);
	const uint64_t one = 1;

	for (uint32_t i = 0; i < out->length; i++)
		to[i] = (char)~from[i];
	used->length = in->length;
	used->id = in->id;
	__atomic_store_n(&used->flags, ring->given & 0x8000 ? 0x8082 : 2, __ATOMIC_RELEASE);
	for (unsigned int i = 0; i < 2; i++) {
		ring->taken = daemon_next(ring, ring->taken);
		ring->given = daemon_next(ring, ring->given);
	}
	atomic_fetch_add(&daemon->served, 1);
	ck_assert_int_eq(write(ring->call_fd, &one, sizeof(one)), sizeof(one));
}

static inline void daemon_kicked_packed(struct daemon *daemon, struct daemon_ring *ring)
{
	uint64_t kicks;

	if (read(ring->kick_fd, &kicks, sizeof(kicks)) != sizeof(kicks))
		return;
	for (;;) {
		uint16_t flags = __atomic_load_n(&daemon_desc(daemon, ring, ring->taken)->flags, __ATOMIC_ACQUIRE);

		if ((flags & 0x8080) != (ring->taken & 0x8000 ? 0x80 : 0x8000))
			return;
		daemon_give_packed(daemon, ring);
	}
}

static inline void daemon_kicked(struct daemon *daemon, struct daemon_ring *ring)
{
	const struct vring_avail *avail = (void *)daemon_at(daemon, ring->avail, false);
	uint16_t heads[64];
	unsigned int count = 0;
	uint64_t kicks;

	if (daemon_is_packed(daemon)) {
		daemon_kicked_packed(daemon, ring);
		return;
	}
	if (read(ring->kick_fd, &kicks, sizeof(kicks)) != sizeof(kicks))
		return;
	while (ring->taken != __atomic_load_n(&avail->idx, __ATOMIC_ACQUIRE) && count < ARRAY_SIZE(heads))
		heads[count++] = avail->ring[ring->taken++ % ring->size];
	if (atomic_load(&daemon->keep)) {
		atomic_fetch_add(&daemon->kept, count);
		/* Out of order: the last one is done, the others aren't. */
		if (atomic_load(&daemon->reverse) && count)
			daemon_give(daemon, ring, heads[count - 1]);
		return;
	}
	for (unsigned int i = 0; i < count; i++)
		daemon_give(daemon, ring, heads[atomic_load(&daemon->reverse) ? count - 1 - i : i]);
}

/* ---- messages ---- */

struct daemon_message {
	struct user_header header;
	union user_payload payload;
	int fds[16];
	unsigned int fd_count;
};

static inline bool daemon_receive(int fd, struct daemon_message *message)
{
	char control[CMSG_SPACE(sizeof(message->fds))];
	struct iovec iov = { &message->header, sizeof(message->header) };
	struct msghdr header = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control) };
	struct cmsghdr *part;

	memset(message, 0, sizeof(*message));
	if (recvmsg(fd, &header, MSG_WAITALL) != sizeof(message->header))
		return false;
	part = CMSG_FIRSTHDR(&header);
	if (part) {
		message->fd_count = (unsigned int)((part->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(message->fds, CMSG_DATA(part), message->fd_count * sizeof(int));
	}
	return !message->header.size ||
	       recv(fd, &message->payload, message->header.size, MSG_WAITALL) == (ssize_t)message->header.size;
}

static inline void daemon_send(int fd, const struct user_header *header, const void *payload, size_t size, const int *fds, unsigned int count)
{
	char control[CMSG_SPACE(20 * sizeof(int))] = { 0 };
	struct iovec iov[2] = { { (void *)header, sizeof(*header) }, { (void *)payload, size } };
	struct msghdr message = { .msg_iov = iov, .msg_iovlen = 2 };

	if (count) {
		struct cmsghdr *part;

		message.msg_control = control;
		message.msg_controllen = CMSG_SPACE(count * sizeof(int));
		part = CMSG_FIRSTHDR(&message);
		part->cmsg_level = SOL_SOCKET;
		part->cmsg_type = SCM_RIGHTS;
		part->cmsg_len = CMSG_LEN(count * sizeof(int));
		memcpy(CMSG_DATA(part), fds, count * sizeof(int));
	}
	if (sendmsg(fd, &message, MSG_NOSIGNAL) < 0)
		return;
}

/* Returns false when the daemon is to hang up. */
static inline bool daemon_answer(struct daemon *daemon, const struct daemon_message *message, union user_payload *payload, size_t size, int fd)
{
	struct user_header header = { .request = message->header.request, .flags = USER_VERSION | (uint32_t)USER_REPLY, .size = (uint32_t)size };
	enum daemon_fault fault = message->header.request == daemon->fault_request ? daemon->fault : FAULT_NONE;
	char long_payload[4096] = { 0 };
	int fds[20];
	unsigned int fd_count = fd >= 0;
	size_t sent = size;

	for (unsigned int i = 0; i < ARRAY_SIZE(fds); i++)
		fds[i] = fd >= 0 ? fd : daemon->stop_fd;
	memcpy(long_payload, payload, size);
	switch (fault) {
	case FAULT_OTHER_REQUEST:	header.request++; break;
	case FAULT_NO_REPLY_FLAG:	header.flags = USER_VERSION; break;
	case FAULT_OTHER_VERSION:	header.flags ^= 3; break;
	case FAULT_SHORT:		sent = header.size = 4; break;
	case FAULT_LONG:		sent = header.size = (uint32_t)size + 8; break;
	case FAULT_HUGE:		header.size = UINT32_MAX; sent = sizeof(long_payload); break;
	case FAULT_CUT_OFF:		sent = size / 2; break;
	case FAULT_LEAVE:		return false;
	case FAULT_NOT_THE_RING:	((struct user_ring_state *)long_payload)->index += 5; break;
	case FAULT_BASE_TOO_LARGE:	((struct user_ring_state *)long_payload)->value = 0x12345; break;
	case FAULT_REFUSE:		memset(long_payload, 1, 8); break;
	case FAULT_NO_FD:		fd_count = 0; break;
	case FAULT_TWENTY_FDS:		fd_count = 20; break;
	default:			break;
	}
	daemon_send(daemon->fd, &header, long_payload, sent, fds, fd_count);
	return fault != FAULT_CUT_OFF;
}

static inline void daemon_set_ring(struct daemon *daemon, const struct daemon_message *message)
{
	const union user_payload *payload = &message->payload;
	struct daemon_ring *ring = &daemon->rings[payload->state.index % DAEMON_RINGS];

	switch (message->header.request) {
	case USER_SET_VRING_NUM:	ring->size = payload->state.value; break;
	case USER_SET_VRING_BASE:
		ring->base = payload->state.value;
		ring->taken = (uint16_t)ring->base;
		ring->given = (uint16_t)(ring->base >> 16);
		break;
	case USER_SET_VRING_ENABLE:	ring->enabled = payload->state.value; break;
	case USER_SET_VRING_ADDR:
		ring->desc = payload->address.desc;
		ring->avail = payload->address.avail;
		ring->used = payload->address.used;
		break;
	case USER_SET_VRING_CALL:	ring->call_fd = message->fds[0]; break;
	case USER_SET_VRING_KICK:	ring->kick_fd = message->fds[0]; break;
	default:			break;
	}
}

static inline int daemon_inflight(struct daemon *daemon, const struct daemon_message *message)
{
	struct stat status;

	if (message->header.request == USER_GET_INFLIGHT_FD) {
		daemon->inflight_fd = memfd_create("inflight", MFD_CLOEXEC);
		ck_assert_int_eq(ftruncate(daemon->inflight_fd, 4096), 0);
		return daemon->inflight_fd;
	}
	ck_assert_int_eq(fstat(message->fds[0], &status), 0);
	atomic_store(&daemon->inflight_inode, status.st_ino);
	return -1;
}

/* Which requests come with how many descriptors; the memory table's are as many as its regions. */
static inline bool daemon_fds_are_right(const struct daemon_message *message)
{
	switch (message->header.request) {
	case USER_SET_MEM_TABLE:	return message->fd_count == message->payload.memory.count;
	case USER_SET_VRING_KICK:
	case USER_SET_VRING_CALL:
	case USER_SET_BACKEND_REQ_FD:
	case USER_SET_INFLIGHT_FD:	return message->fd_count == 1;
	default:			return !message->fd_count;
	}
}

static inline bool daemon_handle(struct daemon *daemon, struct daemon_message *message)
{
	union user_payload answer = message->payload;
	size_t size = 0;
	int fd = -1;

	atomic_fetch_add(&daemon->seen[message->header.request % 64], 1);
	if (!daemon_fds_are_right(message))
		atomic_fetch_add(&daemon->wrong_fd_counts, 1);
	switch (message->header.request) {
	case USER_GET_FEATURES:			answer.number = daemon->features; size = 8; break;
	case USER_GET_PROTOCOL_FEATURES:	answer.number = daemon->protocol; size = 8; break;
	case USER_GET_QUEUE_NUM:		answer.number = DAEMON_RINGS; size = 8; break;
	case USER_SET_FEATURES:			atomic_store(&daemon->features_set, message->payload.number); break;
	case USER_SET_MEM_TABLE:		daemon_map(daemon, &message->payload.memory, message->fds); break;
	case USER_SET_BACKEND_REQ_FD:		daemon->requests_fd = message->fds[0]; break;
	case USER_GET_CONFIG:
		size = message->header.size;
		/* As an old daemon: it knows no more than so much. */
		if (answer.config.size > DAEMON_CONFIG)
			size = 0;
		else
			memcpy(answer.config.data, daemon->config + answer.config.offset, answer.config.size);
		daemon_answer(daemon, message, &answer, size, -1);
		return true;
	case USER_SET_CONFIG:
		memcpy(daemon->config + answer.config.offset, answer.config.data, answer.config.size);
		break;
	case USER_GET_VRING_BASE:
		answer.state.value = daemon->rings[answer.state.index].taken;
		if (daemon_is_packed(daemon))
			answer.state.value |= (uint32_t)daemon->rings[answer.state.index].given << 16;
		daemon->rings[answer.state.index].kick_fd = -1;
		size = 8;
		break;
	case USER_GET_INFLIGHT_FD:
		fd = daemon_inflight(daemon, message);
		answer.inflight.size = 4096;
		size = sizeof(answer.inflight);
		break;
	case USER_SET_INFLIGHT_FD:		daemon_inflight(daemon, message); break;
	default:				daemon_set_ring(daemon, message); break;
	}
	if (!size && (message->header.flags & USER_NEED_REPLY)) {
		answer.number = 0;
		size = 8;
	}
	return !size || daemon_answer(daemon, message, &answer, size, fd);
}

/* ---- life ---- */

static inline void daemon_serve(struct daemon *daemon)
{
	struct daemon_message message;

	for (;;) {
		struct pollfd entries[2 + DAEMON_RINGS] = { { daemon->stop_fd, POLLIN, 0 }, { daemon->fd, POLLIN, 0 } };

		for (unsigned int i = 0; i < DAEMON_RINGS; i++)
			entries[2 + i] = (struct pollfd){ daemon->rings[i].enabled ? daemon->rings[i].kick_fd : -1, POLLIN, 0 };
		ck_assert_int_ge(poll(entries, 2 + DAEMON_RINGS, -1), 0);
		if (entries[0].revents)
			return;
		for (unsigned int i = 0; i < DAEMON_RINGS; i++)
			if (entries[2 + i].revents)
				daemon_kicked(daemon, &daemon->rings[i]);
		if (entries[1].revents && (!daemon_receive(daemon->fd, &message) || !daemon_handle(daemon, &message)))
			return;
	}
}

static inline void *daemon_main(void *opaque)
{
	struct daemon *daemon = opaque;

	for (;;) {
		struct pollfd entries[2] = { { daemon->stop_fd, POLLIN, 0 }, { daemon->listen_fd, POLLIN, 0 } };

		ck_assert_int_ge(poll(entries, 2, -1), 0);
		if (entries[0].revents)
			return NULL;
		daemon->fd = accept(daemon->listen_fd, NULL, NULL);
		atomic_fetch_add(&daemon->connections, 1);
		for (unsigned int i = 0; i < DAEMON_RINGS; i++)
			daemon->rings[i] = (struct daemon_ring){ .kick_fd = -1, .call_fd = -1 };
		daemon_serve(daemon);
		close(daemon->fd);
		daemon->fd = -1;
	}
}

static inline void daemon_start(struct daemon *daemon)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };

	unlink(daemon->path);
	snprintf(address.sun_path, sizeof(address.sun_path), "%s", daemon->path);
	daemon->fd = daemon->requests_fd = daemon->inflight_fd = -1;
	daemon->stop_fd = eventfd(0, EFD_CLOEXEC);
	daemon->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	ck_assert_int_eq(bind(daemon->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
	ck_assert_int_eq(listen(daemon->listen_fd, 4), 0);
	ck_assert_int_eq(pthread_create(&daemon->thread, NULL, daemon_main, daemon), 0);
	daemon->runs = true;
}

/* As kill -9 would: it is gone between two instructions, and what it was at with it. */
static inline void daemon_kill(struct daemon *daemon)
{
	const uint64_t one = 1;

	if (!daemon->runs)
		return;
	ck_assert_int_eq(write(daemon->stop_fd, &one, sizeof(one)), sizeof(one));
	pthread_join(daemon->thread, NULL);
	close(daemon->listen_fd);
	close(daemon->stop_fd);
	if (daemon->requests_fd >= 0)
		close(daemon->requests_fd);
	unlink(daemon->path);
	daemon->runs = false;
}

#endif
