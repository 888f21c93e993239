/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The DSDT: what no bus finds. \_S5, processors (dsdt-cpus.c), the PCI root with its windows and interrupt routes, the
 * devices at ISA's old places, and platform devices.
 */
#include <stdio.h>
#include <string.h>

#include "kvm/acpi-power.h"
#include "kvm/arch.h"
#include "kvm/device.h"
#include "kvm/pci-port.h"
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

/* ---- PCI ---- */

/* INTA of slot n goes to the line that INTA+n of slot 0 has: the usual swizzle, four rows a slot. */
static void dsdt_pci_routes(const struct platform_layout *layout, struct aml *aml)
{
	size_t routes;

	aml_named(aml, "_PRT");
	routes = aml_package_begin(aml, 32 * 4);
	for (unsigned int slot = 0; slot < 32; slot++)
		for (unsigned int pin = 0; pin < 4; pin++)
			aml_pci_route(aml, (uint16_t)slot, (uint8_t)pin, (uint8_t)layout->pci_intx_gsi[(slot + pin) % 4]);
	aml_end(aml, routes);
}

/*
 * _OSC: slots are the kernel's own to work, and so are PCI Express capabilities, which it has to have for that; no more is
 * given (PCI Firmware 3.2, 4.5). Arg0 says whom it asks, Arg3 holds words of status, of what it can do and of what it wants.
 */
#define OSC_UNKNOWN	0x04
#define OSC_MASKED	0x10
#define OSC_GRANTED	0x11

static void dsdt_osc_status(struct aml *aml, uint8_t bit)
{
	aml_byte(aml, 0x7d);			/* Or (CDW1, bit, CDW1) */
	aml_name(aml, "CDW1");
	aml_integer(aml, bit);
	aml_name(aml, "CDW1");
}

/* CreateDWordField (Arg3, @offset, @name) */
static void dsdt_osc_word(struct aml *aml, uint8_t offset, const char *name)
{
	aml_byte(aml, 0x8a);
	aml_byte(aml, 0x6b);
	aml_integer(aml, offset);
	aml_name(aml, name);
}

static void dsdt_osc_grant(struct aml *aml)
{
	size_t block;

	dsdt_osc_word(aml, 8, "CDW3");
	aml_byte(aml, 0x7b);			/* And (CDW3, granted, Local0) */
	aml_name(aml, "CDW3");
	aml_integer(aml, OSC_GRANTED);
	aml_byte(aml, 0x60);
	block = aml_if_begin(aml);		/* LNot (LEqual (Local0, CDW3)) */
	aml_bytes(aml, "\x92\x93\x60", 3);
	aml_name(aml, "CDW3");
	dsdt_osc_status(aml, OSC_MASKED);
	aml_end(aml, block);
	aml_bytes(aml, "\x70\x60", 2);		/* Store (Local0, CDW3) */
	aml_name(aml, "CDW3");
}

static void dsdt_osc(struct aml *aml)
{
	/* LEqual (Arg0, ToUUID ("33DB4D5B-1FF7-401C-9657-7441C03DD766")) */
	static const uint8_t is_pci[] = { 0x93, 0x68, 0x11, 19, 0x0a, 16, 0x5b, 0x4d, 0xdb, 0x33, 0xf7, 0x1f, 0x1c, 0x40,
					  0x96, 0x57, 0x74, 0x41, 0xc0, 0x3d, 0xd7, 0x66 };
	size_t method = aml_method_begin(aml, "_OSC", 4), block;

	dsdt_osc_word(aml, 0, "CDW1");
	block = aml_if_begin(aml);
	aml_bytes(aml, is_pci, sizeof(is_pci));
	dsdt_osc_grant(aml);
	aml_end(aml, block);
	block = aml_else_begin(aml);
	dsdt_osc_status(aml, OSC_UNKNOWN);
	aml_end(aml, block);
	aml_bytes(aml, "\xa4\x6b", 2);		/* Return (Arg3) */
	aml_end(aml, method);
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
	if (pci_ports_count(kvm))
		dsdt_osc(aml);
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

/* Method (_Exx) of the edge-triggered event @number; its terms follow */
static size_t dsdt_event_begin(struct aml *aml, unsigned int number)
{
	char name[5];

	snprintf(name, sizeof(name), "_E%02X", number & 0xff);
	return aml_method_begin(aml, name, 0);
}

static void dsdt_events(const struct kvm *kvm, bool generation, struct aml *aml)
{
	size_t scope = aml_scope_begin(aml, "\\_GPE"), method;

	if (generation) {
		method = dsdt_event_begin(aml, ACPI_GPE_VMGENID);
		aml_notify(aml, "\\_SB_VGEN", 0x80);
		aml_end(aml, method);
	}
	if (kvm->cpu_plug) {
		method = dsdt_event_begin(aml, ACPI_GPE_CPUS);
		aml_name(aml, "\\_SB_CSCN");
		aml_end(aml, method);
	}
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
	bool generation = device_find(kvm, "vmgenid");
	size_t scope;

	dsdt_sleep(aml);
	scope = aml_scope_begin(aml, "\\_SB_");
	acpi_build_processors(kvm, aml);
	if (pci_bus(kvm))
		dsdt_pci(kvm, aml);
	dsdt_board(kvm, aml);
	dsdt_platform(kvm, aml);
	if (generation)
		dsdt_generation(aml);
	aml_end(aml, scope);
	if (generation || kvm->cpu_plug)
		dsdt_events(kvm, generation, aml);
}
