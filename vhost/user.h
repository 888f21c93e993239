/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vhost-user: a device of another process, over a Unix socket. Four files: messages (user-message.c), the
 * connection (user.c), rings over it (user-rings.c), and the devices that are nothing else (user-device.c).
 */
#ifndef VHOST_USER_H
#define VHOST_USER_H

#include <sys/un.h>

#include "kvm/vhost.h"

/* ---- the wire: as in the vhost-user protocol, in the host's byte order ---- */

enum vhost_user_request {
	USER_GET_FEATURES = 1, USER_SET_FEATURES = 2, USER_SET_OWNER = 3, USER_SET_MEM_TABLE = 5, USER_SET_VRING_NUM = 8,
	USER_SET_VRING_ADDR = 9, USER_SET_VRING_BASE = 10, USER_GET_VRING_BASE = 11, USER_SET_VRING_KICK = 12,
	USER_SET_VRING_CALL = 13, USER_GET_PROTOCOL_FEATURES = 15, USER_SET_PROTOCOL_FEATURES = 16, USER_GET_QUEUE_NUM = 17,
	USER_SET_VRING_ENABLE = 18, USER_SET_BACKEND_REQ_FD = 21, USER_GET_CONFIG = 24,
	USER_SET_CONFIG = 25, USER_GET_INFLIGHT_FD = 31, USER_SET_INFLIGHT_FD = 32, USER_RESET_DEVICE = 34,
};

enum vhost_user_backend_request { USER_BACKEND_CONFIG_CHANGE = 2 };

#define USER_F_PROTOCOL_FEATURES	30
enum {
	USER_PROTOCOL_MQ = 0, USER_PROTOCOL_REPLY_ACK = 3, USER_PROTOCOL_BACKEND_REQ = 5,
	USER_PROTOCOL_CONFIG = 9, USER_PROTOCOL_INFLIGHT = 12, USER_PROTOCOL_RESET_DEVICE = 13,
};

#define USER_VERSION		1U
#define USER_VERSION_MASK	3U
#define USER_REPLY		BIT(2)
#define USER_NEED_REPLY		BIT(3)
#define USER_NO_FD		BIT(8)	/* in the payload of SET_VRING_KICK and the like */

struct user_header {
	uint32_t request, flags, size;
};
_Static_assert(sizeof(struct user_header) == 12, "vhost-user: header");

struct user_memory {
	uint32_t count, padding;
	struct { uint64_t guest, size, user, offset; } regions[VHOST_REGIONS_MAX];
};
_Static_assert(sizeof(struct user_memory) == 8 + 32 * VHOST_REGIONS_MAX, "vhost-user: memory regions");

struct user_ring_state {
	uint32_t index, value;
};

struct user_ring_address {
	uint32_t index, flags;
	uint64_t desc, used, avail, log;
};
_Static_assert(sizeof(struct user_ring_address) == 40, "vhost-user: vring address");

struct user_config {
	uint32_t offset, size, flags;
	uint8_t data[VIRTIO_CONFIG_MAX];
};

struct user_inflight {
	uint64_t size, offset;
	uint16_t queues, queue_size;
	uint32_t padding;		/* as the C structure has it that all implementations copy */
};
_Static_assert(sizeof(struct user_inflight) == 24, "vhost-user: inflight");

union user_payload {
	uint64_t number;
	struct user_memory memory;
	struct user_ring_state state;
	struct user_ring_address address;
	struct user_config config;
	struct user_inflight inflight;
};

/** struct user_message - @fd: came with it, or -1; owned by who received it */
struct user_message {
	struct user_header header;
	union user_payload payload;
	int fd;
};

/**
 * user_send() - one message whole, with @fd_count descriptors, by @deadline_ns (event_now_ns() based)
 * user_receive() - one message whole. What is longer than any payload, of another version, or cut off is -EPROTO;
 * -ETIMEDOUT; -ECONNRESET: the peer is gone. Descriptors past the first are closed.
 * user_receive_reply() - the reply to @request, of exactly @size bytes; it has a descriptor only if @with_fd
 */
int __must_check user_send(int socket, const struct user_header *header, const void *payload, const int *fds, unsigned int fd_count,
			   uint64_t deadline_ns);
int __must_check user_receive(int socket, struct user_message *message, uint64_t deadline_ns);
int __must_check user_receive_reply(int socket, uint32_t request, size_t size, bool with_fd, struct user_message *message,
				    uint64_t deadline_ns);

/* ---- the front end ---- */

struct vhost_user;

/** struct vhost_user_client - the device; called on the loop */
struct vhost_user_client {
	/** @config_changed: it says so, or it is another process now: vhost_user_read_config() may give something else */
	void (*config_changed)(void *opaque);
	/** @presence_changed: vhost_user_is_present() did; NULL: nobody cares */
	void (*presence_changed)(void *opaque);
};

/**
 * vhost_user_open() - connects to @path, and finds out what is there
 * @fd: connected already, and taken, -1: none; such a peer doesn't come back
 *
 * Says its errors. Main thread, before @loop runs.
 */
int __must_check vhost_user_open(struct vhost_user **user, const char *path, int fd, struct event_loop *loop,
				 const struct vhost_user_client *client, void *opaque);
struct vhost *vhost_user_base(struct vhost_user *user);

/** vhost_user_queues() - how many queues it has at most; UINT_MAX: it doesn't say */
unsigned int vhost_user_queues(const struct vhost_user *user);
bool vhost_user_is_present(const struct vhost_user *user);
/** vhost_user_has_config() - it can be asked for its device's config space */
bool vhost_user_has_config(const struct vhost_user *user);
/** vhost_user_read_config(), vhost_user_write_config() - @size bytes at @offset; loop, or before that runs */
int __must_check vhost_user_read_config(struct vhost_user *user, void *buffer, size_t size);
int __must_check vhost_user_write_config(struct vhost_user *user, size_t offset, const void *buffer, size_t size);

/* ---- between the front end's files ---- */

struct vhost_user {
	struct vhost vhost;
	struct event_loop *loop;
	struct sockaddr_un address;
	bool returns;			/* by @address; else it was a descriptor */
	bool opened;			/* all is set up, and the device may be told of changes */
	const struct vhost_user_client *client;
	void *opaque;

	int fd, requests_fd;		/* -1: away; -1: it makes no requests */
	struct event_source source, requests;
	struct event_timer retry;
	uint64_t retry_ns, since_ns;

	uint64_t offered, protocol;	/* its features, with those of the protocol; what of the protocol is used */
	unsigned int queues_max;
	int inflight_fd;		/* -1: none yet */
	struct user_inflight inflight;
};

static inline struct vhost_user *user_of(struct vhost *vhost)
{
	return container_of(vhost, struct vhost_user, vhost);
}

static inline bool user_can(const struct vhost_user *user, unsigned int protocol_bit)
{
	return user->protocol & BIT(protocol_bit);
}

/** struct user_exchange - a message and what comes back */
struct user_exchange {
	uint32_t request;
	const void *payload;
	size_t size;
	const int *fds;
	unsigned int fd_count;
	size_t answer_size;		/* 0: there is none but a yes or no */
	bool answer_fd;			/* it comes with a descriptor */
	bool may_refuse;		/* by an answer of no size: -EOPNOTSUPP then, and the connection stays */
};

/**
 * user_exchange() - sends, and waits for the answer if there is one; @answer may be NULL if @answer_size is 0
 * What fails is said, and the daemon is hung up on: -ENOTCONN, as ever after while it is away.
 */
int __must_check user_exchange(struct vhost_user *user, const struct user_exchange *exchange, struct user_message *answer);
int __must_check user_tell(struct vhost_user *user, uint32_t request, const void *payload, size_t size);
int __must_check user_tell_number(struct vhost_user *user, uint32_t request, uint64_t number);
/** user_away() - hangs up for @error over @request (0: none); returns what the caller shall */
int user_away(struct vhost_user *user, int error, uint32_t request);
void user_close(struct vhost *vhost);

/* user-rings.c */
extern const struct vhost_ops user_ops;

#endif
