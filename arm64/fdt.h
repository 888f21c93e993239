/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device tree (Devicetree Specification 0.4) of an arm64 machine.
 *
 * What is to be described is collected into a struct fdt_machine first, and written from that alone, so that
 * tests can make any machine on any host.
 */
#ifndef ARM64_FDT_H
#define ARM64_FDT_H

#include "gic.h"
#include "kvm/arch.h"
#include "kvm/numa.h"
#include "kvm/topology.h"

#define FDT_SIZE_MAX		MIB(2)	/* booting.rst */

struct fdt_machine {
	/* memory and CPUs */
	const struct ram_range *ram;
	unsigned int ram_count;
	unsigned int cpu_count;
	uint64_t *mpidr;		/* @cpu_count of them */
	struct cpu_topology topology;
	const struct numa *numa;	/* or NULL */
	bool pmu;
	uint32_t timer_frequency;	/* 0: CNTFRQ_EL0 is right */
	/* interrupt controller */
	enum gic_kind gic;
	uint64_t gic_redist_base, gic_redist_size, gic_its_base;
	/* devices */
	bool pci;
	const struct platform_layout *layout;
	const struct platform_device *devices;
	/* software */
	const char *command_line;
	uint64_t initrd_start, initrd_size;	/* size 0: none */
	uint64_t kaslr_seed;			/* 0: none */
	uint8_t rng_seed[64];
};

/**
 * fdt_machine_fill() - what @kvm is, with fresh seeds; all but the software's fields
 * fdt_machine_free() frees what it made.
 */
int __must_check fdt_machine_fill(const struct kvm *kvm, struct fdt_machine *machine);
void fdt_machine_free(struct fdt_machine *machine);

/** fdt_build() - the tree as a blob, to be freed; 0 or negative errno (said) */
int __must_check fdt_build(const struct fdt_machine *machine, void **blob);
/** fdt_size() - the length of a blob in bytes */
size_t fdt_size(const void *blob);

/* ---- between fdt.c and fdt-devices.c ---- */

#define FDT_PHANDLE_GIC		1
#define FDT_PHANDLE_MSI		2
#define FDT_PHANDLE_CLOCK	3
#define FDT_PHANDLE_GPIO	4
#define FDT_PHANDLE_CPU		16	/* of vCPU 0; the others follow */

/* Cells of a GIC interrupt */
#define FDT_GIC_SPI		0
#define FDT_GIC_PPI		1
#define FDT_EDGE_RISING		1
#define FDT_LEVEL_HIGH		4

/** struct fdt_writer - a tree being written in order; libfdt's first error sticks, later calls do nothing */
struct fdt_writer {
	void *blob;
	int error;
};

void fdt_node_begin(struct fdt_writer *fdt, const char *name_format, ...) printf_like(2, 3);
void fdt_node_end(struct fdt_writer *fdt);
void fdt_put(struct fdt_writer *fdt, const char *name, const void *value, size_t length);
void fdt_put_flag(struct fdt_writer *fdt, const char *name);
void fdt_put_text(struct fdt_writer *fdt, const char *name, const char *text);
/** fdt_put_u64s() - cells in pairs: addresses and sizes */
void fdt_put_u64s(struct fdt_writer *fdt, const char *name, const uint64_t *values, size_t count);
void fdt_put_cells(struct fdt_writer *fdt, const char *name, const uint32_t *cells, size_t count);
/** FDT_CELLS(), FDT_U64S() - the same with the values as arguments */
#define FDT_CELLS(fdt, name, ...) \
	fdt_put_cells(fdt, name, (const uint32_t[]){ __VA_ARGS__ }, \
		      sizeof((const uint32_t[]){ __VA_ARGS__ }) / sizeof(uint32_t))
#define FDT_U64S(fdt, name, ...) \
	fdt_put_u64s(fdt, name, (const uint64_t[]){ __VA_ARGS__ }, \
		     sizeof((const uint64_t[]){ __VA_ARGS__ }) / sizeof(uint64_t))

void fdt_write_gic(struct fdt_writer *fdt, const struct fdt_machine *machine);
void fdt_write_pci(struct fdt_writer *fdt, const struct fdt_machine *machine);
void fdt_write_platform_devices(struct fdt_writer *fdt, const struct fdt_machine *machine);

#endif
