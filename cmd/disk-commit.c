/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm disk commit: what was written to an image since it was put over another goes there. */
#include "disk.h"
#include "kvm/kvm.h"

static const struct option_def commit_options[] = {
	DISK_IMAGE_OPTIONS,
	{ .name = "keep", .letter = 'd', .type = OPTION_FLAG, .help = "Don't empty the image afterwards" },
};

static int commit_run(struct config *config, int argc, char **argv)
{
	struct disk_options options = { .read_only = false };
	struct progress progress;
	int result;

	if (!disk_command_operands("IMAGE", argc, argv, 1, 1))
		return LKVM_STATUS_USAGE;
	disk_command_source(&options, config, argv[0]);
	progress_begin(&progress, "writing");
	result = image_commit(&options, config_flag(config, "keep"), &progress.image);
	progress_end(&progress);
	return disk_command_status(result);
}

static struct command disk_commit_command = {
	.name = "disk commit",
	.operands = "IMAGE",
	.help = "Write what an image holds to the one behind it",
	.options = commit_options,
	.option_count = ARRAY_SIZE(commit_options),
	.run = commit_run,
};
COMMAND(disk_commit_command);
