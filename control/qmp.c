/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QMP, without sockets: bytes to messages, messages to commands, commands to replies.
 *
 * What QEMU's QMP specification says of greeting, negotiation, ids, errors and events holds here. Out-of-band
 * execution is not offered. Clients differ in how they end a message (a newline, CR LF or nothing at all), so
 * a message ends where its outermost brace closes. Main thread only.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "control-internal.h"
#include "kvm/log.h"
#include "version.h"

static REGISTRY struct qmp_command *commands;

REGISTERS void qmp_command_register(struct qmp_command *command)
{
	static REGISTRY struct qmp_command *qmp_newest;
	struct qmp_command **at = qmp_newest && strcmp(qmp_newest->name, command->name) < 0 ? &qmp_newest->next : &commands;

	while (*at && strcmp((*at)->name, command->name) < 0)
		at = &(*at)->next;
	command->next = *at;
	*at = command;
	qmp_newest = command;
}

int qmp_fail(char **error, int code, const char *format, ...)
{
	va_list arguments;

	va_start(arguments, format);
	if (vasprintf(error, format, arguments) < 0)
		*error = NULL;
	va_end(arguments);
	return -code;
}

const struct qmp_command *qmp_command_first(void)
{
	return commands;
}

/* ---- bytes to messages ---- */

static bool is_blank(char c)
{
	return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* One byte of an object; true when it was the last. */
static bool frame_byte(struct qmp_framer *framer, char c)
{
	if (framer->in_string) {
		if (framer->escaped)
			framer->escaped = false;
		else if (c == '\\')
			framer->escaped = true;
		else if (c == '"')
			framer->in_string = false;
		/* no string of JSON holds a newline: what follows it is a message of its own */
		return c == '\n';
	}
	if (c == '"')
		framer->in_string = true;
	else if (c == '{' || c == '[')
		framer->depth++;
	else if (c == '}' || c == ']')
		framer->depth--;
	/* the parser recurses, so what is nested deeper is left to the next newline */
	if (framer->depth > QMP_DEPTH_MAX)
		framer->garbage = true;
	return framer->depth == 0;
}

bool qmp_frame(struct qmp_framer *framer, const char *data, size_t length, size_t *scanned)
{
	while (*scanned < length) {
		char c = data[(*scanned)++];

		if (framer->garbage) {
			if (c == '\n')
				goto found;
			continue;
		}
		if (framer->depth == 0 && is_blank(c))
			continue;
		if (framer->depth == 0 && c != '{') {
			framer->garbage = true;
			continue;
		}
		if (frame_byte(framer, c))
			goto found;
	}
	return false;
found:
	*framer = (struct qmp_framer){ .depth = 0 };
	return true;
}

/* ---- replies ---- */

static char *reply_text(json_t *reply)
{
	char *text = reply ? json_dumps(reply, JSON_COMPACT) : NULL;

	json_decref(reply);
	return text;
}

static json_t *version_object(void)
{
	long number[3] = { 0 };
	const char *at = LKVM_VERSION;

	for (size_t i = 0; i < ARRAY_SIZE(number) && *at; i++) {
		char *end;

		number[i] = strtol(at, &end, 10);
		at = *end == '.' ? end + 1 : end;
	}
	return json_pack("{s:{s:I,s:I,s:I},s:s}", "qemu", "major", (json_int_t)number[0], "minor",
			 (json_int_t)number[1], "micro", (json_int_t)number[2], "package", "lkvm " LKVM_VERSION);
}

char *qmp_greeting(void)
{
	return reply_text(
		json_pack("{s:{s:o,s:[]}}", "QMP", "version", version_object(), "capabilities"));
}

char *qmp_event(const char *name, json_t *data)
{
	struct timespec now;
	json_t *event;

	clock_gettime(CLOCK_REALTIME, &now);
	event = json_pack("{s:s,s:{s:I,s:I}}", "event", name, "timestamp", "seconds",
			  (json_int_t)now.tv_sec, "microseconds", (json_int_t)now.tv_nsec / 1000);
	if (event && data)
		json_object_set(event, "data", data);
	return reply_text(event);
}

static char *error_reply(json_t *id, const char *class, const char *description)
{
	json_t *reply = json_pack("{s:{s:s,s:s}}", "error", "class", class, "desc", description);

	if (reply && id)
		json_object_set(reply, "id", id);
	return reply_text(reply);
}

static char *generic_error(json_t *id, const char *format, ...) printf_like(2, 3);
static char *generic_error(json_t *id, const char *format, ...)
{
	_cleanup_free_ char *text = NULL;
	va_list arguments;
	int length;

	va_start(arguments, format);
	length = vasprintf(&text, format, arguments);
	va_end(arguments);
	if (length < 0) {
		text = NULL;
		return NULL;
	}
	return error_reply(id, "GenericError", text);
}

static char *result_reply(json_t *id, json_t *result)
{
	json_t *reply = json_pack("{s:o}", "return", result ? result : json_object());

	if (reply && id)
		json_object_set(reply, "id", id);
	return reply_text(reply);
}

/* ---- commands ---- */

const struct qmp_command *qmp_command_find(const char *name)
{
	const struct qmp_command *command = commands;

	while (command && strcmp(command->name, name) != 0)
		command = command->next;
	return command;
}

int qmp_command_run(struct kvm *kvm, const struct qmp_command *command, json_t *arguments, json_t **result, char **error)
{
	int r = qmp_arguments_check(command, arguments, error);

	return r ? r : command->run(kvm, arguments, result, error);
}

static char *run_command(struct qmp_session *session, const char *name, json_t *arguments,
			 json_t *id)
{
	const struct qmp_command *command = qmp_command_find(name);
	_cleanup_free_ char *error = NULL;
	json_t *result = NULL;
	int r;

	if (!command) {
		_cleanup_free_ char *text = NULL;

		if (asprintf(&text, "The command %s has not been found", name) < 0)
			return NULL;
		return error_reply(id, "CommandNotFound", text);
	}
	r = qmp_command_run(session->kvm, command, arguments, &result, &error);
	if (r < 0) {
		json_decref(result);
		return generic_error(id, "%s", error ? error : strerror(-r));
	}
	session->take = command->take;
	return result_reply(id, result);
}

/* qmp_capabilities: nothing can be enabled, so only an empty list is right. */
static char *negotiate(struct qmp_session *session, json_t *arguments, json_t *id)
{
	json_t *enable = json_object_get(arguments, "enable");

	if (session->negotiated)
		return error_reply(id, "CommandNotFound",
				   "Capabilities negotiation is already complete, command ignored");
	if (enable && (!json_is_array(enable) || json_array_size(enable)))
		return generic_error(id, "Capability can't be enabled: none is offered");
	session->negotiated = true;
	return result_reply(id, NULL);
}

static char *execute(struct qmp_session *session, json_t *message)
{
	json_t *execute = json_object_get(message, "execute");
	json_t *arguments = json_object_get(message, "arguments");
	json_t *id = json_object_get(message, "id");
	const char *name = json_string_value(execute), *key;
	json_t *value;

	json_object_foreach(message, key, value)
		if (strcmp(key, "execute") != 0 && strcmp(key, "arguments") != 0 &&
		    strcmp(key, "id") != 0)
			return generic_error(id, "QMP input member '%s' is unexpected", key);
	if (!execute)
		return generic_error(id, "QMP input lacks member 'execute'");
	if (!name)
		return generic_error(id, "QMP input member 'execute' must be a string");
	if (arguments && !json_is_object(arguments))
		return generic_error(id, "QMP input member 'arguments' must be an object");
	if (strcmp(name, "qmp_capabilities") == 0)
		return negotiate(session, arguments, id);
	if (!session->negotiated)
		return error_reply(id, "CommandNotFound",
				   "Expecting capabilities negotiation with 'qmp_capabilities'");
	return run_command(session, name, arguments, id);
}

char *qmp_handle(struct qmp_session *session, const char *message, size_t length)
{
	json_error_t where;
	json_t *parsed = json_loadb(message, length, JSON_REJECT_DUPLICATES, &where);
	char *reply;

	if (!json_is_object(parsed)) {
		json_decref(parsed);
		session->errors++;
		return generic_error(NULL, "JSON parse error, %s",
				     parsed ? "not an object" : where.text);
	}
	reply = execute(session, parsed);
	json_decref(parsed);
	return reply;
}

/* ---- the commands that the protocol itself has ---- */

static int query_version(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)kvm;
	(void)arguments;
	(void)error;
	*result = version_object();
	return *result ? 0 : -ENOMEM;
}

static struct qmp_command query_version_command = {
	.name = "query-version", .help = "lkvm's version", .returns = "any", .run = query_version };
QMP_COMMAND(query_version_command);

/* Never called, since execute() looks for it first: it is here for the lists of commands. */
static int capabilities(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)kvm;
	(void)arguments;
	(void)result;
	(void)error;
	return -EALREADY;
}

static const char *const capabilities_arguments[] = { "enable?:[str]", NULL };
static struct qmp_command capabilities_command = {
	.name = "qmp_capabilities", .help = "Begin: commands and events are let through from here on",
	.arguments = capabilities_arguments, .run = capabilities };
QMP_COMMAND(capabilities_command);

static int query_commands(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)kvm;
	(void)arguments;
	(void)error;
	*result = json_array();
	for (const struct qmp_command *command = commands; command; command = command->next)
		json_array_append_new(*result, json_pack("{s:s}", "name", command->name));
	return *result ? 0 : -ENOMEM;
}

static struct qmp_command query_commands_command = {
	.name = "query-commands", .help = "The commands that there are", .returns = "[any]", .run = query_commands };
QMP_COMMAND(query_commands_command);
