/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a command's output leaves `lkvm exec`: a buffer as large as what the guest may send unasked, in front of a descriptor. */
#ifndef GUEST_ATTACH_SINK_H
#define GUEST_ATTACH_SINK_H

#include "guest/frame.h"
#include "kvm/stream-fd.h"

struct attach_sink {
	struct stream_fd stream;
	size_t start, length;
	uint32_t used;			/* of the guest's credit, to be given back */
	bool closed;			/* nobody reads: what comes is thrown away */
	bool gone_due;			/* and the guest is to be told */
	uint8_t buffer[FRAME_WINDOW];
};

/** attach_sink_put() - a frame's bytes; false: more than there may be. attach_sink_flush() - writes what can be written */
bool __must_check attach_sink_put(struct attach_sink *sink, const uint8_t *bytes, size_t length);
void attach_sink_flush(struct attach_sink *sink);

#endif
