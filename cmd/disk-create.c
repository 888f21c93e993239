/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm disk create: an empty image, or one over another. */
#include "disk.h"
#include "kvm/kvm.h"

static const struct option_def create_options[] = {
	{ .name = "format", .letter = 'f', .type = OPTION_STRING, .argument = "raw|qcow2",
	  .help = "The new image's format (default: qcow2 for a name that ends so or with --backing, else raw)" },
	{ .name = "backing", .letter = 'b', .type = OPTION_STRING, .argument = "IMAGE",
	  .help = "What reads come from until the new image is written there; a relative name is relative to the new image" },
	{ .name = "backing-format", .letter = 'F', .type = OPTION_STRING, .argument = "FORMAT",
	  .help = "That image's format (default: what its first bytes look like)" },
	{ .name = "cluster-size", .type = OPTION_SIZE, .argument = "SIZE", .max = MIB(2),
	  .help = "qcow2: what is allocated at once, a power of 2 from 512 to 2M (default: 64K)" },
	{ .name = "extended-l2", .type = OPTION_FLAG, .help = "qcow2: with 32 subclusters in a cluster" },
	{ .name = "lazy-refcounts", .type = OPTION_FLAG, .help = "qcow2: refcounts may be written late, to be repaired after a crash" },
	{ .name = "zstd", .type = OPTION_FLAG, .help = "qcow2: compressed clusters are compressed by zstd" },
	{ .name = "force", .type = OPTION_FLAG, .help = "Over a file that exists, or on a block device" },
};

static int create_run(struct config *config, int argc, char **argv)
{
	struct image_options options = {
		.format = config_string(config, "format"),
		.backing = config_string(config, "backing"),
		.backing_format = config_string(config, "backing-format"),
		.cluster_size = (uint32_t)config_uint(config, "cluster-size"),
		.extended_l2 = config_flag(config, "extended-l2"),
		.lazy_refcounts = config_flag(config, "lazy-refcounts"),
		.zstd = config_flag(config, "zstd"),
		.force = config_flag(config, "force"),
	};
	int result;

	if (!disk_command_operands("IMAGE [SIZE]", argc, argv, 1, 2))
		return LKVM_STATUS_USAGE;
	options.path = argv[0];
	result = argc > 1 ? disk_command_size(argv[1], &options.size) : 0;
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
