/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Replays what fuzzing has found once (tests/fuzz): each target's corpus, in a process of its own. Nothing is fuzzed here.
 * What fails is a crash, a sanitizer's complaint, or what the target says must hold.
 */
#include "tests/unit/suite.h"

#include <endian.h>
#include <stdlib.h>
#include <zlib.h>

#include "tests/fuzz/target.h"

#define CORPORA		"tests/fuzz/corpus/"	/* tests run where the Makefile is */
#define CORPUS_MAX	(1U << 20)

static struct fuzz_target *targets[64];
static int count;

static size_t read_corpus(const char *name, uint8_t *bytes)
{
	char path[256];
	gzFile file;
	int length;

	snprintf(path, sizeof(path), CORPORA "%s.gz", name);
	file = gzopen(path, "rb");
	ck_assert_msg(file != NULL, "%s: %s (a new target? make fuzz-keep T=%s)", path, strerror(errno), name);
	length = gzread(file, bytes, CORPUS_MAX);
	ck_assert_msg(gzclose(file) == Z_OK && length > 0 && length < (int)CORPUS_MAX, "%s: %d bytes", path, length);
	return (size_t)length;
}

START_TEST(what_fuzzing_found_once_does_no_harm)
{
	const struct fuzz_target *target = targets[_i];
	uint8_t *bytes = malloc(CORPUS_MAX);
	size_t length, at = 0;

	ck_assert_ptr_nonnull(bytes);
	length = read_corpus(target->name, bytes);
	fuzz_begin(target);
	while (at + 4 <= length) {
		uint32_t size;

		memcpy(&size, bytes + at, sizeof(size));
		size = le32toh(size);
		at += 4;
		ck_assert_msg(size <= length - at, CORPORA "%s.gz: it ends in the middle of an input", target->name);
		fuzz_one(target, bytes + at, size);
		at += size;
	}
	ck_assert_uint_eq(at, length);
	free(bytes);
}
END_TEST

static void add_tests(Suite *suite)
{
	for (struct fuzz_target *target = fuzz_targets(); target && count < 64; target = target->next)
		targets[count++] = target;
	for (int i = 0; i < count; i++)
		tcase_add_loop_test(suite_case(suite, targets[i]->name, NULL, NULL), what_fuzzing_found_once_does_no_harm, i, i + 1);
}
SUITE_MAIN("fuzz-replay", add_tests)
