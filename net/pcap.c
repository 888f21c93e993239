/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pcap=FILE: a capture of all frames, before any back end (the pcap file format, with nanoseconds).
 *
 * Frames are written as they pass: what the guest leaves to be checksummed or cut up is seen so. A file that can't be
 * written ends the capture, not the network.
 */
#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

#include "kvm/net.h"

#define PCAP_MAGIC_NS		0xa1b23c4dU
#define PCAP_ETHERNET		1

struct pcap_file_header {
	uint32_t magic;
	uint16_t major, minor;
	uint32_t zone, accuracy, snap_length, link_type;
};
_Static_assert(sizeof(struct pcap_file_header) == 24, "the pcap file format");

struct pcap_frame_header {
	uint32_t seconds, nanoseconds, captured, length;
};
_Static_assert(sizeof(struct pcap_frame_header) == 16, "the pcap file format");

struct pcap {
	struct net_backend backend;
	struct net_backend *inner;
	int fd;				/* -1 after an error */
};

static struct pcap *pcap_of(struct net_backend *backend)
{
	return container_of(backend, struct pcap, backend);
}

static void pcap_fail(struct pcap *pcap, int error)
{
	log_errno(error, "network: the capture ends here");
	close(pcap->fd);
	pcap->fd = -1;
}

/* @iov: the frame without its virtio header. */
static void pcap_frame(struct pcap *pcap, const struct iovec *iov, unsigned int count, size_t length)
{
	struct timespec now;
	struct pcap_frame_header header;
	struct iovec out[NET_SEGMENTS_MAX + 1];
	unsigned int used = 1;
	size_t left = length;
	ssize_t written;

	if (pcap->fd < 0)
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	header = (struct pcap_frame_header){ (uint32_t)now.tv_sec, (uint32_t)now.tv_nsec, (uint32_t)length, (uint32_t)length };
	out[0] = (struct iovec){ &header, sizeof(header) };
	for (unsigned int i = 0; i < count && left; i++) {
		size_t part = MIN(iov[i].iov_len, left);

		out[used++] = (struct iovec){ iov[i].iov_base, part };
		left -= part;
	}
	written = writev(pcap->fd, out, (int)MIN(used, (unsigned int)NET_SEGMENTS_MAX));
	/* A pipe's reader that is slow misses frames. */
	if (written < 0 && errno == EAGAIN)
		return;
	if (written != (ssize_t)(sizeof(header) + length))
		pcap_fail(pcap, written < 0 ? errno : ENOSPC);
}

/* ---- the client of the back end behind ---- */

static void pcap_readable(void *opaque)
{
	struct pcap *pcap = opaque;

	pcap->backend.client->readable(pcap->backend.opaque);
}

static void pcap_batch_done(void *opaque)
{
	struct pcap *pcap = opaque;

	pcap->backend.client->batch_done(pcap->backend.opaque);
}

static void pcap_link_changed(void *opaque)
{
	struct pcap *pcap = opaque;

	atomic_store(&pcap->backend.link_up, atomic_load(&pcap->inner->link_up));
	pcap->backend.client->link_changed(pcap->backend.opaque);
}

static const struct net_client pcap_client = {
	.readable	= pcap_readable,
	.batch_done	= pcap_batch_done,
	.link_changed	= pcap_link_changed,
};

/* ---- the back end of the device ---- */

static int pcap_start(struct net_backend *backend)
{
	struct pcap *pcap = pcap_of(backend);

	int result = net_start(pcap->inner, &pcap_client, pcap);

	/* It may have changed before there was a client to be told. */
	atomic_store(&backend->link_up, atomic_load(&pcap->inner->link_up));
	return result;
}

static void pcap_stop(struct net_backend *backend)
{
	struct net_backend *inner = pcap_of(backend)->inner;

	inner->ops->stop(inner);
}

static void pcap_send(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	struct pcap *pcap = pcap_of(backend);

	/* Before it is sent, as user mode's answer comes meanwhile. */
	pcap_frame(pcap, iov + 1, count - 1, net_iov_length(iov + 1, count - 1));
	pcap->inner->ops->send(pcap->inner, iov, count);
}

static void pcap_send_done(struct net_backend *backend)
{
	struct net_backend *inner = pcap_of(backend)->inner;

	if (inner->ops->send_done)
		inner->ops->send_done(inner);
}

static size_t pcap_receive(struct net_backend *backend, const struct iovec *iov, unsigned int count)
{
	struct pcap *pcap = pcap_of(backend);
	size_t length = pcap->inner->ops->receive(pcap->inner, iov, count);

	if (length > iov[0].iov_len)
		pcap_frame(pcap, iov + 1, count - 1, length - iov[0].iov_len);
	return length;
}

static void pcap_want(struct net_backend *backend, bool wanted)
{
	struct net_backend *inner = pcap_of(backend)->inner;

	inner->ops->want(inner, wanted);
}

static void pcap_offloads(struct net_backend *backend, uint64_t features)
{
	struct net_backend *inner = pcap_of(backend)->inner;

	inner->ops->offloads(inner, features);
}

static void pcap_close(struct net_backend *backend)
{
	struct pcap *pcap = pcap_of(backend);

	pcap->inner->ops->close(pcap->inner);
	if (pcap->fd >= 0)
		close(pcap->fd);
	free(pcap);
}

static const struct net_backend_ops pcap_ops = {
	.start		= pcap_start,
	.stop		= pcap_stop,
	.send		= pcap_send,
	.send_done	= pcap_send_done,
	.receive	= pcap_receive,
	.want		= pcap_want,
	.offloads	= pcap_offloads,
	.close		= pcap_close,
};

static int pcap_wrap(struct net_backend **backend, int fd)
{
	struct pcap *pcap = calloc(1, sizeof(*pcap));

	if (!pcap)
		return log_errno(ENOMEM, "network: capture");
	pcap->fd = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	if (pcap->fd < 0) {
		free(pcap);
		return log_errno(errno, "network: capture");
	}
	pcap->inner = *backend;
	pcap->backend.ops = &pcap_ops;
	pcap->backend.features = pcap->inner->features;
	pcap->backend.loop = pcap->inner->loop;
	atomic_init(&pcap->backend.link_up, atomic_load(&pcap->inner->link_up));
	*backend = &pcap->backend;
	return 0;
}

/* Not to wait for a pipe's reader; a file never does wait. */
int net_pcap_wrap(struct network *network, const char *path)
{
	static const struct pcap_file_header header = { PCAP_MAGIC_NS, 2, 4, 0, 0, NET_FRAME_MAX, PCAP_ETHERNET };
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NONBLOCK, 0600);
	int result = 0;

	if (fd < 0)
		return log_errno(errno, "option --network: pcap=%s", path);
	if (write(fd, &header, sizeof(header)) != (ssize_t)sizeof(header))
		return log_errno(errno, "option --network: pcap=%s: can't write", path);
	/* One file for all: their descriptors share its position. */
	for (unsigned int i = 0; i < network->backend_count && !result; i++)
		result = pcap_wrap(&network->backends[i], fd);
	return result;
}
