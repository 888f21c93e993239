/* SPDX-License-Identifier: BSD-2-Clause */
/* What the two halves of the round-trip payload share: see trips.c. */
#ifndef TESTS_BENCH_TRIPS_H
#define TESTS_BENCH_TRIPS_H

#define CPUS_MAX	16
#define STACK_SIZE	4096
#define TRAMPOLINE	0x8000	/* in the first MiB, below where any PVH loader puts its tables */

#endif
