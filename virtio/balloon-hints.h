/* SPDX-License-Identifier: BSD-2-Clause */
/* Free page hints: virtio/balloon-hints.c, for virtio/balloon.c alone. On the main loop, but for the command's reads. */
#ifndef VIRTIO_BALLOON_HINTS_H
#define VIRTIO_BALLOON_HINTS_H

#include <stdatomic.h>

#include "kvm/virtqueue.h"

struct kvm;

struct balloon_hints {
	atomic_uint command;	/* free_page_hint_cmd_id, as the driver reads it */
	uint32_t last_id;	/* of the last start */
	bool answering;		/* the driver has said the id that is asked for */
	bool finished;		/* and then that it has no more */
	uint64_t *pages;	/* a bit for each page of the RAM file; NULL: never asked */
	uint64_t page_count, bytes;
};

/** balloon_hints_start() - forgets all, and asks anew; the caller tells the driver of its config */
int __must_check balloon_hints_start(struct balloon_hints *hints, const struct kvm *kvm);
/** balloon_hints_done() - the driver may have its pages back; what it hinted at stays known */
void balloon_hints_done(struct balloon_hints *hints);
/** balloon_hints_take() - a request of the hints' queue: an id, free pages, or both */
void balloon_hints_take(struct balloon_hints *hints, const struct kvm *kvm, const struct virtio_request *req);
/** balloon_hints_reset() - the device was reset: nothing is known, nothing asked */
void balloon_hints_reset(struct balloon_hints *hints);

#endif
