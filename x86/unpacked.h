/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The kernel in a bzImage, as its decompressor would leave it: an ELF file and its relocations, taken piece by piece.
 *
 * arch/x86/boot/compressed puts behind the payload's vmlinux, whose end is its section headers', a zero, the places of
 * 64-bit addresses, a zero, those of 32-bit ones that count down (until Linux 6.15), a zero, and those of 32-bit ones.
 */
#ifndef X86_UNPACKED_H
#define X86_UNPACKED_H

#include <elf.h>

#include "kvm/memory.h"

#define UNPACKED_SEGMENTS	16
#define UNPACKED_HEAD		4096		/* the ELF file's headers lie in it */
#define UNPACKED_MAX		GIB(1)		/* of a whole kernel: x86-64 maps no more */
#define UNPACKED_RELOCATIONS	MIB(16)

/** struct unpacked - what is taken; zeroed but for the first six */
struct unpacked {
	struct address_space *memory;
	const char *path;		/* of the kernel, in messages */
	uint64_t pref;			/* the header's pref_address: the lowest segment's p_paddr */
	uint64_t load, size;		/* where that goes, and the room from there on */
	bool clean;			/* that room reads as zeroes: none need be written */

	uint64_t at;			/* bytes taken */
	uint8_t head[UNPACKED_HEAD];
	Elf64_Phdr segments[UNPACKED_SEGMENTS];
	unsigned int count;
	uint64_t entry;			/* where startup_64 has come to lie */
	uint64_t end;			/* of the ELF file */
	uint8_t *relocations;		/* freed by unpacked_free() */
	size_t relocations_length;
};

/**
 * unpacked_take() - the next piece; an unpack_take_fn with a struct unpacked
 * Returns 0; 1 for a kernel that isn't known well enough to be put anywhere, nothing of it has been written then; or
 * negative errno (said).
 */
int unpacked_take(void *unpacked, const uint8_t *data, size_t length);

/** unpacked_whole() - after the last piece: 0 or -EINVAL (said) when segments are missing */
int __must_check unpacked_whole(const struct unpacked *unpacked);

/** unpacked_can_move() - whether the relocations are there and make sense */
bool unpacked_can_move(const struct unpacked *unpacked);

/** unpacked_move() - @delta onto each virtual address in it; after unpacked_can_move(). 0 or negative errno (said) */
int __must_check unpacked_move(struct unpacked *unpacked, uint32_t delta);

void unpacked_free(struct unpacked *unpacked);

#endif
