/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The serial ports of an arm64 guest: 16550s at 0x1000000, where callers' earlycon settings expect them.
 *
 * One for each terminal that exists, 4 KiB apart, described to the guest as platform devices.
 */
#include <stdio.h>

#include "kvm/arch.h"
#include "kvm/serial.h"

#define SERIAL_MMIO_BASE	0x1000000
#define SERIAL_MMIO_STRIDE	0x1000

struct serial_ports {
	struct serial_port {
		struct serial *serial;		/* NULL: no such port */
		struct platform_device platform;
	} port[TERMINALS_MAX];
};

static const char serial_ports_key;

static void serial_ports_free(struct kvm *kvm, struct serial_ports *ports)
{
	for (unsigned int i = 0; i < TERMINALS_MAX; i++) {
		struct serial_port *port = &ports->port[i];

		if (!port->serial)
			continue;
		platform_device_del(kvm, &port->platform);
		serial_destroy(port->serial);
		irq_line_free(kvm, (uint32_t)port->platform.gsi);
	}
	free(ports);
}

static int serial_port_add(struct kvm *kvm, struct serial_port *port, unsigned int index)
{
	int error, gsi = irq_line_alloc(kvm);
	char name[16];
	struct serial_place place = {
		.name = name, .space = &kvm->memory, .base = SERIAL_MMIO_BASE + index * SERIAL_MMIO_STRIDE,
		.gsi = (uint32_t)gsi,
	};

	if (gsi < 0)
		return gsi;
	snprintf(name, sizeof(name), "serial%u", index);
	error = serial_create(kvm, &place, terminal_get(kvm, index), serial_takes_input(kvm, index),
			      &port->serial);
	if (error) {
		irq_line_free(kvm, place.gsi);
		return error;
	}
	port->platform = (struct platform_device){
		.compatible = "ns16550a", .base = place.base, .size = SERIAL_SIZE, .gsi = gsi,
		.trigger = IRQ_EDGE,
	};
	platform_device_add(kvm, &port->platform);
	return 0;
}

static int serial_mmio_init(struct kvm *kvm)
{
	struct serial_ports *ports = calloc(1, sizeof(*ports));
	int error = 0;

	if (!ports)
		return -ENOMEM;
	for (unsigned int i = 0; i < TERMINALS_MAX && !error; i++) {
		if (terminal_get(kvm, i))
			error = serial_port_add(kvm, &ports->port[i], i);
	}
	if (!error)
		error = kvm_set_state(kvm, &serial_ports_key, ports);
	if (error)
		serial_ports_free(kvm, ports);
	return error;
}
dev_init(serial_mmio_init);

static void serial_mmio_exit(struct kvm *kvm)
{
	struct serial_ports *ports = kvm_get_state(kvm, &serial_ports_key);

	if (kvm_set_state(kvm, &serial_ports_key, NULL) == 0)
		serial_ports_free(kvm, ports);
}
dev_exit(serial_mmio_exit);
