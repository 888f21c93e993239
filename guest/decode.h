/* SPDX-License-Identifier: BSD-2-Clause */
/* An oops or a panic, read with the kernel's vmlinux beside it: each place with its file, its line and what was inlined. */
#ifndef GUEST_DECODE_H
#define GUEST_DECODE_H

#include <stdio.h>

#include "kvm/types.h"

struct symbols;

/**
 * symbols_open() - by elfutils' libdw, which is loaded now
 * @vmlinux: an ELF file with debug information
 * Returns 0; -ENOENT (said): libdw can't be loaded; -ENOEXEC: it is no ELF file, or has no symbols (said if @say).
 */
int __must_check symbols_open(struct symbols **symbols, const char *vmlinux, bool say);
void symbols_close(struct symbols *symbols);
/**
 * symbols_find() - the address of function @name, by its link address
 * @size: what the kernel says of its size: up to the next one's begin, so that of several it is the one that comes nearest
 */
bool symbols_find(struct symbols *symbols, const char *name, uint64_t size, uint64_t *address);
/** symbols_print() - " (FILE:LINE)", or what was inlined there as well; nothing if that isn't known */
void symbols_print(struct symbols *symbols, uint64_t address, FILE *out);

/** decode_text() - @text again, line by line, and behind each place what symbols_print() has to say */
void decode_text(struct symbols *symbols, const char *text, FILE *out);

#endif
