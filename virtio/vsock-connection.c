/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * virtio-vsock's connections: a Unix socket on one side, packets with credit on the other (VirtIO 1.3, 5.10.6).
 *
 * From the guest at most VSOCK_BUFFER is held for a socket that doesn't take it: more than it was told of ends the
 * connection. To the guest nothing is held at all: the socket is read when there is credit and a buffer.
 */
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "vsock.h"

#define SHUTDOWN_BOTH (VIRTIO_VSOCK_SHUTDOWN_RCV | VIRTIO_VSOCK_SHUTDOWN_SEND)

/* ---- life ---- */

static void close_socket(struct vsock_connection *connection)
{
	event_del(&connection->source);
	if (connection->source.fd >= 0)
		close(connection->source.fd);
	connection->source.fd = -1;
}

struct vsock_connection *vsock_connection_new(struct vsock *vsock, int fd, enum vsock_state state)
{
	struct vsock_connection *connection = NULL;

	if (vsock->count < VSOCK_CONNECTIONS_MAX)
		connection = calloc(1, sizeof(*connection));
	if (!connection) {
		close(fd);
		return NULL;
	}
	connection->vsock = vsock;
	connection->source.fd = fd;
	connection->state = state;
	vsock->connections[vsock->count++] = connection;
	return connection;
}

void vsock_connection_free(struct vsock_connection *connection)
{
	struct vsock *vsock = connection->vsock;
	unsigned int i = 0;

	close_socket(connection);
	while (vsock->connections[i] != connection)
		i++;
	vsock->connections[i] = vsock->connections[--vsock->count];
	free(connection->buffer);
	free(connection);
}

struct vsock_connection *vsock_connection_find(struct vsock *vsock, uint32_t guest_port, uint32_t host_port)
{
	for (unsigned int i = 0; i < vsock->count; i++) {
		struct vsock_connection *connection = vsock->connections[i];

		if (connection->guest_port == guest_port && connection->host_port == host_port &&
		    connection->state != VSOCK_GREETING)
			return connection;
	}
	return NULL;
}

void vsock_connection_reset(struct vsock_connection *connection)
{
	close_socket(connection);
	connection->state = VSOCK_DEAD;
	connection->pending = VSOCK_SEND_RESET;
	connection->readable = false;
	connection->buffered = 0;
}

void vsock_reset_unknown(struct vsock *vsock, uint32_t guest_port, uint32_t host_port)
{
	/* The transmit queue is not looked at while this is full. */
	if (vsock->reset_count == VSOCK_RESETS_MAX)
		return;
	vsock->resets[vsock->reset_count].guest_port = guest_port;
	vsock->resets[vsock->reset_count++].host_port = host_port;
}

void vsock_connect_host(struct vsock *vsock, const struct vsock_packet *packet)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct vsock_connection *connection = NULL;
	int fd = -1;

	if (vsock->count < VSOCK_CONNECTIONS_MAX)
		fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	/* That it fits was checked when the path was given. */
	snprintf(address.sun_path, sizeof(address.sun_path), "%s_%u", vsock->path, packet->destination_port);
	if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0) {
		connection = vsock_connection_new(vsock, fd, VSOCK_CONNECTED);
		fd = -1;
	}
	if (fd >= 0)
		close(fd);
	if (!connection) {
		vsock_reset_unknown(vsock, packet->source_port, packet->destination_port);
		return;
	}
	connection->guest_port = packet->source_port;
	connection->host_port = packet->destination_port;
	connection->peer_size = packet->buffer_size;
	connection->peer_forwarded = packet->forwarded;
	connection->pending = VSOCK_SEND_RESPONSE;
	vsock_connection_watch(connection);
}

/* ---- credit ---- */

/* How much the guest has room for; a guest that tells nonsense has none. */
static uint32_t credit(const struct vsock_connection *connection)
{
	uint32_t under_way = connection->sent - connection->peer_forwarded;

	return under_way < connection->peer_size ? connection->peer_size - under_way : 0;
}

static void forward(struct vsock_connection *connection, uint32_t length)
{
	connection->forwarded += length;
	if (connection->forwarded - connection->forwarded_told >= VSOCK_BUFFER / 4)
		connection->pending |= VSOCK_SEND_CREDIT;
}

/* ---- guest to host ---- */

static void ended_by_guest(struct vsock_connection *connection)
{
	if (connection->buffered || connection->source.fd < 0)
		return;
	if (connection->guest_shutdown == SHUTDOWN_BOTH)
		vsock_connection_reset(connection);
	else if (connection->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND)
		shutdown(connection->source.fd, SHUT_WR);
}

static bool flush(struct vsock_connection *connection)
{
	while (connection->buffered) {
		uint32_t part = MIN(connection->buffered, (uint32_t)VSOCK_BUFFER - connection->buffer_head);
		ssize_t sent = send(connection->source.fd, connection->buffer + connection->buffer_head, part,
				    MSG_NOSIGNAL | MSG_DONTWAIT);

		if (sent < 0)
			return errno == EAGAIN || errno == EINTR;
		connection->buffer_head = (connection->buffer_head + (uint32_t)sent) % (uint32_t)VSOCK_BUFFER;
		connection->buffered -= (uint32_t)sent;
		forward(connection, (uint32_t)sent);
	}
	ended_by_guest(connection);
	return true;
}

/* False if there is no room: the guest has sent more than it was told of. */
static bool keep(struct vsock_connection *connection, const uint8_t *data, uint32_t length)
{
	uint32_t at = (connection->buffer_head + connection->buffered) % (uint32_t)VSOCK_BUFFER, first;

	if (length > VSOCK_BUFFER - connection->buffered)
		return false;
	if (!connection->buffer)
		connection->buffer = malloc(VSOCK_BUFFER);
	if (!connection->buffer)
		return false;
	first = MIN(length, (uint32_t)VSOCK_BUFFER - at);
	memcpy(connection->buffer + at, data, first);
	memcpy(connection->buffer, data + first, length - first);
	connection->buffered += length;
	return true;
}

/* False if the connection can't go on. */
static bool take_data(struct vsock_connection *connection, uint32_t length)
{
	const uint8_t *data = connection->vsock->bounce;
	ssize_t sent = 0;

	if (connection->state != VSOCK_CONNECTED || (connection->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_SEND))
		return false;
	if (!connection->buffered && length) {
		sent = send(connection->source.fd, data, length, MSG_NOSIGNAL | MSG_DONTWAIT);
		if (sent < 0 && errno != EAGAIN && errno != EINTR)
			return false;
		sent = MAX(sent, (ssize_t)0);
		forward(connection, (uint32_t)sent);
	}
	return (uint32_t)sent == length || keep(connection, data + sent, length - (uint32_t)sent);
}

static bool take_response(struct vsock_connection *connection)
{
	char line[VSOCK_LINE_MAX];
	int length = snprintf(line, sizeof(line), "OK %u\n", connection->host_port);

	if (connection->state != VSOCK_ASKING || (connection->pending & VSOCK_SEND_REQUEST))
		return false;
	connection->state = VSOCK_CONNECTED;
	/* The socket is new, so that this is lost with it only. */
	return send(connection->source.fd, line, (size_t)length, MSG_NOSIGNAL | MSG_DONTWAIT) == length;
}

static bool take_shutdown(struct vsock_connection *connection, uint32_t flags)
{
	if (connection->state != VSOCK_CONNECTED)
		return false;
	connection->guest_shutdown |= flags & SHUTDOWN_BOTH;
	if (connection->guest_shutdown & VIRTIO_VSOCK_SHUTDOWN_RCV)
		connection->host_ended = true;
	ended_by_guest(connection);
	return true;
}

void vsock_connection_receive(struct vsock_connection *connection, const struct vsock_packet *packet)
{
	bool good = false;

	if (connection->state == VSOCK_DEAD || packet->operation == VIRTIO_VSOCK_OP_RST) {
		if (packet->operation == VIRTIO_VSOCK_OP_RST)
			vsock_connection_free(connection);
		return;
	}
	connection->peer_size = packet->buffer_size;
	connection->peer_forwarded = packet->forwarded;
	switch (packet->operation) {
	case VIRTIO_VSOCK_OP_RESPONSE:
		good = take_response(connection);
		break;
	case VIRTIO_VSOCK_OP_SHUTDOWN:
		good = take_shutdown(connection, packet->flags);
		break;
	case VIRTIO_VSOCK_OP_RW:
		good = take_data(connection, packet->length);
		break;
	case VIRTIO_VSOCK_OP_CREDIT_REQUEST:
		connection->pending |= VSOCK_SEND_CREDIT;
		good = true;
		break;
	case VIRTIO_VSOCK_OP_CREDIT_UPDATE:
		good = true;
		break;
	}
	if (!good)
		vsock_connection_reset(connection);
	vsock_connection_watch(connection);
}

/* ---- host to guest ---- */

uint32_t vsock_packet_write(const struct vsock *vsock, struct virtio_request *req, const struct vsock_packet *packet)
{
	const struct virtio_vsock_hdr header = {
		.src_cid = htole64(VSOCK_CID_HOST), .dst_cid = htole64(vsock->guest.cid),
		.src_port = htole32(packet->source_port), .dst_port = htole32(packet->destination_port),
		.len = htole32(packet->length), .type = htole16(VIRTIO_VSOCK_TYPE_STREAM),
		.op = htole16(packet->operation), .flags = htole32(packet->flags),
		.buf_alloc = htole32(packet->buffer_size), .fwd_cnt = htole32(packet->forwarded),
	};

	return (uint32_t)virtio_request_write(req, 0, &header, sizeof(header));
}

static uint32_t send_header(struct vsock_connection *connection, struct virtio_request *req, uint16_t operation,
			    uint32_t flags, uint32_t length)
{
	const struct vsock_packet packet = {
		.source_port = connection->host_port, .destination_port = connection->guest_port, .operation = operation,
		.flags = flags, .length = length, .buffer_size = VSOCK_BUFFER, .forwarded = connection->forwarded,
	};

	connection->forwarded_told = connection->forwarded;
	connection->pending &= (uint8_t)~VSOCK_SEND_CREDIT;
	return vsock_packet_write(connection->vsock, req, &packet);
}

/* Closed for good, or will it still read? */
static void socket_ended(struct vsock_connection *connection)
{
	struct pollfd end = { .fd = connection->source.fd };

	connection->host_ended = true;
	connection->host_gone = poll(&end, 1, 0) > 0 && (end.revents & (POLLHUP | POLLERR));
	connection->pending |= VSOCK_SEND_SHUTDOWN;
}

static uint32_t send_data(struct vsock_connection *connection, struct virtio_request *req)
{
	uint32_t space = req->writable_bytes - (uint32_t)sizeof(struct virtio_vsock_hdr), header;
	uint32_t room = MIN(space, (uint32_t)VSOCK_PACKET_MAX), most = MIN(room, credit(connection));
	uint8_t *data = connection->vsock->bounce;
	ssize_t got;

	if (connection->state != VSOCK_CONNECTED || connection->host_ended || !connection->readable || !most)
		return 0;
	got = recv(connection->source.fd, data, most, MSG_DONTWAIT);
	if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
		connection->readable = false;
		return 0;
	}
	if (got <= 0) {
		socket_ended(connection);
		return 0;
	}
	connection->sent += (uint32_t)got;
	header = send_header(connection, req, VIRTIO_VSOCK_OP_RW, 0, (uint32_t)got);
	return header + (uint32_t)virtio_request_write(req, header, data, (size_t)got);
}

/* What is set in pending, one at a time, in the order that the guest must see it. */
static uint32_t send_pending(struct vsock_connection *connection, struct virtio_request *req)
{
	if (connection->pending & VSOCK_SEND_CREDIT)
		return send_header(connection, req, VIRTIO_VSOCK_OP_CREDIT_UPDATE, 0, 0);
	if (!(connection->pending & VSOCK_SEND_SHUTDOWN))
		return 0;
	connection->pending &= (uint8_t)~VSOCK_SEND_SHUTDOWN;
	return send_header(connection, req, VIRTIO_VSOCK_OP_SHUTDOWN,
			   connection->host_gone ? SHUTDOWN_BOTH : VIRTIO_VSOCK_SHUTDOWN_SEND, 0);
}

uint32_t vsock_connection_send(struct vsock_connection *connection, struct virtio_request *req)
{
	uint32_t written;

	if (connection->pending & VSOCK_SEND_RESET) {
		written = send_header(connection, req, VIRTIO_VSOCK_OP_RST, 0, 0);
		vsock_connection_free(connection);
		return written;
	}
	if (connection->pending & VSOCK_SEND_REQUEST) {
		connection->pending &= (uint8_t)~VSOCK_SEND_REQUEST;
		return send_header(connection, req, VIRTIO_VSOCK_OP_REQUEST, 0, 0);
	}
	if (connection->pending & VSOCK_SEND_RESPONSE) {
		connection->pending &= (uint8_t)~VSOCK_SEND_RESPONSE;
		return send_header(connection, req, VIRTIO_VSOCK_OP_RESPONSE, 0, 0);
	}
	written = send_data(connection, req);
	if (!written)
		written = send_pending(connection, req);
	vsock_connection_watch(connection);
	return written;
}

/* ---- the socket ---- */

/* The other side has closed it, and nothing can be read or written any more. */
static void hung_up(struct vsock_connection *connection)
{
	if (connection->state == VSOCK_ASKING) {
		vsock_connection_reset(connection);
	} else if (connection->host_ended && !connection->host_gone) {
		connection->host_gone = true;
		connection->pending |= VSOCK_SEND_SHUTDOWN;
	}
}

static void socket_ready(struct event_source *source, uint32_t events)
{
	struct vsock_connection *connection = container_of(source, struct vsock_connection, source);
	struct vsock *vsock = connection->vsock;

	if (connection->state == VSOCK_GREETING) {
		vsock_greet(connection);
		return;
	}
	if (events & (EPOLLHUP | EPOLLERR))
		hung_up(connection);
	if (connection->state == VSOCK_CONNECTED) {
		connection->readable = true;
		if (!flush(connection))
			vsock_connection_reset(connection);
	}
	vsock_connection_watch(connection);
	vsock_wake(vsock);
}

/*
 * A socket that was closed says so again and again to those who look at its state: where nothing can be done about it
 * now, only the change is of interest.
 */
static uint32_t wanted_events(const struct vsock_connection *connection)
{
	uint32_t events = 0;

	if (connection->state == VSOCK_GREETING)
		return EPOLLIN;
	if (connection->state == VSOCK_CONNECTED && !connection->host_ended && !connection->readable)
		events |= EPOLLIN;
	if (connection->buffered)
		events |= EPOLLOUT;
	return events ? events : EPOLLET;
}

void vsock_connection_watch(struct vsock_connection *connection)
{
	struct vsock *vsock = connection->vsock;
	struct event_source *source = &connection->source;
	uint32_t events = wanted_events(connection);

	if (source->fd < 0)
		return;
	if (vsock->quiesced)
		event_del(source);
	else if (source->loop && event_modify(source, events) == 0)
		return;
	else if (!source->loop && event_add(vsock->device.loop, source, source->fd, events, socket_ready))
		log_warn("%s: a connection can't be watched", vsock->device.device.name);
}
