/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm disk snapshot: states of a disk that are kept inside of its image. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "disk.h"
#include "kvm/kvm.h"
#include "kvm/log.h"

static const struct option_def snapshot_options[] = {
	DISK_IMAGE_OPTIONS,
	{ .name = "json", .type = OPTION_FLAG, .help = "list: print a JSON array; the names are those of qemu-img" },
};

static void print_text(const json_t *list)
{
	size_t index;
	json_t *entry;

	printf("%-6s %-24s %-20s %14s\n", "ID", "NAME", "DATE", "SIZE");
	json_array_foreach(list, index, entry) {
		time_t when = (time_t)json_integer_value(json_object_get(entry, "date-sec"));
		char date[32] = "?";
		struct tm parts;

		if (localtime_r(&when, &parts))
			strftime(date, sizeof(date), "%Y-%m-%d %H:%M:%S", &parts);
		printf("%-6s %-24s %-20s %14lld\n", json_string_value(json_object_get(entry, "id")),
		       json_string_value(json_object_get(entry, "name")), date,
		       (long long)json_integer_value(json_object_get(entry, "virtual-size")));
	}
}

static int snapshot_list(const struct config *config, const char *path)
{
	struct image image;
	json_t *list;
	int result = disk_command_open(&image, config, path, (struct disk_options){ .read_only = true, .alone = true });

	if (result)
		return result;
	list = image_snapshots(&image);
	if (list && config_flag(config, "json")) {
		json_dumpf(list, stdout, JSON_INDENT(2));
		printf("\n");
	} else if (list) {
		print_text(list);
	}
	result = !list || fflush(stdout) ? -EIO : 0;
	json_decref(list);
	(void)image_close(&image);
	return result;
}

static int snapshot_change(const struct config *config, const char *path, enum image_snapshot_change change, const char *name)
{
	struct image image;
	int result = disk_command_open(&image, config, path, (struct disk_options){ .alone = true }), closed;

	if (result)
		return result;
	result = image_snapshot(&image, change, name);
	closed = image_close(&image);
	return result ? result : closed;
}

static int snapshot_run(struct config *config, int argc, char **argv)
{
	static const struct { const char *verb; enum image_snapshot_change change; } verbs[] = {
		{ "create", IMAGE_SNAPSHOT_CREATE }, { "apply", IMAGE_SNAPSHOT_APPLY }, { "delete", IMAGE_SNAPSHOT_DELETE },
	};
	bool list = argc && !strcmp(argv[0], "list");

	if (!disk_command_operands(list ? "list IMAGE" : "list|create|apply|delete IMAGE [NAME]", argc, argv, list ? 2 : 3, list ? 2 : 3))
		return LKVM_STATUS_USAGE;
	if (list)
		return disk_command_status(snapshot_list(config, argv[1]));
	for (size_t i = 0; i < ARRAY_SIZE(verbs); i++)
		if (!strcmp(argv[0], verbs[i].verb))
			return disk_command_status(snapshot_change(config, argv[1], verbs[i].change, argv[2]));
	return disk_command_status(log_error(EUSAGE, "lkvm disk snapshot: can't '%s' (say list, create, apply or delete)", argv[0]));
}

static struct command disk_snapshot_command = {
	.name = "disk snapshot",
	.operands = "list|create|apply|delete IMAGE [NAME]",
	.help = "Keep the disk in a qcow2 image as it is, go back to that, forget it",
	.options = snapshot_options,
	.option_count = ARRAY_SIZE(snapshot_options),
	.run = snapshot_run,
};
COMMAND(disk_snapshot_command);
