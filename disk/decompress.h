/* SPDX-License-Identifier: BSD-2-Clause */
/* How compressed clusters are expanded: one method a file, each there if its library is. */
#ifndef DISK_DECOMPRESS_H
#define DISK_DECOMPRESS_H

#include "kvm/types.h"

struct disk_decompressor {
	const char *name;
	unsigned int type;		/* qcow2's compression_type */
	/**
	 * @expand: exactly @to_length bytes from at most @length; what follows them is no error
	 * Returns 0, -EIO when that is not what the bytes hold, -ENOMEM.
	 */
	int (*expand)(const uint8_t *from, size_t length, uint8_t *to, size_t to_length);
};

struct disk_decompressor_item {
	const struct disk_decompressor *decompressor;
	struct disk_decompressor_item *next;
};
void disk_decompressor_register(struct disk_decompressor_item *item);
/** disk_decompressor() - that of @type, or NULL */
const struct disk_decompressor *disk_decompressor(unsigned int type);

#define DISK_DECOMPRESSOR(decompressor_)								\
	static struct disk_decompressor_item decompressor_##_item = { .decompressor = &(decompressor_) };	\
	static void __attribute__((constructor)) decompressor_##_register(void)				\
	{												\
		disk_decompressor_register(&decompressor_##_item);					\
	}												\
	struct disk_decompressor_item /* swallows the semicolon */

#endif
