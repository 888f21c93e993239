/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options: described once as tables, by whoever owns them; parsed into a struct config.
 *
 * A device registers its `lkvm run` options beside its class with RUN_OPTIONS(); --help, the man page,
 * completion and the config file read the same tables. A unique prefix of a long option will do, as in
 * kvmtool. Flags can be said as --no-NAME.
 */
#ifndef KVM_OPTION_H
#define KVM_OPTION_H

#include "kvm/types.h"

/**
 * EUSAGE - the errno for "what the command line says is wrong": an init callback that finds it returns
 * -EUSAGE (log_error(EUSAGE, "option --disk: ...")), and `lkvm run` exits with 2 instead of 1
 */
#define EUSAGE EBADRQC

enum option_type {
	OPTION_FLAG,	/* --name, --no-name */
	OPTION_STRING,
	OPTION_UINT,	/* decimal or 0x..., between @min and @max (0: no ceiling) */
	OPTION_SIZE,	/* bytes: 512M, 4G, 0x1000, suffixes BKMGTP; a bare number is scaled by @unit */
	OPTION_CHOICE,	/* one of @choices */
	OPTION_LIST,	/* a string, may be repeated */
};

struct option_def {
	const char *name;		/* long name, without the dashes */
	char letter;			/* short name or 0 */
	enum option_type type : 8;
	bool takes_address;		/* OPTION_SIZE: SIZE[@ADDRESS], both scaled alike */
	bool takes_settings;		/* OPTION_UINT, OPTION_SIZE: ",KEY=VALUE,..." may follow: config_string() */
	bool optional_argument;		/* --name or --name=VALUE (the = is needed) */
	uint32_t unit;			/* OPTION_SIZE: scale of a bare number; 0 means 1 */
	const char *argument;		/* "FILE", for help */
	const char *help;		/* one line; NULL: not shown to people */
	const char *fallback;		/* default as text, or NULL: absent */
	const char *const *choices;	/* OPTION_CHOICE: NULL-terminated */
	uint64_t min, max;		/* OPTION_UINT, OPTION_SIZE; max 0: none */
	const char *same_as;		/* OPTION_FLAG: "NAME=VALUE" of the option that it sets; there is no --no- of it.
					   OPTION_STRING: "NAME" of the option that a number is for */
	const char *pending;		/* not NULL: answers "not built yet (this)" when it is used */
};

/** struct option_group - a titled table: "Basic options:" */
struct option_group {
	const char *title;
	const struct option_def *options;
	size_t count;
	struct option_group *next;
};

/** RUN_OPTIONS() - adds a table to `lkvm run`: RUN_OPTIONS(rng_options_group, "Devices", rng_options); */
#define RUN_OPTIONS(group, title_, table)							\
	static struct option_group group = {							\
		.title = (title_), .options = (table), .count = ARRAY_SIZE(table) };		\
	static void __attribute__((constructor)) group##_register(void)				\
	{											\
		run_options_register(&group);							\
	}											\
	struct option_group /* swallows the semicolon */

void run_options_register(struct option_group *group);
/** run_options() - all tables of `lkvm run`, sorted by title */
struct option_group *run_options(void);

struct config;

/**
 * config_parse() - @argv (without the command's name) against @groups
 * @rest: receives the index of the first operand (or argc). Options may stand behind operands; @argv is put
 *        in order: options first. What follows `--` is an operand.
 *
 * `-h`, `--help` and `--help-all` are known without a table: config_flag(config, "help").
 * Returns 0 or -EINVAL, having said one line: the option, what is wrong, what would be right.
 */
int __must_check config_parse(struct config **config, struct option_group *groups, int argc, char **argv, int *rest);
/** config_new() - all defaults, for tests */
int __must_check config_new(struct config **config, struct option_group *groups);
void config_free(struct config *config);
/** config_set() - as if --@name=@text (flags: "true"/"false") had been given */
int __must_check config_set(struct config *config, const char *name, const char *text);

/** enum config_source - who said an option; what a stronger one said stays, lists as well */
enum config_source {
	CONFIG_COMMAND_LINE = 1,	/* the strongest */
	CONFIG_FILE,
	CONFIG_PROFILE,
};

/**
 * config_set_from() - as config_set(), by a file; nothing if a stronger one has said @name
 * @where: "FILE:LINE: ", which messages begin with
 */
int __must_check config_set_from(struct config *config, enum config_source source, const char *where, const char *name,
				 const char *text);
/** config_source() - who said @name; 0: nobody */
unsigned int config_source(const struct config *config, const char *name);
/**
 * config_print() - what was said, by whomever, as lines of a config file
 * @except: names to be left out, NULL-terminated
 * Returns 0 or -EINVAL (said): a line break can't be written.
 */
int __must_check config_print(const struct config *config, const char *const *except, int fd);

/* A getter given a name that no table has returns the empty value: a build may leave the owner out. */
bool config_given(const struct config *config, const char *name);
bool config_flag(const struct config *config, const char *name);
const char *config_string(const struct config *config, const char *name);	/* NULL: absent; of a number: its settings */
uint64_t config_uint(const struct config *config, const char *name);		/* UINT and SIZE */
bool config_address(const struct config *config, const char *name, uint64_t *address);	/* false: no @ADDRESS */
size_t config_count(const struct config *config, const char *name);		/* LIST */
const char *config_item(const struct config *config, const char *name, size_t index);
/** config_change_item() - item @index, which there is, is @text from now on: for what changes while a VM runs; or -ENOMEM */
int __must_check config_change_item(struct config *config, const char *name, size_t index, const char *text);
/** config_drop_item() - takes item @index, which there is, out of the list */
void config_drop_item(struct config *config, const char *name, size_t index);

/** config_each_given() - calls @each for every value that was given, as config_set() takes it: a list's one by one, in order */
void config_each_given(const struct config *config, void (*each)(const struct option_def *def, const char *text, void *opaque),
		       void *opaque);

/** config_split() - how many operands stood before a `--`; SIZE_MAX if there was none */
size_t config_split(const struct config *config);

/** option_help_some() - the rows called @names (NULL-terminated), in that order */
void option_help_some(const struct option_group *groups, const char *const *names, int fd);
/** option_help() - prints the tables as --help-all does; option_man() - as the man page's mdoc lists */
void option_help(const struct option_group *groups, int fd);
void option_man(const struct option_group *groups, int fd);

/** suggestion_closer() - whether @candidate is near enough to what was @typed, and nearer than *@best (updated) */
bool suggestion_closer(const char *typed, const char *candidate, unsigned int *best);

/** parse_size() - "512M" and the like; 0 or -EINVAL; says nothing */
int __must_check parse_size(const char *text, uint64_t unit, uint64_t *value);
/** parse_uint() - decimal or 0x, whole string; 0, -EINVAL or -ERANGE; says nothing */
int __must_check parse_uint(const char *text, uint64_t *value);

/**
 * struct keyval - "first,key=value,flag": the sub-options of one option's argument
 */
struct keyval {
	char *text;
	const char *first;	/* the part before the first comma, may be "" */
	struct { const char *key, *value; bool used; } pairs[24];	/* value NULL: a bare word */
	size_t count;
};

/** keyval_parse() - -EUSAGE (said, naming @option) on too many pairs; @first_is_value: text before the first comma is no key.
 *  A comma inside a value is written twice */
int __must_check keyval_parse(struct keyval *keyval, const char *option, const char *text, bool first_is_value);
void keyval_free(struct keyval *keyval);
/** keyval_get() - the value, "" for a bare word, NULL if absent; marks it as used */
const char *keyval_get(struct keyval *keyval, const char *key);
/** keyval_bool() - true for a bare word, on, true, yes, 1; -EUSAGE (said) for nonsense; *@value unchanged if absent */
int __must_check keyval_bool(struct keyval *keyval, const char *option, const char *key, bool *value);
/** keyval_done() - -EUSAGE (said) when a pair was never asked for: names it and lists @known */
int __must_check keyval_done(const struct keyval *keyval, const char *option, const char *known);

#endif
