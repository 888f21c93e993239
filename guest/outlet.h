/* SPDX-License-Identifier: BSD-2-Clause */
/* Where a command's output leaves lkvm: stdout or stderr, whatever they are, without a byte lost. Main thread. */
#ifndef GUEST_OUTLET_H
#define GUEST_OUTLET_H

#include "kvm/event.h"
#include "kvm/stream-fd.h"

struct outlet {
	struct event_loop *loop;
	struct event_source source;
	struct stream_fd stream;
	bool closed;			/* its reader left: what comes is thrown away */
	uint64_t taken;
	/** @ready: there is room again; @gone: its reader left. On the main loop */
	void (*ready)(struct outlet *outlet);
	void (*gone)(struct outlet *outlet);
};

/** outlet_open() - @fd stays the caller's; 0 or a negative errno */
int __must_check outlet_open(struct outlet *outlet, struct event_loop *loop, int fd);
/** outlet_close() - one that was never opened needs stream.fd -1 */
void outlet_close(struct outlet *outlet);
/** outlet_write() - returns how many bytes were taken; if fewer than @length, @ready will be called */
size_t outlet_write(struct outlet *outlet, const void *bytes, size_t length);

#endif
