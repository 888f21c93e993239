/* SPDX-License-Identifier: BSD-2-Clause */
/* Between x86/acpi.c and x86/dsdt.c. */
#ifndef X86_ACPI_H
#define X86_ACPI_H

#include "kvm/kvm.h"
#include "x86/aml.h"

/** acpi_build_dsdt() - the definition block, without its table header */
void acpi_build_dsdt(struct kvm *kvm, struct aml *aml);

/** acpi_madt_processor() - a vCPU's entry of the MADT, and its _MAT */
#define MADT_ENABLED		1
#define MADT_ONLINE_CAPABLE	2	/* there is none yet, but it may come (ACPI 6.3) */
void acpi_madt_processor(struct aml *out, uint32_t uid, uint32_t apic_id, uint8_t flags);

/** acpi_build_processors() - the DSDT's, in the scope \_SB */
void acpi_build_processors(const struct kvm *kvm, struct aml *aml);

#endif
