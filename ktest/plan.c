/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The matrix: kernels x configurations x tests. What a narrower part says goes before what a wider one says: all, kernel,
 * configuration, test, and at the end the command line; kernel parameters are put together, and lists are, too.
 */
#include "plan.h"

#include <fnmatch.h>
#include <string.h>

#include "kvm/log.h"
#include "text.h"

#define CHOICES_MAX	1000
#define SETTINGS_MAX	1000
#define ARGUMENTS_MAX	4096

/* A guest that isn't told otherwise is small, tells all, and fails with an oops. */
static const struct plan_setting usual[] = {
	{ (char *)"", (char *)"cpus", (char *)"1" },
	{ (char *)"", (char *)"mem", (char *)"512M" },
	{ (char *)"", (char *)"verbose", (char *)"true" },
	{ (char *)"", (char *)"oops", (char *)"fail" },
};

/* ---- what is to be run ---- */

static int no_memory(void)
{
	return log_errno(ENOMEM, "test");
}

static void setting_free(struct plan_setting *setting)
{
	free(setting->where);
	free(setting->name);
	free(setting->value);
}

int plan_set(struct plan_choice *choice, const char *where, const char *name, const char *value)
{
	struct plan_setting setting, *grown;

	if (choice->count == SETTINGS_MAX)
		return log_error(E2BIG, "%s%s: %d options are the most", where, name, SETTINGS_MAX);
	grown = reallocarray(choice->settings, choice->count + 1, sizeof(*grown));
	if (!grown)
		return no_memory();
	choice->settings = grown;
	setting = (struct plan_setting){ .where = strdup(where), .name = strdup(name), .value = strdup(value) };
	if (!setting.where || !setting.name || !setting.value) {
		setting_free(&setting);
		return no_memory();
	}
	grown[choice->count++] = setting;
	return 0;
}

struct plan_choice *plan_add(struct plan *plan, enum plan_kind kind, const char *name)
{
	struct plan_axis *axis = &plan->axes[kind];
	struct plan_choice *grown;
	char *copy;

	for (size_t i = 0; i < axis->count; i++)
		if (strcmp(axis->choices[i].name, name) == 0)
			return &axis->choices[i];
	if (axis->count == CHOICES_MAX) {
		log_error(E2BIG, "test: %s: %d are the most", name, CHOICES_MAX);
		return NULL;
	}
	grown = reallocarray(axis->choices, axis->count + 1, sizeof(*grown));
	if (grown)
		axis->choices = grown;
	copy = text_copy(name, strlen(name), false);
	if (!grown || !copy) {
		free(copy);
		no_memory();
		return NULL;
	}
	grown[axis->count] = (struct plan_choice){ .name = copy };
	return &grown[axis->count++];
}

static void choice_free(struct plan_choice *choice)
{
	for (size_t i = 0; i < choice->count; i++)
		setting_free(&choice->settings[i]);
	free(choice->settings);
	free(choice->name);
	*choice = (struct plan_choice){ .name = NULL };
}

void plan_clear(struct plan *plan, enum plan_kind kind)
{
	struct plan_axis *axis = &plan->axes[kind];

	for (size_t i = 0; i < axis->count; i++)
		choice_free(&axis->choices[i]);
	free(axis->choices);
	*axis = (struct plan_axis){ .choices = NULL };
}

void plan_free(struct plan *plan)
{
	choice_free(&plan->all);
	choice_free(&plan->given);
	for (size_t kind = 0; kind < PLAN_KINDS; kind++)
		plan_clear(plan, (enum plan_kind)kind);
}

/* ---- one run ---- */

struct making {
	const struct plan *plan;
	const struct plan_defaults *defaults;
	struct ktest_run *run;
	struct config *config;		/* what `lkvm run` would make of the settings */
	const char *command;
	char *params;
	size_t room, used;		/* of run->argv */
};

static int add_word(struct making *making, char *word)
{
	struct ktest_run *run = making->run;
	char **grown;

	if (word && making->used + 1 < ARGUMENTS_MAX) {
		grown = reallocarray(run->argv, making->used + 2, sizeof(*grown));
		if (grown) {
			run->argv = grown;
			grown[making->used++] = word;
			grown[making->used] = NULL;
			return 0;
		}
	}
	free(word);
	return word && making->used + 1 >= ARGUMENTS_MAX ? log_error(E2BIG, "test: %s: too many words", run->name) : no_memory();
}

static int take_number(const struct plan_setting *setting, unsigned int most, unsigned int *number)
{
	uint64_t value;

	if (parse_uint(setting->value, &value) || value > most)
		return log_error(EINVAL, "%s%s: '%s' is no number up to %u", setting->where, setting->name, setting->value, most);
	*number = (unsigned int)value;
	return 0;
}

static int take_params(struct making *making, const char *params)
{
	char *both;

	if (asprintf(&both, "%s%s%s", making->params ? making->params : "", making->params ? " " : "", params) < 0)
		return no_memory();
	free(making->params);
	making->params = both;
	return 0;
}

static int take_setting(struct making *making, const struct plan_setting *setting, bool of_test)
{
	static const char *const refused[] = { "name", "config", "profile", "print-config", "help", "help-all", "list-init", "report",
					       "bisect", "restore" };
	const char *name = setting->name;

	if (of_test && strcmp(name, "command") == 0) {
		making->command = setting->value;
		return 0;
	}
	if (of_test && strcmp(name, "timeout") == 0)
		return take_number(setting, UINT32_MAX / 1000, &making->run->timeout_s);
	if (of_test && strcmp(name, "retries") == 0)
		return take_number(setting, KTEST_RETRIES_MAX, &making->run->retries);
	for (size_t i = 0; i < ARRAY_SIZE(refused); i++)
		if (strcmp(name, refused[i]) == 0)
			return log_error(EINVAL, "%s%s: is no option for a test", setting->where, name);
	if (strcmp(name, "params") == 0)
		return take_params(making, setting->value);
	return config_set_from(making->config, CONFIG_COMMAND_LINE, setting->where, name, setting->value);
}

static int take_settings(struct making *making, const struct plan_setting *settings, size_t count, bool of_test)
{
	int result = 0;

	for (size_t i = 0; i < count && !result; i++)
		result = take_setting(making, &settings[i], of_test);
	return result;
}

static bool names_kernel(const struct plan_choice *choice)
{
	for (size_t i = 0; i < choice->count; i++)
		if (strcmp(choice->settings[i].name, "kernel") == 0)
			return true;
	return false;
}

static int take_choice(struct making *making, const struct plan_choice *choice, enum plan_kind kind)
{
	int result = take_settings(making, choice->settings, choice->count, kind == PLAN_TEST);

	/* a kernel's name is the kernel, unless it says one */
	if (!result && kind == PLAN_KERNEL && *choice->name && !names_kernel(choice))
		result = config_set(making->config, "kernel", choice->name);
	return result;
}

struct adding {
	struct making *making;
	int result;
};

static void add_option(const struct option_def *def, const char *text, void *opaque)
{
	struct adding *adding = opaque;
	char *word = NULL;

	if (adding->result)
		return;
	if (def->type == OPTION_FLAG && asprintf(&word, "--%s%s", strcmp(text, "true") == 0 ? "" : "no-", def->name) < 0)
		word = NULL;
	if (def->type != OPTION_FLAG && asprintf(&word, "--%s%s%s", def->name, *text || !def->optional_argument ? "=" : "", text) < 0)
		word = NULL;
	adding->result = add_word(adding->making, word);
}

static int add_command(struct making *making)
{
	static const char *const shell[] = { "--", "sh", "-c" };
	char *const *words = making->plan->words;
	int result = 0;

	if (words)
		result = add_word(making, strdup("--"));
	for (; words && *words && !result; words++)
		result = add_word(making, strdup(*words));
	if (making->plan->words)
		return result;
	if (!making->command)
		return log_error(EINVAL, "test: [test \"%s\"] has no command", making->run->test);
	for (size_t i = 0; i < ARRAY_SIZE(shell) && !result; i++)
		result = add_word(making, strdup(shell[i]));
	return result ? result : add_word(making, strdup(making->command));
}

static int make_arguments(struct making *making, const struct plan_choice *const choices[PLAN_KINDS])
{
	const struct plan_choice *all = &making->plan->all, *given = &making->plan->given;
	struct adding adding = { .making = making };
	int result = take_settings(making, usual, ARRAY_SIZE(usual), false);

	if (!result)
		result = take_settings(making, all->settings, all->count, false);
	for (size_t kind = 0; kind < PLAN_KINDS && !result; kind++)
		result = take_choice(making, choices[kind], (enum plan_kind)kind);
	if (!result)
		result = take_settings(making, given->settings, given->count, false);
	if (!result && making->params)
		result = config_set(making->config, "params", making->params);
	if (result)
		return result;
	making->run->cpus = (unsigned int)config_uint(making->config, "cpus");
	making->run->mem = config_uint(making->config, "mem");
	config_each_given(making->config, add_option, &adding);
	return adding.result ? adding.result : add_command(making);
}

static char *make_name(const struct plan_choice *const choices[PLAN_KINDS])
{
	const char *k = choices[PLAN_KERNEL]->name, *c = choices[PLAN_CONFIG]->name, *t = choices[PLAN_TEST]->name;
	char *name;

	if (asprintf(&name, "%s%s%s%s%s", k, *k && *c ? "/" : "", c, *k || *c ? "/" : "", t) < 0)
		return NULL;
	return name;
}

static int make_run(const struct plan *plan, const struct plan_defaults *defaults, const struct plan_choice *const choices[PLAN_KINDS],
		    struct ktest_run *run)
{
	struct making making = { .plan = plan, .defaults = defaults, .run = run };
	int result;

	run->kernel = strdup(choices[PLAN_KERNEL]->name);
	run->config = strdup(choices[PLAN_CONFIG]->name);
	run->test = strdup(choices[PLAN_TEST]->name);
	run->timeout_s = defaults->timeout_s;
	run->retries = defaults->retries;
	if (!run->kernel || !run->config || !run->test)
		return no_memory();
	result = config_new(&making.config, defaults->options);
	if (result)
		return no_memory();
	result = make_arguments(&making, choices);
	config_free(making.config);
	free(making.params);
	return result;
}

/* ---- all of them ---- */

static bool wanted(const struct config *config, const char *name)
{
	size_t count = config ? config_count(config, "only") : 0;

	for (size_t i = 0; i < count; i++)
		if (fnmatch(config_item(config, "only", i), name, 0) == 0)
			return true;
	return !count;
}

static int add_run(const struct plan *plan, const struct plan_defaults *defaults, const struct plan_choice *const choices[PLAN_KINDS],
		   struct ktest_run **runs, size_t *count)
{
	char *name = make_name(choices);
	struct ktest_run *grown;

	if (!name)
		return no_memory();
	if (!wanted(defaults->only, name)) {
		free(name);
		return 0;
	}
	grown = *count < KTEST_RUNS_MAX ? reallocarray(*runs, *count + 1, sizeof(*grown)) : NULL;
	if (!grown) {
		free(name);
		return *count < KTEST_RUNS_MAX ? no_memory() : log_error(E2BIG, "test: %d runs are the most", KTEST_RUNS_MAX);
	}
	*runs = grown;
	grown[*count] = (struct ktest_run){ .name = name };
	return make_run(plan, defaults, choices, &grown[(*count)++]);
}

int plan_runs(const struct plan *plan, const struct plan_defaults *defaults, struct ktest_run **runs, size_t *count)
{
	static const struct plan_choice none = { .name = (char *)"" };
	const struct plan_axis *k = &plan->axes[PLAN_KERNEL], *c = &plan->axes[PLAN_CONFIG], *t = &plan->axes[PLAN_TEST];
	int result = 0;

	*runs = NULL;
	*count = 0;
	if (!t->count)
		return log_error(EUSAGE, "test: what is to be run? (say -- COMMAND, or a file with [test \"NAME\"])");
	for (size_t i = 0; i < MAX(k->count, (size_t)1) && !result; i++)
		for (size_t j = 0; j < MAX(c->count, (size_t)1) && !result; j++)
			for (size_t n = 0; n < t->count && !result; n++) {
				const struct plan_choice *choices[PLAN_KINDS] = { k->count ? &k->choices[i] : &none,
										  c->count ? &c->choices[j] : &none, &t->choices[n] };

				result = add_run(plan, defaults, choices, runs, count);
			}
	if (!result && !*count)
		result = log_error(EUSAGE, "test: no run has a name that --only matches (lkvm test --list names them)");
	if (result) {
		ktest_runs_free(*runs, *count);
		*runs = NULL;
		*count = 0;
	}
	return result;
}
