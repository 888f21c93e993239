/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernels that are packed: what Linux packs with gzip, xz, zstd or lz4, unpacked piece by piece.
 *
 * The file is hostile: whatever it holds, memory stays bounded, and what comes out goes through the caller's hands in
 * pieces, who says when it is enough.
 */
#ifndef KVM_UNPACK_H
#define KVM_UNPACK_H

#include "kvm/boot.h"

/**
 * unpack_take_fn - takes the next @length unpacked bytes, never none
 * Returns 0, 1 for enough, or negative errno (said).
 */
typedef int unpack_take_fn(void *taker, const uint8_t *data, size_t length);

/** struct unpack - an unpacking under way, for the formats' files */
struct unpack {
	const struct boot_file *file;
	const struct unpack_format *format;
	uint64_t offset, left;		/* what is not read yet */
	unpack_take_fn *take;
	void *taker;
};

/** struct unpack_stream - where a step reads and writes; it moves both on */
struct unpack_stream {
	const uint8_t *in;
	size_t in_left;
	uint8_t *out;
	size_t out_left;
	const char *why;		/* what is wrong, or NULL: with -EINVAL */
};

/**
 * struct unpack_format - one way of packing
 * @load:	its library is there: 0 or -ENOENT; NULL: it is linked in
 * @start:	a decoder, or NULL without memory; @end frees it
 * @step:	unpacks some; 0, 1 at the end that the format has, or -EINVAL (not said)
 * @run:	in their stead, for what is no stream: as unpack_run()
 */
struct unpack_format {
	const char *name;
	const char *magic;
	size_t magic_length;
	int (*load)(void);
	void *(*start)(void);
	int (*step)(void *decoder, struct unpack_stream *stream);
	void (*end)(void *decoder);
	int (*run)(struct unpack *unpack);
};

/**
 * unpack_format() - how the bytes at @offset of @file are packed
 * Returns NULL when that isn't known, or isn't unpacked here: the build has no library for it, or this host hasn't.
 */
const struct unpack_format *unpack_format(const struct boot_file *file, uint64_t offset);

/**
 * unpack_run() - unpacks @length bytes at @offset of @file, up to the end that the format has; what follows is ignored
 * Returns 0, 1 when @take had enough, or negative errno (said). The thread that loads kernels.
 */
int __must_check unpack_run(const struct unpack_format *format, const struct boot_file *file, uint64_t offset,
			    uint64_t length, unpack_take_fn *take, void *taker);

/* ---- for the formats ---- */

/** unpack_read() - the next bytes of what is packed, at most @length; how many, 0 at the end, or negative errno (said) */
ssize_t unpack_read(struct unpack *unpack, uint8_t *buffer, size_t length);
/** unpack_damaged() - says so, with @why or NULL; -EINVAL */
int unpack_damaged(const struct unpack *unpack, const char *why);
/** unpack_truncated() - says so; -EINVAL */
int unpack_truncated(const struct unpack *unpack);

extern const struct unpack_format unpack_xz, unpack_zstd, unpack_lz4;

#endif
