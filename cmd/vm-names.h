/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which VMs a command means: operands, -n NAME, or -a for all of them.
 */
#ifndef CMD_VM_NAMES_H
#define CMD_VM_NAMES_H

#include "kvm/control.h"
#include "kvm/option.h"

#define CONTROL_TIMEOUT_MS 5000

/* the rows that every such command has, as kvmtool's */
#define VM_NAME_OPTIONS									\
	{ .name = "name", .letter = 'n', .type = OPTION_LIST, .argument = "NAME",	\
	  .help = "The VM called NAME; may be repeated, and NAME may stand alone" },	\
	{ .name = "all", .letter = 'a', .type = OPTION_FLAG, .help = "All VMs of this user" }

/** vm_names_each() - calls @each with a connection to every VM meant; the exit status (the worst of all) */
int vm_names_each(struct config *config, int argc, char **argv,
		  int (*each)(const char *name, struct qmp_client *client, struct config *config));

#endif
