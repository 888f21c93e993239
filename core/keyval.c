/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * "first,key=value,flag": the sub-options of one option's argument, as in `--disk a.img,ro`.
 *
 * A comma that belongs to a value is written twice. The words stay in one copy of the text; whoever owns the
 * option asks for its keys and then calls keyval_done(), which names whatever nobody asked for.
 */
#include <stdio.h>
#include <string.h>

#include "kvm/log.h"
#include "kvm/option.h"

/* Ends the word at *@text, undoubles its commas, and moves *@text to the next word or NULL. */
static char *next_word(char **text)
{
	char *word = *text, *to = word;

	for (char *from = word;; from++) {
		if (*from == ',' && from[1] == ',') {
			from++;
		} else if (*from == ',' || *from == '\0') {
			*text = *from ? from + 1 : NULL;
			*to = '\0';
			return word;
		}
		*to++ = *from;
	}
}

int keyval_parse(struct keyval *keyval, const char *option, const char *text, bool first_is_value)
{
	char *rest;

	*keyval = (struct keyval){ .first = "" };
	keyval->text = rest = strdup(text);
	if (!rest)
		return log_errno(ENOMEM, "option --%s", option);
	if (first_is_value)
		keyval->first = next_word(&rest);
	while (rest) {
		char *word = next_word(&rest);
		char *equals = strchr(word, '=');

		if (*word == '\0')
			continue;
		if (keyval->count == ARRAY_SIZE(keyval->pairs)) {
			keyval_free(keyval);
			return log_error(EUSAGE, "option --%s: more than %zu settings in '%s'",
					 option, ARRAY_SIZE(keyval->pairs), text);
		}
		if (equals)
			*equals = '\0';
		keyval->pairs[keyval->count].key = word;
		keyval->pairs[keyval->count].value = equals ? equals + 1 : NULL;
		keyval->count++;
	}
	return 0;
}

void keyval_free(struct keyval *keyval)
{
	free(keyval->text);
	*keyval = (struct keyval){ .first = "" };
}

const char *keyval_get(struct keyval *keyval, const char *key)
{
	const char *value = NULL;

	/* said twice: the last one counts, and none is left over for keyval_done() */
	for (size_t i = 0; i < keyval->count; i++) {
		if (strcmp(keyval->pairs[i].key, key) != 0)
			continue;
		keyval->pairs[i].used = true;
		value = keyval->pairs[i].value ? keyval->pairs[i].value : "";
	}
	return value;
}

int keyval_bool(struct keyval *keyval, const char *option, const char *key, bool *value)
{
	static const char *const yes[] = { "", "on", "true", "yes", "1" };
	static const char *const no[] = { "off", "false", "no", "0" };
	const char *text = keyval_get(keyval, key);

	if (!text)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
		if (strcmp(text, yes[i]) == 0) {
			*value = true;
			return 0;
		}
	}
	for (size_t i = 0; i < ARRAY_SIZE(no); i++) {
		if (strcmp(text, no[i]) == 0) {
			*value = false;
			return 0;
		}
	}
	return log_error(EUSAGE, "option --%s: %s=%s is neither on nor off", option, key, text);
}

int keyval_done(const struct keyval *keyval, const char *option, const char *known)
{
	for (size_t i = 0; i < keyval->count; i++)
		if (!keyval->pairs[i].used)
			return log_error(EUSAGE,
					 "option --%s: no setting is called '%s' (known: %s)",
					 option, keyval->pairs[i].key, known);
	return 0;
}
