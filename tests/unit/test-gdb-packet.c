/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * gdb's packets as bytes: good ones, broken ones, and streams that no gdb would send.
 */
#include "tests/unit/suite.h"

#include "control/gdb-packet.h"

static char input[GDB_INPUT_MAX + 1];
static size_t scanned;
static struct gdb_frame frame;

/* What stands in front of @text, which is as long as it says: it may hold zero bytes */
static void look(const char *text, size_t length)
{
	ck_assert_uint_le(length, GDB_INPUT_MAX);
	memcpy(input, text, length);
	scanned = 0;
	gdb_frame(input, length, &scanned, &frame);
}

#define LOOK(text) look(text, sizeof(text) - 1)

static void expect_payload(const char *payload, size_t length)
{
	ck_assert_int_eq(frame.kind, GDB_FRAME_PACKET);
	ck_assert_uint_eq(frame.length, length);
	ck_assert(memcmp(frame.payload, payload, length) == 0);
	ck_assert_int_eq(frame.payload[length], 0);
}

START_TEST(a_packet_is_found_with_its_checksum)
{
	LOOK("$OK#9a");

	expect_payload("OK", 2);
	ck_assert_uint_eq(frame.used, 6);
}
END_TEST

START_TEST(an_empty_packet_is_one)
{
	LOOK("$#00");

	expect_payload("", 0);
}
END_TEST

START_TEST(a_wrong_checksum_breaks_the_packet_and_no_more)
{
	LOOK("$OK#9b$OK#9a");

	ck_assert_int_eq(frame.kind, GDB_FRAME_BROKEN);
	ck_assert_uint_eq(frame.used, 6);
	LOOK("$OK#xy");
	ck_assert_int_eq(frame.kind, GDB_FRAME_BROKEN);
	LOOK("$OK#9A");
	ck_assert_int_eq(frame.kind, GDB_FRAME_PACKET);
}
END_TEST

START_TEST(a_packet_is_waited_for_to_its_last_digit)
{
	const char *text = "$m1000,4#8e";

	for (size_t length = 0; length < strlen(text); length++) {
		look(text, length);
		ck_assert_int_eq(frame.kind, GDB_FRAME_MORE);
		ck_assert_uint_eq(frame.used, 0);
	}
	look(text, strlen(text));
	expect_payload("m1000,4", 7);
}
END_TEST

START_TEST(scanning_goes_on_where_it_ended)
{
	memcpy(input, "$OK", 3);
	scanned = 0;
	gdb_frame(input, 3, &scanned, &frame);
	ck_assert_uint_eq(scanned, 3);

	memcpy(input + 3, "#9a", 3);
	gdb_frame(input, 4, &scanned, &frame);
	ck_assert_int_eq(frame.kind, GDB_FRAME_MORE);
	gdb_frame(input, 6, &scanned, &frame);

	expect_payload("OK", 2);
}
END_TEST

START_TEST(escapes_give_any_byte)
{
	/* }\x03 is #, }\x04 is $, }] is }; the sum is that of the bytes sent */
	LOOK("$X0,4:}\x03}\x04}]\0#fd");

	expect_payload("X0,4:#$}\0", 9);
}
END_TEST

START_TEST(an_escape_at_the_end_breaks_the_packet)
{
	LOOK("$a}#de");

	ck_assert_int_eq(frame.kind, GDB_FRAME_BROKEN);
}
END_TEST

START_TEST(a_star_from_gdb_is_no_run)
{
	LOOK("$0* #7a");

	expect_payload("0* ", 3);
}
END_TEST

START_TEST(a_packet_that_begins_anew_counts_from_there)
{
	LOOK("$lost$OK#9a");

	expect_payload("OK", 2);
	ck_assert_uint_eq(frame.used, 11);
}
END_TEST

START_TEST(single_bytes_are_told_apart)
{
	static const struct { char byte; enum gdb_frame_kind kind; } bytes[] = {
		{ '+', GDB_FRAME_ACK }, { '-', GDB_FRAME_NAK }, { 3, GDB_FRAME_INTERRUPT },
	};

	for (size_t i = 0; i < ARRAY_SIZE(bytes); i++) {
		look(&bytes[i].byte, 1);
		ck_assert_int_eq(frame.kind, bytes[i].kind);
		ck_assert_uint_eq(frame.used, 1);
	}
}
END_TEST

START_TEST(garbage_ends_where_a_packet_may_begin)
{
	LOOK("GET / HTTP/1.0\r\n#00$OK#9a");

	ck_assert_int_eq(frame.kind, GDB_FRAME_GARBAGE);
	ck_assert_uint_eq(frame.used, 19);
}
END_TEST

/* Whatever comes, something is used up or asked for, and nothing outside the input is touched. */
START_TEST(random_bytes_are_taken_in_bounded_steps)
{
	uint32_t random = 1;

	for (unsigned int round = 0; round < 2000; round++) {
		static const char letters[] = "$#+-}*\3a0";
		size_t length = 1 + round % 97, used = 0;
		char text[100];

		for (size_t i = 0; i < length; i++) {
			random = random * 1664525 + 1013904223;
			text[i] = random & 0x10000 ? letters[(random >> 20) % (sizeof(letters) - 1)] : (char)(random >> 24);
		}
		while (used < length) {
			look(text + used, length - used);
			if (frame.kind == GDB_FRAME_MORE)
				break;
			ck_assert_uint_ge(frame.used, 1);
			ck_assert_uint_le(frame.used, length - used);
			used += frame.used;
		}
	}
}
END_TEST

/* ---- what is sent ---- */

static char packet[GDB_ENCODED_MAX], payload[GDB_PACKET_MAX], decoded[GDB_PACKET_MAX];

/* As gdb reads it: runs first, escapes behind them; returns the payload's length */
static size_t decode(size_t length)
{
	size_t to = 0;
	uint8_t sum = 0;
	unsigned int seen;

	ck_assert_int_eq(packet[0], '$');
	ck_assert_int_eq(packet[length - 3], '#');
	for (size_t i = 1; i < length - 3; i++) {
		ck_assert(packet[i] != '#' && packet[i] != '$');
		sum = (uint8_t)(sum + (uint8_t)packet[i]);
	}
	ck_assert_int_eq(sscanf(packet + length - 2, "%2x", &seen), 1);
	ck_assert_uint_eq(sum, seen);
	for (size_t i = 1; i < length - 3; i++) {
		if (packet[i] == '*') {
			int repeats = packet[++i] - 29;

			ck_assert_int_ge(repeats, 3);
			ck_assert_int_le(packet[i], 126);
			memset(decoded + to, decoded[to - 1], (size_t)repeats);
			to += (size_t)repeats;
		} else if (packet[i] == '}') {
			decoded[to++] = (char)(packet[++i] ^ 0x20);
		} else {
			decoded[to++] = packet[i];
		}
	}
	return to;
}

static void expect_round_trip(size_t length)
{
	size_t encoded = gdb_encode(payload, length, packet);

	ck_assert_uint_le(encoded, GDB_ENCODED_MAX);
	ck_assert_uint_eq(decode(encoded), length);
	ck_assert(memcmp(payload, decoded, length) == 0);
}

START_TEST(runs_of_every_length_come_back)
{
	for (size_t length = 0; length < 300; length++) {
		memset(payload, '0', length);
		expect_round_trip(length);
	}
	memset(payload, '0', sizeof(payload));
	ck_assert_uint_lt(gdb_encode(payload, sizeof(payload), packet), sizeof(payload) / 16);
}
END_TEST

START_TEST(every_byte_comes_back)
{
	for (unsigned int i = 0; i < 256; i++)
		payload[i] = (char)i;
	expect_round_trip(256);
}
END_TEST

START_TEST(the_largest_packet_of_escapes_fits)
{
	memset(payload, '}', sizeof(payload));

	ck_assert_uint_eq(gdb_encode(payload, sizeof(payload), packet), 2 * sizeof(payload) + 4);
	expect_round_trip(sizeof(payload));
}
END_TEST

START_TEST(a_reply_that_does_not_fit_says_so)
{
	char data[4];
	struct gdb_reply reply = { .data = data, .size = sizeof(data) };

	gdb_reply_format(&reply, "abc");
	ck_assert(!reply.overflow);
	gdb_reply_hex(&reply, "x", 1);
	ck_assert(reply.overflow);
	ck_assert_uint_eq(reply.length, 3);
}
END_TEST

/* ---- arguments ---- */

START_TEST(numbers_have_sixteen_digits_at_most)
{
	const char *at = "ffffffffffffffff,1";
	uint64_t value;

	ck_assert(gdb_number(&at, &value));
	ck_assert_uint_eq(value, UINT64_MAX);
	ck_assert_str_eq(at, ",1");
	at = "10000000000000000";
	ck_assert(!gdb_number(&at, &value));
	at = "";
	ck_assert(!gdb_number(&at, &value));
	at = "-1";
	ck_assert(!gdb_number(&at, &value));
}
END_TEST

START_TEST(hex_wants_every_digit)
{
	uint8_t data[2];

	ck_assert(gdb_hex("12aF", data, 2));
	ck_assert_uint_eq(data[1], 0xaf);
	ck_assert(!gdb_hex("12a", data, 2));
	ck_assert(!gdb_hex("12ag", data, 2));
	ck_assert(!gdb_hex("", data, 1));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *frames = suite_case(suite, "frames", NULL, NULL), *replies = suite_case(suite, "replies", NULL, NULL);

	tcase_add_test(frames, a_packet_is_found_with_its_checksum);
	tcase_add_test(frames, an_empty_packet_is_one);
	tcase_add_test(frames, a_wrong_checksum_breaks_the_packet_and_no_more);
	tcase_add_test(frames, a_packet_is_waited_for_to_its_last_digit);
	tcase_add_test(frames, scanning_goes_on_where_it_ended);
	tcase_add_test(frames, escapes_give_any_byte);
	tcase_add_test(frames, an_escape_at_the_end_breaks_the_packet);
	tcase_add_test(frames, a_star_from_gdb_is_no_run);
	tcase_add_test(frames, a_packet_that_begins_anew_counts_from_there);
	tcase_add_test(frames, single_bytes_are_told_apart);
	tcase_add_test(frames, garbage_ends_where_a_packet_may_begin);
	tcase_add_test(frames, random_bytes_are_taken_in_bounded_steps);
	tcase_add_test(replies, runs_of_every_length_come_back);
	tcase_add_test(replies, every_byte_comes_back);
	tcase_add_test(replies, the_largest_packet_of_escapes_fits);
	tcase_add_test(replies, a_reply_that_does_not_fit_says_so);
	tcase_add_test(replies, numbers_have_sixteen_digits_at_most);
	tcase_add_test(replies, hex_wants_every_digit);
}
SUITE_MAIN("gdb-packet", add_tests)
