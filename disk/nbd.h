/* SPDX-License-Identifier: BSD-2-Clause */
/* Between disk/nbd.c (requests) and disk/nbd-*.c: a file that is an export of an NBD server. */
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

#define NBD_WHY_MAX	160

struct nbd_attempt;

/* The main thread's, and then the loop's that the disk is attached to. */
struct disk_nbd {
	const struct nbd_library *library;
	struct disk_file *file;
	char *uri;
	struct nbd_handle *handle;	/* NULL: no connection */
	struct nbd_attempt *attempt;	/* to make one; or NULL */
	bool can_flush, can_fua, can_trim, can_zero;
	uint64_t changes, flushed;	/* changes that ended well; how many of them are on the medium */
	char why[NBD_WHY_MAX];		/* it couldn't be made */
	bool changes_lost;		/* some that weren't went with a connection: the next flush says so */
	uint64_t generation;		/* of connections */
	uint64_t progress_ns;		/* when the server was last heard of */
	uint64_t made_ns, lost_ns;	/* when the connection was; lost_ns 0: long ago */
	uint64_t retry_ns, pause_ns;	/* it isn't tried again before; and how long that is from a failure on */
	/* how long a server may owe us something, or not be there, before requests fail; and either while a drain waits */
	uint64_t silence_ns, patience_ns, drain_ns;

	/* while attached */
	struct disk_engine *engine;	/* or NULL */
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

/* ---- making a connection (disk/nbd-attempt.c) ---- */

/**
 * nbd_attempt_begin() - to connect to @uri; NULL: no memory
 * @patience_ns: for a server that is found; @work: posted when it has ended, or NULL
 */
struct nbd_attempt *nbd_attempt_begin(const struct nbd_library *library, const char *uri, uint64_t patience_ns, struct event_work *work);
/** nbd_attempt_wait() - whether it has ended; waits for that until @until_ns at most, 0: doesn't */
bool nbd_attempt_wait(struct nbd_attempt *attempt, uint64_t until_ns);
/** nbd_attempt_take() - the connection of one that has ended, or NULL and @why; @attempt is no more */
struct nbd_handle *nbd_attempt_take(struct nbd_attempt *attempt, char why[NBD_WHY_MAX]);
/** nbd_attempt_abandon() - whatever comes of it; its work isn't posted from here on */
void nbd_attempt_abandon(struct nbd_attempt *attempt);

/* ---- the connection (disk/nbd-connection.c) ---- */

/** nbd_open_connection() - the first, waiting for it; says why not */
int __must_check nbd_open_connection(struct disk_nbd *nbd);
void nbd_close_connection(struct disk_nbd *nbd);
/** nbd_connect_wait() - of a disk that isn't attached: until there is one, for a bounded time; -EIO. On a loop nothing waits. */
int __must_check nbd_connect_wait(struct disk_nbd *nbd);
/** nbd_is_gone() - the connection that there is has ended, as the library has found */
bool nbd_is_gone(const struct disk_nbd *nbd);
/** nbd_is_given_up() - the server has been away for so long that requests fail until it is back */
bool nbd_is_given_up(const struct disk_nbd *nbd);
/** nbd_give_up() - nothing waits for the server any longer */
void nbd_give_up(struct disk_nbd *nbd);
/** nbd_look() - behind whatever may have changed it: notices its end or its being there, and what to wait for next */
void nbd_look(struct disk_nbd *nbd);
/** nbd_poll_once() - waits a moment for the server, and looks */
void nbd_poll_once(struct disk_nbd *nbd);
void nbd_attach(struct disk_nbd *nbd, struct disk_engine *engine);
void nbd_detach(struct disk_nbd *nbd);

/* ---- requests (disk/nbd.c) ---- */

/** nbd_send_waiting() - there is a connection now */
void nbd_send_waiting(struct disk_nbd *nbd);
/** nbd_keep_flight() - the connection is gone: what was in flight waits for the next, or fails if it did so too often */
void nbd_keep_flight(struct disk_nbd *nbd);
/** nbd_fail_waiting() - it gets -EIO, later */
void nbd_fail_waiting(struct disk_nbd *nbd);
/** nbd_deliver() - finishes what is done, and lets the disk go on that waited for a connection */
void nbd_deliver(struct disk_nbd *nbd);
/** nbd_has_requests() - the server owes us something */
bool nbd_has_requests(const struct disk_nbd *nbd);

#endif
