/* SPDX-License-Identifier: BSD-2-Clause */
/* Between core/vm.c and core/irq.c: the VM's routing table, from before the irqchip until after the devices. */
#ifndef CORE_IRQ_H
#define CORE_IRQ_H

#include "kvm/kvm.h"

int __must_check irqs_init(struct kvm *kvm);
void irqs_exit(struct kvm *kvm);

/** irq_line_find() - the line made last for @gsi, or NULL: its eventfd counts interrupts while no chip is there (tests) */
struct irq_line *irq_line_find(struct kvm *kvm, uint32_t gsi);

#endif
