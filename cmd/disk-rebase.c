/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm disk rebase: another image behind an image, or none. */
#include "disk.h"
#include "kvm/kvm.h"
#include "kvm/log.h"

static const struct option_def rebase_options[] = {
	DISK_IMAGE_OPTIONS,
	{ .name = "backing", .letter = 'b', .type = OPTION_STRING, .argument = "IMAGE",
	  .help = "What is to lie behind it; a relative name is relative to the image" },
	{ .name = "backing-format", .letter = 'F', .type = OPTION_STRING, .argument = "FORMAT",
	  .help = "That image's format (default: what its first bytes look like)" },
	{ .name = "none", .type = OPTION_FLAG, .help = "Nothing is to lie behind it" },
	{ .name = "unsafe", .letter = 'u', .type = OPTION_FLAG,
	  .help = "Change only the name: the disk stays the same if what is behind it does" },
};

static int rebase_run(struct config *config, int argc, char **argv)
{
	struct image_rebase how = { .name = config_string(config, "backing"), .format = config_string(config, "backing-format"),
				    .unsafe = config_flag(config, "unsafe") };
	struct disk_options options = { .read_only = false };
	struct progress progress;
	int result;

	if (!disk_command_operands("IMAGE", argc, argv, 1, 1))
		return LKVM_STATUS_USAGE;
	if (!how.name == !config_flag(config, "none"))
		return disk_command_status(log_error(EUSAGE, "lkvm disk rebase: on what? (say --backing IMAGE, or --none)"));
	disk_command_source(&options, config, argv[0]);
	progress_begin(&progress, "comparing");
	result = image_rebase(&options, &how, &progress.image);
	progress_end(&progress);
	return disk_command_status(result);
}

static struct command disk_rebase_command = {
	.name = "disk rebase",
	.operands = "IMAGE",
	.help = "Put another image behind an image, or none",
	.options = rebase_options,
	.option_count = ARRAY_SIZE(rebase_options),
	.run = rebase_run,
};
COMMAND(disk_rebase_command);
