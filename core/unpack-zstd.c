/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernels packed by zstd. */
#include <zstd.h>

#include "kvm/library.h"
#include "kvm/log.h"
#include "kvm/unpack.h"

/* Linux packs with windows of up to 128 MiB. */
#define WINDOW_LOG	27

static struct {
	__typeof__(ZSTD_createDCtx) *create;
	__typeof__(ZSTD_freeDCtx) *free;
	__typeof__(ZSTD_DCtx_setParameter) *set_parameter;
	__typeof__(ZSTD_decompressStream) *decompress;
	__typeof__(ZSTD_isError) *is_error;
	__typeof__(ZSTD_getErrorName) *error_name;
} library_zstd = {
#ifdef STATIC_PROGRAM
	ZSTD_createDCtx, ZSTD_freeDCtx, ZSTD_DCtx_setParameter, ZSTD_decompressStream, ZSTD_isError, ZSTD_getErrorName,
#endif
};

static int zstd_load(void)
{
#ifdef STATIC_PROGRAM
	return 0;
#else
	const struct library_function functions[] = {
		{ (void **)&library_zstd.create, "ZSTD_createDCtx" },
		{ (void **)&library_zstd.free, "ZSTD_freeDCtx" },
		{ (void **)&library_zstd.set_parameter, "ZSTD_DCtx_setParameter" },
		{ (void **)&library_zstd.decompress, "ZSTD_decompressStream" },
		{ (void **)&library_zstd.is_error, "ZSTD_isError" },
		{ (void **)&library_zstd.error_name, "ZSTD_getErrorName" },
	};

	return library_load("libzstd.so.1", functions, ARRAY_SIZE(functions), NULL);
#endif
}

static void *zstd_start(void)
{
	ZSTD_DCtx *decoder = library_zstd.create();

	if (decoder)
		library_zstd.set_parameter(decoder, ZSTD_d_windowLogMax, WINDOW_LOG);
	return decoder;
}

static int zstd_step(void *decoder, struct unpack_stream *stream)
{
	ZSTD_outBuffer out = { stream->out, stream->out_left, 0 };
	ZSTD_inBuffer in = { stream->in, stream->in_left, 0 };
	size_t left = library_zstd.decompress(decoder, &out, &in);

	stream->in += in.pos;
	stream->in_left -= in.pos;
	stream->out_left -= out.pos;
	if (!library_zstd.is_error(left))
		return left == 0;
	stream->why = library_zstd.error_name(left);
	return -EINVAL;
}

static void zstd_end(void *decoder)
{
	library_zstd.free(decoder);
}

const struct unpack_format unpack_zstd = { .name = "zstd", .magic = "\x28\xb5\x2f\xfd", .magic_length = 4, .load = zstd_load,
	.start = zstd_start, .step = zstd_step, .end = zstd_end };
