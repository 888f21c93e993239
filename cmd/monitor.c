/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm monitor: a prompt to a VM, whose lines the VM itself understands (control/monitor.c). With a command behind the VM's
 * name, that is the only one; without a terminal, lines are read as they come.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kvm/command.h"
#include "kvm/control.h"
#include "kvm/log.h"
#include "monitor-edit.h"
#include "vm-names.h"

#define NAMES_MAX	100

/* *@text: what the VM says to it, to be freed */
static int monitor_call(struct qmp_client *client, const char *line, char **text)
{
	json_t *arguments = json_pack("{s:s}", "command-line", line), *result = NULL;
	int r = arguments ? control_call(client, "human-monitor-command", arguments, &result) :
		log_error(EINVAL, "lkvm monitor: a line that is no UTF-8");

	if (r == 0 && json_is_string(result))
		*text = strdup(json_string_value(result));
	json_decref(result);
	return r < 0 ? r : *text ? 0 : -ENOMEM;
}

/* The VM's answer; 1: it was an error. */
static int monitor_line(struct qmp_client *client, const char *line)
{
	_cleanup_free_ char *text = NULL;
	int r = monitor_call(client, line, &text);

	if (r < 0)
		return r;
	fputs(text, stdout);
	fflush(stdout);
	return !strncmp(text, "Error: ", 7) || !strncmp(text, "unknown command", 15);
}

static bool is_quit(const char *line)
{
	return !strcmp(line, "quit") || !strcmp(line, "q");
}

static char *plain_line(void)
{
	char *line = NULL;
	size_t size = 0;

	if (getline(&line, &size, stdin) < 0) {
		free(line);
		return NULL;
	}
	line[strcspn(line, "\r\n")] = '\0';
	return line;
}

/* What lines may begin with, from the VM's help; the texts lie in @text. */
static void names_of(char *text, char *names[NAMES_MAX + 1])
{
	size_t count = 0;

	for (char *save, *line = strtok_r(text, "\n", &save); line && count < NAMES_MAX; line = strtok_r(NULL, "\n", &save)) {
		char *end = strchr(line, ' ');

		if (end && !strncmp(line, "info ", 5) && end[1] != ' ')
			end = strchr(end + 1, ' ');
		if (end)
			*end = '\0';
		names[count++] = line;
	}
	names[count] = NULL;
}

static int monitor_lines(struct qmp_client *client, const char *name)
{
	_cleanup_free_ char *help = NULL, *prompt = NULL;
	char *names[NAMES_MAX + 1];
	bool person = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO), edit;
	int r = monitor_call(client, "help", &help), failed = 0;

	if (r < 0)
		return r;
	if (asprintf(&prompt, "(%s) ", name) < 0) {
		prompt = NULL;
		return -ENOMEM;
	}
	names_of(help, names);
	edit = person && monitor_edit_begin && monitor_edit_begin(names);
	for (;;) {
		_cleanup_free_ char *line = NULL;

		if (person && !edit) {
			fputs(prompt, stdout);
			fflush(stdout);
		}
		line = edit ? monitor_edit_line(prompt) : plain_line();
		if (!line)
			return failed;
		r = monitor_line(client, line);
		if (r < 0 || is_quit(line))
			return r;
		failed |= !person && r;
	}
}

static int monitor_run(struct config *config, int argc, char **argv)
{
	char line[1024] = "";
	struct qmp_client *client;
	int r;

	(void)config;
	if (!argc) {
		log_error(EINVAL, "which VM? (say its NAME; lkvm list shows them)");
		return LKVM_STATUS_USAGE;
	}
	for (int i = 1; i < argc; i++) {
		size_t length = strlen(line);

		if (snprintf(line + length, sizeof(line) - length, "%s%s", i > 1 ? " " : "", argv[i]) >= (int)(sizeof(line) - length)) {
			log_error(EINVAL, "lkvm monitor: a line is at most %zu bytes long", sizeof(line) - 1);
			return LKVM_STATUS_USAGE;
		}
	}
	if (control_connect(argv[0], CONTROL_TIMEOUT_MS, &client) < 0)
		return LKVM_STATUS_ERROR;
	r = *line ? monitor_line(client, line) : monitor_lines(client, argv[0]);
	control_disconnect(client);
	return r ? LKVM_STATUS_ERROR : 0;
}

static struct command monitor_command = {
	.name = "monitor",
	.operands = "NAME [COMMAND...]",
	.help = "Talk to a VM at a prompt, as at QEMU's monitor",
	.run = monitor_run,
};
COMMAND(monitor_command);
