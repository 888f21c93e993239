/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm disk convert: an image of another format, or the same without what lies behind it and without holes' bytes. */
#include <stdio.h>

#include "disk.h"
#include "kvm/kvm.h"

static const struct option_def convert_options[] = {
	DISK_IMAGE_OPTIONS,
	{ .name = "output-format", .letter = 'O', .type = OPTION_STRING, .argument = "raw|qcow2|vhd",
	  .help = "The new image's format (default: qcow2 or vhd for a name that ends so, else raw)" },
	{ .name = "compress", .letter = 'c', .type = OPTION_FLAG, .help = "qcow2: each cluster compressed, if that makes it shorter" },
	DISK_NEW_OPTIONS,
	{ .name = "json", .type = OPTION_FLAG, .help = "Print what the new image is, as info --json" },
};

static int print_new(const char *path, const char *format)
{
	struct disk_options options = { .path = (char *)(uintptr_t)path, .format = (char *)(uintptr_t)format, .read_only = true,
					.alone = true };
	struct image image;
	json_t *facts;
	int result = image_open(&image, &options);

	if (result)
		return result;
	facts = image_describe(&image, 0);
	if (facts)
		json_dumpf(facts, stdout, JSON_INDENT(2));
	printf("\n");
	result = !facts || fflush(stdout) ? -EIO : 0;
	json_decref(facts);
	(void)image_close(&image);
	return result;
}

static int convert_run(struct config *config, int argc, char **argv)
{
	struct image_options target = { .format = config_string(config, "output-format") };
	struct disk_options source = { .read_only = true };
	struct image_copy how = { .compress = config_flag(config, "compress") };
	struct progress progress;
	int result;

	if (!disk_command_operands("IMAGE NEW-IMAGE", argc, argv, 2, 2))
		return LKVM_STATUS_USAGE;
	result = disk_command_new(config, &target);
	if (result)
		return disk_command_status(result);
	target.path = argv[1];
	disk_command_source(&source, config, argv[0]);
	progress_begin(&progress, "copying");
	how.progress = &progress.image;
	result = image_convert(&source, &target, &how);
	progress_end(&progress);
	if (!result && config_flag(config, "json"))
		result = print_new(argv[1], target.format);
	return disk_command_status(result);
}

static struct command disk_convert_command = {
	.name = "disk convert",
	.operands = "IMAGE NEW-IMAGE",
	.help = "Make an image of another format, or one without what lies behind it",
	.options = convert_options,
	.option_count = ARRAY_SIZE(convert_options),
	.run = convert_run,
};
COMMAND(disk_convert_command);
