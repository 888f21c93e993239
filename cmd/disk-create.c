/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm disk create: an empty image, or one over another. */
#include "disk.h"
#include "kvm/kvm.h"

static const struct option_def create_options[] = {
	{ .name = "format", .letter = 'f', .type = OPTION_STRING, .argument = "raw|qcow2|vhd",
	  .help = "The new image's format (default: qcow2 for a name that ends so or with --backing, else raw)" },
	{ .name = "backing", .letter = 'b', .type = OPTION_STRING, .argument = "IMAGE",
	  .help = "What reads come from until the new image is written there; a relative name is relative to the new image" },
	{ .name = "backing-format", .letter = 'F', .type = OPTION_STRING, .argument = "FORMAT",
	  .help = "That image's format (default: what its first bytes look like)" },
	DISK_NEW_OPTIONS,
};

static int create_run(struct config *config, int argc, char **argv)
{
	struct image_options options = {
		.format = config_string(config, "format"),
		.backing = config_string(config, "backing"),
		.backing_format = config_string(config, "backing-format"),
	};
	int result;

	if (!disk_command_operands("IMAGE [SIZE]", argc, argv, 1, 2))
		return LKVM_STATUS_USAGE;
	options.path = argv[0];
	result = disk_command_new(config, &options);
	if (!result && argc > 1)
		result = disk_command_size(argv[1], &options.size);
	return disk_command_status(result ? result : image_create(&options));
}

static struct command disk_create_command = {
	.name = "disk create",
	.operands = "IMAGE [SIZE]",
	.help = "Make an empty image, or one over another",
	.options = create_options,
	.option_count = ARRAY_SIZE(create_options),
	.run = create_run,
};
COMMAND(disk_create_command);
