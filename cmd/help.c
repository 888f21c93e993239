/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm help [COMMAND]: the same text as --help. With --man-options: the man page's part on commands and their
 * options, which doc/rules.mk puts into lkvm.1, so that the page can't lag behind the tables.
 */
#include <stdio.h>

#include "kvm/command.h"
#include "kvm/kvm.h"
#include "kvm/log.h"

static const struct option_def help_options[] = {
	{ .name = "all", .letter = 'a', .type = OPTION_FLAG, .help = "Show all options, as the command's --help-all" },
	{ .name = "man-options", .type = OPTION_FLAG },
};

static void man_command(const struct command *command)
{
	struct option_group own = command_group(command);

	dprintf(STDOUT_FILENO, ".Ss lkvm %s\n.Nm lkvm %s\n", command->name, command->name);
	if (command->groups || command->option_count)
		dprintf(STDOUT_FILENO, ".Op Ar options\n");
	if (command->operands)
		dprintf(STDOUT_FILENO, ".Ar %s\n", command->operands);
	dprintf(STDOUT_FILENO, ".Pp\n%s.\n", command->help);
	if (command->groups)
		option_man(command->groups(), STDOUT_FILENO);
	else if (command->option_count)
		option_man(&own, STDOUT_FILENO);
}

static int help_run(struct config *config, int argc, char **argv)
{
	const struct command *command;
	int used;

	if (config_flag(config, "man-options")) {
		for (command = command_first(); command; command = command->next)
			if (!command->pending && !command->family)
				man_command(command);
		return 0;
	}
	if (!argc) {
		command_usage(STDOUT_FILENO);
		return 0;
	}
	command = command_find_words(argc, argv, &used);
	if (!command)
		return command_unknown(used ? command_find(argv[0]) : NULL, argv[used]);
	if (argc > used) {
		log_error(EINVAL, "%s: one command at a time", argv[used]);
		return LKVM_STATUS_USAGE;
	}
	command_help(command, config_flag(config, "all"), STDOUT_FILENO);
	return 0;
}

static struct command help_command = {
	.name = "help",
	.operands = "[COMMAND]",
	.help = "Say what the commands do",
	.options = help_options,
	.option_count = ARRAY_SIZE(help_options),
	.run = help_run,
};
COMMAND(help_command);
