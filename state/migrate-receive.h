/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What comes in of a migration, taken apart and checked: no VM is needed for it. One thread.
 */
#ifndef STATE_MIGRATE_RECEIVE_H
#define STATE_MIGRATE_RECEIVE_H

#include <jansson.h>

#include "state/migrate-stream.h"

struct migrate_blob {
	uint8_t *data;
	size_t length, capacity;
	bool whole;
};

struct migrate_receiver {
	struct migrate_stream stream;
	struct migrate_blob info_text, state;
	json_t *info;
	void *ram;			/* where memory goes, which is zeroes */
	uint64_t ram_size;
	uint64_t frames;		/* of memory */
	bool paused;			/* what its user wants of the machine */
	bool again;			/* its guest is said to run here */
	uint32_t postcopy_page;		/* the size of a page where there may be post-copy, else 0 */
	bool postcopy;			/* there is: a bit a page of those that are still to come */
	uint64_t *missing;
};

/** migrate_receive_init() - over a socket, which stays the caller's; 0 or -ENOMEM (said) */
int __must_check migrate_receive_init(struct migrate_receiver *receiver, int fd);
void migrate_receive_exit(struct migrate_receiver *receiver);

/** migrate_receive_info() - what the machine is, in @receiver->info; 0 or negative errno (said) */
int __must_check migrate_receive_info(struct migrate_receiver *receiver);
/** migrate_receive_machine() - memory to @receiver->ram, and the state; 0 or negative errno (said) */
int __must_check migrate_receive_machine(struct migrate_receiver *receiver);
/** migrate_said() - says that @result is why the stream can't be read, and returns it */
int migrate_said(int result);

#endif
