/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * --numa: which vCPUs and which RAM make a node of the guest's, how far they are from each other, and where on the host
 * its RAM comes from. Read once when the VM is made; constant from then on.
 */
#include "kvm/numa.h"

#include <linux/mempolicy.h>
#include <string.h>
#include <sys/syscall.h>

#include "kvm/log.h"
#include "kvm/ram-options.h"
#include "kvm/topology.h"

#define CPU_NOWHERE	0xff
#define MEM_ALIGN	MIB(2)
#define HOST_NODES	1024
_Static_assert(NUMA_NODES_MAX < CPU_NOWHERE, "a node's number fits where a vCPU's is kept");

/* ---- vCPUs ---- */

static bool take_number(const char **text, uint64_t *value)
{
	const char *at = *text;

	for (*value = 0; *at >= '0' && *at <= '9' && *value <= UINT32_MAX; at++)
		*value = *value * 10 + (uint64_t)(*at - '0');
	if (at == *text)
		return false;
	*text = at;
	return true;
}

static int cpus_put(struct numa *numa, uint64_t first, uint64_t last, const char *text)
{
	if (first > last || last >= numa->cpu_count)
		return log_error(EUSAGE, "option --numa: cpus=%s: the vCPUs are 0 to %u", text, numa->cpu_count - 1);
	for (; first <= last; first++) {
		if (numa->cpu_node[first] != CPU_NOWHERE)
			return log_error(EUSAGE, "option --numa: vCPU %llu is in two nodes", (unsigned long long)first);
		numa->cpu_node[first] = (uint8_t)numa->count;
	}
	return 0;
}

/* "0-3,8" */
static int cpus_parse(struct numa *numa, const char *text)
{
	const char *at = text;
	int result = 0;

	while (!result) {
		uint64_t first, last;

		if (!take_number(&at, &first))
			break;
		last = first;
		if (*at == '-') {
			at++;
			if (!take_number(&at, &last))
				break;
		}
		result = cpus_put(numa, first, last, text);
		if (result || !*at)
			return result;
		if (*at++ != ',')
			break;
	}
	return log_error(EUSAGE, "option --numa: cpus=%s is no list of vCPUs (say 0-3, or 0-1,,4 with its comma doubled)", text);
}

static int cpus_complete(struct numa *numa, bool named)
{
	for (unsigned int i = 0; i < numa->cpu_count; i++) {
		if (named && numa->cpu_node[i] == CPU_NOWHERE)
			return log_error(EUSAGE, "option --numa: vCPU %u is in no node (cpus= of all of them, or of none)", i);
		if (!named)
			numa->cpu_node[i] = (uint8_t)((uint64_t)i * numa->count / numa->cpu_count);
	}
	return 0;
}

/* ---- memory ---- */

static int mem_parse(struct numa_node *node, const char *text)
{
	if (parse_size(text, MIB(1), &node->size) || node->size % MEM_ALIGN)
		return log_error(EUSAGE, "option --numa: mem=%s is no multiple of 2M", text);
	return 0;
}

/* @open: nodes that don't say how much; they share what is left, and the last has what that leaves. */
static int mem_complete(struct numa *numa, uint64_t ram_size, uint64_t open)
{
	unsigned int sharing = (unsigned int)__builtin_popcountll(open);
	uint64_t left = ram_size, offset = 0, share;

	for (unsigned int i = 0; i < numa->count; i++) {
		uint64_t size = open >> i & 1 ? 0 : numa->nodes[i].size;

		if (size > left)
			return log_error(EUSAGE, "option --numa: the nodes have more than the %llu MiB of --mem",
					 (unsigned long long)(ram_size >> 20));
		left -= size;
	}
	if (left && !sharing)
		return log_error(EUSAGE, "option --numa: %llu MiB of --mem are no node's", (unsigned long long)(left >> 20));
	share = sharing ? ALIGN_DOWN(left / sharing, MEM_ALIGN) : 0;
	for (unsigned int i = 0; i < numa->count; i++) {
		struct numa_node *node = &numa->nodes[i];

		if (open >> i & 1) {
			node->size = --sharing ? share : left;
			left -= node->size;
		}
		node->offset = offset;
		offset += node->size;
	}
	return 0;
}

/* ---- the option ---- */

static int number(struct keyval *keyval, const char *key, uint64_t min, uint64_t max, uint64_t *value)
{
	const char *text = keyval_get(keyval, key);

	if (!text)
		return log_error(EUSAGE, "option --numa: dist needs src=, dst= and val=");
	if (parse_uint(text, value) || *value < min || *value > max)
		return log_error(EUSAGE, "option --numa: %s=%s is no number from %llu to %llu", key, text, (unsigned long long)min,
				 (unsigned long long)max);
	return 0;
}

/* Both ways, unless the other way is said itself (which may come later). */
static int dist_parse(struct numa *numa, struct keyval *keyval)
{
	uint64_t from, to, value;
	int result = number(keyval, "src", 0, numa->count - 1, &from);

	if (!result)
		result = number(keyval, "dst", 0, numa->count - 1, &to);
	if (!result)
		result = number(keyval, "val", NUMA_DISTANCE_LOCAL, 254, &value);
	if (!result)
		result = keyval_done(keyval, "numa", "src, dst, val");
	if (result)
		return result;
	if ((from == to) != (value == NUMA_DISTANCE_LOCAL))
		return log_error(EUSAGE, "option --numa: 10 is a node's distance to itself, and to no other");
	numa->distance[from][to] = (uint8_t)value;
	if (!numa->distance[to][from])
		numa->distance[to][from] = (uint8_t)value;
	return 0;
}

struct nodes_walk {
	bool cpus_named;
	uint64_t open;
};

static int node_parse(struct numa *numa, struct keyval *keyval, struct nodes_walk *walk)
{
	const char *cpus = keyval_get(keyval, "cpus"), *mem = keyval_get(keyval, "mem"), *host = keyval_get(keyval, "host");
	struct numa_node *node = &numa->nodes[numa->count];
	uint64_t host_node;
	int result = 0;

	if (numa->count == NUMA_NODES_MAX)
		return log_error(EUSAGE, "option --numa: more than %d nodes", NUMA_NODES_MAX);
	node->host = -1;
	if (cpus) {
		result = cpus_parse(numa, cpus);
		walk->cpus_named = true;
	}
	if (!result && mem)
		result = mem_parse(node, mem);
	if (!mem)
		walk->open |= BIT(numa->count);
	if (!result && host) {
		if (parse_uint(host, &host_node) || host_node >= HOST_NODES)
			return log_error(EUSAGE, "option --numa: host=%s is no node of the host's", host);
		node->host = (int)host_node;
	}
	if (!result)
		result = keyval_done(keyval, "numa", "cpus, mem, host");
	numa->count++;
	return result;
}

/* The nodes first, wherever they stand: distances are theirs. */
static int items_parse(const struct config *config, struct numa *numa, bool nodes, struct nodes_walk *walk)
{
	int result = 0;

	for (size_t i = 0; i < config_count(config, "numa") && !result; i++) {
		const char *text = config_item(config, "numa", i);
		struct keyval keyval;

		result = keyval_parse(&keyval, "numa", text, true);
		if (result)
			return result;
		if (strcmp(keyval.first, "node") == 0)
			result = nodes ? node_parse(numa, &keyval, walk) : 0;
		else if (strcmp(keyval.first, "dist") != 0)
			result = log_error(EUSAGE, "option --numa: '%s' begins with neither node nor dist", text);
		else if (!nodes)
			result = dist_parse(numa, &keyval);
		keyval_free(&keyval);
		if (!result && nodes && i + 1 == config_count(config, "numa") && !numa->count)
			result = log_error(EUSAGE, "option --numa: there is no node");
	}
	return result;
}

static int numa_complete(struct numa *numa, uint64_t ram_size, const struct nodes_walk *walk)
{
	int result = cpus_complete(numa, walk->cpus_named);

	if (!result)
		result = mem_complete(numa, ram_size, walk->open);
	for (unsigned int i = 0; i < numa->count && !result; i++) {
		bool used = numa->nodes[i].size || memchr(numa->cpu_node, (int)i, numa->cpu_count);

		if (!used)
			result = log_error(EUSAGE, "option --numa: node %u has neither vCPUs nor memory", i);
		for (unsigned int n = 0; n < numa->count; n++)
			if (!numa->distance[i][n])
				numa->distance[i][n] = i == n ? NUMA_DISTANCE_LOCAL : NUMA_DISTANCE_REMOTE;
	}
	return result;
}

/* RAM that may come is told by what tells nodes. */
static bool grows(const struct config *config)
{
	struct ram_options options;

	/* nonsense was refused when RAM was made */
	return !ram_options_parse(config, &options) && options.max;
}

static void only_node(struct numa *numa, struct nodes_walk *walk)
{
	numa->count = 1;
	numa->nodes[0].host = -1;
	walk->open = 1;
}

int numa_parse(const struct config *config, uint64_t ram_size, struct numa **numa)
{
	unsigned int cpus = cpus_possible(config);
	struct nodes_walk walk = { .open = 0 };
	struct numa *made;
	int result;

	*numa = NULL;
	if (!config_count(config, "numa") && !grows(config))
		return 0;
	made = calloc(1, sizeof(*made) + cpus);
	if (!made)
		return log_errno(ENOMEM, "option --numa");
	made->cpu_count = cpus;
	memset(made->cpu_node, CPU_NOWHERE, cpus);
	result = items_parse(config, made, true, &walk);
	if (!result)
		result = items_parse(config, made, false, &walk);
	if (!result && !made->count)
		only_node(made, &walk);
	if (!result)
		result = numa_complete(made, ram_size, &walk);
	if (result)
		free(made);
	else
		*numa = made;
	return result;
}

/* ---- RAM ---- */

bool numa_part(const struct numa_node *node, const struct ram_range *range, uint64_t *base, uint64_t *size)
{
	uint64_t begin = MAX(node->offset, range->offset), end = MIN(node->offset + node->size, range->offset + range->size);

	if (begin >= end)
		return false;
	*base = range->base + (begin - range->offset);
	*size = end - begin;
	return true;
}

/* By its number: libnuma would be one more library for this call. */
int numa_bind(const struct numa *numa, void *host)
{
	for (unsigned int i = 0; i < numa->count; i++) {
		const struct numa_node *node = &numa->nodes[i];
		unsigned long mask[HOST_NODES / (8 * sizeof(unsigned long))] = { 0 };
		const unsigned int bits = 8 * sizeof(mask[0]);

		if (node->host < 0 || !node->size)
			continue;
		mask[(unsigned int)node->host / bits] = 1UL << ((unsigned int)node->host % bits);
		/* the kernel takes one bit less than it is told */
		if (syscall(SYS_mbind, (char *)host + node->offset, node->size, MPOL_BIND, mask, HOST_NODES + 1UL, MPOL_MF_STRICT) < 0)
			return log_errno(errno, "option --numa: node %u can't have its memory from the host's node %d (see "
					 "/sys/devices/system/node/has_memory)", i, node->host);
	}
	return 0;
}

static const struct option_def numa_options[] = {
	{ .name = "numa", .type = OPTION_LIST, .argument = "node[,cpus=LIST][,mem=SIZE][,host=NODE]|dist,src=N,dst=N,val=N",
	  .help = "A NUMA node of the guest's, and from which of the host's its memory comes; or how far two are from each other" },
};
RUN_OPTIONS(numa_options_group, "Basic options", numa_options);
