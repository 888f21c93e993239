/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Packed kernels: the formats that are known, and gzip, whose library is always there. On the main thread, or
 * whichever loads the kernel again after a reset.
 */
#include "kvm/unpack.h"

#include <string.h>
#include <zlib.h>

#include "libraries.h"
#include "kvm/log.h"

#define MAGIC_MAX	6
#define CHUNK		KIB(256)	/* read, or unpacked, at a time */

ssize_t unpack_read(struct unpack *unpack, uint8_t *buffer, size_t length)
{
	size_t want = MIN(unpack->left, length);
	int error = want ? boot_file_read(unpack->file, unpack->offset, buffer, want) : 0;

	if (error < 0)
		return error;
	unpack->offset += want;
	unpack->left -= want;
	return (ssize_t)want;
}

int unpack_damaged(const struct unpack *unpack, const char *why)
{
	return log_error(EINVAL, "%s '%s': its %s stream is damaged%s%s", unpack->file->what, unpack->file->path,
			 unpack->format->name, why ? ": " : "", why ? why : "");
}

int unpack_truncated(const struct unpack *unpack)
{
	return log_error(EINVAL, "%s '%s': truncated: its %s stream has no end", unpack->file->what, unpack->file->path,
			 unpack->format->name);
}

/* ---- streams ---- */

struct buffers {
	uint8_t in[CHUNK], out[CHUNK];
};

/* A chunk more; 0, 1 when the taker has enough, -ENODATA after the last, or negative errno (said). */
static int stream_step(struct unpack *unpack, void *decoder, struct unpack_stream *stream, struct buffers *buffers)
{
	int result, taken = 0;

	/* While the last chunk was filled, more of it may wait in the decoder. */
	if (!stream->in_left && stream->out_left) {
		ssize_t n = unpack_read(unpack, buffers->in, CHUNK);

		if (n <= 0)
			return n < 0 ? (int)n : unpack_truncated(unpack);
		stream->in = buffers->in;
		stream->in_left = (size_t)n;
	}
	stream->out = buffers->out;
	stream->out_left = CHUNK;
	result = unpack->format->step(decoder, stream);
	if (result < 0)
		return unpack_damaged(unpack, stream->why);
	if (stream->out_left < CHUNK)
		taken = unpack->take(unpack->taker, buffers->out, CHUNK - stream->out_left);
	return taken ? taken : result ? -ENODATA : 0;
}

static int stream_run(struct unpack *unpack)
{
	struct buffers *buffers = malloc(sizeof(*buffers));
	struct unpack_stream stream = { .out_left = CHUNK };
	void *decoder = buffers ? unpack->format->start() : NULL;
	int result = decoder ? 0 : log_errno(ENOMEM, "%s '%s': can't unpack it", unpack->file->what, unpack->file->path);

	while (!result)
		result = stream_step(unpack, decoder, &stream, buffers);
	if (decoder)
		unpack->format->end(decoder);
	free(buffers);
	return result == -ENODATA ? 0 : result;
}

/* ---- gzip ---- */

static void *gzip_start(void)
{
	z_stream *decoder = calloc(1, sizeof(*decoder));

	/* 16: a gzip header, and nothing else */
	if (!decoder || inflateInit2(decoder, 16 + MAX_WBITS) == Z_OK)
		return decoder;
	free(decoder);
	return NULL;
}

static int gzip_step(void *decoder, struct unpack_stream *stream)
{
	z_stream *gzip = decoder;
	int result;

	gzip->next_in = (uint8_t *)stream->in;
	gzip->avail_in = (unsigned int)stream->in_left;
	gzip->next_out = stream->out;
	gzip->avail_out = (unsigned int)stream->out_left;
	result = inflate(gzip, Z_NO_FLUSH);
	stream->in = gzip->next_in;
	stream->in_left = gzip->avail_in;
	stream->out_left = gzip->avail_out;
	stream->why = gzip->msg;
	return result == Z_STREAM_END ? 1 : result == Z_OK || result == Z_BUF_ERROR ? 0 : -EINVAL;
}

static void gzip_end(void *decoder)
{
	inflateEnd(decoder);
	free(decoder);
}

static const struct unpack_format unpack_gzip = { .name = "gzip", .magic = "\x1f\x8b", .magic_length = 2,
	.start = gzip_start, .step = gzip_step, .end = gzip_end };

/* ---- all ---- */

static const struct unpack_format *const formats[] = {
	&unpack_gzip,
#ifdef HAVE_LIBLZMA
	&unpack_xz,
#endif
#ifdef HAVE_LIBZSTD
	&unpack_zstd,
#endif
#ifdef HAVE_LIBLZ4
	&unpack_lz4,
#endif
};

const struct unpack_format *unpack_format(const struct boot_file *file, uint64_t offset)
{
	char magic[MAGIC_MAX];

	if (boot_file_peek(file, offset, magic, sizeof(magic)) != sizeof(magic))
		return NULL;
	for (size_t i = 0; i < ARRAY_SIZE(formats); i++)
		if (!memcmp(magic, formats[i]->magic, formats[i]->magic_length))
			return formats[i]->load && formats[i]->load() ? NULL : formats[i];
	return NULL;
}

int unpack_run(const struct unpack_format *format, const struct boot_file *file, uint64_t offset, uint64_t length,
	       unpack_take_fn *take, void *taker)
{
	struct unpack unpack = { .file = file, .format = format, .offset = offset, .left = length, .take = take,
				 .taker = taker };

	return format->run ? format->run(&unpack) : stream_run(&unpack);
}
