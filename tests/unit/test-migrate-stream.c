/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests state/migrate-stream.c and migrate-receive.c: what is sent arrives, and what is cut off or damaged is refused. */
#include "state/migrate-receive.h"

#include <pthread.h>
#include <sys/socket.h>
#include <zlib.h>

#include "disk/compression.h"
#include "kvm/log.h"
#include "tests/unit/suite.h"

#define MEMORY	KIB(64)
#define INFO	"{\"machine\": \"toy\"}"

static const char state[] = "what a machine is";
static uint8_t memory[MEMORY], received[MEMORY], bytes[MIB(1)];
static size_t length;

static void quiet(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

static void pair(int ends[2])
{
	const int size = 2 * MIB(1);

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
	(void)!setsockopt(ends[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
}

static int put_hello(struct migrate_stream *stream, const char *magic, uint32_t version)
{
	struct migrate_hello hello = { .version = le32_of(version) };

	memcpy(hello.magic, magic, sizeof(hello.magic));
	return migrate_put(stream, MIGRATE_HELLO, 0, 0, &hello, sizeof(hello));
}

static int put_all(struct migrate_stream *stream)
{
	int result = put_hello(stream, "LKVMMIGR", MIGRATE_VERSION);

	if (!result)
		result = migrate_put_all(stream, MIGRATE_INFO, INFO, strlen(INFO));
	if (!result)
		result = migrate_put_memory(stream, MIGRATE_PAGES, 0, KIB(8), KIB(8), memory + KIB(8), KIB(8));
	if (!result)
		result = migrate_put_memory(stream, MIGRATE_ZEROES, 0, KIB(4), KIB(4), NULL, 0);
	if (!result)
		result = migrate_put_all(stream, MIGRATE_STATE, state, sizeof(state));
	return result ? result : migrate_put(stream, MIGRATE_END, MIGRATE_PAUSED, 2, NULL, 0);
}

/* The whole stream into bytes[]. */
static void record(void)
{
	struct migrate_stream stream;
	ssize_t got;
	int ends[2];

	pair(ends);
	ck_assert_int_eq(migrate_stream_init(&stream, ends[0]), 0);
	ck_assert_int_eq(put_all(&stream), 0);
	ck_assert_int_eq(migrate_flush(&stream), 0);
	got = recv(ends[1], bytes, sizeof(bytes), 0);
	ck_assert_int_gt(got, 0);
	length = (size_t)got;
	ck_assert_uint_eq(length, stream.sent);
	migrate_stream_exit(&stream);
	close(ends[0]);
	close(ends[1]);
}

static int receive(struct migrate_receiver *receiver)
{
	int result = migrate_receive_info(receiver);

	receiver->ram = received;
	receiver->ram_size = MEMORY;
	memset(received, 0, MEMORY);
	memset(received + KIB(4), 9, KIB(4));
	return result ? result : migrate_receive_machine(receiver);
}

/* What becomes of the first @count bytes of it. */
static int replay(size_t count, bool *paused)
{
	struct migrate_receiver receiver;
	int ends[2], result;

	pair(ends);
	ck_assert_int_eq(send(ends[0], bytes, count, 0), (ssize_t)count);
	close(ends[0]);
	ck_assert_int_eq(migrate_receive_init(&receiver, ends[1]), 0);
	result = receive(&receiver);
	if (!result) {
		ck_assert_uint_eq(receiver.state.length, sizeof(state));
		ck_assert(!memcmp(receiver.state.data, state, sizeof(state)));
	}
	if (paused)
		*paused = receiver.paused;
	migrate_receive_exit(&receiver);
	close(ends[1]);
	return result;
}

static void setup(void)
{
	log_set_sink(quiet);
	memset(memory, 0, sizeof(memory));
	for (size_t i = KIB(8); i < KIB(16); i++)
		memory[i] = (uint8_t)(i * 7);
	record();
}

static void teardown(void)
{
	log_set_sink(NULL);
}

START_TEST(what_is_sent_arrives)
{
	bool paused = false;

	ck_assert_int_eq(replay(length, &paused), 0);

	ck_assert(!memcmp(received, memory, MEMORY));
	ck_assert(paused);
}
END_TEST

START_TEST(every_truncation_is_refused)
{
	for (size_t count = 1; count < length; count += count > 200 && count + 400 < length ? 61 : 1)
		ck_assert_int_lt(replay(count, NULL), 0);
}
END_TEST

START_TEST(every_bit_flip_is_refused)
{
	/* all bits of all that isn't memory, and one of each byte of that */
	for (size_t at = 0; at < length; at++) {
		unsigned int bits = at < 200 || at + 300 > length ? 8 : 1;

		for (unsigned int bit = 0; bit < bits; bit++) {
			bytes[at] ^= (uint8_t)(1U << ((at + bit) % 8));
			ck_assert_msg(replay(length, NULL) < 0, "byte %zu, bit %zu of it", at, (at + bit) % 8);
			bytes[at] ^= (uint8_t)(1U << ((at + bit) % 8));
		}
	}
}
END_TEST

/* ---- frames that are whole and wrong ---- */

static int receive_these(int (*put)(struct migrate_stream *stream))
{
	struct migrate_receiver receiver;
	struct migrate_stream stream;
	int ends[2], result;

	pair(ends);
	ck_assert_int_eq(migrate_stream_init(&stream, ends[0]), 0);
	ck_assert_int_eq(put(&stream), 0);
	ck_assert_int_eq(migrate_flush(&stream), 0);
	close(ends[0]);
	ck_assert_int_eq(migrate_receive_init(&receiver, ends[1]), 0);
	result = receive(&receiver);
	migrate_receive_exit(&receiver);
	migrate_stream_exit(&stream);
	close(ends[1]);
	return result;
}

static int put_begin(struct migrate_stream *stream)
{
	int result = put_hello(stream, "LKVMMIGR", MIGRATE_VERSION);

	return result ? result : migrate_put_all(stream, MIGRATE_INFO, INFO, strlen(INFO));
}

static int put_other_version(struct migrate_stream *stream)
{
	return put_hello(stream, "LKVMMIGR", MIGRATE_VERSION + 1);
}

static int put_other_magic(struct migrate_stream *stream)
{
	return put_hello(stream, "QEMUMIGR", MIGRATE_VERSION);
}

static int put_memory_first(struct migrate_stream *stream)
{
	int result = put_hello(stream, "LKVMMIGR", MIGRATE_VERSION);

	return result ? result : migrate_put_memory(stream, MIGRATE_ZEROES, 0, 0, KIB(4), NULL, 0);
}

static int put_no_json(struct migrate_stream *stream)
{
	int result = put_hello(stream, "LKVMMIGR", MIGRATE_VERSION);

	return result ? result : migrate_put_all(stream, MIGRATE_INFO, "[1]", 3);
}

static int put_beyond(struct migrate_stream *stream)
{
	int result = put_begin(stream);

	return result ? result : migrate_put_memory(stream, MIGRATE_PAGES, 0, MEMORY - KIB(4), KIB(8), memory, KIB(8));
}

static int put_far_beyond(struct migrate_stream *stream)
{
	int result = put_begin(stream);

	return result ? result : migrate_put_memory(stream, MIGRATE_ZEROES, 0, UINT64_MAX - KIB(4) + 1, KIB(8), NULL, 0);
}

static int put_unaligned(struct migrate_stream *stream)
{
	int result = put_begin(stream);

	return result ? result : migrate_put_memory(stream, MIGRATE_PAGES, 0, 512, KIB(4), memory, KIB(4));
}

static int put_less_than_room(struct migrate_stream *stream)
{
	int result = put_begin(stream);

	return result ? result : migrate_put_memory(stream, MIGRATE_PAGES, 0, 0, KIB(8), memory, KIB(4));
}

static int put_no_zstd(struct migrate_stream *stream)
{
	int result = put_begin(stream);

	return result ? result : migrate_put_memory(stream, MIGRATE_PAGES, MIGRATE_ZSTD, 0, KIB(8), memory + KIB(8), 100);
}

static int put_state_with_hole(struct migrate_stream *stream)
{
	int result = put_begin(stream);

	if (!result)
		result = migrate_put(stream, MIGRATE_STATE, 0, 0, state, 8);
	return result ? result : migrate_put(stream, MIGRATE_STATE, MIGRATE_LAST, 9, state, 8);
}

static int put_state_twice(struct migrate_stream *stream)
{
	int result = put_begin(stream);

	if (!result)
		result = migrate_put_all(stream, MIGRATE_STATE, state, sizeof(state));
	return result ? result : migrate_put(stream, MIGRATE_STATE, MIGRATE_LAST, sizeof(state), state, sizeof(state));
}

static int put_end_without_state(struct migrate_stream *stream)
{
	int result = put_begin(stream);

	return result ? result : migrate_put(stream, MIGRATE_END, 0, 0, NULL, 0);
}

static int put_end_with_frame_lost(struct migrate_stream *stream)
{
	int result = put_begin(stream);

	if (!result)
		result = migrate_put_all(stream, MIGRATE_STATE, state, sizeof(state));
	return result ? result : migrate_put(stream, MIGRATE_END, 0, 1, NULL, 0);
}

static int put_go(struct migrate_stream *stream)
{
	int result = put_begin(stream);

	return result ? result : migrate_put(stream, MIGRATE_GO, 0, 0, NULL, 0);
}

START_TEST(frames_that_have_no_place_are_refused)
{
	int (*const puts[])(struct migrate_stream *) = {
		put_other_version, put_other_magic, put_memory_first, put_no_json, put_beyond, put_far_beyond, put_unaligned,
		put_less_than_room, put_no_zstd, put_state_with_hole, put_state_twice, put_end_without_state, put_end_with_frame_lost, put_go,
	};

	for (size_t i = 0; i < ARRAY_SIZE(puts); i++)
		ck_assert_msg(receive_these(puts[i]) < 0, "of the wrong ones, number %zu", i);
}
END_TEST

static int put_compressed(struct migrate_stream *stream)
{
	const struct disk_compression *zstd = disk_compression(1);
	static uint8_t packed[KIB(8)];
	ssize_t room = zstd->pack(memory + KIB(8), KIB(8), packed, sizeof(packed) - 1);
	int result = put_begin(stream);

	ck_assert_int_gt(room, 0);
	if (!result)
		result = migrate_put_memory(stream, MIGRATE_PAGES, MIGRATE_ZSTD, KIB(8), KIB(8), packed, (size_t)room);
	if (!result)
		result = migrate_put_all(stream, MIGRATE_STATE, state, sizeof(state));
	return result ? result : migrate_put(stream, MIGRATE_END, 0, 1, NULL, 0);
}

START_TEST(compressed_memory_arrives)
{
	if (!disk_compression(1))
		return;
	ck_assert_int_eq(receive_these(put_compressed), 0);
	ck_assert(!memcmp(received + KIB(8), memory + KIB(8), MEMORY - KIB(8)));
}
END_TEST

/* ---- what is larger than a buffer ---- */

static uint8_t large[3 * MIGRATE_PAYLOAD_MAX + 5];

static void *send_large(void *opaque)
{
	struct migrate_stream *stream = opaque;

	return migrate_put_all(stream, MIGRATE_STATE, large, sizeof(large)) || migrate_flush(stream) ? stream : NULL;
}

START_TEST(what_is_larger_than_a_frame_comes_in_pieces)
{
	struct migrate_stream to, from;
	struct migrate_frame frame = { .flags = 0 };
	size_t at = 0;
	pthread_t thread;
	void *failed;
	int ends[2];

	for (size_t i = 0; i < sizeof(large); i++)
		large[i] = (uint8_t)(i >> 10);
	pair(ends);
	ck_assert_int_eq(migrate_stream_init(&to, ends[0]), 0);
	ck_assert_int_eq(migrate_stream_init(&from, ends[1]), 0);
	ck_assert_int_eq(migrate_next(&from, &frame, false), -EAGAIN);
	ck_assert_int_eq(pthread_create(&thread, NULL, send_large, &to), 0);
	while (!(frame.flags & MIGRATE_LAST)) {
		ck_assert_int_eq(migrate_next(&from, &frame, true), 0);
		ck_assert_uint_eq(frame.offset, at);
		ck_assert(!memcmp(frame.payload, large + at, frame.length));
		at += frame.length;
	}
	pthread_join(thread, &failed);
	ck_assert_ptr_null(failed);
	ck_assert_uint_eq(at, sizeof(large));
	close(ends[0]);
	ck_assert_int_eq(migrate_next(&from, &frame, true), -EPIPE);
	migrate_stream_exit(&to);
	migrate_stream_exit(&from);
	close(ends[1]);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "streams", setup, teardown);

	tcase_add_test(tests, what_is_sent_arrives);
	tcase_add_test(tests, every_truncation_is_refused);
	tcase_add_test(tests, every_bit_flip_is_refused);
	tcase_add_test(tests, frames_that_have_no_place_are_refused);
	tcase_add_test(tests, compressed_memory_arrives);
	tcase_add_test(tests, what_is_larger_than_a_frame_comes_in_pieces);
}
SUITE_MAIN("migrate-stream", add_tests)
