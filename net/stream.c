/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * mode=stream: a network of two, over a stream socket: a Unix socket that one side listens on, or a descriptor that
 * somebody else connected. Each frame stands behind its length, 4 bytes, most significant first, as QEMU's and
 * passt's stream sockets have it.
 *
 * A peer that doesn't read loses frames: OUT_SIZE bytes wait at most, nobody does. One that leaves takes the link
 * down; who listened listens again, who connected tries again each second. All but create and close on the event loop.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "stream.h"

#define LENGTH_SIZE	4
#define RECORD_MAX	(LENGTH_SIZE + NET_FRAME_MAX)
#define IN_SIZE		(2 * (size_t)RECORD_MAX)
#define OUT_SIZE	(4 * (size_t)RECORD_MAX)
#define RETRY_NS	1000000000ULL
/* Reads of what came while nobody listened: far more than a socket holds */
#define STALE_MAX	64

struct stream {
	struct net_backend backend;
	struct sockaddr_un address;	/* of unix= */
	int listen_fd, fd;		/* -1: none */
	bool connects;			/* and tries again */
	bool started, wanted;
	struct event_source listener, source;
	struct event_timer retry;
	size_t in_start, in_end;	/* what lies in @in */
	size_t out_start, out_end;
	uint8_t in[IN_SIZE], out[OUT_SIZE];
};

static struct stream *stream_of(struct net_backend *backend)
{
	return container_of(backend, struct stream, backend);
}

/* ---- the connection ---- */

static void stream_link(struct stream *stream, bool up)
{
	atomic_store(&stream->backend.link_up, up);
	if (stream->started)
		stream->backend.client->link_changed(stream->backend.opaque);
}

static void stream_watch(struct stream *stream)
{
	uint32_t events = (stream->wanted ? EPOLLIN : 0) | (stream->out_end ? EPOLLOUT : 0);

	if (stream->source.loop && stream->source.events != events && event_modify(&stream->source, events))
		log_debug("network: stream: epoll");
}

static void stream_ready(struct event_source *source, uint32_t events);

static void stream_connected(struct stream *stream, int fd)
{
	stream->fd = fd;
	stream->in_start = stream->in_end = stream->out_start = stream->out_end = 0;
	if (stream->started && event_add(stream->backend.loop, &stream->source, fd, stream->wanted ? EPOLLIN : 0, stream_ready))
		log_warn("network: stream: it can't be watched");
	stream_link(stream, true);
}

static void stream_disconnect(struct stream *stream)
{
	if (stream->fd < 0)
		return;
	event_del(&stream->source);
	close(stream->fd);
	stream->fd = -1;
	stream->in_start = stream->in_end = stream->out_start = stream->out_end = 0;
	stream_link(stream, false);
	if (stream->listen_fd >= 0 && event_modify(&stream->listener, EPOLLIN))
		log_warn("network: stream: it can't be listened to");
	if (stream->connects)
		event_timer_set(&stream->retry, event_now_ns() + RETRY_NS);
}

static void stream_accept(struct event_source *source, uint32_t events)
{
	struct stream *stream = source->opaque;
	int fd = accept4(stream->listen_fd, NULL, NULL, SOCK_CLOEXEC);

	(void)events;
	if (fd < 0)
		return;
	/* One peer; the next one waits until this one leaves. */
	if (event_modify(&stream->listener, 0))
		log_debug("network: stream: epoll");
	stream_connected(stream, fd);
}

/* Not to be waited for: a listener whose backlog is full refuses us. */
static int stream_connect(const struct stream *stream)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), error;

	if (fd < 0)
		return -errno;
	if (!connect(fd, (const struct sockaddr *)&stream->address, sizeof(stream->address)))
		return fd;
	error = errno;
	close(fd);
	return -error;
}

static void stream_retry(struct event_timer *timer)
{
	struct stream *stream = container_of(timer, struct stream, retry);
	int fd = stream_connect(stream);

	if (fd >= 0)
		stream_connected(stream, fd);
	else
		event_timer_set(&stream->retry, event_now_ns() + RETRY_NS);
}

/* ---- from the guest ---- */

static void out_append(struct stream *stream, const struct iovec *iov, unsigned int count, size_t skip, size_t length)
{
	if (stream->out_start && OUT_SIZE - stream->out_end < length) {
		memmove(stream->out, stream->out + stream->out_start, stream->out_end - stream->out_start);
		stream->out_end -= stream->out_start;
		stream->out_start = 0;
	}
	/* Never a part of a frame: the first one of an empty buffer always fits. */
	if (OUT_SIZE - stream->out_end < length)
		return;
	stream->out_end += net_iov_read(iov, count, skip, stream->out + stream->out_end, length);
	stream_watch(stream);
}

static void out_flush(struct stream *stream)
{
	ssize_t sent = send(stream->fd, stream->out + stream->out_start, stream->out_end - stream->out_start,
			    MSG_DONTWAIT | MSG_NOSIGNAL);

	if (sent < 0)
		return;
	stream->out_start += (size_t)sent;
	if (stream->out_start == stream->out_end)
		stream->out_start = stream->out_end = 0;
}

static void stream_send(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	struct stream *stream = stream_of(backend);
	size_t length = net_iov_length(iov + 1, count - 1);
	uint32_t prefix = htobe32((uint32_t)length);
	struct iovec record[NET_SEGMENTS_MAX];
	struct msghdr message = { .msg_iov = record, .msg_iovlen = count };
	ssize_t sent = 0;

	if (stream->fd < 0)
		return;
	/* No offload was offered, so that the header says nothing. */
	record[0] = (struct iovec){ &prefix, sizeof(prefix) };
	memcpy(record + 1, iov + 1, (count - 1) * sizeof(*iov));
	length += sizeof(prefix);
	if (!stream->out_end)
		sent = sendmsg(stream->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN)
		return;
	sent = MAX(sent, (ssize_t)0);
	if ((size_t)sent < length)
		out_append(stream, record, count, (size_t)sent, length - (size_t)sent);
}

/* ---- for the guest ---- */

/* The frame that lies complete at in_start: its length, or 0; -EPROTO: what lies there is none. */
static ssize_t in_frame(const struct stream *stream)
{
	size_t have = stream->in_end - stream->in_start;
	uint32_t length;

	if (have < LENGTH_SIZE)
		return 0;
	memcpy(&length, stream->in + stream->in_start, sizeof(length));
	length = be32toh(length);
	if (!length || length > NET_FRAME_MAX)
		return -EPROTO;
	return have - LENGTH_SIZE >= length ? (ssize_t)length : 0;
}

/* Returns whether something came. */
static bool in_fill(struct stream *stream)
{
	ssize_t got;

	if (stream->in_start) {
		memmove(stream->in, stream->in + stream->in_start, stream->in_end - stream->in_start);
		stream->in_end -= stream->in_start;
		stream->in_start = 0;
	}
	got = recv(stream->fd, stream->in + stream->in_end, IN_SIZE - stream->in_end, MSG_DONTWAIT);
	if (got > 0)
		stream->in_end += (size_t)got;
	else if (!got || (errno != EAGAIN && errno != EINTR))
		stream_disconnect(stream);
	return got > 0;
}

static size_t stream_receive(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	static const struct virtio_net_hdr_v1 header;
	struct stream *stream = stream_of(backend);
	const uint8_t *frame;
	ssize_t length;

	if (stream->fd < 0)
		return 0;
	length = in_frame(stream);
	if (!length && in_fill(stream))
		length = in_frame(stream);
	if (length < 0) {
		log_warn("network: stream: the peer sends no frames; it is disconnected");
		stream_disconnect(stream);
	}
	if (length <= 0)
		return 0;
	frame = stream->in + stream->in_start + LENGTH_SIZE;
	stream->in_start += LENGTH_SIZE + (size_t)length;
	return net_iov_write(iov, count, 0, &header, sizeof(header)) +
	       net_iov_write(iov, count, sizeof(header), frame, (size_t)length);
}

static void stream_ready(struct event_source *source, uint32_t events)
{
	struct stream *stream = source->opaque;

	/* A peer that left, and nobody who would read what it left: epoll would say so for ever. */
	if ((events & (EPOLLHUP | EPOLLERR)) && !stream->wanted) {
		stream_disconnect(stream);
		return;
	}
	if ((events & EPOLLOUT) && stream->out_end)
		out_flush(stream);
	if (events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
		stream->backend.client->readable(stream->backend.opaque);
		stream->backend.client->batch_done(stream->backend.opaque);
	}
	if (stream->fd >= 0)
		stream_watch(stream);
}

/* ---- the back end ---- */

/* Whole frames that came while nobody listened are dropped, and what there is of the next one is kept. */
static void stream_drop_stale(struct stream *stream)
{
	for (unsigned int i = 0; i < STALE_MAX && stream->fd >= 0 && in_fill(stream); i++)
		for (ssize_t length; (length = in_frame(stream)) > 0; )
			stream->in_start += LENGTH_SIZE + (size_t)length;
}

static int stream_start(struct net_backend *backend)
{
	struct stream *stream = stream_of(backend);
	int result = 0;

	stream->wanted = true;
	stream_drop_stale(stream);
	stream->started = true;
	if (stream->fd >= 0)
		result = event_add(backend->loop, &stream->source, stream->fd, EPOLLIN, stream_ready);
	return result ? log_errno(result, "network: stream") : 0;
}

static void stream_stop(struct net_backend *backend)
{
	struct stream *stream = stream_of(backend);

	event_del(&stream->source);
	stream->started = false;
}

static void stream_want(struct net_backend *backend, bool wanted)
{
	struct stream *stream = stream_of(backend);

	stream->wanted = wanted;
	stream_watch(stream);
}

static void stream_offloads(struct net_backend *backend, uint64_t features)
{
	(void)backend;
	(void)features;
}

/* On the loop, where a peer may come or go. */
static void stream_end(void *opaque)
{
	struct stream *stream = opaque;

	stream->connects = false;
	event_timer_cancel(&stream->retry);
	event_del(&stream->listener);
	if (stream->fd >= 0)
		close(stream->fd);
	if (stream->listen_fd >= 0) {
		close(stream->listen_fd);
		unlink(stream->address.sun_path);
	}
}

static void stream_close(struct net_backend *backend)
{
	event_loop_call(backend->loop, stream_end, stream_of(backend));
	free(stream_of(backend));
}

static const struct net_backend_ops stream_ops = {
	.start		= stream_start,
	.stop		= stream_stop,
	.send		= stream_send,
	.receive	= stream_receive,
	.want		= stream_want,
	.offloads	= stream_offloads,
	.close		= stream_close,
};

/* ---- making it ---- */

static int open_fd(struct stream *stream, const char *text)
{
	int type = 0;
	socklen_t length = sizeof(type);
	uint64_t fd;

	if (parse_uint(text, &fd) || fd > INT32_MAX)
		return log_error(EUSAGE, "option --network: fd=%s is no descriptor", text);
	if (getsockopt((int)fd, SOL_SOCKET, SO_TYPE, &type, &length) < 0)
		return log_errno(errno, "option --network: fd=%s", text);
	if (type != SOCK_STREAM)
		return log_error(EINVAL, "option --network: fd=%s is no stream socket", text);
	if (fcntl((int)fd, F_SETFD, FD_CLOEXEC) < 0)
		return log_errno(errno, "option --network: fd=%s", text);
	stream->fd = (int)fd;
	return 0;
}

/* A socket that nobody listens on any more is as good as none. */
static int remove_dead(const struct stream *stream)
{
	const char *path = stream->address.sun_path;
	struct stat status;
	int fd;

	if (lstat(path, &status) < 0)
		return 0;
	fd = S_ISSOCK(status.st_mode) ? stream_connect(stream) : -EEXIST;
	if (fd == -ECONNREFUSED)
		return unlink(path) < 0 ? log_errno(errno, "option --network: unix=%s", path) : 0;
	if (fd >= 0)
		close(fd);
	return log_error(EADDRINUSE, "option --network: unix=%s: %s", path,
			 S_ISSOCK(status.st_mode) ? "somebody listens there (leave out server=on to connect)" :
			 "there is a file, which is no socket");
}

static int open_server(struct stream *stream)
{
	const char *path = stream->address.sun_path;
	_cleanup_close_ int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	int result = remove_dead(stream);

	if (result)
		return result;
	/* Nobody can connect before listen(), so that the mode comes in time. */
	if (fd < 0 || bind(fd, (struct sockaddr *)&stream->address, sizeof(stream->address)) < 0)
		return log_errno(errno, "option --network: unix=%s: can't make the socket", path);
	if (chmod(path, 0600) < 0 || listen(fd, 1) < 0) {
		result = log_errno(errno, "option --network: unix=%s: can't listen", path);
		unlink(path);
		return result;
	}
	stream->listen_fd = take_fd(&fd);
	return event_add(stream->backend.loop, &stream->listener, stream->listen_fd, EPOLLIN, stream_accept);
}

static int open_client(struct stream *stream)
{
	int fd = stream_connect(stream);

	if (fd == -ENOENT || fd == -ECONNREFUSED)
		return log_error(fd, "option --network: unix=%s: nobody listens there (one side says server=on, and starts first)",
				 stream->address.sun_path);
	if (fd < 0)
		return log_errno(fd, "option --network: unix=%s: can't connect", stream->address.sun_path);
	stream->fd = fd;
	stream->connects = true;
	return 0;
}

struct stream_options {
	const char *fd, *path;		/* one of them */
	bool server;
};

static const struct net_backend_type stream_type;

static int options_parse(struct net_setup *setup, struct stream_options *options)
{
	int result;

	*options = (struct stream_options){ .fd = keyval_get(&setup->keyval, "fd"), .path = keyval_get(&setup->keyval, "unix") };
	result = keyval_bool(&setup->keyval, "network", "server", &options->server);
	if (!result)
		result = net_setup_done(setup, &stream_type);
	if (result)
		return result;
	if (!options->fd == !options->path)
		return log_error(EUSAGE, "option --network: mode=stream wants either unix=PATH or fd=N");
	if (options->fd && options->server)
		return log_error(EUSAGE, "option --network: server=on goes with unix=");
	if (options->path && (!*options->path || strlen(options->path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path)))
		return log_error(EUSAGE, "option --network: unix=%s is no path of 1 to %zu characters", options->path,
				 sizeof(((struct sockaddr_un *)NULL)->sun_path) - 1);
	return 0;
}

static int stream_open(struct stream *stream, const struct stream_options *options)
{
	if (options->fd)
		return open_fd(stream, options->fd);
	stream->address.sun_family = AF_UNIX;
	memcpy(stream->address.sun_path, options->path, strlen(options->path));
	return options->server ? open_server(stream) : open_client(stream);
}

static struct stream *stream_new(const struct net_setup *setup)
{
	struct stream *stream = calloc(1, sizeof(*stream));

	if (!stream)
		return NULL;
	stream->backend.ops = &stream_ops;
	stream->backend.loop = setup->loop;
	stream->fd = stream->listen_fd = -1;
	stream->source.opaque = stream->listener.opaque = stream;
	event_timer_init(setup->loop, &stream->retry, stream_retry);
	return stream;
}

int net_stream_take(const struct net_setup *setup, struct network *network, int fd)
{
	struct stream *stream = stream_new(setup);

	if (!stream) {
		close(fd);
		return log_errno(ENOMEM, "network: stream");
	}
	stream->fd = fd;
	atomic_init(&stream->backend.link_up, true);
	network->backends[network->backend_count++] = &stream->backend;
	return 0;
}

static int stream_create(struct net_setup *setup, struct network *network)
{
	struct stream_options options;
	struct stream *stream;
	int result = options_parse(setup, &options);

	if (result)
		return result;
	stream = stream_new(setup);
	if (!stream)
		return log_errno(ENOMEM, "network: stream");
	result = stream_open(stream, &options);
	if (result) {
		stream_close(&stream->backend);
		return result;
	}
	atomic_init(&stream->backend.link_up, stream->fd >= 0);
	network->backends[network->backend_count++] = &stream->backend;
	return 0;
}

static const struct net_backend_type stream_type = {
	.name = "stream", .keys = "unix=, server=, fd=", .create = stream_create,
};
NET_BACKEND(stream_type);
