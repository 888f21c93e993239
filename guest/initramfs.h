/* SPDX-License-Identifier: BSD-2-Clause */
/* An initramfs, made in memory: the kernel's Documentation/driver-api/early-userspace/buffer-format.rst ("newc"). */
#ifndef GUEST_INITRAMFS_H
#define GUEST_INITRAMFS_H

#include <stdio.h>
#include <sys/stat.h>

#include "kvm/types.h"

struct initramfs {
	FILE *file;
	unsigned int count;
};

/** initramfs_begin() - 0, or negative errno (not said); every begin has an end */
int __must_check initramfs_begin(struct initramfs *image);
/** initramfs_add() - @path without a leading slash; @mode with its S_IF bits; what went wrong shows at the end */
void initramfs_add(struct initramfs *image, const char *path, mode_t mode, const void *bytes, size_t length);
/** initramfs_add_device() - a character device's node */
void initramfs_add_device(struct initramfs *image, const char *path, unsigned int major, unsigned int minor);
/** initramfs_copy() - the host's file @from as @path; 0, or negative errno (not said) */
int __must_check initramfs_copy(struct initramfs *image, const char *path, const char *from);
/** initramfs_end() - the image as a file in memory, close-on-exec; or negative errno (not said) */
int __must_check initramfs_end(struct initramfs *image);

#endif
