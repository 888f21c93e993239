/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernels packed by xz, which is what `make bzImage` calls xzkern: a filter for code, LZMA2, CRC32. */
#include <lzma.h>

#include "kvm/library.h"
#include "kvm/log.h"
#include "kvm/unpack.h"

/* Linux packs with dictionaries of 32 and, since 6.12, 128 MiB. */
#define MEMORY_MAX	MIB(160)

static struct {
	__typeof__(lzma_stream_decoder) *start;
	__typeof__(lzma_code) *code;
	__typeof__(lzma_end) *end;
} library_xz = {
#ifdef STATIC_PROGRAM
	lzma_stream_decoder, lzma_code, lzma_end,
#endif
};

static int xz_load(void)
{
#ifdef STATIC_PROGRAM
	return 0;
#else
	const struct library_function functions[] = {
		{ (void **)&library_xz.start, "lzma_stream_decoder" },
		{ (void **)&library_xz.code, "lzma_code" },
		{ (void **)&library_xz.end, "lzma_end" },
	};

	return library_load("liblzma.so.5", functions, ARRAY_SIZE(functions), NULL);
#endif
}

static void *xz_start(void)
{
	lzma_stream *decoder = calloc(1, sizeof(*decoder));

	if (!decoder || library_xz.start(decoder, MEMORY_MAX, 0) == LZMA_OK)
		return decoder;
	free(decoder);
	return NULL;
}

static int xz_step(void *decoder, struct unpack_stream *stream)
{
	lzma_stream *xz = decoder;
	lzma_ret result;

	xz->next_in = stream->in;
	xz->avail_in = stream->in_left;
	xz->next_out = stream->out;
	xz->avail_out = stream->out_left;
	result = library_xz.code(xz, LZMA_RUN);
	stream->in = xz->next_in;
	stream->in_left = xz->avail_in;
	stream->out_left = xz->avail_out;
	stream->why = result == LZMA_MEM_ERROR || result == LZMA_MEMLIMIT_ERROR ? "its dictionary is too large" : NULL;
	return result == LZMA_STREAM_END ? 1 : result == LZMA_OK || result == LZMA_BUF_ERROR ? 0 : -EINVAL;
}

static void xz_end(void *decoder)
{
	library_xz.end(decoder);
	free(decoder);
}

const struct unpack_format unpack_xz = { .name = "xz", .magic = "\xfd\x37zXZ", .magic_length = 6, .load = xz_load,
	.start = xz_start, .step = xz_step, .end = xz_end };
