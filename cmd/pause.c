/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm pause: the guest stands still until `lkvm resume`.
 */
#include <stdio.h>

#include "kvm/command.h"
#include "vm-names.h"

static const struct option_def pause_options[] = { VM_NAME_OPTIONS };

static int pause_one(const char *name, struct qmp_client *client, struct config *config)
{
	int r = control_call(client, "stop", NULL, NULL);

	(void)config;
	if (r == 0)
		printf("Guest %s paused\n", name);
	return r;
}

static int pause_run(struct config *config, int argc, char **argv)
{
	return vm_names_each(config, argc, argv, pause_one);
}

static struct command pause_command = {
	.name = "pause",
	.operands = "[NAME...]",
	.help = "Pause VMs",
	.options = pause_options,
	.option_count = ARRAY_SIZE(pause_options),
	.run = pause_run,
};
COMMAND(pause_command);
