/* SPDX-License-Identifier: BSD-2-Clause */
/* The methods of compression that this build has, and raw deflate, which it always has. */
#include "disk/compression.h"

#include <zlib.h>

static REGISTRY struct disk_compression_item *first_compression;

REGISTERS void disk_compression_register(struct disk_compression_item *item)
{
	item->next = first_compression;
	first_compression = item;
}

const struct disk_compression *disk_compression(unsigned int type)
{
	for (struct disk_compression_item *item = first_compression; item; item = item->next)
		if (item->compression->type == type)
			return item->compression->load && item->compression->load() ? NULL : item->compression;
	return NULL;
}

/* Written with a window of 4 KiB; the largest reads every smaller one. */
static int deflate_expand(const uint8_t *from, size_t length, uint8_t *to, size_t to_length)
{
	z_stream stream = { .next_in = (uint8_t *)(uintptr_t)from, .avail_in = (unsigned int)length,
			    .next_out = to, .avail_out = (unsigned int)to_length };
	int result;

	if (inflateInit2(&stream, -15) != Z_OK)
		return -ENOMEM;
	result = inflate(&stream, Z_FINISH);
	inflateEnd(&stream);
	/* Z_BUF_ERROR: full before the stream's end was seen, which is none of ours. */
	return (result == Z_STREAM_END || result == Z_BUF_ERROR) && !stream.avail_out ? 0 : -EIO;
}

/* A window of 4 KiB is all that readers must have. */
#define PACK_WINDOW_BITS	12

static ssize_t deflate_pack(const uint8_t *from, size_t length, uint8_t *to, size_t room)
{
	z_stream stream = { .next_in = (uint8_t *)(uintptr_t)from, .avail_in = (unsigned int)length,
			    .next_out = to, .avail_out = (unsigned int)room };
	int result;

	if (deflateInit2(&stream, Z_DEFAULT_COMPRESSION, Z_DEFLATED, -PACK_WINDOW_BITS, 9, Z_DEFAULT_STRATEGY) != Z_OK)
		return -ENOMEM;
	result = deflate(&stream, Z_FINISH);
	deflateEnd(&stream);
	return result == Z_STREAM_END ? (ssize_t)(room - stream.avail_out) : 0;
}

static const struct disk_compression deflate_compression = { .name = "zlib", .type = 0, .expand = deflate_expand, .pack = deflate_pack };
DISK_COMPRESSION(deflate_compression);
