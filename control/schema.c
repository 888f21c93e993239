/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * query-qmp-schema: commands, events and their types in the form of QEMU's SchemaInfo, made of the commands' own tables.
 *
 * Results are objects whose members no table names: clients are told "any". Main thread.
 */
#include <string.h>

#include "control-internal.h"

static const struct qmp_event_type {
	const char *name;
	const char *const members[8];
} events[] = {
	{ "ACPI_DEVICE_OST", { "info:any" } },
	{ "BALLOON_CHANGE", { "actual:int" } },
	{ "BLOCK_IO_ERROR", { "device:str", "node-name?:str", "operation:read|write", "action:ignore|report|stop", "nospace?:bool",
			      "reason:str" } },
	{ "DEVICE_DELETED", { "device?:str", "path:str" } },
	{ "DEVICE_TRAY_MOVED", { "device:str", "id:str", "tray-open:bool" } },
	{ "DEVICE_UNPLUG_GUEST_ERROR", { "device?:str", "path:str" } },
	{ "GUEST_CRASHLOADED", { "action:str" } },
	{ "GUEST_PANICKED", { "action:str" } },
	{ "MEMORY_DEVICE_SIZE_CHANGE", { "id?:str", "size:int", "qom-path:str" } },
	{ "MIGRATION", { "status:str" } },
	{ "POWERDOWN", { NULL } },
	{ "RESET", { "guest:bool", "reason:str" } },
	{ "RESUME", { NULL } },
	{ "SHUTDOWN", { "guest:bool", "reason:str", "x-end:str", "x-status:int" } },
	{ "STOP", { NULL } },
	{ "WATCHDOG", { "action:str" } },
	{ "X_LKVM_FORK", { "status:str" } },
	{ "X_LKVM_SNAPSHOT", { "status:str" } },
};

struct schema {
	json_t *list;
	json_t *seen;		/* names that are in it */
};

static void add(struct schema *schema, json_t *info)
{
	const char *name = json_string_value(json_object_get(info, "name"));

	if (name && !json_object_get(schema->seen, name)) {
		json_object_set_new(schema->seen, name, json_true());
		json_array_append(schema->list, info);
	}
	json_decref(info);
}

static json_t *enum_values(const char *type)
{
	json_t *values = json_array();

	for (;; type++) {
		size_t length = strcspn(type, "|");

		json_array_append_new(values, json_stringn(type, length));
		type += length;
		if (!*type)
			return values;
	}
}

static void add_enum(struct schema *schema, const char *type)
{
	json_t *values = enum_values(type), *members = json_array(), *value;
	size_t i;

	json_array_foreach(values, i, value)
		json_array_append_new(members, json_pack("{s:O}", "name", value));
	add(schema, json_pack("{s:s,s:s,s:o,s:o}", "name", type, "meta-type", "enum", "values", values, "members", members));
}

static void add_type(struct schema *schema, const char *type)
{
	const char *json = qmp_type_json(type);

	if (json) {
		add(schema, json_pack("{s:s,s:s,s:s}", "name", type, "meta-type", "builtin", "json-type", json));
	} else if (*type == '[') {
		_cleanup_free_ char *element = strndup(type + 1, strlen(type) - 2);

		if (!element)
			return;
		add_type(schema, element);
		add(schema, json_pack("{s:s,s:s,s:s}", "name", type, "meta-type", "array", "element-type", element));
	} else {
		add_enum(schema, type);
	}
}

/* An object of its own for each command and event, called as QEMU does before it hides such names. */
static json_t *add_object(struct schema *schema, const char *owner, const char *const *lines)
{
	json_t *name = json_sprintf("q_obj_%s-arg", owner), *members = json_array();

	for (; lines && *lines; lines++) {
		const struct qmp_argument argument = qmp_argument(*lines);
		json_t *member = json_pack("{s:s,s:s}", "name", argument.name, "type", argument.type);

		if (argument.optional)
			json_object_set_new(member, "default", json_null());
		json_array_append_new(members, member);
		add_type(schema, argument.type);
	}
	add(schema, json_pack("{s:O,s:s,s:o}", "name", name, "meta-type", "object", "members", members));
	return name;
}

static void add_command(struct schema *schema, const struct qmp_command *command)
{
	json_t *arguments = add_object(schema, command->name, command->arguments);

	if (command->returns)
		add_type(schema, command->returns);
	add(schema, json_pack("{s:s,s:s,s:o,s:s,s:b}", "name", command->name, "meta-type", "command", "arg-type", arguments, "ret-type",
			      command->returns ? command->returns : "q_empty", "allow-oob", 0));
}

static int query_qmp_schema(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	struct schema schema = { json_array(), json_object() };

	(void)kvm;
	(void)arguments;
	(void)error;
	for (const struct qmp_command *command = qmp_command_first(); command; command = command->next)
		add_command(&schema, command);
	for (size_t i = 0; i < ARRAY_SIZE(events); i++)
		add(&schema, json_pack("{s:s,s:s,s:o}", "name", events[i].name, "meta-type", "event", "arg-type",
				       add_object(&schema, events[i].name, events[i].members)));
	add(&schema, json_pack("{s:s,s:s,s:[]}", "name", "q_empty", "meta-type", "object", "members"));
	json_decref(schema.seen);
	*result = schema.list;
	return *result ? 0 : -ENOMEM;
}

static struct qmp_command schema_command = {
	.name = "query-qmp-schema", .help = "All commands and events, what they take and what they tell", .returns = "[any]",
	.run = query_qmp_schema };
QMP_COMMAND(schema_command);
