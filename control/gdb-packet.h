/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gdb's remote protocol as bytes: where a packet ends, checksums, escapes, run-lengths, hexadecimal. No sockets and
 * no VM: everything here can be tested with strings.
 */
#ifndef CONTROL_GDB_PACKET_H
#define CONTROL_GDB_PACKET_H

#include "kvm/types.h"

#define GDB_PACKET_MAX		KIB(64)			/* of a payload, as gdb is told by qSupported */
#define GDB_INPUT_MAX		(GDB_PACKET_MAX + 16)	/* with its frame, and an interrupt or acknowledgement in front */
#define GDB_ENCODED_MAX		(2 * GDB_PACKET_MAX + 8)	/* every byte escaped */

enum gdb_frame_kind {
	GDB_FRAME_MORE,		/* bytes are missing */
	GDB_FRAME_PACKET,
	GDB_FRAME_BROKEN,	/* a packet whose checksum or escapes are wrong */
	GDB_FRAME_ACK,
	GDB_FRAME_NAK,
	GDB_FRAME_INTERRUPT,	/* Ctrl-C */
	GDB_FRAME_GARBAGE,	/* bytes that are none of these */
};

/** struct gdb_frame - what stands at the front of the input */
struct gdb_frame {
	enum gdb_frame_kind kind;
	size_t used;		/* bytes of the input that it takes */
	char *payload;		/* GDB_FRAME_PACKET: unescaped in place, ended by a zero byte that isn't counted */
	size_t length;
};

/**
 * gdb_frame() - finds and unpacks what comes next
 * @scanned: in and out: how many bytes were looked at in vain; set it to 0 when bytes are taken from the front
 */
void gdb_frame(char *input, size_t length, size_t *scanned, struct gdb_frame *frame);

/** gdb_encode() - @payload as a packet, escaped and with runs shortened; returns the length, at most GDB_ENCODED_MAX */
size_t gdb_encode(const char *payload, size_t length, char *packet);

/** struct gdb_reply - a payload that is being written; what doesn't fit sets @overflow */
struct gdb_reply {
	char *data;
	size_t length, size;
	bool overflow;
};

void gdb_reply_bytes(struct gdb_reply *reply, const void *data, size_t length);
void gdb_reply_format(struct gdb_reply *reply, const char *format, ...) printf_like(2, 3);
/** gdb_reply_hex() - two digits a byte */
void gdb_reply_hex(struct gdb_reply *reply, const void *data, size_t length);

/** gdb_number() - takes a hexadecimal number of at most 16 digits from *@at, which is moved behind it; false: none there */
bool gdb_number(const char **at, uint64_t *value);
/** gdb_hex() - @length bytes from digits; false if there are fewer or others */
bool gdb_hex(const char *digits, void *data, size_t length);
/** gdb_skip() - whether @text stands at *@at, which is then moved behind it */
bool gdb_skip(const char **at, const char *text);

#endif
