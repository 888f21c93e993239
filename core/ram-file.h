/* SPDX-License-Identifier: BSD-2-Clause */
/* The file behind guest RAM: core/ram-file.c. Called by core/vm.c alone. */
#ifndef CORE_RAM_FILE_H
#define CORE_RAM_FILE_H

/**
 * ram_file_open - an empty, nameless file for guest RAM that the host backs by 2 MiB pages where it can
 *
 * Sparse, shareable by its descriptor, gone with the last one. Close-on-exec. Before the first vCPU, on the
 * thread that starts the VM: a child may share this process's memory for a moment.
 *
 * @mount becomes a descriptor that the file no longer needs, or -1: close() of it waits for a grace period of the
 * host's RCU, so it is the caller's to close when nobody waits.
 *
 * Returns the descriptor, or a negative errno that hasn't been logged.
 */
int ram_file_open(int *mount);

#endif
