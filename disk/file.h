/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The file under a format: a regular file, a block device or what a server has (disk/remote.h), opened, measured and locked, with synchronous calls
 * for a format's tables and for tools. Guest data goes through the engine (disk/engine.h).
 */
#ifndef DISK_FILE_H
#define DISK_FILE_H

#include <time.h>

#include "kvm/disk.h"

struct disk_file;
struct disk_remote_ops;

/**
 * struct disk_file_tap - sees what is about to change a file; for tests that cut the power
 * @change: @op on [@offset, @offset + @length), @iov its data for DISK_WRITE, NULL otherwise, @fua as in struct
 *          disk_request; a negative errno refuses it. A new size comes as DISK_DISCARD of no length at that size.
 */
struct disk_file_tap {
	int (*change)(struct disk_file_tap *tap, enum disk_op op, uint64_t offset, uint64_t length,
		      const struct iovec *iov, unsigned int iov_count, bool fua);
};

struct disk_file {
	/* constant once open */
	char *path;
	int fd;
	bool direct, read_only, no_flush, block_device;
	bool no_zeroes;			/* its server can't write zeroes but as data */
	const struct disk_remote_ops *remote_ops;	/* NULL: a file of this host. If not, fd is -1 (disk/remote.h) */
	void *remote;			/* theirs */
	uint32_t block_size;		/* logical */
	uint32_t physical_block_size;
	/* owned by the disk's loop */
	uint64_t size;			/* bytes; what disk_file_resize() made of it */
	unsigned int place;		/* in an io_uring's table of files, perhaps */
	struct timespec handed_over;	/* when it was written to last, as it went to another process */
	bool flush_by_thread;		/* its file system has no asynchronous flush */
	struct disk_file_tap *tap;
};

struct disk_file_options {
	const char *path;
	const char *shown;		/* what messages call it; NULL: @path */
	const char *beneath;		/* the real path of the folder it must lie in, or NULL */
	bool read_only, direct;
	bool no_flush;			/* whatever is asked to be on the medium is left to the host's own time */
};

/** disk_file_open() - opens, measures and locks; says one line on failure; changes nothing */
int __must_check disk_file_open(struct disk_file **file, const struct disk_file_options *options);
void disk_file_close(struct disk_file *file);

/** disk_file_real_path() - where the open file is, as a string to be freed; NULL without memory or /proc */
char *disk_file_real_path(const struct disk_file *file);

/** disk_file_lock() - QEMU's byte locks, for reading or for writing; -EBUSY (said) when another has it */
int __must_check disk_file_lock(const struct disk_file *file);
/** disk_file_try_lock() - the same, saying nothing; disk_file_unlock() - gives them back */
int __must_check disk_file_try_lock(const struct disk_file *file);
void disk_file_unlock(const struct disk_file *file);
/** disk_file_is_locked() - whether another process would find it in use, for writing */
bool disk_file_is_locked(const struct disk_file *file);

/*
 * Synchronous calls: any offset and length, also on a file that is open for direct I/O. They return 0 or a negative
 * errno and say nothing. Where direct I/O wants whole blocks, a write reads and rewrites those around it: nothing
 * else may be writing them.
 */

/** disk_file_read() - what lies past the end of the file reads as zeroes */
int __must_check disk_file_read(struct disk_file *file, uint64_t offset, void *buffer, size_t length);
/**
 * disk_file_find_hole() - whether the file has a hole at @offset, and how far that goes: *@run of at most @length bytes
 *
 * Where holes can't be told, all is data.
 */
int __must_check disk_file_find_hole(struct disk_file *file, uint64_t offset, uint64_t length, uint64_t *run, bool *hole);
int __must_check disk_file_write(struct disk_file *file, uint64_t offset, const void *buffer, size_t length);
/* What zeroes are written from, aligned to 4096. */
#define DISK_ZEROES_SIZE	16384
extern const uint8_t *const disk_zeroes;

/** disk_file_write_zeroes() - @may_unmap: by a hole, if that can be; the size stays */
int __must_check disk_file_write_zeroes(struct disk_file *file, uint64_t offset, uint64_t length, bool may_unmap);
/** disk_file_discard() - a hint: 0 also where it can't be followed */
int __must_check disk_file_discard(struct disk_file *file, uint64_t offset, uint64_t length);
int __must_check disk_file_flush(struct disk_file *file);
/** disk_file_measure() - takes over the size and block sizes that the file has now; says why not */
int __must_check disk_file_measure(struct disk_file *file);
/** disk_file_resize() - what is gained reads as zeroes; -ENOTSUP on a block device */
int __must_check disk_file_resize(struct disk_file *file, uint64_t size);

/* The same without asking the tap; any thread. */
int __must_check disk_file_write_zeroes_now(const struct disk_file *file, uint64_t offset, uint64_t length, bool may_unmap);
int __must_check disk_file_discard_now(const struct disk_file *file, uint64_t offset, uint64_t length);

/** disk_file_change() - asks the tap, if there is one */
static inline int disk_file_change(struct disk_file *file, enum disk_op op, uint64_t offset, uint64_t length,
				   const struct iovec *iov, unsigned int iov_count, bool fua)
{
	return file->tap ? file->tap->change(file->tap, op, offset, length, iov, iov_count, fua) : 0;
}

#endif
