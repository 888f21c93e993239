/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Inside the VHD format (Microsoft's Virtual Hard Disk Image Format Specification, version 1.0): fixed disks, which
 * are raw with a footer behind them, and dynamic ones, of blocks that are there or not.
 */
#ifndef DISK_VHD_H
#define DISK_VHD_H

#include "disk/engine.h"
#include "disk/file.h"

#define VHD_SECTOR		512u
#define VHD_UNUSED		0xffffffffu	/* an entry of the table of blocks */
#define VHD_SIZE_MAX		GIB(2040)	/* sectors are numbered by 32 bits */

enum vhd_type { VHD_FIXED = 2, VHD_DYNAMIC = 3, VHD_DIFFERENCING = 4 };

struct vhd_footer {
	uint8_t cookie[8];
	be32 features, version;
	be64 data_offset;
	be32 time;			/* seconds since 2000 */
	uint8_t creator[4];
	be32 creator_version;
	uint8_t creator_host[4];
	be64 original_size, current_size;
	be32 geometry, type, checksum;
	uint8_t id[16], saved_state, reserved[427];
} __packed;
_Static_assert(sizeof(struct vhd_footer) == 512, "VHD: the footer is a sector");

struct vhd_header {
	uint8_t cookie[8];
	be64 data_offset, table_offset;
	be32 version, table_entries, block_size, checksum;
	uint8_t parent[16];
	be32 parent_time, reserved;
	uint8_t parent_name[512], parent_locators[8][24], reserved_2[256];
} __packed;
_Static_assert(sizeof(struct vhd_header) == 1024, "VHD: the header of a dynamic disk");

struct vhd {
	struct disk *disk;
	struct disk_file *file;
	struct vhd_footer footer;

	/* of a dynamic disk */
	uint32_t block_size, blocks;
	uint32_t bitmap_bytes;		/* in front of each block's data, whole sectors */
	uint64_t table_offset;
	uint32_t *table;		/* in the host's byte order */
	uint8_t *bitmap;		/* that of @bitmap_block */
	uint32_t bitmap_block;		/* VHD_UNUSED: none */

	/* writing */
	uint64_t end;			/* where the footer lies, and the next block will */
	uint32_t dirty_first, dirty_end;	/* entries that wait for the data they refer to */
	bool complained;
};

/** vhd_checksum() - of @length bytes, of which the checksum's own four at @at count as zeroes */
uint32_t vhd_checksum(const void *bytes, size_t length, size_t at);
/** vhd_bitmap() - that of a block which is there: a bit a sector, the highest first */
int __must_check vhd_bitmap(struct vhd *vhd, uint32_t block, uint8_t **bitmap);
/** vhd_block_place() - where a block's bitmap lies */
int __must_check vhd_block_place(struct vhd *vhd, uint32_t block, uint64_t *place);

int __must_check vhd_write(struct disk *disk, uint64_t offset, const uint8_t *data, size_t length);
int __must_check vhd_flush(struct disk *disk);
int __must_check vhd_create(struct disk_file *file, const struct image_options *options);

#endif
