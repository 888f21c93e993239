/* SPDX-License-Identifier: BSD-2-Clause */
/* Files by position: pread(2) and pwrite(2), repeated until all is done; temporary files. Any thread; nothing is said. */
#ifndef KVM_IO_H
#define KVM_IO_H

#include "kvm/types.h"

/** fd_read_at() - how many bytes came, fewer than @length only at the file's end; or a negative errno */
ssize_t __must_check fd_read_at(int fd, uint64_t offset, void *buffer, size_t length);
/** fd_write_at() - all of it: 0, or a negative errno (-EIO: it takes no more, and doesn't say why) */
int __must_check fd_write_at(int fd, uint64_t offset, const void *buffer, size_t length);

/** temporary_folder() - where large files lie that go with the process: $TMPDIR, or /var/tmp */
const char *temporary_folder(void);
/**
 * temporary_file() - a new one in @folder, that nobody else may read: its descriptor, or a negative errno
 * @path: receives its name, to be unlinked; @size: its room; -ENAMETOOLONG: too little
 * By a name, for not every file system has O_TMPFILE.
 */
int __must_check temporary_file(const char *folder, char *path, size_t size);

/** bytes_are_zero() - whether all @length bytes are; none are, too */
bool bytes_are_zero(const void *bytes, size_t length);

#endif
