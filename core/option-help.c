/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Option tables for people: the columns of --help and the mdoc list of the man page, both from the tables
 * that the parser reads, so that they can't drift apart.
 */
#include <stdio.h>
#include <string.h>

#include "kvm/option.h"

#define HELP_COLUMN 30

static const char *argument_name(const struct option_def *def)
{
	return def->argument ? def->argument : "VALUE";
}

/* Unless the argument's name says them already: --console serial|virtio */
static bool lists_choices(const struct option_def *def)
{
	return def->choices && !strchr(argument_name(def), '|');
}

/* A row without help is for lkvm's own build and tests */
static bool is_hidden(const struct option_def *def)
{
	return !def->help;
}

static bool shows_nothing(const struct option_group *group)
{
	for (size_t i = 0; i < group->count; i++)
		if (!is_hidden(&group->options[i]))
			return false;
	return true;
}

/* How much of the argument's name is shown: in brief, not what may stand behind its first word. */
static int argument_length(const struct option_def *def, bool brief)
{
	return (int)(brief ? strcspn(argument_name(def), "[") : strlen(argument_name(def)));
}

static void help_row(const struct option_def *def, bool brief, int fd)
{
	char left[96];
	char letter[] = { ' ', '-', def->letter, ',', '\0' };
	bool flag = def->type == OPTION_FLAG;

	snprintf(left, sizeof(left), " %s --%s%s%.*s%s", def->letter ? letter : "    ", def->name,
		 flag ? "" : def->optional_argument ? "[=" : " ", flag ? 0 : argument_length(def, brief), argument_name(def),
		 !flag && def->optional_argument ? "]" : "");

	/* a name too long for its column gets a line of its own */
	if (strlen(left) >= HELP_COLUMN)
		dprintf(fd, "%s\n%*s", left, HELP_COLUMN, "");
	else
		dprintf(fd, "%-*s", HELP_COLUMN, left);
	dprintf(fd, "%s", def->help);
	for (size_t i = 0; lists_choices(def) && def->choices[i]; i++)
		dprintf(fd, "%s%s", i ? "|" : ": ", def->choices[i]);
	if (def->fallback && def->type != OPTION_FLAG)
		dprintf(fd, " (default: %s)", def->fallback);
	if (def->pending)
		dprintf(fd, " [not built yet]");
	dprintf(fd, "\n");
}

void option_help(const struct option_group *groups, int fd)
{
	const char *title = "";

	for (const struct option_group *group = groups; group; group = group->next) {
		if (shows_nothing(group))
			continue;
		if (strcmp(group->title, title) != 0)
			dprintf(fd, "%s%s%s\n", *title ? "\n" : "", group->title,
				strchr(group->title, ':') ? "" : ":");
		title = group->title;
		for (size_t i = 0; i < group->count; i++)
			if (!is_hidden(&group->options[i]))
				help_row(&group->options[i], false, fd);
	}
}

static const struct option_def *find_row(const struct option_group *groups, const char *name)
{
	for (const struct option_group *group = groups; group; group = group->next)
		for (size_t i = 0; i < group->count; i++)
			if (strcmp(group->options[i].name, name) == 0)
				return &group->options[i];
	return NULL;
}

void option_help_some(const struct option_group *groups, const char *const *names, int fd)
{
	for (; *names; names++) {
		const struct option_def *def = find_row(groups, *names);

		/* a build may leave its owner out */
		if (def)
			help_row(def, true, fd);
	}
}

/* Text for mdoc: a backslash is an escape, and a dot or quote at a line's start would be a request. */
static void man_text(const char *text, int fd)
{
	if (*text == '.' || *text == '\'')
		dprintf(fd, "\\&");
	for (; *text; text++) {
		if (*text == '\\')
			dprintf(fd, "\\e");
		else
			dprintf(fd, "%c", *text);
	}
}

/* mdoc takes a | for a delimiter, so "a|b" is spelt as three words */
static void man_argument(const char *name, int fd)
{
	dprintf(fd, " Ar ");
	for (; *name; name++) {
		if (*name == '|')
			dprintf(fd, " | Ar ");
		else
			dprintf(fd, "%c", *name);
	}
}

static void man_row(const struct option_def *def, int fd)
{
	dprintf(fd, ".It ");
	if (def->letter)
		dprintf(fd, "Fl %c , ", def->letter);
	dprintf(fd, "Fl -%s", def->name);
	if (def->type != OPTION_FLAG) {
		if (def->optional_argument)
			dprintf(fd, " Ns Op = Ns Ar %s", argument_name(def));
		else
			man_argument(argument_name(def), fd);
	}
	dprintf(fd, "\n");
	man_text(def->help, fd);
	for (size_t i = 0; lists_choices(def) && def->choices[i]; i++) {
		dprintf(fd, "%s", i ? " | " : ": ");
		man_text(def->choices[i], fd);
	}
	dprintf(fd, ".\n");
	if (def->fallback && def->type != OPTION_FLAG)
		dprintf(fd, "The default is\n.Ql %s .\n", def->fallback);
	if (def->pending)
		dprintf(fd, "Not built yet: %s.\n", def->pending);
}

void option_man(const struct option_group *groups, int fd)
{
	const char *title = "";

	for (const struct option_group *group = groups; group; group = group->next) {
		bool first = strcmp(group->title, title) != 0;
		bool last = !group->next || strcmp(group->next->title, group->title) != 0;

		if (shows_nothing(group))
			continue;
		if (first)
			dprintf(fd, ".Pp\n.Em %s\n.Bl -tag -width Ds\n", group->title);
		title = group->title;
		for (size_t i = 0; i < group->count; i++)
			if (!is_hidden(&group->options[i]))
				man_row(&group->options[i], fd);
		if (last)
			dprintf(fd, ".El\n");
	}
}
