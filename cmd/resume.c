/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm resume: a paused guest goes on.
 */
#include <stdio.h>

#include "kvm/command.h"
#include "vm-names.h"

static const struct option_def resume_options[] = { VM_NAME_OPTIONS };

static int resume_one(const char *name, struct qmp_client *client, struct config *config)
{
	int r = control_call(client, "cont", NULL, NULL);

	(void)config;
	if (r == 0)
		printf("Guest %s resumed\n", name);
	return r;
}

static int resume_run(struct config *config, int argc, char **argv)
{
	return vm_names_each(config, argc, argv, resume_one);
}

static struct command resume_command = {
	.name = "resume",
	.operands = "[NAME...]",
	.help = "Let paused VMs go on",
	.options = resume_options,
	.option_count = ARRAY_SIZE(resume_options),
	.run = resume_run,
};
COMMAND(resume_command);
