/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Lists of the host's CPUs, and which of them each vCPU may run on: --vcpu-affinity. Main thread.
 */
#include <string.h>

#include "kvm/kvm-cpu.h"
#include "kvm/log.h"
#include "kvm/thread.h"

/* ---- lists ---- */

static bool digits(const char **text, unsigned long *value)
{
	const char *at = *text;

	for (*value = 0; *at >= '0' && *at <= '9' && *value < CPU_SETSIZE; at++)
		*value = *value * 10 + (unsigned long)(*at - '0');
	if (at == *text)
		return false;
	*text = at;
	return true;
}

/* One "N" or "N-M" and the comma behind it. */
static bool list_take(const char **text, cpu_set_t *cpus)
{
	unsigned long first, last;

	if (!digits(text, &first))
		return false;
	last = first;
	if (**text == '-') {
		++*text;
		if (!digits(text, &last))
			return false;
	}
	if (first > last || last >= CPU_SETSIZE)
		return false;
	for (; first <= last; first++)
		CPU_SET(first, cpus);
	if (**text == ',' && (*text)[1]) {
		++*text;
		return true;
	}
	return !**text;
}

/* By trying: a cpuset may leave this process fewer than there are. */
static int list_check(const char *option, const char *text, const cpu_set_t *cpus)
{
	cpu_set_t before, there;

	/* A host of more CPUs than a set can name: whoever is pinned will hear of it. */
	if (sched_getaffinity(0, sizeof(before), &before))
		return 0;
	CPU_ZERO(&there);
	if (!sched_setaffinity(0, sizeof(*cpus), cpus)) {
		if (sched_getaffinity(0, sizeof(there), &there))
			CPU_ZERO(&there);
		if (sched_setaffinity(0, sizeof(before), &before))
			log_warn("option --%s: this thread stays on CPUs %s", option, text);
	}
	for (unsigned int cpu = 0; cpu < CPU_SETSIZE; cpu++)
		if (CPU_ISSET(cpu, cpus) && !CPU_ISSET(cpu, &there))
			return log_error(EUSAGE, "option --%s: '%s': this host has no CPU %u for this process", option, text, cpu);
	return 0;
}

int cpu_list_parse(const char *option, const char *text, cpu_set_t *cpus)
{
	const char *at = text;

	CPU_ZERO(cpus);
	while (list_take(&at, cpus))
		if (!*at)
			return list_check(option, text, cpus);
	return log_error(EUSAGE, "option --%s: '%s' is no list of CPUs (say for example 0-3,8)", option, text);
}

/* ---- vCPUs ---- */

#define OPTION "vcpu-affinity"

static int affinity_set(struct kvm_cpu *cpu, const char *text, size_t length)
{
	_cleanup_free_ char *list = strndup(text, length);
	int result;

	/* "0;;2": the one in between runs anywhere */
	if (!length)
		return 0;
	cpu->affinity = malloc(sizeof(*cpu->affinity));
	if (!list || !cpu->affinity)
		return log_errno(ENOMEM, "option --" OPTION);
	result = cpu_list_parse(OPTION, list, cpu->affinity);
	if (result) {
		free(cpu->affinity);
		cpu->affinity = NULL;
	}
	return result;
}

/* One list each, or one for all; there are as many as there may be vCPUs. */
int cpu_affinity_init(struct kvm_cpu *cpu)
{
	const char *list = config_string(cpu->kvm->config, OPTION);
	bool one = list && !strchr(list, ';');

	if (!list || cpu->affinity)
		return 0;
	for (unsigned int i = 0; !one && i < cpu->index; i++)
		list += strcspn(list, ";") + 1;
	return affinity_set(cpu, list, strcspn(list, ";"));
}

static int affinity_count(const char *list, unsigned int cpus)
{
	unsigned int lists = 1;

	for (; *list; list++)
		lists += *list == ';';
	return lists == 1 || lists == cpus ? 0 :
	       log_error(EUSAGE, "option --" OPTION ": %s lists than the %u vCPUs (say one for all, or one each)",
			 lists < cpus ? "fewer" : "more", cpus);
}

static int affinity_init(struct kvm *kvm)
{
	const char *text = config_string(kvm->config, OPTION);
	int result;

	if (!text)
		return INIT_SKIP;
	result = affinity_count(text, kvm_cpus_possible(kvm));
	for (unsigned int i = 0; i < kvm->cpu_count && !result; i++)
		result = cpu_affinity_init(kvm->cpus[i]);
	return result;
}
dev_base_init(affinity_init);

static const struct option_def affinity_options[] = {
	{ .name = OPTION, .type = OPTION_STRING, .argument = "CPUS[;CPUS...]",
	  .help = "The host's CPUs for all vCPUs, as 0-3,8, or a list for each" },
};
RUN_OPTIONS(affinity_options_group, "Basic options", affinity_options);
