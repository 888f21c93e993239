/* SPDX-License-Identifier: BSD-2-Clause */
/* What guest/agent.c, which has the port to the guest's agent, and guest/agent-client.c, a client of it, know of each other. */
#ifndef GUEST_AGENT_H
#define GUEST_AGENT_H

#include "guest/frame.h"
#include "guest/setup.h"
#include "kvm/event.h"

struct agent;
struct kvm;

/* What the guest may have sent and its client not yet read: two windows, and what has none. */
#define AGENT_RING	(2 * FRAME_WINDOW + 1024u)

struct agent_client {
	struct event_source source;
	struct agent *agent;
	uint16_t number;
	bool started, end_sent, over;	/* over: the guest's last frame of it is in the ring */
	uint32_t setup_length;
	uint32_t input_window;		/* that the guest has left for its input */
	uint32_t output_window[2];	/* that the client has left for the guest's output */
	size_t in_length;		/* of one frame of the client's */
	size_t ring_start, ring_length;
	uint8_t in[FRAME_SIZE_MAX];
	uint8_t ring[AGENT_RING];
};

/* ---- agent-client.c ---- */

/** agent_client_add() - on @fd, which it closes; NULL: no memory, and @fd is closed */
struct agent_client *agent_client_add(struct agent *agent, struct event_loop *loop, uint16_t number, int fd);
void agent_client_free(struct agent_client *client);
/** agent_client_frame() - the frame that waits for its way to the guest; false: there is none */
bool agent_client_frame(const struct agent_client *client, struct frame *frame);
/** agent_client_sent() - that one has been copied; reads on. false: the client has gone, or talks nonsense: drop it */
bool __must_check agent_client_sent(struct agent_client *client);
/**
 * agent_client_take() - a frame of the guest's, on its way to the client
 * Returns 0; -EPROTO: the guest may not send that; -EPIPE: drop the client.
 */
int __must_check agent_client_take(struct agent_client *client, struct frame frame, const uint8_t *bytes);

/* ---- agent.c ---- */

/** agent_add(), agent_remove() - the VM's port to the agent, from a dev_init and a dev_exit callback; 0 or negative errno (said) */
int __must_check agent_add(struct kvm *kvm);
void agent_remove(struct kvm *kvm);
/** agent_take() - a client on @fd, which is closed in the end; 0, -EBUSY, -ENOTSUP: there is no port, -ENOMEM */
int __must_check agent_take(struct kvm *kvm, int fd);

/** agent_client_ready() - a frame is there */
void agent_client_ready(struct agent_client *client);
/** agent_client_gone() - it has left, or is done, and is freed */
void agent_client_gone(struct agent_client *client);

#endif
