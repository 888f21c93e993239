/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The 16550A UART: made by an architecture's board file, which knows where it lies.
 */
#ifndef KVM_SERIAL_H
#define KVM_SERIAL_H

#include "kvm/kvm.h"
#include "kvm/terminal.h"

#define SERIAL_SIZE	8	/* one-byte registers, side by side */

struct serial;

/** struct serial_place - where a port is */
struct serial_place {
	const char *name;		/* of the device: "serial0" */
	struct address_space *space;	/* kvm->ports or kvm->memory */
	uint64_t base;
	uint32_t gsi;			/* edge */
	struct serial *shares;		/* not NULL: use this port's line, as COM3 does COM1's; it must outlive us */
};

/**
 * serial_create() - a port whose other end is @terminal
 * @input: take the terminal's input too (false: another console has it)
 *
 * Main thread. serial_destroy() takes it away again; NULL is fine.
 */
int __must_check serial_create(struct kvm *kvm, const struct serial_place *place, struct terminal *terminal,
			       bool input, struct serial **serial);
void serial_destroy(struct serial *serial);

/** serial_takes_input() - whether port @index gets its terminal's input, as --console says */
bool serial_takes_input(const struct kvm *kvm, unsigned int index);

#endif
