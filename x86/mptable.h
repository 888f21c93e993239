/* SPDX-License-Identifier: BSD-2-Clause */
/* What tests see of x86/mptable.c. */
#ifndef X86_MPTABLE_H
#define X86_MPTABLE_H

#include "kvm/kvm.h"
#include "x86/aml.h"

/** mp_table_build() - the floating pointer and, 16 bytes on, the table, as they go to X86_MP_TABLE */
void mp_table_build(struct kvm *kvm, struct aml *out);

#endif
