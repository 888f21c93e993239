/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Tests the unpacking of kernels: each format that this build knows, whole, cut off, damaged, and left early. The
 * libraries that unpack also pack.
 */
#include <zlib.h>

#include "kvm/unpack.h"
#include "libraries.h"
#include "tests/unit/suite.h"

#ifdef HAVE_LIBLZMA
#include <lzma.h>
#endif
#ifdef HAVE_LIBZSTD
#include <zstd.h>
#endif
#ifdef HAVE_LIBLZ4
#include <lz4.h>
#endif

#define PLAIN	(MIB(8) + 12345)	/* more than a block of lz4's */
#define BEFORE	716			/* bytes in front of what is packed */

static uint8_t *plain, *packed;
static char path[64];
static struct boot_file file;

/* ---- packing ---- */

static size_t pack_gzip(uint8_t *to, size_t room)
{
	z_stream stream = { .next_in = plain, .avail_in = PLAIN, .next_out = to, .avail_out = (unsigned int)room };

	ck_assert_int_eq(deflateInit2(&stream, 1, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY), Z_OK);
	ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
	ck_assert_int_eq(deflateEnd(&stream), Z_OK);
	return stream.total_out;
}

#ifdef HAVE_LIBLZMA
static size_t pack_xz(uint8_t *to, size_t room)
{
	size_t length = 0;

	ck_assert_int_eq(lzma_easy_buffer_encode(0, LZMA_CHECK_CRC32, NULL, plain, PLAIN, to, &length, room), LZMA_OK);
	return length;
}
#endif

#ifdef HAVE_LIBZSTD
static size_t pack_zstd(uint8_t *to, size_t room)
{
	size_t length = ZSTD_compress(to, room, plain, PLAIN, 1);

	ck_assert(!ZSTD_isError(length));
	return length;
}
#endif

#ifdef HAVE_LIBLZ4
static size_t pack_lz4(uint8_t *to, size_t room)
{
	size_t length = 4;

	memcpy(to, "\x02\x21\x4c\x18", 4);
	for (size_t at = 0; at < PLAIN; at += MIB(8)) {
		int n = LZ4_compress_default((const char *)plain + at, (char *)to + length + 4, (int)MIN(MIB(8), PLAIN - at),
					     (int)(room - length - 4));

		ck_assert_int_gt(n, 0);
		memcpy(to + length, &n, 4);
		length += 4 + (size_t)n;
	}
	return length;
}
#endif

static const struct packing {
	const char *name;
	size_t (*pack)(uint8_t *to, size_t room);
} packings[] = {
	{ "gzip", pack_gzip },
#ifdef HAVE_LIBLZMA
	{ "xz", pack_xz },
#endif
#ifdef HAVE_LIBZSTD
	{ "zstd", pack_zstd },
#endif
#ifdef HAVE_LIBLZ4
	{ "lz4", pack_lz4 },
#endif
};

/* Packs into the file, BEFORE bytes in, and 4 bytes of a length behind it, as Linux does; how long it is with those. */
static size_t pack(const struct packing *packing)
{
	const le32 length = le32_of(PLAIN);
	size_t n = packing->pack(packed + BEFORE, PLAIN + MIB(1));

	memcpy(packed + BEFORE + n, &length, sizeof(length));
	return n + sizeof(length);
}

static void write_out(size_t length)
{
	FILE *out = fopen(path, "w");

	ck_assert_ptr_nonnull(out);
	ck_assert_uint_eq(fwrite(packed, 1, BEFORE + length, out), BEFORE + length);
	ck_assert_int_eq(fclose(out), 0);
	boot_file_close(&file);
	ck_assert_int_eq(boot_file_open(&file, "kernel", path), 0);
}

/* ---- taking ---- */

struct taker {
	size_t at, enough;
	bool same;
};

static int take(void *opaque, const uint8_t *data, size_t length)
{
	struct taker *taker = opaque;

	ck_assert_uint_gt(length, 0);
	ck_assert_uint_le(length, PLAIN - taker->at);
	taker->same = taker->same && !memcmp(plain + taker->at, data, length);
	taker->at += length;
	return taker->at >= taker->enough;
}

static int unpack(const struct packing *packing, size_t length, struct taker *taker)
{
	const struct unpack_format *format;

	write_out(length);
	format = unpack_format(&file, BEFORE);
	ck_assert_msg(format && !strcmp(format->name, packing->name), "expected %s, seen %s", packing->name,
		      format ? format->name : "nothing known");
	return unpack_run(format, &file, BEFORE, length, take, taker);
}

static void set_up(void)
{
	uint32_t random = 1;

	snprintf(path, sizeof(path), "/tmp/lkvm-test-unpack.%d", getpid());
	plain = malloc(PLAIN);
	packed = calloc(1, BEFORE + PLAIN + MIB(2));
	ck_assert(plain && packed);
	/* Not too easy, and not too hard */
	for (size_t i = 0; i < PLAIN; i++) {
		random = random * 1103515245 + 12345;
		plain[i] = i % 7 ? (uint8_t)(i >> 9) : (uint8_t)(random >> 16);
	}
}

static void tear_down(void)
{
	boot_file_close(&file);
	unlink(path);
	free(plain);
	free(packed);
}

/* ---- the tests ---- */

START_TEST(what_is_packed_comes_out_whole)
{
	const struct packing *packing = &packings[_i];
	struct taker taker = { .enough = SIZE_MAX, .same = true };

	ck_assert_int_eq(unpack(packing, pack(packing), &taker), 0);
	ck_assert_uint_eq(taker.at, PLAIN);
	ck_assert(taker.same);
}
END_TEST

START_TEST(a_taker_that_has_enough_ends_it)
{
	const struct packing *packing = &packings[_i];
	struct taker taker = { .enough = 100, .same = true };

	ck_assert_int_eq(unpack(packing, pack(packing), &taker), 1);
	ck_assert_uint_le(taker.at, MIB(8));
}
END_TEST

START_TEST(what_is_cut_off_is_an_error_or_short)
{
	const struct packing *packing = &packings[_i];
	size_t length = pack(packing);

	for (unsigned int part = 1; part < 8; part++) {
		struct taker taker = { .enough = SIZE_MAX, .same = true };
		int result = unpack(packing, length * part / 8, &taker);

		/* lz4's frame has no end of its own: the kernel's own headers show what is missing. */
		ck_assert_msg(result == -EINVAL || (result == 0 && taker.at < PLAIN), "part %u: seen %d", part, result);
		ck_assert(taker.same);
	}
}
END_TEST

/* zstd and lz4 have no checksum as Linux uses them: then what comes out is wrong, and that is all. */
START_TEST(no_damage_breaks_anything)
{
	const struct packing *packing = &packings[_i];
	size_t length = pack(packing);
	uint32_t random = 7;

	for (unsigned int round = 0; round < 40; round++) {
		struct taker taker = { .enough = MIB(1), .same = true };
		uint8_t *byte;
		int result;

		random = random * 1103515245 + 12345;
		byte = packed + BEFORE + 6 + (round % 2 ? random % 64 : random % (length - 6));
		*byte ^= (uint8_t)(1U << round % 8);
		result = unpack(packing, length, &taker);
		ck_assert_msg(result == 0 || result == 1 || result == -EINVAL, "round %u: seen %d", round, result);
		*byte ^= (uint8_t)(1U << round % 8);
	}
}
END_TEST

START_TEST(what_is_not_packed_has_no_format)
{
	memset(packed + BEFORE, 'x', 100);
	write_out(100);
	ck_assert_ptr_null(unpack_format(&file, BEFORE));
	/* a magic cut off */
	memcpy(packed + BEFORE, "\xfd\x37zXZ", 6);
	write_out(5);
	ck_assert_ptr_null(unpack_format(&file, BEFORE));
	ck_assert_ptr_null(unpack_format(&file, UINT32_MAX));
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tests = suite_case(suite, "unpack", set_up, tear_down);

	tcase_add_loop_test(tests, what_is_packed_comes_out_whole, 0, ARRAY_SIZE(packings));
	tcase_add_loop_test(tests, a_taker_that_has_enough_ends_it, 0, ARRAY_SIZE(packings));
	tcase_add_loop_test(tests, what_is_cut_off_is_an_error_or_short, 0, ARRAY_SIZE(packings));
	tcase_add_loop_test(tests, no_damage_breaks_anything, 0, ARRAY_SIZE(packings));
	tcase_add_test(tests, what_is_not_packed_has_no_format);
}
SUITE_MAIN("unpack", add_tests)
