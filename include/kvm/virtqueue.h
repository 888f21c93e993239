/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtqueues: the only code that walks descriptor chains (VirtIO 1.3, 2.7: split rings, 2.8: packed ones).
 *
 * Everything in a ring is written by an adversary. Each descriptor is copied once, then checked, then used;
 * the result is a request made of host segments whose bounds hold. A broken rule puts the device into
 * NEEDS_RESET. A queue belongs to one event loop; nothing here locks.
 */
#ifndef KVM_VIRTQUEUE_H
#define KVM_VIRTQUEUE_H

#include <stdatomic.h>
#include <sys/uio.h>

#include "kvm/memory.h"
#include "kvm/state.h"
#include "kvm/types.h"

struct virtio_device;

#define VIRTQUEUE_SIZE_MAX	1024
/** a chain has at most the queue's size of buffers; each may span this many RAM regions more */
#define VIRTIO_SEGMENTS_MAX	(VIRTQUEUE_SIZE_MAX + 8)

/**
 * struct virtio_request - one descriptor chain as host segments: @readable of them the device reads, then
 * @writable it writes. Allocated from the queue's pool: valid until virtqueue_push() or a reset.
 */
struct virtio_request {
	uint16_t head;			/* what the driver knows it by: a descriptor's index, or a packed ring's buffer ID */
	unsigned int readable, writable;	/* how many segments of each */
	uint32_t readable_bytes, writable_bytes;
	struct iovec *segments;		/* readable ones first */
	unsigned int capacity;
	struct virtio_request *next;	/* pool; a packed ring's: taken */

	/* of a packed ring */
	uint16_t slots;			/* descriptors of the ring that it has */
	unsigned int chain_capacity;
	struct packed_desc *chain;	/* their copies */
	struct virtio_request **link;
};

struct virtqueue {
	/* set by the transport, constant while enabled */
	struct virtio_device *device;
	unsigned int index;
	uint16_t size, size_max;
	gpa_t desc, avail, used;	/* packed: the ring, what the driver wants to hear of, what the device does */
	atomic_bool enabled;		/* vCPUs read it */
	atomic_bool resetting;		/* virtio_queue_reset() is at it; they read that too */
	bool outside;			/* a vhost back end works on its rings: kvm/vhost.h; set behind virtio_device_add() */
	bool event_index, indirect, packed;	/* from the negotiated features; set by virtqueue_start()'s and _load()'s caller */

	/* owned by the queue's event loop */
	struct address_space *memory;
	void *desc_host, *avail_host, *used_host;
	uint16_t last_avail;		/* requests taken, which wraps */
	uint16_t used_index, signalled_used;
	bool signalled_valid;		/* the driver was interrupted since it was started or loaded */
	uint16_t avail_at, used_at;	/* packed: the next descriptors; bit 15: of an odd lap, whose wrap counter is 0 */
	uint16_t unsignalled;		/* packed: descriptors used since it was asked whether the driver wants to know */
	uint16_t pending_at, pending_flags;	/* packed: the first used descriptor that the driver may not see before a flush */
	bool pending;
	uint16_t kick_flags;		/* packed: what it was told of kicks */
	struct virtio_request *taken;	/* packed: those in flight */
	struct packed_saved *saved;	/* packed: those that were when it was saved, until they are taken again */
	unsigned int in_flight;
	bool kick_wanted;		/* the device has asked for notifications */
	bool polled;			/* so it has, but the loop looks by itself: the driver isn't told */
	bool broken;			/* the driver broke a rule: nothing more until a reset */
	struct virtio_request *pool;

	/* counted by that loop, read by anyone (statistics); a reset leaves them */
	atomic_ulong requests, bytes_read, bytes_written;
};

/** virtqueue_start() - resolves the rings; -EFAULT if one leaves RAM (the device is then in NEEDS_RESET) */
int __must_check virtqueue_start(struct virtqueue *vq, struct address_space *memory);
/** virtqueue_stop() - forgets the rings; requests still in flight must have come back */
void virtqueue_stop(struct virtqueue *vq);
/** virtqueue_reset() - virtqueue_stop() and back to power-on values; frees the pool */
void virtqueue_reset(struct virtqueue *vq);

/**
 * virtqueue_pop() - take the next request off the available ring
 * @vq:   running queue, owned by the calling thread
 * @req:  receives the request; valid until virtqueue_push() or reset
 *
 * Returns 1 with a request, 0 if the ring is empty, -EPROTO if the driver broke the rules; the device is
 * then in NEEDS_RESET and every later call returns -EPROTO. -ENOMEM: try again later. VirtIO 1.3, 2.7.
 */
int __must_check virtqueue_pop(struct virtqueue *vq, struct virtio_request **req);

/**
 * virtqueue_retake() - takes the request at @head, which was popped when the queue was saved, with what it says by now
 *
 * Returns 0, -EPROTO (the device is in NEEDS_RESET, or the queue doesn't run) or -ENOMEM.
 */
int __must_check virtqueue_retake(struct virtqueue *vq, uint16_t head, struct virtio_request **req);

/** virtqueue_push() - gives @req back with @written bytes; the driver sees it after virtqueue_flush() */
void virtqueue_push(struct virtqueue *vq, struct virtio_request *req, uint32_t written);

/** virtqueue_unpop() - puts the request popped last back, as if it had not been taken (rx with no data) */
void virtqueue_unpop(struct virtqueue *vq, struct virtio_request *req);

/**
 * virtqueue_waiting() - how many requests the driver says it has made available; at most 65535, whatever it says
 * They are counted one by one in a packed ring.
 */
uint16_t virtqueue_waiting(const struct virtqueue *vq);

/** virtqueue_flush() - publishes pushed requests, and interrupts the driver if it wants to know; once a batch */
void virtqueue_flush(struct virtqueue *vq);

/**
 * virtqueue_enable_kick() - asks for notifications; returns true if requests came meanwhile (poll again)
 * virtqueue_disable_kick() - none wanted while the device is working
 */
bool virtqueue_enable_kick(struct virtqueue *vq);
void virtqueue_disable_kick(struct virtqueue *vq);

/**
 * virtqueue_poll_begin() - the loop looks at virtqueue_poll_waiting() from now on, and the driver need not notify
 * virtqueue_poll_end() - it has to again, if the device wants to know; returns true if requests came meanwhile
 * virtqueue_poll_waiting() - whether there is what the device wants to know of
 */
void virtqueue_poll_begin(struct virtqueue *vq);
bool virtqueue_poll_end(struct virtqueue *vq);
bool virtqueue_poll_waiting(const struct virtqueue *vq);

/** virtqueue_fail() - the driver broke a rule: logs it (limited), sets NEEDS_RESET; returns -EPROTO */
int virtqueue_fail(struct virtqueue *vq, const char *what);

/** virtio_request_read() - gathers up to @length readable bytes from @offset on; returns how many */
size_t virtio_request_read(const struct virtio_request *req, size_t offset, void *buffer, size_t length);
/** virtio_request_write() - scatters into the writable segments; returns how many fitted */
size_t virtio_request_write(const struct virtio_request *req, size_t offset, const void *buffer, size_t length);

/**
 * virtio_request_from_file() - reads @length bytes of the file from @offset on into the writable segments, from @at on
 * virtio_request_to_file() - writes so many of the readable ones
 * @flags: preadv2()'s, pwritev2()'s
 *
 * Any thread, while the request is in flight. The result is how many bytes were moved, or a negative errno if none was.
 */
ssize_t virtio_request_from_file(const struct virtio_request *req, size_t at, int fd, uint64_t offset, size_t length, int flags);
ssize_t virtio_request_to_file(const struct virtio_request *req, size_t at, int fd, uint64_t offset, size_t length, int flags);

/**
 * virtqueue_base() - of a queue whose rings somebody else works on (@vq->outside): where to begin. As vhost has it: the
 * available index; packed: the next available descriptor, and from bit 16 on the next used one, wrap counters on top
 * virtqueue_set_base() - where they are now; -EPROTO: they can't be there
 */
uint32_t virtqueue_base(const struct virtqueue *vq);
int __must_check virtqueue_set_base(struct virtqueue *vq, uint32_t base);
/**
 * virtqueue_take_again() - of such a queue, when nobody can be asked: all is taken again that isn't used
 *
 * false: some would be done twice, and others forgotten. That is so unless it was all done in order, which the two rings
 * of a split queue tell. A packed ring doesn't even say where it is: nothing is changed.
 */
bool virtqueue_take_again(struct virtqueue *vq);

void virtqueue_save(const struct virtqueue *vq, struct state_writer *writer);
int __must_check virtqueue_load(struct virtqueue *vq, struct state_reader *reader);

#endif
