/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The topology of vCPUs, as --cpus says it. Each architecture tells its guests in its own way: x86 by APIC ids and
 * CPUID, arm64 by the device tree's cpu-map. Any thread: it depends on constant options alone.
 */
#include "kvm/topology.h"

#include "kvm/log.h"

/* From the smallest to the largest. */
enum { THREADS, CORES, CLUSTERS, DIES, SOCKETS, LEVELS };

static const char *const level_names[LEVELS] = { "threads", "cores", "clusters", "dies", "sockets" };

/* @levels: 0 for what isn't said */
static int levels_parse(const char *settings, uint64_t cpus, uint64_t levels[LEVELS])
{
	struct keyval keyval;
	int result = keyval_parse(&keyval, "cpus", settings, false);

	if (result)
		return result;
	for (unsigned int i = 0; i < LEVELS && !result; i++) {
		const char *text = keyval_get(&keyval, level_names[i]);

		if (text && (parse_uint(text, &levels[i]) || !levels[i] || levels[i] > cpus))
			result = log_error(EUSAGE, "option --cpus: %s=%s is no number from 1 to %llu", level_names[i], text,
					   (unsigned long long)cpus);
	}
	if (!result)
		result = keyval_done(&keyval, "cpus", "sockets, dies, clusters, cores, threads");
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
	int result = settings ? levels_parse(settings, cpus, levels) : 0;

	if (result)
		return result;
	if (levels_complete(cpus, levels))
		return log_error(EUSAGE, "option --cpus: %llu vCPUs aren't %s (sockets times dies, clusters, cores and threads)",
				 (unsigned long long)cpus, settings);
	*topology = (struct cpu_topology){
		.threads = (unsigned int)levels[THREADS], .cores = (unsigned int)levels[CORES],
		.clusters = (unsigned int)levels[CLUSTERS], .dies = (unsigned int)levels[DIES],
		.sockets = (unsigned int)levels[SOCKETS],
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
