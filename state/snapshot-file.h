/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file of a snapshot: a header that names sections, each with its checksum, and guest memory.
 *
 *	0	header: 4 KiB; see struct snapshot_header
 *	4096	sections, one behind the other at multiples of 4 KiB: "info" (JSON), "state" (kvm/state.h), "sums"
 *	...	"memory", from a multiple of 2 MiB on: guest memory as it lies in its file, so that it can be mapped; zeroes
 *		are holes. It has no checksum of its own: "sums" has one of each 256 KiB, which is looked at by those
 *		who read it all.
 *
 * All integers are little-endian; checksums are CRC-32 as zlib's. What is read is hostile: offsets, lengths, counts and
 * names are checked before they are used, and a file that is cut off is refused.
 */
#ifndef STATE_SNAPSHOT_FILE_H
#define STATE_SNAPSHOT_FILE_H

#include <jansson.h>

#include "kvm/types.h"

#define SNAPSHOT_VERSION	1
#define SNAPSHOT_PAGE		4096
#define SNAPSHOT_MEMORY_ALIGN	MIB(2)
#define SNAPSHOT_BLOCK		KIB(256)	/* of memory, as "sums" counts it */
#define SNAPSHOT_SECTIONS	16
#define SNAPSHOT_INFO_MAX	MIB(1)
#define SNAPSHOT_STATE_MAX	MIB(256)

struct snapshot_section {
	char name[16];			/* zero-padded, at least one zero */
	le64 offset, length;
	le32 crc;
	le32 reserved;
};
_Static_assert(sizeof(struct snapshot_section) == 40, "as in the file");

struct snapshot_header {
	char magic[8];
	le32 version, sections;
	le64 file_size;
	struct snapshot_section section[SNAPSHOT_SECTIONS];
	uint8_t reserved[SNAPSHOT_PAGE - 24 - SNAPSHOT_SECTIONS * sizeof(struct snapshot_section) - 4];
	le32 crc;			/* of all before */
};
_Static_assert(sizeof(struct snapshot_header) == SNAPSHOT_PAGE, "the header is a page");

/** struct snapshot_file - one that is open for reading */
struct snapshot_file {
	int fd;				/* -1: none */
	char *path;
	struct snapshot_header header;
	json_t *info;
};

/**
 * snapshot_file_open() - checks the header and reads "info"
 * Returns 0, or negative errno having said what is wrong with the file; @file is then as snapshot_file_close() leaves it.
 */
int __must_check snapshot_file_open(struct snapshot_file *file, const char *path);
void snapshot_file_close(struct snapshot_file *file);

/** snapshot_file_read() - section @name whole, checked, at most @max bytes, into *@data to be freed; 0 or -errno (said) */
int __must_check snapshot_file_read(const struct snapshot_file *file, const char *name, size_t max, uint8_t **data,
				    size_t *length);
/** snapshot_file_memory() - where guest memory lies */
int __must_check snapshot_file_memory(const struct snapshot_file *file, uint64_t *offset, uint64_t *length);
/** snapshot_file_load_memory() - reads guest memory to @to, which is @length zeroes, and compares its checksums; NULL: compares */
int __must_check snapshot_file_load_memory(const struct snapshot_file *file, void *to, uint64_t length);

/** struct snapshot_writer - a file that is being written, under another name until it is whole */
struct snapshot_writer {
	int fd;				/* -1: none */
	char *path, *temporary;
	struct snapshot_header header;
	uint64_t end;			/* where the next section goes */
	unsigned int sections;
	le32 *sums;
	uint64_t memory_offset, memory_length;
};

/** snapshot_writer_open() - beside @path, mode 0600; 0 or negative errno (said) */
int __must_check snapshot_writer_open(struct snapshot_writer *writer, const char *path);
/** snapshot_writer_put() - a section; any thread, one at a time */
int __must_check snapshot_writer_put(struct snapshot_writer *writer, const char *name, const void *data, size_t length);
/** snapshot_writer_memory() - behind all sections: makes room for guest memory; blocks follow in any order */
int __must_check snapshot_writer_memory(struct snapshot_writer *writer, uint64_t length);
/** snapshot_writer_block() - the block of SNAPSHOT_BLOCK bytes (the last: less) at @offset of guest memory; any thread; no message */
int __must_check snapshot_writer_block(struct snapshot_writer *writer, uint64_t offset, const void *data, size_t length);
/** snapshot_writer_commit() - header, checksums, on the medium, renamed; snapshot_writer_close() - gives up what isn't committed */
int __must_check snapshot_writer_commit(struct snapshot_writer *writer);
void snapshot_writer_close(struct snapshot_writer *writer);

#endif
