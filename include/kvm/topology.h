/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * How a guest's vCPUs make threads, cores, clusters, dies and sockets: --cpus N,sockets=,dies=,clusters=,cores=,threads=.
 *
 * vCPU n's threads come first: the next vCPU is the next thread of the same core, if that has one.
 */
#ifndef KVM_TOPOLOGY_H
#define KVM_TOPOLOGY_H

#include "kvm/option.h"

/** struct cpu_topology - how many there are of each in one of the next; each at least 1, their product all vCPUs */
struct cpu_topology {
	unsigned int threads, cores, clusters, dies, sockets;
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

/** cpu_topology_place() - of vCPU @index */
struct cpu_place cpu_topology_place(const struct cpu_topology *topology, unsigned int index);

#endif
