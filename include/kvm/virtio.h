/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Virtio devices and their transports (VirtIO 1.3).
 *
 * A device is a static const struct virtio_device_ops and one struct that embeds struct virtio_device. It
 * knows queues and config space, never its transport: virtio/pci.c and virtio/mmio.c, modern and legacy,
 * stand behind it. All of a device's callbacks run on the event loop that owns it; the transports move the
 * driver's register writes there.
 */
#ifndef KVM_VIRTIO_H
#define KVM_VIRTIO_H

#include <linux/virtio_config.h>
#include <linux/virtio_ids.h>
#include <stdatomic.h>

#include "kvm/device.h"
#include "kvm/event.h"
#include "kvm/log.h"
#include "kvm/virtqueue.h"

/* Not yet in all kernels' headers. */
#ifndef VIRTIO_F_NOTIFICATION_DATA
#define VIRTIO_F_NOTIFICATION_DATA	38
#endif
#ifndef VIRTIO_F_RING_RESET
#define VIRTIO_F_RING_RESET	40
#endif

#define VIRTIO_QUEUES_MAX	64
#define VIRTIO_CONFIG_MAX	256

struct virtio_device;

struct virtio_device_ops {
	const char *name;		/* "virtio-rng" */
	uint16_t id;			/* VIRTIO_ID_* */
	uint32_t class_code;		/* PCI class, 24 bits */
	unsigned int queues;		/* default number; virtio_device.queue_count may be set before add */
	uint16_t queue_size;		/* largest; 0 means 256 */
	size_t config_size;		/* bytes of device config space */
	bool in_order;			/* each queue's requests are pushed in the order that they were popped in */

	/** @handle_queue: the driver kicked @vq; pop until empty, push, flush. virtio_process() does the loop. */
	void (*handle_queue)(struct virtio_device *device, struct virtqueue *vq);
	/**
	 * @config_read, @config_write: device config at @offset; in bounds already. Little-endian in the buffer.
	 * Reads come on vCPU threads, so what changes at run time is atomic or locked; writes on the loop.
	 */
	void (*config_read)(struct virtio_device *device, size_t offset, void *buffer, size_t size);
	void (*config_write)(struct virtio_device *device, size_t offset, const void *buffer, size_t size);
	/** @start: DRIVER_OK was set, queues run; NULL: nothing to do */
	int (*start)(struct virtio_device *device);
	/** @interrupts_moved: what virtio_interrupt_fd() says may have changed; NULL: nobody asked it */
	void (*interrupts_moved)(struct virtio_device *device);
	/**
	 * @queue_reset: the driver resets @vq alone; the device is quiesced, and is resumed then: what it knows of that
	 * queue's requests besides is forgotten; NULL: there is nothing
	 */
	void (*queue_reset)(struct virtio_device *device, struct virtqueue *vq);
	/** @reset: back to power-on; returns when no host I/O is in flight any more */
	void (*reset)(struct virtio_device *device);
	/** @power_on: the machine is reset, after @reset: what a driver's reset leaves alone; NULL: nothing */
	void (*power_on)(struct virtio_device *device);
	/** @quiesce, @resume, @save, @load: as in struct device_ops, of what is the device's own; NULL: nothing */
	int (*quiesce)(struct virtio_device *device);
	void (*resume)(struct virtio_device *device);
	void (*save)(struct virtio_device *device, struct state_writer *writer);
	int (*load)(struct virtio_device *device, struct state_reader *reader);
};

/** struct virtio_transport_ops - how a device reaches its driver; one static const table a transport */
struct virtio_transport_ops {
	const char *name;
	/** @interrupt_queue: any thread */
	void (*interrupt_queue)(struct virtio_device *device, unsigned int queue);
	void (*interrupt_config)(struct virtio_device *device);
	/** @interrupt_fd: see virtio_interrupt_fd(); NULL: there never is one */
	int (*interrupt_fd)(struct virtio_device *device, unsigned int queue);
	/** @reset: the driver reset the device: the transport's registers, but for what outlives that */
	void (*reset)(struct virtio_device *device);
	/** @power_on: the machine is reset, after @reset: what a driver's reset leaves alone; NULL: nothing */
	void (*power_on)(struct virtio_device *device);
	void (*save)(struct virtio_device *device, struct state_writer *writer);
	int (*load)(struct virtio_device *device, struct state_reader *reader);
	void (*del)(struct virtio_device *device);
};

/**
 * struct virtio_transport - one that --virtio-transport can name; a static one a file, registered by
 * VIRTIO_TRANSPORT()
 */
struct virtio_transport {
	const char *name;
	bool legacy;
	/** @add: sets device->transport_ops and device->transport, and puts the device where drivers find it */
	int (*add)(struct virtio_device *device, const struct virtio_transport *transport);
	struct virtio_transport *next;
};

#define VIRTIO_TRANSPORT(transport_)							\
	static void __attribute__((constructor)) transport_##_register(void)		\
	{										\
		virtio_transport_register(&transport_);					\
	}										\
	struct virtio_transport /* swallows the semicolon */

void virtio_transport_register(struct virtio_transport *transport);
/** virtio_transport_find() - by name; NULL: this build has none called so */
const struct virtio_transport *virtio_transport_find(const char *name);

struct pci_device;

struct virtio_device {
	struct device device;		/* registered by virtio_device_add() */
	struct kvm *kvm;
	const struct virtio_device_ops *ops;
	const char *transport_name;	/* --virtio-transport's unless set before add */
	struct pci_device *bridge;	/* set before add: it is behind it, by modern PCI; NULL: nothing such */
	const struct virtio_transport_ops *transport_ops;
	void *transport;
	struct event_loop *loop;	/* owns the device; the main loop unless set before add */
	uint64_t features_offered;	/* the device sets its own bits before add; the core adds its */
	uint64_t features_refused;	/* of those that say what rings are like, what its back end can't do; set before add */
	unsigned int queue_count;
	struct virtqueue *queues;

	/* owned by the loop */
	uint64_t features;		/* accepted by the driver */
	_Atomic uint8_t status;
	_Atomic uint32_t config_generation;
	bool legacy;			/* the driver uses the legacy interface: guest-endian, no FEATURES_OK */
	bool running;			/* DRIVER_OK, and not NEEDS_RESET */
	bool quiesced;
	bool holding;			/* only to take a queue away, or to let it in */
	bool interrupts_due;		/* it was loaded: its driver is interrupted when it resumes */
	struct log_limit log_limit;
	bool polled;			/* @poller is on the loop's list */
	struct event_poller poller;
	struct event_source *kicks;	/* a queue's eventfd each: source.fd, for doorbells, set from add on */
	struct event_work interrupts_work;
};

/**
 * virtio_device_add() - puts @device behind the transport that --virtio-transport names
 * @name_format: its name in the VM: "virtio-blk0"
 * The caller fills features_offered, queue_count (0: ops->queues) and loop (NULL: the main loop) first.
 */
int __must_check virtio_device_add(struct kvm *kvm, struct virtio_device *device,
				   const struct virtio_device_ops *ops, const char *name_format, ...)
	printf_like(4, 5);
void virtio_device_del(struct virtio_device *device);

/** virtio_has_feature() - negotiated; owner thread */
static inline bool virtio_has_feature(const struct virtio_device *device, unsigned int bit)
{
	return device->features & BIT(bit);
}

/** struct virtio_counts - what a device has done since the VM began: requests, bytes from the driver and to it */
struct virtio_counts {
	uint64_t requests, bytes_read, bytes_written;
};

/** virtio_count() - of @device, if it is a virtio device, else false; any thread */
bool virtio_count(const struct device *device, struct virtio_counts *counts);

/** virtio_config_changed() - the device changed its config: new generation, interrupt; owner thread */
void virtio_config_changed(struct virtio_device *device);
/** virtio_needs_reset() - sets NEEDS_RESET and tells the driver; the device stops until it is reset */
void virtio_needs_reset(struct virtio_device *device);
/** virtio_notify() - a driver's notification that came by an exit, not by the doorbell; any thread, any number */
void virtio_notify(struct virtio_device *device, unsigned int queue);
/**
 * virtio_interrupt_fd() - an eventfd that interrupts the driver for @queue, without a thread of ours in between
 * -1: there is none now, and whoever has used buffers must call transport_ops->interrupt_queue(). Owner thread.
 */
int virtio_interrupt_fd(struct virtio_device *device, unsigned int queue);
/** virtio_interrupts_moved() - for the transports: virtio_interrupt_fd() may say something else from now on; any thread */
void virtio_interrupts_moved(struct virtio_device *device);
/** virtio_kick() - as if the driver had notified @queue; owner thread (resume, new input) */
void virtio_kick(struct virtio_device *device, unsigned int queue);
/**
 * virtio_process() - the loop that every handle_queue has: pop, @handle, until empty, with kicks off meanwhile
 * @handle returns 1 when the request was pushed or is in flight, 0 when it was put back (stop for now).
 */
void virtio_process(struct virtio_device *device, struct virtqueue *vq,
		    int (*handle)(struct virtio_device *device, struct virtqueue *vq, struct virtio_request *req));

/* ---- for the transports (virtio/pci.c, virtio/mmio.c): called by vCPUs, carried out on the owner's loop ---- */

/** virtio_set_status() - a driver's write to the status register; 0 resets; refuses FEATURES_OK it must refuse */
void virtio_set_status(struct virtio_device *device, uint8_t status);
/** virtio_set_features() - what the driver accepts; ignored once FEATURES_OK (modern) or DRIVER_OK is set */
void virtio_set_features(struct virtio_device *device, uint64_t features);
/**
 * virtio_queue_setup() - size and ring addresses of a queue that is not enabled; refused (ignored) otherwise
 * @size: a power of 2 up to size_max, or 0 to leave it
 */
void virtio_queue_setup(struct virtio_device *device, unsigned int queue, uint16_t size, gpa_t desc, gpa_t avail,
			gpa_t used);
/** virtio_queue_enable() - a modern driver's queue_enable; virtio_queue_legacy() - a legacy driver's PFN, 0 disables */
void virtio_queue_enable(struct virtio_device *device, unsigned int queue);
void virtio_queue_legacy(struct virtio_device *device, unsigned int queue, uint64_t address, uint64_t align);
/** virtio_queue_disable() - MMIO version 2's queue_ready = 0; waits for what is in flight by a device reset if need be */
void virtio_queue_disable(struct virtio_device *device, unsigned int queue);
/** virtio_queue_reset() - VIRTIO_F_RING_RESET's, or ignored without that: when it returns @queue is as before it was set up */
void virtio_queue_reset(struct virtio_device *device, unsigned int queue);
/** virtio_config_read(), virtio_config_write() - bounds-checked; outside reads as 0, writes are dropped */
void virtio_config_read(struct virtio_device *device, uint64_t offset, void *buffer, size_t size);
void virtio_config_write(struct virtio_device *device, uint64_t offset, const void *buffer, size_t size);

#endif
