/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing a snapshot's file: under another name in the same folder until all of it is on the medium. The header is
 * written last, so that a file that was left by a power cut is no snapshot by any name.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "kvm/io.h"
#include "kvm/log.h"
#include "state/snapshot-file.h"
#include "state/snapshot-io.h"

uint32_t snapshot_sum(const void *data, size_t length)
{
	uint32_t sum;

	if (bytes_are_zero(data, length))
		return 0;
	sum = (uint32_t)crc32_z(0, data, length);
	return sum ? sum : 1;
}

/* ---- the file ---- */

int snapshot_writer_open(struct snapshot_writer *writer, const char *path)
{
	*writer = (struct snapshot_writer){ .fd = -1, .end = SNAPSHOT_PAGE };
	memcpy(writer->header.magic, "LKVMSNAP", sizeof(writer->header.magic));
	writer->header.version = le32_of(SNAPSHOT_VERSION);
	writer->path = strdup(path);
	if (!writer->path || asprintf(&writer->temporary, "%s.XXXXXX", path) < 0) {
		writer->temporary = NULL;
		snapshot_writer_close(writer);
		return log_errno(ENOMEM, "snapshot '%s'", path);
	}
	writer->fd = mkostemp(writer->temporary, O_CLOEXEC);
	if (writer->fd < 0) {
		int result = log_errno(errno, "snapshot '%s': can't be made there", path);

		free(writer->temporary);
		writer->temporary = NULL;
		snapshot_writer_close(writer);
		return result;
	}
	return 0;
}

static int section_add(struct snapshot_writer *writer, const char *name, uint64_t length, uint32_t crc)
{
	struct snapshot_section *section = &writer->header.section[writer->sections];

	if (writer->sections == SNAPSHOT_SECTIONS || strlen(name) >= sizeof(section->name))
		return log_error(E2BIG, "snapshot '%s': too many sections", writer->path);
	*section = (struct snapshot_section){ .offset = le64_of(writer->end), .length = le64_of(length), .crc = le32_of(crc) };
	memcpy(section->name, name, strlen(name));
	writer->sections++;
	writer->end = ALIGN_UP(writer->end + length, (uint64_t)SNAPSHOT_PAGE);
	return 0;
}

int snapshot_writer_put(struct snapshot_writer *writer, const char *name, const void *data, size_t length)
{
	int result = fd_write_at(writer->fd, writer->end, data, length);

	if (result)
		return log_errno(result, "snapshot '%s'", writer->path);
	return section_add(writer, name, length, (uint32_t)crc32_z(0, data, length));
}

int snapshot_writer_memory(struct snapshot_writer *writer, uint64_t length)
{
	size_t blocks = (size_t)(length / SNAPSHOT_BLOCK + (length % SNAPSHOT_BLOCK != 0));
	int result;

	writer->sums = calloc(blocks, sizeof(*writer->sums));
	if (!writer->sums)
		return log_errno(ENOMEM, "snapshot '%s'", writer->path);
	writer->memory_length = length;
	/* its checksum is known at the end */
	result = section_add(writer, "sums", blocks * sizeof(*writer->sums), 0);
	writer->end = writer->memory_offset = ALIGN_UP(writer->end, SNAPSHOT_MEMORY_ALIGN);
	if (!result)
		result = section_add(writer, "memory", length, 0);
	if (!result && ftruncate(writer->fd, (off_t)(writer->memory_offset + length)) < 0)
		result = log_errno(errno, "snapshot '%s'", writer->path);
	return result;
}

/* Pages of zeroes stay holes. */
int snapshot_writer_block(struct snapshot_writer *writer, uint64_t offset, const void *data, size_t length)
{
	const char *bytes = data;
	size_t begin = 0, end;
	int result = 0;

	writer->sums[offset / SNAPSHOT_BLOCK] = le32_of(snapshot_sum(data, length));
	if (!le32_get(writer->sums[offset / SNAPSHOT_BLOCK]))
		return 0;
	while (begin < length && !result) {
		while (begin < length && bytes_are_zero(bytes + begin, MIN((size_t)SNAPSHOT_PAGE, length - begin)))
			begin += SNAPSHOT_PAGE;
		end = begin;
		while (end < length && !bytes_are_zero(bytes + end, MIN((size_t)SNAPSHOT_PAGE, length - end)))
			end += SNAPSHOT_PAGE;
		if (begin < length)
			result = fd_write_at(writer->fd, writer->memory_offset + offset + begin, bytes + begin,
						MIN(end, length) - begin);
		begin = end;
	}
	return result;
}

static int sums_write(struct snapshot_writer *writer)
{
	size_t length = (size_t)le64_get(writer->header.section[writer->sections - 2].length);
	struct snapshot_section *section = &writer->header.section[writer->sections - 2];

	section->crc = le32_of((uint32_t)crc32_z(0, (const uint8_t *)writer->sums, length));
	return fd_write_at(writer->fd, le64_get(section->offset), writer->sums, length);
}

int snapshot_writer_commit(struct snapshot_writer *writer)
{
	struct snapshot_header *header = &writer->header;
	int result = writer->sums ? sums_write(writer) : 0;

	header->sections = le32_of(writer->sections);
	header->file_size = le64_of(writer->sums ? writer->memory_offset + writer->memory_length : writer->end);
	header->crc = le32_of((uint32_t)crc32(0, (const uint8_t *)header, offsetof(struct snapshot_header, crc)));
	if (!result && ftruncate(writer->fd, (off_t)le64_get(header->file_size)) < 0)
		result = -errno;
	if (!result)
		result = fd_write_at(writer->fd, 0, header, sizeof(*header));
	if (!result && fdatasync(writer->fd) < 0)
		result = -errno;
	if (!result && rename(writer->temporary, writer->path) < 0)
		result = -errno;
	if (result)
		return log_errno(result, "snapshot '%s'", writer->path);
	free(writer->temporary);
	writer->temporary = NULL;
	return 0;
}

void snapshot_writer_close(struct snapshot_writer *writer)
{
	if (writer->fd >= 0)
		close(writer->fd);
	if (writer->temporary)
		unlink(writer->temporary);
	free(writer->temporary);
	free(writer->path);
	free(writer->sums);
	*writer = (struct snapshot_writer){ .fd = -1 };
}
