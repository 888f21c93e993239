/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * human-monitor-command: lines as people type them at QEMU's monitor. All but a few are a QMP command with its arguments in
 * order; the types of those are the QMP command's own (control/arguments.c). Main thread.
 */
#include <stdio.h>
#include <string.h>

#include "control-internal.h"
#include "kvm/memory.h"
#include "kvm/rcu.h"

/**
 * struct monitor_command - a line that begins with @name
 * @command: QMP's; NULL: @run does it, with what stands behind the name
 * @arguments: names of arguments, in order; "NAME=VALUE" always is that, "-f=NAME" is a flag, and what begins with "NAME,"
 *	       takes "VALUE,KEY=VALUE..."
 * @unit: what a number is multiplied by; 0: 1
 */
struct monitor_command {
	const char *name, *command, *arguments;
	uint64_t unit;
	int (*run)(struct kvm *kvm, char *words, FILE *out);
};

static int run_help(struct kvm *kvm, char *words, FILE *out);
static int run_mtree(struct kvm *kvm, char *words, FILE *out);
static int run_network(struct kvm *kvm, char *words, FILE *out);
static int run_xp(struct kvm *kvm, char *words, FILE *out);

/* Longer names before those that they begin with. */
static const struct monitor_command monitor_commands[] = {
	{ .name = "balloon", .command = "balloon", .arguments = "value", .unit = MIB(1) },
	{ .name = "block_resize", .command = "block_resize", .arguments = "device size", .unit = MIB(1) },
	{ .name = "change", .command = "blockdev-change-medium", .arguments = "-f=force id filename format" },
	{ .name = "cont", .command = "cont", .arguments = "" },
	{ .name = "c", .command = "cont", .arguments = "" },
	{ .name = "device_add", .command = "device_add", .arguments = "driver," },
	{ .name = "device_del", .command = "device_del", .arguments = "id" },
	{ .name = "eject", .command = "eject", .arguments = "-f=force id" },
	{ .name = "help", .run = run_help },
	{ .name = "info balloon", .command = "query-balloon", .arguments = "" },
	{ .name = "info block", .command = "query-block", .arguments = "" },
	{ .name = "info cpus", .command = "query-cpus-fast", .arguments = "" },
	{ .name = "info devices", .command = "x-lkvm-debug", .arguments = "what=devices" },
	{ .name = "info kvm", .command = "query-kvm", .arguments = "" },
	{ .name = "info migrate", .command = "query-migrate", .arguments = "" },
	{ .name = "info mtree", .run = run_mtree },
	{ .name = "info name", .command = "query-name", .arguments = "" },
	{ .name = "info network", .run = run_network },
	{ .name = "info registers", .command = "x-lkvm-debug", .arguments = "what=registers" },
	{ .name = "info slots", .command = "x-lkvm-query-devices", .arguments = "" },
	{ .name = "info stats", .command = "x-lkvm-stats", .arguments = "" },
	{ .name = "info status", .command = "query-status", .arguments = "" },
	{ .name = "info version", .command = "query-version", .arguments = "" },
	{ .name = "info", .run = run_help },
	{ .name = "migrate", .command = "migrate", .arguments = "-d=detach uri" },
	{ .name = "migrate_cancel", .command = "migrate_cancel", .arguments = "" },
	{ .name = "netdev_add", .command = "netdev_add", .arguments = "type," },
	{ .name = "netdev_del", .command = "netdev_del", .arguments = "id" },
	{ .name = "nmi", .command = "inject-nmi", .arguments = "cpu" },
	{ .name = "quit", .command = "quit", .arguments = "" },
	{ .name = "q", .command = "quit", .arguments = "" },
	{ .name = "set_link", .command = "set_link", .arguments = "name up" },
	{ .name = "snapshot_blkdev", .command = "blockdev-snapshot-sync", .arguments = "device snapshot-file format" },
	{ .name = "stop", .command = "stop", .arguments = "" },
	{ .name = "s", .command = "stop", .arguments = "" },
	{ .name = "sysrq", .command = "x-lkvm-sysrq", .arguments = "key" },
	{ .name = "system_powerdown", .command = "system_powerdown", .arguments = "" },
	{ .name = "system_reset", .command = "system_reset", .arguments = "" },
	{ .name = "xp", .run = run_xp },
};

static const char *type_of(const struct qmp_command *command, const char *name)
{
	for (const char *const *line = command->arguments; line && *line; line++) {
		const struct qmp_argument argument = qmp_argument(*line);

		if (!strcmp(argument.name, name))
			return argument.type;
	}
	return "any";
}

/* What isn't of the type goes as a text, and is refused with the command's own words. */
static json_t *value_of(const char *type, const char *text, uint64_t unit)
{
	uint64_t number;

	if (!strcmp(type, "bool") && (!strcmp(text, "on") || !strcmp(text, "off")))
		return json_boolean(!strcmp(text, "on"));
	if (!strcmp(type, "int") && !parse_size(text, unit ? unit : 1, &number) && number <= INT64_MAX)
		return json_integer((json_int_t)number);
	return json_string(text);
}

static void set(const struct qmp_command *command, json_t *arguments, const char *name, const char *text, uint64_t unit)
{
	json_object_set_new(arguments, name, value_of(type_of(command, name), text, unit));
}

/* "VALUE,KEY=VALUE..." */
static void set_options(const struct qmp_command *command, json_t *arguments, const char *name, char *text)
{
	char *save, *word = strtok_r(text, ",", &save);

	for (; word; word = strtok_r(NULL, ",", &save)) {
		char *equals = strchr(word, '=');

		if (equals)
			*equals = '\0';
		set(command, arguments, equals ? word : name, equals ? equals + 1 : word, 0);
	}
}

/* NULL: there is none */
static char *next_word(char **words)
{
	char *word = *words + strspn(*words, " \t");

	*words = word + strcspn(word, " \t");
	if (**words)
		*(*words)++ = '\0';
	return *word ? word : NULL;
}

/* Sets the argument that @spec names, or a flag, by the next of @words. */
static void take_argument(const struct qmp_command *command, json_t *arguments, char *spec, char **words, uint64_t unit)
{
	char *equals = strchr(spec, '='), *comma = strchr(spec, ','), *rest = *words + strspn(*words, " \t"), *word;

	if (equals && *spec != '-') {
		*equals = '\0';
		set(command, arguments, spec, equals + 1, 0);
		return;
	}
	if (equals) {
		bool is_there = !strncmp(rest, spec, 2) && (!rest[2] || rest[2] == ' ');

		*words = rest + (is_there ? 2 : 0);
		if (is_there)
			json_object_set_new(arguments, equals + 1, json_true());
		return;
	}
	word = next_word(words);
	if (!word)
		return;
	if (comma) {
		*comma = '\0';
		set_options(command, arguments, spec, word);
	} else {
		set(command, arguments, spec, word, unit);
	}
}

/* ---- results, for people ---- */

static void print_result(FILE *out, const json_t *value, int indent);

static void print_member(FILE *out, const char *key, const json_t *value, int indent)
{
	fprintf(out, "%*s%s:", indent, "", key);
	if (json_is_object(value) || json_is_array(value)) {
		fputc('\n', out);
		print_result(out, value, indent + 2);
	} else {
		fputc(' ', out);
		print_result(out, value, 0);
	}
}

static void print_result(FILE *out, const json_t *value, int indent)
{
	_cleanup_free_ char *text = NULL;
	const char *key;
	json_t *item;
	size_t i;

	json_object_foreach((json_t *)(uintptr_t)value, key, item)
		print_member(out, key, item, indent);
	json_array_foreach((json_t *)(uintptr_t)value, i, item) {
		char number[24];

		snprintf(number, sizeof(number), "%zu", i);
		print_member(out, number, item, indent);
	}
	if (json_is_object(value) || json_is_array(value))
		return;
	text = json_is_string(value) ? NULL : json_dumps(value, JSON_ENCODE_ANY);
	fprintf(out, "%s\n", text ? text : json_string_value(value));
}

/* ---- what is no QMP command ---- */

static int run_help(struct kvm *kvm, char *words, FILE *out)
{
	(void)kvm;
	(void)words;
	for (size_t i = 0; i < ARRAY_SIZE(monitor_commands); i++) {
		const struct monitor_command *command = &monitor_commands[i];
		const struct qmp_command *qmp = command->command ? qmp_command_find(command->command) : NULL;

		/* one letter stands for the name above it */
		if (command->name[1])
			fprintf(out, "%-18s %s%s%s\n", command->name, command->arguments && !strchr(command->arguments, '=') ?
				command->arguments : "", command->arguments && *command->arguments ? "  " : "", qmp ? qmp->help : "");
	}
	return 0;
}

static int run_network(struct kvm *kvm, char *words, FILE *out)
{
	(void)words;
	for (size_t i = 0; i < config_count(kvm->config, "network"); i++)
		fprintf(out, "virtio-net%zu: %s\n", i, config_item(kvm->config, "network", i));
	return 0;
}

/* What an access finds where. */
static int run_mtree(struct kvm *kvm, char *words, FILE *out)
{
	const struct flat_view *view;

	(void)words;
	rcu_read_lock();
	view = atomic_load_explicit(&kvm->memory.view, memory_order_acquire);
	for (size_t i = 0; view && i < view->count; i++)
		fprintf(out, "%016llx-%016llx %s\n", (unsigned long long)view->ranges[i].base,
			(unsigned long long)(view->ranges[i].base + view->ranges[i].size - 1), view->ranges[i].region->name);
	rcu_read_unlock();
	return 0;
}

#define XP_MAX	4096u		/* bytes */

/* "/COUNT[x][b|h|w|g] ADDRESS": words of physical memory in hexadecimal */
static int run_xp(struct kvm *kvm, char *words, FILE *out)
{
	unsigned long count = 1;
	uint64_t address;
	uint8_t data[XP_MAX];
	unsigned int size = 4;
	char *at = words + strspn(words, " \t");

	if (*at == '/') {
		count = strtoul(at + 1, &at, 10);
		for (; *at && *at != ' '; at++)
			size = *at == 'b' ? 1 : *at == 'h' ? 2 : *at == 'w' ? 4 : *at == 'g' ? 8 : size;
		at += strspn(at, " \t");
	}
	if (parse_uint(at, &address) || !count || count > XP_MAX / size) {
		fprintf(out, "Error: xp /COUNTx[b|h|w|g] ADDRESS, at most %u bytes\n", XP_MAX);
		return 0;
	}
	if (memory_read(&kvm->memory, gpa(address), data, count * size)) {
		fprintf(out, "Error: there is no memory at %#llx\n", (unsigned long long)address);
		return 0;
	}
	for (unsigned long i = 0; i < count; i++) {
		uint64_t value = 0;

		memcpy(&value, data + i * size, size);
		if (i * size % 16 == 0)
			fprintf(out, "%s%016llx:", i ? "\n" : "", (unsigned long long)(address + i * size));
		fprintf(out, " 0x%0*llx", (int)size * 2, (unsigned long long)value);
	}
	fputc('\n', out);
	return 0;
}

/* ---- the command ---- */

/* The command that @line begins with; *@words is what stands behind its name. */
static const struct monitor_command *find(char *line, char **words)
{
	for (size_t i = 0; i < ARRAY_SIZE(monitor_commands); i++) {
		size_t length = strlen(monitor_commands[i].name);

		if (strncmp(line, monitor_commands[i].name, length) != 0 || !strchr(" \t/", line[length]))
			continue;
		*words = line + length;
		return &monitor_commands[i];
	}
	return NULL;
}

static int run_qmp(struct kvm *kvm, const struct monitor_command *monitor, char *words, FILE *out)
{
	const struct qmp_command *command = qmp_command_find(monitor->command);
	_cleanup_free_ char *specs = strdup(monitor->arguments), *error = NULL;
	json_t *arguments = json_object(), *result = NULL;
	const char *text;
	char *save, *spec = specs ? strtok_r(specs, " ", &save) : NULL;
	int status;

	for (; spec; spec = strtok_r(NULL, " ", &save))
		take_argument(command, arguments, spec, &words, monitor->unit);
	if (words[strspn(words, " \t")]) {
		fprintf(out, "Error: %s takes no more than: %s\n", monitor->name, *monitor->arguments ? monitor->arguments : "nothing");
		json_decref(arguments);
		return 0;
	}
	status = qmp_command_run(kvm, command, arguments, &result, &error);
	text = json_string_value(json_object_get(result, "text"));
	if (status)
		fprintf(out, "Error: %s\n", error ? error : strerrordesc_np(-status));
	else if (text)
		fputs(text, out);
	else if (result)
		print_result(out, result, 0);
	json_decref(arguments);
	json_decref(result);
	return 0;
}

static void run_line(struct kvm *kvm, char *line, FILE *out)
{
	const struct monitor_command *command;
	char *words = line;

	line += strspn(line, " \t");
	if (!*line)
		return;
	command = find(line, &words);
	if (!command)
		fprintf(out, "unknown command: '%s' (help lists them)\n", line);
	else if (command->run)
		command->run(kvm, words, out);
	else
		run_qmp(kvm, command, words, out);
}

static int human_monitor_command(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	_cleanup_free_ char *line = strdup(json_string_value(json_object_get(arguments, "command-line")));
	char *text = NULL;
	size_t length = 0;
	FILE *out = line ? open_memstream(&text, &length) : NULL;

	(void)error;
	if (!out)
		return -ENOMEM;
	run_line(kvm, line, out);
	if (!fclose(out))
		*result = json_stringn(text, length);
	free(text);
	return *result ? 0 : -ENOMEM;
}

static const char *const monitor_arguments[] = { "command-line:str", "cpu-index?:int", NULL };
static struct qmp_command monitor_command = {
	.name = "human-monitor-command", .help = "A line as at QEMU's monitor", .arguments = monitor_arguments, .returns = "str",
	.run = human_monitor_command };
QMP_COMMAND(monitor_command);
