/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * zstd for compressed clusters. Built where libzstd is, and loaded when an image is compressed by it: linked in, it
 * would be three quarters of the program.
 */
#include <zstd.h>
#include <zstd_errors.h>

#include "disk/compression.h"
#include "kvm/library.h"

/* A frame's window is bounded by the library (128 MiB) unless told; a cluster needs none beyond its own 2 MiB. */
#define WINDOW_LOG	23

static struct {
	__typeof__(ZSTD_createDCtx) *create;
	__typeof__(ZSTD_freeDCtx) *free;
	__typeof__(ZSTD_DCtx_setParameter) *set_parameter;
	__typeof__(ZSTD_decompressStream) *decompress;
	__typeof__(ZSTD_compress) *compress;
	__typeof__(ZSTD_isError) *is_error;
	__typeof__(ZSTD_getErrorCode) *error_code;
} library_zstd = {
#ifdef STATIC_PROGRAM
	ZSTD_createDCtx, ZSTD_freeDCtx, ZSTD_DCtx_setParameter, ZSTD_decompressStream, ZSTD_compress, ZSTD_isError, ZSTD_getErrorCode,
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
		{ (void **)&library_zstd.compress, "ZSTD_compress" },
		{ (void **)&library_zstd.is_error, "ZSTD_isError" },
		{ (void **)&library_zstd.error_code, "ZSTD_getErrorCode" },
	};

	return library_load("libzstd.so.1", functions, ARRAY_SIZE(functions), NULL);
#endif
}

static int zstd_expand(const uint8_t *from, size_t length, uint8_t *to, size_t to_length)
{
	ZSTD_inBuffer in = { from, length, 0 };
	ZSTD_outBuffer out = { to, to_length, 0 };
	ZSTD_DCtx *context = library_zstd.create();

	if (!context)
		return -ENOMEM;
	library_zstd.set_parameter(context, ZSTD_d_windowLogMax, WINDOW_LOG);
	/* Sectors behind the frame's end may hold another cluster's: stop when this one is whole. */
	while (out.pos < out.size) {
		size_t before = in.pos + out.pos, left = library_zstd.decompress(context, &out, &in);

		if (library_zstd.is_error(left) || in.pos + out.pos == before)
			break;
	}
	library_zstd.free(context);
	return out.pos == out.size ? 0 : -EIO;
}

static ssize_t zstd_pack(const uint8_t *from, size_t length, uint8_t *to, size_t room)
{
	size_t packed = library_zstd.compress(to, room, from, length, ZSTD_CLEVEL_DEFAULT);

	if (!library_zstd.is_error(packed))
		return (ssize_t)packed;
	return library_zstd.error_code(packed) == ZSTD_error_memory_allocation ? -ENOMEM : 0;
}

static const struct disk_compression zstd_compression = { .name = "zstd", .type = 1, .load = zstd_load,
	.expand = zstd_expand, .pack = zstd_pack };
DISK_COMPRESSION(zstd_compression);
