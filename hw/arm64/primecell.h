/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What Arm's PrimeCell peripherals have in common: eight bytes of identity at the end of their 4 KiB.
 */
#ifndef HW_ARM64_PRIMECELL_H
#define HW_ARM64_PRIMECELL_H

#include "kvm/types.h"

#define PRIMECELL_SIZE		0x1000
#define PRIMECELL_ID		0xfe0

/** primecell_id() - the identity register at @offset (PRIMECELL_ID and up) of part number @part, by Arm */
static inline uint32_t primecell_id(uint16_t part, uint64_t offset)
{
	/* Designer 0x41, "A", is split over two registers; the last four are the same for all. */
	const uint8_t id[8] = { part & 0xff, (part >> 8 & 0xf) | 0x10, 0x04, 0x00, 0x0d, 0xf0, 0x05, 0xb1 };

	return offset % 4 ? 0 : id[(offset - PRIMECELL_ID) / 4 % 8];
}

#endif
