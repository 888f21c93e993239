/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The topology of vCPUs, as --cpus says it. Each architecture tells its guests in its own way: x86 by APIC ids and
 * CPUID, arm64 by the device tree's cpu-map. Main thread: --cpus changes as vCPUs come and go.
 */
#include "kvm/topology.h"

#include <stdio.h>
#include <string.h>

#include "kvm/log.h"

/* From the smallest to the largest. */
enum { THREADS, CORES, CLUSTERS, DIES, SOCKETS, LEVELS };

static const char *const level_names[LEVELS] = { "threads", "cores", "clusters", "dies", "sockets" };

static int number_parse(struct keyval *keyval, const char *key, uint64_t least, uint64_t most, uint64_t *number)
{
	const char *text = keyval_get(keyval, key);

	if (text && (parse_uint(text, number) || *number < least || *number > most))
		return log_error(EUSAGE, "option --cpus: %s=%s is no number from %llu to %llu", key, text, (unsigned long long)least,
				 (unsigned long long)most);
	return 0;
}

/* @cpus: those that begin, then those that there may be; @levels: 0 for what isn't said */
static int settings_parse(const char *settings, uint64_t *cpus, bool *may_change, uint64_t levels[LEVELS])
{
	struct keyval keyval;
	int result = keyval_parse(&keyval, "cpus", settings, false);

	if (result)
		return result;
	*may_change = keyval_get(&keyval, "max") != NULL;
	result = number_parse(&keyval, "max", *cpus, VCPUS_MAX, cpus);
	for (unsigned int i = 0; i < LEVELS && !result; i++)
		result = number_parse(&keyval, level_names[i], 1, *cpus, &levels[i]);
	if (!result && keyval_get(&keyval, "present") && !*may_change)
		result = log_error(EUSAGE, "option --cpus: present= says which of max= vCPUs there are: say that as well");
	if (!result)
		result = keyval_done(&keyval, "cpus", "max, sockets, dies, clusters, cores, threads");
	keyval_free(&keyval);
	return result;
}

/* Each level is at most the number of vCPUs, and so is each product that is gone on with. */
static int levels_complete(uint64_t cpus, uint64_t levels[LEVELS])
{
	unsigned int open = !levels[CORES] ? CORES : !levels[SOCKETS] ? SOCKETS : !levels[THREADS] ? THREADS : LEVELS;
	uint64_t product = 1;

	for (unsigned int i = 0; i < LEVELS && product <= cpus; i++)
		product *= i == open ? 1 : levels[i] ? levels[i] : 1;
	if (open < LEVELS && product <= cpus && cpus % product == 0) {
		levels[open] = cpus / product;
		product = cpus;
	}
	for (unsigned int i = 0; i < LEVELS; i++)
		levels[i] = levels[i] ? levels[i] : 1;
	return product == cpus ? 0 : -ERANGE;
}

int cpu_topology_parse(const struct config *config, struct cpu_topology *topology)
{
	uint64_t cpus = MAX(config_uint(config, "cpus"), 1ULL), levels[LEVELS] = { 0 };
	const char *settings = config_string(config, "cpus");
	bool may_change = false;
	int result = settings ? settings_parse(settings, &cpus, &may_change, levels) : 0;

	if (result)
		return result;
	if (levels_complete(cpus, levels))
		return log_error(EUSAGE, "option --cpus: %llu vCPUs aren't %s (sockets times dies, clusters, cores and threads)",
				 (unsigned long long)cpus, settings);
	*topology = (struct cpu_topology){
		.threads = (unsigned int)levels[THREADS], .cores = (unsigned int)levels[CORES],
		.clusters = (unsigned int)levels[CLUSTERS], .dies = (unsigned int)levels[DIES],
		.sockets = (unsigned int)levels[SOCKETS], .cpus = (unsigned int)cpus, .may_change = may_change,
	};
	return 0;
}

struct cpu_place cpu_topology_place(const struct cpu_topology *topology, unsigned int index)
{
	struct cpu_place place;

	place.thread = index % topology->threads;
	index /= topology->threads;
	place.core = index % topology->cores;
	index /= topology->cores;
	place.cluster = index % topology->clusters;
	index /= topology->clusters;
	place.die = index % topology->dies;
	place.socket = index / topology->dies;
	return place;
}

/* ---- which of them are there ---- */

/* The value of @key among --cpus' settings, cut out as it is; NULL: it isn't said, or no memory. */
static char *setting_of(const struct config *config, const char *key)
{
	const char *settings = config_string(config, "cpus");
	struct keyval keyval;
	const char *value;
	char *copy;

	if (!settings || keyval_parse(&keyval, "cpus", settings, false))
		return NULL;
	value = keyval_get(&keyval, key);
	copy = value ? strdup(value) : NULL;
	keyval_free(&keyval);
	return copy;
}

unsigned int cpus_possible(const struct config *config)
{
	_cleanup_free_ char *max = setting_of(config, "max");
	uint64_t cpus = MAX(config_uint(config, "cpus"), 1ULL), possible;

	return (unsigned int)(max && !parse_uint(max, &possible) && possible <= VCPUS_MAX ? MAX(possible, cpus) : cpus);
}

/* Of "N" or "N-M"; false: it is none, or holds one that was named before. */
static bool range_take(char *range, unsigned int possible, bool *present)
{
	char *dash = strchr(range, '-');
	uint64_t from, to;

	if (dash)
		*dash++ = '\0';
	if (parse_uint(range, &from) || parse_uint(dash ? dash : range, &to) || from > to || to >= possible)
		return false;
	for (; from <= to; from++) {
		if (present[from])
			return false;
		present[from] = true;
	}
	return true;
}

int cpus_present_parse(const struct config *config, unsigned int possible, bool *present)
{
	uint64_t cpus = MAX(config_uint(config, "cpus"), 1ULL), count = 0;
	_cleanup_free_ char *list = setting_of(config, "present");
	char *at = list;
	bool good = true;

	memset(present, 0, possible * sizeof(*present));
	for (uint64_t i = 0; !list && i < MIN(cpus, possible); i++)
		present[i] = true;
	while (at && good) {
		char *range = at;

		at = strchr(at, ':');
		if (at)
			*at++ = '\0';
		good = range_take(range, possible, present);
	}
	for (unsigned int i = 0; i < possible; i++)
		count += present[i];
	if (good && present[0] && count == cpus)
		return 0;
	return log_error(EUSAGE, "option --cpus: present= has to name vCPU 0 and %llu more, from 1 to %u (0-2:5)",
			 (unsigned long long)cpus - 1, possible - 1);
}

/* What --cpus says of @present and of all else. */
static void present_print(FILE *file, struct keyval *keyval, unsigned int possible, const bool *present)
{
	unsigned int count = 0, last;

	for (unsigned int i = 0; i < possible; i++)
		count += present[i];
	fprintf(file, "%u", count);
	for (size_t i = 0; i < keyval->count; i++)
		if (strcmp(keyval->pairs[i].key, "present") != 0)
			fprintf(file, ",%s=%s", keyval->pairs[i].key, keyval->pairs[i].value ? keyval->pairs[i].value : "");
	for (unsigned int i = 0; i < possible; i = last + 1) {
		for (last = i; last < possible && present[last] == present[i]; last++)
			;
		last--;
		if (present[i])
			fprintf(file, last > i ? "%s%u-%u" : "%s%u", i ? ":" : ",present=", i, last);
	}
}

int cpus_present_set(struct config *config, unsigned int possible, const bool *present)
{
	const char *settings = config_string(config, "cpus");
	_cleanup_free_ char *text = NULL;
	struct keyval keyval;
	size_t length;
	FILE *file;

	if (keyval_parse(&keyval, "cpus", settings ? settings : "", false))
		return -ENOMEM;
	file = open_memstream(&text, &length);
	if (file)
		present_print(file, &keyval, possible, present);
	keyval_free(&keyval);
	return file && !fclose(file) ? config_set(config, "cpus", text) : -ENOMEM;
}
