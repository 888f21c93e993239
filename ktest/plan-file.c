/* SPDX-License-Identifier: BSD-2-Clause */
/* Kernels, configurations and tests of a file, each a section. */
#include <string.h>

#include "kvm/config-file.h"
#include "kvm/log.h"
#include "plan.h"

#define NAME_SIZE	64

static const char *const kinds[] = { [PLAN_KERNEL] = "kernel", [PLAN_CONFIG] = "config", [PLAN_TEST] = "test" };

struct walk {
	struct plan *plan;
	struct config *limits;
};

/* The options that a file may say for `lkvm test` itself. */
static int take_limit(struct config *limits, const char *where, const char *option, const char *value)
{
	static const char *const known[] = { "jobs", "cpus", "mem", "timeout", "retries" };

	if (!option)
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(known); i++)
		if (strcmp(option, known[i]) == 0)
			return config_set_from(limits, CONFIG_FILE, where, option, value);
	return log_error(EINVAL, "%s%s: is no limit (say jobs, cpus, mem, timeout or retries)", where, option);
}

static int take_line(void *opaque, const char *where, const char *section, const char *option, const char *value)
{
	struct walk *walk = opaque;
	char buffer[NAME_SIZE];

	if (!*section)
		return plan_set(&walk->plan->all, where, option, value);
	if (strcmp(section, "limits") == 0)
		return take_limit(walk->limits, where, option, value);
	for (size_t kind = 0; kind < PLAN_KINDS; kind++) {
		const char *name = config_file_section(section, kinds[kind], buffer, sizeof(buffer));
		struct plan_choice *choice = name && *name ? plan_add(walk->plan, (enum plan_kind)kind, name) : NULL;

		if (name && *name)
			return !choice ? -ENOMEM : option ? plan_set(choice, where, option, value) : 0;
	}
	return log_error(EINVAL, "%s[%s]: no such section (say [kernel \"NAME\"], [config \"NAME\"], [test \"NAME\"] or [limits])", where,
			 section);
}

int plan_read(struct plan *plan, const char *path, struct config *limits)
{
	struct walk walk = { .plan = plan, .limits = limits };

	return config_file_walk(path, take_line, &walk);
}
