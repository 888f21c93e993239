/* SPDX-License-Identifier: BSD-2-Clause */
/* Reading a snapshot's file; its form is told in snapshot-file.h. Any thread, one at a time a file. */
#include "state/snapshot-file.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <zlib.h>

#include "kvm/io.h"
#include "kvm/log.h"
#include "state/snapshot-io.h"

static const char snapshot_magic[8] = "LKVMSNAP";

static int refuse(const struct snapshot_file *file, const char *what)
{
	return log_error(EINVAL, "snapshot '%s': %s", file->path, what);
}

/* ---- the header ---- */

static int section_check(const struct snapshot_file *file, const struct snapshot_section *section)
{
	uint64_t size = le64_get(file->header.file_size), offset = le64_get(section->offset);

	if (!section->name[0] || section->name[sizeof(section->name) - 1])
		return refuse(file, "a section without a name");
	if (offset < SNAPSHOT_PAGE || offset % SNAPSHOT_PAGE || !range_contains(0, size, offset, le64_get(section->length)))
		return refuse(file, "a section lies outside of the file");
	return 0;
}

static int header_check(const struct snapshot_file *file, uint64_t size)
{
	const struct snapshot_header *header = &file->header;
	int result = 0;

	if (memcmp(header->magic, snapshot_magic, sizeof(header->magic)))
		return refuse(file, "is no snapshot (lkvm snapshot makes them)");
	if (le32_get(header->version) != SNAPSHOT_VERSION)
		return log_error(ENOTSUP, "snapshot '%s': of version %u, and this lkvm reads version %u", file->path,
				 le32_get(header->version), SNAPSHOT_VERSION);
	if (crc32(0, (const uint8_t *)header, offsetof(struct snapshot_header, crc)) != le32_get(header->crc))
		return refuse(file, "its header is damaged");
	if (le64_get(header->file_size) != size)
		return log_error(EINVAL, "snapshot '%s': has %llu bytes instead of %llu: it is cut off", file->path,
				 (unsigned long long)size, (unsigned long long)le64_get(header->file_size));
	if (le32_get(header->sections) > SNAPSHOT_SECTIONS)
		return refuse(file, "has too many sections");
	for (uint32_t i = 0; i < le32_get(header->sections) && !result; i++)
		result = section_check(file, &header->section[i]);
	return result;
}

/* A file that ends in between is damaged. */
static int read_whole(int fd, uint64_t offset, void *data, size_t length)
{
	ssize_t got = fd_read_at(fd, offset, data, length);

	return got < 0 ? (int)got : (size_t)got < length ? -EIO : 0;
}

static int header_read(struct snapshot_file *file)
{
	struct stat status;
	int result;

	if (fstat(file->fd, &status))
		return log_errno(errno, "snapshot '%s'", file->path);
	if (!S_ISREG(status.st_mode))
		return refuse(file, "is no file");
	if ((uint64_t)status.st_size < sizeof(file->header))
		return refuse(file, "is no snapshot: it is too short");
	result = read_whole(file->fd, 0, &file->header, sizeof(file->header));
	return result ? log_errno(result, "snapshot '%s'", file->path) : header_check(file, (uint64_t)status.st_size);
}

static const struct snapshot_section *section_find(const struct snapshot_file *file, const char *name)
{
	for (uint32_t i = 0; i < le32_get(file->header.sections); i++)
		if (!strcmp(file->header.section[i].name, name))
			return &file->header.section[i];
	log_error(EINVAL, "snapshot '%s': has no section %s", file->path, name);
	return NULL;
}

/* ---- sections ---- */

int snapshot_file_read(const struct snapshot_file *file, const char *name, size_t max, uint8_t **data, size_t *length)
{
	const struct snapshot_section *section = section_find(file, name);
	_cleanup_free_ uint8_t *bytes = NULL;
	int result;

	if (!section)
		return -EINVAL;
	if (le64_get(section->length) > max)
		return log_error(EINVAL, "snapshot '%s': section %s has %llu bytes, and at most %zu can be", file->path, name,
				 (unsigned long long)le64_get(section->length), max);
	*length = (size_t)le64_get(section->length);
	bytes = malloc(*length + 1);
	if (!bytes)
		return log_errno(ENOMEM, "snapshot '%s'", file->path);
	result = read_whole(file->fd, le64_get(section->offset), bytes, *length);
	if (result)
		return log_errno(result, "snapshot '%s': section %s", file->path, name);
	if (crc32_z(0, bytes, *length) != le32_get(section->crc))
		return log_error(EINVAL, "snapshot '%s': section %s is damaged", file->path, name);
	*data = take_pointer(&bytes);
	return 0;
}

static int info_read(struct snapshot_file *file)
{
	_cleanup_free_ uint8_t *text = NULL;
	size_t length;
	int result = snapshot_file_read(file, "info", SNAPSHOT_INFO_MAX, &text, &length);

	if (result)
		return result;
	file->info = json_loadb((const char *)text, length, JSON_REJECT_DUPLICATES, NULL);
	return json_is_object(file->info) ? 0 : refuse(file, "its description is no JSON");
}

int snapshot_file_open(struct snapshot_file *file, const char *path)
{
	int result;

	*file = (struct snapshot_file){ .fd = -1 };
	file->path = strdup(path);
	if (!file->path)
		return log_errno(ENOMEM, "snapshot '%s'", path);
	file->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	result = file->fd < 0 ? log_errno(errno, "snapshot '%s'", path) : header_read(file);
	if (!result)
		result = info_read(file);
	if (result)
		snapshot_file_close(file);
	return result;
}

void snapshot_file_close(struct snapshot_file *file)
{
	if (file->fd >= 0)
		close(file->fd);
	json_decref(file->info);
	free(file->path);
	*file = (struct snapshot_file){ .fd = -1 };
}

/* ---- memory ---- */

int snapshot_file_memory(const struct snapshot_file *file, uint64_t *offset, uint64_t *length)
{
	const struct snapshot_section *section = section_find(file, "memory");

	if (!section)
		return -EINVAL;
	*offset = le64_get(section->offset);
	*length = le64_get(section->length);
	if (*offset % SNAPSHOT_MEMORY_ALIGN || !*length || *length % SNAPSHOT_PAGE)
		return refuse(file, "its memory is not laid out to be mapped");
	return 0;
}

static int block_load(const struct snapshot_file *file, uint64_t at, void *to, size_t length, le32 sum)
{
	/* what is a hole reads as zeroes and needs no reading */
	off_t data = lseek(file->fd, (off_t)at, SEEK_DATA);
	int result;

	if (!le32_get(sum) && ((data < 0 && errno == ENXIO) || data >= (off_t)(at + length)))
		return 0;
	result = read_whole(file->fd, at, to, length);
	if (result)
		return log_errno(result, "snapshot '%s': memory", file->path);
	if (snapshot_sum(to, length) == le32_get(sum))
		return 0;
	return log_error(EINVAL, "snapshot '%s': its memory is damaged at 0x%llx", file->path, (unsigned long long)at);
}

int snapshot_file_load_memory(const struct snapshot_file *file, void *to, uint64_t length)
{
	_cleanup_free_ uint8_t *sums = NULL, *scratch = to ? NULL : malloc(SNAPSHOT_BLOCK);
	uint64_t offset, there, blocks = length / SNAPSHOT_BLOCK + (length % SNAPSHOT_BLOCK != 0);
	size_t sums_length;
	int result = snapshot_file_memory(file, &offset, &there);

	if (!to && !scratch)
		return log_errno(ENOMEM, "snapshot '%s'", file->path);
	if (!result && there != length)
		result = refuse(file, "its memory is not of the size that its machine has");
	if (!result)
		result = snapshot_file_read(file, "sums", blocks * sizeof(le32), &sums, &sums_length);
	if (!result && sums_length != blocks * sizeof(le32))
		result = refuse(file, "has not a checksum for each block of memory");
	for (uint64_t i = 0, at = 0; i < blocks && !result; i++, at += SNAPSHOT_BLOCK) {
		le32 sum;

		memcpy(&sum, sums + i * sizeof(sum), sizeof(sum));
		result = block_load(file, offset + at, to ? (char *)to + at : (char *)scratch,
				    (size_t)MIN(length - at, SNAPSHOT_BLOCK), sum);
	}
	return result;
}
