/* SPDX-License-Identifier: BSD-2-Clause */
/* Between core/vm.c and core/irq.c: the VM's routing table, from before the irqchip until after the devices. */
#ifndef CORE_IRQ_H
#define CORE_IRQ_H

#include "kvm/kvm.h"

int __must_check irqs_init(struct kvm *kvm);
void irqs_exit(struct kvm *kvm);

#endif
