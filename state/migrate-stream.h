/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The stream of a migration: frames, each a header and a payload, both with a checksum. It goes both ways over one
 * connection.
 *
 *	source to destination				destination to source
 *	HELLO	magic, version
 *	INFO	pieces of the description (JSON), as a
 *		snapshot has it; the last one is marked
 *							ACCEPTED: the machine is one that can be here
 *	PAGES	guest memory at an offset in RAM's file
 *	ZEROES	of which some was sent before, and is zero
 *	STATE	pieces of the machine's state (kvm/state.h)
 *	END	how many frames of memory there were
 *							READY: the machine is there, with its disks; and
 *							the connection's ends (migrate_ends())
 *	GO	it is yours: I won't run it any more
 *							RUNNING: it is about to run
 *							FAILED: instead of any of these, and why
 *
 * With post-copy, which HELLO allows (postcopy.h):
 *
 *	MISSING	before STATE: pieces of a bitmap of
 *		pages that are still to come
 *	END	marked as such
 *	PAGES, ZEROES from then on, READY or not		WANT: this page first
 *							HERE: all are there, which is its end
 *
 * If the connection is lost behind RUNNING, the source comes again, with HELLO (marked) and the same INFO. The destination
 * says ACCEPTED and sends its own MISSING, and it goes on.
 *
 * All integers are little-endian, checksums CRC-32 as zlib's. A frame is looked at when all of it is there and its
 * checksums are right; what doesn't come in this order, or doesn't fit, ends the migration.
 */
#ifndef STATE_MIGRATE_STREAM_H
#define STATE_MIGRATE_STREAM_H

#include "kvm/types.h"

#define MIGRATE_VERSION		1
#define MIGRATE_PAGE		4096
#define MIGRATE_PAYLOAD_MAX	KIB(256)
#define MIGRATE_FRAME_MAGIC	0x6b76464d
#define MIGRATE_TEXT		400

enum migrate_type {
	MIGRATE_HELLO = 1, MIGRATE_INFO, MIGRATE_PAGES, MIGRATE_ZEROES, MIGRATE_STATE, MIGRATE_END, MIGRATE_GO,
	MIGRATE_ACCEPTED, MIGRATE_READY, MIGRATE_RUNNING, MIGRATE_FAILED, MIGRATE_MISSING, MIGRATE_WANT, MIGRATE_HERE,
	MIGRATE_TYPES
};

/* flags */
#define MIGRATE_LAST		BIT(0)	/* INFO, STATE, MISSING: the last piece */
#define MIGRATE_PAUSED		BIT(1)	/* END: its user has paused the machine */
#define MIGRATE_ZSTD		BIT(2)	/* PAGES: compressed */
#define MIGRATE_POSTCOPY	BIT(3)	/* END: memory comes when the guest runs */
#define MIGRATE_AGAIN		BIT(4)	/* HELLO: of a guest that runs there */
#define MIGRATE_FLAGS		(MIGRATE_LAST | MIGRATE_PAUSED | MIGRATE_ZSTD | MIGRATE_POSTCOPY | MIGRATE_AGAIN)

struct migrate_header {
	le32 magic;
	le16 type, flags;
	le32 length;			/* of the payload */
	le32 room;			/* PAGES, ZEROES: bytes of memory; else as @length */
	le64 offset;			/* PAGES, ZEROES, WANT: in RAM; INFO, STATE, MISSING: in the whole; END: frames of memory */
	le32 payload_crc, crc;		/* the second: of the header before it */
};
_Static_assert(sizeof(struct migrate_header) == 32, "as in the stream");

struct migrate_hello {
	char magic[8];
	le32 version;
	le32 postcopy_page;		/* bytes of a page, if there may be post-copy; else 0 */
};
_Static_assert(sizeof(struct migrate_hello) == 16, "as in the stream");

#define MIGRATE_BUFFER	(2 * (MIGRATE_PAYLOAD_MAX + sizeof(struct migrate_header)))

/** struct migrate_frame - one that has come; @payload lives until the next one is asked for */
struct migrate_frame {
	enum migrate_type type;
	unsigned int flags;
	uint32_t length, room;
	uint64_t offset;
	const uint8_t *payload;
};

/** struct migrate_stream - one end of the connection; a thread reads, one writes */
struct migrate_stream {
	int fd;				/* a socket */
	uint8_t *in, *out;		/* MIGRATE_BUFFER each */
	size_t in_start, in_end, out_length;
	uint64_t received, sent;	/* bytes */
};

/** migrate_stream_init() - on @fd, which stays the caller's; -ENOMEM. Nothing here says anything. */
int __must_check migrate_stream_init(struct migrate_stream *stream, int fd);
void migrate_stream_exit(struct migrate_stream *stream);

/** migrate_put() - a frame into the buffer, which is sent when it is full; 0 or negative errno */
int __must_check migrate_put(struct migrate_stream *stream, enum migrate_type type, unsigned int flags, uint64_t offset,
			     const void *payload, size_t length);
/** migrate_put_memory() - the same of PAGES and ZEROES: @room bytes of memory, which @payload may be compressed of */
int __must_check migrate_put_memory(struct migrate_stream *stream, enum migrate_type type, unsigned int flags, uint64_t offset,
				    uint32_t room, const void *payload, size_t length);
/** migrate_missing_words() - of 64 pages each, in the bitmap of what is missing of so much memory */
static inline uint64_t migrate_missing_words(uint64_t ram_size, uint32_t page)
{
	return ((ram_size + page - 1) / page + 63) / 64;
}

/** migrate_put_all() - @length bytes in pieces, the last one marked */
int __must_check migrate_put_all(struct migrate_stream *stream, enum migrate_type type, const void *data, size_t length);
/** migrate_flush() - sends what is in the buffer */
int __must_check migrate_flush(struct migrate_stream *stream);
/** migrate_say() - a frame without a payload, or with a text, at once */
int __must_check migrate_say(struct migrate_stream *stream, enum migrate_type type, const char *text);

/**
 * migrate_next() - the next frame
 * @wait: waits for it; else -EAGAIN if it isn't all there, and nothing is lost
 * Returns 0, -EPIPE: the stream ends, -EPROTO: it is none, or damaged, or a negative errno of the socket's.
 */
int __must_check migrate_next(struct migrate_stream *stream, struct migrate_frame *frame, bool wait);

#endif
