/* SPDX-License-Identifier: BSD-2-Clause */
/* core/state.c: what is saved loads the same, and what is damaged changes nothing. */
#include "tests/unit/board.h"

#include <stdlib.h>

#include "kvm/state.h"

struct thing {
	uint8_t small;
	bool flag;
	uint16_t medium;
	uint32_t large;
	uint64_t huge;
	uint8_t bytes[5];
	uint32_t words[3];
	uint64_t added;
};

static const struct state_field fields_v1[] = {
	STATE_U8_MAX(struct thing, small, 9), STATE_BOOL(struct thing, flag), STATE_U16(struct thing, medium),
	STATE_U32_MAX(struct thing, large, 1000000), STATE_U64(struct thing, huge), STATE_BYTES(struct thing, bytes),
	STATE_U32_ARRAY(struct thing, words),
};
STATE_TABLE(table_v1, "thing", 1, fields_v1);

/* The next version: the same in another order, and one more. */
static const struct state_field fields_v2[] = {
	STATE_U32_ARRAY(struct thing, words), STATE_U64(struct thing, huge), STATE_U8_MAX(struct thing, small, 9),
	{ .name = "added", .type = STATE_TYPE_U64, .offset = offsetof(struct thing, added), .size = 8, .count = 1,
	  .max = UINT64_MAX, .since = 2 },
	STATE_BOOL(struct thing, flag), STATE_U16(struct thing, medium), STATE_U32_MAX(struct thing, large, 1000000),
	STATE_BYTES(struct thing, bytes),
};
STATE_TABLE(table_v2, "thing", 2, fields_v2);

static const struct thing sample = {
	.small = 9, .flag = true, .medium = 0xbeef, .large = 1000000, .huge = 0x0123456789abcdefULL,
	.bytes = { 1, 2, 3, 4, 255 }, .words = { 7, 0xffffffff, 0 }, .added = 77,
};

static struct state_writer writer;

static void setup(void)
{
	log_set_sink(board_hush);
	memset(&writer, 0, sizeof(writer));
}

static void teardown(void)
{
	state_writer_free(&writer);
	log_set_sink(NULL);
}

static int load(const struct state_table *table, size_t length, struct thing *thing)
{
	/* A copy of exactly that length, so that ASan sees a byte too many. */
	uint8_t *copy = malloc(length ? length : 1);
	struct state_reader reader = { .data = copy, .length = length };
	int result;

	memcpy(copy, writer.data, length);
	result = state_load(&reader, table, thing);
	ck_assert_uint_le(reader.position, length);
	free(copy);
	return result;
}

static bool same(const struct thing *a, const struct thing *b)
{
	return a->small == b->small && a->flag == b->flag && a->medium == b->medium && a->large == b->large &&
	       a->huge == b->huge && !memcmp(a->bytes, b->bytes, 5) && !memcmp(a->words, b->words, 12) && a->added == b->added;
}

START_TEST(what_is_saved_loads_the_same)
{
	struct thing seen = { 0 };

	state_save(&writer, &table_v2, &sample);
	ck_assert_int_eq(writer.error, 0);
	ck_assert_int_eq(load(&table_v2, writer.length, &seen), 0);
	ck_assert(same(&seen, &sample));
}
END_TEST

START_TEST(an_older_version_leaves_new_fields_alone)
{
	struct thing seen = { .added = 5 };

	state_save(&writer, &table_v1, &sample);
	ck_assert_int_eq(load(&table_v2, writer.length, &seen), 0);
	ck_assert_uint_eq(seen.added, 5);
	ck_assert_uint_eq(seen.huge, sample.huge);
}
END_TEST

START_TEST(a_newer_version_is_refused)
{
	struct thing seen = { .small = 3 };

	state_save(&writer, &table_v2, &sample);
	ck_assert_int_eq(load(&table_v1, writer.length, &seen), -EINVAL);
	ck_assert_uint_eq(seen.small, 3);
}
END_TEST

START_TEST(a_field_that_is_missing_or_twice_is_refused)
{
	static const struct state_field without[] = { STATE_U8_MAX(struct thing, small, 9), STATE_BOOL(struct thing, flag) };
	static const struct state_field twice[] = {
		STATE_U8_MAX(struct thing, small, 9), STATE_BOOL(struct thing, flag), STATE_U16(struct thing, medium),
		STATE_U32_MAX(struct thing, large, 1000000), STATE_U64(struct thing, huge), STATE_BYTES(struct thing, bytes),
		STATE_U32_ARRAY(struct thing, words), STATE_BOOL(struct thing, flag),
	};
	STATE_TABLE(missing, "thing", 1, without);
	STATE_TABLE(repeated, "thing", 1, twice);
	struct thing seen = { .medium = 4 };

	state_save(&writer, &missing, &sample);
	ck_assert_int_eq(load(&table_v1, writer.length, &seen), -EINVAL);
	state_writer_free(&writer);
	state_save(&writer, &repeated, &sample);
	ck_assert_int_eq(load(&table_v1, writer.length, &seen), -EINVAL);
	ck_assert_uint_eq(seen.medium, 4);
}
END_TEST

START_TEST(values_past_their_maximum_are_refused_whole)
{
	struct thing bad = sample, seen = { .huge = 12 };

	bad.small = 10;
	state_save(&writer, &table_v1, &bad);
	ck_assert_int_eq(load(&table_v1, writer.length, &seen), -EINVAL);
	state_writer_free(&writer);
	bad = sample;
	bad.large = 1000001;
	state_save(&writer, &table_v1, &bad);
	ck_assert_int_eq(load(&table_v1, writer.length, &seen), -EINVAL);
	ck_assert_uint_eq(seen.huge, 12);
}
END_TEST

START_TEST(a_cut_stream_is_refused_and_changes_nothing)
{
	struct thing seen, before = { .small = 1, .huge = 99 };

	state_save(&writer, &table_v2, &sample);
	for (size_t length = 0; length < writer.length; length++) {
		seen = before;
		ck_assert_int_eq(load(&table_v2, length, &seen), -EINVAL);
		ck_assert(same(&seen, &before));
	}
}
END_TEST

START_TEST(a_flipped_byte_is_refused_or_loads_valid_values)
{
	static const uint8_t masks[] = { 0xff, 0x01, 0x80 };
	struct thing seen, before = { .small = 1, .huge = 99 };
	unsigned int refused = 0;

	state_save(&writer, &table_v2, &sample);
	for (size_t at = 0; at < writer.length; at++) {
		for (unsigned int i = 0; i < ARRAY_SIZE(masks); i++) {
			writer.data[at] ^= masks[i];
			seen = before;
			if (load(&table_v2, writer.length, &seen)) {
				refused++;
				ck_assert(same(&seen, &before));
			} else {
				ck_assert_uint_le(seen.small, 9);
				ck_assert_uint_le(seen.large, 1000000);
			}
			writer.data[at] ^= masks[i];
		}
	}
	ck_assert_uint_gt(refused, writer.length);
}
END_TEST

START_TEST(sections_follow_each_other_and_blobs_have_a_ceiling)
{
	char blob[8] = "";
	struct thing seen = { 0 };
	struct state_reader reader;
	size_t length = 0;

	state_save_blob(&writer, "blob", "12345", 5);
	state_save(&writer, &table_v1, &sample);
	reader = (struct state_reader){ .data = writer.data, .length = writer.length };
	ck_assert_int_eq(state_load_blob(&reader, "blob", blob, sizeof(blob), &length), 0);
	ck_assert_uint_eq(length, 5);
	ck_assert_str_eq(blob, "12345");
	ck_assert_int_eq(state_load(&reader, &table_v1, &seen), 0);
	ck_assert_uint_eq(reader.position, writer.length);
	reader.position = 0;
	ck_assert_int_eq(state_load_blob(&reader, "blob", blob, 4, &length), -EINVAL);
	reader.position = 0;
	ck_assert_int_eq(state_load_blob(&reader, "other", blob, 8, &length), -EINVAL);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "state", setup, teardown);

	tcase_add_test(tests, what_is_saved_loads_the_same);
	tcase_add_test(tests, an_older_version_leaves_new_fields_alone);
	tcase_add_test(tests, a_newer_version_is_refused);
	tcase_add_test(tests, a_field_that_is_missing_or_twice_is_refused);
	tcase_add_test(tests, values_past_their_maximum_are_refused_whole);
	tcase_add_test(tests, a_cut_stream_is_refused_and_changes_nothing);
	tcase_add_test(tests, a_flipped_byte_is_refused_or_loads_valid_values);
	tcase_add_test(tests, sections_follow_each_other_and_blobs_have_a_ceiling);
}
SUITE_MAIN("state", add_tests)
