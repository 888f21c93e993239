/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm version.
 */
#include "version.h"

#include <stdio.h>

#include "kvm/arch.h"
#include "kvm/command.h"

static int version_run(struct config *config, int argc, char **argv)
{
	(void)config;
	(void)argc;
	(void)argv;
	printf("lkvm %s (%s)\n", LKVM_VERSION, arch_name);
	return fflush(stdout) == 0 ? 0 : 1;
}

static struct command version_command = {
	.name = "version",
	.help = "Print the version",
	.run = version_run,
};
COMMAND(version_command);
