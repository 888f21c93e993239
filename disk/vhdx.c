/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VHDX images (MS-VHDX): dynamic and fixed ones, read only. One whose log would have to be replayed first is refused,
 * since what it says now is not what it was to say.
 *
 * Two headers and two region tables, of which one may be damaged; the metadata; the table of blocks, of which a page
 * at a time is in memory.
 */
#include <string.h>

#include "disk/engine.h"
#include "disk/file.h"
#include "disk/job.h"
#include "kvm/log.h"

#define HEADER_BYTES		4096u
#define REGIONS_BYTES		65536u
#define METADATA_BYTES		65536u		/* of its table */
#define ENTRIES_MAX		2047u
#define SIZE_MAX_BYTES		(64ULL << 40)
#define PAGE_ENTRIES		512u
#define ENTRY_OFFSET		0xfffffffffff00000ULL

enum block_state { BLOCK_NOT_PRESENT, BLOCK_UNDEFINED, BLOCK_ZERO, BLOCK_UNMAPPED, BLOCK_PRESENT = 6, BLOCK_PARTLY = 7 };

struct guid {
	uint8_t bytes[16];
};

static const struct guid
	region_blocks = { { 0x66, 0x77, 0xc2, 0x2d, 0x23, 0xf6, 0x00, 0x42, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08 } },
	region_metadata = { { 0x06, 0xa2, 0x7c, 0x8b, 0x90, 0x47, 0x9a, 0x4b, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e } },
	item_parameters = { { 0x37, 0x67, 0xa1, 0xca, 0x36, 0xfa, 0x43, 0x4d, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b } },
	item_size = { { 0x24, 0x42, 0xa5, 0x2f, 0x1b, 0xcd, 0x76, 0x48, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8 } },
	item_page83 = { { 0xab, 0x12, 0xca, 0xbe, 0xe6, 0xb2, 0x23, 0x45, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46 } },
	item_logical = { { 0x1d, 0xbf, 0x41, 0x81, 0x6f, 0xa9, 0x09, 0x47, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f } },
	item_physical = { { 0xc7, 0x48, 0xa3, 0xcd, 0x5d, 0x44, 0x71, 0x44, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56 } };

struct header {
	uint8_t signature[4];
	le32 checksum;
	le64 sequence;
	struct guid file_write, data_write, log;
	le16 log_version, version;
	le32 log_length;
	le64 log_offset;
} __packed;

struct regions {
	uint8_t signature[4];
	le32 checksum, count, reserved;
} __packed;

struct region {
	struct guid guid;
	le64 offset;
	le32 length, required;
} __packed;

struct items {
	uint8_t signature[8], reserved[2];
	le16 count;
	uint8_t reserved_2[20];
} __packed;

struct item {
	struct guid guid;
	le32 offset, length, flags, reserved;
} __packed;
_Static_assert(sizeof(struct region) == 32 && sizeof(struct item) == 32 && sizeof(struct items) == 32, "VHDX: entries of 32 bytes");

struct vhdx {
	struct disk *disk;
	struct disk_file *file;
	uint64_t blocks_at, metadata_at;
	uint32_t blocks_length, metadata_length;
	uint32_t block_size, logical;
	uint64_t chunk;				/* blocks between two entries for sectors' bitmaps */
	uint64_t page[PAGE_ENTRIES], page_number;	/* the latter UINT64_MAX: none */
	bool complained;
};

#define refuse(vhdx, error, format, ...) \
	log_error(error, "disk '%s': VHDX: " format, (vhdx)->file->path, ##__VA_ARGS__)

static int vhdx_probe(const uint8_t *head, size_t length)
{
	return length >= 8 && !memcmp(head, "vhdxfile", 8) ? 3 : 0;
}

static bool same(const struct guid *a, const struct guid *b)
{
	return !memcmp(a, b, sizeof(*a));
}

/* CRC-32C; the checksum's own four bytes, at 4, count as zeroes. */
static uint32_t checksum_of(const uint8_t *bytes, size_t length)
{
	uint32_t crc = UINT32_MAX;

	for (size_t i = 0; i < length; i++) {
		crc ^= i - 4 < 4 ? 0 : bytes[i];
		for (int bit = 0; bit < 8; bit++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78u : 0);
	}
	return ~crc;
}

static bool good(const uint8_t *bytes, size_t length, const char *signature)
{
	le32 stored;

	memcpy(&stored, bytes + 4, sizeof(stored));
	return !memcmp(bytes, signature, 4) && le32_get(stored) == checksum_of(bytes, length);
}

/* ---- headers and regions ---- */

static int read_headers(struct vhdx *vhdx)
{
	uint8_t bytes[HEADER_BYTES];
	struct header header = { .sequence = le64_of(0) }, next;
	static const struct guid none;
	bool found = false;

	for (uint64_t at = KIB(64); at <= KIB(128); at += KIB(64)) {
		int result = disk_file_read(vhdx->file, at, bytes, sizeof(bytes));

		if (result)
			return log_errno(result, "disk '%s': can't be read", vhdx->file->path);
		memcpy(&next, bytes, sizeof(next));
		if (!good(bytes, sizeof(bytes), "head") || (found && le64_get(next.sequence) <= le64_get(header.sequence)))
			continue;
		header = next;
		found = true;
	}
	if (!found)
		return refuse(vhdx, EINVAL, "neither of its headers has the right checksum");
	if (le16_get(header.version) != 1)
		return refuse(vhdx, ENOTSUP, "version %u is not known (1 is)", le16_get(header.version));
	if (!same(&header.log, &none))
		return refuse(vhdx, EROFS, "not closed the last time: its log must be replayed first (by what wrote it, or qemu-img check -r all)");
	return 0;
}

static int take_region(struct vhdx *vhdx, const struct region *region)
{
	uint64_t offset = le64_get(region->offset);
	uint32_t length = le32_get(region->length);
	bool blocks = same(&region->guid, &region_blocks), metadata = same(&region->guid, &region_metadata);

	if (!blocks && !metadata)
		return le32_get(region->required) & 1 ? refuse(vhdx, ENOTSUP, "needs a region that is not known") : 0;
	if (offset < MIB(1) || offset % MIB(1) || !range_contains(0, vhdx->file->size, offset, length))
		return refuse(vhdx, EINVAL, "a region of %u bytes at %llu, misaligned or past the end of the file", length,
			      (unsigned long long)offset);
	if (blocks) {
		vhdx->blocks_at = offset;
		vhdx->blocks_length = length;
	} else {
		vhdx->metadata_at = offset;
		vhdx->metadata_length = length;
	}
	return 0;
}

static int take_regions(struct vhdx *vhdx, const uint8_t *bytes)
{
	struct regions regions;
	struct region region;
	int result = 0;

	memcpy(&regions, bytes, sizeof(regions));
	if (le32_get(regions.count) > ENTRIES_MAX)
		return refuse(vhdx, EINVAL, "%u regions (up to 2047 can be)", le32_get(regions.count));
	for (uint32_t i = 0; i < le32_get(regions.count) && !result; i++) {
		memcpy(&region, bytes + sizeof(regions) + i * sizeof(region), sizeof(region));
		result = take_region(vhdx, &region);
	}
	if (!result && (!vhdx->blocks_at || vhdx->metadata_length < METADATA_BYTES))
		result = refuse(vhdx, EINVAL, "without a table of blocks, or without metadata");
	return result;
}

static int read_regions(struct vhdx *vhdx)
{
	_cleanup_free_ uint8_t *bytes = malloc(REGIONS_BYTES);

	if (!bytes)
		return refuse(vhdx, ENOMEM, "no memory");
	for (uint64_t at = KIB(192); at <= KIB(256); at += KIB(64)) {
		int result = disk_file_read(vhdx->file, at, bytes, REGIONS_BYTES);

		if (result)
			return log_errno(result, "disk '%s': can't be read", vhdx->file->path);
		if (good(bytes, REGIONS_BYTES, "regi"))
			return take_regions(vhdx, bytes);
	}
	return refuse(vhdx, EINVAL, "neither of its region tables has the right checksum");
}

/* ---- metadata ---- */

static int take_item(struct vhdx *vhdx, const struct item *item, uint64_t *size, uint32_t *flags)
{
	static const struct { const struct guid *guid; uint32_t length; } known[] = {
		{ &item_parameters, 8 }, { &item_size, 8 }, { &item_logical, 4 }, { &item_physical, 4 }, { &item_page83, 16 },
	};
	uint32_t offset = le32_get(item->offset), length = 0;
	uint8_t raw[16] = { 0 };
	le32 low, high;
	int result;

	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (same(&item->guid, known[i].guid))
			length = known[i].length;
	if (!length)
		return le32_get(item->flags) & 4 ? refuse(vhdx, ENOTSUP, "needs metadata that are not known, such as a parent's") : 0;
	if (offset < METADATA_BYTES || le32_get(item->length) < length || !range_contains(0, vhdx->metadata_length, offset, length))
		return refuse(vhdx, EINVAL, "metadata of %u bytes at %u, outside of their region", le32_get(item->length), offset);
	result = disk_file_read(vhdx->file, vhdx->metadata_at + offset, raw, length);
	if (result)
		return log_errno(result, "disk '%s': can't be read", vhdx->file->path);
	memcpy(&low, raw, sizeof(low));
	memcpy(&high, raw + 4, sizeof(high));
	if (same(&item->guid, &item_parameters)) {
		vhdx->block_size = le32_get(low);
		*flags = le32_get(high);
	} else if (same(&item->guid, &item_size)) {
		*size = (uint64_t)le32_get(high) << 32 | le32_get(low);
	} else if (same(&item->guid, &item_logical)) {
		vhdx->logical = le32_get(low);
	}
	return 0;
}

static int check_metadata(struct vhdx *vhdx, uint64_t size, uint32_t flags)
{
	uint64_t blocks, entries;

	if (flags & 2)
		return refuse(vhdx, ENOTSUP, "a differencing disk, which can't be read (merge it with its parent)");
	if (!IS_POWER_OF_2(vhdx->block_size) || vhdx->block_size < MIB(1) || vhdx->block_size > MIB(256))
		return refuse(vhdx, EINVAL, "blocks of %u bytes (a power of 2 from 1M to 256M can be)", vhdx->block_size);
	if (vhdx->logical != 512 && vhdx->logical != 4096)
		return refuse(vhdx, EINVAL, "sectors of %u bytes (512 or 4096 can be)", vhdx->logical);
	if (!size || size % vhdx->logical || size > SIZE_MAX_BYTES)
		return refuse(vhdx, EINVAL, "a disk of %llu bytes (a multiple of %u up to 64 TiB can be)", (unsigned long long)size,
			      vhdx->logical);
	vhdx->chunk = BIT(23) * vhdx->logical / vhdx->block_size;
	blocks = (size - 1) / vhdx->block_size + 1;
	entries = blocks + (blocks - 1) / vhdx->chunk;
	if (entries > vhdx->blocks_length / 8)
		return refuse(vhdx, EINVAL, "its table has %u entries, and its size needs %llu", vhdx->blocks_length / 8,
			      (unsigned long long)entries);
	vhdx->disk->info.size = size;
	vhdx->disk->info.block_size = vhdx->logical;
	vhdx->disk->info.physical_block_size = MAX(vhdx->disk->info.physical_block_size, vhdx->logical);
	return 0;
}

static int read_metadata(struct vhdx *vhdx)
{
	_cleanup_free_ uint8_t *bytes = malloc(METADATA_BYTES);
	uint64_t size = 0;
	uint32_t flags = 0;
	struct items items;
	struct item item;
	int result;

	if (!bytes)
		return refuse(vhdx, ENOMEM, "no memory");
	result = disk_file_read(vhdx->file, vhdx->metadata_at, bytes, METADATA_BYTES);
	if (result)
		return log_errno(result, "disk '%s': can't be read", vhdx->file->path);
	memcpy(&items, bytes, sizeof(items));
	if (memcmp(items.signature, "metadata", 8) || le16_get(items.count) > ENTRIES_MAX)
		return refuse(vhdx, EINVAL, "its metadata have a wrong signature or %u items (up to 2047 can be)", le16_get(items.count));
	for (uint32_t i = 0; i < le16_get(items.count) && !result; i++) {
		memcpy(&item, bytes + sizeof(items) + i * sizeof(item), sizeof(item));
		result = take_item(vhdx, &item, &size, &flags);
	}
	return result ? result : check_metadata(vhdx, size, flags);
}

/* ---- reading ---- */

static int vhdx_broken(struct vhdx *vhdx, uint64_t block, uint64_t entry)
{
	if (!vhdx->complained)
		refuse(vhdx, EIO, "block %llu has the entry %#llx, which can't be", (unsigned long long)block, (unsigned long long)entry);
	vhdx->complained = true;
	return -EIO;
}

static int entry_of(struct vhdx *vhdx, uint64_t block, uint64_t *entry)
{
	uint64_t index = block + block / vhdx->chunk, number = index / PAGE_ENTRIES;
	int result = 0;

	if (vhdx->page_number != number) {
		vhdx->page_number = UINT64_MAX;
		result = disk_file_read(vhdx->file, vhdx->blocks_at + number * sizeof(vhdx->page), vhdx->page, sizeof(vhdx->page));
	}
	if (result)
		return result;
	vhdx->page_number = number;
	*entry = le64toh(vhdx->page[index % PAGE_ENTRIES]);
	return 0;
}

static int vhdx_map(struct disk *disk, uint64_t offset, uint64_t length, struct disk_extent *extent)
{
	struct vhdx *vhdx = disk->format_state;
	uint64_t block = offset / vhdx->block_size, at = offset % vhdx->block_size, entry, place;
	int result = entry_of(vhdx, block, &entry);

	if (result)
		return result;
	*extent = (struct disk_extent){ .kind = DISK_EXTENT_ZERO, .length = length, .file = vhdx->file };
	extent->length = MIN(length, vhdx->block_size - at);
	place = entry & ENTRY_OFFSET;
	switch ((enum block_state)(entry & 7)) {
	case BLOCK_NOT_PRESENT: case BLOCK_UNDEFINED: case BLOCK_ZERO: case BLOCK_UNMAPPED:
		return 0;
	case BLOCK_PRESENT:
		if (place < MIB(1) || place >= vhdx->file->size)
			return vhdx_broken(vhdx, block, entry);
		extent->kind = DISK_EXTENT_DATA;
		extent->offset = place + at;
		return 0;
	default:
		return vhdx_broken(vhdx, block, entry);
	}
}

/* ---- the whole ---- */

static void vhdx_close(struct disk *disk)
{
	free(disk->format_state);
}

static int vhdx_open(struct disk *disk)
{
	struct vhdx *vhdx = calloc(1, sizeof(*vhdx));
	int result;

	if (!vhdx)
		return log_errno(ENOMEM, "disk '%s'", disk->file->path);
	vhdx->disk = disk;
	vhdx->file = disk->file;
	vhdx->page_number = UINT64_MAX;
	disk->format_state = vhdx;
	result = read_headers(vhdx);
	if (!result)
		result = read_regions(vhdx);
	if (!result)
		result = read_metadata(vhdx);
	if (!result && !disk->info.read_only)
		result = refuse(vhdx, EROFS, "can be read only (add ',ro', or convert it)");
	if (result)
		free(vhdx);
	return result;
}

static int vhdx_describe(struct disk *disk, json_t *facts)
{
	const struct vhdx *vhdx = disk->format_state;

	return json_object_set_new(facts, "cluster-size", json_integer(vhdx->block_size)) ? -ENOMEM : 0;
}

static const struct disk_format vhdx_format = {
	.name = "vhdx",
	.probe = vhdx_probe,
	.open = vhdx_open,
	.close = vhdx_close,
	.submit = disk_submit_mapped,
	.map = vhdx_map,
	.describe = vhdx_describe,
};
DISK_FORMAT(vhdx_format);
