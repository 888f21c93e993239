/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The guest's NUMA nodes: --numa node,cpus=LIST,mem=SIZE,host=N and --numa dist,src=N,dst=N,val=N.
 *
 * Nodes have RAM in order, from the beginning of it on; x86 tells them by SRAT and SLIT, arm64 in the device tree.
 */
#ifndef KVM_NUMA_H
#define KVM_NUMA_H

#include "kvm/kvm.h"

#define NUMA_NODES_MAX		64
#define NUMA_DISTANCE_LOCAL	10
#define NUMA_DISTANCE_REMOTE	20

/** struct numa_node - RAM from @offset on, of @size bytes (0: none) */
struct numa_node {
	uint64_t offset, size;
	int host;		/* the host's node that it comes from, or -1 */
};

struct numa {
	unsigned int count;
	struct numa_node nodes[NUMA_NODES_MAX];
	uint8_t distance[NUMA_NODES_MAX][NUMA_NODES_MAX];	/* [from][to] */
	unsigned int cpu_count;
	uint8_t cpu_node[];	/* of each vCPU */
};

/**
 * numa_parse() - what @config says, for @ram_size bytes and all vCPUs; *@numa is to be freed, NULL if nothing is said, and
 * RAM doesn't grow: else that is one node
 * vCPUs that no node names are an error, unless none does: then they are spread, as is memory that isn't said.
 * Returns 0, -EUSAGE (said) or -ENOMEM.
 */
int __must_check numa_parse(const struct config *config, uint64_t ram_size, struct numa **numa);

/** numa_part() - what of @range's RAM is @node's, as guest addresses; false: nothing */
bool numa_part(const struct numa_node *node, const struct ram_range *range, uint64_t *base, uint64_t *size);

/** numa_bind() - lets the nodes' RAM, mapped at @host, come from the host's nodes; before it is touched. 0 or negative errno (said) */
int __must_check numa_bind(const struct numa *numa, void *host);

#endif
