/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm: a machine out of /dev/kvm, for the people who build kernels. Everything is a command: see cmd/.
 */
#include "kvm/command.h"

int main(int argc, char **argv)
{
	return command_main(argc, argv);
}
