/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm completion: prints what makes a shell complete lkvm's command line, from the tables by which it is parsed.
 * One file a shell writes it: completion-bash.c, completion-zsh.c, completion-fish.c.
 */
#include "completion.h"

#include <stdio.h>
#include <string.h>

#include "kvm/kvm.h"
#include "kvm/log.h"

static const struct option_def help_row = { .name = "help", .letter = 'h', .type = OPTION_FLAG, .help = "Show this help" };
static const struct option_def help_all_row = { .name = "help-all", .type = OPTION_FLAG, .help = "Show all options" };

/* "FILE", "IMAGE[,ro]...", "DIR,TAG...": what the word begins with */
static bool begins(const char *argument, const char *word)
{
	size_t length = strlen(word);

	return argument && strncmp(argument, word, length) == 0 && (!argument[length] || strchr("[,@", argument[length]));
}

enum completion_kind completion_option(const struct command *command, const struct option_def *def)
{
	if (def->type == OPTION_FLAG)
		return COMPLETE_NOTHING;
	if (def->choices)
		return COMPLETE_CHOICES;
	if (begins(def->argument, "FILE") || begins(def->argument, "IMAGE") || begins(def->argument, "PROGRAM"))
		return COMPLETE_FILES;
	if (begins(def->argument, "DIR"))
		return COMPLETE_FOLDERS;
	/* run's is a new one */
	return begins(def->argument, "NAME") && strcmp(command->name, "run") != 0 ? COMPLETE_VMS : COMPLETE_NOTHING;
}

enum completion_kind completion_operand(const struct command *command)
{
	const char *operands = command->operands ? command->operands : "";

	if (strncmp(operands, "[KERNEL]", 8) == 0)
		return COMPLETE_KERNEL;
	if (strncmp(operands, "[COMMAND]", 9) == 0)
		return COMPLETE_COMMANDS;
	if (strncmp(operands, "[NAME", 5) == 0 || strncmp(operands, "NAME", 4) == 0)
		return COMPLETE_VMS;
	return *operands ? COMPLETE_FILES : COMPLETE_NOTHING;
}

void completion_commands(void (*each)(const struct command *command, void *opaque), void *opaque)
{
	for (const struct command *command = command_first(); command; command = command->next)
		if (!command->pending)
			each(command, opaque);
}

void completion_options(const struct command *command,
			void (*each)(const struct command *command, const struct option_def *def, void *opaque), void *opaque)
{
	struct option_group own = command_group(command);

	for (const struct option_group *group = command->groups ? command->groups() : &own; group; group = group->next)
		for (size_t i = 0; i < group->count; i++)
			if (group->options[i].help && !group->options[i].pending)
				each(command, &group->options[i], opaque);
	each(command, &help_row, opaque);
	if (command->often)
		each(command, &help_all_row, opaque);
}

void completion_text(const char *text)
{
	const char *end = strstr(text, " (");
	size_t length = strcspn(text, ":;");

	if (end)
		length = MIN(length, (size_t)(end - text));
	for (size_t i = 0; i < length; i++)
		/* An apostrophe would end what shells quote by it: the typographic one doesn't. */
		fputs(text[i] == '\'' ? "\xe2\x80\x99" : (char[]){ strchr("\"[]`$\\", text[i]) ? ' ' : text[i], '\0' }, stdout);
}

static int completion_run(struct config *config, int argc, char **argv)
{
	static const struct {
		const char *shell;
		void (*print)(void);
	} shells[] = { { "bash", completion_bash }, { "zsh", completion_zsh }, { "fish", completion_fish } };

	(void)config;
	for (size_t i = 0; argc == 1 && i < ARRAY_SIZE(shells); i++) {
		if (strcmp(argv[0], shells[i].shell) != 0)
			continue;
		shells[i].print();
		return fflush(stdout) == 0 ? 0 : LKVM_STATUS_ERROR;
	}
	log_error(EINVAL, "%s: for which shell? (say bash, zsh or fish)", argc ? argv[argc - 1] : "completion");
	return LKVM_STATUS_USAGE;
}

static struct command completion_command = {
	.name = "completion",
	.operands = "bash|zsh|fish",
	.help = "Print what makes a shell complete lkvm's command line",
	.run = completion_run,
};
COMMAND(completion_command);
