/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Vhost: virtqueues that somebody else works on, the host's kernel or another process.
 *
 * A device keeps its config space, features and status here; a struct vhost takes some of its queues: where the rings
 * lie, an eventfd that says there is something in them (the queue's doorbell, straight from KVM) and one that
 * interrupts the driver (straight to KVM, where the transport has such). What works behind it is a table of
 * operations: vhost/kernel.c by ioctls, vhost/user.c by messages over a socket.
 *
 * All on the event loop that owns the device, but for making and closing.
 */
#ifndef KVM_VHOST_H
#define KVM_VHOST_H

#include "kvm/virtio.h"

struct vhost;

#define VHOST_REGIONS_MAX	8	/* what every back end takes */

/** struct vhost_region - a piece of guest RAM: @fd is the file that @host is a shared mapping of, at @fd_offset */
struct vhost_region {
	uint64_t guest, size;
	void *host;
	int fd;
	uint64_t fd_offset;
};

/** struct vhost_ring - one ring, as a back end is told of it; @index counts from the first that it has */
struct vhost_ring {
	unsigned int index;
	uint16_t size;
	uint32_t base;			/* virtqueue_base() */
	void *desc, *avail, *used;
	int kick_fd, call_fd;
};

/**
 * struct vhost_ops - a back end. Each returns 0 or a negative errno; -ENOTCONN: it is away, and vhost_revive() is
 * called when it is back; nobody needs to be told meanwhile.
 */
struct vhost_ops {
	/** @begin: what is negotiated, and guest RAM; then come the rings */
	int (*begin)(struct vhost *vhost, uint64_t features, const struct vhost_region *regions, unsigned int count);
	int (*ring_begin)(struct vhost *vhost, const struct vhost_ring *ring);
	/** @ring_call: a running ring interrupts by @fd from now on */
	int (*ring_call)(struct vhost *vhost, unsigned int index, int fd);
	/** @ring_enable: requests are served, or aren't; rings that run are not enabled at first */
	int (*ring_enable)(struct vhost *vhost, unsigned int index, bool enabled);
	/** @ring_end: it stops, and nothing is in flight; *@base: where it would have gone on, as virtqueue_set_base() has it */
	int (*ring_end)(struct vhost *vhost, unsigned int index, uint32_t *base);
	/** @run: behind the rings' beginning, and before their end; NULL: nothing */
	int (*run)(struct vhost *vhost, bool running);
	/** @reset: the driver reset the device: no request is remembered; rings have ended; NULL: nothing */
	void (*reset)(struct vhost *vhost);
	void (*close)(struct vhost *vhost);
};

struct vhost_queue;

/** struct vhost - embedded in a back end, which sets @ops and @features */
struct vhost {
	const struct vhost_ops *ops;
	uint64_t features;		/* VIRTIO_ bits that it offers */
	bool logs;			/* @begin sees to it that what it writes is in the log of kvm/dirty.h, if there is one */
	bool repeats;			/* knows by itself what was in flight when it went away */

	/* this layer's */
	struct virtio_device *device;
	unsigned int first, count;	/* its queues */
	unsigned int enabled;		/* how many of them serve requests: the first ones */
	struct vhost_queue *queues;
	bool started;			/* the device wants it to work */
	bool live;			/* and it does */
	struct log_limit log;
};

/** vhost_attach() - @vhost has queues @first to @first + @count - 1 of @device, behind virtio_device_add() */
int __must_check vhost_attach(struct vhost *vhost, struct virtio_device *device, unsigned int first, unsigned int count);

/**
 * vhost_start() - from now on the back end works on the queues that are enabled; from start() and resume()
 * vhost_stop() - it doesn't any more, and virtqueues know where it was; from quiesce(). Both may come twice.
 * vhost_reset() - vhost_stop() and forget; from reset()
 */
int __must_check vhost_start(struct vhost *vhost);
void vhost_stop(struct vhost *vhost);
void vhost_reset(struct vhost *vhost);

/** vhost_enable() - the first @count of its queues serve requests; all do unless this was called */
int __must_check vhost_enable(struct vhost *vhost, unsigned int count);

/** vhost_interrupts_moved() - from the device's interrupts_moved() */
void vhost_interrupts_moved(struct vhost *vhost);

/** vhost_detach() - behind virtio_device_del(), while the loop lives; vhost_close() does so too if need be */
void vhost_detach(struct vhost *vhost);

/** vhost_close() - frees @vhost, behind virtio_device_del(); NULL is nothing */
void vhost_close(struct vhost *vhost);

/**
 * vhost_net_open() - the host's kernel moves frames between the two rings of a queue pair and @tap_fd, which stays the
 * caller's; vhost_vsock_open() - it connects the guest's sockets, and knows the guest as @cid. Both say their errors.
 */
int __must_check vhost_net_open(struct vhost **vhost, int tap_fd);
int __must_check vhost_vsock_open(struct vhost **vhost, uint64_t cid);
/** vhost_scsi_open() - it has a SCSI controller's three rings, in front of the target @wwpn that LIO has; says its errors */
int __must_check vhost_scsi_open(struct vhost **vhost, const char *wwpn, uint16_t tpgt);

/** vhost_lost(), vhost_revive() - for back ends: it went away, unasked; it is back, and goes on where it was */
void vhost_lost(struct vhost *vhost);
int __must_check vhost_revive(struct vhost *vhost);

#endif
