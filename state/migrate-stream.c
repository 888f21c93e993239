/* SPDX-License-Identifier: BSD-2-Clause */
/* Frames of a migration, written and read (migrate-stream.h). */
#include "state/migrate-stream.h"

#include <string.h>
#include <sys/socket.h>
#include <zlib.h>

int migrate_stream_init(struct migrate_stream *stream, int fd)
{
	*stream = (struct migrate_stream){ .fd = fd, .in = malloc(MIGRATE_BUFFER), .out = malloc(MIGRATE_BUFFER) };
	if (stream->in && stream->out)
		return 0;
	migrate_stream_exit(stream);
	return -ENOMEM;
}

void migrate_stream_exit(struct migrate_stream *stream)
{
	free(stream->in);
	free(stream->out);
	*stream = (struct migrate_stream){ .fd = -1 };
}

/* ---- writing ---- */

int migrate_flush(struct migrate_stream *stream)
{
	size_t done = 0;

	while (done < stream->out_length) {
		ssize_t put = send(stream->fd, stream->out + done, stream->out_length - done, MSG_NOSIGNAL);

		if (put < 0 && errno == EINTR)
			continue;
		/* SO_SNDTIMEO */
		if (put < 0)
			return errno == EAGAIN ? -ETIMEDOUT : -errno;
		done += (size_t)put;
		stream->sent += (uint64_t)put;
	}
	stream->out_length = 0;
	return 0;
}

int migrate_put_memory(struct migrate_stream *stream, enum migrate_type type, unsigned int flags, uint64_t offset, uint32_t room,
		       const void *payload, size_t length)
{
	struct migrate_header header = {
		.magic = le32_of(MIGRATE_FRAME_MAGIC), .type = le16_of((uint16_t)type), .flags = le16_of((uint16_t)flags),
		.length = le32_of((uint32_t)length), .room = le32_of(room), .offset = le64_of(offset),
	};
	uint8_t *at;
	int result;

	if (length > MIGRATE_PAYLOAD_MAX)
		return -E2BIG;
	if (MIGRATE_BUFFER - stream->out_length < sizeof(header) + length) {
		result = migrate_flush(stream);
		if (result)
			return result;
	}
	at = stream->out + stream->out_length;
	/* a guest may change what is copied: the checksum is the copy's */
	if (length)
		memcpy(at + sizeof(header), payload, length);
	header.payload_crc = le32_of((uint32_t)crc32_z(0, at + sizeof(header), length));
	header.crc = le32_of((uint32_t)crc32_z(0, (const uint8_t *)&header, offsetof(struct migrate_header, crc)));
	memcpy(at, &header, sizeof(header));
	stream->out_length += sizeof(header) + length;
	return 0;
}

int migrate_put(struct migrate_stream *stream, enum migrate_type type, unsigned int flags, uint64_t offset, const void *payload,
		size_t length)
{
	return migrate_put_memory(stream, type, flags, offset, (uint32_t)length, payload, length);
}

int migrate_put_all(struct migrate_stream *stream, enum migrate_type type, const void *data, size_t length)
{
	size_t at = 0;
	int result;

	do {
		size_t part = MIN(length - at, (size_t)MIGRATE_PAYLOAD_MAX);

		result = migrate_put(stream, type, at + part == length ? MIGRATE_LAST : 0, at, (const char *)data + at, part);
		at += part;
	} while (at < length && !result);
	return result;
}

int migrate_say(struct migrate_stream *stream, enum migrate_type type, const char *text)
{
	int result = migrate_put(stream, type, 0, 0, text, text ? MIN(strlen(text), (size_t)MIGRATE_TEXT) : 0);

	return result ? result : migrate_flush(stream);
}

/* ---- reading ---- */

/* At least @length bytes in the buffer, which holds any frame. */
static int stream_fill(struct migrate_stream *stream, size_t length, bool wait)
{
	if (stream->in_start && stream->in_start + length > MIGRATE_BUFFER) {
		memmove(stream->in, stream->in + stream->in_start, stream->in_end - stream->in_start);
		stream->in_end -= stream->in_start;
		stream->in_start = 0;
	}
	while (stream->in_end - stream->in_start < length) {
		ssize_t got = recv(stream->fd, stream->in + stream->in_end, MIGRATE_BUFFER - stream->in_end, wait ? 0 : MSG_DONTWAIT);

		if (got < 0 && errno == EINTR)
			continue;
		/* SO_RCVTIMEO, if there was time */
		if (got < 0)
			return errno == EAGAIN && wait ? -ETIMEDOUT : -errno;
		if (!got)
			return -EPIPE;
		stream->in_end += (size_t)got;
		stream->received += (uint64_t)got;
	}
	return 0;
}

static bool header_is_good(const struct migrate_header *header)
{
	uint32_t length = le32_get(header->length), room = le32_get(header->room);
	unsigned int type = le16_get(header->type), flags = le16_get(header->flags);
	bool memory = type == MIGRATE_PAGES || type == MIGRATE_ZEROES;

	if (le32_get(header->magic) != MIGRATE_FRAME_MAGIC || !type || type >= MIGRATE_TYPES || (flags & ~MIGRATE_FLAGS) ||
	    crc32_z(0, (const uint8_t *)header, offsetof(struct migrate_header, crc)) != le32_get(header->crc))
		return false;
	if (!memory)
		return length <= MIGRATE_PAYLOAD_MAX && room == length;
	if (!room || room % MIGRATE_PAGE || le64_get(header->offset) % MIGRATE_PAGE)
		return false;
	if (type == MIGRATE_ZEROES)
		return !length;
	return room <= MIGRATE_PAYLOAD_MAX && (flags & MIGRATE_ZSTD ? length && length < room : length == room);
}

int migrate_next(struct migrate_stream *stream, struct migrate_frame *frame, bool wait)
{
	struct migrate_header header;
	int result = stream_fill(stream, sizeof(header), wait);

	if (result)
		return result;
	memcpy(&header, stream->in + stream->in_start, sizeof(header));
	if (!header_is_good(&header))
		return -EPROTO;
	*frame = (struct migrate_frame){ .type = le16_get(header.type), .flags = le16_get(header.flags),
					 .length = le32_get(header.length), .room = le32_get(header.room),
					 .offset = le64_get(header.offset) };
	result = stream_fill(stream, sizeof(header) + frame->length, wait);
	if (result)
		return result;
	frame->payload = stream->in + stream->in_start + sizeof(header);
	if (crc32_z(0, frame->payload, frame->length) != le32_get(header.payload_crc))
		return -EPROTO;
	stream->in_start += sizeof(header) + frame->length;
	if (stream->in_start == stream->in_end)
		stream->in_start = stream->in_end = 0;
	return 0;
}
