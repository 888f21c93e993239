/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm completion zsh: a function for a file _lkvm in fpath; the options are told to zsh's own _arguments. */
#include <stdio.h>
#include <string.h>

#include "completion.h"

/* How _arguments is told what a value may be; choices are printed by hand. */
static const char *action(enum completion_kind kind)
{
	switch (kind) {
	case COMPLETE_FILES:	return "_files";
	case COMPLETE_FOLDERS:	return "_files -/";
	case COMPLETE_VMS:	return "_lkvm_vms";
	case COMPLETE_COMMANDS:	return "_lkvm_commands";
	case COMPLETE_KERNEL:	return "_lkvm_kernel";
	default:		return "( )";
	}
}

static void print_command(const struct command *command, void *opaque)
{
	const struct command *family = opaque;
	size_t length = family ? strlen(family->name) : 0;
	const char *name = command->name;

	if (family && (strncmp(name, family->name, length) != 0 || name[length] != ' '))
		return;
	if (family)
		name += length + 1;
	else if (strchr(name, ' '))
		return;
	printf("		'%s:", name);
	completion_text(command->help);
	printf("'\n");
}

static void print_list(const char *function, const char *what, const struct command *family)
{
	printf("%s()\n{\n	local -a commands=(\n", function);
	completion_commands(print_command, (void *)family);
	printf("	)\n	_describe '%s' commands\n}\n", what);
}

static void print_spec(const struct option_def *def, const char *dashes, const char *name, enum completion_kind kind)
{
	printf("			'%s%s%s%s[", def->type == OPTION_LIST ? "*" : "", dashes, name,
	       def->type == OPTION_FLAG ? "" : def->optional_argument ? "=-" : strlen(name) > 1 ? "=" : "+");
	completion_text(def->help);
	printf("]");
	if (def->type != OPTION_FLAG) {
		printf("%s:value:", def->optional_argument ? ":" : "");
		if (def->choices) {
			printf("(");
			for (size_t i = 0; def->choices[i]; i++)
				printf("%s%s", i ? " " : "", def->choices[i]);
			printf(")");
		} else {
			printf("%s", action(kind));
		}
	}
	printf("' \\\n");
}

static void print_option(const struct command *command, const struct option_def *def, void *opaque)
{
	enum completion_kind kind = completion_option(command, def);

	(void)opaque;
	print_spec(def, "--", def->name, kind);
	if (def->letter)
		print_spec(def, "-", (char[]){ def->letter, '\0' }, kind);
}

static void print_case(const struct command *command, void *opaque)
{
	enum completion_kind operand = completion_operand(command);

	if (command->family)
		return;
	printf("	'%s')\n		_arguments -s -S \\\n", command->name);
	completion_options(command, print_option, opaque);
	printf("			'*:operand:%s'\n		;;\n", action(operand));
}

static void print_family(const struct command *command, void *opaque)
{
	(void)opaque;
	if (!command->family)
		return;
	printf("	if [[ $command == %s ]]; then\n"
	       "		if ((CURRENT == 2)); then _lkvm_%s; return; fi\n"
	       "		command=\"%s $words[2]\"\n"
	       "		shift words; ((CURRENT--))\n"
	       "	fi\n", command->name, command->name, command->name);
}

static void print_family_list(const struct command *command, void *opaque)
{
	char function[64];

	(void)opaque;
	if (!command->family)
		return;
	snprintf(function, sizeof(function), "_lkvm_%s", command->name);
	print_list(function, command->name, command);
}

void completion_zsh(void)
{
	printf("#compdef lkvm\n"
	       "# zsh completion for lkvm: lkvm completion zsh > ~/.zsh/functions/_lkvm, a folder of fpath\n"
	       "_lkvm_vms() { compadd -- ${(f)\"$(lkvm list 2>/dev/null | awk '$1 ~ /^[0-9]+$/ { print $2 }')\"} }\n"
	       "_lkvm_kernel()\n{\n"
	       "	local at=${words[(i)--]}\n"
	       "	if ((at < CURRENT)); then\n"
	       "		shift $at words; ((CURRENT -= at))\n"
	       "		_normal\n"
	       "		return\n"
	       "	fi\n"
	       "	compadd -- /lib/modules/*(N:t)\n"
	       "	_files\n}\n");
	print_list("_lkvm_commands", "command", NULL);
	completion_commands(print_family_list, NULL);
	printf("_lkvm()\n{\n"
	       "	if ((CURRENT == 2)); then _lkvm_commands; return; fi\n"
	       "	shift words; ((CURRENT--))\n"
	       "	local command=$words[1]\n");
	completion_commands(print_family, NULL);
	printf("	case $command in\n");
	completion_commands(print_case, NULL);
	printf("	esac\n}\n"
	       "if [[ $funcstack[1] == _lkvm ]]; then _lkvm \"$@\"; else compdef _lkvm lkvm; fi\n");
}
