/* SPDX-License-Identifier: BSD-2-Clause */
/* The agent of `lkvm exec`: agent.c has the port and its frames, session.c a command each. */
#ifndef GUEST_INIT_AGENT_H
#define GUEST_INIT_AGENT_H

#include "../frame.h"
#include "init.h"

struct pollfd;

/** frame_room() - where the next frame's FRAME_MAX bytes go; NULL while the last one is on its way */
uint8_t *frame_room(void);
/** frame_send() - what lies there; after frame_room() only */
void frame_send(struct frame frame);

/** session_take() - a frame of the host's; false: there is no such frame */
bool session_take(struct frame frame, const uint8_t *bytes);
/** session_step() - moves what can be moved; whether there was something */
bool session_step(unsigned int number);
/** session_watch() - what it waits for, SESSION_POLLS at most; how many */
unsigned int session_watch(unsigned int number, struct pollfd *polls);
#define SESSION_POLLS 4
/** sessions_ended() - child @pid has ended so */
void sessions_ended(long pid, uint32_t status);
/** sessions_reset() - ends all, without a word */
void sessions_reset(void);

#endif
