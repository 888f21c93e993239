/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm disk compare: whether a guest would see any difference between two images. */
#include <stdio.h>

#include "disk.h"
#include "kvm/kvm.h"

static const struct option_def compare_options[] = {
	DISK_IMAGE_OPTIONS,
	{ .name = "other-format", .letter = 'F', .type = OPTION_STRING, .argument = "FORMAT",
	  .help = "The other image's format (default: what its first bytes look like)" },
	{ .name = "strict", .letter = 's', .type = OPTION_FLAG,
	  .help = "Disks of two sizes differ, even if only zeroes are past the end of the smaller one" },
	DISK_JSON_OPTION,
};

static void print_difference(const struct image_difference *found, bool same, bool json)
{
	if (json) {
		printf("{\"identical\": %s, \"same-size\": %s", same ? "true" : "false", found->sizes ? "false" : "true");
		if (found->contents)
			printf(", \"offset\": %llu", (unsigned long long)found->offset);
		printf("}\n");
	} else if (found->contents) {
		printf("The disks differ, first at byte %llu.\n", (unsigned long long)found->offset);
	} else if (found->sizes) {
		printf("The disks are alike, but %s\n", same ? "one goes on with zeroes." : "not of the same size.");
	} else {
		printf("The disks are alike.\n");
	}
}

static int compare_images(struct image *a, struct image *b, const struct config *config)
{
	struct image_difference found;
	struct progress progress;
	bool same;
	int result;

	progress_begin(&progress, "comparing");
	result = image_compare(a, b, &progress.image, &found);
	progress_end(&progress);
	if (result)
		return disk_command_status(result);
	same = !found.contents && !(found.sizes && config_flag(config, "strict"));
	print_difference(&found, same, config_flag(config, "json"));
	return fflush(stdout) ? LKVM_STATUS_ERROR : same ? 0 : LKVM_STATUS_DIFFERENT;
}

static int compare_run(struct config *config, int argc, char **argv)
{
	struct disk_options other = { .read_only = true, .backing_any = config_flag(config, "backing-any") };
	struct image a, b;
	int result;

	if (!disk_command_operands("IMAGE IMAGE", argc, argv, 2, 2))
		return LKVM_STATUS_USAGE;
	other.path = argv[1];
	other.format = (char *)(uintptr_t)config_string(config, "other-format");
	result = disk_command_open(&a, config, argv[0], (struct disk_options){ .read_only = true });
	if (result)
		return disk_command_status(result);
	result = image_open(&b, &other);
	if (result) {
		result = disk_command_status(result);
	} else {
		result = compare_images(&a, &b, config);
		(void)image_close(&b);
	}
	(void)image_close(&a);
	return result;
}

static struct command disk_compare_command = {
	.name = "disk compare",
	.operands = "IMAGE IMAGE",
	.help = "Say whether two images hold the same disk",
	.options = compare_options,
	.option_count = ARRAY_SIZE(compare_options),
	.run = compare_run,
};
COMMAND(disk_compare_command);
