/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the files of virtio-vsock share: vsock.c has the device and its queues, vsock-connection.c the connections,
 * vsock-listen.c the Unix socket that host programs connect to. All on the main loop.
 */
#ifndef VIRTIO_VSOCK_H
#define VIRTIO_VSOCK_H

#include <linux/virtio_vsock.h>

#include "kvm/virtio.h"
#include "virtio/vsock-guest.h"

#define VSOCK_CID_HOST		2U
#define VSOCK_CONNECTIONS_MAX	256
#define VSOCK_RESETS_MAX	64		/* for packets that belong to no connection */
#define VSOCK_BUFFER		KIB(128)	/* what a guest may send on a connection before the host takes it */
#define VSOCK_PACKET_MAX	KIB(64)		/* of data */
#define VSOCK_LINE_MAX		32		/* of a host's CONNECT */

/* One fetch of the guest's header, in the host's byte order. */
struct vsock_packet {
	uint64_t source_cid, destination_cid;
	uint32_t source_port, destination_port;
	uint32_t length;
	uint16_t type, operation;
	uint32_t flags, buffer_size, forwarded;
};

enum vsock_state {
	VSOCK_GREETING,		/* a host program has connected, its CONNECT has not come yet */
	VSOCK_ASKING,		/* the guest has been asked, or is about to be */
	VSOCK_CONNECTED,
	VSOCK_DEAD,		/* only its reset is still to be sent */
};

/* what the guest is to be sent, besides data */
#define VSOCK_SEND_REQUEST	0x01
#define VSOCK_SEND_RESPONSE	0x02
#define VSOCK_SEND_CREDIT	0x04
#define VSOCK_SEND_SHUTDOWN	0x08
#define VSOCK_SEND_RESET	0x10

struct vsock_connection {
	struct vsock *vsock;
	struct event_source source;	/* source.fd: the Unix socket, or -1 */
	enum vsock_state state;
	uint32_t guest_port, host_port;
	char line[VSOCK_LINE_MAX];
	unsigned int line_length;
	uint8_t pending;		/* VSOCK_SEND_* */
	bool readable;			/* the socket may have data, or its end */
	bool host_ended, host_gone;	/* it sends no more; it doesn't receive either */
	uint8_t guest_shutdown;		/* VIRTIO_VSOCK_SHUTDOWN_* that came */
	/* credit: what the guest has room for and was sent; what the host took, and what the guest knows of that */
	uint32_t peer_size, peer_forwarded, sent;
	uint32_t forwarded, forwarded_told;
	/* what the socket had no room for: a ring of VSOCK_BUFFER, made when it is needed */
	uint8_t *buffer;
	uint32_t buffer_head, buffered;
};

struct vsock {
	struct virtio_device device;
	struct vsock_guest guest;
	char *path;			/* of the Unix socket; PATH_PORT are the host's */
	ino_t inode;			/* of what was bound there */
	struct event_source listener;	/* source.fd -1: none */
	struct event_timer listen_again;
	struct vsock_connection *connections[VSOCK_CONNECTIONS_MAX];
	unsigned int count, next;	/* whose turn it is to send to the guest */
	uint32_t next_port;		/* of the host, for connections from there */
	struct { uint32_t guest_port, host_port; } resets[VSOCK_RESETS_MAX];
	unsigned int reset_count;
	bool transmit_stalled;		/* requests wait until resets have been sent */
	bool quiesced;
	uint64_t turn_bytes;		/* moved in this turn of the loop */
	uint8_t bounce[VSOCK_PACKET_MAX];
};

/* ---- vsock.c ---- */

/** vsock_wake() - something is to be sent to the guest; connections may be gone when it returns */
void vsock_wake(struct vsock *vsock);

/* ---- vsock-connection.c ---- */

/** vsock_connection_new() - takes @fd over in any case; NULL without room or memory */
struct vsock_connection *vsock_connection_new(struct vsock *vsock, int fd, enum vsock_state state);
void vsock_connection_free(struct vsock_connection *connection);
struct vsock_connection *vsock_connection_find(struct vsock *vsock, uint32_t guest_port, uint32_t host_port);
/** vsock_connection_watch() - after any change: watches the socket for what can be used now */
void vsock_connection_watch(struct vsock_connection *connection);
/** vsock_connection_reset() - the guest will be sent a reset, then it is gone; the socket is closed at once */
void vsock_connection_reset(struct vsock_connection *connection);
/**
 * vsock_connection_receive() - a packet of the guest's, its data in vsock->bounce
 * May free the connection.
 */
void vsock_connection_receive(struct vsock_connection *connection, const struct vsock_packet *packet);
/**
 * vsock_connection_send() - fills @req with the next packet for the guest
 * Returns its bytes, 0 if there is nothing to send. May free the connection.
 */
uint32_t vsock_connection_send(struct vsock_connection *connection, struct virtio_request *req);
/** vsock_connect_host() - the guest asks for a port of the host's */
void vsock_connect_host(struct vsock *vsock, const struct vsock_packet *packet);
/** vsock_packet_write() - a header into @req; returns its size */
uint32_t vsock_packet_write(const struct vsock *vsock, struct virtio_request *req, const struct vsock_packet *packet);
/** vsock_reset_unknown() - the guest will be told that there is no such connection */
void vsock_reset_unknown(struct vsock *vsock, uint32_t guest_port, uint32_t host_port);

/* ---- vsock-listen.c ---- */

/** vsock_listen_open() - binds vsock->path; says what is wrong */
int __must_check vsock_listen_open(struct vsock *vsock);
void vsock_listen_close(struct vsock *vsock);
/** vsock_listen_watch() - accepts or, while @on is false, doesn't */
void vsock_listen_watch(struct vsock *vsock, bool on);
/** vsock_greet() - reads on in a host program's CONNECT; may free the connection */
void vsock_greet(struct vsock_connection *connection);

#endif
