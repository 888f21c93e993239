/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A client of `lkvm exec`, on the VM's side of its socket: one frame of its own, checked, and a ring of those for it.
 *
 * What a client says must be right before it goes to the guest, whose agent gives up everybody where it hears nonsense.
 * What the guest says fits into the ring, since it may send no more than the client has room for. Main loop.
 */
#include "guest/agent.h"

#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>

#define EXIT_MAX	512u

/* ---- the ring ---- */

static void client_watch(struct agent_client *client)
{
	uint32_t events = (client->ring_length ? EPOLLOUT : 0) | (agent_client_frame(client, &(struct frame){ 0 }) ? 0 : EPOLLIN);

	/* EPOLLHUP comes by itself. */
	(void)!event_modify(&client->source, events);
}

/* False: nobody will ever read it. */
static bool client_flush(struct agent_client *client)
{
	while (client->ring_length) {
		size_t piece = MIN(client->ring_length, (size_t)AGENT_RING - client->ring_start);
		ssize_t sent = send(client->source.fd, client->ring + client->ring_start, piece, MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent < 0 && errno == EINTR)
			continue;
		if (sent < 0)
			return errno == EAGAIN;
		client->ring_start = (client->ring_start + (size_t)sent) % AGENT_RING;
		client->ring_length -= (size_t)sent;
	}
	return !client->over;
}

static void ring_put(struct agent_client *client, const void *bytes, size_t length)
{
	size_t end = (client->ring_start + client->ring_length) % AGENT_RING;
	size_t piece = MIN(length, (size_t)AGENT_RING - end);

	memcpy(client->ring + end, bytes, piece);
	memcpy(client->ring, (const uint8_t *)bytes + piece, length - piece);
	client->ring_length += length;
}

/* ---- from the guest ---- */

static bool may_come(struct agent_client *client, struct frame frame, const uint8_t *bytes)
{
	uint32_t *window = frame.stream ? &client->output_window[frame.stream - 1] : NULL, cost = FRAME_HEADER + (uint32_t)frame.length;

	switch (frame.type) {
	case FRAME_DATA:
		if (!window || cost > *window)
			return false;
		*window -= cost;
		return true;
	case FRAME_CREDIT:
		if (frame.stream || frame.length != 4 || frame_get32(bytes) > FRAME_WINDOW - client->input_window)
			return false;
		client->input_window += frame_get32(bytes);
		return true;
	case FRAME_EXIT:
		client->over = true;
		return frame.length >= 2 && frame.length <= EXIT_MAX;
	default:
		return false;
	}
}

int agent_client_take(struct agent_client *client, struct frame frame, const uint8_t *bytes)
{
	uint8_t header[FRAME_HEADER];

	if (client->over || !client->started || !may_come(client, frame, bytes))
		return -EPROTO;
	frame.session = 0;
	frame_encode(header, frame);
	/* A client that grants credit for what it hasn't read, or a guest that gives it back byte by byte. */
	if (client->ring_length + FRAME_HEADER + frame.length > AGENT_RING)
		return -EPIPE;
	ring_put(client, header, FRAME_HEADER);
	ring_put(client, bytes, frame.length);
	if (!client_flush(client))
		return -EPIPE;
	client_watch(client);
	return 0;
}

/* ---- from the client ---- */

static bool may_go_first(struct agent_client *client, struct frame frame)
{
	if (frame.type == FRAME_SETUP && frame.length && frame.length <= GUEST_SETUP_MAX - client->setup_length) {
		client->setup_length += frame.length;
		return true;
	}
	client->started = frame.type == FRAME_START && client->setup_length && !frame.length;
	return client->started;
}

static bool may_go(struct agent_client *client, struct frame frame, const uint8_t *bytes)
{
	uint32_t cost = FRAME_HEADER + (uint32_t)frame.length, *window;

	if (frame.session)
		return false;
	if (!client->started)
		return may_go_first(client, frame);
	switch (frame.type) {
	case FRAME_DATA:
		if (frame.stream || client->end_sent || cost > client->input_window)
			return false;
		client->input_window -= cost;
		return true;
	case FRAME_END:
		client->end_sent = true;
		return !frame.stream && !frame.length;
	case FRAME_CREDIT:
		window = frame.stream ? &client->output_window[frame.stream - 1] : NULL;
		if (!window || frame.length != 4 || frame_get32(bytes) > FRAME_WINDOW - *window)
			return false;
		*window += frame_get32(bytes);
		return true;
	case FRAME_GONE:
		return frame.stream && !frame.length;
	case FRAME_SIZE:
		return frame.length == 4;
	case FRAME_SIGNAL:
		return frame.length == 1;
	default:
		return false;
	}
}

bool agent_client_frame(const struct agent_client *client, struct frame *frame)
{
	return client->in_length >= FRAME_HEADER && frame_decode(client->in, frame) &&
	       client->in_length == FRAME_HEADER + (size_t)frame->length;
}

/* False: it has left, or talks nonsense. */
static bool client_read(struct agent_client *client)
{
	struct frame frame = { .length = 0 };

	while (!agent_client_frame(client, &frame)) {
		size_t wanted = FRAME_HEADER + (client->in_length >= FRAME_HEADER ? (size_t)frame.length : 0);
		ssize_t n;

		if (client->in_length >= FRAME_HEADER && !frame_decode(client->in, &frame))
			return false;
		n = recv(client->source.fd, client->in + client->in_length, wanted - client->in_length, MSG_DONTWAIT);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 && errno == EAGAIN;
		client->in_length += (size_t)n;
	}
	return may_go(client, frame, client->in + FRAME_HEADER);
}

bool agent_client_sent(struct agent_client *client)
{
	client->in_length = 0;
	if (!client_read(client))
		return false;
	client_watch(client);
	return true;
}

static void client_event(struct event_source *source, uint32_t events)
{
	struct agent_client *client = container_of(source, struct agent_client, source);
	bool good = !(events & (EPOLLHUP | EPOLLERR));

	if (good && events & EPOLLOUT)
		good = client_flush(client);
	if (good && events & EPOLLIN && !agent_client_frame(client, &(struct frame){ 0 }))
		good = client_read(client);
	if (!good) {
		agent_client_gone(client);
		return;
	}
	client_watch(client);
	if (agent_client_frame(client, &(struct frame){ 0 }))
		agent_client_ready(client);
}

struct agent_client *agent_client_add(struct agent *agent, struct event_loop *loop, uint16_t number, int fd)
{
	struct agent_client *client = calloc(1, sizeof(*client));

	if (!client || event_add(loop, &client->source, fd, EPOLLIN, client_event) < 0) {
		free(client);
		close(fd);
		return NULL;
	}
	client->agent = agent;
	client->number = number;
	client->input_window = client->output_window[0] = client->output_window[1] = FRAME_WINDOW;
	return client;
}

void agent_client_free(struct agent_client *client)
{
	int fd = client->source.fd;

	event_del(&client->source);
	close(fd);
	free(client);
}
