/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm completion bash: one function, which knows the options of each command, and what each option takes. */
#include <stdio.h>
#include <string.h>

#include "completion.h"

static const char head[] =
	"# bash completion for lkvm: source <(lkvm completion bash)\n"
	"_lkvm_vms() { lkvm list 2>/dev/null | awk '$1 ~ /^[0-9]+$/ { print $2 }'; }\n"
	"_lkvm()\n"
	"{\n"
	"	local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} command=${COMP_WORDS[1]} words= kind= i\n"
	"	COMPREPLY=()\n"
	"	# --name=VALUE comes as three words\n"
	"	[ \"$cur\" != = ] || cur=\n"
	"	[ \"$prev\" != = ] || prev=${COMP_WORDS[COMP_CWORD-2]}\n"
	"	if [ \"$COMP_CWORD\" = 1 ]; then\n"
	"		COMPREPLY=($(compgen -W \"$(_lkvm_commands)\" -- \"$cur\"))\n"
	"		return\n"
	"	fi\n"
	"	for ((i = 2; i < COMP_CWORD; i++)); do\n"
	"		[ \"${COMP_WORDS[i]}\" = -- ] || continue\n"
	"		if [ $((i + 1)) = \"$COMP_CWORD\" ]; then COMPREPLY=($(compgen -c -- \"$cur\")); fi\n"
	"		compopt -o default 2>/dev/null\n"
	"		return\n"
	"	done\n";

static const char tail[] =
	"	case $kind in\n"
	"	words) COMPREPLY=($(compgen -W \"$words\" -- \"$cur\")) ;;\n"
	"	vms) COMPREPLY=($(compgen -W \"$words $(_lkvm_vms)\" -- \"$cur\")) ;;\n"
	"	commands) COMPREPLY=($(compgen -W \"$(_lkvm_commands)\" -- \"$cur\")) ;;\n"
	"	kernel) COMPREPLY=($(compgen -W \"$(ls /lib/modules 2>/dev/null)\" -- \"$cur\")); compopt -o default 2>/dev/null ;;\n"
	"	files) compopt -o default 2>/dev/null ;;\n"
	"	folders) compopt -o dirnames 2>/dev/null ;;\n"
	"	esac\n"
	"}\n"
	"complete -F _lkvm lkvm\n";

static const char *kind_name(enum completion_kind kind)
{
	switch (kind) {
	case COMPLETE_CHOICES:	return "words";
	case COMPLETE_FILES:	return "files";
	case COMPLETE_FOLDERS:	return "folders";
	case COMPLETE_VMS:	return "vms";
	case COMPLETE_COMMANDS:	return "commands";
	case COMPLETE_KERNEL:	return "kernel";
	default:		return "none";
	}
}

/* Of no family: its first word is all of it */
static void print_name(const struct command *command, void *opaque)
{
	(void)opaque;
	if (!strchr(command->name, ' '))
		printf(" %s", command->name);
}

static void print_member(const struct command *command, void *opaque)
{
	const struct command *family = opaque;
	size_t length = strlen(family->name);

	if (strncmp(command->name, family->name, length) == 0 && command->name[length] == ' ')
		printf(" %s", command->name + length + 1);
}

static void print_family(const struct command *command, void *opaque)
{
	(void)opaque;
	if (!command->family)
		return;
	printf("	if [ \"$command\" = %s ]; then\n"
	       "		if [ \"$COMP_CWORD\" = 2 ]; then\n"
	       "			COMPREPLY=($(compgen -W \"", command->name);
	completion_commands(print_member, (void *)command);
	printf("\" -- \"$cur\"))\n"
	       "			return\n"
	       "		fi\n"
	       "		command=\"%s ${COMP_WORDS[2]}\"\n"
	       "	fi\n", command->name);
}

static void print_value(const struct command *command, const struct option_def *def, void *opaque)
{
	(void)opaque;
	if (def->type == OPTION_FLAG || def->optional_argument)
		return;
	printf("	\"%s --%s\"", command->name, def->name);
	if (def->letter)
		printf("|\"%s -%c\"", command->name, def->letter);
	printf(") kind=%s", kind_name(completion_option(command, def)));
	if (def->choices) {
		printf(" words='");
		for (size_t i = 0; def->choices[i]; i++)
			printf("%s%s", i ? " " : "", def->choices[i]);
		printf("'");
	}
	printf(" ;;\n");
}

static void print_values(const struct command *command, void *opaque)
{
	completion_options(command, print_value, opaque);
}

static void print_option(const struct command *command, const struct option_def *def, void *opaque)
{
	(void)command;
	(void)opaque;
	printf(" --%s", def->name);
}

static void print_options(const struct command *command, void *opaque)
{
	if (command->family)
		return;
	printf("		\"%s\") words='", command->name);
	completion_options(command, print_option, opaque);
	printf("' operand=%s ;;\n", kind_name(completion_operand(command)));
}

void completion_bash(void)
{
	printf("_lkvm_commands() { echo '");
	completion_commands(print_name, NULL);
	printf("'; }\n%s", head);
	completion_commands(print_family, NULL);
	printf("	case \"$command $prev\" in\n");
	completion_commands(print_values, NULL);
	printf("	esac\n"
	       "	if [ -z \"$kind\" ]; then\n"
	       "		local operand=\n"
	       "		case $command in\n");
	completion_commands(print_options, NULL);
	printf("		esac\n"
	       "		case $cur in -*) kind=words ;; *) kind=$operand words= ;; esac\n"
	       "	fi\n%s", tail);
}
