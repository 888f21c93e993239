/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm disk resize: a larger or smaller disk. */
#include "disk.h"
#include "kvm/kvm.h"
#include "kvm/log.h"

static const struct option_def resize_options[] = {
	DISK_IMAGE_OPTIONS,
	{ .name = "shrink", .type = OPTION_FLAG, .help = "A smaller size is meant: what lies past it is lost" },
};

/* "+1G" and "-1G" count from the size that the disk has. */
static int wanted_size(const struct image *image, const char *text, uint64_t *size)
{
	uint64_t change, now = disk_info(image->disk)->size;
	int result;

	if (*text != '+' && *text != '-')
		return disk_command_size(text, size);
	result = disk_command_size(text + 1, &change);
	if (result)
		return result;
	if (*text == '-' ? change >= now : change > INT64_MAX - now)
		return log_error(EUSAGE, "%s: the disk has %llu bytes, and can't have that many %s", text, (unsigned long long)now,
				 *text == '-' ? "less" : "more");
	*size = *text == '-' ? now - change : now + change;
	return 0;
}

static int resize_run(struct config *config, int argc, char **argv)
{
	struct image image;
	uint64_t size = 0;
	int result, closed;

	if (!disk_command_operands("IMAGE [+|-]SIZE (a smaller one behind --)", argc, argv, 2, 2))
		return LKVM_STATUS_USAGE;
	result = disk_command_open(&image, config, argv[0], (struct disk_options){ .read_only = false });
	if (result)
		return disk_command_status(result);
	result = wanted_size(&image, argv[1], &size);
	if (!result)
		result = image_resize(&image, size, config_flag(config, "shrink"));
	closed = image_close(&image);
	return disk_command_status(result ? result : closed);
}

static struct command disk_resize_command = {
	.name = "disk resize",
	.operands = "IMAGE [+|-]SIZE",
	.help = "Change the size of the disk in an image",
	.options = resize_options,
	.option_count = ARRAY_SIZE(resize_options),
	.run = resize_run,
};
COMMAND(disk_resize_command);
