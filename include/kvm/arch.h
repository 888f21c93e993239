/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What common code asks of an architecture: x86/ or arm64/ defines each of these.
 */
#ifndef KVM_ARCH_H
#define KVM_ARCH_H

#include "kvm/kvm-cpu.h"
#include "kvm/kvm.h"

extern const char arch_name[];		/* "x86_64", "arm64" */
extern const bool arch_has_nmi;		/* kvm_nmi() can work */
extern const bool arch_has_cpu_plug;	/* kvm_cpu_plug() can */

/** arch_vm_type() - the argument of KVM_CREATE_VM (arm64: the IPA size); before the VM exists */
int __must_check arch_vm_type(struct kvm *kvm, unsigned long *type);

/**
 * arch_vm_init() - after KVM_CREATE_VM, before RAM and vCPUs: TSS, identity map, irqchip, PIT (x86);
 * capabilities that must precede vCPUs (arm64: MTE). arch_vm_exit() undoes what is not the VM fd's.
 */
int __must_check arch_vm_init(struct kvm *kvm);
void arch_vm_exit(struct kvm *kvm);

/** arch_ram_layout() - fills kvm->ram[] and kvm->ram_count for kvm->ram_size bytes; 0 or -errno (said) */
int __must_check arch_ram_layout(struct kvm *kvm);

/** arch_answers() - prints what an option's value "help" asks for; false: nothing is asked */
bool arch_answers(const struct config *config);

/** arch_cpu_id() - what KVM_CREATE_VCPU is to call vCPU @index (x86: its APIC id) */
unsigned long arch_cpu_id(const struct kvm *kvm, unsigned int index);

/** arch_cpu_init() - after KVM_CREATE_VCPU: CPUID, LINT, features; arch_cpu_exit() frees cpu->arch */
int __must_check arch_cpu_init(struct kvm_cpu *cpu);
void arch_cpu_exit(struct kvm_cpu *cpu);

/** arch_cpus_ready() - all vCPUs exist (arm64: finish the GIC); calls irq_chip_ready() */
int __must_check arch_cpus_ready(struct kvm *kvm);

/** arch_vm_reset() - irqchip and clock to power-on state, after devices_reset(); vCPUs are parked; main thread */
int __must_check arch_vm_reset(struct kvm *kvm);

/**
 * arch_cpu_reset() - registers to what the boot protocol needs (vCPU 0) or to wait for start-up (others);
 * before the first run and at every reset, after the firmware is loaded; vCPU not running; main thread
 */
int __must_check arch_cpu_reset(struct kvm_cpu *cpu);

/**
 * arch_cpu_handle_exit() - exits that common code doesn't know
 * Returns 1 to go on, 0 if it is unknown (common code reports it and ends the VM), negative errno to end it.
 */
int __must_check arch_cpu_handle_exit(struct kvm_cpu *cpu);

/**
 * arch_vm_save(), arch_cpu_save(), arch_clock_save() - what KVM holds of the chips, of one vCPU, and of time, as named
 * sections; the vCPUs are parked; main thread. 0 or negative errno (said).
 *
 * arch_clock_save() goes with all vCPUs, and is taken next to the moment that they were parked at.
 */
struct state_reader;
struct state_writer;
int __must_check arch_vm_save(struct kvm *kvm, struct state_writer *writer);
int __must_check arch_cpu_save(struct kvm_cpu *cpu, struct state_writer *writer);
int __must_check arch_clock_save(struct kvm *kvm, struct state_writer *writer);

/**
 * arch_vm_load(), arch_cpu_load(), arch_clock_load() - takes over what was saved, in that order, in place of the first
 * arch_cpu_reset(); the stream is hostile. -EINVAL for a broken one, -ENOTSUP for what this host can't do, both said.
 *
 * Level lines that the chip had up are down afterwards: who has a cause still raises it again when it is loaded.
 * arch_clock_load() lets the guest's clocks go on as if it had run since then.
 */
int __must_check arch_vm_load(struct kvm *kvm, struct state_reader *reader);
int __must_check arch_cpu_load(struct kvm_cpu *cpu, struct state_reader *reader);
int __must_check arch_clock_load(struct kvm *kvm, struct state_reader *reader);

/** arch_clock_join() - lets the time of a vCPU that came later be that of the others; all parked; says what it can't */
void arch_clock_join(struct kvm_cpu *cpu);

/** arch_cpu_event() - tells the guest that hw/cpu-plug.c has something new for it; any thread */
void arch_cpu_event(struct kvm *kvm);

/** arch_cpu_nmi() - injects an NMI; on the vCPU's thread, out of the guest */
int __must_check arch_cpu_nmi(struct kvm_cpu *cpu);

/** arch_cpu_dump() - registers and code bytes as text to @fd; on the vCPU's thread or while it is parked */
void arch_cpu_dump(struct kvm_cpu *cpu, int fd);

/** arch_irq_route_lines() - fills the routing entries of the lines; returns how many (x86: PIC and IOAPIC) */
struct kvm_irq_routing_entry;
size_t arch_irq_route_lines(struct kvm *kvm, struct kvm_irq_routing_entry *entries, size_t max);
/** arch_irq_lines() - one past the highest GSI that may be an irq_line, and the first for messages */
uint32_t arch_irq_lines(void);
/** arch_irq_alloc_range() - GSIs [*@first, *@first + *@count) that irq_line_alloc() may give to platform devices */
void arch_irq_alloc_range(uint32_t *first, uint32_t *count);

/**
 * arch_irq_route_message() - what an MSI of @address and @data from @device_id is to KVM's routing
 * Fills all of @entry but its gsi: an MSI route on x86 and with an ITS, a line's route with a GICv2m frame.
 * Returns 0, or -EINVAL if such a write reaches no interrupt controller.
 */
int __must_check arch_irq_route_message(struct kvm *kvm, uint64_t address, uint32_t data, uint32_t device_id,
					struct kvm_irq_routing_entry *entry);

/** arch_kernel_names - what kernel builds call their images, best first, NULL-terminated ("bzImage"; "Image") */
extern const char *const arch_kernel_names[];

/**
 * struct platform_layout - where common devices lie in this architecture
 * PIO bases lie in kvm->ports; on arm64 serial and rtc are MMIO.
 */
struct platform_layout {
	uint64_t mmio_base, mmio_size;		/* virtio-mmio slots and other platform devices */
	uint64_t pci_ecam_base, pci_ecam_size;
	uint64_t pci_mmio32_base, pci_mmio32_size;
	uint64_t pci_mmio64_base, pci_mmio64_size;
	uint64_t pmem_base, pmem_size;		/* behind that, for memory that is no RAM (--pmem); 0 without one of them */
	uint64_t pci_io_base, pci_io_size;	/* ports for I/O BARs, in kvm->ports */
	uint64_t pci_io_window;			/* arm64: CPU address of the I/O window; x86: 0 */
	uint32_t pci_intx_gsi[4];		/* GSI of INTA..INTD of slot 0; slot n is swizzled */
};

/** arch_platform() - the layout; constant once RAM is laid out, before that (and in tests) without a 64-bit window for PCI */
const struct platform_layout *arch_platform(const struct kvm *kvm);

/** struct platform_device - a non-PCI device that firmware tables must describe (virtio-mmio, serial on arm64) */
struct platform_device {
	const char *compatible;		/* FDT: "virtio,mmio" */
	const char *acpi_hid;		/* ACPI: "LNRO0005" or NULL */
	uint64_t base, size;
	int gsi;			/* -1: none */
	enum irq_trigger trigger;
	struct platform_device *next;
};
void platform_device_add(struct kvm *kvm, struct platform_device *device);
void platform_device_del(struct kvm *kvm, struct platform_device *device);
struct platform_device *platform_devices(struct kvm *kvm);

#endif
