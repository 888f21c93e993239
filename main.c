/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm: a machine out of /dev/kvm, for the people who build kernels. Everything is a command: see cmd/.
 */
#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include "kvm/command.h"

/* A descriptor that the caller closed would be given to /dev/kvm or a disk, and then be written to as stderr. */
static void standard_descriptors(void)
{
	for (int fd = 0; fd <= STDERR_FILENO; fd++)
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) < 0)
			return;
}

int main(int argc, char **argv)
{
	standard_descriptors();
	/* No path that matters allocates: an arena a thread would be mapped, cut to size and faulted in for nothing. */
	mallopt(M_ARENA_MAX, 1);
	return command_main(argc, argv);
}
