/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernels packed by `lz4 -l`: the legacy frame of lz4_Frame_format.md, blocks that unpack to 8 MiB each, the last to
 * less. It has no mark of its end.
 */
#include <lz4.h>
#include <string.h>

#include "kvm/library.h"
#include "kvm/log.h"
#include "kvm/unpack.h"

#define MAGIC		0x184c2102U
#define BLOCK		MIB(8)

static __typeof__(LZ4_decompress_safe) *library_lz4
#ifdef STATIC_PROGRAM
	= LZ4_decompress_safe
#endif
	;

static int lz4_load(void)
{
#ifdef STATIC_PROGRAM
	return 0;
#else
	const struct library_function functions[] = { { (void **)&library_lz4, "LZ4_decompress_safe" } };

	return library_load("liblz4.so.1", functions, ARRAY_SIZE(functions), NULL);
#endif
}

struct lz4 {
	uint8_t in[LZ4_COMPRESSBOUND(BLOCK)], out[BLOCK];
};

/* A word: the next block's length. -ENODATA at the end. Linux puts the unpacked length behind its payload: it is none. */
static int lz4_read_word(struct unpack *unpack, uint32_t *value)
{
	uint8_t raw[4];
	le32 word;
	ssize_t n;

	if (unpack->left <= sizeof(raw))
		return -ENODATA;
	n = unpack_read(unpack, raw, sizeof(raw));
	if (n < 0)
		return (int)n;
	memcpy(&word, raw, sizeof(word));
	*value = le32_get(word);
	return 0;
}

static int lz4_block(struct unpack *unpack, struct lz4 *lz4, uint32_t length)
{
	ssize_t n;
	int unpacked;

	if (!length || length > sizeof(lz4->in))
		return unpack_damaged(unpack, "a block is too large");
	n = unpack_read(unpack, lz4->in, length);
	if (n < 0)
		return (int)n;
	if ((size_t)n < length)
		return unpack_truncated(unpack);
	unpacked = library_lz4((const char *)lz4->in, (char *)lz4->out, (int)length, (int)sizeof(lz4->out));
	if (unpacked <= 0)
		return unpack_damaged(unpack, NULL);
	return unpack->take(unpack->taker, lz4->out, (size_t)unpacked);
}

static int lz4_run(struct unpack *unpack)
{
	_cleanup_free_ struct lz4 *lz4 = malloc(sizeof(*lz4));
	uint32_t word = 0;
	int result = 0;

	if (!lz4)
		return log_errno(ENOMEM, "%s '%s': can't unpack it", unpack->file->what, unpack->file->path);
	while (!result) {
		result = lz4_read_word(unpack, &word);
		/* Frames may follow one another. */
		if (!result && word != MAGIC)
			result = lz4_block(unpack, lz4, word);
	}
	return result == -ENODATA ? 0 : result;
}

const struct unpack_format unpack_lz4 = { .name = "lz4", .magic = "\x02\x21\x4c\x18", .magic_length = 4, .load = lz4_load,
	.run = lz4_run };
