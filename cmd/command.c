/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Subcommands: the register, and the way from argv to one of them.
 *
 * Here, and in the command's own file, errors become exit statuses: 2 when the command line is wrong, else
 * whatever the command returns.
 */
#include "kvm/command.h"

#include <stdio.h>
#include <string.h>

#include "kvm/kvm.h"
#include "kvm/log.h"
#include "run.h"
#include "version.h"

static REGISTRY struct command *commands;

REGISTERS void command_register(struct command *command)
{
	static REGISTRY struct command *newest;
	struct command **at = newest && strcmp(newest->name, command->name) < 0 ? &newest->next : &commands;

	/* They mostly come in order, and each start of any of them registers all. */
	while (*at && strcmp((*at)->name, command->name) < 0)
		at = &(*at)->next;
	command->next = *at;
	*at = command;
	newest = command;
}

struct command *command_first(void)
{
	return commands;
}

struct command *command_find(const char *name)
{
	struct command *command = commands;

	while (command && strcmp(command->name, name) != 0)
		command = command->next;
	return command;
}

struct command *command_find_words(int argc, char **argv, int *used)
{
	struct command *command = argc ? command_find(argv[0]) : NULL;
	char name[64];

	*used = command ? 1 : 0;
	if (!command || !command->family || argc < 2 || argv[1][0] == '-')
		return command;
	snprintf(name, sizeof(name), "%s %s", argv[0], argv[1]);
	command = command_find(name);
	*used = command ? 2 : 1;
	return command;
}

/* What stands behind "FAMILY " in the name of a member; without a @family: of a command that is in none. Or NULL. */
static const char *member_name(const struct command *family, const struct command *command)
{
	size_t length = family ? strlen(family->name) : 0;

	if (!family)
		return strchr(command->name, ' ') ? NULL : command->name;
	return strncmp(command->name, family->name, length) == 0 && command->name[length] == ' ' ? command->name + length + 1 : NULL;
}

static void list_members(const struct command *family, int fd)
{
	for (const struct command *command = commands; command; command = command->next)
		if (!command->pending && member_name(family, command))
			dprintf(fd, "  %-10s %s\n", member_name(family, command), command->help);
}

struct option_group command_group(const struct command *command)
{
	return (struct option_group){
		.title = "Options", .options = command->options, .count = command->option_count };
}

void command_help(const struct command *command, bool all, int fd)
{
	struct option_group own = command_group(command);
	const struct option_group *groups = command->groups ? command->groups() : &own;

	if (command->family) {
		dprintf(fd, "usage: lkvm %s COMMAND [OPTIONS]\n\n%s:\n\n", command->name, command->help);
		list_members(command, fd);
		dprintf(fd, "\nlkvm %s COMMAND --help tells more.\n", command->name);
		return;
	}
	dprintf(fd, "usage: lkvm %s [OPTIONS]%s%s\n\n%s.\n", command->name,
		command->operands ? " " : "", command->operands ? command->operands : "",
		command->help);
	if (command->pending)
		dprintf(fd, "\nNot built yet: %s.\n", command->pending);
	if (command->often && !all) {
		dprintf(fd, "\nOptions used most:\n");
		option_help_some(groups, command->often, fd);
		dprintf(fd, "\nlkvm %s --help-all shows them all.\n", command->name);
	} else if (command->groups || command->option_count) {
		dprintf(fd, "\n");
		option_help(groups, fd);
	}
}

void command_usage(int fd)
{
	dprintf(fd, "usage: lkvm COMMAND [OPTIONS]\n\n");
	list_members(NULL, fd);
	dprintf(fd, "\nlkvm COMMAND --help tells more, `man lkvm` most.\n"
		    "To boot a kernel: lkvm run -k bzImage -d disk.img\n");
}

int command_unknown(const struct command *family, const char *name)
{
	const char *before = family ? family->name : "", *space = family ? " " : "", *suggestion = NULL;
	unsigned int best = UINT32_MAX;

	if (*name == '-') {
		log_error(EINVAL, "%s: the command comes first, as in `lkvm %s%s%s %s` (`lkvm help%s%s` lists them)", name,
			  before, space, family ? "info" : "run", name, space, before);
		return LKVM_STATUS_USAGE;
	}
	for (const struct command *command = commands; command; command = command->next) {
		const char *candidate = member_name(family, command);

		if (candidate && suggestion_closer(name, candidate, &best))
			suggestion = candidate;
	}
	if (suggestion)
		log_error(EINVAL, "%s%s%s: no such command (did you mean `lkvm %s%s%s`?)", before, space, name,
			  before, space, suggestion);
	else
		log_error(EINVAL, "%s%s%s: no such command (`lkvm help%s%s` lists them)", before, space, name, space, before);
	return LKVM_STATUS_USAGE;
}

static bool asks_for_help(const char *word)
{
	return strcmp(word, "-h") == 0 || strcmp(word, "--help") == 0 || strcmp(word, "--help-all") == 0;
}

/* A family by itself, or with a word that is no member. */
static int family_run(const struct command *family, int argc, char **argv)
{
	if (!argc) {
		command_help(family, true, STDERR_FILENO);
		return LKVM_STATUS_USAGE;
	}
	if (asks_for_help(argv[0])) {
		command_help(family, true, STDOUT_FILENO);
		return 0;
	}
	return command_unknown(family, argv[0]);
}

static int raw_run(const struct command *command, int argc, char **argv)
{
	if (argc && asks_for_help(argv[0])) {
		command_help(command, true, STDOUT_FILENO);
		return 0;
	}
	return command->run(NULL, argc, argv);
}

static int command_run(const struct command *command, int argc, char **argv)
{
	struct option_group own = command_group(command);
	struct option_group *groups = command->groups ? command->groups() : &own;
	struct config *config;
	int first, status;

	if (config_parse(&config, groups, argc, argv, &first) < 0)
		return run_usage_status(argc, argv);
	if (config_flag(config, "help") || config_flag(config, "help-all")) {
		command_help(command, config_flag(config, "help-all"), STDOUT_FILENO);
		status = 0;
	} else if (first < argc && !command->operands) {
		log_error(EINVAL, "%s: lkvm %s takes options only", argv[first], command->name);
		status = LKVM_STATUS_USAGE;
	} else {
		status = command->run(config, argc - first, argv + first);
	}
	config_free(config);
	return status;
}

int command_main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : NULL;
	const struct command *command;
	int used;

	if (!name) {
		command_usage(STDERR_FILENO);
		return LKVM_STATUS_USAGE;
	}
	if (strcmp(name, "-h") == 0 || strcmp(name, "--help") == 0) {
		command_usage(STDOUT_FILENO);
		return 0;
	}
	if (strcmp(name, "--version") == 0 || strcmp(name, "-V") == 0) {
		dprintf(STDOUT_FILENO, "lkvm %s\n", LKVM_VERSION);
		return 0;
	}
	command = command_find_words(argc - 1, argv + 1, &used);
	if (!command)
		return command_unknown(used ? command_find(name) : NULL, argv[1 + used]);
	if (command->pending) {
		log_error(EINVAL, "%s: not built yet (%s)", name, command->pending);
		return LKVM_STATUS_USAGE;
	}
	if (command->family)
		return family_run(command, argc - 2, argv + 2);
	if (command->raw)
		return raw_run(command, argc - 1 - used, argv + 1 + used);
	return command_run(command, argc - 1 - used, argv + 1 + used);
}
