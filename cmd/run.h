/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of `lkvm run` share. */
#ifndef CMD_RUN_H
#define CMD_RUN_H

#include "kvm/kvm.h"

/** run_config_files() - takes what --config and --profile name into @config; 0 or -EUSAGE (said) */
int __must_check run_config_files(struct config *config);
/** run_print_config() - what --print-config prints; the exit status */
int run_print_config(const struct config *config);

#endif
