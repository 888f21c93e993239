/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The front end of vhost-user: a connection to a daemon that has the device, and a vhost back end over it.
 *
 * Each message is answered before the next one, where the daemon can, within ANSWER_NS: so a device has a loop of its
 * own, which no other device waits for. A daemon that leaves, is late or breaks the rules is hung up on. Its device
 * stands still then, the VM doesn't, and its socket is tried again and again, less and less often: a daemon that is
 * started anew is told all of it and goes on where the rings are, with the record of what was in flight if it keeps
 * one. It can read and write all of guest RAM; what it says over the socket is checked like a guest's words.
 */
#include "user.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#define ANSWER_NS	10000000000ULL
#define RETRY_FIRST_NS	50000000ULL
#define RETRY_LAST_NS	5000000000ULL
#define STEADY_NS	10000000000ULL	/* a connection that lasted so long was a good one */

#define PROTOCOL_KNOWN (BIT(USER_PROTOCOL_MQ) | BIT(USER_PROTOCOL_REPLY_ACK) | BIT(USER_PROTOCOL_BACKEND_REQ) | \
			BIT(USER_PROTOCOL_CONFIG) | BIT(USER_PROTOCOL_INFLIGHT) | BIT(USER_PROTOCOL_RESET_DEVICE))

/* VIRTIO_ bits that no driver is offered: they need more of us than rings, or are no features of a device. */
#define FEATURES_REFUSED (BIT(VIRTIO_F_NOTIFY_ON_EMPTY) | BIT(26) | BIT(USER_F_PROTOCOL_FEATURES) | BIT(VIRTIO_F_ACCESS_PLATFORM) | \
			  BIT(VIRTIO_F_ORDER_PLATFORM) | BIT(VIRTIO_F_SR_IOV) | BIT(VIRTIO_F_NOTIFICATION_DATA) | BIT(39) | \
			  BIT(VIRTIO_F_RING_RESET) | BIT(41))

/* ---- away ---- */

static void user_hang_up(struct vhost_user *user)
{
	event_del(&user->source);
	event_del(&user->requests);
	if (user->fd >= 0)
		close(user->fd);
	if (user->requests_fd >= 0)
		close(user->requests_fd);
	user->fd = user->requests_fd = -1;
}

static void user_retry_later(struct vhost_user *user)
{
	uint64_t now = event_now_ns();

	if (!user->returns)
		return;
	event_timer_set(&user->retry, now + user->retry_ns);
	user->retry_ns = MIN(user->retry_ns * 2, RETRY_LAST_NS);
}

static const char *user_failure(int error)
{
	switch (-error) {
	case ECONNRESET:	return "its daemon left";
	case ETIMEDOUT:		return "its daemon doesn't answer";
	case EREMOTEIO:		return "its daemon refuses";
	case EPROTO:		return "its daemon breaks the protocol's rules";
	default:		return strerrordesc_np(-error);
	}
}

/* Returns what a vhost back end returns then; @request 0: it was about none. */
int user_away(struct vhost_user *user, int error, uint32_t request)
{
	char about[32] = "";

	if (user->fd < 0)
		return -ENOTCONN;
	user_hang_up(user);
	if (!user->opened)
		return error;
	if (request)
		snprintf(about, sizeof(about), " (request %u)", request);
	log_warn("vhost-user: %s: %s%s%s", user->address.sun_path, user_failure(error), about,
		 user->returns ? "; its device waits until there is another" : "; its device stands still");
	if (event_now_ns() - user->since_ns > STEADY_NS)
		user->retry_ns = RETRY_FIRST_NS;
	user_retry_later(user);
	vhost_lost(&user->vhost);
	if (user->client->presence_changed)
		user->client->presence_changed(user->opaque);
	return -ENOTCONN;
}

/* ---- messages ---- */

int user_exchange(struct vhost_user *user, const struct user_exchange *exchange, struct user_message *answer)
{
	bool asks = !exchange->answer_size && user_can(user, USER_PROTOCOL_REPLY_ACK);
	struct user_header header = { .request = exchange->request, .size = (uint32_t)exchange->size,
				      .flags = (uint32_t)(USER_VERSION | (asks ? USER_NEED_REPLY : 0)) };
	uint64_t deadline = event_now_ns() + ANSWER_NS;
	struct user_message message = { .fd = -1 };
	int result;

	if (user->fd < 0)
		return -ENOTCONN;
	result = user_send(user->fd, &header, exchange->payload, exchange->fds, exchange->fd_count, deadline);
	if (!result && asks)
		result = user_receive_reply(user->fd, exchange->request, sizeof(message.payload.number), false, &message, deadline);
	else if (!result && exchange->answer_size)
		result = user_receive_reply(user->fd, exchange->request, exchange->answer_size, exchange->answer_fd, answer, deadline);
	if (!result && asks && message.payload.number)
		result = -EREMOTEIO;
	/* GET_CONFIG alone is answered so. */
	if (result == -EPROTO && exchange->may_refuse && (answer->header.flags & USER_REPLY) && !answer->header.size)
		return -EOPNOTSUPP;
	return result ? user_away(user, result, exchange->request) : 0;
}

int user_tell(struct vhost_user *user, uint32_t request, const void *payload, size_t size)
{
	const struct user_exchange exchange = { .request = request, .payload = payload, .size = size };

	return user_exchange(user, &exchange, NULL);
}

int user_tell_number(struct vhost_user *user, uint32_t request, uint64_t number)
{
	return user_tell(user, request, &number, sizeof(number));
}

static int user_ask_number(struct vhost_user *user, uint32_t request, uint64_t *number)
{
	const struct user_exchange exchange = { .request = request, .answer_size = sizeof(*number) };
	struct user_message answer = { .fd = -1 };
	int result = user_exchange(user, &exchange, &answer);

	*number = result ? 0 : answer.payload.number;
	return result;
}

/* ---- what the daemon asks ---- */

static void user_answer(struct vhost_user *user, const struct user_message *message, uint64_t number)
{
	const struct user_header header = { .request = message->header.request, .flags = (uint32_t)(USER_VERSION | USER_REPLY),
					    .size = sizeof(number) };

	/* One that doesn't read its answers must not hold us up. */
	if ((message->header.flags & USER_NEED_REPLY) && user_send(user->requests_fd, &header, &number, NULL, 0, event_now_ns()))
		log_debug("vhost-user: %s: it doesn't read what it asked for", user->address.sun_path);
}

static void user_requests_ready(struct event_source *source, uint32_t events)
{
	struct vhost_user *user = container_of(source, struct vhost_user, requests);
	struct user_message message;
	int result = user_receive(source->fd, &message, event_now_ns() + ANSWER_NS);
	bool known;

	(void)events;
	if (result) {
		user_away(user, result, 0);
		return;
	}
	if (message.fd >= 0)
		close(message.fd);
	known = message.header.request == USER_BACKEND_CONFIG_CHANGE && user_can(user, USER_PROTOCOL_CONFIG);
	user_answer(user, &message, known ? 0 : 1);
	if (known)
		user->client->config_changed(user->opaque);
}

/* Between exchanges a daemon has nothing to say here: it left, or breaks the rules. */
static void user_ready(struct event_source *source, uint32_t events)
{
	struct vhost_user *user = container_of(source, struct vhost_user, source);
	char byte;
	ssize_t got = recv(source->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT);

	(void)events;
	if (got < 0 && (errno == EAGAIN || errno == EINTR))
		return;
	user_away(user, got > 0 ? -EPROTO : -ECONNRESET, 0);
}

/* ---- the connection's beginning ---- */

static int user_open_requests(struct vhost_user *user)
{
	int pair[2], result;
	struct user_exchange exchange = { .request = USER_SET_BACKEND_REQ_FD, .fds = &pair[1], .fd_count = 1 };

	if (!user_can(user, USER_PROTOCOL_BACKEND_REQ))
		return 0;
	/* Its end blocks, as daemons expect; ours is asked not to at each call. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
		return user_away(user, -errno, exchange.request);
	result = user_exchange(user, &exchange, NULL);
	close(pair[1]);
	if (!result) {
		user->requests_fd = pair[0];
		result = event_add(user->loop, &user->requests, pair[0], EPOLLIN, user_requests_ready);
		return result ? user_away(user, result, exchange.request) : 0;
	}
	close(pair[0]);
	return result;
}

static int user_negotiate_protocol(struct vhost_user *user)
{
	uint64_t offered;
	int result;

	if (!(user->offered & BIT(USER_F_PROTOCOL_FEATURES)))
		return 0;
	result = user_ask_number(user, USER_GET_PROTOCOL_FEATURES, &offered);
	/* Whether this is answered by a yes or no depends on itself: it isn't asked for. */
	if (!result)
		result = user_tell_number(user, USER_SET_PROTOCOL_FEATURES, offered & PROTOCOL_KNOWN);
	if (!result)
		user->protocol = offered & PROTOCOL_KNOWN;
	return result;
}

/* All that comes before the driver has said what it wants. */
static int user_greet(struct vhost_user *user)
{
	uint64_t queues = UINT_MAX;
	int result;

	user->protocol = 0;
	user->since_ns = event_now_ns();
	result = user_ask_number(user, USER_GET_FEATURES, &user->offered);
	if (!result)
		result = user_negotiate_protocol(user);
	if (!result && user_can(user, USER_PROTOCOL_MQ))
		result = user_ask_number(user, USER_GET_QUEUE_NUM, &queues);
	if (!result)
		result = user_open_requests(user);
	if (!result)
		result = user_tell(user, USER_SET_OWNER, NULL, 0);
	if (!result)
		result = event_add(user->loop, &user->source, user->fd, EPOLLIN, user_ready);
	user->queues_max = queues < UINT_MAX ? (unsigned int)queues : UINT_MAX;
	return result;
}

/* Not to be waited for: a daemon whose backlog is full is tried later. */
static int user_connect(struct vhost_user *user)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error;

	if (fd < 0)
		return -errno;
	if (!connect(fd, (const struct sockaddr *)&user->address, sizeof(user->address))) {
		user->fd = fd;
		return 0;
	}
	error = errno;
	close(fd);
	return -error;
}

/* A daemon is there again: is it such that the driver notices nothing? */
static void user_retry(struct event_timer *timer)
{
	struct vhost_user *user = container_of(timer, struct vhost_user, retry);
	uint64_t features = user->vhost.device ? user->vhost.device->features & user->vhost.features : 0;

	if (user_connect(user)) {
		user_retry_later(user);
		return;
	}
	if (user_greet(user))
		return;
	if ((features & ~user->offered) || user->queues_max < user->vhost.count ||
	    (user->inflight_fd >= 0 && !user_can(user, USER_PROTOCOL_INFLIGHT))) {
		user_away(user, -EREMOTEIO, USER_GET_FEATURES);
		return;
	}
	log_info("vhost-user: %s: its daemon is back", user->address.sun_path);
	user->client->config_changed(user->opaque);
	if (vhost_revive(&user->vhost))
		return;
	if (user->fd >= 0 && user->client->presence_changed)
		user->client->presence_changed(user->opaque);
}

/* ---- for devices ---- */

struct vhost *vhost_user_base(struct vhost_user *user)
{
	return &user->vhost;
}

unsigned int vhost_user_queues(const struct vhost_user *user)
{
	return user->queues_max;
}

bool vhost_user_is_present(const struct vhost_user *user)
{
	return user->fd >= 0;
}

bool vhost_user_has_config(const struct vhost_user *user)
{
	return user_can(user, USER_PROTOCOL_CONFIG);
}

int vhost_user_read_config(struct vhost_user *user, void *buffer, size_t size)
{
	struct user_config config = { .size = (uint32_t)size };
	const size_t whole = offsetof(struct user_config, data) + size;
	const struct user_exchange exchange = { .request = USER_GET_CONFIG, .payload = &config, .size = whole, .answer_size = whole,
						.may_refuse = true };
	struct user_message answer;
	int result;

	if (!vhost_user_has_config(user))
		return -EOPNOTSUPP;
	if (size > sizeof(config.data))
		return -EINVAL;
	result = user_exchange(user, &exchange, &answer);
	if (result)
		return result;
	if (answer.payload.config.offset || answer.payload.config.size != size)
		return user_away(user, -EPROTO, exchange.request);
	memcpy(buffer, answer.payload.config.data, size);
	return 0;
}

int vhost_user_write_config(struct vhost_user *user, size_t offset, const void *buffer, size_t size)
{
	struct user_config config = { .offset = (uint32_t)offset, .size = (uint32_t)size };

	if (!vhost_user_has_config(user))
		return -EOPNOTSUPP;
	if (size > sizeof(config.data))
		return -EINVAL;
	memcpy(config.data, buffer, size);
	return user_tell(user, USER_SET_CONFIG, &config, offsetof(struct user_config, data) + size);
}

/* ---- opening ---- */

void user_close(struct vhost *vhost)
{
	struct vhost_user *user = user_of(vhost);

	event_timer_cancel(&user->retry);
	user_hang_up(user);
	if (user->inflight_fd >= 0)
		close(user->inflight_fd);
	free(user);
}

static int user_open_said(const struct vhost_user *user, int error)
{
	const char *path = user->address.sun_path;

	if (error == -ENOENT)
		return log_error(error, "vhost-user: there is no socket '%s' (start its daemon first)", path);
	if (error == -ECONNREFUSED)
		return log_error(error, "vhost-user: %s: nobody listens there (start its daemon first)", path);
	if (error == -EAGAIN)
		return log_error(error, "vhost-user: %s: its daemon is busy with somebody else", path);
	return log_error(error, "vhost-user: %s: %s", path, user_failure(error));
}

static int user_open_features(struct vhost_user *user)
{
	user->vhost.features = user->offered & ~FEATURES_REFUSED;
	if (!(user->offered & BIT(VIRTIO_F_VERSION_1)))
		return log_error(EOPNOTSUPP, "vhost-user: %s: its device is older than virtio 1.0", user->address.sun_path);
	return 0;
}

int vhost_user_open(struct vhost_user **out, const char *path, int fd, struct event_loop *loop,
		    const struct vhost_user_client *client, void *opaque)
{
	struct vhost_user *user = calloc(1, sizeof(*user));
	int result = 0;

	if (!user)
		return log_errno(ENOMEM, "vhost-user");
	user->vhost.ops = &user_ops;
	user->loop = loop;
	user->client = client;
	user->opaque = opaque;
	user->fd = fd;
	user->requests_fd = user->inflight_fd = -1;
	user->returns = fd < 0;
	user->retry_ns = RETRY_FIRST_NS;
	user->address.sun_family = AF_UNIX;
	event_timer_init(loop, &user->retry, user_retry);
	if (!*path || strlen(path) >= sizeof(user->address.sun_path))
		result = log_error(ENAMETOOLONG, "vhost-user: '%s' is no path of a socket (at most %zu characters)", path,
				   sizeof(user->address.sun_path) - 1);
	if (!result) {
		memcpy(user->address.sun_path, path, strlen(path));
		result = user->returns ? user_connect(user) : 0;
		if (!result)
			result = user_greet(user);
		result = result ? user_open_said(user, result) : user_open_features(user);
	}
	user->opened = true;
	*out = user;
	if (result) {
		user_close(&user->vhost);
		*out = NULL;
	}
	return result;
}
