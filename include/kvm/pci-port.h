/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * PCI Express root ports, with a slot each that a device can be put into and taken out of while the guest runs
 * (PCI Express Base 5.0, 6.7): --root-ports. All functions are the main thread's.
 */
#ifndef KVM_PCI_PORT_H
#define KVM_PCI_PORT_H

#include "kvm/pci.h"

#define PCI_PORTS_MAX	16

struct pci_port;

/** struct pci_port_client - who put a device into a slot; called by the main loop */
struct pci_port_client {
	/** @gone: the guest agreed to let go of it, or was reset meanwhile, and sees it no more: it is to be taken off */
	void (*gone)(void *opaque);
	/** @off: the guest switched its power off, unasked: it is to be reset; pci_port_settled() follows */
	void (*off)(void *opaque);
	/** @refused: the guest was asked, and went on with it */
	void (*refused)(void *opaque);
};

unsigned int pci_ports_count(struct kvm *kvm);
/** pci_port() - the port called @index, of pci_ports_count() */
struct pci_port *pci_port(struct kvm *kvm, unsigned int index);
/** pci_port_bridge() - what goes into pci_device.bridge: to be put behind it by pci_device_add() */
struct pci_device *pci_port_bridge(struct pci_port *port);
bool pci_port_is_empty(const struct pci_port *port);
/** pci_port_set_client() - NULL: nobody any more */
void pci_port_set_client(struct pci_port *port, const struct pci_port_client *client, void *opaque);

/**
 * pci_port_ask() - presses the slot's attention button; @gone or @refused may follow, or nothing
 * -EALREADY: it was pressed, and there is no answer yet.
 */
int __must_check pci_port_ask(struct pci_port *port);
/** pci_port_ask_no_more() - whatever the answer will be, it is the guest's own doing */
void pci_port_ask_no_more(struct pci_port *port);
/** pci_port_settled() - what is in the slot has been reset */
void pci_port_settled(struct pci_port *port);

#endif
