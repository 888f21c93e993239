/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device tree: memory, CPUs, PSCI, timers and what software is told in /chosen; devices are in
 * fdt-devices.c. Written from a struct fdt_machine alone. Called by boot.c on the main thread.
 */
#include "fdt.h"

#include <libfdt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kvm/log.h"
#include "map.h"

/* ---- the writer ---- */

void fdt_node_begin(struct fdt_writer *fdt, const char *name_format, ...)
{
	char name[64];
	va_list arguments;

	va_start(arguments, name_format);
	vsnprintf(name, sizeof(name), name_format, arguments);
	va_end(arguments);
	if (!fdt->error)
		fdt->error = fdt_begin_node(fdt->blob, name);
}

void fdt_node_end(struct fdt_writer *fdt)
{
	if (!fdt->error)
		fdt->error = fdt_end_node(fdt->blob);
}

void fdt_put(struct fdt_writer *fdt, const char *name, const void *value, size_t length)
{
	if (!fdt->error)
		fdt->error = fdt_property(fdt->blob, name, value, (int)length);
}

void fdt_put_flag(struct fdt_writer *fdt, const char *name)
{
	fdt_put(fdt, name, NULL, 0);
}

void fdt_put_text(struct fdt_writer *fdt, const char *name, const char *text)
{
	fdt_put(fdt, name, text, strlen(text) + 1);
}

void fdt_put_cells(struct fdt_writer *fdt, const char *name, const uint32_t *cells, size_t count)
{
	void *to;

	if (fdt->error)
		return;
	fdt->error = fdt_property_placeholder(fdt->blob, name, (int)(count * sizeof(*cells)), &to);
	for (size_t i = 0; i < count && !fdt->error; i++) {
		uint32_t big = htobe32(cells[i]);

		memcpy((char *)to + i * sizeof(big), &big, sizeof(big));
	}
}

void fdt_put_u64s(struct fdt_writer *fdt, const char *name, const uint64_t *values, size_t count)
{
	void *to;

	if (fdt->error)
		return;
	fdt->error = fdt_property_placeholder(fdt->blob, name, (int)(count * sizeof(*values)), &to);
	for (size_t i = 0; i < count && !fdt->error; i++) {
		uint64_t big = htobe64(values[i]);

		memcpy((char *)to + i * sizeof(big), &big, sizeof(big));
	}
}

/* ---- the machine ---- */

static void write_memory_range(struct fdt_writer *fdt, uint64_t base, uint64_t size)
{
	fdt_node_begin(fdt, "memory@%llx", (unsigned long long)base);
	fdt_put_text(fdt, "device_type", "memory");
	FDT_U64S(fdt, "reg", base, size);
}

static void write_memory(struct fdt_writer *fdt, const struct fdt_machine *machine)
{
	for (unsigned int i = 0; i < machine->ram_count; i++) {
		uint64_t base, size;

		if (!machine->numa) {
			write_memory_range(fdt, machine->ram[i].base, machine->ram[i].size);
			fdt_node_end(fdt);
			continue;
		}
		for (unsigned int node = 0; node < machine->numa->count; node++) {
			if (!numa_part(&machine->numa->nodes[node], &machine->ram[i], &base, &size))
				continue;
			write_memory_range(fdt, base, size);
			FDT_CELLS(fdt, "numa-node-id", node);
			fdt_node_end(fdt);
		}
	}
}

/* Documentation/devicetree/bindings/numa.txt: from, to, distance */
static void write_distances(struct fdt_writer *fdt, const struct numa *numa)
{
	uint32_t matrix[NUMA_NODES_MAX * NUMA_NODES_MAX * 3];
	size_t used = 0;

	if (!numa)
		return;
	for (unsigned int from = 0; from < numa->count; from++) {
		for (unsigned int to = 0; to < numa->count; to++) {
			matrix[used++] = from;
			matrix[used++] = to;
			matrix[used++] = numa->distance[from][to];
		}
	}
	fdt_node_begin(fdt, "distance-map");
	fdt_put_text(fdt, "compatible", "numa-distance-map-v1");
	fdt_put_cells(fdt, "distance-matrix", matrix, used);
	fdt_node_end(fdt);
}

/* Begins @level's node @number if this is where it begins. */
static void map_begin(struct fdt_writer *fdt, bool first, const char *level, unsigned int number)
{
	if (first)
		fdt_node_begin(fdt, "%s%u", level, number);
}

static void map_end(struct fdt_writer *fdt, bool last)
{
	if (last)
		fdt_node_end(fdt);
}

/*
 * Without a cpu-map Linux guesses the topology from MPIDR_EL1, where KVM numbers vCPUs by sixteens. A core of one thread
 * has no node below it (Documentation/devicetree/bindings/cpu/cpu-topology.txt).
 */
static void write_cpu_map(struct fdt_writer *fdt, const struct fdt_machine *machine)
{
	const struct cpu_topology *of = &machine->topology;
	bool threads = of->threads > 1;

	fdt_node_begin(fdt, "cpu-map");
	for (unsigned int i = 0; i < machine->cpu_count; i++) {
		struct cpu_place at = cpu_topology_place(of, i);
		bool core = !at.thread, cluster = core && !at.core, socket = cluster && !at.cluster;
		bool core_ends = at.thread + 1 == of->threads, cluster_ends = core_ends && at.core + 1 == of->cores;
		bool socket_ends = cluster_ends && at.cluster + 1 == of->clusters;

		map_begin(fdt, socket, "socket", at.socket);
		map_begin(fdt, cluster, "cluster", at.cluster);
		map_begin(fdt, core, "core", at.core);
		map_begin(fdt, threads, "thread", at.thread);
		FDT_CELLS(fdt, "cpu", FDT_PHANDLE_CPU + i);
		map_end(fdt, threads);
		map_end(fdt, core_ends);
		map_end(fdt, cluster_ends);
		map_end(fdt, socket_ends);
	}
	fdt_node_end(fdt);
}

static void write_cpus(struct fdt_writer *fdt, const struct fdt_machine *machine)
{
	fdt_node_begin(fdt, "cpus");
	FDT_CELLS(fdt, "#address-cells", 2);
	FDT_CELLS(fdt, "#size-cells", 0);
	for (unsigned int i = 0; i < machine->cpu_count; i++) {
		fdt_node_begin(fdt, "cpu@%llx", (unsigned long long)machine->mpidr[i]);
		fdt_put_text(fdt, "device_type", "cpu");
		fdt_put_text(fdt, "compatible", "arm,arm-v8");
		fdt_put_text(fdt, "enable-method", "psci");
		FDT_U64S(fdt, "reg", machine->mpidr[i]);
		FDT_CELLS(fdt, "phandle", FDT_PHANDLE_CPU + i);
		if (machine->numa)
			FDT_CELLS(fdt, "numa-node-id", machine->numa->cpu_node[i]);
		fdt_node_end(fdt);
	}
	write_cpu_map(fdt, machine);
	fdt_node_end(fdt);
}

static void write_psci(struct fdt_writer *fdt)
{
	static const char compatible[] = "arm,psci-1.0\0arm,psci-0.2\0arm,psci";

	fdt_node_begin(fdt, "psci");
	fdt_put(fdt, "compatible", compatible, sizeof(compatible));
	fdt_put_text(fdt, "method", "hvc");
	/* For drivers that know PSCI 0.1 only, the identifiers that 0.2 fixed */
	FDT_CELLS(fdt, "cpu_suspend", 0xc4000001);
	FDT_CELLS(fdt, "cpu_off", 0x84000002);
	FDT_CELLS(fdt, "cpu_on", 0xc4000003);
	FDT_CELLS(fdt, "migrate", 0xc4000005);
	fdt_node_end(fdt);
}

/* ppi_flags() - a GICv2's PPIs say which CPUs have them, in a byte */
static uint32_t ppi_flags(const struct fdt_machine *machine)
{
	uint32_t cpus =
		machine->gic <= GIC_V2M ? (uint32_t)BIT(MIN(machine->cpu_count, 8U)) - 1 : 0;

	return cpus << 8 | FDT_LEVEL_HIGH;
}

static void write_timer(struct fdt_writer *fdt, const struct fdt_machine *machine)
{
	static const char compatible[] = "arm,armv8-timer\0arm,armv7-timer";
	uint32_t flags = ppi_flags(machine);

	fdt_node_begin(fdt, "timer");
	fdt_put(fdt, "compatible", compatible, sizeof(compatible));
	FDT_CELLS(fdt, "interrupts",
		  FDT_GIC_PPI, ARM64_PPI_TIMER_SECURE, flags,
		  FDT_GIC_PPI, ARM64_PPI_TIMER_PHYS, flags,
		  FDT_GIC_PPI, ARM64_PPI_TIMER_VIRT, flags,
		  FDT_GIC_PPI, ARM64_PPI_TIMER_HYP, flags);
	fdt_put_flag(fdt, "always-on");
	if (machine->timer_frequency)
		FDT_CELLS(fdt, "clock-frequency", machine->timer_frequency);
	fdt_node_end(fdt);
}

static void write_pmu(struct fdt_writer *fdt, const struct fdt_machine *machine)
{
	if (!machine->pmu)
		return;
	fdt_node_begin(fdt, "pmu");
	fdt_put_text(fdt, "compatible", "arm,armv8-pmuv3");
	FDT_CELLS(fdt, "interrupts", FDT_GIC_PPI, ARM64_PPI_PMU, ppi_flags(machine));
	fdt_node_end(fdt);
}

static const struct platform_device *first_serial(const struct fdt_machine *machine)
{
	const struct platform_device *device = machine->devices;

	while (device && strcmp(device->compatible, "ns16550a") != 0)
		device = device->next;
	return device;
}

static void write_chosen(struct fdt_writer *fdt, const struct fdt_machine *machine)
{
	const struct platform_device *serial = first_serial(machine);
	char path[64];

	fdt_node_begin(fdt, "chosen");
	fdt_put_text(fdt, "bootargs", machine->command_line ? machine->command_line : "");
	if (serial) {
		snprintf(path, sizeof(path), "/serial@%llx", (unsigned long long)serial->base);
		fdt_put_text(fdt, "stdout-path", path);
	}
	if (machine->initrd_size) {
		FDT_U64S(fdt, "linux,initrd-start", machine->initrd_start);
		FDT_U64S(fdt, "linux,initrd-end", machine->initrd_start + machine->initrd_size);
	}
	if (machine->kaslr_seed)
		FDT_U64S(fdt, "kaslr-seed", machine->kaslr_seed);
	fdt_put(fdt, "rng-seed", machine->rng_seed, sizeof(machine->rng_seed));
	fdt_node_end(fdt);
}

/* Names the serial ports, so that ttyS0 is the first, whatever order drivers find them in. */
static void write_aliases(struct fdt_writer *fdt, const struct fdt_machine *machine)
{
	unsigned int index = 0;

	fdt_node_begin(fdt, "aliases");
	for (const struct platform_device *device = first_serial(machine); device;
	     device = device->next) {
		char alias[16], path[64];

		if (strcmp(device->compatible, "ns16550a") != 0)
			continue;
		snprintf(alias, sizeof(alias), "serial%u", index++);
		snprintf(path, sizeof(path), "/serial@%llx", (unsigned long long)device->base);
		fdt_put_text(fdt, alias, path);
	}
	fdt_node_end(fdt);
}

static void write_tree(struct fdt_writer *fdt, const struct fdt_machine *machine)
{
	fdt_node_begin(fdt, "%s", "");
	fdt_put_text(fdt, "compatible", "linux,dummy-virt");
	fdt_put_text(fdt, "model", "lkvm");
	FDT_CELLS(fdt, "#address-cells", 2);
	FDT_CELLS(fdt, "#size-cells", 2);
	FDT_CELLS(fdt, "interrupt-parent", FDT_PHANDLE_GIC);
	write_chosen(fdt, machine);
	write_aliases(fdt, machine);
	write_memory(fdt, machine);
	write_distances(fdt, machine->numa);
	write_cpus(fdt, machine);
	write_psci(fdt);
	write_timer(fdt, machine);
	write_pmu(fdt, machine);
	fdt_write_gic(fdt, machine);
	fdt_write_pci(fdt, machine);
	fdt_write_platform_devices(fdt, machine);
	fdt_node_end(fdt);
}

int fdt_build(const struct fdt_machine *machine, void **blob)
{
	struct fdt_writer fdt = { .blob = malloc(FDT_SIZE_MAX) };

	if (!fdt.blob)
		return log_errno(ENOMEM, "device tree");
	fdt.error = fdt_create(fdt.blob, FDT_SIZE_MAX);
	if (!fdt.error)
		fdt.error = fdt_finish_reservemap(fdt.blob);
	write_tree(&fdt, machine);
	if (!fdt.error)
		fdt.error = fdt_finish(fdt.blob);
	if (fdt.error) {
		free(fdt.blob);
		return log_error(fdt.error == -FDT_ERR_NOSPACE ? E2BIG : EINVAL, "device tree: %s",
				 fdt.error == -FDT_ERR_NOSPACE ? "more than its 2 MiB (a shorter "
								 "command line may help)"
							       : fdt_strerror(fdt.error));
	}
	*blob = fdt.blob;
	return 0;
}

size_t fdt_size(const void *blob)
{
	return fdt_totalsize(blob);
}
