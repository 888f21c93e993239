/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Subcommands: cmd/NAME.c holds one and registers it; main.c finds it by argv[1].
 */
#ifndef KVM_COMMAND_H
#define KVM_COMMAND_H

#include "kvm/option.h"

struct command {
	const char *name;
	const char *operands;		/* "[NAME...]" for the usage line; NULL: it takes none */
	const char *help;		/* one line */
	const struct option_def *options;
	size_t option_count;
	/** @groups: instead of options, for run; NULL otherwise */
	struct option_group *(*groups)(void);
	/** @often: the options that --help shows, where it doesn't show all; NULL-terminated */
	const char *const *often;
	/** @run: with the parsed options and the operands; returns the exit status */
	int (*run)(struct config *config, int argc, char **argv);
	/** @raw: all words are operands, as they are another program's; but for a first --help */
	bool raw;
	const char *pending;		/* not NULL: answers "not built yet (this)" */
	/**
	 * @family: it only leads to its members, commands of their own that are called "disk create", "disk info", ...;
	 * the rest but name and help is left out
	 */
	bool family;
	struct command *next;
};

#define COMMAND(command_)								\
	static void __attribute__((constructor)) command_##_register(void)		\
	{										\
		command_register(&command_);						\
	}										\
	struct command /* swallows the semicolon */

void command_register(struct command *command);
struct command *command_find(const char *name);
/** command_find_words() - as command_find(), by one word or, for a member of a family, by two; *@used of them */
struct command *command_find_words(int argc, char **argv, int *used);
/** command_first() - all commands, sorted by name */
struct command *command_first(void);
/** command_usage(), command_help() - what `lkvm` and `lkvm COMMAND --help` (@all: --help-all) print */
void command_usage(int fd);
void command_help(const struct command *command, bool all, int fd);
/** command_unknown() - says that there is no command @name (in @family, or NULL), and which one was meant; the status */
int command_unknown(const struct command *family, const char *name);
/** command_group() - the table of a command that has no groups of its own */
struct option_group command_group(const struct command *command);
/** command_main() - what main() does: returns the exit status */
int command_main(int argc, char **argv);

#endif
