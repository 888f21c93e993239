/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options that files say: who has the last word, and how what was said is written as a file.
 */
#include "option-internal.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kvm/log.h"

static int set_from(struct config_value *value, const struct option_def *named, const char *text)
{
	if (named->pending)
		return log_error(EINVAL, "%soption --%s: not built yet (%s)", value->where, named->name, named->pending);
	if (!*text && named->optional_argument)
		return 0;
	return config_value_set(value, text);
}

int config_set_from(struct config *config, enum config_source source, const char *where, const char *name, const char *text)
{
	struct config_value *named = config_find(config, name, strlen(name)), *value;
	const char *suggestion = named ? NULL : config_suggest(config, name);
	int result;

	if (suggestion)
		return log_error(EINVAL, "%s%s: no such option (did you mean %s?)", where, name, suggestion);
	value = named ? config_resolve(config, named, &text) : NULL;
	if (!value)
		return log_error(EINVAL, "%s%s: no such option (lkvm run --help-all lists them)", where, name);
	if (value->source && value->source < source)
		return 0;
	value->where = where;
	result = set_from(value, named->def, text);
	value->where = NULL;
	if (!result) {
		value->given = true;
		value->source = (uint8_t)source;
	}
	return result;
}

unsigned int config_source(const struct config *config, const char *name)
{
	const struct config_value *value = config_find(config, name, strlen(name));

	return value ? value->source : 0;
}

/* ---- writing ---- */

/* What a reader of such files would cut off, or take for a comment or a quote. */
static bool needs_quotes(const char *text)
{
	size_t length = strlen(text);

	return length && (strchr(" \t;#\"", text[0]) || strchr(" \t", text[length - 1]) || strstr(text, " ;") || strstr(text, "\t;"));
}

static int print_line(const struct config_value *value, const char *text, int fd)
{
	const char *quote = needs_quotes(text) ? "\"" : "";

	if (strpbrk(text, "\r\n"))
		return log_error(EINVAL, "option --%s: a line break can't be written to a file", value->def->name);
	dprintf(fd, "%s = %s%s%s\n", value->def->name, quote, text, quote);
	return 0;
}

/* A bare number would be scaled. */
static const char *size_unit_text(const struct config_value *value, uint64_t number, char *buffer, size_t length)
{
	if (number % 1024 && value->def->unit > 1)
		snprintf(buffer, length, "%" PRIu64 "B", number);
	else
		size_text(number, buffer, length);
	return buffer;
}

/* A number, and the settings behind it. */
static int print_number(const struct config_value *value, const char *number, int fd)
{
	_cleanup_free_ char *text = NULL;

	if (!value->text)
		return print_line(value, number, fd);
	if (asprintf(&text, "%s,%s", number, value->text) < 0)
		return log_errno(ENOMEM, "option --%s", value->def->name);
	return print_line(value, text, fd);
}

static int print_size(const struct config_value *value, int fd)
{
	char text[80], size[32], address[32];

	snprintf(text, sizeof(text), "%s%s%s", size_unit_text(value, value->number, size, sizeof(size)), value->has_address ? "@" : "",
		 value->has_address ? size_unit_text(value, value->address, address, sizeof(address)) : "");
	return print_number(value, text, fd);
}

static int print_value(const struct config_value *value, int fd)
{
	char number[32];
	int result = 0;

	switch (value->def->type) {
	case OPTION_FLAG:
		return print_line(value, value->flag ? "true" : "false", fd);
	case OPTION_UINT:
		snprintf(number, sizeof(number), "%" PRIu64, value->number);
		return print_number(value, number, fd);
	case OPTION_SIZE:
		return print_size(value, fd);
	case OPTION_LIST:
		for (size_t i = 0; i < value->count && !result; i++)
			result = print_line(value, value->items[i], fd);
		return result;
	case OPTION_STRING:
	case OPTION_CHOICE:
		break;
	}
	return print_line(value, value->text ? value->text : "", fd);
}

static bool is_among(const char *name, const char *const *names)
{
	while (*names && strcmp(*names, name) != 0)
		names++;
	return *names;
}

int config_print(const struct config *config, const char *const *except, int fd)
{
	int result = 0;

	for (size_t i = 0; i < config->count && !result; i++)
		if (config->values[i].given && !is_among(config->values[i].def->name, except))
			result = print_value(&config->values[i], fd);
	return result;
}
