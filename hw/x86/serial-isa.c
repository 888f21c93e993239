/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * COM1 to COM4, at the ports and interrupts that every PC has used since 1987.
 *
 * COM1 always exists: early consoles and real-mode payloads write to it unasked. The others exist when their
 * terminal does, because a kernel spends milliseconds on probing each.
 */
#include <stdio.h>

#include "kvm/serial.h"

struct serial_ports {
	struct serial *port[TERMINALS_MAX];
};

static const char serial_ports_key;

static const struct { uint16_t base; uint8_t gsi; } serial_com[TERMINALS_MAX] = {
	{ 0x3f8, 4 }, { 0x2f8, 3 }, { 0x3e8, 4 }, { 0x2e8, 3 },
};

static void serial_ports_free(struct serial_ports *ports)
{
	/* COM3 and COM4 before those whose lines they share. */
	for (unsigned int i = TERMINALS_MAX; i-- > 0; )
		serial_destroy(ports->port[i]);
	free(ports);
}

static int serial_isa_init(struct kvm *kvm)
{
	struct serial_ports *ports = calloc(1, sizeof(*ports));
	char name[16];
	int error = 0;

	if (!ports)
		return -ENOMEM;
	for (unsigned int i = 0; i < TERMINALS_MAX && !error; i++) {
		struct serial_place place = {
			.name = name, .space = &kvm->ports, .base = serial_com[i].base, .gsi = serial_com[i].gsi,
			.shares = i >= 2 ? ports->port[i - 2] : NULL,
		};

		snprintf(name, sizeof(name), "serial%u", i);
		if (terminal_get(kvm, i))
			error = serial_create(kvm, &place, terminal_get(kvm, i), serial_takes_input(kvm, i),
					      &ports->port[i]);
	}
	if (!error)
		error = kvm_set_state(kvm, &serial_ports_key, ports);
	if (error)
		serial_ports_free(ports);
	return error;
}
dev_init(serial_isa_init);

static void serial_isa_exit(struct kvm *kvm)
{
	struct serial_ports *ports = kvm_get_state(kvm, &serial_ports_key);

	if (kvm_set_state(kvm, &serial_ports_key, NULL) == 0)
		serial_ports_free(ports);
}
dev_exit(serial_isa_exit);
