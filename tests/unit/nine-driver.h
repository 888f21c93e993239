/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A 9P2000.L client for tests of virtio-9p, on virtio-driver.h: messages are put into guest memory by hand, so that
 * they can be wrong. The share is "in" of folder_enter_shared().
 */
#ifndef TESTS_UNIT_NINE_DRIVER_H
#define TESTS_UNIT_NINE_DRIVER_H

#include <stdarg.h>

#include "tests/unit/folder.h"
#include "tests/unit/virtio-driver.h"

#define REQUEST		(RAM_BASE + 0x20000ULL)		/* a page a slot */
#define REPLY		(RAM_BASE + 0x30000ULL)
#define SLOT_SIZE	0x1000ULL
#define MESSAGE_MAX	0x8000U
#define NOFID		UINT32_MAX

enum {
	RLERROR = 7, TSTATFS = 8, TLOPEN = 12, TLCREATE = 14, TSYMLINK = 16, TMKNOD = 18, TRENAME = 20, TREADLINK = 22,
	TGETATTR = 24, TSETATTR = 26, TXATTRWALK = 30, TXATTRCREATE = 32, TREADDIR = 40, TFSYNC = 50, TLOCK = 52, TGETLOCK = 54,
	TLINK = 70, TMKDIR = 72, TRENAMEAT = 74, TUNLINKAT = 76, TVERSION = 100, TAUTH = 102, TATTACH = 104, TFLUSH = 108,
	TWALK = 110, TREAD = 116, TWRITE = 118, TCLUNK = 120, TREMOVE = 122,
};

static struct kvm *kvm;

/* ---- messages ---- */

struct message {
	uint8_t bytes[MESSAGE_MAX];
	size_t length;
};

static inline void message_put(struct message *message, uint64_t value, unsigned int bytes)
{
	for (; bytes; bytes--, value >>= 8)
		message->bytes[message->length++] = (uint8_t)value;
}

static inline void message_string(struct message *message, const char *text)
{
	message_put(message, strlen(text), 2);
	memcpy(message->bytes + message->length, text, strlen(text));
	message->length += strlen(text);
}

/* @format: 1, 2, 4: integers of so many bytes; 8: a uint64_t; s: a string */
static inline void message_make_v(struct message *message, uint8_t type, uint16_t tag, const char *format, va_list arguments)
{
	message->length = 0;
	message_put(message, 0, 4);
	message_put(message, type, 1);
	message_put(message, tag, 2);
	for (; *format; format++) {
		if (*format == 's')
			message_string(message, va_arg(arguments, const char *));
		else if (*format == '8')
			message_put(message, va_arg(arguments, uint64_t), 8);
		else
			message_put(message, va_arg(arguments, unsigned int), (unsigned int)(*format - '0'));
	}
	le32 size = le32_of((uint32_t)message->length);
	memcpy(message->bytes, &size, sizeof(size));
}

static inline void message_make(struct message *message, uint8_t type, uint16_t tag, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	message_make_v(message, type, tag, format, arguments);
	va_end(arguments);
}

/* ---- replies ---- */

static uint8_t reply_bytes[MESSAGE_MAX];
static size_t reply_length, reply_at;

static inline uint64_t reply_get(unsigned int bytes)
{
	uint64_t value = 0;

	ck_assert_uint_le(reply_at + bytes, reply_length);
	for (unsigned int i = bytes; i--;)
		value = value << 8 | reply_bytes[reply_at + i];
	reply_at += bytes;
	return value;
}

/* Takes the reply of @slot: its type, with reply_get() at its contents. */
static inline uint8_t reply_take(unsigned int slot, uint16_t tag, uint32_t written)
{
	uint8_t type;

	ck_assert_uint_ge(written, 7);
	ck_assert_uint_le(written, MESSAGE_MAX);
	reply_length = written;
	reply_at = 0;
	ck_assert_int_eq(memory_read(&kvm->memory, gpa(REPLY + slot * SLOT_SIZE), reply_bytes, written), 0);
	ck_assert_uint_eq(reply_get(4), written);
	type = (uint8_t)reply_get(1);
	ck_assert_uint_eq(reply_get(2), tag);
	return type;
}

/* Offers @message in @slot with @room bytes for the reply, in two pieces each. */
static inline void message_offer(const struct message *message, unsigned int slot, uint32_t room)
{
	uint64_t at = REQUEST + slot * SLOT_SIZE, reply = REPLY + slot * SLOT_SIZE;
	uint32_t length = (uint32_t)message->length, first = MIN(length, 9U), half = room / 2;
	const struct driver_buffer buffers[] = {
		{ at, first, false }, { at + first, length - first, false }, { reply, half, true }, { reply + half, room - half, true },
	};

	guest_poke(&driver_ram, at, message->bytes, message->length);
	driver_offer(0, (uint16_t)(slot * 4), buffers, 4);
}

/* Sends @message and waits for its reply: the type. */
static inline uint8_t message_send(const struct message *message, uint32_t room)
{
	uint16_t tag = (uint16_t)(message->bytes[5] | message->bytes[6] << 8);

	message_offer(message, 0, room);
	driver_finish(kvm, 0);
	return reply_take(0, tag, driver_used_length(0, 0));
}

/* Asks, and expects success (0) or this error. */
static inline void ask(int error, uint8_t type, const char *format, ...)
{
	static struct message message;
	va_list arguments;
	uint8_t reply;
	int seen;

	va_start(arguments, format);
	message_make_v(&message, type, 1, format, arguments);
	va_end(arguments);
	reply = message_send(&message, MESSAGE_MAX);
	seen = reply == RLERROR ? (int)reply_get(4) : 0;
	ck_assert_msg(seen == error, "message %u: expected error %d, seen %d", type, error, seen);
	ck_assert_uint_eq(reply, error ? RLERROR : type + 1);
}

/* ---- the session ---- */

static inline void session_start(void)
{
	ask(0, TVERSION, "4s", 8192U, "9P2000.L");
	ck_assert_uint_eq(reply_get(4), 8192);
	ask(0, TATTACH, "44ss4", 0U, NOFID, "", "", (unsigned int)geteuid());
}

/* @number is @name in the root from now on. */
static inline void walk_to(uint32_t number, const char *name)
{
	ask(0, TWALK, "442s", 0U, number, 1U, name);
	ck_assert_uint_eq(reply_get(2), 1);
}

static inline void machine(const char *settings)
{
	char text[64];

	log_set_sink(board_hush);
	folder_enter_shared();
	kvm = driver_machine();
	snprintf(text, sizeof(text), "in,share%s", settings);
	ck_assert_int_eq(config_set(kvm->config, "9p", text), 0);
	board_add(kvm, "shares_init");
	board_add(kvm, "nine_init");
	driver_start(0, 1);
	session_start();
}

static inline void machine_end(void)
{
	board_destroy(kvm);
	guest_ram_remove(&driver_ram);
	folder_leave();
	log_set_sink(NULL);
}

#endif
