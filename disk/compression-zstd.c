/* SPDX-License-Identifier: BSD-2-Clause */
/* zstd for compressed clusters. Built where libzstd is. */
#include <zstd.h>
#include <zstd_errors.h>

#include "disk/compression.h"

/* A frame's window is bounded by the library (128 MiB) unless told; a cluster needs none beyond its own 2 MiB. */
#define WINDOW_LOG	23

static int zstd_expand(const uint8_t *from, size_t length, uint8_t *to, size_t to_length)
{
	ZSTD_inBuffer in = { from, length, 0 };
	ZSTD_outBuffer out = { to, to_length, 0 };
	ZSTD_DCtx *context = ZSTD_createDCtx();

	if (!context)
		return -ENOMEM;
	ZSTD_DCtx_setParameter(context, ZSTD_d_windowLogMax, WINDOW_LOG);
	/* Sectors behind the frame's end may hold another cluster's: stop when this one is whole. */
	while (out.pos < out.size) {
		size_t before = in.pos + out.pos, left = ZSTD_decompressStream(context, &out, &in);

		if (ZSTD_isError(left) || in.pos + out.pos == before)
			break;
	}
	ZSTD_freeDCtx(context);
	return out.pos == out.size ? 0 : -EIO;
}

static ssize_t zstd_pack(const uint8_t *from, size_t length, uint8_t *to, size_t room)
{
	size_t packed = ZSTD_compress(to, room, from, length, ZSTD_CLEVEL_DEFAULT);

	if (!ZSTD_isError(packed))
		return (ssize_t)packed;
	return ZSTD_getErrorCode(packed) == ZSTD_error_memory_allocation ? -ENOMEM : 0;
}

static const struct disk_compression zstd_compression = { .name = "zstd", .type = 1, .expand = zstd_expand, .pack = zstd_pack };
DISK_COMPRESSION(zstd_compression);
