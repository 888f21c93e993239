/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options, the command line side: --name VALUE, --name=VALUE, --no-flag, unique prefixes, -k FILE, -kFILE,
 * bundles of short flags, `--`; and a helpful word when one is mistyped.
 *
 * Options may stand behind operands (`lkvm run bzImage -m 512`), as they may with kvmtool.
 */
#include "option-internal.h"

#include <stdio.h>
#include <string.h>

#include "kvm/log.h"

#define NAME_MAX_LENGTH 40

/* One long option as it was typed: which value, and whether as --no-NAME. Without a value: there is none. */
struct match {
	struct config_value *value;
	bool negated;
};

/*
 * Optimal string alignment: insertions, deletions, changes and swapped neighbours, each for one. The names
 * are short, so three rows on the stack do.
 */
static unsigned int edit_distance(const char *a, const char *b)
{
	unsigned int rows[3][NAME_MAX_LENGTH + 1];
	size_t a_length = strlen(a), b_length = strlen(b);

	if (a_length > NAME_MAX_LENGTH || b_length > NAME_MAX_LENGTH)
		return UINT32_MAX;
	for (size_t j = 0; j <= b_length; j++)
		rows[0][j] = (unsigned int)j;
	for (size_t i = 1; i <= a_length; i++) {
		unsigned int *now = rows[i % 3], *before = rows[(i - 1) % 3],
			     *swap = rows[(i + 1) % 3];

		now[0] = (unsigned int)i;
		for (size_t j = 1; j <= b_length; j++) {
			unsigned int cost = before[j - 1] + (a[i - 1] != b[j - 1]);

			cost = MIN(cost, before[j] + 1);
			cost = MIN(cost, now[j - 1] + 1);
			if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
				cost = MIN(cost, swap[j - 2] + 1);
			now[j] = cost;
		}
	}
	return rows[a_length % 3][b_length];
}

bool suggestion_closer(const char *typed, const char *candidate, unsigned int *best)
{
	unsigned int distance = edit_distance(typed, candidate);
	/* a third of the letters wrong is still a typo; more is another word */
	unsigned int limit = (unsigned int)MAX(strlen(typed), (size_t)3) / 3;

	if (distance > limit || distance >= *best)
		return false;
	*best = distance;
	return true;
}

const char *config_suggest(const struct config *config, const char *typed)
{
	const char *suggestion = NULL;
	unsigned int best = UINT32_MAX;

	for (size_t i = 0; i < config->count; i++)
		if (suggestion_closer(typed, config->values[i].def->name, &best))
			suggestion = config->values[i].def->name;
	return suggestion;
}

static void say_unknown(const struct config *config, const char *name, size_t length)
{
	char typed[NAME_MAX_LENGTH + 1];
	const char *suggestion;

	snprintf(typed, sizeof(typed), "%.*s", (int)MIN(length, sizeof(typed) - 1), name);
	suggestion = config_suggest(config, typed);
	if (suggestion)
		log_error(EINVAL, "option --%s: no such option (did you mean --%s?)", typed, suggestion);
	else
		log_error(EINVAL, "option --%s: no such option (--help lists them)", typed);
}

static void say_ambiguous(const char *name, size_t length, struct match a, struct match b)
{
	log_error(EINVAL, "option --%.*s: could be --%s%s or --%s%s (say more of it)", (int)length, name,
		  a.negated ? "no-" : "", a.value->def->name, b.negated ? "no-" : "", b.value->def->name);
}

/* Whether --no-NAME means something. */
static bool has_opposite(const struct option_def *def)
{
	return def->type == OPTION_FLAG && !def->same_as;
}

/* The only option that begins with @name. */
static struct match find_prefix(const struct config *config, const char *name, size_t length, bool no)
{
	struct match match = { .value = NULL };

	for (size_t i = 0; length && i < config->count; i++) {
		struct config_value *value = &config->values[i];
		struct match found = { .value = value };

		if (strncmp(value->def->name, name, length) != 0) {
			found.negated = true;
			if (!no || !has_opposite(value->def) ||
			    strncmp(value->def->name, name + 3, length - 3) != 0)
				continue;
		}
		if (match.value) {
			say_ambiguous(name, length, match, found);
			return (struct match) { .value = NULL };
		}
		match = found;
	}
	if (!match.value)
		say_unknown(config, name, length);
	return match;
}

/* The option that @name (of @length characters) stands for: spelt in full, or the only one so beginning. */
static struct match find_long(const struct config *config, const char *name, size_t length)
{
	bool no = length > 3 && strncmp(name, "no-", 3) == 0;
	struct match match = { .value = config_find(config, name, length) };

	if (match.value)
		return match;
	if (no) {
		match.value = config_find(config, name + 3, length - 3);
		match.negated = true;
		if (match.value && has_opposite(match.value->def))
			return match;
	}
	return find_prefix(config, name, length, no);
}

static struct config_value *find_letter(const struct config *config, char letter)
{
	for (size_t i = 0; i < config->count; i++)
		if (config->values[i].def->letter == letter)
			return &config->values[i];
	return NULL;
}

static int use_value(const struct config *config, struct config_value *named, const char *text)
{
	struct config_value *value = config_resolve(config, named, &text);
	const struct option_def *def = named->def;
	int r;

	if (!value)
		return log_error(EINVAL, "option --%s: not in this build", def->name);
	if (def->pending)
		return log_error(EINVAL, "option --%s: not built yet (%s)", def->name,
				 def->pending);
	r = text ? config_value_set(value, text) : 0;
	if (r == 0) {
		value->given = true;
		value->source = CONFIG_COMMAND_LINE;
	}
	return r;
}

static int missing_argument(const struct option_def *def)
{
	return log_error(EINVAL, "option --%s: needs a value (--%s %s)", def->name, def->name,
			 def->argument ? def->argument : "VALUE");
}

/* argv[*at] is a long option; *at moves on when its value is the next word */
static int parse_long(const struct config *config, int argc, char **argv, int *at)
{
	const char *name = argv[*at] + 2;
	size_t length = strcspn(name, "=");
	const char *text = name[length] ? name + length + 1 : NULL;
	struct match match = find_long(config, name, length);
	const struct option_def *def;

	if (!match.value)
		return -EINVAL;
	def = match.value->def;
	if (def->type == OPTION_FLAG) {
		if (text)
			return log_error(EINVAL, "option --%s: takes no value (say --%s%s%s)", def->name, def->name,
					 def->same_as ? "" : " or --no-", def->same_as ? "" : def->name);
		return use_value(config, match.value, match.negated ? "false" : "true");
	}
	if (!text && !def->optional_argument) {
		if (*at + 1 >= argc)
			return missing_argument(def);
		text = argv[++*at];
	}
	return use_value(config, match.value, text);
}

/* argv[*at] is "-abk" or "-kFILE" or "-k": flags, then at most one letter that takes a value */
static int parse_short(const struct config *config, int argc, char **argv, int *at)
{
	for (const char *letter = argv[*at] + 1; *letter; letter++) {
		struct config_value *value = find_letter(config, *letter);
		int r;

		if (!value)
			return log_error(EINVAL, "option -%c: no such option (--help lists them)",
					 *letter);
		if (value->def->type != OPTION_FLAG) {
			if (letter[1])
				return use_value(config, value, letter + 1);
			if (value->def->optional_argument)
				return use_value(config, value, NULL);
			if (*at + 1 >= argc)
				return missing_argument(value->def);
			return use_value(config, value, argv[++*at]);
		}
		r = use_value(config, value, "true");
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_words(struct config *config, int argc, char **argv, int *rest)
{
	_cleanup_free_ char **operands = calloc((size_t)argc + 1, sizeof(*operands));
	size_t count = 0;
	int kept = 0, r = 0;

	if (!operands)
		return log_errno(ENOMEM, "options");
	for (int i = 0; i < argc; i++) {
		int first = i;

		if (strcmp(argv[i], "--") == 0) {
			config->split = count;
			for (i++; i < argc; i++)
				operands[count++] = argv[i];
			argv[kept++] = argv[first];
			break;
		}
		if (argv[i][0] != '-' || argv[i][1] == '\0') {
			operands[count++] = argv[i];
			continue;
		}
		r = argv[i][1] == '-' ? parse_long(config, argc, argv, &i)
				      : parse_short(config, argc, argv, &i);
		if (r < 0)
			return r;
		while (first <= i)
			argv[kept++] = argv[first++];
	}
	/* options first, operands behind them: kept + count is argc */
	memcpy(argv + kept, operands, count * sizeof(*operands));
	*rest = kept;
	return 0;
}

int config_parse(struct config **config, struct option_group *groups, int argc, char **argv,
		 int *rest)
{
	struct config *new;
	int r = config_new(&new, groups);

	if (r < 0)
		return r;
	r = parse_words(new, argc, argv, rest);
	if (r < 0) {
		config_free(new);
		return r;
	}
	*config = new;
	return 0;
}
