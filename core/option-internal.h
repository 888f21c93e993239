/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What core/option.c (values) and core/option-parse.c (the command line) share; nobody else includes it.
 */
#ifndef CORE_OPTION_INTERNAL_H
#define CORE_OPTION_INTERNAL_H

#include "kvm/option.h"

struct config_value {
	const struct option_def *def;
	bool given;		/* said by somebody, not only by its default */
	uint8_t source;		/* by whom: enum config_source; 0: only by its default */
	const char *where;	/* "FILE:LINE: " while a file's line is taken, for messages; else NULL */
	bool flag;
	uint64_t number, address;
	bool has_address;
	char *text;
	char **items;
	size_t count;
};

struct config {
	struct option_group *groups;
	struct config_value *values;
	size_t count;
	uint16_t *index;	/* by hash of the name, open addressing: one more than the value's place, 0 for none */
	size_t index_mask;	/* its length, a power of two, less one */
	size_t split;		/* operands before `--`, SIZE_MAX without one */
};

/** config_find() - the value called exactly @name, @length characters long, or NULL */
struct config_value *config_find(const struct config *config, const char *name, size_t length);

/** config_resolve() - the value that one called @value stands for, and *@text as it is said there; NULL: nobody's */
struct config_value *config_resolve(const struct config *config, struct config_value *value, const char **text);

/** config_suggest() - the option that was meant by @typed, or NULL */
const char *config_suggest(const struct config *config, const char *typed);

/** size_text() - 536870912 as "512M", the way it would be typed */
const char *size_text(uint64_t value, char *buffer, size_t length);

/** config_value_set() - parses @text into @value; says what is wrong with it */
int __must_check config_value_set(struct config_value *value, const char *text);

#endif
