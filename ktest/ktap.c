/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * KTAP, read from the bottom up: the result of a test comes behind those of its subtests, which stand further to the right.
 *
 * A level is a column with results of its own: it begins with a version, a plan or "# Subtest:", and what lies to the right
 * of a result is that test's. kselftest's runner puts "# " before each line of a program: two columns as well.
 */
#include "ktap.h"

#include <ctype.h>
#include <limits.h>
#include <string.h>
#include <strings.h>

#include "text.h"

#define COLUMN_MAX	128
#define PLAN_MAX	1000000
#define PLAN_NONE	ULONG_MAX
#define DETAIL_SIZE	2048

struct level {
	size_t column;
	unsigned long planned, seen;
	char *name;			/* as "# Subtest:" says it, or NULL */
	struct ktap_test *first, **last;
};

struct ktap {
	enum ktap_source source;
	struct level levels[KTAP_DEPTH_MAX];	/* from left to right */
	size_t depth;
	unsigned long counts[KTAP_RESULTS];
	size_t used;				/* bytes, of KTAP_BYTES_MAX */
	char *skipped;
	char detail[DETAIL_SIZE];		/* the last lines that say no result */
	size_t detail_length;
};

static const char *const result_names[] = {
	[KTAP_PASS] = "pass", [KTAP_FAIL] = "fail", [KTAP_SKIP] = "skip", [KTAP_TODO] = "todo", [KTAP_LOST] = "lost",
};

const char *ktap_result_name(enum ktap_result result)
{
	return result_names[result];
}

/* ---- tests ---- */

static void test_free(struct ktap_test *test)
{
	free(test->name);
	free(test->reason);
	free(test->detail);
	free(test);
}

/* As deep as levels are, so that this ends. */
static void tests_free(struct ktap_test *test)
{
	while (test) {
		struct ktap_test *next = test->next;

		tests_free(test->children);
		test_free(test);
		test = next;
	}
}

static char *copy(const char *text, size_t length)
{
	return text_copy(text, MIN(length, (size_t)KTAP_NAME_MAX - 1), false);
}

/* Whether there is room for so many bytes more, which are then taken. */
static bool take_room(struct ktap *ktap, size_t bytes)
{
	if (bytes > KTAP_BYTES_MAX - ktap->used)
		return false;
	ktap->used += bytes;
	return true;
}

bool ktap_failed(const struct ktap_test *test)
{
	for (; test; test = test->next)
		if (test->result == KTAP_FAIL || test->result == KTAP_LOST || ktap_failed(test->children))
			return true;
	return false;
}

/* Takes @children; counts it even if there is no room for it. One with subtests has failed with them, or all by itself. */
static struct ktap_test *test_add(struct ktap *ktap, struct level *level, enum ktap_result result, const char *name, size_t length,
				  struct ktap_test *children)
{
	struct ktap_test *test = take_room(ktap, sizeof(*test) + MIN(length, (size_t)KTAP_NAME_MAX)) ? calloc(1, sizeof(*test)) : NULL;

	if (!children || (result == KTAP_FAIL && !ktap_failed(children)))
		ktap->counts[result]++;
	if (test)
		test->name = copy(name, length);
	if (!test || !test->name) {
		free(test);
		tests_free(children);
		return NULL;
	}
	test->result = result;
	test->children = children;
	*level->last = test;
	level->last = &test->next;
	return test;
}

/* ---- levels ---- */

/* What was planned and didn't come. */
static void level_complete(struct ktap *ktap, struct level *level)
{
	static const char lost[] = "planned, and without a result";
	char name[64];
	int length;

	if (level->planned != PLAN_NONE && level->seen < level->planned) {
		length = snprintf(name, sizeof(name), "%lu %s", level->planned - level->seen, lost);
		test_add(ktap, level, KTAP_LOST, name, (size_t)length, NULL);
	}
	level->planned = PLAN_NONE;
	level->seen = 0;
}

static void level_init(struct level *level, size_t column)
{
	*level = (struct level){ .column = column, .planned = PLAN_NONE };
	level->last = &level->first;
}

/* Takes the innermost level away, and returns its tests. */
static struct ktap_test *level_pop(struct ktap *ktap)
{
	struct level *level = &ktap->levels[ktap->depth - 1];

	level_complete(ktap, level);
	free(level->name);
	ktap->depth--;
	return level->first;
}

/* @children's own result didn't come. */
static void level_lost(struct ktap *ktap, struct level *level, const char *name, struct ktap_test *children)
{
	level->seen++;
	test_add(ktap, level, KTAP_LOST, name ? name : "?", name ? strlen(name) : 1, children);
}

/*
 * Ends all levels to the right of @column, and returns the tests of the outermost of them, which belong to the result that
 * came. A level whose own result didn't come gets one in its place: it is lost.
 */
static struct ktap_test *levels_close(struct ktap *ktap, size_t column)
{
	struct ktap_test *children = NULL;
	_cleanup_free_ char *name = NULL;

	while (ktap->depth && ktap->levels[ktap->depth - 1].column > column) {
		struct level *level = &ktap->levels[ktap->depth - 1];

		if (children)
			level_lost(ktap, level, name, children);
		free(name);
		name = level->name;
		level->name = NULL;
		children = level_pop(ktap);
	}
	return children;
}

static struct level *level_find(struct ktap *ktap, size_t column)
{
	for (size_t i = 0; i < ktap->depth; i++)
		if (ktap->levels[i].column == column)
			return &ktap->levels[i];
	return NULL;
}

/* Whose result hasn't come, and won't: another begins in its place. */
static void level_lose(struct ktap *ktap, struct level *level)
{
	_cleanup_free_ char *name = ktap->depth > (size_t)(level - ktap->levels) + 1 ? level[1].name : NULL;
	struct ktap_test *children;

	if (name)
		level[1].name = NULL;
	children = levels_close(ktap, level->column);
	if (children)
		level_lost(ktap, level, name, children);
}

/* The level at @column, made if need be; NULL: no room. */
static struct level *level_open(struct ktap *ktap, size_t column)
{
	struct level *level = level_find(ktap, column);

	if (level) {
		level_lose(ktap, level);
		return level;
	}
	/* Between two others: what stands further to the right was somebody else's. */
	while (ktap->depth && ktap->levels[ktap->depth - 1].column > column) {
		if (ktap->depth == 1) {
			ktap->levels[0].column = column;
			return &ktap->levels[0];
		}
		level_lose(ktap, &ktap->levels[ktap->depth - 2]);
	}
	if (ktap->depth == KTAP_DEPTH_MAX)
		return NULL;
	level_init(&ktap->levels[ktap->depth], column);
	return &ktap->levels[ktap->depth++];
}

/* ---- lines ---- */

static void detail_keep(struct ktap *ktap, const char *line, size_t length)
{
	size_t drop;

	length = MIN(length, (size_t)DETAIL_SIZE / 4);
	drop = ktap->detail_length + length + 1 > DETAIL_SIZE ? ktap->detail_length + length + 1 - DETAIL_SIZE : 0;
	memmove(ktap->detail, ktap->detail + drop, ktap->detail_length - drop);
	ktap->detail_length -= drop;
	memcpy(ktap->detail + ktap->detail_length, line, length);
	ktap->detail[ktap->detail_length + length] = '\n';
	ktap->detail_length += length + 1;
}

/* Whether a line begins with @word, in any case, and nothing of a longer word; *@line is behind it and blanks then. */
static bool take_word(const char **line, const char *word)
{
	size_t length = strlen(word);

	if (strncasecmp(*line, word, length) != 0 || isalnum((unsigned char)(*line)[length]) || (*line)[length] == '_')
		return false;
	*line += length;
	*line += strspn(*line, " \t");
	return true;
}

static bool read_version(struct ktap *ktap, const char *line, size_t column)
{
	struct level *level;

	if (strncmp(line, "KTAP version ", 13) != 0 && strncmp(line, "TAP version ", 12) != 0)
		return false;
	level = level_open(ktap, column);
	if (level)
		level_complete(ktap, level);
	return true;
}

static bool read_plan(struct ktap *ktap, const char *line, size_t column)
{
	struct level *level;
	unsigned long count;
	char *end;

	if (strncmp(line, "1..", 3) != 0 || !isdigit((unsigned char)line[3]))
		return false;
	count = strtoul(line + 3, &end, 10);
	line = end + strspn(end, " \t");
	if (count > PLAN_MAX || (*line && *line != '#'))
		return false;
	level = level_open(ktap, column);
	if (!level)
		return true;
	if (level->planned != PLAN_NONE)
		level_complete(ktap, level);
	level->planned = count;
	if (*line == '#')
		line += 1 + strspn(line + 1, " \t");
	if (!count && !ktap->skipped) {
		take_word(&line, "SKIP");
		ktap->skipped = copy(line, strlen(line));
	}
	return true;
}

static bool read_subtest(struct ktap *ktap, const char *line, size_t column)
{
	struct level *level;

	if (strncmp(line, "# Subtest:", 10) != 0)
		return false;
	line += 10 + strspn(line + 10, " \t");
	level = level_open(ktap, column);
	if (!level)
		return true;
	free(level->name);
	level->name = copy(line, strlen(line));
	return true;
}

/* Where what stands behind the name begins, at its '#', or the line's end. */
static const char *find_reason(const char *text)
{
	for (const char *at = text; (at = strchr(at, '#')); at++)
		if (at == text || (at[-1] != '\\' && strchr(" \t", at[-1])))
			return at;
	return text + strlen(text);
}

static enum ktap_result judge(bool good, const char **reason)
{
	if (take_word(reason, "SKIP"))
		return KTAP_SKIP;
	if (take_word(reason, "TODO") || take_word(reason, "XFAIL"))
		return good ? KTAP_PASS : KTAP_TODO;
	return good ? KTAP_PASS : KTAP_FAIL;
}

static void note_failure(struct ktap *ktap, struct ktap_test *test)
{
	if (test->result == KTAP_FAIL && !test->children && ktap->detail_length && take_room(ktap, ktap->detail_length))
		test->detail = text_copy(ktap->detail, ktap->detail_length, true);
}

static void take_result(struct ktap *ktap, struct level *level, bool good, const char *name)
{
	const char *reason = find_reason(name), *why = *reason ? reason + 1 + strspn(reason + 1, " \t") : reason;
	enum ktap_result result = judge(good, &why);
	struct ktap_test *children = levels_close(ktap, level->column), *test;
	size_t length = (size_t)(reason - name);

	while (length && strchr(" \t", name[length - 1]))
		length--;
	level->seen++;
	test = test_add(ktap, level, result, length ? name : "?", length ? length : 1, children);
	if (!test)
		return;
	if (*why && take_room(ktap, strlen(why)))
		test->reason = copy(why, strlen(why));
	note_failure(ktap, test);
}

static bool read_result(struct ktap *ktap, const char *line, size_t column)
{
	bool good = strncmp(line, "not ", 4) != 0, numbered;
	struct level *level = level_find(ktap, column);

	line += good ? 0 : 4;
	if (strncmp(line, "ok", 2) != 0 || (line[2] && line[2] != ' '))
		return false;
	line += 2 + strspn(line + 2, " ");
	numbered = isdigit((unsigned char)*line);
	if (!level && !column && numbered && ktap->source == KTAP_OUTPUT)
		level = level_open(ktap, 0);
	if (!level || (!numbered && ktap->source == KTAP_CONSOLE))
		return false;
	line += strspn(line, "0123456789");
	line += strspn(line, " \t");
	if (line[0] == '-' && (!line[1] || line[1] == ' '))
		line += 1 + strspn(line + 1, " \t");
	take_result(ktap, level, good, line);
	ktap->detail_length = 0;
	return true;
}

static bool read_bail_out(struct ktap *ktap, const char *line)
{
	if (strncmp(line, "Bail out!", 9) != 0 || !ktap->depth)
		return false;
	test_add(ktap, &ktap->levels[ktap->depth - 1], KTAP_FAIL, line, strlen(line), NULL);
	return true;
}

/* "[    1.234567][    T1] text": what printk() puts before it. */
static const char *skip_time(const char *line)
{
	const char *start = line;

	while (*line == '[') {
		size_t length = strspn(line + 1, "0123456789. TC");

		if (!length || line[1 + length] != ']')
			return start;
		line += length + 2;
	}
	return line == start || *line != ' ' ? line : line + 1;
}

/* "# ok 1 name" is a result if "# " has a level of its own, and else an ordinary diagnostic. */
static bool read_line(struct ktap *ktap, const char *line, size_t column)
{
	size_t blanks = strspn(line, " ");

	line += blanks;
	column += blanks;
	if (column > COLUMN_MAX)
		return false;
	if (read_version(ktap, line, column) || read_plan(ktap, line, column) || read_subtest(ktap, line, column) ||
	    read_result(ktap, line, column) || read_bail_out(ktap, line))
		return true;
	return line[0] == '#' && line[1] == ' ' && read_line(ktap, line + 2, column + 2);
}

void ktap_line(struct ktap *ktap, const char *line, size_t length)
{
	char text[KTAP_NAME_MAX * 2];
	const char *start;

	while (length && (line[length - 1] == '\r' || line[length - 1] == '\n'))
		length--;
	text_clean(text, sizeof(text), line, length, false);
	start = ktap->source == KTAP_CONSOLE ? skip_time(text) : text;
	if (!read_line(ktap, start, 0))
		detail_keep(ktap, text, strlen(text));
}

/* ---- for others ---- */

struct ktap *ktap_new(enum ktap_source source)
{
	struct ktap *ktap = calloc(1, sizeof(*ktap));

	if (ktap)
		ktap->source = source;
	return ktap;
}

void ktap_end(struct ktap *ktap)
{
	if (!ktap->depth)
		return;
	level_lose(ktap, &ktap->levels[0]);
	level_complete(ktap, &ktap->levels[0]);
}

void ktap_free(struct ktap *ktap)
{
	if (!ktap)
		return;
	for (size_t i = 0; i < ktap->depth; i++) {
		tests_free(ktap->levels[i].first);
		free(ktap->levels[i].name);
	}
	free(ktap->skipped);
	free(ktap);
}

const struct ktap_test *ktap_tests(const struct ktap *ktap)
{
	return ktap->depth ? ktap->levels[0].first : NULL;
}

unsigned long ktap_count(const struct ktap *ktap, enum ktap_result result)
{
	return ktap->counts[result];
}

const char *ktap_skipped(const struct ktap *ktap)
{
	return ktap->skipped;
}
