/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * ACPI Machine Language, written piece by piece (ACPI 6.5, chapter 20).
 *
 * Packages nest: each *_begin() returns a mark that goes to aml_end(). A failed allocation sticks in @failed.
 */
#ifndef X86_AML_H
#define X86_AML_H

#include "kvm/types.h"

struct aml {
	uint8_t *data;
	size_t length, capacity;
	bool failed;
};

void aml_free(struct aml *aml);
void aml_bytes(struct aml *aml, const void *bytes, size_t length);
void aml_byte(struct aml *aml, uint8_t byte);

/** aml_name() - a path: "_SB_", "\\_S5_", "PCI0"; segments of four characters, at most one "\\" in front */
void aml_name(struct aml *aml, const char *name);
void aml_integer(struct aml *aml, uint64_t value);
void aml_string(struct aml *aml, const char *text);
/** aml_eisaid() - "PNP0A08" as its 32-bit code */
void aml_eisaid(struct aml *aml, const char *id);

size_t aml_scope_begin(struct aml *aml, const char *name);
size_t aml_device_begin(struct aml *aml, const char *name);
/** aml_method_begin() - of @arguments; its terms follow, then aml_end() */
size_t aml_method_begin(struct aml *aml, const char *name, uint8_t arguments);
/** aml_if_begin() - the condition follows, then the terms; aml_else_begin() - right behind such an aml_end() */
size_t aml_if_begin(struct aml *aml);
size_t aml_else_begin(struct aml *aml);
/** aml_while_begin() - likewise */
size_t aml_while_begin(struct aml *aml);
/** aml_notify() - Notify (@name, @value) */
void aml_notify(struct aml *aml, const char *name, uint8_t value);
/** aml_package_begin() - of exactly @count elements */
size_t aml_package_begin(struct aml *aml, uint8_t count);
void aml_end(struct aml *aml, size_t mark);
/** aml_pci_route() - a row of _PRT: pin @pin (0: INTA) of any function of @slot goes to @gsi (ACPI 6.5, 6.2.13) */
void aml_pci_route(struct aml *aml, uint16_t slot, uint8_t pin, uint8_t gsi);

/** aml_named_*() - Name (@name, value) */
void aml_named(struct aml *aml, const char *name);
void aml_named_integer(struct aml *aml, const char *name, uint64_t value);
void aml_named_string(struct aml *aml, const char *name, const char *text);
void aml_named_eisaid(struct aml *aml, const char *name, const char *id);

/** aml_resources_begin() - Name (_CRS, ResourceTemplate ()); the descriptors follow, then aml_resources_end() */
size_t aml_resources_begin(struct aml *aml);
void aml_resources_end(struct aml *aml, size_t mark);
void aml_io(struct aml *aml, uint16_t base, uint8_t length);
void aml_irq(struct aml *aml, uint32_t gsi, bool level);
void aml_memory32(struct aml *aml, uint32_t base, uint32_t length);
void aml_bus_numbers(struct aml *aml, uint16_t first, uint16_t last);
void aml_io_window(struct aml *aml, uint16_t first, uint16_t last);
void aml_memory_window(struct aml *aml, uint64_t base, uint64_t length);

#endif
