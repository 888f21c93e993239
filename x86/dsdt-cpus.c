/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The DSDT's processors. Where they come and go, each says whether it is there, and two methods work hw/cpu-plug.c's registers:
 * CPUR (vCPU, what, value) does it and returns the vCPU's status; CSCN, which an event calls, tells the kernel of all that is new.
 */
#include <stdio.h>

#include "kvm/acpi-power.h"
#include "kvm/x86.h"
#include "x86/acpi.h"

#define ARG0		0x68
#define ARG1		0x69
#define LOCAL0		0x60
#define SERIALIZED	BIT(3)		/* of a method's flags, beside how many arguments it has */
#define WHAT_NOTHING	0		/* hw/cpu-plug.c's */
#define WHAT_EJECT	3
#define WHAT_TELL	0x10000

static void cpu_name(char name[5], unsigned int number)
{
	snprintf(name, 5, "C%03X", number & 0xfff);
}

/* CPUR (@number, @what, @value) */
static void cpu_call(struct aml *aml, unsigned int number, unsigned int what, unsigned int value)
{
	aml_name(aml, "CPUR");
	aml_integer(aml, number);
	aml_integer(aml, what);
	aml_integer(aml, value);
}

/* OperationRegion (CREG, SystemIO, port, 16), Field (CREG, DWordAcc, NoLock, Preserve) of four words */
static void cpu_registers(struct aml *aml)
{
	static const char fields[] = "CSEL\x20" "CWHT\x20" "CVAL\x20" "CNXT\x20";

	aml_bytes(aml, "\x5b\x80", 2);
	aml_name(aml, "CREG");
	aml_byte(aml, 1);
	aml_integer(aml, ACPI_CPUS_PORT);
	aml_integer(aml, 16);
	aml_bytes(aml, "\x5b\x81\x1a", 3);
	aml_name(aml, "CREG");
	aml_byte(aml, 3);
	aml_bytes(aml, fields, sizeof(fields) - 1);
}

static void cpu_method_work(struct aml *aml)
{
	static const char *const names[] = { "CSEL", "CWHT", "CVAL" };
	size_t method = aml_method_begin(aml, "CPUR", 3 | SERIALIZED);

	for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
		aml_byte(aml, 0x70);			/* Store (ArgN, register) */
		aml_byte(aml, (uint8_t)(ARG0 + i));
		aml_name(aml, names[i]);
	}
	aml_byte(aml, 0xa4);				/* Return (CVAL) */
	aml_name(aml, "CVAL");
	aml_end(aml, method);
}

/* CTFY (vCPU, what): a name can't be worked out, so that each is compared */
static void cpu_method_notify(const struct kvm *kvm, struct aml *aml)
{
	size_t method = aml_method_begin(aml, "CTFY", 2), block;

	for (unsigned int i = 1; i < kvm->cpu_possible; i++) {
		char name[5];

		cpu_name(name, i);
		block = aml_if_begin(aml);		/* LEqual (Arg0, i) */
		aml_bytes(aml, "\x93\x68", 2);
		aml_integer(aml, i);
		aml_byte(aml, 0x86);			/* Notify (name, Arg1) */
		aml_name(aml, name);
		aml_byte(aml, ARG1);
		aml_end(aml, block);
	}
	aml_end(aml, method);
}

static void cpu_method_scan(struct aml *aml)
{
	size_t method = aml_method_begin(aml, "CSCN", SERIALIZED), loop, block;

	loop = aml_while_begin(aml);
	aml_integer(aml, 1);
	aml_byte(aml, 0x70);				/* Store (CNXT, Local0) */
	aml_name(aml, "CNXT");
	aml_byte(aml, LOCAL0);
	block = aml_if_begin(aml);			/* LNot (Local0): Break */
	aml_bytes(aml, "\x92\x60\xa5", 3);
	aml_end(aml, block);
	aml_name(aml, "CTFY");				/* CTFY (And (Local0, 0xffff), ShiftRight (Local0, 16)) */
	aml_bytes(aml, "\x7b\x60\x0b\xff\xff\x00", 6);
	aml_bytes(aml, "\x7a\x60\x0a\x10\x00", 5);
	aml_end(aml, loop);
	aml_end(aml, method);
}

static void cpu_status(struct aml *aml, unsigned int number)
{
	size_t method = aml_method_begin(aml, "_STA", 0);

	aml_byte(aml, 0xa4);				/* Return (CPUR (number, nothing, 0)) */
	cpu_call(aml, number, WHAT_NOTHING, 0);
	aml_end(aml, method);
}

/* A vCPU that comes is not one that the MADT has as enabled: its entry for then, in Name (_MAT, Buffer) */
static void cpu_entry(const struct kvm *kvm, struct aml *aml, unsigned int number)
{
	struct aml entry = { 0 };

	acpi_madt_processor(&entry, number, x86_apic_id(kvm, number), MADT_ENABLED);
	aml_named(aml, "_MAT");
	aml_byte(aml, 0x11);
	aml_byte(aml, (uint8_t)(entry.length + 3));
	aml_byte(aml, 0x0a);
	aml_byte(aml, (uint8_t)entry.length);
	aml_bytes(aml, entry.data, entry.length);
	aml->failed |= entry.failed;
	aml_free(&entry);
}

static void cpu_may_go(struct aml *aml, unsigned int number)
{
	size_t method = aml_method_begin(aml, "_EJ0", 1);

	cpu_call(aml, number, WHAT_EJECT, 0);
	aml_end(aml, method);
	method = aml_method_begin(aml, "_OST", 3);
	aml_name(aml, "CPUR");				/* CPUR (number, Or (Arg0, tell), Arg1) */
	aml_integer(aml, number);
	aml_bytes(aml, "\x7d\x68", 2);
	aml_integer(aml, WHAT_TELL);
	aml_byte(aml, 0);
	aml_byte(aml, ARG1);
	aml_end(aml, method);
}

void acpi_build_processors(const struct kvm *kvm, struct aml *aml)
{
	if (kvm->cpu_plug) {
		cpu_registers(aml);
		cpu_method_work(aml);
	}
	for (unsigned int i = 0; i < kvm_cpus_possible(kvm); i++) {
		char name[5];
		size_t device;

		cpu_name(name, i);
		device = aml_device_begin(aml, name);
		aml_named_string(aml, "_HID", "ACPI0007");
		aml_named_integer(aml, "_UID", i);
		if (kvm->cpu_plug && i) {
			cpu_status(aml, i);
			cpu_entry(kvm, aml, i);
			cpu_may_go(aml, i);
		}
		aml_end(aml, device);
	}
	if (kvm->cpu_plug) {
		cpu_method_notify(kvm, aml);
		cpu_method_scan(aml);
	}
}
