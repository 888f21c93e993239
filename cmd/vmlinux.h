/* SPDX-License-Identifier: BSD-2-Clause */
/* The vmlinux, with its symbols, that belongs to a kernel. */
#ifndef CMD_VMLINUX_H
#define CMD_VMLINUX_H

/** vmlinux_find() - the one of @kernel, to be freed; NULL: there is none where builds and debug packages put it */
char *vmlinux_find(const char *kernel);

#endif
