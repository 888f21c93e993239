/* SPDX-License-Identifier: BSD-2-Clause */
/* Between disk/nbd.c (requests), disk/nbd-connection.c and disk/nbd-library.c: a file that is an export of an NBD server. */
#ifndef DISK_NBD_H
#define DISK_NBD_H

#include <libnbd.h>

#include "disk/engine.h"
#include "disk/remote.h"

struct nbd_library {
	__typeof__(nbd_create) *create;
	__typeof__(nbd_close) *close;
	__typeof__(nbd_get_error) *get_error;
	__typeof__(nbd_get_errno) *get_errno;
	__typeof__(nbd_set_request_block_size) *set_request_block_size;
	__typeof__(nbd_get_size) *get_size;
	__typeof__(nbd_is_read_only) *is_read_only;
	__typeof__(nbd_can_flush) *can_flush;
	__typeof__(nbd_can_fua) *can_fua;
	__typeof__(nbd_can_trim) *can_trim;
	__typeof__(nbd_can_zero) *can_zero;
	__typeof__(nbd_poll) *poll;
	__typeof__(nbd_aio_connect_uri) *connect_uri;
	__typeof__(nbd_aio_disconnect) *disconnect;
	__typeof__(nbd_aio_get_fd) *get_fd;
	__typeof__(nbd_aio_get_direction) *get_direction;
	__typeof__(nbd_aio_notify_read) *notify_read;
	__typeof__(nbd_aio_notify_write) *notify_write;
	__typeof__(nbd_aio_is_ready) *is_ready;
	__typeof__(nbd_aio_is_processing) *is_processing;
	__typeof__(nbd_aio_is_dead) *is_dead;
	__typeof__(nbd_aio_is_closed) *is_closed;
	__typeof__(nbd_aio_pread) *pread;
	__typeof__(nbd_aio_pwrite) *pwrite;
	__typeof__(nbd_aio_flush) *flush;
	__typeof__(nbd_aio_trim) *trim;
	__typeof__(nbd_aio_zero) *zero;
};

/** nbd_library() - loaded when it is first asked for; NULL (said): it can't be */
const struct nbd_library *nbd_library(void);

/* The main thread's, and then the loop's that the disk is attached to. */
struct disk_nbd {
	const struct nbd_library *library;
	struct disk_file *file;
	char *uri;
	struct nbd_handle *handle;	/* NULL: no connection */
	bool connecting;
	bool can_flush, can_fua, can_trim, can_zero;
	uint64_t changes, flushed;	/* changes that ended well; how many of them are on the medium */
	char why[160];			/* it couldn't be made */
	bool changes_lost;		/* some that weren't went with a connection: the next flush says so */
	uint64_t progress_ns;		/* when the server was last heard of */
	uint64_t retry_ns;		/* it isn't tried again before */

	/* while attached */
	struct disk_engine *engine;	/* NULL: no request yet */
	struct disk_nbd *next;		/* of the engine's */
	struct event_source source;
	struct event_timer timer;
	struct event_work deliver;
	bool calling;			/* somebody waits for a command that is no request */
	bool notifying;			/* what is done is delivered right behind it */
	struct disk_request *waiting, **waiting_tail;	/* for the connection */
	struct disk_request *flight;	/* linked by their commands */
	struct disk_request *done, **done_tail;
};

/* ---- the connection (disk/nbd-connection.c) ---- */

/** nbd_open_connection() - the first, waiting for it; says why not */
int __must_check nbd_open_connection(struct disk_nbd *nbd);
void nbd_close_connection(struct disk_nbd *nbd);
/** nbd_connect() - begins to, unless there is one or a server that was just gone: -EIO */
int __must_check nbd_connect(struct disk_nbd *nbd);
/** nbd_connect_wait() - until there is one that works, for a bounded time; -EIO */
int __must_check nbd_connect_wait(struct disk_nbd *nbd);
/** nbd_look() - behind whatever may have changed it: notices its end or its being there, and what to wait for next */
void nbd_look(struct disk_nbd *nbd);
/** nbd_poll_once() - waits a moment for the server, and looks */
void nbd_poll_once(struct disk_nbd *nbd);
void nbd_attach(struct disk_nbd *nbd, struct disk_engine *engine);
void nbd_detach(struct disk_nbd *nbd);

/* ---- requests (disk/nbd.c) ---- */

/** nbd_send_waiting() - there is a connection now */
void nbd_send_waiting(struct disk_nbd *nbd);
/** nbd_fail_all() - the connection is gone: those in flight and those that waited for it get -EIO, later */
void nbd_fail_all(struct disk_nbd *nbd);
/** nbd_deliver() - finishes what is done */
void nbd_deliver(struct disk_nbd *nbd);
/** nbd_has_requests() - the server owes us something */
bool nbd_has_requests(const struct disk_nbd *nbd);

#endif
