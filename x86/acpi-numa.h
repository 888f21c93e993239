/* SPDX-License-Identifier: BSD-2-Clause */
/* Between x86/acpi.c and x86/acpi-numa.c: what ACPI says of NUMA nodes. */
#ifndef X86_ACPI_NUMA_H
#define X86_ACPI_NUMA_H

#include "x86/aml.h"

struct kvm;

/** acpi_build_srat(), acpi_build_slit() - the tables' bodies, behind their headers; for a VM with --numa */
void acpi_build_srat(const struct kvm *kvm, struct aml *out);
void acpi_build_slit(const struct kvm *kvm, struct aml *out);

#endif
