/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Commands that are known but not built yet: each says which part of lkvm it waits for. Whoever builds one
 * takes its line away here.
 */
#include "kvm/command.h"

#define PENDING(variable, name_, help_, waits_for)						\
	static struct command variable = {							\
		.name = (name_), .help = (help_), .pending = (waits_for) };			\
	COMMAND(variable)

PENDING(monitor_command, "monitor", "A prompt on the control socket", "the state issue");
