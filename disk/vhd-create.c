/* SPDX-License-Identifier: BSD-2-Clause */
/* New VHD images: dynamic ones of blocks of 2 MiB, or with subformat=fixed a raw disk and a footer. */
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "disk/vhd.h"
#include "kvm/log.h"
#include "kvm/option.h"

#define BLOCK_SIZE	MIB(2)
#define EPOCH		946684800	/* 2000-01-01 */

/* Cylinders, heads and sectors as the specification's appendix computes them. */
static uint32_t geometry_of(uint64_t size)
{
	uint64_t sectors = MIN(size / VHD_SECTOR, 65535ULL * 16 * 255), per_track, heads, tracks;

	if (sectors >= 65535ULL * 16 * 63) {
		per_track = 255;
		heads = 16;
		tracks = sectors / per_track;
	} else {
		per_track = 17;
		tracks = sectors / per_track;
		heads = MAX((tracks + 1023) / 1024, 4ULL);
		if (tracks >= heads * 1024 || heads > 16) {
			per_track = 31;
			heads = 16;
			tracks = sectors / per_track;
		}
		if (tracks >= heads * 1024) {
			per_track = 63;
			heads = 16;
			tracks = sectors / per_track;
		}
	}
	return (uint32_t)(tracks / heads << 16 | heads << 8 | per_track);
}

static int footer_make(struct vhd_footer *footer, uint64_t size, bool fixed)
{
	*footer = (struct vhd_footer){
		.cookie = "conectix", .features = be32_of(2), .version = be32_of(0x10000),
		.data_offset = be64_of(fixed ? UINT64_MAX : sizeof(*footer)), .time = be32_of((uint32_t)(time(NULL) - EPOCH)),
		/* Of some creators QEMU takes the geometry for the size; of Windows it takes the size. */
		.creator = { 'w', 'i', 'n', ' ' }, .creator_version = be32_of(0x60001), .creator_host = { 'W', 'i', '2', 'k' },
		.original_size = be64_of(size), .current_size = be64_of(size), .geometry = be32_of(geometry_of(size)),
		.type = be32_of(fixed ? VHD_FIXED : VHD_DYNAMIC),
	};
	if (getrandom(footer->id, sizeof(footer->id), 0) != sizeof(footer->id))
		return -EIO;
	footer->checksum = be32_of(vhd_checksum(footer, sizeof(*footer), offsetof(struct vhd_footer, checksum)));
	return 0;
}

/* Footer, header, a table that is empty, footer. */
static int create_dynamic(struct disk_file *file, const struct vhd_footer *footer, uint64_t size)
{
	uint64_t entries = (size + BLOCK_SIZE - 1) / BLOCK_SIZE, table = sizeof(*footer) + sizeof(struct vhd_header);
	size_t bytes = (size_t)ALIGN_UP(entries * 4, (uint64_t)VHD_SECTOR);
	struct vhd_header header = {
		.cookie = "cxsparse", .data_offset = be64_of(UINT64_MAX), .table_offset = be64_of(table), .version = be32_of(0x10000),
		.table_entries = be32_of((uint32_t)entries), .block_size = be32_of((uint32_t)BLOCK_SIZE),
	};
	_cleanup_free_ uint8_t *unused = malloc(bytes);
	int result;

	if (!unused)
		return -ENOMEM;
	memset(unused, 0xff, bytes);
	header.checksum = be32_of(vhd_checksum(&header, sizeof(header), offsetof(struct vhd_header, checksum)));
	result = disk_file_write(file, sizeof(*footer), &header, sizeof(header));
	if (!result)
		result = disk_file_write(file, table, unused, bytes);
	if (!result)
		result = disk_file_write(file, table + bytes, footer, sizeof(*footer));
	return result ? result : disk_file_write(file, 0, footer, sizeof(*footer));
}

static int create_fixed(struct disk_file *file, const struct vhd_footer *footer, uint64_t size)
{
	int result = disk_file_resize(file, size + sizeof(*footer));

	return result ? result : disk_file_write(file, size, footer, sizeof(*footer));
}

int vhd_create(struct disk_file *file, const struct image_options *options)
{
	bool fixed = options->subformat && !strcmp(options->subformat, "fixed");
	struct vhd_footer footer;
	int result;

	if (options->backing || options->cluster_size || options->extended_l2 || options->lazy_refcounts || options->zstd)
		return log_error(EUSAGE, "disk '%s': a VHD image has a size and a subformat, no more (say --format qcow2)", options->path);
	if (options->subformat && !fixed && strcmp(options->subformat, "dynamic"))
		return log_error(EUSAGE, "disk '%s': subformat '%s' is not known (say dynamic or fixed)", options->path, options->subformat);
	if (options->size > VHD_SIZE_MAX)
		return log_error(EFBIG, "disk '%s': a VHD image has 2040 GiB at most", options->path);
	/* the footer is at its end, which a block device has elsewhere */
	if (file->block_device)
		return log_error(ENOTSUP, "disk '%s': a VHD image can't be made on a block device (say a file)", options->path);
	result = footer_make(&footer, options->size, fixed);
	if (!result)
		result = fixed ? create_fixed(file, &footer, options->size) : create_dynamic(file, &footer, options->size);
	if (!result)
		result = disk_file_flush(file);
	return result ? log_errno(result, "disk '%s': can't be written", options->path) : 0;
}
