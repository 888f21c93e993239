/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a command's table says of its arguments, and whether a message fits it, with QEMU's words for what doesn't.
 *
 * The same table is what query-qmp-schema shows (control/schema.c), so that it can't say anything else than what is done.
 */
#include <stdio.h>
#include <string.h>

#include "control-internal.h"

static const struct {
	const char *name, *json, *said;		/* in the table, in the schema, in messages */
} types[] = {
	{ "str", "string", "string" }, { "int", "int", "integer" }, { "bool", "boolean", "boolean" },
	{ "number", "number", "number" }, { "any", "value", NULL },
};

const char *qmp_type_json(const char *type)
{
	for (size_t i = 0; i < ARRAY_SIZE(types); i++)
		if (!strcmp(types[i].name, type))
			return types[i].json;
	return NULL;
}

struct qmp_argument qmp_argument(const char *text)
{
	size_t length = strcspn(text, "?:");
	const char *type = strchr(text + length, ':');
	struct qmp_argument argument = { .optional = text[length] != ':', .type = type ? type + 1 : "any" };

	snprintf(argument.name, sizeof(argument.name), "%.*s", (int)length, text);
	return argument;
}

static bool takes(const struct qmp_command *command, const char *key)
{
	for (const char *const *known = command->arguments; known && *known; known++)
		if (!strcmp(qmp_argument(*known).name, key))
			return true;
	return false;
}

/* One of "a|b|c" */
static bool is_among(const char *values, const char *value)
{
	size_t length = strlen(value);

	for (;; values++) {
		size_t one = strcspn(values, "|");

		if (one == length && !memcmp(values, value, length))
			return true;
		values += one;
		if (!*values)
			return false;
	}
}

/* What a value of @type has to be, or NULL if @value is that. */
static const char *expected(const char *type, const json_t *value)
{
	if (*type == '[')
		return json_is_array(value) ? NULL : "array";
	if (!strcmp(type, "any"))
		return NULL;
	if (!strcmp(type, "int"))
		return json_is_integer(value) ? NULL : "integer";
	if (!strcmp(type, "bool"))
		return json_is_boolean(value) ? NULL : "boolean";
	if (!strcmp(type, "number"))
		return json_is_number(value) ? NULL : "number";
	return json_is_string(value) ? NULL : "string";
}

static int check_one(const struct qmp_argument *argument, const json_t *value, char **error)
{
	const char *want;

	if (!value)
		return argument->optional ? 0 : qmp_fail(error, EINVAL, "Parameter '%s' is missing", argument->name);
	want = expected(argument->type, value);
	if (want)
		return qmp_fail(error, EINVAL, "Invalid parameter type for '%s', expected: %s", argument->name, want);
	if (strchr(argument->type, '|') && !is_among(argument->type, json_string_value(value)))
		return qmp_fail(error, EINVAL, "Parameter '%s' does not accept value '%s' (one of %s)", argument->name,
				json_string_value(value), argument->type);
	return 0;
}

int qmp_arguments_check(const struct qmp_command *command, json_t *arguments, char **error)
{
	const char *key;
	json_t *value;
	int result = 0;

	json_object_foreach(arguments, key, value)
		if (!takes(command, key))
			return qmp_fail(error, EINVAL, "Parameter '%s' is unexpected", key);
	for (const char *const *text = command->arguments; text && *text && !result; text++) {
		const struct qmp_argument argument = qmp_argument(*text);

		result = check_one(&argument, json_object_get(arguments, argument.name), error);
	}
	return result;
}
