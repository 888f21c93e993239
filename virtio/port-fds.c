/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ports on file descriptors (kvm/port-fds.h).
 *
 * Nothing is kept on the way: no more is read than the guest has room for, and what can't be written stays with the
 * guest. While there is no room, the input is watched for its end only, so that a peer that left without a word is
 * noticed. What ends a stream is done from posted work, since a port's callbacks are no place for it. Main loop.
 */
#include "kvm/port-fds.h"

#include <fcntl.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

#include "kvm/event.h"
#include "kvm/kvm.h"
#include "kvm/port.h"
#include "kvm/stream-fd.h"

#define CHUNK	KIB(16)
#define CHUNKS	16	/* read in one turn */

struct end {
	struct event_source source;	/* source.loop: it is watched */
	struct stream_fd stream;
};

struct port_fds {
	struct kvm *kvm;
	struct port *port;
	struct end in, out;
	struct event_work work;		/* more to read, or the end */
	bool unpollable;		/* epoll refuses the input: it is always ready */
	bool attached, full;		/* full: the output takes no more for now */
	bool input_ended, ended;
	void (*on_ended)(void *opaque);
	void *opaque;
	char chunk[CHUNK];
};

/* ---- one fd ---- */

static void end_close(struct end *end)
{
	event_del(&end->source);
	stream_fd_close(&end->stream);
}

static void fds_end(struct port_fds *fds)
{
	fds->ended = true;
	event_work_post(&fds->work);
}

/* ---- input ---- */

static void fds_input_ready(struct event_source *source, uint32_t events);

static void fds_watch_input(struct port_fds *fds, uint32_t events)
{
	int result;

	if (fds->unpollable)
		return;
	result = fds->in.source.loop ? event_modify(&fds->in.source, events)
				     : event_add(fds->kvm->loop, &fds->in.source, fds->in.stream.fd, events, fds_input_ready);
	if (result == -EPERM)
		fds->unpollable = true;
	else if (result)
		fds_end(fds);
}

/* Behind what the guest's program still has to say to an output that is full. */
static void fds_input_end(struct port_fds *fds)
{
	fds->input_ended = true;
	event_del(&fds->in.source);
	if (!fds->full)
		fds_end(fds);
}

static void fds_input(struct port_fds *fds)
{
	for (unsigned int count = 0; fds->in.stream.fd >= 0 && !fds->input_ended && !fds->ended; count++) {
		size_t room = port_room(fds->port);
		ssize_t got;

		if (!room) {
			fds_watch_input(fds, EPOLLRDHUP);
			return;
		}
		if (count == CHUNKS) {
			event_work_post(&fds->work);
			return;
		}
		got = stream_fd_read(&fds->in.stream, fds->chunk, MIN(room, sizeof(fds->chunk)));
		if (got == -EAGAIN || got == -EINTR) {
			fds_watch_input(fds, EPOLLIN | EPOLLRDHUP);
			return;
		}
		/* Less than there was room for a moment ago: a guest that changes its buffers meanwhile loses bytes. */
		if (got > 0)
			port_write(fds->port, fds->chunk, (size_t)got);
		else
			fds_input_end(fds);
	}
}

static void fds_input_ready(struct event_source *source, uint32_t events)
{
	struct port_fds *fds = container_of(source, struct port_fds, in.source);
	int waiting = 0;

	if (port_room(fds->port)) {
		fds_input(fds);
		return;
	}
	if (!(events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR))) {
		fds_watch_input(fds, EPOLLRDHUP);
		return;
	}
	/* The peer has gone: for good if it left nothing, else when that has been read. */
	if (ioctl(source->fd, FIONREAD, &waiting) < 0 || !waiting)
		fds_input_end(fds);
	else
		event_del(source);
}

static void fds_writable(struct port *port, void *opaque)
{
	(void)port;
	fds_input(opaque);
}

/* ---- output ---- */

static void fds_output_ready(struct event_source *source, uint32_t events)
{
	struct port_fds *fds = container_of(source, struct port_fds, out.source);

	(void)events;
	event_del(source);
	fds->full = false;
	port_resume(fds->port);
}

static bool fds_wait_output(struct port_fds *fds)
{
	fds->full = !event_add(fds->kvm->loop, &fds->out.source, fds->out.stream.fd, EPOLLOUT, fds_output_ready);
	return fds->full;
}

static size_t fds_receive(struct port *port, void *opaque, const void *data, size_t length)
{
	struct port_fds *fds = opaque;
	size_t done = 0;

	(void)port;
	while (done < length && fds->out.stream.fd >= 0 && !fds->ended) {
		ssize_t sent = stream_fd_write(&fds->out.stream, (const char *)data + done, length - done);

		if (sent > 0)
			done += (size_t)sent;
		else if (sent == -EAGAIN && fds_wait_output(fds))
			return done;
		else if (sent != -EINTR)
			fds_end(fds);
	}
	if (fds->input_ended)
		fds_end(fds);
	return length;
}

/* ---- beginning and end ---- */

static void fds_work(struct event_work *work)
{
	struct port_fds *fds = container_of(work, struct port_fds, work);

	if (!fds->attached)
		return;
	if (!fds->ended) {
		fds_input(fds);
		return;
	}
	if (fds->full) {
		fds->ended = false;
		fds->input_ended = true;
		return;
	}
	port_fds_detach(fds);
	if (fds->on_ended)
		fds->on_ended(fds->opaque);
}

int port_fds_attach(struct port_fds *fds, int in_fd, int out_fd)
{
	int result = 0;

	port_fds_detach(fds);
	if (in_fd >= 0)
		result = stream_fd_open(&fds->in.stream, in_fd, O_RDONLY);
	if (!result && out_fd >= 0)
		result = stream_fd_open(&fds->out.stream, out_fd, O_WRONLY);
	if (result) {
		end_close(&fds->in);
		return result;
	}
	fds->attached = true;
	fds->unpollable = fds->input_ended = fds->ended = fds->full = false;
	port_open(fds->port);
	event_work_post(&fds->work);
	return 0;
}

void port_fds_detach(struct port_fds *fds)
{
	if (!fds->attached)
		return;
	fds->attached = false;
	event_work_cancel(&fds->work);
	port_close(fds->port);
	end_close(&fds->in);
	end_close(&fds->out);
}

bool port_fds_guest_is_open(const struct port_fds *fds)
{
	return port_is_open(fds->port);
}

static const struct port_ops fds_ops = {
	.opened = fds_writable, .writable = fds_writable, .receive = fds_receive,
};

int port_fds_create(struct kvm *kvm, const char *name, void (*ended)(void *opaque), void *opaque,
		    struct port_fds **out)
{
	struct port_fds *fds = calloc(1, sizeof(*fds));
	int result;

	if (!fds)
		return log_errno(ENOMEM, "port '%s'", name);
	fds->kvm = kvm;
	fds->in.stream.fd = fds->out.stream.fd = -1;
	fds->on_ended = ended;
	fds->opaque = opaque;
	event_work_init(kvm->loop, &fds->work, fds_work);
	result = port_create(kvm, name, &fds_ops, fds, &fds->port);
	if (result) {
		free(fds);
		return result;
	}
	*out = fds;
	return 0;
}

void port_fds_destroy(struct port_fds *fds)
{
	if (!fds)
		return;
	port_fds_detach(fds);
	port_destroy(fds->port);
	free(fds);
}
