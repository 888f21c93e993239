/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm disk map: which parts of a disk hold something, and where that lies. */
#include <stdio.h>

#include "disk.h"
#include "kvm/kvm.h"

static const struct option_def map_options[] = {
	DISK_IMAGE_OPTIONS,
	{ .name = "json", .type = OPTION_FLAG, .help = "Print a JSON array of all parts; the names are those of qemu-img" },
};

struct row {
	uint64_t start;
	struct image_extent extent;
};

static bool continues(const struct row *row, const struct image_extent *next)
{
	const struct image_extent *last = &row->extent;

	return last->zero == next->zero && last->allocated == next->allocated && last->compressed == next->compressed &&
	       last->depth == next->depth && last->file == next->file && (!last->file || last->offset + last->length == next->offset);
}

static void print_json(const struct row *row, bool first)
{
	const struct image_extent *extent = &row->extent;
	json_t *entry = json_pack("{s:I,s:I,s:i,s:b,s:b,s:b,s:b}", "start", (json_int_t)row->start, "length", (json_int_t)extent->length,
				  "depth", (int)extent->depth, "present", extent->allocated, "zero", extent->zero,
				  "data", !extent->zero, "compressed", extent->compressed);

	if (extent->file)
		json_object_set_new(entry, "offset", json_integer((json_int_t)extent->offset));
	printf("%s", first ? "[" : ",\n ");
	json_dumpf(entry, stdout, 0);
	json_decref(entry);
}

static void print_text(const struct row *row, bool first)
{
	const struct image_extent *extent = &row->extent;

	if (first)
		printf("%-18s %-18s %-18s %s\n", "START", "LENGTH", "OFFSET", "FILE");
	if (extent->zero)
		return;
	printf("%#-18llx %#-18llx ", (unsigned long long)row->start, (unsigned long long)extent->length);
	if (extent->file)
		printf("%#-18llx %s\n", (unsigned long long)extent->offset, extent->file);
	else
		printf("%-18s depth %u\n", "compressed", extent->depth);
}

static int print_map(struct image *image, bool json)
{
	uint64_t size = disk_info(image->disk)->size;
	void (*print)(const struct row *row, bool first) = json ? print_json : print_text;
	struct row row = { 0 };
	struct image_extent next;
	bool first = true;

	for (uint64_t at = 0; at < size; at += next.length) {
		int result = image_map(image, at, size - at, &next);

		if (result)
			return result;
		if (at && continues(&row, &next)) {
			row.extent.length += next.length;
			continue;
		}
		if (at) {
			print(&row, first);
			first = false;
		}
		row = (struct row){ at, next };
	}
	print(&row, first);
	if (json)
		printf("]\n");
	return 0;
}

static int map_run(struct config *config, int argc, char **argv)
{
	struct image image;
	int result;

	if (!disk_command_operands("IMAGE", argc, argv, 1, 1))
		return LKVM_STATUS_USAGE;
	result = disk_command_open(&image, config, argv[0], (struct disk_options){ .read_only = true });
	if (!result) {
		result = print_map(&image, config_flag(config, "json"));
		(void)image_close(&image);
	}
	if (fflush(stdout))
		return LKVM_STATUS_ERROR;
	return disk_command_status(result);
}

static struct command disk_map_command = {
	.name = "disk map",
	.operands = "IMAGE",
	.help = "Say which parts of a disk hold data, and where that lies",
	.options = map_options,
	.option_count = ARRAY_SIZE(map_options),
	.run = map_run,
};
COMMAND(disk_map_command);
