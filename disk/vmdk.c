/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMDK images of one file (VMware's Virtual Disk Format 5.0, hosted sparse extents): monolithicSparse, and
 * streamOptimized, whose grains are compressed. Read only.
 *
 * A directory of tables of grains; the directory is in memory, and the table that was last looked at. The text in the
 * file, its descriptor, is asked only whether this is all of the disk.
 */
#include <string.h>
#include <strings.h>
#include <zlib.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "disk/job.h"
#include "kvm/log.h"

#define SECTOR			512u
#define GRAINS			512u		/* of a table */
#define DIRECTORY_MAX		MIB(32)
#define DESCRIPTOR_MAX		KIB(64)
#define GRAIN_MAX		MIB(2)
#define AT_END			UINT64_MAX	/* a directory whose place the footer tells */

enum { FLAG_ZERO_GRAINS = 1u << 2, FLAG_COMPRESSED = 1u << 16 };

struct vmdk_header {
	uint8_t magic[4];
	le32 version, flags;
	le64 capacity, grain_size, descriptor_offset, descriptor_size;
	le32 table_entries;
	le64 redundant_directory, directory, overhead;
	uint8_t unclean, line_ends[4];
	le16 compression;
	uint8_t reserved[433];
} __packed;
_Static_assert(sizeof(struct vmdk_header) == 512, "VMDK: the header is a sector");

/* In front of a compressed grain. */
struct vmdk_grain {
	le64 sector;
	le32 length;
} __packed;

struct vmdk {
	struct disk *disk;
	struct disk_file *file;
	bool compressed, zero_grains;
	uint64_t grain_bytes;
	uint32_t tables;
	uint32_t *directory;		/* in the host's byte order */
	uint32_t table[GRAINS], table_sector;	/* the latter 0: none */
	uint8_t *expanded;		/* the grain that was last expanded */
	uint64_t expanded_sector;
	bool complained;
};

#define refuse(vmdk, error, format, ...) \
	log_error(error, "disk '%s': VMDK: " format, (vmdk)->file->path, ##__VA_ARGS__)

static int vmdk_probe(const uint8_t *head, size_t length)
{
	return length >= 4 && !memcmp(head, "KDMV", 4) ? 3 : 0;
}

static int vmdk_broken(struct vmdk *vmdk, const char *what, uint64_t sector)
{
	if (!vmdk->complained)
		refuse(vmdk, EIO, "%s (at sector %llu)", what, (unsigned long long)sector);
	vmdk->complained = true;
	return -EIO;
}

/* ---- the descriptor ---- */

/* The value of a line `key=value`, without its quotes, into @value; whether there is one. */
static bool descriptor_get(const char *text, const char *key, char *value, size_t size)
{
	size_t length = strlen(key), taken = 0;

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		if (strncasecmp(line, key, length) || line[length] != '=')
			continue;
		for (line += length + 1; *line && *line != '\n' && *line != '\r' && taken + 1 < size; line++)
			if (*line != '"' && *line != ' ')
				value[taken++] = *line;
		value[taken] = '\0';
		return true;
	}
	return false;
}

static unsigned int descriptor_extents(const char *text)
{
	static const char *const access[] = { "RW ", "RDONLY ", "NOACCESS " };
	unsigned int count = 0;

	for (const char *line = text; line; line = strchr(line, '\n')) {
		line += *line == '\n';
		for (size_t i = 0; i < ARRAY_SIZE(access); i++)
			count += !strncmp(line, access[i], strlen(access[i]));
	}
	return count;
}

static int check_descriptor(struct vmdk *vmdk, const char *text)
{
	char value[64];

	if (descriptor_get(text, "parentCID", value, sizeof(value)) && strcasecmp(value, "ffffffff"))
		return refuse(vmdk, ENOTSUP, "has a parent, without which it can't be read");
	if (!descriptor_get(text, "createType", value, sizeof(value)))
		return refuse(vmdk, EINVAL, "its descriptor doesn't say what it is");
	for (char *at = value; *at; at++)
		*at = *at < ' ' || *at > '~' ? '?' : *at;
	if (strcasecmp(value, "monolithicSparse") && strcasecmp(value, "streamOptimized"))
		return refuse(vmdk, ENOTSUP, "of type '%s' (monolithicSparse and streamOptimized can be read)", value);
	if (descriptor_extents(text) != 1)
		return refuse(vmdk, ENOTSUP, "a disk of %u extents (of one can be)", descriptor_extents(text));
	return 0;
}

static int read_descriptor(struct vmdk *vmdk, const struct vmdk_header *header)
{
	uint64_t at = le64_get(header->descriptor_offset), sectors = le64_get(header->descriptor_size);
	_cleanup_free_ char *text = NULL;
	int result;

	if (!at)
		return refuse(vmdk, ENOTSUP, "one of several files of a disk (monolithicSparse and streamOptimized can be read)");
	if (!sectors || sectors > DESCRIPTOR_MAX / SECTOR || at > INT64_MAX / SECTOR ||
	    !range_contains(0, vmdk->file->size, at * SECTOR, sectors * SECTOR))
		return refuse(vmdk, EINVAL, "its descriptor of %llu sectors lies at %llu, too long or past the end of the file",
			      (unsigned long long)sectors, (unsigned long long)at);
	text = calloc(1, (size_t)(sectors * SECTOR) + 1);
	if (!text)
		return refuse(vmdk, ENOMEM, "no memory");
	result = disk_file_read(vmdk->file, at * SECTOR, text, (size_t)(sectors * SECTOR));
	return result ? log_errno(result, "disk '%s': can't be read", vmdk->file->path) : check_descriptor(vmdk, text);
}

/* ---- the header ---- */

static int check_header(struct vmdk *vmdk, const struct vmdk_header *header)
{
	uint32_t version = le32_get(header->version), flags = le32_get(header->flags);
	uint64_t grain = le64_get(header->grain_size), capacity = le64_get(header->capacity);

	if (memcmp(header->magic, "KDMV", 4))
		return refuse(vmdk, EMEDIUMTYPE, "not a VMDK image");
	if (!version || version > 3)
		return refuse(vmdk, ENOTSUP, "version %u is not known (1 to 3 are)", version);
	if (!IS_POWER_OF_2(grain) || grain > GRAIN_MAX / SECTOR)
		return refuse(vmdk, EINVAL, "grains of %llu sectors (a power of 2 up to %llu can be)", (unsigned long long)grain,
			      GRAIN_MAX / SECTOR + 0ULL);
	if (!capacity || capacity > INT64_MAX / SECTOR)
		return refuse(vmdk, EINVAL, "a disk of %llu sectors", (unsigned long long)capacity);
	if (le32_get(header->table_entries) != GRAINS)
		return refuse(vmdk, EINVAL, "tables of %u entries (512 can be)", le32_get(header->table_entries));
	vmdk->compressed = flags & FLAG_COMPRESSED;
	vmdk->zero_grains = flags & FLAG_ZERO_GRAINS;
	if (vmdk->compressed && le16_get(header->compression) != 1)
		return refuse(vmdk, ENOTSUP, "compressed by method %u, which is not known (1, deflate, is)", le16_get(header->compression));
	vmdk->grain_bytes = grain * SECTOR;
	vmdk->disk->info.size = capacity * SECTOR;
	return 0;
}

static int read_directory(struct vmdk *vmdk, const struct vmdk_header *header)
{
	uint64_t reach = vmdk->grain_bytes * GRAINS, tables = (vmdk->disk->info.size - 1) / reach + 1, at = le64_get(header->directory);
	int result;

	if (tables * 4 > DIRECTORY_MAX || at > INT64_MAX / SECTOR || !at ||
	    !range_contains(0, vmdk->file->size, at * SECTOR, tables * 4))
		return refuse(vmdk, EINVAL, "its directory of %llu tables lies at sector %llu, too long or past the end of the file",
			      (unsigned long long)tables, (unsigned long long)at);
	vmdk->tables = (uint32_t)tables;
	vmdk->directory = malloc((size_t)tables * 4);
	if (!vmdk->directory)
		return refuse(vmdk, ENOMEM, "no memory");
	result = disk_file_read(vmdk->file, at * SECTOR, vmdk->directory, (size_t)tables * 4);
	for (uint32_t i = 0; i < vmdk->tables; i++)
		vmdk->directory[i] = le32toh(vmdk->directory[i]);
	return result ? log_errno(result, "disk '%s': its directory can't be read", vmdk->file->path) : 0;
}

static int read_header(struct vmdk *vmdk)
{
	struct vmdk_header header;
	int result = disk_file_read(vmdk->file, 0, &header, sizeof(header));

	if (result)
		return log_errno(result, "disk '%s': can't be read", vmdk->file->path);
	result = check_header(vmdk, &header);
	if (!result)
		result = read_descriptor(vmdk, &header);
	if (!result && le64_get(header.directory) == AT_END) {
		/* written as a stream: the footer, a sector in front of the last, is a header that knows */
		if (vmdk->file->size < 2 * sizeof(header))
			return refuse(vmdk, EINVAL, "cut off: it has no footer");
		result = disk_file_read(vmdk->file, vmdk->file->size - 2 * sizeof(header), &header, sizeof(header));
		if (!result && memcmp(header.magic, "KDMV", 4))
			return refuse(vmdk, EINVAL, "cut off: it has no footer");
		if (!result)
			result = check_header(vmdk, &header);
	}
	return result ? result : read_directory(vmdk, &header);
}

/* ---- reading ---- */

static int load_table(struct vmdk *vmdk, uint32_t sector)
{
	int result;

	if (vmdk->table_sector == sector)
		return 0;
	if (!range_contains(0, vmdk->file->size, (uint64_t)sector * SECTOR, sizeof(vmdk->table)))
		return vmdk_broken(vmdk, "a table past the end of the file", sector);
	vmdk->table_sector = 0;
	result = disk_file_read(vmdk->file, (uint64_t)sector * SECTOR, vmdk->table, sizeof(vmdk->table));
	for (uint32_t i = 0; i < GRAINS; i++)
		vmdk->table[i] = le32toh(vmdk->table[i]);
	if (!result)
		vmdk->table_sector = sector;
	return result;
}

static int vmdk_map(struct disk *disk, uint64_t offset, uint64_t length, struct disk_extent *extent)
{
	struct vmdk *vmdk = disk->format_state;
	uint64_t grain = offset / vmdk->grain_bytes, in_grain = offset % vmdk->grain_bytes;
	uint32_t table = vmdk->directory[grain / GRAINS], sector;
	int result;

	*extent = (struct disk_extent){ .kind = DISK_EXTENT_ZERO, .length = length, .file = vmdk->file };
	extent->length = MIN(length, vmdk->grain_bytes - in_grain);
	if (!table) {
		extent->length = MIN(length, (GRAINS - grain % GRAINS) * vmdk->grain_bytes - in_grain);
		return 0;
	}
	result = load_table(vmdk, table);
	if (result)
		return result;
	sector = vmdk->table[grain % GRAINS];
	if (!sector || (sector == 1 && vmdk->zero_grains))
		return 0;
	if ((uint64_t)sector * SECTOR >= vmdk->file->size)
		return vmdk_broken(vmdk, "a grain past the end of the file", sector);
	extent->kind = vmdk->compressed ? DISK_EXTENT_COMPRESSED : DISK_EXTENT_DATA;
	extent->offset = (uint64_t)sector * SECTOR + in_grain;
	extent->entry = sector;
	extent->skip = (uint32_t)in_grain;
	return 0;
}

/* Exactly a grain, or what the disk's end leaves of one: zeroes behind that. */
static int inflate_grain(struct vmdk *vmdk, uint8_t *from, uint32_t length)
{
	z_stream stream = { .next_in = from, .avail_in = length, .next_out = vmdk->expanded, .avail_out = (unsigned int)vmdk->grain_bytes };
	int result;

	if (inflateInit(&stream) != Z_OK)
		return -ENOMEM;
	memset(vmdk->expanded, 0, (size_t)vmdk->grain_bytes);
	result = inflate(&stream, Z_FINISH);
	inflateEnd(&stream);
	return result == Z_STREAM_END ? 0 : -EIO;
}

static int vmdk_expand(struct disk *disk, uint64_t sector, const uint8_t **bytes)
{
	struct vmdk *vmdk = disk->format_state;
	uint64_t at = sector * SECTOR + sizeof(struct vmdk_grain);
	_cleanup_free_ uint8_t *from = NULL;
	struct vmdk_grain grain;
	uint32_t length;
	int result;

	*bytes = vmdk->expanded;
	if (vmdk->expanded_sector == sector)
		return 0;
	result = disk_file_read(vmdk->file, sector * SECTOR, &grain, sizeof(grain));
	length = le32_get(grain.length);
	if (!result && (!length || length > 2 * GRAIN_MAX || !range_contains(0, vmdk->file->size, at, length)))
		return vmdk_broken(vmdk, "a compressed grain that is too long or past the end of the file", sector);
	from = malloc(MAX(length, 1u));
	if (!from)
		return -ENOMEM;
	vmdk->expanded_sector = 0;
	if (!result)
		result = disk_file_read(vmdk->file, at, from, length);
	if (!result)
		result = inflate_grain(vmdk, from, length);
	if (result == -EIO)
		return vmdk_broken(vmdk, "a compressed grain that can't be expanded", sector);
	if (!result)
		vmdk->expanded_sector = sector;
	return result;
}

/* ---- the whole ---- */

static void vmdk_free(struct vmdk *vmdk)
{
	free(vmdk->directory);
	free(vmdk->expanded);
	free(vmdk);
}

static void vmdk_close(struct disk *disk)
{
	vmdk_free(disk->format_state);
}

static int vmdk_open(struct disk *disk)
{
	struct vmdk *vmdk = calloc(1, sizeof(*vmdk));
	int result;

	if (!vmdk)
		return log_errno(ENOMEM, "disk '%s'", disk->file->path);
	vmdk->disk = disk;
	vmdk->file = disk->file;
	disk->format_state = vmdk;
	result = read_header(vmdk);
	if (!result && !disk->info.read_only)
		result = refuse(vmdk, EROFS, "can be read only (add ',ro', or convert it)");
	if (!result && vmdk->compressed) {
		vmdk->expanded = malloc((size_t)vmdk->grain_bytes);
		result = vmdk->expanded ? 0 : refuse(vmdk, ENOMEM, "no memory");
	}
	if (result)
		vmdk_free(vmdk);
	return result;
}

static int vmdk_describe(struct disk *disk, json_t *facts)
{
	const struct vmdk *vmdk = disk->format_state;
	json_t *data = json_object(), *specific = json_object();
	int failed = json_object_set_new(facts, "cluster-size", json_integer((json_int_t)vmdk->grain_bytes));

	failed |= json_object_set_new(data, "create-type", json_string(vmdk->compressed ? "streamOptimized" : "monolithicSparse"));
	failed |= json_object_set_new(specific, "type", json_string("vmdk"));
	failed |= json_object_set_new(specific, "data", data);
	failed |= json_object_set_new(facts, "format-specific", specific);
	return failed ? -ENOMEM : 0;
}

static const struct disk_format vmdk_format = {
	.name = "vmdk",
	.probe = vmdk_probe,
	.open = vmdk_open,
	.close = vmdk_close,
	.submit = disk_submit_mapped,
	.map = vmdk_map,
	.expand = vmdk_expand,
	.describe = vmdk_describe,
};
DISK_FORMAT(vmdk_format);
