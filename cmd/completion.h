/* SPDX-License-Identifier: BSD-2-Clause */
/* What the writers of shell completions share: walks over the tables of commands and options. */
#ifndef CMD_COMPLETION_H
#define CMD_COMPLETION_H

#include "kvm/command.h"

/** enum completion_kind - what can stand where a word is wanted */
enum completion_kind {
	COMPLETE_NOTHING,	/* numbers, sizes, new names */
	COMPLETE_CHOICES,	/* one of the option's choices */
	COMPLETE_FILES,
	COMPLETE_FOLDERS,
	COMPLETE_VMS,		/* names of VMs that run */
	COMPLETE_COMMANDS,	/* lkvm's own */
	COMPLETE_KERNEL,	/* a file, or an installed version; then, behind --, a command of the system */
};

enum completion_kind completion_option(const struct command *command, const struct option_def *def);
enum completion_kind completion_operand(const struct command *command);

/** completion_commands() - each command that is built, families too */
void completion_commands(void (*each)(const struct command *command, void *opaque), void *opaque);
/** completion_options() - each option of @command that people are told of, --help at the end */
void completion_options(const struct command *command, void (*each)(const struct command *command, const struct option_def *def, void *opaque),
			void *opaque);
/** completion_text() - prints a help line in short: up to its first " (", colon or semicolon, and nothing that shells quote by */
void completion_text(const char *text);

void completion_bash(void);
void completion_zsh(void);
void completion_fish(void);

#endif
