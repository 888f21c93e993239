/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What x86 puts in front of the user's kernel command line.
 *
 * Only what says where the console is: everything else the kernel finds out from the tables.
 */
#include <string.h>

#include "kvm/arch.h"

const char *arch_default_params(const struct kvm *kvm)
{
	const char *console = config_string(kvm->config, "console");

	return console && strcmp(console, "serial") ? "console=hvc0" : "console=ttyS0";
}
