/* SPDX-License-Identifier: BSD-2-Clause */
/* Tests arm64/fdt.c and fdt-devices.c: trees of several machines, read back by libfdt. */
#include "tests/unit/suite.h"

#include <libfdt.h>
#include <stdio.h>
#include <string.h>

#include "../../../arm64/fdt.h"
#include "../../../arm64/map.h"
#include "kvm/log.h"

#define CPUS_MAX	512

static uint64_t mpidr[CPUS_MAX];
static const struct ram_range ram = { .base = ARM64_RAM_BASE, .size = MIB(512) };
static struct platform_layout layout = {
	.pci_ecam_base = ARM64_PCI_ECAM_BASE, .pci_ecam_size = ARM64_PCI_ECAM_SIZE,
	.pci_mmio32_base = ARM64_PCI_MMIO_BASE, .pci_mmio32_size = ARM64_PCI_MMIO_SIZE,
	.pci_mmio64_base = 0x1100000000, .pci_mmio64_size = GIB(64),
	.pci_io_base = 0x1000, .pci_io_size = 0xf000, .pci_io_window = ARM64_PCI_IO_WINDOW,
	.pci_intx_gsi = { 0, 1, 2, 3 },
};
static struct platform_device virtio = {
	.compatible = "virtio,mmio",
	.base = 0x3000000,
	.size = 0x200,
	.gsi = 9,
	.trigger = IRQ_LEVEL,
};
static struct platform_device gpio = {
	.compatible = "arm,pl061",
	.base = ARM64_GPIO_BASE,
	.size = 0x1000,
	.gsi = 8,
	.trigger = IRQ_LEVEL,
	.next = &virtio,
};
static struct platform_device serial = {
	.compatible = "ns16550a",
	.base = 0x1000000,
	.size = 8,
	.gsi = 7,
	.trigger = IRQ_EDGE,
	.next = &gpio,
};
static struct fdt_machine machine;
static void *blob;

static void setup(void)
{
	/* As KVM numbers them: sixteen to an Aff0 */
	for (uint64_t i = 0; i < CPUS_MAX; i++)
		mpidr[i] = (i & 15) | (i >> 4 & 0xff) << 8;
	machine = (struct fdt_machine){
		.ram = &ram,
		.ram_count = 1,
		.cpu_count = 2,
		.topology = { 1, 2, 1, 1, 1 },
		.mpidr = mpidr,
		.gic = GIC_V3_ITS,
		.gic_redist_base = 0x3ffb0000,
		.gic_redist_size = 0x40000,
		.gic_its_base = 0x3ff90000,
		.pci = true,
		.layout = &layout,
		.devices = &serial,
		.command_line = "console=ttyS0",
		.initrd_start = 0x90000000,
		.initrd_size = 1234,
		.kaslr_seed = 42,
	};
	blob = NULL;
}

static void teardown(void)
{
	free(blob);
}

static void build(void)
{
	ck_assert_int_eq(fdt_build(&machine, &blob), 0);
	ck_assert_int_eq(fdt_check_full(blob, fdt_size(blob)), 0);
}

static int node(const char *path)
{
	int offset = fdt_path_offset(blob, path);

	ck_assert_msg(offset >= 0, "no node %s: %s", path, fdt_strerror(offset));
	return offset;
}

static const char *text(const char *path, const char *name)
{
	const char *value = fdt_getprop(blob, node(path), name, NULL);

	ck_assert_msg(value != NULL, "%s has no %s", path, name);
	return value;
}

static uint32_t cell(const char *path, const char *name, unsigned int index)
{
	int length;
	const fdt32_t *cells = fdt_getprop(blob, node(path), name, &length);

	ck_assert_msg(cells && (size_t)length >= 4 * (index + 1), "%s: %s has no cell %u", path,
		      name, index);
	return fdt32_to_cpu(cells[index]);
}

static uint64_t pair(const char *path, const char *name, unsigned int index)
{
	return (uint64_t)cell(path, name, 2 * index) << 32 | cell(path, name, 2 * index + 1);
}

static int length_of(const char *path, const char *name)
{
	int length;

	return fdt_getprop(blob, node(path), name, &length) ? length : -1;
}

START_TEST(chosen_tells_what_software_needs)
{
	build();

	ck_assert_str_eq(text("/chosen", "bootargs"), "console=ttyS0");
	ck_assert_str_eq(text("/chosen", "stdout-path"), "/serial@1000000");
	ck_assert_uint_eq(pair("/chosen", "linux,initrd-start", 0), 0x90000000);
	ck_assert_uint_eq(pair("/chosen", "linux,initrd-end", 0), 0x90000000 + 1234);
	ck_assert_uint_eq(pair("/chosen", "kaslr-seed", 0), 42);
	ck_assert_int_eq(length_of("/chosen", "rng-seed"), 64);
	ck_assert_str_eq(text("/aliases", "serial0"), "/serial@1000000");
}
END_TEST

START_TEST(without_initrd_and_seed_there_is_no_word_of_them)
{
	machine.initrd_size = 0;
	machine.kaslr_seed = 0;

	build();

	ck_assert_int_eq(length_of("/chosen", "linux,initrd-start"), -1);
	ck_assert_int_eq(length_of("/chosen", "kaslr-seed"), -1);
}
END_TEST

START_TEST(each_vcpu_has_a_node_named_by_its_affinity)
{
	char path[64];

	machine.cpu_count = machine.topology.cores = 20;
	build();

	for (unsigned int i = 0; i < 20; i++) {
		snprintf(path, sizeof(path), "/cpus/cpu@%x", (unsigned int)mpidr[i]);
		ck_assert_uint_eq(pair(path, "reg", 0), mpidr[i]);
		ck_assert_str_eq(text(path, "enable-method"), "psci");
		snprintf(path, sizeof(path), "/cpus/cpu-map/socket0/cluster0/core%u", i);
		ck_assert_uint_eq(cell(path, "cpu", 0), FDT_PHANDLE_CPU + i);
	}
}
END_TEST

START_TEST(the_map_has_sockets_clusters_cores_and_threads)
{
	char path[96];

	machine.topology = (struct cpu_topology){ .threads = 2, .cores = 3, .clusters = 2, .dies = 1, .sockets = 2 };
	machine.cpu_count = 24;
	build();

	for (unsigned int i = 0; i < 24; i++) {
		snprintf(path, sizeof(path), "/cpus/cpu-map/socket%u/cluster%u/core%u/thread%u", i / 12, i / 6 % 2, i / 2 % 3,
			 i % 2);
		ck_assert_uint_eq(cell(path, "cpu", 0), FDT_PHANDLE_CPU + i);
	}
	ck_assert_int_eq(fdt_path_offset(blob, "/cpus/cpu-map/socket2"), -FDT_ERR_NOTFOUND);
	ck_assert_int_eq(length_of("/cpus/cpu-map/socket0/cluster0/core0", "cpu"), -1);
}
END_TEST

START_TEST(the_map_has_no_level_of_one_thread)
{
	machine.topology = (struct cpu_topology){ .threads = 1, .cores = 2, .clusters = 2, .dies = 1, .sockets = 2 };
	machine.cpu_count = 8;
	build();

	ck_assert_uint_eq(cell("/cpus/cpu-map/socket0/cluster1/core0", "cpu", 0), FDT_PHANDLE_CPU + 2);
	ck_assert_uint_eq(cell("/cpus/cpu-map/socket1/cluster1/core1", "cpu", 0), FDT_PHANDLE_CPU + 7);
}
END_TEST

START_TEST(tree_of_512_vcpus_fits)
{
	machine.cpu_count = machine.topology.cores = CPUS_MAX;
	build();

	ck_assert_uint_lt(fdt_size(blob), FDT_SIZE_MAX);
}
END_TEST

START_TEST(memory_is_where_ram_is)
{
	build();

	ck_assert_uint_eq(pair("/memory@80000000", "reg", 0), ARM64_RAM_BASE);
	ck_assert_uint_eq(pair("/memory@80000000", "reg", 1), MIB(512));
}
END_TEST

START_TEST(numa_nodes_have_their_memory_and_cpus)
{
	struct numa *numa = calloc(1, sizeof(*numa) + 2);

	numa->count = 2;
	numa->cpu_count = 2;
	numa->nodes[0].size = MIB(384);
	numa->nodes[1].offset = MIB(384);
	numa->nodes[1].size = MIB(128);
	numa->cpu_node[1] = 1;
	numa->distance[0][0] = numa->distance[1][1] = 10;
	numa->distance[0][1] = numa->distance[1][0] = 15;
	machine.numa = numa;
	build();

	ck_assert_uint_eq(pair("/memory@80000000", "reg", 1), MIB(384));
	ck_assert_uint_eq(cell("/memory@80000000", "numa-node-id", 0), 0);
	ck_assert_uint_eq(pair("/memory@98000000", "reg", 1), MIB(128));
	ck_assert_uint_eq(cell("/memory@98000000", "numa-node-id", 0), 1);
	ck_assert_uint_eq(cell("/cpus/cpu@0", "numa-node-id", 0), 0);
	ck_assert_uint_eq(cell("/cpus/cpu@1", "numa-node-id", 0), 1);
	ck_assert_int_eq(length_of("/distance-map", "distance-matrix"), 4 * 3 * 4);
	ck_assert_uint_eq(cell("/distance-map", "distance-matrix", 4), 1);
	ck_assert_uint_eq(cell("/distance-map", "distance-matrix", 5), 15);
	free(blob);

	machine.numa = NULL;
	build();
	ck_assert_int_eq(length_of("/cpus/cpu@0", "numa-node-id"), -1);
	ck_assert_int_eq(length_of("/memory@80000000", "numa-node-id"), -1);
	free(numa);
}
END_TEST

START_TEST(gicv3_with_its_maps_messages_to_it)
{
	build();

	ck_assert_str_eq(text("/interrupt-controller@3fff0000", "compatible"), "arm,gic-v3");
	ck_assert_uint_eq(pair("/interrupt-controller@3fff0000", "reg", 2), 0x3ffb0000);
	ck_assert_uint_eq(pair("/interrupt-controller@3fff0000/its@3ff90000", "reg", 0),
			  0x3ff90000);
	ck_assert_uint_eq(cell("/pcie@40000000", "msi-map", 1),
			  cell("/interrupt-controller@3fff0000/its@3ff90000", "phandle", 0));
}
END_TEST

START_TEST(gicv2m_has_its_frame_and_timers_name_their_cpus)
{
	machine.gic = GIC_V2M;
	build();

	ck_assert_uint_eq(pair("/interrupt-controller@3fff0000/v2m@3ffc0000", "reg", 0),
			  GIC_V2M_BASE);
	ck_assert_uint_eq(cell("/pcie@40000000", "msi-parent", 0), FDT_PHANDLE_MSI);
	ck_assert_int_eq(length_of("/pcie@40000000", "msi-map"), -1);
	ck_assert_uint_eq(cell("/timer", "interrupts", 2), 3 << 8 | FDT_LEVEL_HIGH);
}
END_TEST

START_TEST(plain_gics_offer_no_messages)
{
	machine.gic = GIC_V2;
	build();
	ck_assert_int_eq(length_of("/pcie@40000000", "msi-parent"), -1);
	ck_assert_int_eq(length_of("/pcie@40000000", "msi-map"), -1);
	free(blob);

	machine.gic = GIC_V3;
	build();
	ck_assert_int_eq(length_of("/pcie@40000000", "msi-parent"), -1);
	ck_assert_int_eq(length_of("/pcie@40000000", "msi-map"), -1);
}
END_TEST

START_TEST(timers_are_level_interrupts_13_14_11_10)
{
	static const uint32_t ppis[] = { 13, 14, 11, 10 };

	build();

	for (unsigned int i = 0; i < 4; i++) {
		ck_assert_uint_eq(cell("/timer", "interrupts", 3 * i), FDT_GIC_PPI);
		ck_assert_uint_eq(cell("/timer", "interrupts", 3 * i + 1), ppis[i]);
		ck_assert_uint_eq(cell("/timer", "interrupts", 3 * i + 2), FDT_LEVEL_HIGH);
	}
}
END_TEST

START_TEST(pmu_is_there_when_it_was_asked_for)
{
	build();
	ck_assert_int_lt(fdt_path_offset(blob, "/pmu"), 0);
	free(blob);

	machine.pmu = true;
	build();
	ck_assert_uint_eq(cell("/pmu", "interrupts", 1), 7);
}
END_TEST

START_TEST(pci_windows_are_the_layouts)
{
	build();

	ck_assert_int_eq(length_of("/pcie@40000000", "ranges"), 3 * 7 * 4);
	ck_assert_uint_eq(cell("/pcie@40000000", "ranges", 0), 0x01000000);
	ck_assert_uint_eq(cell("/pcie@40000000", "ranges", 2), 0x1000);
	ck_assert_uint_eq(cell("/pcie@40000000", "ranges", 4), ARM64_PCI_IO_WINDOW + 0x1000);
	ck_assert_uint_eq(cell("/pcie@40000000", "ranges", 14), 0x43000000);
	ck_assert_uint_eq(cell("/pcie@40000000", "ranges", 15), 0x11);
	ck_assert_uint_eq(cell("/pcie@40000000", "bus-range", 1), 255);
}
END_TEST

START_TEST(pci_pins_are_swizzled_by_slot)
{
	build();

	for (unsigned int i = 0; i < 16; i++) {
		unsigned int slot = i / 4, pin = i % 4;

		ck_assert_uint_eq(cell("/pcie@40000000", "interrupt-map", 10 * i), slot << 11);
		ck_assert_uint_eq(cell("/pcie@40000000", "interrupt-map", 10 * i + 3), pin + 1);
		ck_assert_uint_eq(cell("/pcie@40000000", "interrupt-map", 10 * i + 8),
				  (slot + pin) % 4);
	}
	ck_assert_uint_eq(cell("/pcie@40000000", "interrupt-map-mask", 0), 0x1800);
}
END_TEST

START_TEST(without_pci_there_is_no_host_bridge)
{
	machine.pci = false;
	build();

	ck_assert_int_lt(fdt_path_offset(blob, "/pcie@40000000"), 0);
}
END_TEST

START_TEST(platform_devices_have_their_interrupts_and_triggers)
{
	build();

	ck_assert_uint_eq(cell("/serial@1000000", "interrupts", 1), 7);
	ck_assert_uint_eq(cell("/serial@1000000", "interrupts", 2), FDT_EDGE_RISING);
	ck_assert_uint_eq(cell("/virtio_mmio@3000000", "interrupts", 1), 9);
	ck_assert_uint_eq(cell("/virtio_mmio@3000000", "interrupts", 2), FDT_LEVEL_HIGH);
	ck_assert_uint_eq(pair("/virtio_mmio@3000000", "reg", 1), 0x200);
	ck_assert_int_eq(length_of("/virtio_mmio@3000000", "dma-coherent"), 0);
}
END_TEST

START_TEST(gpio_comes_with_the_power_key)
{
	build();

	ck_assert_int_eq(fdt_stringlist_contains(text("/gpio@1030000", "compatible"),
						 length_of("/gpio@1030000", "compatible"),
						 "arm,primecell"),
			 1);
	ck_assert_uint_eq(cell("/gpio-keys/poweroff", "linux,code", 0), 116);
	ck_assert_uint_eq(cell("/gpio-keys/poweroff", "gpios", 0),
			  cell("/gpio@1030000", "phandle", 0));
	ck_assert_uint_eq(cell("/gpio@1030000", "clocks", 0), cell("/apb-pclk", "phandle", 0));
}
END_TEST

static void hush(enum log_level level, const char *line)
{
	(void)level;
	(void)line;
}

START_TEST(command_line_past_two_mib_is_an_error)
{
	char *line = malloc(MIB(2) + 1);

	memset(line, 'a', MIB(2));
	line[MIB(2)] = '\0';
	machine.command_line = line;
	log_set_sink(hush);

	ck_assert_int_eq(fdt_build(&machine, &blob), -E2BIG);

	log_set_sink(NULL);
	ck_assert_ptr_null(blob);
	free(line);
}
END_TEST

static void add_tests(Suite *suite)
{
	TCase *tree = suite_case(suite, "tree", setup, teardown);

	tcase_add_test(tree, chosen_tells_what_software_needs);
	tcase_add_test(tree, without_initrd_and_seed_there_is_no_word_of_them);
	tcase_add_test(tree, each_vcpu_has_a_node_named_by_its_affinity);
	tcase_add_test(tree, the_map_has_sockets_clusters_cores_and_threads);
	tcase_add_test(tree, the_map_has_no_level_of_one_thread);
	tcase_add_test(tree, tree_of_512_vcpus_fits);
	tcase_add_test(tree, memory_is_where_ram_is);
	tcase_add_test(tree, numa_nodes_have_their_memory_and_cpus);
	tcase_add_test(tree, gicv3_with_its_maps_messages_to_it);
	tcase_add_test(tree, gicv2m_has_its_frame_and_timers_name_their_cpus);
	tcase_add_test(tree, plain_gics_offer_no_messages);
	tcase_add_test(tree, timers_are_level_interrupts_13_14_11_10);
	tcase_add_test(tree, pmu_is_there_when_it_was_asked_for);
	tcase_add_test(tree, pci_windows_are_the_layouts);
	tcase_add_test(tree, pci_pins_are_swizzled_by_slot);
	tcase_add_test(tree, without_pci_there_is_no_host_bridge);
	tcase_add_test(tree, platform_devices_have_their_interrupts_and_triggers);
	tcase_add_test(tree, gpio_comes_with_the_power_key);
	tcase_add_test(tree, command_line_past_two_mib_is_an_error);
}
SUITE_MAIN("arm64-fdt", add_tests)
