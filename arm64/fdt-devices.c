/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The device tree's devices: the GIC, the PCI host and what is on the list of platform devices. Bindings:
 * the kernel's Documentation/devicetree/bindings/.
 */
#include <string.h>

#include "fdt.h"

/* ---- interrupt-controller/arm,gic.yaml, arm,gic-v3.yaml ---- */

static void write_v2m(struct fdt_writer *fdt)
{
	fdt_node_begin(fdt, "v2m@%llx", GIC_V2M_BASE);
	fdt_put_text(fdt, "compatible", "arm,gic-v2m-frame");
	fdt_put_flag(fdt, "msi-controller");
	FDT_U64S(fdt, "reg", GIC_V2M_BASE, GIC_V2M_SIZE);
	FDT_CELLS(fdt, "phandle", FDT_PHANDLE_MSI);
	fdt_node_end(fdt);
}

static void write_its(struct fdt_writer *fdt, const struct fdt_machine *machine)
{
	fdt_node_begin(fdt, "its@%llx", (unsigned long long)machine->gic_its_base);
	fdt_put_text(fdt, "compatible", "arm,gic-v3-its");
	fdt_put_flag(fdt, "msi-controller");
	FDT_CELLS(fdt, "#msi-cells", 1);
	FDT_U64S(fdt, "reg", machine->gic_its_base, GIC_ITS_SIZE);
	FDT_CELLS(fdt, "phandle", FDT_PHANDLE_MSI);
	fdt_node_end(fdt);
}

void fdt_write_gic(struct fdt_writer *fdt, const struct fdt_machine *machine)
{
	bool v2 = machine->gic <= GIC_V2M;

	fdt_node_begin(fdt, "interrupt-controller@%llx", GIC_DIST_BASE);
	fdt_put_text(fdt, "compatible", v2 ? "arm,cortex-a15-gic" : "arm,gic-v3");
	FDT_CELLS(fdt, "#interrupt-cells", 3);
	fdt_put_flag(fdt, "interrupt-controller");
	if (v2)
		FDT_U64S(fdt, "reg", GIC_DIST_BASE, GIC_DIST_SIZE, GIC_V2_CPU_BASE,
			 GIC_V2_CPU_SIZE);
	else
		FDT_U64S(fdt, "reg", GIC_DIST_BASE, GIC_DIST_SIZE, machine->gic_redist_base,
			 machine->gic_redist_size);
	FDT_CELLS(fdt, "phandle", FDT_PHANDLE_GIC);
	FDT_CELLS(fdt, "#address-cells", 2);
	FDT_CELLS(fdt, "#size-cells", 2);
	fdt_put_flag(fdt, "ranges");
	if (machine->gic == GIC_V2M)
		write_v2m(fdt);
	if (machine->gic == GIC_V3_ITS)
		write_its(fdt, machine);
	fdt_node_end(fdt);
}

/* ---- pci/host-generic-pci.yaml ---- */

#define PCI_RANGE_IO		0x01000000
#define PCI_RANGE_MEMORY32	0x02000000
/* Prefetchable: Linux thinks a window of 4 GiB and more a mistake otherwise. */
#define PCI_RANGE_MEMORY64	0x43000000
#define PCI_RANGE_CELLS		7

#define PCI_PINS		4
#define PCI_MAP_CELLS		10	/* address, pin; parent, address, interrupt */

/* range_fill() - a window of @size bytes at @pci in the bus's space and at @cpu in the CPUs' */
static size_t range_fill(uint32_t *cells, uint32_t kind, uint64_t pci, uint64_t cpu, uint64_t size)
{
	if (size == 0)
		return 0;
	cells[0] = kind;
	cells[1] = (uint32_t)(pci >> 32);
	cells[2] = (uint32_t)pci;
	cells[3] = (uint32_t)(cpu >> 32);
	cells[4] = (uint32_t)cpu;
	cells[5] = (uint32_t)(size >> 32);
	cells[6] = (uint32_t)size;
	return PCI_RANGE_CELLS;
}

static void write_pci_ranges(struct fdt_writer *fdt, const struct platform_layout *layout)
{
	uint32_t cells[3 * PCI_RANGE_CELLS];
	size_t count;

	count = range_fill(cells, PCI_RANGE_IO, layout->pci_io_base,
			   layout->pci_io_window + layout->pci_io_base, layout->pci_io_size);
	count += range_fill(cells + count, PCI_RANGE_MEMORY32, layout->pci_mmio32_base,
			    layout->pci_mmio32_base, layout->pci_mmio32_size);
	count += range_fill(cells + count, PCI_RANGE_MEMORY64, layout->pci_mmio64_base,
			    layout->pci_mmio64_base, layout->pci_mmio64_size);
	fdt_put_cells(fdt, "ranges", cells, count);
}

/* The pins of slot n are swizzled: four slots are a whole turn, and the mask leaves no more of the slot. */
static void write_pci_interrupts(struct fdt_writer *fdt, const struct platform_layout *layout)
{
	uint32_t map[PCI_PINS * PCI_PINS][PCI_MAP_CELLS];

	for (uint32_t slot = 0; slot < PCI_PINS; slot++) {
		for (uint32_t pin = 0; pin < PCI_PINS; pin++) {
			uint32_t *entry = map[slot * PCI_PINS + pin];

			memset(entry, 0, sizeof(map[0]));
			entry[0] = slot << 11;
			entry[3] = pin + 1;
			entry[4] = FDT_PHANDLE_GIC;
			entry[7] = FDT_GIC_SPI;
			entry[8] = layout->pci_intx_gsi[(slot + pin) % PCI_PINS];
			entry[9] = FDT_LEVEL_HIGH;
		}
	}
	FDT_CELLS(fdt, "#interrupt-cells", 1);
	fdt_put_cells(fdt, "interrupt-map", map[0], sizeof(map) / sizeof(uint32_t));
	FDT_CELLS(fdt, "interrupt-map-mask", (PCI_PINS - 1) << 11, 0, 0, 7);
}

void fdt_write_pci(struct fdt_writer *fdt, const struct fdt_machine *machine)
{
	const struct platform_layout *layout = machine->layout;

	if (!machine->pci)
		return;
	fdt_node_begin(fdt, "pcie@%llx", (unsigned long long)layout->pci_ecam_base);
	fdt_put_text(fdt, "compatible", "pci-host-ecam-generic");
	fdt_put_text(fdt, "device_type", "pci");
	FDT_U64S(fdt, "reg", layout->pci_ecam_base, layout->pci_ecam_size);
	/* ECAM has 1 MiB a bus. */
	FDT_CELLS(fdt, "bus-range", 0, (uint32_t)(layout->pci_ecam_size >> 20) - 1);
	FDT_CELLS(fdt, "linux,pci-domain", 0);
	FDT_CELLS(fdt, "#address-cells", 3);
	FDT_CELLS(fdt, "#size-cells", 2);
	fdt_put_flag(fdt, "dma-coherent");
	write_pci_ranges(fdt, layout);
	write_pci_interrupts(fdt, layout);
	if (machine->gic == GIC_V2M)
		FDT_CELLS(fdt, "msi-parent", FDT_PHANDLE_MSI);
	/* The ITS knows a function by its requester ID, which is what irq_message_init() was told. */
	if (machine->gic == GIC_V3_ITS)
		FDT_CELLS(fdt, "msi-map", 0, FDT_PHANDLE_MSI, 0, 0x10000);
	fdt_node_end(fdt);
}

/* ---- platform devices ---- */

#define GPIO_POWER_KEY_PIN	3
#define KEY_POWER		116	/* linux/input-event-codes.h */

static bool is_primecell(const struct platform_device *device)
{
	return strncmp(device->compatible, "arm,pl", 6) == 0;
}

static bool is_gpio(const struct platform_device *device)
{
	return strcmp(device->compatible, "arm,pl061") == 0;
}

/* node_name() - the generic name that the specification wants */
static const char *node_name(const struct platform_device *device)
{
	static const char *const names[][2] = {
		{ "ns16550a", "serial" },
		{ "arm,pl031", "rtc" },
		{ "arm,pl061", "gpio" },
		{ "virtio,mmio", "virtio_mmio" },
	};

	for (size_t i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(device->compatible, names[i][0]) == 0)
			return names[i][1];
	return "device";
}

/* arm/primecell.yaml: the bus driver wants a clock that it can switch on before it reads the identity */
static void write_primecell(struct fdt_writer *fdt, const struct platform_device *device)
{
	char compatible[64] = { 0 };
	size_t length = strnlen(device->compatible, 32) + 1;

	memcpy(compatible, device->compatible, length);
	memcpy(compatible + length, "arm,primecell", sizeof("arm,primecell"));
	fdt_put(fdt, "compatible", compatible, length + sizeof("arm,primecell"));
	FDT_CELLS(fdt, "clocks", FDT_PHANDLE_CLOCK);
	fdt_put_text(fdt, "clock-names", "apb_pclk");
	if (!is_gpio(device))
		return;
	FDT_CELLS(fdt, "#gpio-cells", 2);
	fdt_put_flag(fdt, "gpio-controller");
	FDT_CELLS(fdt, "#interrupt-cells", 2);
	fdt_put_flag(fdt, "interrupt-controller");
	FDT_CELLS(fdt, "phandle", FDT_PHANDLE_GPIO);
}

static void write_device(struct fdt_writer *fdt, const struct platform_device *device)
{
	fdt_node_begin(fdt, "%s@%llx", node_name(device), (unsigned long long)device->base);
	FDT_U64S(fdt, "reg", device->base, device->size);
	if (is_primecell(device))
		write_primecell(fdt, device);
	else
		fdt_put_text(fdt, "compatible", device->compatible);
	if (strcmp(device->compatible, "ns16550a") == 0)
		FDT_CELLS(fdt, "clock-frequency", 1843200);
	if (strcmp(device->compatible, "virtio,mmio") == 0)
		fdt_put_flag(fdt, "dma-coherent");
	if (device->gsi >= 0)
		FDT_CELLS(fdt, "interrupts", FDT_GIC_SPI, (uint32_t)device->gsi,
			  device->trigger == IRQ_EDGE ? FDT_EDGE_RISING : FDT_LEVEL_HIGH);
	fdt_node_end(fdt);
}

static void write_clock(struct fdt_writer *fdt)
{
	fdt_node_begin(fdt, "apb-pclk");
	fdt_put_text(fdt, "compatible", "fixed-clock");
	FDT_CELLS(fdt, "#clock-cells", 0);
	FDT_CELLS(fdt, "clock-frequency", 24000000);
	fdt_put_text(fdt, "clock-output-names", "clk24mhz");
	FDT_CELLS(fdt, "phandle", FDT_PHANDLE_CLOCK);
	fdt_node_end(fdt);
}

static void write_power_key(struct fdt_writer *fdt)
{
	fdt_node_begin(fdt, "gpio-keys");
	fdt_put_text(fdt, "compatible", "gpio-keys");
	fdt_node_begin(fdt, "poweroff");
	fdt_put_text(fdt, "label", "GPIO Key Poweroff");
	FDT_CELLS(fdt, "linux,code", KEY_POWER);
	FDT_CELLS(fdt, "gpios", FDT_PHANDLE_GPIO, GPIO_POWER_KEY_PIN, 0);
	fdt_node_end(fdt);
	fdt_node_end(fdt);
}

void fdt_write_platform_devices(struct fdt_writer *fdt, const struct fdt_machine *machine)
{
	bool primecell = false, gpio = false;

	for (const struct platform_device *device = machine->devices; device;
	     device = device->next) {
		write_device(fdt, device);
		primecell |= is_primecell(device);
		gpio |= is_gpio(device);
	}
	if (primecell)
		write_clock(fdt);
	if (gpio)
		write_power_key(fdt);
}
