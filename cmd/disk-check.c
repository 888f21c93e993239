/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm disk check: whether an image is whole, and what of it can be mended. */
#include <stdio.h>

#include "disk.h"
#include "kvm/kvm.h"
#include "kvm/log.h"

#define LINES_MAX	20u

static const struct option_def check_options[] = {
	DISK_IMAGE_OPTIONS,
	{ .name = "repair", .letter = 'r', .type = OPTION_FLAG,
	  .help = "Mend refcounts and flags, and free what nothing refers to" },
	{ .name = "quiet", .letter = 'q', .type = OPTION_FLAG, .help = "Print nothing: the exit status tells" },
	{ .name = "json", .type = OPTION_FLAG, .help = "Print a JSON object; the names are those of qemu-img" },
};

struct talking_check {
	struct image_check check;
	unsigned int lines;
};

static void print_line(struct image_check *check, const char *line)
{
	struct talking_check *talking = container_of(check, struct talking_check, check);

	if (talking->lines < LINES_MAX)
		printf("%s\n", line);
	else if (talking->lines == LINES_MAX)
		printf("...\n");
	talking->lines++;
}

static void print_json(const char *path, const struct image_check *found)
{
	json_t *all = json_object();
	json_t *name = json_string(path);

	json_object_set_new(all, "filename", name ? name : json_string("?"));
	json_object_set_new(all, "check-errors", json_integer(0));
	json_object_set_new(all, "corruptions", json_integer((json_int_t)found->corruptions));
	json_object_set_new(all, "leaks", json_integer((json_int_t)found->leaks));
	json_object_set_new(all, "corruptions-fixed", json_integer((json_int_t)found->corruptions_fixed));
	json_object_set_new(all, "leaks-fixed", json_integer((json_int_t)found->leaks_fixed));
	json_object_set_new(all, "total-clusters", json_integer((json_int_t)found->clusters));
	json_object_set_new(all, "allocated-clusters", json_integer((json_int_t)found->allocated));
	json_dumpf(all, stdout, JSON_INDENT(2));
	printf("\n");
	json_decref(all);
}

static void print_text(const struct image_check *found)
{
	if (!found->checked) {
		printf("Nothing to check in an image of this format.\n");
		return;
	}
	if (found->corruptions_fixed || found->leaks_fixed)
		printf("Mended: %llu corruptions, %llu leaked clusters.\n", (unsigned long long)found->corruptions_fixed,
		       (unsigned long long)found->leaks_fixed);
	if (found->corruptions || found->leaks)
		printf("%s: %llu corruptions, %llu leaked clusters.\n", found->corruptions ? "Damaged" : "Leaking, but whole",
		       (unsigned long long)found->corruptions, (unsigned long long)found->leaks);
	else
		printf("Whole.\n");
	printf("%llu of %llu clusters in use.\n", (unsigned long long)found->allocated, (unsigned long long)found->clusters);
}

static int check_image(struct image *image, const struct config *config, const char *path)
{
	bool quiet = config_flag(config, "quiet"), json = config_flag(config, "json");
	struct talking_check talking = { .check.say = quiet || json ? NULL : print_line };
	struct progress progress;
	int result;

	progress_begin(&progress, "checking");
	talking.check.progress = &progress.image;
	result = image_check(image, config_flag(config, "repair"), &talking.check);
	progress_end(&progress);
	if (result)
		return disk_command_status(result);
	if (json)
		print_json(path, &talking.check);
	else if (!quiet)
		print_text(&talking.check);
	if (fflush(stdout) || talking.check.corruptions)
		return LKVM_STATUS_ERROR;
	return talking.check.leaks ? LKVM_STATUS_LEAKS : 0;
}

static int check_run(struct config *config, int argc, char **argv)
{
	struct disk_options options = { .read_only = true, .alone = true, .repair = config_flag(config, "repair") };
	struct image image;
	int result;

	if (!disk_command_operands("IMAGE", argc, argv, 1, 1))
		return LKVM_STATUS_USAGE;
	result = disk_command_open(&image, config, argv[0], options);
	if (result)
		return disk_command_status(result);
	result = check_image(&image, config, argv[0]);
	(void)image_close(&image);
	return result;
}

static struct command disk_check_command = {
	.name = "disk check",
	.operands = "IMAGE",
	.help = "Look for what is wrong with an image, and mend it",
	.options = check_options,
	.option_count = ARRAY_SIZE(check_options),
	.run = check_run,
};
COMMAND(disk_check_command);
