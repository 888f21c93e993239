/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The framing of gdb's remote protocol ("Overview" in appendix E of gdb's manual): $PAYLOAD#CHECKSUM, where } makes
 * the next byte another one and * in what we send repeats the byte in front of it. Nothing here trusts a length.
 */
#include "gdb-packet.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define ESCAPE		'}'
#define ESCAPE_XOR	0x20
#define INTERRUPT	0x03

/* A run's count is sent as a printable byte: 29 and how often the byte in front of it is repeated. */
#define RUN_BASE	29
#define RUN_MIN		3
#define RUN_MAX		('~' - RUN_BASE)

static int hex_digit(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* ---- receiving ---- */

static uint8_t checksum(const char *data, size_t length)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < length; i++)
		sum = (uint8_t)(sum + (uint8_t)data[i]);
	return sum;
}

static bool unescape(char *data, size_t length, size_t *result)
{
	size_t to = 0;

	for (size_t from = 0; from < length; from++) {
		char c = data[from];

		if (c == ESCAPE) {
			if (++from == length)
				return false;
			c = (char)(data[from] ^ ESCAPE_XOR);
		}
		data[to++] = c;
	}
	*result = to;
	return true;
}

/* @input begins with $; @end is where its # stands, with both digits behind it */
static void frame_packet(char *input, size_t end, struct gdb_frame *frame)
{
	int high = hex_digit(input[end + 1]), low = hex_digit(input[end + 2]);
	char *start = memrchr(input, '$', end);
	size_t length = end - (size_t)(start + 1 - input);

	frame->kind = GDB_FRAME_BROKEN;
	frame->used = end + 3;
	/* A $ is never part of a payload: the tail of what stood in front of it is lost. */
	if (high < 0 || low < 0 || checksum(start + 1, length) != (high << 4 | low) ||
	    !unescape(start + 1, length, &frame->length))
		return;
	frame->kind = GDB_FRAME_PACKET;
	frame->payload = start + 1;
	frame->payload[frame->length] = '\0';
}

static bool begins_frame(char c)
{
	return c == '$' || c == '+' || c == '-' || c == INTERRUPT;
}

void gdb_frame(char *input, size_t length, size_t *scanned, struct gdb_frame *frame)
{
	char *end;

	*frame = (struct gdb_frame){ .kind = GDB_FRAME_MORE };
	if (!length)
		return;
	frame->used = 1;
	switch (*input) {
	case '+':
		frame->kind = GDB_FRAME_ACK;
		return;
	case '-':
		frame->kind = GDB_FRAME_NAK;
		return;
	case INTERRUPT:
		frame->kind = GDB_FRAME_INTERRUPT;
		return;
	case '$':
		end = memchr(input + *scanned, '#', length - *scanned);
		frame->used = 0;
		*scanned = end ? (size_t)(end - input) : length;
		if (end && length - (size_t)(end - input) > 2)
			frame_packet(input, (size_t)(end - input), frame);
		return;
	default:
		frame->kind = GDB_FRAME_GARBAGE;
		while (frame->used < length && !begins_frame(input[frame->used]))
			frame->used++;
	}
}

/* ---- sending ---- */

static size_t run_length(const char *data, size_t length)
{
	size_t repeats = 0;

	while (repeats + 1 < length && repeats < RUN_MAX && data[repeats + 1] == *data)
		repeats++;
	if (repeats < RUN_MIN)
		return 0;
	/* these counts would be a # or a $ */
	if (repeats + RUN_BASE == '#' || repeats + RUN_BASE == '$')
		return '#' - 1 - RUN_BASE;
	return repeats;
}

size_t gdb_encode(const char *payload, size_t length, char *packet)
{
	static const char digits[] = "0123456789abcdef";
	size_t to = 1;
	uint8_t sum;

	packet[0] = '$';
	for (size_t from = 0; from < length; from++) {
		size_t repeats = run_length(payload + from, length - from);
		char c = payload[from];

		if (c == '#' || c == '$' || c == '*' || c == ESCAPE) {
			packet[to++] = ESCAPE;
			packet[to++] = (char)(c ^ ESCAPE_XOR);
			continue;
		}
		packet[to++] = c;
		if (!repeats)
			continue;
		packet[to++] = '*';
		packet[to++] = (char)(RUN_BASE + repeats);
		from += repeats;
	}
	sum = checksum(packet + 1, to - 1);
	packet[to++] = '#';
	packet[to++] = digits[sum >> 4];
	packet[to++] = digits[sum & 15];
	return to;
}

void gdb_reply_bytes(struct gdb_reply *reply, const void *data, size_t length)
{
	if (length > reply->size - reply->length) {
		reply->overflow = true;
		return;
	}
	memcpy(reply->data + reply->length, data, length);
	reply->length += length;
}

void gdb_reply_format(struct gdb_reply *reply, const char *format, ...)
{
	char text[256];
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	if (length < 0 || (size_t)length >= sizeof(text))
		reply->overflow = true;
	else
		gdb_reply_bytes(reply, text, (size_t)length);
}

void gdb_reply_hex(struct gdb_reply *reply, const void *data, size_t length)
{
	static const char digits[] = "0123456789abcdef";
	const uint8_t *bytes = data;

	for (size_t i = 0; i < length; i++) {
		const char pair[2] = { digits[bytes[i] >> 4], digits[bytes[i] & 15] };

		gdb_reply_bytes(reply, pair, sizeof(pair));
	}
}

/* ---- arguments ---- */

bool gdb_number(const char **at, uint64_t *value)
{
	const char *digit = *at;
	uint64_t number = 0;

	for (; hex_digit(*digit) >= 0; digit++) {
		if (number >> 60)
			return false;
		number = number << 4 | (uint64_t)hex_digit(*digit);
	}
	if (digit == *at)
		return false;
	*at = digit;
	*value = number;
	return true;
}

bool gdb_hex(const char *digits, void *data, size_t length)
{
	uint8_t *bytes = data;

	for (size_t i = 0; i < length; i++) {
		int high = hex_digit(digits[2 * i]), low = high < 0 ? -1 : hex_digit(digits[2 * i + 1]);

		if (low < 0)
			return false;
		bytes[i] = (uint8_t)(high << 4 | low);
	}
	return true;
}

bool gdb_skip(const char **at, const char *text)
{
	size_t length = strlen(text);

	if (strncmp(*at, text, length) != 0)
		return false;
	*at += length;
	return true;
}
