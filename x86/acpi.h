/* SPDX-License-Identifier: BSD-2-Clause */
/* Between x86/acpi.c and x86/dsdt.c. */
#ifndef X86_ACPI_H
#define X86_ACPI_H

#include "kvm/kvm.h"
#include "x86/aml.h"

/** acpi_build_dsdt() - the definition block, without its table header */
void acpi_build_dsdt(struct kvm *kvm, struct aml *aml);

#endif
