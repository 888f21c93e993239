/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mode=user: a network that exists in this process only, on libslirp: DHCP, DNS, TCP, UDP and ping over the host's
 * sockets, without any privilege.
 *
 * libslirp asks for poll(2). An epoll of its own stands for that here: one source on the event loop, whatever the
 * number of connections. What the library sends goes into the guest's buffers at once, or waits in a short queue.
 * All but create and close on the event loop.
 */
#include "user.h"

#include <string.h>
#include <sys/epoll.h>

#define QUEUE_MAX	512		/* frames that wait for the guest's buffers; then TCP sends again */
#define EVENTS_MAX	64
#define TIMEOUT_IDLE_MS	1000		/* what libslirp says when nothing runs */

struct user_frame {
	struct user_frame *next;
	size_t length;
	uint8_t data[];
};

struct user_fd {
	uint32_t wanted, registered;	/* EPOLL bits: what the library asks for, what the epoll has */
	uint32_t ready;
	bool known;			/* to the epoll */
};

struct user_timer {
	struct event_timer timer;
	SlirpTimerCb expired;
	void *opaque;
};

struct user {
	struct net_backend backend;
	struct slirp_library library;
	Slirp *slirp;			/* NULL: not before the guest starts its device */
	SlirpConfig config;
	int epoll_fd;
	struct event_source source;
	struct event_timer timer;
	bool started, wanted, valid_checksums;
	struct log_limit guest_errors;

	struct user_fd *fds;		/* by number */
	size_t fd_count;

	/* to the guest: one that lies in the library's memory, before it the queue */
	const uint8_t *direct;
	size_t direct_length;
	struct user_frame *queue, **queue_tail;
	unsigned int queued;

	uint8_t frame[NET_FRAME_MAX];	/* from the guest */
};

/* ---- what libslirp asks for ---- */

static ssize_t user_send_packet(const void *data, size_t length, void *opaque)
{
	struct user *user = opaque;
	struct user_frame *frame;

	if (!user->started || length > NET_FRAME_MAX)
		return (ssize_t)length;
	if (!user->queue && user->wanted) {
		user->direct = data;
		user->direct_length = length;
		user->backend.client->readable(user->backend.opaque);
		if (!user->direct)
			return (ssize_t)length;
		user->direct = NULL;
	}
	frame = user->queued < QUEUE_MAX ? malloc(sizeof(*frame) + length) : NULL;
	if (!frame)
		return (ssize_t)length;
	frame->next = NULL;
	frame->length = length;
	memcpy(frame->data, data, length);
	*user->queue_tail = frame;
	user->queue_tail = &frame->next;
	user->queued++;
	return (ssize_t)length;
}

static void user_guest_error(const char *message, void *opaque)
{
	struct user *user = opaque;

	log_guest(&user->guest_errors, "network: user mode: the guest: %s", message);
}

static int64_t user_clock(void *opaque)
{
	(void)opaque;
	return (int64_t)event_now_ns();
}

static void user_timer_expired(struct event_timer *timer)
{
	struct user_timer *slirp_timer = container_of(timer, struct user_timer, timer);

	slirp_timer->expired(slirp_timer->opaque);
}

static void *user_timer_new(SlirpTimerCb expired, void *timer_opaque, void *opaque)
{
	struct user *user = opaque;
	struct user_timer *timer = calloc(1, sizeof(*timer));

	if (!timer)
		return NULL;
	event_timer_init(user->backend.loop, &timer->timer, user_timer_expired);
	timer->expired = expired;
	timer->opaque = timer_opaque;
	return timer;
}

static void user_timer_free(void *opaque_timer, void *opaque)
{
	struct user_timer *timer = opaque_timer;

	(void)opaque;
	if (!timer)
		return;
	event_timer_cancel(&timer->timer);
	free(timer);
}

static void user_timer_mod(void *opaque_timer, int64_t expire_ms, void *opaque)
{
	struct user_timer *timer = opaque_timer;

	(void)opaque;
	if (timer)
		event_timer_set(&timer->timer, (uint64_t)MAX(expire_ms, (int64_t)0) * 1000000ULL);
}

static void user_register_fd(int fd, void *opaque)
{
	(void)fd;
	(void)opaque;
}

/* It is about to be closed, and its number may come back as another's. */
static void user_unregister_fd(int fd, void *opaque)
{
	struct user *user = opaque;

	if (fd < 0 || (size_t)fd >= user->fd_count || !user->fds[fd].known)
		return;
	epoll_ctl(user->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
	user->fds[fd] = (struct user_fd){ 0 };
}

static void user_notify(void *opaque)
{
	(void)opaque;
}

static const SlirpCb user_callbacks = {
	.send_packet		= user_send_packet,
	.guest_error		= user_guest_error,
	.clock_get_ns		= user_clock,
	.timer_new		= user_timer_new,
	.timer_free		= user_timer_free,
	.timer_mod		= user_timer_mod,
	.register_poll_fd	= user_register_fd,
	.unregister_poll_fd	= user_unregister_fd,
	.notify			= user_notify,
};

/* ---- poll(2) on epoll ---- */

static const struct { int slirp; uint32_t epoll; } event_bits[] = {
	{ SLIRP_POLL_IN, EPOLLIN }, { SLIRP_POLL_OUT, EPOLLOUT }, { SLIRP_POLL_PRI, EPOLLPRI },
	{ SLIRP_POLL_ERR, EPOLLERR }, { SLIRP_POLL_HUP, EPOLLHUP },
};

static bool user_grow(struct user *user, size_t count)
{
	struct user_fd *grown;

	if (count <= user->fd_count)
		return true;
	count = MAX(count, 2 * user->fd_count);
	grown = realloc(user->fds, count * sizeof(*grown));
	if (!grown)
		return false;
	memset(grown + user->fd_count, 0, (count - user->fd_count) * sizeof(*grown));
	user->fds = grown;
	user->fd_count = count;
	return true;
}

/* The index that get_revents() is asked with is the fd. */
static int user_add_poll(int fd, int events, void *opaque)
{
	struct user *user = opaque;

	if (fd < 0 || !user_grow(user, (size_t)fd + 1))
		return -1;
	for (size_t i = 0; i < ARRAY_SIZE(event_bits); i++)
		if (events & event_bits[i].slirp)
			user->fds[fd].wanted |= event_bits[i].epoll;
	return fd;
}

static int user_get_revents(int fd, void *opaque)
{
	const struct user *user = opaque;
	int events = 0;

	if (fd < 0 || (size_t)fd >= user->fd_count)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(event_bits); i++)
		if (user->fds[fd].ready & event_bits[i].epoll)
			events |= event_bits[i].slirp;
	return events;
}

static void user_watch_fd(struct user *user, int fd)
{
	struct user_fd *watched = &user->fds[fd];
	struct epoll_event event = { .events = watched->wanted, .data.fd = fd };

	if (watched->known && !watched->wanted) {
		epoll_ctl(user->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
		watched->known = false;
	} else if (watched->wanted && (!watched->known || watched->wanted != watched->registered)) {
		/* One that the library closed without a word is unknown to the epoll, under whatever number. */
		if (epoll_ctl(user->epoll_fd, EPOLL_CTL_MOD, fd, &event) < 0 &&
		    epoll_ctl(user->epoll_fd, EPOLL_CTL_ADD, fd, &event) < 0)
			return;
		watched->known = true;
	}
	watched->registered = watched->wanted;
}

/* What the library waits for has changed: after each time it ran. */
static void user_refresh(struct user *user)
{
	uint32_t timeout_ms = UINT32_MAX;

	for (size_t fd = 0; fd < user->fd_count; fd++)
		user->fds[fd].wanted = 0;
	user->library.pollfds_fill(user->slirp, &timeout_ms, user_add_poll, user);
	for (size_t fd = 0; fd < user->fd_count; fd++)
		user_watch_fd(user, (int)fd);
	if (timeout_ms < TIMEOUT_IDLE_MS)
		event_timer_set(&user->timer, event_now_ns() + timeout_ms * 1000000ULL);
	else
		event_timer_cancel(&user->timer);
}

static void user_run(struct user *user, bool error)
{
	user->library.pollfds_poll(user->slirp, error, user_get_revents, user);
	user->backend.client->batch_done(user->backend.opaque);
	for (size_t fd = 0; fd < user->fd_count; fd++)
		user->fds[fd].ready = 0;
	user_refresh(user);
}

static void user_ready(struct event_source *source, uint32_t events)
{
	struct user *user = source->opaque;
	struct epoll_event ready[EVENTS_MAX];
	int count = epoll_wait(user->epoll_fd, ready, EVENTS_MAX, 0);

	(void)events;
	for (int i = 0; i < count; i++)
		user->fds[ready[i].data.fd].ready = ready[i].events;
	user_run(user, count < 0);
}

static void user_expired(struct event_timer *timer)
{
	user_run(container_of(timer, struct user, timer), false);
}

/* ---- the back end ---- */

static struct user *user_of(struct net_backend *backend)
{
	return container_of(backend, struct user, backend);
}

static void user_drop_queue(struct user *user)
{
	for (struct user_frame *next; user->queue; user->queue = next) {
		next = user->queue->next;
		free(user->queue);
	}
	user->queue_tail = &user->queue;
	user->queued = 0;
}

static int user_open(struct user *user)
{
	int result = slirp_library_load(&user->library);

	if (result)
		return result;
	user->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (user->epoll_fd < 0)
		return log_errno(errno, "network: user mode");
	user->slirp = user->library.create(&user->config, &user_callbacks, user);
	return user->slirp ? 0 : log_error(EINVAL, "option --network: libslirp refuses these settings");
}

static int user_start(struct net_backend *backend)
{
	struct user *user = user_of(backend);
	int result;

	/* That of a VM without -n: it has said why, and nobody asked for a network. */
	if (!user->slirp && user_open(user)) {
		atomic_store(&backend->link_up, false);
		backend->client->link_changed(backend->opaque);
		return 0;
	}
	user->source.opaque = user;
	result = event_add(backend->loop, &user->source, user->epoll_fd, EPOLLIN, user_ready);
	if (result)
		return log_errno(result, "network: user mode");
	user->started = user->wanted = true;
	user_refresh(user);
	return 0;
}

static void user_stop(struct net_backend *backend)
{
	struct user *user = user_of(backend);

	if (user->source.loop)
		event_del(&user->source);
	event_timer_cancel(&user->timer);
	user_drop_queue(user);
	user->started = false;
}

/* libslirp reads more than once, and checks checksums: the frame is copied, and its checksum made. */
static void user_send(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	struct user *user = user_of(backend);
	const struct virtio_net_hdr_v1 *header = iov[0].iov_base;
	size_t length;

	if (!user->started)
		return;
	length = net_iov_read(iov + 1, count - 1, 0, user->frame, sizeof(user->frame));

	if (header->flags & VIRTIO_NET_HDR_F_NEEDS_CSUM)
		net_checksum_fill(user->frame, length, le16toh(header->csum_start), le16toh(header->csum_offset));
	user->library.input(user->slirp, user->frame, (int)length);
}

static void user_send_done(struct net_backend *backend)
{
	struct user *user = user_of(backend);

	if (user->started)
		user_refresh(user);
}

static size_t user_receive(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	struct user *user = user_of(backend);
	struct user_frame *frame = user->queue;
	struct virtio_net_hdr_v1 header = { .flags = user->valid_checksums ? VIRTIO_NET_HDR_F_DATA_VALID : 0 };
	const uint8_t *data = frame ? frame->data : user->direct;
	size_t length = frame ? frame->length : user->direct_length;

	if (!data)
		return 0;
	length = net_iov_write(iov, count, 0, &header, sizeof(header)) +
		 net_iov_write(iov, count, sizeof(header), data, length);
	if (!frame) {
		user->direct = NULL;
		return length;
	}
	user->queue = frame->next;
	if (!user->queue)
		user->queue_tail = &user->queue;
	user->queued--;
	free(frame);
	return length;
}

/* While the guest takes nothing, the host's sockets aren't read either. */
static void user_want(struct net_backend *backend, bool wanted)
{
	struct user *user = user_of(backend);

	user->wanted = wanted;
	if (user->source.loop && event_modify(&user->source, wanted ? EPOLLIN : 0))
		log_debug("network: user mode: epoll");
}

static void user_offloads(struct net_backend *backend, uint64_t features)
{
	user_of(backend)->valid_checksums = features & BIT(VIRTIO_NET_F_GUEST_CSUM);
}

/* On the loop, as its timers are there. */
static void user_end(void *opaque)
{
	struct user *user = opaque;

	if (user->slirp)
		user->library.cleanup(user->slirp);
}

static void user_close(struct net_backend *backend)
{
	struct user *user = user_of(backend);

	event_loop_call(backend->loop, user_end, user);
	if (user->epoll_fd >= 0)
		close(user->epoll_fd);
	free(user->fds);
	free(user);
}

static const struct net_backend_ops user_ops = {
	.start		= user_start,
	.stop		= user_stop,
	.send		= user_send,
	.send_done	= user_send_done,
	.receive	= user_receive,
	.want		= user_want,
	.offloads	= user_offloads,
	.close		= user_close,
};

static int user_forward_port(struct user *user, const struct user_forward *forward)
{
	char address[INET_ADDRSTRLEN] = "";

	if (!user->library.add_hostfwd(user->slirp, forward->udp, forward->host, forward->host_port, forward->guest,
				       forward->guest_port))
		return 0;
	inet_ntop(AF_INET, &forward->host, address, sizeof(address));
	return log_errno(errno ? errno : EADDRINUSE, "option --network: hostfwd=%s: can't listen on %s port %u", forward->text,
			 address, forward->host_port);
}

/* Opened at once, so that what is wrong is said before the VM starts; but a VM that may have no use for it shan't pay. */
static int user_prepare(struct user *user, const struct net_setup *setup, const struct user_options *options)
{
	int result;

	user->config = options->config;
	if (setup->implied)
		return 0;
	result = user_open(user);
	for (unsigned int i = 0; i < options->forward_count && !result; i++)
		result = user_forward_port(user, &options->forwards[i]);
	return result;
}

static const struct net_backend_type user_type;

static int user_create(struct net_setup *setup, struct network *network)
{
	struct user_options options;
	struct user *user;
	int result = user_options_parse(setup, &options);

	if (!result)
		result = net_setup_done(setup, &user_type);
	if (result)
		return result;
	if (setup->host_mac_given)
		log_warn("option --network: host_mac= does nothing for mode=user, whose host has an address of its own");
	user = calloc(1, sizeof(*user));
	if (!user)
		return log_errno(ENOMEM, "network: user mode");
	user->backend.ops = &user_ops;
	user->backend.loop = setup->loop;
	/* A TCP segment of up to 64 KiB is one like any other to libslirp. */
	user->backend.features = BIT(VIRTIO_NET_F_CSUM) | BIT(VIRTIO_NET_F_HOST_TSO4) | BIT(VIRTIO_NET_F_HOST_TSO6) |
				 BIT(VIRTIO_NET_F_GUEST_CSUM);
	user->backend.link_up = true;
	user->epoll_fd = -1;
	user->queue_tail = &user->queue;
	event_timer_init(setup->loop, &user->timer, user_expired);
	result = user_prepare(user, setup, &options);
	if (result)
		user_close(&user->backend);
	else
		network->backends[network->backend_count++] = &user->backend;
	return result;
}

static const struct net_backend_type user_type = {
	.name = "user", .keys = "hostfwd=, restrict=, ipv6=, hostname=", .create = user_create,
};
NET_BACKEND(user_type);
