/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Where a migration goes to, or comes from: tcp:HOST:PORT, unix:PATH, exec:COMMAND or fd:N. Any thread.
 */
#ifndef STATE_MIGRATE_ADDRESS_H
#define STATE_MIGRATE_ADDRESS_H

#include <sys/types.h>

#include "kvm/types.h"

/** struct migrate_connection - @fd: a connected stream socket, or -1; @child: of exec:, else 0 */
struct migrate_connection {
	int fd;
	pid_t child;
	bool addressed;			/* tcp: or unix: */
};

#define MIGRATE_ENDS	160

/** migrate_address_check() - whether @address is of one of the forms; 0 or -EUSAGE (said) */
int __must_check migrate_address_check(const char *address);
/**
 * migrate_connect() - to one that waits
 * @made: called with the socket before it is connected, so that somebody can shut it down meanwhile; or NULL
 * 0 or negative errno (said).
 */
int __must_check migrate_connect(struct migrate_connection *connection, const char *address, void (*made)(void *opaque, int fd),
				 void *opaque);
/**
 * migrate_accept() - waits for one that connects, as long as it takes
 * @stop_fd: it ends with -ECANCELED, unsaid, when that can be read; or -1
 * 0 or negative errno (said).
 */
int __must_check migrate_accept(struct migrate_connection *connection, const char *address, int stop_fd);
void migrate_disconnect(struct migrate_connection *connection);

/**
 * migrate_ends() - the two ends of a connection, as numbers of processes or of ports
 * @far_first: which of them comes first
 * @text: of MIGRATE_ENDS bytes; empty if they can't be told
 *
 * Where both sides name the same ones nobody is in between: when one closes its socket, the other has had all that it sent.
 */
void migrate_ends(int fd, bool far_first, char *text);

#endif
