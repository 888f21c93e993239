/* SPDX-License-Identifier: BSD-2-Clause */
/* Between gdb-server.c and gdb-address.c: where the gdb server listens. */
#ifndef CONTROL_GDB_ADDRESS_H
#define CONTROL_GDB_ADDRESS_H

#include <sys/types.h>

#include "kvm/types.h"

/** struct gdb_address - a port of the loopback, or a path */
struct gdb_address {
	char *path;		/* absolute; NULL: TCP */
	uint16_t port;
	bool ipv6;
	char *text;		/* as gdb's `target remote` takes it; set by gdb_address_listen() */
	ino_t inode;
};

/** gdb_address_parse() - "tcp:PORT", "tcp:HOST:PORT" with a HOST of the loopback, "unix:PATH"; NULL: the default; 0 or -EUSAGE */
int __must_check gdb_address_parse(struct gdb_address *address, const char *text);
/** gdb_address_listen() - a listening socket, or negative errno (said) */
int __must_check gdb_address_listen(struct gdb_address *address);
/** gdb_address_unlink() - takes away a socket's name, if it is still ours */
void gdb_address_unlink(const struct gdb_address *address);
void gdb_address_free(struct gdb_address *address);

#endif
