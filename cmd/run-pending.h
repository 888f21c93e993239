/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options of `lkvm run` that are known but not built yet, as far as run.c must ask about them.
 */
#ifndef CMD_RUN_PENDING_H
#define CMD_RUN_PENDING_H

#include "kvm/option.h"

/** run_pending_check() - refuses (-EUSAGE, said) values that need what is not built yet */
int __must_check run_pending_check(const struct config *config);

#endif
