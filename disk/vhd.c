/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VHD images: opening and reading them. Each number of footer, header and table is checked before it is used; what is
 * allocated goes by the disk's size, which the file's table must have room for.
 */
#include "disk/vhd.h"

#include <string.h>

#include "disk/job.h"
#include "kvm/log.h"

#define TABLE_MAX_BYTES		MIB(32)
#define BLOCK_MAX		MIB(256)

#define refuse(vhd, error, format, ...) \
	log_error(error, "disk '%s': VHD: " format, (vhd)->file->path, ##__VA_ARGS__)

uint32_t vhd_checksum(const void *bytes, size_t length, size_t at)
{
	const uint8_t *byte = bytes;
	uint32_t sum = 0;

	for (size_t i = 0; i < length; i++)
		sum += i - at < 4 ? 0 : byte[i];
	return ~sum;
}

/* Only a dynamic disk says at its beginning what it is. */
static int vhd_probe(const uint8_t *head, size_t length)
{
	return length >= 8 && !memcmp(head, "conectix", 8) ? 3 : 0;
}

/* ---- footer and header ---- */

static bool footer_good(const struct vhd_footer *footer)
{
	return !memcmp(footer->cookie, "conectix", 8) &&
	       be32_get(footer->checksum) == vhd_checksum(footer, sizeof(*footer), offsetof(struct vhd_footer, checksum));
}

static int read_footer(struct vhd *vhd)
{
	int result;

	if (vhd->file->size < sizeof(vhd->footer))
		return refuse(vhd, EMEDIUMTYPE, "not a VHD image: it is shorter than a footer");
	vhd->end = ALIGN_DOWN(vhd->file->size, (uint64_t)VHD_SECTOR) - sizeof(vhd->footer);
	result = disk_file_read(vhd->file, vhd->end, &vhd->footer, sizeof(vhd->footer));
	if (!result && !footer_good(&vhd->footer)) {
		/* A dynamic disk has a copy, for the time after a power cut. */
		result = disk_file_read(vhd->file, 0, &vhd->footer, sizeof(vhd->footer));
		if (!result && !footer_good(&vhd->footer))
			return refuse(vhd, EMEDIUMTYPE, "not a VHD image: no footer at its end whose checksum is right");
		if (!result && !vhd->disk->info.read_only)
			return refuse(vhd, EROFS, "its footer is damaged or cut off: it can be read only (add ',ro')");
	}
	return result ? log_errno(result, "disk '%s': can't be read", vhd->file->path) : 0;
}

static int check_footer(struct vhd *vhd)
{
	const struct vhd_footer *footer = &vhd->footer;
	uint32_t type = be32_get(footer->type);
	uint64_t size = be64_get(footer->current_size);

	if (be32_get(footer->version) >> 16 != 1)
		return refuse(vhd, ENOTSUP, "version %u is not known (1 is)", be32_get(footer->version) >> 16);
	if (type == VHD_DIFFERENCING)
		return refuse(vhd, ENOTSUP, "a differencing disk, which can't be read (merge it with its parent)");
	if (type != VHD_FIXED && type != VHD_DYNAMIC)
		return refuse(vhd, ENOTSUP, "disk type %u is not known (fixed and dynamic are)", type);
	if (!size || size % VHD_SECTOR || size > VHD_SIZE_MAX)
		return refuse(vhd, EINVAL, "a disk of %llu bytes (a multiple of 512 up to 2040 GiB can be)", (unsigned long long)size);
	if (type == VHD_FIXED && size > vhd->end)
		return refuse(vhd, EINVAL, "a disk of %llu bytes in a file that is shorter", (unsigned long long)size);
	if (footer->saved_state && !vhd->disk->info.read_only)
		return refuse(vhd, EROFS, "belongs to a machine whose state is saved: it can be read only (add ',ro')");
	vhd->disk->info.size = size;
	return 0;
}

static int check_header(struct vhd *vhd, const struct vhd_header *header)
{
	uint64_t entries, size = vhd->disk->info.size;

	if (memcmp(header->cookie, "cxsparse", 8) ||
	    be32_get(header->checksum) != vhd_checksum(header, sizeof(*header), offsetof(struct vhd_header, checksum)))
		return refuse(vhd, EINVAL, "its dynamic disk header's cookie or checksum is wrong");
	if (be32_get(header->version) >> 16 != 1)
		return refuse(vhd, ENOTSUP, "dynamic disk header version %u is not known (1 is)", be32_get(header->version) >> 16);
	vhd->block_size = be32_get(header->block_size);
	if (!IS_POWER_OF_2(vhd->block_size) || vhd->block_size < VHD_SECTOR || vhd->block_size > BLOCK_MAX)
		return refuse(vhd, EINVAL, "blocks of %u bytes (a power of 2 from 512 to 256M can be)", vhd->block_size);
	entries = (size + vhd->block_size - 1) / vhd->block_size;
	vhd->table_offset = be64_get(header->table_offset);
	if (entries > be32_get(header->table_entries) || entries * 4 > TABLE_MAX_BYTES)
		return refuse(vhd, EINVAL, "its table has %u blocks, and its size needs %llu (%llu can be)", be32_get(header->table_entries),
			      (unsigned long long)entries, TABLE_MAX_BYTES / 4 + 0ULL);
	if (vhd->table_offset < sizeof(vhd->footer) || !range_contains(0, vhd->file->size, vhd->table_offset, entries * 4))
		return refuse(vhd, EINVAL, "its table lies at %llu, in the header or past the end of the file",
			      (unsigned long long)vhd->table_offset);
	vhd->blocks = (uint32_t)entries;
	vhd->bitmap_bytes = (uint32_t)ALIGN_UP((vhd->block_size / VHD_SECTOR + 7) / 8, VHD_SECTOR);
	return 0;
}

static int read_table(struct vhd *vhd)
{
	size_t bytes = vhd->blocks * sizeof(vhd->table[0]);
	int result;

	vhd->table = malloc(bytes);
	vhd->bitmap = malloc(vhd->bitmap_bytes);
	vhd->bitmap_block = VHD_UNUSED;
	if (!vhd->table || !vhd->bitmap)
		return refuse(vhd, ENOMEM, "no memory");
	result = disk_file_read(vhd->file, vhd->table_offset, vhd->table, bytes);
	for (uint32_t i = 0; i < vhd->blocks; i++)
		vhd->table[i] = be32toh(vhd->table[i]);
	return result ? log_errno(result, "disk '%s': its table can't be read", vhd->file->path) : 0;
}

static int open_dynamic(struct vhd *vhd)
{
	uint64_t at = be64_get(vhd->footer.data_offset);
	struct vhd_header header;
	int result;

	if (at < sizeof(vhd->footer) || !range_contains(0, vhd->file->size, at, sizeof(header)))
		return refuse(vhd, EINVAL, "its dynamic disk header lies at %llu, past the end of the file", (unsigned long long)at);
	result = disk_file_read(vhd->file, at, &header, sizeof(header));
	if (result)
		return log_errno(result, "disk '%s': can't be read", vhd->file->path);
	result = check_header(vhd, &header);
	return result ? result : read_table(vhd);
}

/* ---- reading ---- */

int vhd_block_place(struct vhd *vhd, uint32_t block, uint64_t *place)
{
	*place = (uint64_t)vhd->table[block] * VHD_SECTOR;
	if (*place >= sizeof(vhd->footer) && range_contains(0, vhd->file->size, *place, vhd->bitmap_bytes) &&
	    !ranges_overlap(*place, (uint64_t)vhd->bitmap_bytes + vhd->block_size, vhd->table_offset, vhd->blocks * 4ULL))
		return 0;
	if (!vhd->complained)
		refuse(vhd, EIO, "block %u lies at %llu, on the table or past the end of the file", block, (unsigned long long)*place);
	vhd->complained = true;
	return -EIO;
}

int vhd_bitmap(struct vhd *vhd, uint32_t block, uint8_t **bitmap)
{
	uint64_t place;
	int result = 0;

	*bitmap = vhd->bitmap;
	if (vhd->bitmap_block == block)
		return 0;
	result = vhd_block_place(vhd, block, &place);
	vhd->bitmap_block = VHD_UNUSED;
	if (!result)
		result = disk_file_read(vhd->file, place, vhd->bitmap, vhd->bitmap_bytes);
	if (!result)
		vhd->bitmap_block = block;
	return result;
}

static bool sector_there(const uint8_t *bitmap, uint32_t sector)
{
	return bitmap[sector / 8] & 0x80 >> sector % 8;
}

static int map_dynamic(struct vhd *vhd, uint64_t offset, struct disk_extent *extent)
{
	uint32_t block = (uint32_t)(offset / vhd->block_size), at = (uint32_t)(offset % vhd->block_size), sector = at / VHD_SECTOR;
	uint64_t place, left = MIN(extent->length, vhd->block_size - at);
	uint8_t *bitmap;
	bool there;
	int result;

	extent->kind = DISK_EXTENT_ZERO;
	extent->length = left;
	if (vhd->table[block] == VHD_UNUSED)
		return 0;
	result = vhd_bitmap(vhd, block, &bitmap);
	if (!result)
		result = vhd_block_place(vhd, block, &place);
	if (result)
		return result;
	there = sector_there(bitmap, sector);
	extent->length = VHD_SECTOR - at % VHD_SECTOR;
	while (extent->length < left && sector_there(bitmap, ++sector) == there)
		extent->length += VHD_SECTOR;
	extent->length = MIN(extent->length, left);
	if (there)
		extent->kind = DISK_EXTENT_DATA;
	extent->offset = place + vhd->bitmap_bytes + at;
	return 0;
}

static int vhd_map(struct disk *disk, uint64_t offset, uint64_t length, struct disk_extent *extent)
{
	struct vhd *vhd = disk->format_state;

	*extent = (struct disk_extent){ .kind = DISK_EXTENT_DATA, .length = length, .file = vhd->file, .offset = offset };
	return vhd->table ? map_dynamic(vhd, offset, extent) : 0;
}

/* ---- the whole ---- */

static void vhd_free(struct vhd *vhd)
{
	free(vhd->table);
	free(vhd->bitmap);
	free(vhd);
}

static void vhd_close(struct disk *disk)
{
	struct vhd *vhd = disk->format_state;

	if (vhd->dirty_first < vhd->dirty_end && !disk->handed_over && vhd_flush(disk))
		log_error(EIO, "disk '%s': its last changes are lost", vhd->file->path);
	vhd_free(vhd);
}

static int vhd_open(struct disk *disk)
{
	struct vhd *vhd = calloc(1, sizeof(*vhd));
	int result;

	if (!vhd)
		return log_errno(ENOMEM, "disk '%s'", disk->file->path);
	vhd->disk = disk;
	vhd->file = disk->file;
	disk->format_state = vhd;
	result = read_footer(vhd);
	if (!result)
		result = check_footer(vhd);
	if (!result && be32_get(vhd->footer.type) == VHD_DYNAMIC)
		result = open_dynamic(vhd);
	if (!result && disk->direct && vhd->table)
		result = refuse(vhd, EINVAL, "its blocks are not aligned for direct I/O (leave ',direct' out)");
	if (result)
		vhd_free(vhd);
	disk->info.discard = disk->info.write_zeroes = !disk->info.read_only;
	return result;
}

static int vhd_describe(struct disk *disk, json_t *facts)
{
	const struct vhd *vhd = disk->format_state;
	json_t *data = json_object(), *specific = json_object();
	int failed = json_object_set_new(data, "subformat", json_string(vhd->table ? "dynamic" : "fixed"));

	if (vhd->table)
		failed |= json_object_set_new(facts, "cluster-size", json_integer(vhd->block_size));
	failed |= json_object_set_new(specific, "type", json_string("vpc"));
	failed |= json_object_set_new(specific, "data", data);
	failed |= json_object_set_new(facts, "format-specific", specific);
	return failed ? -ENOMEM : 0;
}

static const struct disk_format vhd_format = {
	.name = "vpc",
	.alias = "vhd",
	.probe = vhd_probe,
	.open = vhd_open,
	.close = vhd_close,
	.submit = disk_submit_mapped,
	.map = vhd_map,
	.write = vhd_write,
	.flush = vhd_flush,
	.create = vhd_create,
	.describe = vhd_describe,
};
DISK_FORMAT(vhd_format);
