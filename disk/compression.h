/* SPDX-License-Identifier: BSD-2-Clause */
/* How clusters are compressed and expanded: one method a file, each there if its library is. */
#ifndef DISK_COMPRESSION_H
#define DISK_COMPRESSION_H

#include "kvm/types.h"

struct disk_compression {
	const char *name;
	unsigned int type;		/* qcow2's compression_type */
	/** @load: the library that it needs; NULL where that is always there. Returns 0, -ENOENT. */
	int (*load)(void);
	/**
	 * @expand: exactly @to_length bytes from at most @length; what follows them is no error
	 * Returns 0, -EIO when that is not what the bytes hold, -ENOMEM.
	 */
	int (*expand)(const uint8_t *from, size_t length, uint8_t *to, size_t to_length);
	/**
	 * @pack: into at most @room bytes
	 * Returns how many they are, 0 when they don't fit, -ENOMEM.
	 */
	ssize_t (*pack)(const uint8_t *from, size_t length, uint8_t *to, size_t room);
};

struct disk_compression_item {
	const struct disk_compression *compression;
	struct disk_compression_item *next;
};
void disk_compression_register(struct disk_compression_item *item);
/** disk_compression() - that of @type, or NULL: unknown, or its library isn't there */
const struct disk_compression *disk_compression(unsigned int type);

#define DISK_COMPRESSION(compression_)								\
	static struct disk_compression_item compression_##_item = { .compression = &(compression_) };	\
	static void __attribute__((constructor)) compression_##_register(void)				\
	{												\
		disk_compression_register(&compression_##_item);					\
	}												\
	struct disk_compression_item /* swallows the semicolon */

#endif
