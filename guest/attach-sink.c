/* SPDX-License-Identifier: BSD-2-Clause */
/* A command's output on its way to stdout or stderr. One thread. */
#include "guest/attach-sink.h"

#include <string.h>

#include "kvm/log.h"

void attach_sink_flush(struct attach_sink *sink)
{
	while (sink->length && !sink->closed) {
		size_t piece = MIN(sink->length, FRAME_WINDOW - sink->start);
		ssize_t written = stream_fd_write(&sink->stream, sink->buffer + sink->start, piece);

		if (written == -EAGAIN)
			return;
		if (written == -EINTR)
			continue;
		if (written < 0) {
			if (written != -EPIPE)
				log_errno((int)written, "the command's output can't be written");
			sink->closed = sink->gone_due = true;
			break;
		}
		sink->start = (sink->start + (size_t)written) % FRAME_WINDOW;
		sink->length -= (size_t)written;
		sink->used += (uint32_t)written;
	}
	if (sink->closed) {
		sink->used += (uint32_t)sink->length;
		sink->length = 0;
	}
}

bool attach_sink_put(struct attach_sink *sink, const uint8_t *bytes, size_t length)
{
	size_t end = (sink->start + sink->length) % FRAME_WINDOW, piece = MIN(length, FRAME_WINDOW - end);

	if (length > FRAME_WINDOW - sink->length)
		return false;
	memcpy(sink->buffer + end, bytes, piece);
	memcpy(sink->buffer, bytes + piece, length - piece);
	sink->length += length;
	sink->used += FRAME_HEADER;
	attach_sink_flush(sink);
	return true;
}
