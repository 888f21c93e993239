/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Writing VHD images. A new block goes where the footer was, the footer behind it before anything else is there; the
 * table's entry is written when block and footer are on the medium, so a power cut costs at most a block's room.
 */
#include <string.h>

#include "disk/vhd.h"
#include "kvm/io.h"
#include "kvm/log.h"

static int entries_write(struct vhd *vhd)
{
	uint8_t raw[4];
	int result = 0;

	for (uint32_t i = vhd->dirty_first; i < vhd->dirty_end && !result; i++) {
		be32_store(raw, vhd->table[i]);
		result = disk_file_write(vhd->file, vhd->table_offset + i * 4ULL, raw, sizeof(raw));
	}
	return result;
}

int vhd_flush(struct disk *disk)
{
	struct vhd *vhd = disk->format_state;
	int result = disk_file_flush(vhd->file);

	if (result || vhd->dirty_first >= vhd->dirty_end)
		return result;
	result = entries_write(vhd);
	if (result)
		return result;
	vhd->dirty_first = vhd->dirty_end = 0;
	return disk_file_flush(vhd->file);
}

static void entry_set(struct vhd *vhd, uint32_t block, uint32_t sector)
{
	vhd->table[block] = sector;
	if (vhd->dirty_first >= vhd->dirty_end) {
		vhd->dirty_first = block;
		vhd->dirty_end = block + 1;
	}
	vhd->dirty_first = MIN(vhd->dirty_first, block);
	vhd->dirty_end = MAX(vhd->dirty_end, block + 1);
}

/* All of its sectors are there then, as zeroes. */
static int block_add(struct vhd *vhd, uint32_t block)
{
	uint64_t place = vhd->end, end = place + vhd->bitmap_bytes + vhd->block_size;
	int result = 0;

	if (place / VHD_SECTOR >= VHD_UNUSED)
		return -EFBIG;
	if (!vhd->file->block_device)
		result = disk_file_resize(vhd->file, end + sizeof(vhd->footer));
	else if (end + sizeof(vhd->footer) > vhd->file->size)
		result = -ENOSPC;
	if (!result)
		result = disk_file_write(vhd->file, end, &vhd->footer, sizeof(vhd->footer));
	if (!result && vhd->file->block_device)
		result = disk_file_write_zeroes(vhd->file, place + vhd->bitmap_bytes, vhd->block_size, true);
	if (result)
		return result;
	memset(vhd->bitmap, 0, vhd->bitmap_bytes);
	memset(vhd->bitmap, 0xff, MAX(vhd->block_size / VHD_SECTOR / 8, 1u));
	vhd->bitmap_block = VHD_UNUSED;
	result = disk_file_write(vhd->file, place, vhd->bitmap, vhd->bitmap_bytes);
	if (result)
		return result;
	vhd->end = end;
	entry_set(vhd, block, (uint32_t)(place / VHD_SECTOR));
	return 0;
}

/* Sectors of an older block that were never written are, now. */
static int bitmap_set(struct vhd *vhd, uint32_t block, uint64_t place, uint32_t first, uint32_t count)
{
	bool changed = false;
	uint8_t *bitmap;
	int result = vhd_bitmap(vhd, block, &bitmap);

	for (uint32_t sector = first; sector < first + count && !result; sector++) {
		uint8_t bit = (uint8_t)(0x80 >> sector % 8);

		changed |= !(bitmap[sector / 8] & bit);
		bitmap[sector / 8] |= bit;
	}
	return changed ? disk_file_write(vhd->file, place, bitmap, vhd->bitmap_bytes) : result;
}

/* Within one block. */
static int block_write(struct vhd *vhd, uint32_t block, uint32_t at, const uint8_t *data, size_t length)
{
	uint64_t place;
	int result = 0;

	if (vhd->table[block] == VHD_UNUSED) {
		if (bytes_are_zero(data, length))
			return 0;
		result = block_add(vhd, block);
	}
	if (!result)
		result = vhd_block_place(vhd, block, &place);
	if (result)
		return result;
	/* the footer lies behind all blocks */
	if (place + vhd->bitmap_bytes + vhd->block_size > vhd->end)
		return log_error(EIO, "disk '%s': VHD: block %u lies on the footer", vhd->file->path, block);
	result = disk_file_write(vhd->file, place + vhd->bitmap_bytes + at, data, length);
	return result ? result : bitmap_set(vhd, block, place, at / VHD_SECTOR, (uint32_t)(length / VHD_SECTOR));
}

int vhd_write(struct disk *disk, uint64_t offset, const uint8_t *data, size_t length)
{
	struct vhd *vhd = disk->format_state;
	int result = 0;

	if (!vhd->table)
		return disk_file_write(vhd->file, offset, data, length);
	while (length && !result) {
		uint32_t at = (uint32_t)(offset % vhd->block_size);
		size_t part = MIN(length, (size_t)(vhd->block_size - at));

		result = block_write(vhd, (uint32_t)(offset / vhd->block_size), at, data, part);
		offset += part;
		data += part;
		length -= part;
	}
	return result;
}
