/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Files that aren't this host's: a server's, by a URI. One kind registers itself by DISK_REMOTE(), and is built where its
 * library is. Only users name such files, never images.
 */
#ifndef DISK_REMOTE_H
#define DISK_REMOTE_H

#include "disk/engine.h"
#include "disk/file.h"

/**
 * struct disk_remote_ops - a kind of server; on the main thread, and then on the loop that the disk is attached to
 * @scheme: what its URIs begin with: "nbd" for nbd://, nbds:// and nbd+unix://
 * @most: bytes of a read or write that it takes at once; of one segment
 * @open: fills @file's size and no_zeroes, and honours its read_only; says why not
 * @close: also after an open() that failed
 * @call: one operation, waiting for it, a bounded time; @buffer is data of @length bytes, or NULL
 * @attach: the engine has a loop now, and is to use @file
 * @ready: whether a format may be asked for something: its calls would fail if not. When that changes, disk_engine_let_go()
 * @submit: a request, that ends in disk_engine_finish() but not before this returns; counted in engine->remote_busy till then
 * @wait: blocks until at least one is finished, or for a moment
 * @stop: the engine's loop is left; nothing is in flight
 */
struct disk_remote_ops {
	const char *scheme;
	uint64_t most;
	int (*open)(struct disk_file *file, const char *uri);
	void (*close)(struct disk_file *file);
	int (*call)(struct disk_file *file, enum disk_op op, uint64_t offset, void *buffer, uint64_t length, bool may_unmap);
	void (*attach)(struct disk_engine *engine, struct disk_file *file);
	bool (*ready)(struct disk_engine *engine);
	void (*submit)(struct disk_engine *engine, struct disk_request *request);
	void (*wait)(struct disk_engine *engine);
	void (*stop)(struct disk_engine *engine);
};

struct disk_remote_item {
	const struct disk_remote_ops *ops;
	struct disk_remote_item *next;
};
void disk_remote_register(struct disk_remote_item *item);

/** disk_is_remote() - whether a name is a URI */
bool disk_is_remote(const char *name);
/** disk_remote_find() - who has it, or NULL */
const struct disk_remote_ops *disk_remote_find(const char *uri);

#define DISK_REMOTE(ops_)								\
	static struct disk_remote_item ops_##_item = { .ops = &(ops_) };		\
	static void __attribute__((constructor)) ops_##_register(void)			\
	{										\
		disk_remote_register(&ops_##_item);					\
	}										\
	struct disk_remote_item /* swallows the semicolon */

#endif
