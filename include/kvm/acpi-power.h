/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The ACPI fixed hardware of a PC, as the FADT describes it: hw/x86/acpi-power.c answers at these ports.
 */
#ifndef KVM_ACPI_POWER_H
#define KVM_ACPI_POWER_H

#define ACPI_PM1A_EVENT_PORT	0x600	/* 4 bytes: status, enable */
#define ACPI_PM1A_CONTROL_PORT	0x604	/* 2 bytes */
#define ACPI_PM_TIMER_PORT	0x608	/* 4 bytes; 32 bits wide: set TMR_VAL_EXT */
#define ACPI_GPE0_PORT		0x60c	/* 4 bytes: 2 of status, 2 of enable; 16 events */
#define ACPI_RESET_PORT		0x610	/* the reset register: 1 byte */
#define ACPI_RESET_VALUE	0x01
#define ACPI_CPUS_PORT		0x620	/* 16 bytes: hw/cpu-plug.c's registers */
#define ACPI_SCI_GSI		9	/* level, active high: needs an override in the MADT */
#define ACPI_GPE_VMGENID	5	/* the generation ID is another */
#define ACPI_GPE_CPUS		6	/* a vCPU has come, or is to go */
#define ACPI_SLEEP_TYPE_S5	5	/* of \_S5 */

struct kvm;

/** acpi_gpe_raise() - sets general purpose event @number (0 to 15) and the SCI with it; any thread */
void acpi_gpe_raise(struct kvm *kvm, unsigned int number);

#endif
