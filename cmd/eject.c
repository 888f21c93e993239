/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm eject: the disc comes out of a guest's drive, and another goes in if one is named.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/command.h"
#include "kvm/log.h"
#include "vm-names.h"

static const struct option_def eject_options[] = {
	VM_NAME_OPTIONS,
	{ .name = "insert", .letter = 'i', .type = OPTION_STRING, .argument = "IMAGE", .help = "Put IMAGE in, and shut the tray" },
	{ .name = "drive", .letter = 'd', .type = OPTION_STRING, .argument = "DRIVE",
	  .help = "Which drive: disk1 for the second of all -d, or its serial=; the only one, if not said" },
	{ .name = "force", .letter = 'f', .type = OPTION_FLAG, .help = "Whatever the guest has locked" },
};

static int eject_one(const char *name, struct qmp_client *client, struct config *config)
{
	const char *drive = config_string(config, "drive"), *image = config_string(config, "insert");
	/* the VM may run in another folder */
	_cleanup_free_ char *path = !image ? NULL : strstr(image, "://") ? strdup(image) : realpath(image, NULL);
	json_t *arguments;
	int r;

	if (image && !path)
		return log_errno(errno, "option --insert: '%s'", image);
	arguments = json_pack("{s:b,s:s*,s:s*}", "force", config_flag(config, "force"), "id", drive, "filename", path);
	if (!arguments)
		return log_error(EINVAL, "lkvm eject: a name that is no UTF-8");
	r = control_call(client, path ? "blockdev-change-medium" : "eject", arguments, NULL);
	if (r == 0)
		printf(path ? "Guest %s has another disc\n" : "Guest %s has its drive open\n", name);
	return r;
}

static int eject_run(struct config *config, int argc, char **argv)
{
	return vm_names_each(config, argc, argv, eject_one);
}

static struct command eject_command = {
	.name = "eject",
	.operands = "[NAME...]",
	.help = "Change the disc in a CD-ROM drive, or take it out",
	.options = eject_options,
	.option_count = ARRAY_SIZE(eject_options),
	.run = eject_run,
};
COMMAND(eject_command);
