/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Kernel files of arm64: what kind a file is, and how much room it needs.
 */
#ifndef ARM64_IMAGE_H
#define ARM64_IMAGE_H

#include "kvm/boot.h"
#include "kvm/unpack.h"

enum image_kind {
	IMAGE_ARM64,	/* Documentation/arch/arm64/booting.rst */
	IMAGE_ZIMAGE,	/* Documentation/arch/arm/booting.rst */
	IMAGE_FLAT,	/* starts with its first instruction */
};

struct image {
	enum image_kind kind;
	const struct unpack_format *packed;	/* NULL: it isn't */
	uint64_t offset, length;	/* of the image, packed or not, in the file */
	uint64_t text_offset;		/* from a 2 MiB boundary to where it is loaded */
	uint64_t size;			/* to be kept free from there, 0: the header doesn't say */
};

#define IMAGE_HEADER_SIZE	64
#define IMAGE_FLAT_OFFSET	0x80000
#define IMAGE_ZIMAGE_OFFSET	0x8000

/**
 * image_identify() - finds out what @file is
 * @flat: call it flat, whatever it looks like
 *
 * Returns 1 and fills @image, 0 for something that isn't known, or -EINVAL (said) for what is known, but is
 * broken, packed in a way that isn't unpacked here, or another machine's.
 */
int __must_check image_identify(const struct boot_file *file, bool flat, struct image *image);

/** image_parse_header() - whether these first bytes, unpacked, are a 64-bit Image's; fills @image's sizes */
bool image_parse_header(const uint8_t header[IMAGE_HEADER_SIZE], struct image *image);

/** image_load() - unpacks it to @to, which has @room bytes; 0 or negative errno (said) */
int __must_check image_load(struct kvm *kvm, const struct boot_file *file,
			    const struct image *image, gpa_t to, uint64_t room);

#endif
