/* SPDX-License-Identifier: BSD-2-Clause */
/* The methods of compression that this build has, and raw deflate, which it always has. */
#include "disk/decompress.h"

#include <zlib.h>

static struct disk_decompressor_item *first_decompressor;

void disk_decompressor_register(struct disk_decompressor_item *item)
{
	item->next = first_decompressor;
	first_decompressor = item;
}

const struct disk_decompressor *disk_decompressor(unsigned int type)
{
	for (struct disk_decompressor_item *item = first_decompressor; item; item = item->next)
		if (item->decompressor->type == type)
			return item->decompressor;
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

static const struct disk_decompressor deflate_decompressor = { .name = "zlib", .type = 0, .expand = deflate_expand };
DISK_DECOMPRESSOR(deflate_decompressor);
