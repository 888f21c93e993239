/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * libedit (BSD licence), loaded when a person sits at `lkvm monitor`: by the readline interface that it has, of which so
 * little is used that it is declared here. A static program goes without.
 */
#include "monitor-edit.h"

#include <stdlib.h>
#include <string.h>

#include "kvm/library.h"
#include "kvm/types.h"

#define LIBRARY_NAME	"libedit.so.2"

typedef char *(*next_match)(const char *text, int state);

/* libedit calls back without a pointer of ours: one terminal, one monitor, one thread. */
static struct monitor_edit {
	char *(*readline)(const char *prompt);
	int (*add_history)(const char *line);
	char **(*matches)(const char *text, next_match next);
	char **line;			/* rl_line_buffer */
	int *over;			/* rl_attempted_completion_over */
	char **names;
	size_t next;
	int start;
} monitor_edit;

/* Of each name that the whole line begins, the rest from the word on. */
static char *next_name(const char *text, int state)
{
	struct monitor_edit *edit = &monitor_edit;
	size_t before = (size_t)edit->start, length = strlen(text);

	if (!state)
		edit->next = 0;
	while (edit->names[edit->next]) {
		const char *name = edit->names[edit->next++];

		if (strlen(name) >= before + length && !strncmp(name, *edit->line, before) && !strncmp(name + before, text, length))
			return strdup(name + before);
	}
	return NULL;
}

static char **complete(const char *text, int start, int end)
{
	(void)end;
	monitor_edit.start = start;
	*monitor_edit.over = 1;
	return monitor_edit.matches(text, next_name);
}

bool monitor_edit_begin(char **names)
{
	struct monitor_edit *edit = &monitor_edit;
	char **(**attempted)(const char *text, int start, int end) = NULL;
	const struct library_function functions[] = {
		{ (void **)&edit->readline, "readline" },
		{ (void **)&edit->add_history, "add_history" },
		{ (void **)&edit->matches, "rl_completion_matches" },
		{ (void **)&attempted, "rl_attempted_completion_function" },
		{ (void **)&edit->line, "rl_line_buffer" },
		{ (void **)&edit->over, "rl_attempted_completion_over" },
	};

	if (library_load(LIBRARY_NAME, functions, ARRAY_SIZE(functions), NULL))
		return false;
	edit->names = names;
	*attempted = complete;
	return true;
}

char *monitor_edit_line(const char *prompt)
{
	char *line = monitor_edit.readline(prompt);

	if (line && *line)
		monitor_edit.add_history(line);
	return line;
}
