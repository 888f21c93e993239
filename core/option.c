/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options, the value side: the tables of `lkvm run`, a struct config that holds one value for each row, and
 * the getters that everyone reads it with. The command line itself is taken apart in option-parse.c.
 *
 * A config is filled before the VM exists and constant from then on, so reading it needs no lock.
 */
#include "option-internal.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "kvm/log.h"

static REGISTRY struct option_group *run_groups;

/* `-h`, `--help` and `--help-all` belong to every command, so no table has to say them. */
static const struct option_def help_options[] = {
	{ .name = "help", .letter = 'h', .type = OPTION_FLAG, .help = "Show this help" },
	{ .name = "help-all", .type = OPTION_FLAG, .help = "Show all options" },
};

static int group_compare(const struct option_group *a, const struct option_group *b)
{
	int order = strcmp(a->title, b->title);

	/* two owners may share a title: the first option's name keeps the order free of the linker's whim */
	return order ? order : strcmp(a->options[0].name, b->options[0].name);
}

REGISTERS void run_options_register(struct option_group *group)
{
	struct option_group **at = &run_groups;

	while (*at && group_compare(*at, group) <= 0)
		at = &(*at)->next;
	group->next = *at;
	*at = group;
}

struct option_group *run_options(void)
{
	return run_groups;
}

int parse_uint(const char *text, uint64_t *value)
{
	bool hex = text[0] == '0' && (text[1] == 'x' || text[1] == 'X');
	const char *digits = hex ? text + 2 : text;
	char *end;

	/* strtoull takes signs and blanks, and that is not a number here */
	if (!(hex ? isxdigit((unsigned char)*digits) : isdigit((unsigned char)*digits)))
		return -EINVAL;
	errno = 0;
	*value = strtoull(digits, &end, hex ? 16 : 10);
	if (*end)
		return -EINVAL;
	return errno == ERANGE ? -ERANGE : 0;
}

int parse_size(const char *text, uint64_t unit, uint64_t *value)
{
	static const char suffixes[] = "BKMGTP";
	size_t length = strlen(text);
	char digits[32];
	uint64_t number, scale = unit ? unit : 1;
	const char *suffix;

	if (!length || length >= sizeof(digits))
		return -EINVAL;
	memcpy(digits, text, length + 1);

	/* 0x10B is a hexadecimal number: B counts as a suffix after decimal digits only */
	suffix = strchr(suffixes, toupper((unsigned char)text[length - 1]));
	if (suffix && !(*suffix == 'B' && strncasecmp(text, "0x", 2) == 0)) {
		scale = 1ULL << (10 * (suffix - suffixes));
		digits[length - 1] = '\0';
	}
	if (parse_uint(digits, &number) < 0 || __builtin_mul_overflow(number, scale, value))
		return -EINVAL;
	return 0;
}

const char *size_text(uint64_t value, char *buffer, size_t length)
{
	static const char suffixes[] = "BKMGTP";
	unsigned int step = 0;

	while (step < 5 && value && value % 1024 == 0) {
		value /= 1024;
		step++;
	}
	snprintf(buffer, length, "%llu%.1s", (unsigned long long)value,
		 step ? &suffixes[step] : "");
	return buffer;
}

/* The line of a config file that is read, "FILE:LINE: ", for messages; "" */
static const char *where(const struct config_value *value)
{
	return value->where ? value->where : "";
}

static int set_flag(struct config_value *value, const char *text)
{
	static const char *const yes[] = { "true", "on", "yes", "1" };
	static const char *const no[] = { "false", "off", "no", "0" };

	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (strcmp(text, yes[i]) == 0 || strcmp(text, no[i]) == 0) {
			value->flag = strcmp(text, yes[i]) == 0;
			return 0;
		}
	}
	return log_error(EINVAL, "%soption --%s: '%s' is neither true nor false", where(value),
			 value->def->name, text);
}

static int set_string(struct config_value *value, const char *text)
{
	char *copy = strdup(text);

	if (!copy)
		return log_errno(ENOMEM, "%soption --%s", where(value), value->def->name);
	free(value->text);
	value->text = copy;
	return 0;
}

static int set_uint(struct config_value *value, const char *text)
{
	const struct option_def *def = value->def;
	uint64_t number;
	int r = parse_uint(text, &number);

	if (r == -EINVAL)
		return log_error(EINVAL, "%soption --%s: '%s' is no number (say %llu or more)",
				 where(value), def->name, text, (unsigned long long)def->min);
	if (r < 0 || number < def->min || (def->max && number > def->max)) {
		if (!def->max)
			return log_error(EINVAL, "%soption --%s: %s is out of range (at least %llu)",
					 where(value), def->name, text, (unsigned long long)def->min);
		return log_error(EINVAL, "%soption --%s: %s is out of range (%llu to %llu)",
				 where(value), def->name, text, (unsigned long long)def->min,
				 (unsigned long long)def->max);
	}
	value->number = number;
	return 0;
}

/* "512M" or "512M@3G" */
static int parse_sizes(const struct option_def *def, const char *text, struct config_value *value)
{
	const char *at = def->takes_address ? strchr(text, '@') : NULL;
	size_t length = at ? (size_t)(at - text) : strlen(text);
	char size[32];

	if (length >= sizeof(size))
		return -EINVAL;
	memcpy(size, text, length);
	size[length] = '\0';
	value->has_address = at != NULL;
	if (at && parse_size(at + 1, def->unit, &value->address) < 0)
		return -EINVAL;
	return parse_size(size, def->unit, &value->number);
}

static int set_size(struct config_value *value, const char *text)
{
	const struct option_def *def = value->def;
	struct config_value parsed = *value;
	char limit[32];

	if (parse_sizes(def, text, &parsed) < 0)
		return log_error(EINVAL, "%soption --%s: '%s' is no size (say 512M or 4G)", where(value),
				 def->name, text);
	if (parsed.number < def->min)
		return log_error(EINVAL, "%soption --%s: %s is too small (at least %s)", where(value),
				 def->name, text, size_text(def->min, limit, sizeof(limit)));
	if (def->max && parsed.number > def->max)
		return log_error(EINVAL, "%soption --%s: %s is too large (at most %s)", where(value),
				 def->name, text, size_text(def->max, limit, sizeof(limit)));
	*value = parsed;
	return 0;
}

static int set_choice(struct config_value *value, const char *text)
{
	const struct option_def *def = value->def;
	char known[256] = "";
	size_t used = 0;

	for (size_t i = 0; def->choices && def->choices[i]; i++)
		if (strcmp(def->choices[i], text) == 0)
			return set_string(value, text);
	for (size_t i = 0; def->choices && def->choices[i] && used < sizeof(known); i++)
		used += (size_t)snprintf(known + used, sizeof(known) - used, "%s%s", i ? ", " : "",
					 def->choices[i]);
	return log_error(EINVAL, "%soption --%s: '%s' is none of its choices (%s)", where(value), def->name,
			 text, known);
}

static int add_item(struct config_value *value, const char *text)
{
	char **items = reallocarray(value->items, value->count + 1, sizeof(*items));

	if (!items)
		return log_errno(ENOMEM, "%soption --%s", where(value), value->def->name);
	value->items = items;
	items[value->count] = strdup(text);
	if (!items[value->count])
		return log_errno(ENOMEM, "%soption --%s", where(value), value->def->name);
	value->count++;
	return 0;
}

/* What follows the first comma is kept as it is, for the option's owner; the last --name counts with all its settings. */
static int set_with_settings(struct config_value *value, const char *text)
{
	int (*set)(struct config_value *value, const char *text) = value->def->type == OPTION_UINT ? set_uint : set_size;
	const char *comma = strchr(text, ',');
	_cleanup_free_ char *number = strndup(text, comma ? (size_t)(comma - text) : strlen(text));
	_cleanup_free_ char *settings = comma ? strdup(comma + 1) : NULL;
	int r;

	if (!number || (comma && !settings))
		return log_errno(ENOMEM, "%soption --%s", where(value), value->def->name);
	r = set(value, number);
	if (r < 0)
		return r;
	free(value->text);
	value->text = settings;
	settings = NULL;
	return 0;
}

int config_value_set(struct config_value *value, const char *text)
{
	if (value->def->takes_settings)
		return set_with_settings(value, text);
	switch (value->def->type) {
	case OPTION_FLAG:	return set_flag(value, text);
	case OPTION_STRING:	return set_string(value, text);
	case OPTION_UINT:	return set_uint(value, text);
	case OPTION_SIZE:	return set_size(value, text);
	case OPTION_CHOICE:	return set_choice(value, text);
	case OPTION_LIST:	return add_item(value, text);
	}
	return log_error(EINVAL, "option --%s: of no known type", value->def->name);
}

/* By its two ends: names differ there, and a start asks for hundreds. */
static uint32_t name_hash(const char *name, size_t length)
{
	uint32_t head = 0, tail = 0, hash;

	if (length >= sizeof(head)) {
		memcpy(&head, name, sizeof(head));
		memcpy(&tail, name + length - sizeof(tail), sizeof(tail));
	} else {
		for (size_t i = 0; i < length; i++)
			head = head << 8 | (uint8_t)name[i];
	}
	hash = (head ^ (uint32_t)length) * 2654435761U ^ tail * 2246822519U;
	return hash ^ hash >> 15;
}

/* Where in the index @name is, or would be: it always has room for both. */
static uint16_t *config_place(const struct config *config, const char *name, size_t length)
{
	for (size_t at = name_hash(name, length);; at++) {
		uint16_t *place = &config->index[at & config->index_mask];
		const char *known = *place ? config->values[*place - 1].def->name : NULL;

		if (!known || (strncmp(known, name, length) == 0 && known[length] == '\0'))
			return place;
	}
}

static int config_add(struct config *config, const struct option_def *def)
{
	uint16_t *place = config_place(config, def->name, strlen(def->name));
	struct config_value *value;

	if (*place)
		return 0;
	value = &config->values[config->count++];
	*place = (uint16_t)config->count;
	value->def = def;
	return def->fallback ? config_value_set(value, def->fallback) : 0;
}

int config_new(struct config **config, struct option_group *groups)
{
	struct config *new = calloc(1, sizeof(*new));
	size_t count = ARRAY_SIZE(help_options);
	int r = 0;

	if (!new)
		return log_errno(ENOMEM, "options");
	for (const struct option_group *group = groups; group; group = group->next)
		count += group->count;
	new->groups = groups;
	new->split = SIZE_MAX;
	new->values = calloc(count, sizeof(*new->values));
	for (new->index_mask = 1; new->index_mask < 2 * count; new->index_mask *= 2)
		;
	new->index = calloc(new->index_mask--, sizeof(*new->index));
	if (!new->values || !new->index) {
		config_free(new);
		return log_errno(ENOMEM, "options");
	}
	for (const struct option_group *group = groups; group && r == 0; group = group->next)
		for (size_t i = 0; i < group->count && r == 0; i++)
			r = config_add(new, &group->options[i]);
	for (size_t i = 0; i < ARRAY_SIZE(help_options) && r == 0; i++)
		r = config_add(new, &help_options[i]);
	if (r < 0) {
		config_free(new);
		return r;
	}
	*config = new;
	return 0;
}

void config_free(struct config *config)
{
	if (!config)
		return;
	for (size_t i = 0; i < config->count; i++) {
		struct config_value *value = &config->values[i];

		for (size_t item = 0; item < value->count; item++)
			free(value->items[item]);
		free(value->items);
		free(value->text);
	}
	free(config->values);
	free(config->index);
	free(config);
}

struct config_value *config_find(const struct config *config, const char *name, size_t length)
{
	uint16_t place = *config_place(config, name, length);

	return place ? &config->values[place - 1] : NULL;
}

struct config_value *config_resolve(const struct config *config, struct config_value *value, const char **text)
{
	const char *same_as = value->def->same_as;
	size_t length;

	if (!same_as)
		return value;
	if (value->def->type == OPTION_STRING) {
		bool number = *text && **text && strspn(*text, "0123456789") == strcspn(*text, ",");

		return number ? config_find(config, same_as, strlen(same_as)) : value;
	}
	length = strcspn(same_as, "=");
	*text = same_as + length + 1;
	return config_find(config, same_as, length);
}

static const struct config_value *config_get(const struct config *config, const char *name)
{
	static const struct option_def nothing_def = { .name = "" };
	static const struct config_value nothing = { .def = &nothing_def };
	const struct config_value *value = config_find(config, name, strlen(name));

	return value ? value : &nothing;
}

int config_set(struct config *config, const char *name, const char *text)
{
	struct config_value *value = config_find(config, name, strlen(name));
	int r;

	value = value ? config_resolve(config, value, &text) : NULL;
	if (!value)
		return log_error(EINVAL, "option --%s: no such option", name);
	r = config_value_set(value, text);
	if (r == 0) {
		value->given = true;
		value->source = CONFIG_COMMAND_LINE;
	}
	return r;
}

bool config_given(const struct config *config, const char *name)
{
	return config_get(config, name)->given;
}

bool config_flag(const struct config *config, const char *name)
{
	return config_get(config, name)->flag;
}

const char *config_string(const struct config *config, const char *name)
{
	return config_get(config, name)->text;
}

uint64_t config_uint(const struct config *config, const char *name)
{
	return config_get(config, name)->number;
}

bool config_address(const struct config *config, const char *name, uint64_t *address)
{
	const struct config_value *value = config_get(config, name);

	*address = value->has_address ? value->address : 0;
	return value->has_address;
}

size_t config_count(const struct config *config, const char *name)
{
	return config_get(config, name)->count;
}

const char *config_item(const struct config *config, const char *name, size_t index)
{
	const struct config_value *value = config_get(config, name);

	return index < value->count ? value->items[index] : NULL;
}

int config_change_item(struct config *config, const char *name, size_t index, const char *text)
{
	struct config_value *value = config_find(config, name, strlen(name));
	char *copy = strdup(text);

	if (!copy)
		return log_errno(ENOMEM, "option --%s", name);
	free(value->items[index]);
	value->items[index] = copy;
	return 0;
}

void config_drop_item(struct config *config, const char *name, size_t index)
{
	struct config_value *value = config_find(config, name, strlen(name));

	free(value->items[index]);
	value->count--;
	memmove(&value->items[index], &value->items[index + 1], (value->count - index) * sizeof(*value->items));
}

static const char *number_text(const struct config_value *value, char *buffer, size_t length)
{
	const char *unit = value->def->type == OPTION_SIZE ? "B" : "";

	if (value->has_address)
		snprintf(buffer, length, "%llu%s@%llu%s", (unsigned long long)value->number, unit,
			 (unsigned long long)value->address, unit);
	else
		snprintf(buffer, length, "%llu%s", (unsigned long long)value->number, unit);
	return buffer;
}

void config_each_given(const struct config *config, void (*each)(const struct option_def *def, const char *text, void *opaque),
		       void *opaque)
{
	for (size_t i = 0; i < config->count; i++) {
		const struct config_value *value = &config->values[i];
		bool number = value->def->type == OPTION_UINT || value->def->type == OPTION_SIZE;
		_cleanup_free_ char *settings = NULL;
		char text[64];

		if (!value->given)
			continue;
		for (size_t item = 0; item < value->count; item++)
			each(value->def, value->items[item], opaque);
		if (value->def->type == OPTION_FLAG)
			each(value->def, value->flag ? "true" : "false", opaque);
		else if (number && value->text && asprintf(&settings, "%s,%s", number_text(value, text, sizeof(text)), value->text) >= 0)
			each(value->def, settings, opaque);
		else if (number)
			each(value->def, number_text(value, text, sizeof(text)), opaque);
		else if (value->def->type != OPTION_LIST)
			each(value->def, value->text ? value->text : "", opaque);
	}
}

size_t config_split(const struct config *config)
{
	return config->split;
}
