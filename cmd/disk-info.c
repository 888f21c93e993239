/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm disk info: what an image is, and what lies behind it. */
#include <stdio.h>
#include <string.h>

#include "disk.h"
#include "kvm/kvm.h"

static const struct option_def info_options[] = {
	DISK_IMAGE_OPTIONS,
	{ .name = "chain", .type = OPTION_FLAG, .help = "Print what lies behind the image, too" },
	{ .name = "json", .type = OPTION_FLAG, .help = "Print a JSON object, with --chain an array; the names are those of qemu-img" },
};

static const char *size_text(uint64_t bytes, char *buffer, size_t size)
{
	static const char *const units[] = { "B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB" };
	double value = (double)bytes;
	size_t unit = 0;

	for (; value >= 1024 && unit + 1 < ARRAY_SIZE(units); unit++)
		value /= 1024;
	snprintf(buffer, size, "%.3g %s", value, units[unit]);
	return buffer;
}

static void print_value(const char *key, json_t *value)
{
	const char *size = strstr(key, "-size");
	char buffer[32];

	if (json_is_string(value))
		printf("%s\n", json_string_value(value));
	else if (json_is_boolean(value))
		printf("%s\n", json_is_true(value) ? "yes" : "no");
	else if (size && !size[5])
		printf("%s (%lld bytes)\n", size_text((uint64_t)json_integer_value(value), buffer, sizeof(buffer)),
		       (long long)json_integer_value(value));
	else
		printf("%lld\n", (long long)json_integer_value(value));
}

static void print_facts(json_t *facts)
{
	const char *key;
	json_t *value;

	json_object_foreach(facts, key, value) {
		if (json_is_object(value)) {
			print_facts(value);
			continue;
		}
		for (const char *letter = key; *letter; letter++)
			putchar(*letter == '-' ? ' ' : *letter);
		printf(": ");
		print_value(key, value);
	}
}

static int print_all(json_t *all, const struct config *config)
{
	size_t index;
	json_t *facts;

	if (config_flag(config, "json")) {
		json_dumpf(config_flag(config, "chain") ? all : json_array_get(all, 0), stdout, JSON_INDENT(2));
		printf("\n");
	} else {
		json_array_foreach(all, index, facts) {
			if (index)
				printf("\n");
			print_facts(facts);
		}
	}
	return fflush(stdout) ? LKVM_STATUS_ERROR : 0;
}

static int info_run(struct config *config, int argc, char **argv)
{
	bool chain = config_flag(config, "chain");
	struct image image;
	json_t *all, *facts;
	int result;

	if (!disk_command_operands("IMAGE", argc, argv, 1, 1))
		return LKVM_STATUS_USAGE;
	result = disk_command_open(&image, config, argv[0], (struct disk_options){ .read_only = true, .alone = !chain });
	if (result)
		return disk_command_status(result);
	all = json_array();
	for (unsigned int depth = 0; (facts = image_describe(&image, depth)); depth++)
		json_array_append_new(all, facts);
	(void)image_close(&image);
	result = json_array_size(all) ? print_all(all, config) : LKVM_STATUS_ERROR;
	json_decref(all);
	return result;
}

static struct command disk_info_command = {
	.name = "disk info",
	.operands = "IMAGE",
	.help = "Say what an image is: format, sizes, what lies behind it",
	.options = info_options,
	.option_count = ARRAY_SIZE(info_options),
	.run = info_run,
};
COMMAND(disk_info_command);
