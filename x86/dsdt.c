/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The DSDT: what no bus finds. \_S5, processors, the PCI root with its windows and interrupt routes, the
 * devices at ISA's old places, and platform devices.
 */
#include <stdio.h>
#include <string.h>

#include "kvm/acpi-power.h"
#include "kvm/arch.h"
#include "kvm/device.h"
#include "kvm/pci.h"
#include "kvm/x86.h"
#include "x86/acpi.h"

static void dsdt_sleep(struct aml *aml)
{
	size_t mark;

	aml_named(aml, "\\_S5_");
	mark = aml_package_begin(aml, 4);
	aml_integer(aml, ACPI_SLEEP_TYPE_S5);
	aml_integer(aml, ACPI_SLEEP_TYPE_S5);
	aml_integer(aml, 0);
	aml_integer(aml, 0);
	aml_end(aml, mark);
}

static void dsdt_processors(const struct kvm *kvm, struct aml *aml)
{
	for (unsigned int i = 0; i < kvm->cpu_count; i++) {
		char name[5];
		size_t mark;

		snprintf(name, sizeof(name), "C%03X", i & 0xfff);
		mark = aml_device_begin(aml, name);
		aml_named_string(aml, "_HID", "ACPI0007");
		aml_named_integer(aml, "_UID", i);
		aml_end(aml, mark);
	}
}

/* ---- PCI ---- */

/* INTA of slot n goes to the line that INTA+n of slot 0 has: the usual swizzle, four rows a slot. */
static void dsdt_pci_routes(const struct platform_layout *layout, struct aml *aml)
{
	size_t routes, row;

	aml_named(aml, "_PRT");
	routes = aml_package_begin(aml, 32 * 4);
	for (uint32_t slot = 0; slot < 32; slot++) {
		for (uint32_t pin = 0; pin < 4; pin++) {
			row = aml_package_begin(aml, 4);
			aml_integer(aml, slot << 16 | 0xffff);
			aml_integer(aml, pin);
			aml_integer(aml, 0);
			aml_integer(aml, layout->pci_intx_gsi[(slot + pin) % 4]);
			aml_end(aml, row);
		}
	}
	aml_end(aml, routes);
}

static void dsdt_pci(struct kvm *kvm, struct aml *aml)
{
	const struct platform_layout *layout = arch_platform(kvm);
	size_t device = aml_device_begin(aml, "PCI0"), resources;

	aml_named_eisaid(aml, "_HID", "PNP0A08");
	aml_named_eisaid(aml, "_CID", "PNP0A03");
	aml_named_integer(aml, "_UID", 0);
	aml_named_integer(aml, "_SEG", 0);
	aml_named_integer(aml, "_BBN", 0);
	aml_named_integer(aml, "_CCA", 1);
	resources = aml_resources_begin(aml);
	aml_bus_numbers(aml, 0, (uint16_t)(layout->pci_ecam_size / MIB(1) - 1));
	aml_io(aml, 0xcf8, 8);
	aml_io_window(aml, (uint16_t)layout->pci_io_base, (uint16_t)(layout->pci_io_base + layout->pci_io_size - 1));
	aml_memory_window(aml, layout->pci_mmio32_base, layout->pci_mmio32_size);
	if (layout->pci_mmio64_size)
		aml_memory_window(aml, layout->pci_mmio64_base, layout->pci_mmio64_size);
	aml_resources_end(aml, resources);
	dsdt_pci_routes(layout, aml);
	aml_end(aml, device);

	/* The ECAM window belongs to the board, or kernels don't trust MCFG. */
	device = aml_device_begin(aml, "MRES");
	aml_named_eisaid(aml, "_HID", "PNP0C02");
	aml_named_integer(aml, "_UID", 1);
	resources = aml_resources_begin(aml);
	aml_memory32(aml, (uint32_t)layout->pci_ecam_base, (uint32_t)layout->pci_ecam_size);
	aml_resources_end(aml, resources);
	aml_end(aml, device);
}

/* ---- board devices ---- */

static void dsdt_isa(struct aml *aml, const char *name, const char *id, unsigned int uid, uint16_t port,
		     uint8_t length, uint32_t gsi)
{
	size_t device = aml_device_begin(aml, name), resources;

	aml_named_eisaid(aml, "_HID", id);
	aml_named_integer(aml, "_UID", uid);
	resources = aml_resources_begin(aml);
	aml_io(aml, port, length);
	aml_irq(aml, gsi, false);
	aml_resources_end(aml, resources);
	aml_end(aml, device);
}

static void dsdt_board(struct kvm *kvm, struct aml *aml)
{
	static const struct { uint16_t port; uint8_t gsi; } coms[] = { { 0x3f8, 4 }, { 0x2f8, 3 }, { 0x3e8, 4 }, { 0x2e8, 3 } };

	for (unsigned int i = 0; i < ARRAY_SIZE(coms); i++) {
		char device[16], name[5];

		snprintf(device, sizeof(device), "serial%u", i);
		snprintf(name, sizeof(name), "COM%u", i + 1);
		if (device_find(kvm, device))
			dsdt_isa(aml, name, "PNP0501", i + 1, coms[i].port, 8, coms[i].gsi);
	}
	if (device_find(kvm, "rtc"))
		dsdt_isa(aml, "RTC_", "PNP0B00", 0, 0x70, 2, 8);
}

/* Linux goes by the first of its names, Windows by the second. */
static void dsdt_generation(struct aml *aml)
{
	size_t device = aml_device_begin(aml, "VGEN"), package;

	aml_named_string(aml, "_HID", "VMGENCTR");
	aml_named_string(aml, "_CID", "VM_Gen_Counter");
	aml_named_string(aml, "_DDN", "VM_Gen_Counter");
	aml_named(aml, "ADDR");
	package = aml_package_begin(aml, 2);
	aml_integer(aml, X86_VMGENID);
	aml_integer(aml, 0);
	aml_end(aml, package);
	aml_end(aml, device);
}

static void dsdt_events(struct aml *aml)
{
	size_t scope = aml_scope_begin(aml, "\\_GPE"), method;
	char name[5];

	snprintf(name, sizeof(name), "_E%02X", ACPI_GPE_VMGENID);
	method = aml_method_begin(aml, name);
	aml_notify(aml, "\\_SB_VGEN", 0x80);
	aml_end(aml, method);
	aml_end(aml, scope);
}

static void dsdt_platform(struct kvm *kvm, struct aml *aml)
{
	unsigned int uid = 0;

	for (struct platform_device *at = platform_devices(kvm); at; at = at->next) {
		char name[5];
		size_t device, resources;

		if (!at->acpi_hid)
			continue;
		snprintf(name, sizeof(name), "V%03X", uid & 0xfff);
		device = aml_device_begin(aml, name);
		aml_named_string(aml, "_HID", at->acpi_hid);
		aml_named_integer(aml, "_UID", uid++);
		aml_named_integer(aml, "_CCA", 1);
		resources = aml_resources_begin(aml);
		aml_memory32(aml, (uint32_t)at->base, (uint32_t)at->size);
		if (at->gsi >= 0)
			aml_irq(aml, (uint32_t)at->gsi, at->trigger == IRQ_LEVEL);
		aml_resources_end(aml, resources);
		aml_end(aml, device);
	}
}

void acpi_build_dsdt(struct kvm *kvm, struct aml *aml)
{
	size_t scope;

	dsdt_sleep(aml);
	scope = aml_scope_begin(aml, "\\_SB_");
	dsdt_processors(kvm, aml);
	if (pci_bus(kvm))
		dsdt_pci(kvm, aml);
	dsdt_board(kvm, aml);
	dsdt_platform(kvm, aml);
	if (device_find(kvm, "vmgenid"))
		dsdt_generation(aml);
	aml_end(aml, scope);
	if (device_find(kvm, "vmgenid"))
		dsdt_events(aml);
}
