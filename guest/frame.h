/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The language of `lkvm exec`: frames, between the one who wants a command run (guest/attach.c), lkvm, which has the port
 * lkvm.agent (guest/agent.c), and the agent in the guest (guest/init/agent.c), which has no libc.
 *
 * A frame is a header of FRAME_HEADER bytes and up to FRAME_MAX bytes: magic (2 bytes), session (2), type (1),
 * stream (1), length (2), little-endian. Many sessions go over one port; on a client's socket there is one, number 0.
 *
 * Nobody waits for a session: data is sent as far as the other side has room kept for it. At first that is
 * FRAME_WINDOW bytes for each stream, headers counted; FRAME_CREDIT gives back what has been used up.
 *
 * To the guest, in this order:
 *	FRAME_SETUP	a piece of the records of guest/init/init.h, which make a task
 *	FRAME_START	that was all
 *	FRAME_DATA, FRAME_END	of standard input, stream 0; its end
 *	FRAME_CREDIT	4 bytes: so many more may come of stream 1 or 2
 *	FRAME_GONE	nobody reads stream 1 or 2 any more
 *	FRAME_SIZE	4 bytes: rows and columns of the terminal
 *	FRAME_SIGNAL	1 byte: for the command's process group
 *	FRAME_CLOSE	who wanted it has left
 * and, for all sessions, FRAME_RESET: there are none.
 *
 * From the guest:
 *	FRAME_DATA	of standard output (1; the terminal's too) or error (2)
 *	FRAME_CREDIT	of standard input
 *	FRAME_EXIT	1 byte, enum frame_exit, 1 byte, its number; or what went wrong, as text. It is the last of a session
 */
#ifndef GUEST_FRAME_H
#define GUEST_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define FRAME_PORT	"lkvm.agent"
#define FRAME_HEADER	8
#define FRAME_MAX	16384
#define FRAME_SIZE_MAX	(FRAME_HEADER + FRAME_MAX)
#define FRAME_WINDOW	65536
#define FRAME_SESSIONS	32
#define FRAME_MAGIC	0x4b4c

enum frame_type {
	FRAME_RESET, FRAME_SETUP, FRAME_START, FRAME_DATA, FRAME_END, FRAME_CREDIT, FRAME_GONE, FRAME_SIZE, FRAME_SIGNAL,
	FRAME_CLOSE, FRAME_EXIT,
};

enum frame_exit { FRAME_EXITED, FRAME_KILLED, FRAME_FAILED };

struct frame {
	uint16_t session, length;
	uint8_t type, stream;
};

static inline void frame_put16(uint8_t *at, uint16_t value)
{
	at[0] = (uint8_t)value;
	at[1] = (uint8_t)(value >> 8);
}

static inline uint16_t frame_get16(const uint8_t *at)
{
	return (uint16_t)(at[0] | at[1] << 8);
}

static inline void frame_put32(uint8_t *at, uint32_t value)
{
	frame_put16(at, (uint16_t)value);
	frame_put16(at + 2, (uint16_t)(value >> 16));
}

static inline uint32_t frame_get32(const uint8_t *at)
{
	return frame_get16(at) | (uint32_t)frame_get16(at + 2) << 16;
}

static inline void frame_encode(uint8_t header[FRAME_HEADER], struct frame frame)
{
	frame_put16(header, FRAME_MAGIC);
	frame_put16(header + 2, frame.session);
	header[4] = frame.type;
	header[5] = frame.stream;
	frame_put16(header + 6, frame.length);
}

/** frame_decode() - false: no header of a frame that can be */
static inline bool frame_decode(const uint8_t header[FRAME_HEADER], struct frame *frame)
{
	frame->session = frame_get16(header + 2);
	frame->type = header[4];
	frame->stream = header[5];
	frame->length = frame_get16(header + 6);
	return frame_get16(header) == FRAME_MAGIC && frame->session < FRAME_SESSIONS && frame->type <= FRAME_EXIT &&
	       frame->stream <= 2 && frame->length <= FRAME_MAX;
}

#endif
