/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm completion fish: one `complete` line an option. */
#include <stdio.h>
#include <string.h>

#include "completion.h"

static const char head[] =
	"# fish completion for lkvm: lkvm completion fish > ~/.config/fish/completions/lkvm.fish\n"
	"function __lkvm_vms\n"
	"	lkvm list 2>/dev/null | awk '$1 ~ /^[0-9]+$/ { print $2 }'\n"
	"end\n"
	"# Whether the first words are these; a family's members are two.\n"
	"function __lkvm_is\n"
	"	set -l words (commandline -opc)\n"
	"	test (count $words) -gt (count $argv); or return 1\n"
	"	set -l last (math (count $argv) + 1)\n"
	"	test \"$words[2..$last]\" = \"$argv\"\n"
	"end\n"
	"function __lkvm_begins\n"
	"	test (count (commandline -opc)) -eq 1\n"
	"end\n"
	"complete -c lkvm -f\n";

static void print_kind(enum completion_kind kind, const struct option_def *def)
{
	switch (kind) {
	case COMPLETE_CHOICES:
		printf(" -a '");
		for (size_t i = 0; def && def->choices[i]; i++)
			printf("%s%s", i ? " " : "", def->choices[i]);
		printf("'");
		break;
	case COMPLETE_FILES:
		printf(" -F");
		break;
	case COMPLETE_FOLDERS:
		printf(" -a '(__fish_complete_directories)'");
		break;
	case COMPLETE_VMS:
		printf(" -a '(__lkvm_vms)'");
		break;
	case COMPLETE_COMMANDS:
		printf(" -a '(lkvm help | string match -rg \"^  (\\\\S+)\")'");
		break;
	case COMPLETE_KERNEL:
		printf(" -F -a '(ls /lib/modules 2>/dev/null)'");
		break;
	case COMPLETE_NOTHING:
		break;
	}
}

static void print_option(const struct command *command, const struct option_def *def, void *opaque)
{
	(void)opaque;
	printf("complete -c lkvm -n '__lkvm_is %s' -l %s", command->name, def->name);
	if (def->letter)
		printf(" -s %c", def->letter);
	if (def->type != OPTION_FLAG && !def->optional_argument)
		printf(" -%c", completion_option(command, def) == COMPLETE_FILES ? 'r' : 'x');
	print_kind(completion_option(command, def), def);
	printf(" -d '");
	completion_text(def->help);
	printf("'\n");
}

static void print_command(const struct command *command, void *opaque)
{
	const char *space = strchr(command->name, ' ');

	if (space)
		printf("complete -c lkvm -n '__lkvm_is %.*s; and test (count (commandline -opc)) -eq 2' -a %s -d '",
		       (int)(space - command->name), command->name, space + 1);
	else
		printf("complete -c lkvm -n __lkvm_begins -a %s -d '", command->name);
	completion_text(command->help);
	printf("'\n");
	if (command->family)
		return;
	if (completion_operand(command) != COMPLETE_NOTHING) {
		printf("complete -c lkvm -n '__lkvm_is %s'", command->name);
		print_kind(completion_operand(command), NULL);
		printf("\n");
	}
	completion_options(command, print_option, opaque);
}

void completion_fish(void)
{
	printf("%s", head);
	completion_commands(print_command, NULL);
}
