/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * VMs in a file, as kvm/config-file.h has it.
 *
 * libinih knows lines of 200 characters, and cuts a value at " ;". So a line that is longer, and a value in quotes, are
 * kept here when they are read, and libinih has an empty value in their place.
 */
#include "kvm/config-file.h"

#include <ini.h>
#include <stdio.h>
#include <string.h>

#include "kvm/log.h"

#define VMS_MAX		1024
#define LINE_MAX_	65536
#define SECTION_MAX	49	/* as libinih has it; of option names, too */

struct reader {
	const char *path;
	FILE *file;
	unsigned int line;
	char *text;		/* the line */
	size_t room;
	char *value;		/* within @text, if libinih isn't to see it; else NULL */
	int error;		/* said */

	/* config_file_names() */
	struct config_file_names *names;
	/* config_file_walk() */
	config_file_each *each;
	void *opaque;
	/* config_file_read() */
	struct config *config;
	enum config_source source;
	const char *vm;		/* whose section counts; NULL: nobody's */
};

/* ---- lines ---- */

static void where(const struct reader *reader, char *buffer, size_t length)
{
	snprintf(buffer, length, "%s:%u: ", reader->path, reader->line);
}

static void bad_line(struct reader *reader, const char *what)
{
	if (!reader->error)
		reader->error = log_error(EINVAL, "%s:%u: %s", reader->path, reader->line, what);
}

static void trim(char *text)
{
	size_t length = strlen(text);

	while (length && strchr(" \t\r\n", text[length - 1]))
		text[--length] = '\0';
}

/* Whether libinih would make something else of this value. */
static bool is_special(char *value, size_t room)
{
	size_t length = strlen(value);

	if (length > 1 && value[0] == '"' && value[length - 1] == '"')
		return true;
	return length >= room;
}

static char *unquote(char *value)
{
	size_t length = strlen(value);

	if (length < 2 || value[0] != '"' || value[length - 1] != '"')
		return value;
	value[length - 1] = '\0';
	return value + 1;
}

const char *config_file_section(const char *section, const char *kind, char *buffer, size_t room)
{
	size_t length = strlen(kind);

	if (strncmp(section, kind, length) != 0 || !section[length] || !strchr(" \t", section[length]))
		return NULL;
	snprintf(buffer, room, "%s", section + length + strspn(section + length, " \t"));
	trim(buffer);
	return unquote(buffer);
}

static int add_name(struct config_file_names *names, const char *name)
{
	char **grown;

	for (size_t i = 0; i < names->count; i++)
		if (strcmp(names->names[i], name) == 0)
			return 0;
	if (names->count == VMS_MAX)
		return -E2BIG;
	grown = reallocarray(names->names, names->count + 1, sizeof(*grown));
	if (!grown)
		return -ENOMEM;
	names->names = grown;
	grown[names->count] = strdup(name);
	if (!grown[names->count])
		return -ENOMEM;
	names->count++;
	return 0;
}

static void walk(struct reader *reader, const char *section, const char *option, const char *value)
{
	_cleanup_free_ char *place = NULL;

	if (asprintf(&place, "%s:%u: ", reader->path, reader->line) < 0)
		reader->error = log_errno(ENOMEM, "%s", reader->path);
	else
		reader->error = reader->each(reader->opaque, place, section, option, value);
}

/* libinih tells of a section only when it has an option. */
static void note_section(struct reader *reader, const char *line)
{
	char section[SECTION_MAX + 1], buffer[SECTION_MAX + 1];
	size_t length = strcspn(line + 1, "]");
	const char *vm;

	if ((!reader->names && !reader->each) || length > SECTION_MAX)
		return;
	memcpy(section, line + 1, length);
	section[length] = '\0';
	if (reader->each) {
		walk(reader, section, NULL, NULL);
		return;
	}
	vm = config_file_section(section, "vm", buffer, sizeof(buffer));
	if (!vm)
		return;
	reader->error = add_name(reader->names, vm);
	if (reader->error)
		log_errno(reader->error, "%s:%u", reader->path, reader->line);
}

/* What libinih reads instead of the line. */
static char *line_for_ini(struct reader *reader, char *buffer, size_t room)
{
	char *text = reader->text + strspn(reader->text, " \t"), *equals = strchr(text, '='), *value;

	trim(text);
	if (!strchr(";#[", *text) && equals && (size_t)(equals - text) < SECTION_MAX) {
		value = equals + 1 + strspn(equals + 1, " \t");
		if (is_special(value, room - SECTION_MAX - 4)) {
			*equals = '\0';
			reader->value = unquote(value);
			snprintf(buffer, room, "%s=\n", text);
			return buffer;
		}
	}
	if (*text == '[')
		note_section(reader, text);
	if (*text == '[' && strlen(text) > SECTION_MAX)
		bad_line(reader, "the section's name is too long (45 characters can be)");
	else if (strchr(";#", *text))
		*text = '\0';
	else if (strlen(text) >= room - 1)
		bad_line(reader, "is no option (say NAME = VALUE)");
	if (reader->error)
		return NULL;
	snprintf(buffer, room, "%s\n", text);
	return buffer;
}

static char *next_line(char *buffer, int room, void *opaque)
{
	struct reader *reader = opaque;
	ssize_t length;

	reader->value = NULL;
	if (reader->error)
		return NULL;
	length = getline(&reader->text, &reader->room, reader->file);
	if (length < 0)
		return NULL;
	reader->line++;
	if (length > LINE_MAX_ || memchr(reader->text, '\0', (size_t)length)) {
		bad_line(reader, "is no line of text");
		return NULL;
	}
	return line_for_ini(reader, buffer, (size_t)room);
}

/* ---- options ---- */

static void take_option(struct reader *reader, const char *name, const char *value)
{
	static const char *const refused[] = { "config", "profile", "print-config", "help", "help-all", "list-init", "name" };
	_cleanup_free_ char *place = malloc(strlen(reader->path) + 32);

	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		if (strcmp(name, refused[i]) == 0)
			bad_line(reader, strcmp(name, "name") == 0 ? "name: is said by the section (say [vm \"NAME\"])" :
								    "is an option for the command line only");
	if (reader->error)
		return;
	if (!place) {
		reader->error = log_errno(ENOMEM, "%s", reader->path);
		return;
	}
	where(reader, place, strlen(reader->path) + 32);
	reader->error = config_set_from(reader->config, reader->source, place, name, value);
}

/* libinih's handler: 1 is good, 0 an error */
static int take_line(void *opaque, const char *section, const char *name, const char *value)
{
	struct reader *reader = opaque;
	char buffer[SECTION_MAX + 1];
	const char *vm = *section ? config_file_section(section, "vm", buffer, sizeof(buffer)) : NULL;

	if (reader->error)
		return 0;
	if (reader->each) {
		walk(reader, section, name, reader->value ? reader->value : value);
		return !reader->error;
	}
	if (*section && !vm) {
		bad_line(reader, "is in a section of no VM (say [vm \"NAME\"])");
		return 0;
	}
	if (reader->config && (!vm || (reader->vm && strcmp(vm, reader->vm) == 0)))
		take_option(reader, name, reader->value ? reader->value : value);
	return !reader->error;
}

static int read_file(struct reader *reader)
{
	int bad;

	reader->file = fopen(reader->path, "re");
	if (!reader->file)
		return log_errno(errno, "config file '%s'", reader->path);
	bad = ini_parse_stream(next_line, reader, take_line, reader);
	if (!reader->error && ferror(reader->file))
		reader->error = log_error(EIO, "config file '%s': can't be read", reader->path);
	if (!reader->error && bad)
		reader->error = log_error(EINVAL, "%s:%d: is no option (say NAME = VALUE, or [%s \"NAME\"])", reader->path, bad,
					  reader->each ? "SECTION" : "vm");
	fclose(reader->file);
	free(reader->text);
	return reader->error;
}

/* ---- for others ---- */

int config_file_names(struct config_file_names *names, const char *path)
{
	struct reader reader = { .path = path, .names = names };

	*names = (struct config_file_names){ .names = NULL };
	return read_file(&reader);
}

void config_file_names_free(struct config_file_names *names)
{
	for (size_t i = 0; i < names->count; i++)
		free(names->names[i]);
	free(names->names);
}

int config_file_walk(const char *path, config_file_each *each, void *opaque)
{
	struct reader reader = { .path = path, .each = each, .opaque = opaque };

	return read_file(&reader);
}

/* Which of the VMs is meant: NULL in a file that names none. */
static int choose_vm(struct config *config, enum config_source source, const char *path, const struct config_file_names *names,
		     const char **vm)
{
	const char *wanted = config_string(config, "name");

	*vm = wanted;
	if (!names->count)
		return 0;
	for (size_t i = 0; wanted && i < names->count; i++)
		if (strcmp(names->names[i], wanted) == 0)
			return 0;
	if (wanted)
		return log_error(EINVAL, "option --name: '%s' has no [vm \"%s\"] (its first one is \"%s\")", path, wanted,
				 names->names[0]);
	if (names->count > 1)
		return log_error(EINVAL, "option --config: '%s' has %zu VMs (say --name %s, or lkvm up)", path, names->count,
				 names->names[0]);
	*vm = names->names[0];
	return config_set_from(config, source, path, "name", *vm);
}

int config_file_read(struct config *config, enum config_source source, const char *path)
{
	struct reader reader = { .path = path, .config = config, .source = source };
	struct config_file_names names;
	int result = config_file_names(&names, path);

	if (!result)
		result = choose_vm(config, source, path, &names, &reader.vm);
	if (!result)
		result = read_file(&reader);
	config_file_names_free(&names);
	return result;
}

int config_file_profile(struct config *config, enum config_source source, const char *name)
{
	const char *base = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");
	bool xdg = base && *base == '/';
	_cleanup_free_ char *path = NULL;

	if (!*name || strchr(name, '/'))
		return log_error(EINVAL, "option --profile: '%s' is no name (a file is named by --config)", name);
	if (!xdg && (!home || !*home))
		return log_error(EINVAL, "option --profile: HOME is not set, and profiles are in ~/.config/lkvm");
	if (asprintf(&path, "%s/%slkvm/%s.conf", xdg ? base : home, xdg ? "" : ".config/", name) < 0)
		return log_errno(ENOMEM, "option --profile");
	return config_file_read(config, source, path);
}
