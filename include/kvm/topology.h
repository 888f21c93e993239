/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a guest's vCPUs make threads, cores, clusters, dies and sockets: --cpus N,sockets=,dies=,clusters=,cores=,threads=,
 * and how many there may be (max=), of which N are there (present=: which).
 *
 * vCPU n's threads come first: the next vCPU is the next thread of the same core, if that has one.
 */
#ifndef KVM_TOPOLOGY_H
#define KVM_TOPOLOGY_H

#include "kvm/option.h"

/** what --cpus and its max= may say at most; KVM allows fewer */
#define VCPUS_MAX	4096

/** struct cpu_topology - how many there are of each in one of the next; each at least 1, their product all vCPUs that there may be */
struct cpu_topology {
	unsigned int threads, cores, clusters, dies, sockets;
	unsigned int cpus;	/* that product */
	bool may_change;	/* max= was said: vCPUs come and go while the VM runs */
};

/** struct cpu_place - where a vCPU is: which thread of its core, which core of its cluster, ... */
struct cpu_place {
	unsigned int thread, core, cluster, die, socket;
};

/**
 * cpu_topology_parse() - what @config says, for every vCPU there is
 * What isn't said is 1, but for the first of cores, sockets and threads that isn't: as many as it takes. Without a word
 * all vCPUs are cores of one socket. Returns 0 or -EUSAGE (said).
 */
int __must_check cpu_topology_parse(const struct config *config, struct cpu_topology *topology);

/** cpus_possible() - as topology.cpus, of a @config that is known to be right; else how many vCPUs begin */
unsigned int cpus_possible(const struct config *config);

/**
 * cpus_present_parse() - sets @present[i] to whether vCPU i of @possible is there
 * As many as --cpus says: the first, or those of present= ("0-2:5"). 0 is always. 0 or -EUSAGE (said).
 */
int __must_check cpus_present_parse(const struct config *config, unsigned int possible, bool *present);
/** cpus_present_set() - makes @config say that; 0 or -ENOMEM */
int __must_check cpus_present_set(struct config *config, unsigned int possible, const bool *present);

/** cpu_topology_place() - of vCPU @index */
struct cpu_place cpu_topology_place(const struct cpu_topology *topology, unsigned int index);

#endif
