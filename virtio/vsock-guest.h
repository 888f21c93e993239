/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What a guest sees of its virtio-vsock device however the host carries the data (virtio/vsock.c, vhost/vsock.c): its
 * CID, and the event that all its connections are gone. On the device's loop.
 */
#ifndef VIRTIO_VSOCK_GUEST_H
#define VIRTIO_VSOCK_GUEST_H

#include "kvm/virtio.h"

#define VSOCK_CID_FIRST		3U	/* a guest's: the ones before it have meanings of their own */

struct vsock_guest {
	uint32_t cid;
	bool transport_reset;		/* the driver is to be told that all connections are gone */
};

/** vsock_guest_parse() - the CID that --vsock names, `auto` for any; 0, or -EUSAGE (said) */
int vsock_guest_parse(struct vsock_guest *guest, const char *text);

/** vsock_guest_config() - reads the configuration space (VirtIO 1.3, 5.10.4) */
void vsock_guest_config(const struct vsock_guest *guest, size_t offset, void *buffer, size_t size);

/**
 * vsock_guest_event() - a buffer of the event queue (5.10.6.7): filled when there is something to tell
 *
 * Returns 1 when the buffer was used, 0 when it was put back for later.
 */
int vsock_guest_event(struct vsock_guest *guest, struct virtqueue *vq, struct virtio_request *req);

#endif
