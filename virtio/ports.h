/* SPDX-License-Identifier: BSD-2-Clause */
/* What the files of the ports' device share: the device (ports.c), control messages, one port (port.c). */
#ifndef VIRTIO_PORTS_H
#define VIRTIO_PORTS_H

#include "kvm/port.h"
#include "kvm/virtio.h"

/* VirtIO 1.3, 5.3.2: port 0 has the first two queues, control the next two, port 1 those behind. */
enum { PORTS_CONTROL_RECEIVE = 2, PORTS_CONTROL_TRANSMIT = 3 };

/* What the guest is to be told of a port, in this order: who finds the port by its name finds it open. */
enum { PORT_TELL_ADD = 1, PORT_TELL_CLOSE = 2, PORT_TELL_OPEN = 4, PORT_TELL_NAME = 8, PORT_TELL_ALL = 15 };

struct port {
	struct ports *ports;
	unsigned int id;		/* 1 and up */
	char name[PORT_NAME_MAX + 1];
	const struct port_ops *ops;
	void *opaque;

	bool host_open;
	bool told_open;			/* what the owner thinks of the guest's end */
	bool stopped;			/* the owner took less than it was given */
	bool wants_room;		/* the owner was given less than it asked for */

	/* saved */
	bool ready, open;		/* the guest has the port; has opened it */
	bool host_told;			/* what the guest thinks of the host's end */
	uint8_t tell;			/* PORT_TELL_* that are due */
	uint32_t offset;		/* how far the request in front of the transmit queue has been received */
	bool closing, reopened;		/* the guest has closed, with data in front of close_at; and opened since */
	bool dropping;			/* the host's end was closed with data in front of drop_to */
	uint16_t close_at, drop_to;	/* indices in the available ring */
};

struct ports {
	struct virtio_device device;
	struct kvm *kvm;
	bool added;			/* the device is there */
	unsigned int count;
	struct port *port[PORTS_MAX + 1];	/* by their ids; 0 is a console in VirtIO's eyes, and nobody's here */
	size_t turn;			/* bytes received in this turn */
	char chunk[KIB(32)];
};

/* ---- port.c ---- */

/* NULL if the VM has no ports. */
struct ports *ports_find(struct kvm *kvm);

/* The driver kicked one of @port's two queues. */
void port_handle_receive(struct port *port, struct virtqueue *vq);
void port_handle_transmit(struct port *port, struct virtqueue *vq);
/* The guest said so. */
void port_guest_ready(struct port *port, bool ready);
void port_guest_open(struct port *port, bool open);
void port_reset(struct port *port);
/* The driver resets the transmit queue alone. */
void port_transmit_reset(struct port *port);
/* After a load: brings both ends' idea of each other up to date. */
void port_loaded(struct port *port);

/* ---- ports-control.c ---- */

/* The driver kicked: it has buffers for control messages; it has sent some. */
void ports_control_send(struct ports *ports);
void ports_control_receive(struct ports *ports);
/* Something of PORT_TELL_* is due. */
void ports_control_wake(struct ports *ports);

#endif
