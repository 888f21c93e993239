/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What fuzz targets share. A target is one file's entry to one parser of hostile input, on the real code:
 *
 *	static void gdb_one(const struct fuzz_target *target, const uint8_t *data, size_t length)
 *	{
 *		...
 *	}
 *	FUZZ_TARGET(gdb, .name = "gdb", .one = gdb_one);
 *
 * It is linked twice: with libFuzzer (tests/fuzz/libfuzzer.c), and with all others into tests/unit/test-fuzz-replay.c, which
 * goes through what libFuzzer found once (tests/fuzz/corpus). The same input has to do the same each time, so there are no
 * threads: loops and pools that would have some are the target's own thread's (tests/fuzz/fuzz.c).
 *
 * Include first: it stands in for tests/unit/suite.h, whose assertions need a running suite, so that the drivers of the
 * unit tests can be used.
 */
#ifndef TESTS_FUZZ_FUZZ_H
#define TESTS_FUZZ_FUZZ_H

#define TESTS_UNIT_SUITE_H

#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvm/types.h"
#include "tests/fuzz/target.h"

struct event_loop;

#define FUZZ_TARGET(symbol, ...)							\
	static struct fuzz_target symbol##_target = { __VA_ARGS__ };			\
	static void __attribute__((constructor)) symbol##_target_register(void)		\
	{										\
		fuzz_register(&symbol##_target);					\
	}										\
	struct fuzz_target /* swallows the semicolon */

/* ---- what must hold ---- */

void fuzz_failed(const char *file, int line, const char *what) __attribute__((noreturn));

#define FUZZ_CHECK(condition)	((condition) ? (void)0 : fuzz_failed(__FILE__, __LINE__, #condition))

#define ck_assert(condition)		FUZZ_CHECK(condition)
#define ck_assert_msg(condition, ...)	FUZZ_CHECK(condition)
#define ck_assert_int_eq(a, b)		FUZZ_CHECK((a) == (b))
#define ck_assert_int_ge(a, b)		FUZZ_CHECK((a) >= (b))
#define ck_assert_int_lt(a, b)		FUZZ_CHECK((a) < (b))
#define ck_assert_uint_eq(a, b)		FUZZ_CHECK((a) == (b))
#define ck_assert_uint_gt(a, b)		FUZZ_CHECK((a) > (b))
#define ck_assert_ptr_eq(a, b)		FUZZ_CHECK((a) == (b))
#define ck_assert_ptr_ne(a, b)		FUZZ_CHECK((a) != (b))
#define ck_assert_ptr_nonnull(a)	FUZZ_CHECK(a)
#define ck_assert_mem_eq(a, b, n)	FUZZ_CHECK(!memcmp(a, b, n))

typedef struct Suite Suite;
static inline int suite_finish(Suite *suite)
{
	return suite != NULL;
}

/* ---- inputs ---- */

/* What is left of an input; past its end there are zeroes. */
struct fuzz_input {
	const uint8_t *at;
	size_t left;
};

/** fuzz_bytes() - the next @length bytes, or what there is of them; *@got says how many */
const uint8_t *fuzz_bytes(struct fuzz_input *input, size_t length, size_t *got);
/** fuzz_number() - little-endian, of @bytes bytes */
uint64_t fuzz_number(struct fuzz_input *input, unsigned int bytes);
static inline uint8_t fuzz_u8(struct fuzz_input *input)
{
	return (uint8_t)fuzz_number(input, 1);
}
static inline uint16_t fuzz_u16(struct fuzz_input *input)
{
	return (uint16_t)fuzz_number(input, 2);
}
static inline uint32_t fuzz_u32(struct fuzz_input *input)
{
	return (uint32_t)fuzz_number(input, 4);
}
/** fuzz_text() - all that is left, ended by a zero byte; to be freed */
char *fuzz_text(struct fuzz_input *input);

/* ---- around the parser ---- */

/** fuzz_folder() - a folder of the process's own, which goes with it; absolute, real, without a slash at its end */
const char *fuzz_folder(void);
/** fuzz_write_file() - @name in that folder is these bytes; returns its path */
const char *fuzz_write_file(const char *name, const void *bytes, size_t length);

#define FUZZ_IMAGE_MAX	MIB(32)		/* what fuzz_write_image() makes at most: nothing lies behind it */

/**
 * fuzz_write_image() - a file from pieces, as images are mostly zeroes: its size (4 bytes), then for each piece where it lies
 * (4), its length (2) and its bytes
 */
const char *fuzz_write_image(const char *name, struct fuzz_input *input);

/** fuzz_settle() - lets the loops that should have had threads, and @loop (or NULL), do what there is to do */
void fuzz_settle(struct event_loop *loop);

#endif
