/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Data between a request's segments and a file of the host, without a copy here; see kvm/virtqueue.h. The segments were
 * checked by virtqueue_pop(), so any thread may call while the request is in flight.
 */
#include <sys/uio.h>

#include "kvm/virtqueue.h"

#define TRANSFER_SEGMENTS	256

struct span {
	const struct iovec *segments;
	unsigned int count;
	size_t skip;			/* bytes of the first segment that are done */
};

static struct span span_at(const struct iovec *segments, unsigned int count, size_t offset)
{
	struct span span = { segments, count, offset };

	while (span.count && span.skip >= span.segments->iov_len) {
		span.skip -= span.segments->iov_len;
		span.segments++;
		span.count--;
	}
	return span;
}

/* The next segments of @span, of at most @length bytes; the result is how many, *@total their bytes. */
static int span_take(struct span *span, size_t length, struct iovec iov[TRANSFER_SEGMENTS], size_t *total)
{
	int used = 0;

	*total = 0;
	while (span->count && length && used < TRANSFER_SEGMENTS) {
		size_t part = MIN(span->segments->iov_len - span->skip, length);

		if (part)
			iov[used++] = (struct iovec){ (char *)span->segments->iov_base + span->skip, part };
		*total += part;
		length -= part;
		span->skip += part;
		if (span->skip == span->segments->iov_len) {
			span->segments++;
			span->count--;
			span->skip = 0;
		}
	}
	return used;
}

static ssize_t span_move(struct span span, int fd, uint64_t offset, size_t length, bool write, int flags)
{
	struct iovec iov[TRANSFER_SEGMENTS];
	size_t done = 0, total;

	while (done < length) {
		int count = span_take(&span, length - done, iov, &total);
		ssize_t moved;

		if (!count)
			break;
		moved = write ? pwritev2(fd, iov, count, (off_t)(offset + done), flags) :
				preadv2(fd, iov, count, (off_t)(offset + done), flags);
		if (moved < 0)
			return done ? (ssize_t)done : -errno;
		done += (size_t)moved;
		if ((size_t)moved < total)
			break;
	}
	return (ssize_t)done;
}

ssize_t virtio_request_from_file(const struct virtio_request *req, size_t at, int fd, uint64_t offset, size_t length, int flags)
{
	if (offset > INT64_MAX || length > INT64_MAX - offset)
		return -EINVAL;
	return span_move(span_at(req->segments + req->readable, req->writable, at), fd, offset, length, false, flags);
}

ssize_t virtio_request_to_file(const struct virtio_request *req, size_t at, int fd, uint64_t offset, size_t length, int flags)
{
	if (offset > INT64_MAX || length > INT64_MAX - offset)
		return -EFBIG;
	return span_move(span_at(req->segments, req->readable, at), fd, offset, length, true, flags);
}
