/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Interrupts: a line and a message, each backed by an irqfd. No device knows the chip.
 *
 * An edge line pulses: one eventfd write is one edge. A level line stays up until the guest's EOI; KVM then
 * drops it and the owner is asked (on the VM's main event loop) whether its cause is still pending, and the
 * line goes up again if so. That is KVM's resample irqfd: lowering before the EOI costs nothing and needs no
 * call. Lines may share a GSI when all are level.
 *
 * GSI 0 to 23 are lines on x86 (0 to 15 on PIC and IOAPIC, GSI 0 on IOAPIC pin 2, 16 to 23 IOAPIC alone);
 * on arm64 a line's GSI n is SPI n (INTID n + 32). Messages take GSIs from arch_irq_lines() on, and give
 * them back.
 */
#ifndef KVM_IRQ_H
#define KVM_IRQ_H

#include <stdatomic.h>

#include "kvm/event.h"
#include "kvm/types.h"

struct kvm;

enum irq_trigger { IRQ_EDGE, IRQ_LEVEL };

struct irq_line {
	struct kvm *kvm;
	uint32_t gsi;
	enum irq_trigger trigger;
	atomic_int fd;		/* irqfd's eventfd; -1 until the line is raised for the first time */
	int resample_fd;	/* level: signalled by KVM at the EOI, or -1 */
	atomic_bool raised;	/* level: the owner's cause is pending */
	struct event_source resample;
	struct irq_line *next;	/* all lines of the VM */
};

/**
 * irq_line_init() - a line to @gsi; its irqfd is made when it is first raised, since each costs the VM's end
 * some milliseconds in the kernel, and most lines are never used. Not raised before the chip is ready.
 * @trigger: how the firmware tables describe it (x86 ISA and arm64 serial: edge; PCI INTx and SCI: level)
 *
 * Returns 0, -EINVAL for a GSI that is no line, -EBUSY if it is taken by an edge line, or KVM's error.
 * irq_line_exit() undoes it. Main thread.
 */
int __must_check irq_line_init(struct kvm *kvm, struct irq_line *line, uint32_t gsi, enum irq_trigger trigger);
void irq_line_exit(struct irq_line *line);

/** irq_line_pulse() - one edge on an edge line; any thread */
void irq_line_pulse(struct irq_line *line);

/** irq_line_set() - a level line's cause is now @pending or not; any thread */
void irq_line_set(struct irq_line *line, bool pending);

/** irq_line_alloc() - a GSI that no line has yet, for a platform device (virtio-mmio); negative errno when none is left */
int __must_check irq_line_alloc(struct kvm *kvm);
void irq_line_free(struct kvm *kvm, uint32_t gsi);

/** struct irq_message - an MSI or MSI-X vector. Zero-initialised means: not set up. */
struct irq_message {
	struct kvm *kvm;
	int fd;			/* eventfd; may be handed to vhost; -1 until irq_message_init() */
	uint32_t gsi;
	uint64_t address;
	uint32_t data;
	uint32_t device_id;	/* arm64 ITS: the PCI requester ID; may change between calls of irq_message_route() */
	uint32_t routed_id;	/* what it was then */
	bool has_gsi;		/* a GSI and its route are reserved */
	bool routed;		/* and the irqfd is in place */
};

/** irq_message_init() - makes the eventfd; nothing is routed yet. Main thread or the device's owner. */
int __must_check irq_message_init(struct kvm *kvm, struct irq_message *message, uint32_t device_id);
void irq_message_exit(struct irq_message *message);

/**
 * irq_message_route() - binds the eventfd to @address/@data (takes a GSI the first time)
 * Returns 0, -ENOSPC when KVM's routes are used up, or KVM's error. Any thread, one at a time a message.
 */
int __must_check irq_message_route(struct irq_message *message, uint64_t address, uint32_t data);

/**
 * irq_message_unroute() - masks: the irqfd is taken off, signals count up in the eventfd
 * The GSI and its route stay reserved until irq_message_exit(), since kernels mask and unmask all the time.
 */
void irq_message_unroute(struct irq_message *message);

/** irq_message_raise() - fires; any thread; one write */
void irq_message_raise(struct irq_message *message);

/** irq_message_consume() - true if the eventfd was signalled while unrouted (MSI-X pending bit); clears it */
bool irq_message_consume(struct irq_message *message);

/** irq_chip_ready() - the interrupt controller is complete and takes irqfds: sets the routes; from arch code, once */
int __must_check irq_chip_ready(struct kvm *kvm);

#endif
