/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Ports: named streams of bytes between the guest and the host, carried by virtio-console (VirtIO 1.3, 5.3).
 *
 * A Linux guest finds a port by its name in /sys/class/virtio-ports/vportNpM/name and opens /dev/vportNpM, one
 * process at a time. The host's end is its owner's: another part of lkvm, which makes the port and is called back.
 *
 * Each end opens and closes on its own. While the host's end is closed, a guest that reads gets the end of file
 * (and POLLHUP) after what was sent before, and one that writes waits. While the guest's end is closed, nothing can
 * be written to it. What was written and not yet read is lost when the guest closes its end, as with any tty.
 *
 * Nothing is buffered here: bytes lie in the guest's buffers until the owner takes them, or stay with the owner
 * until the guest has room. So each side can make the other wait, and can't make lkvm wait or grow.
 *
 * All on the main thread, callbacks too. A callback may call any function of these but port_destroy(); none of them
 * calls back before it returns.
 */
#ifndef KVM_PORT_H
#define KVM_PORT_H

#include "kvm/types.h"

struct kvm;
struct port;

#define PORTS_MAX	30	/* of a VM: all queues that virtio/device.c has, less those for control and port 0 */
#define PORT_NAME_MAX	64	/* bytes */

/** struct port_ops - what a port's owner is told; a NULL is a callback that does nothing */
struct port_ops {
	/** @opened: a process of the guest has opened the port: it can be written to */
	void (*opened)(struct port *port, void *opaque);
	/**
	 * @closed: the guest's end is closed, by its process or by a reset; all that it sent has been received
	 * (after a reset: or is lost). Also called while the device goes, before the owner's exit callback.
	 */
	void (*closed)(struct port *port, void *opaque);
	/**
	 * @receive: @length bytes (1 or more) came from the guest; returns how many of them were taken
	 * Less than @length: the rest stays with the guest, and nothing is received until port_resume(). NULL: all is
	 * dropped. Not called while the host's end is closed: what the guest sends then is dropped.
	 */
	size_t (*receive)(struct port *port, void *opaque, const void *data, size_t length);
	/** @writable: port_write() took less than it was given, or port_room() said 0, and there may be room now */
	void (*writable)(struct port *port, void *opaque);
};

/**
 * port_create() - a port called @name, whose host's end is closed as yet
 * @name: 1 to PORT_NAME_MAX bytes of printable ASCII without blanks or '/'; copied
 *
 * From kvm_create() on and before the virtio_dev level: from a dev_init callback at the latest. Returns 0 or, having
 * said why, -EUSAGE (no such name can be, or it is taken), -ENOSPC, -EBUSY (the guest's devices are made already),
 * -ENOMEM.
 */
int __must_check port_create(struct kvm *kvm, const char *name, const struct port_ops *ops, void *opaque,
			     struct port **port);
/**
 * port_destroy() - frees @port; NULL is fine
 * When there is no device: before the virtio_dev level, or after it is down: from a dev_exit callback, or after
 * kvm_exit().
 */
void port_destroy(struct port *port);

/** port_open() - opens the host's end; it stays open through resets of the guest */
void port_open(struct port *port);
/**
 * port_close() - closes the host's end: the guest reads the end of file behind all that was written
 * What the guest has sent and nobody has taken is dropped. It may be opened again, and the guest is told of both;
 * but a reader in a Linux guest that doesn't run between the two won't have seen an end.
 */
void port_close(struct port *port);

/**
 * port_write() - sends up to @length bytes to the guest; returns how many it took
 * That is what its buffers have room for, and 0 while either end is closed, or the VM paused. If it is less than
 * @length, @writable or @opened will be called when it is worth another try.
 */
size_t port_write(struct port *port, const void *data, size_t length);
/**
 * port_room() - how many bytes port_write() would take at once; 0: as port_write() that takes less
 * There may be more room behind that. For owners who read from elsewhere no more than they can hand on.
 */
size_t port_room(struct port *port);

/** port_resume() - receive again, after @receive took less than it was given */
void port_resume(struct port *port);

/** port_is_open() - whether @opened was called, and @closed not yet */
bool port_is_open(const struct port *port);
const char *port_name(const struct port *port);

#endif
