/* SPDX-License-Identifier: BSD-2-Clause */
/* The receiving side of a migration's stream, whose sender may be anybody (migrate-receive.h). */
#include "state/migrate-receive.h"

#include <string.h>

#include "disk/compression.h"
#include "kvm/log.h"
#include "state/snapshot-file.h"

#define COMPRESSION_ZSTD	1	/* as qcow2 counts */

int migrate_said(int result)
{
	if (result == -EPIPE)
		return log_error(EPIPE, "migration: the other side hung up");
	if (result == -EPROTO)
		return log_error(EPROTO, "migration: what came is no migration, or damaged");
	return log_errno(result, "migration: the connection");
}

static int refuse(const char *what)
{
	return log_error(EPROTO, "migration: %s", what);
}

int migrate_receive_init(struct migrate_receiver *receiver, int fd)
{
	*receiver = (struct migrate_receiver){ .ram = NULL };
	return migrate_stream_init(&receiver->stream, fd) ? log_errno(ENOMEM, "migration") : 0;
}

void migrate_receive_exit(struct migrate_receiver *receiver)
{
	migrate_stream_exit(&receiver->stream);
	json_decref(receiver->info);
	free(receiver->info_text.data);
	free(receiver->state.data);
	free(receiver->missing);
	*receiver = (struct migrate_receiver){ .stream.fd = -1 };
}

/* It grows by what has come, not by what is said to come. */
static int blob_add(struct migrate_blob *blob, const struct migrate_frame *frame, size_t max)
{
	size_t capacity = MAX(blob->capacity, (size_t)KIB(64));
	uint8_t *grown;

	if (blob->whole || frame->offset != blob->length || frame->length > max - blob->length)
		return refuse("a piece of its description or its state is one too many");
	while (capacity < blob->length + frame->length)
		capacity *= 2;
	if (capacity != blob->capacity) {
		grown = realloc(blob->data, capacity);
		if (!grown)
			return log_errno(ENOMEM, "migration");
		blob->data = grown;
		blob->capacity = capacity;
	}
	memcpy(blob->data + blob->length, frame->payload, frame->length);
	blob->length += frame->length;
	blob->whole = frame->flags & MIGRATE_LAST;
	return 0;
}

/* ---- what it is ---- */

static int check_hello(struct migrate_receiver *receiver, const struct migrate_frame *frame)
{
	const uint32_t page = (uint32_t)sysconf(_SC_PAGESIZE);
	struct migrate_hello hello;

	if (frame->type != MIGRATE_HELLO || frame->length != sizeof(hello))
		return migrate_said(-EPROTO);
	memcpy(&hello, frame->payload, sizeof(hello));
	if (memcmp(hello.magic, "LKVMMIGR", sizeof(hello.magic)))
		return migrate_said(-EPROTO);
	if (le32_get(hello.version) != MIGRATE_VERSION)
		return log_error(ENOTSUP, "migration: of version %u, and this lkvm knows version %d", le32_get(hello.version),
				 MIGRATE_VERSION);
	receiver->again = frame->flags & MIGRATE_AGAIN;
	receiver->postcopy_page = le32_get(hello.postcopy_page);
	if (receiver->postcopy_page && receiver->postcopy_page != page)
		return log_error(ENOTSUP, "migration: post-copy from a host with pages of %u bytes, and here they have %u",
				 receiver->postcopy_page, page);
	return 0;
}

int migrate_receive_info(struct migrate_receiver *receiver)
{
	struct migrate_blob *text = &receiver->info_text;
	struct migrate_frame frame;
	int result = migrate_next(&receiver->stream, &frame, true);

	result = result ? migrate_said(result) : check_hello(receiver, &frame);
	while (!result && !text->whole) {
		result = migrate_next(&receiver->stream, &frame, true);
		if (result)
			return migrate_said(result);
		result = frame.type == MIGRATE_INFO ? blob_add(text, &frame, SNAPSHOT_INFO_MAX) :
			 refuse("it doesn't say first what machine it is of");
	}
	if (result)
		return result;
	receiver->info = json_loadb((const char *)text->data, text->length, JSON_REJECT_DUPLICATES, NULL);
	return json_is_object(receiver->info) ? 0 : refuse("its description is no JSON");
}

/* ---- memory ---- */

static int take_pages(struct migrate_receiver *receiver, const struct migrate_frame *frame)
{
	uint8_t *to = (uint8_t *)receiver->ram + frame->offset;
	const struct disk_compression *zstd;

	if (!(frame->flags & MIGRATE_ZSTD)) {
		memcpy(to, frame->payload, frame->length);
		return 0;
	}
	zstd = disk_compression(COMPRESSION_ZSTD);
	if (!zstd)
		return log_error(ENOTSUP, "migration: its memory is compressed by zstd, which isn't there (install libzstd1)");
	return zstd->expand(frame->payload, frame->length, to, frame->room) ? refuse("compressed memory is damaged") : 0;
}

static int take_memory(struct migrate_receiver *receiver, const struct migrate_frame *frame)
{
	if (!range_contains(0, receiver->ram_size, frame->offset, frame->room))
		return refuse("it has memory that the machine has not");
	receiver->frames++;
	if (frame->type == MIGRATE_PAGES)
		return take_pages(receiver, frame);
	memset((char *)receiver->ram + frame->offset, 0, frame->room);
	return 0;
}

/* In words of 64 pages, in any order. */
static int take_missing(struct migrate_receiver *receiver, const struct migrate_frame *frame)
{
	const uint64_t words = migrate_missing_words(receiver->ram_size, MAX(receiver->postcopy_page, 1u));

	if (!receiver->postcopy_page)
		return refuse("memory is missing, without post-copy");
	if (!receiver->missing)
		receiver->missing = calloc((size_t)words, sizeof(uint64_t));
	if (!receiver->missing)
		return log_errno(ENOMEM, "migration");
	if (frame->offset % sizeof(uint64_t) || frame->length % sizeof(uint64_t) ||
	    !range_contains(0, words * sizeof(uint64_t), frame->offset, frame->length))
		return refuse("memory is missing that the machine has not");
	memcpy((char *)receiver->missing + frame->offset, frame->payload, frame->length);
	return 0;
}

static int take_end(struct migrate_receiver *receiver, const struct migrate_frame *frame)
{
	if (!receiver->state.whole || frame->offset != receiver->frames)
		return refuse("its end comes before all was there");
	receiver->postcopy = frame->flags & MIGRATE_POSTCOPY;
	if (receiver->postcopy != !!receiver->missing)
		return refuse("what is missing isn't said");
	receiver->paused = frame->flags & MIGRATE_PAUSED;
	return 0;
}

int migrate_receive_machine(struct migrate_receiver *receiver)
{
	struct migrate_frame frame = { .type = 0 };
	int result = 0;

	while (frame.type != MIGRATE_END && !result) {
		result = migrate_next(&receiver->stream, &frame, true);
		if (result)
			return migrate_said(result);
		switch (frame.type) {
		case MIGRATE_PAGES:
		case MIGRATE_ZEROES:
			result = take_memory(receiver, &frame);
			break;
		case MIGRATE_STATE:
			result = blob_add(&receiver->state, &frame, SNAPSHOT_STATE_MAX);
			break;
		case MIGRATE_MISSING:
			result = take_missing(receiver, &frame);
			break;
		case MIGRATE_END:
			result = take_end(receiver, &frame);
			break;
		default:
			result = refuse("a frame that has no place there");
		}
	}
	return result;
}
