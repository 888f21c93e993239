/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The x86 machine: TSS and identity map, PIC, IOAPIC and PIT in KVM, where RAM and devices lie, and how
 * interrupt lines reach the chips.
 *
 * Called by core/vm.c and the reset on the main thread.
 */
#include "kvm/acpi-power.h"
#include "kvm/arch.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kvm/log.h"
#include "kvm/x86.h"
#include "x86/cpu-model.h"
#include "x86/cpuid.h"

const char arch_name[] = "x86_64";
const bool arch_has_nmi = true;
const bool arch_has_cpu_plug = true;
const char *const arch_kernel_names[] = { "bzImage", "vmlinux", NULL };

static const char x86_vm_key[] = "x86 machine";

struct x86_vm {
	struct platform_layout layout;
	struct x86_entry entry;
	struct kvm_cpuid2 *host_cpuid;	/* as --cpu has it */
	struct cpu_model model;
	/* power-on state, taken when the chips were made */
	struct kvm_irqchip chips[3];
	struct kvm_pit_state2 pit;
};

static struct x86_vm *x86_vm(const struct kvm *kvm)
{
	return kvm_get_state(kvm, x86_vm_key);
}

const struct kvm_cpuid2 *x86_host_cpuid(const struct kvm *kvm)
{
	return x86_vm(kvm)->host_cpuid;
}

const struct cpu_model *x86_cpu_model(const struct kvm *kvm)
{
	return &x86_vm(kvm)->model;
}

struct x86_entry *x86_entry(const struct kvm *kvm)
{
	return &x86_vm(kvm)->entry;
}

int arch_vm_type(struct kvm *kvm, unsigned long *type)
{
	(void)kvm;
	*type = 0;
	return 0;
}

/* ---- chips ---- */

static int vm_make_chips(struct kvm *kvm)
{
	/* The speaker flag lets KVM answer port 0x61 too, so that no exit is made for the PIT's gate. */
	struct kvm_pit_config pit = { .flags = KVM_PIT_SPEAKER_DUMMY };
	uint64_t identity_map = X86_IDENTITY_MAP;

	if (ioctl(kvm->vm_fd, KVM_SET_TSS_ADDR, X86_TSS) < 0)
		return log_errno(errno, "KVM_SET_TSS_ADDR");
	if (ioctl(kvm->vm_fd, KVM_SET_IDENTITY_MAP_ADDR, &identity_map) < 0)
		return log_errno(errno, "KVM_SET_IDENTITY_MAP_ADDR");
	if (ioctl(kvm->vm_fd, KVM_CREATE_IRQCHIP) < 0)
		return log_errno(errno, "KVM has no interrupt controllers");
	if (ioctl(kvm->vm_fd, KVM_CREATE_PIT2, &pit) < 0)
		return log_errno(errno, "KVM has no timer");
	return 0;
}

static int vm_take_power_on_state(struct kvm *kvm, struct x86_vm *vm)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(vm->chips); i++) {
		vm->chips[i].chip_id = i;
		if (ioctl(kvm->vm_fd, KVM_GET_IRQCHIP, &vm->chips[i]) < 0)
			return log_errno(errno, "KVM_GET_IRQCHIP");
	}
	if (ioctl(kvm->vm_fd, KVM_GET_PIT2, &vm->pit) < 0)
		return log_errno(errno, "KVM_GET_PIT2");
	return 0;
}

int arch_vm_reset(struct kvm *kvm)
{
	struct kvm_clock_data clock = { .clock = 0 };
	struct x86_vm *vm = x86_vm(kvm);

	if (kvm_check_extension(kvm, KVM_CAP_ADJUST_CLOCK) > 0 && ioctl(kvm->vm_fd, KVM_SET_CLOCK, &clock) < 0)
		return log_errno(errno, "reset: KVM_SET_CLOCK");
	for (unsigned int i = 0; i < ARRAY_SIZE(vm->chips); i++)
		if (ioctl(kvm->vm_fd, KVM_SET_IRQCHIP, &vm->chips[i]) < 0)
			return log_errno(errno, "reset: KVM_SET_IRQCHIP");
	if (ioctl(kvm->vm_fd, KVM_SET_PIT2, &vm->pit) < 0)
		return log_errno(errno, "reset: KVM_SET_PIT2");
	return 0;
}

/* ---- where things lie ---- */

static uint64_t ram_below_hole(const struct kvm *kvm)
{
	return MIN(kvm_boot_ram(kvm), (uint64_t)X86_PCI_HOLE);
}

static uint64_t boot_ram_end(const struct kvm *kvm)
{
	return GIB(4) + kvm_boot_ram(kvm) - ram_below_hole(kvm);
}

/* RAM that may be plugged: where the largest of Linux's own memory blocks may begin. */
static uint64_t more_ram_base(const struct kvm *kvm)
{
	return ALIGN_UP(boot_ram_end(kvm), MAX(GIB(2), kvm->ram_block));
}

static uint64_t ram_end(const struct kvm *kvm)
{
	return kvm->ram_more ? more_ram_base(kvm) + kvm->ram_more : boot_ram_end(kvm);
}

/*
 * The 64-bit window: behind RAM, as large as the CPU's physical addresses allow, at most 256 GiB. A VM with --pmem has
 * that in the upper half of it.
 */
static void layout_mmio64(const struct kvm *kvm, unsigned int physical_bits, struct platform_layout *layout)
{
	uint64_t base = ALIGN_UP(ram_end(kvm), GIB(16)), size = GIB(256);
	uint64_t end = 1ULL << MIN(physical_bits, 52U);

	while (size > GIB(1) && (base >= end || size > end - base))
		size /= 2;
	if (base < end && size <= end - base) {
		layout->pci_mmio64_base = base;
		layout->pci_mmio64_size = size;
	}
	layout->pmem_base = layout->pmem_size = 0;
	if (!config_count(kvm->config, "pmem"))
		return;
	layout->pci_mmio64_size /= 2;
	layout->pmem_base = layout->pci_mmio64_base + layout->pci_mmio64_size;
	layout->pmem_size = layout->pci_mmio64_size;
}

static const struct platform_layout fixed_layout = {
	.mmio_base = X86_PLATFORM_MMIO, .mmio_size = X86_PLATFORM_MMIO_SIZE,
	.pci_ecam_base = X86_ECAM, .pci_ecam_size = X86_ECAM_SIZE,
	.pci_mmio32_base = X86_PCI_HOLE, .pci_mmio32_size = X86_PCI_MMIO32_SIZE,
	.pmem_base = GIB(256), .pmem_size = GIB(256),
	.pci_io_base = X86_PCI_IO, .pci_io_size = X86_PCI_IO_SIZE,
	.pci_intx_gsi = { X86_INTX_GSI, X86_INTX_GSI + 1, X86_INTX_GSI + 2, X86_INTX_GSI + 3 },
};

static void vm_lay_out(const struct kvm *kvm, struct x86_vm *vm)
{
	vm->layout = fixed_layout;
	/* a bus behind each, and no more: each costs exits when it is looked for */
	vm->layout.pci_ecam_size += config_uint(kvm->config, "root-ports") * MIB(1);
	layout_mmio64(kvm, cpuid_physical_bits(vm->host_cpuid), &vm->layout);
}

const struct platform_layout *arch_platform(const struct kvm *kvm)
{
	struct x86_vm *vm = x86_vm(kvm);

	return vm ? &vm->layout : &fixed_layout;
}

int arch_ram_layout(struct kvm *kvm)
{
	uint64_t low = ram_below_hole(kvm), address;
	unsigned int bits;

	if (config_address(kvm->config, "mem", &address))
		return log_error(EUSAGE, "option --mem: a PC's memory begins at 0 (leave out the @ and what follows)");
	/* A few tables and trampolines are all that lies in the first 2 MiB: to clear a whole page for them takes longer. */
	madvise(kvm->ram_host, MIN(low, MIB(2)), MADV_NOHUGEPAGE);
	kvm->ram[0] = (struct ram_range){ .base = 0, .size = low, .offset = 0 };
	kvm->ram_count = 1;
	if (kvm_boot_ram(kvm) > low)
		kvm->ram[kvm->ram_count++] = (struct ram_range){ .base = GIB(4), .size = kvm_boot_ram(kvm) - low, .offset = low };
	if (!kvm->ram_more)
		return 0;
	kvm->ram[kvm->ram_count] = (struct ram_range){ .base = more_ram_base(kvm), .size = kvm->ram_more, .offset = kvm_boot_ram(kvm) };
	bits = MIN(cpuid_physical_bits(x86_host_cpuid(kvm)), 52U);
	return ram_end(kvm) <= 1ULL << bits ? 0 :
		log_error(EINVAL, "option --mem: max=: memory would end at %llu GiB, but this CPU's addresses have %u bits",
			  (unsigned long long)(ram_end(kvm) >> 30), bits);
}

/* ---- interrupt lines ---- */

static void route(struct kvm_irq_routing_entry *entry, uint32_t gsi, uint32_t chip, uint32_t pin)
{
	memset(entry, 0, sizeof(*entry));
	entry->gsi = gsi;
	entry->type = KVM_IRQ_ROUTING_IRQCHIP;
	entry->u.irqchip.irqchip = chip;
	entry->u.irqchip.pin = pin;
}

size_t arch_irq_route_lines(struct kvm *kvm, struct kvm_irq_routing_entry *entries, size_t max)
{
	size_t count = 0;

	(void)kvm;
	for (uint32_t gsi = 0; gsi < X86_IRQ_LINES && count + 2 <= max; gsi++) {
		/* IRQ 2 is the cascade between the PICs; the IOAPIC's pin 2 is where the PIT comes in. */
		if (gsi < 16 && gsi != 2)
			route(&entries[count++], gsi, gsi < 8 ? KVM_IRQCHIP_PIC_MASTER : KVM_IRQCHIP_PIC_SLAVE, gsi % 8);
		if (gsi != 2)
			route(&entries[count++], gsi, KVM_IRQCHIP_IOAPIC, gsi ? gsi : 2);
	}
	return count;
}

int arch_irq_route_message(struct kvm *kvm, uint64_t address, uint32_t data, uint32_t device_id,
			   struct kvm_irq_routing_entry *entry)
{
	(void)kvm;
	(void)device_id;
	memset(entry, 0, sizeof(*entry));
	entry->type = KVM_IRQ_ROUTING_MSI;
	entry->u.msi.address_lo = (uint32_t)address;
	entry->u.msi.address_hi = (uint32_t)(address >> 32);
	entry->u.msi.data = data;
	return 0;
}

uint32_t arch_irq_lines(void)
{
	return X86_IRQ_LINES;
}

void arch_irq_alloc_range(uint32_t *first, uint32_t *count)
{
	*first = X86_PLATFORM_GSI;
	*count = X86_PLATFORM_GSIS;
}

int arch_cpus_ready(struct kvm *kvm)
{
	return irq_chip_ready(kvm);
}

void arch_cpu_event(struct kvm *kvm)
{
	acpi_gpe_raise(kvm, ACPI_GPE_CPUS);
}

/* ---- life ---- */

static void vm_free(struct x86_vm *vm)
{
	free(vm->host_cpuid);
	free(vm);
}

void arch_vm_exit(struct kvm *kvm)
{
	struct x86_vm *vm = x86_vm(kvm);

	/* Taking state away can't fail: only a new key needs memory. */
	if (vm && !kvm_set_state(kvm, x86_vm_key, NULL))
		vm_free(vm);
}

/* Holes in APIC ids may take them past what KVM numbers, with fewer vCPUs than it has. */
static int vm_check_topology(const struct kvm *kvm)
{
	unsigned int max = (unsigned int)MAX(kvm_check_extension(kvm, KVM_CAP_MAX_VCPU_ID), (int)kvm->cpu_max), last;
	struct cpu_topology topology;
	int result = cpu_topology_parse(kvm->config, &topology);

	if (result)
		return result;
	last = x86_apic_id(kvm, topology.cpus - 1);
	/* more vCPUs than there may be are refused by that */
	if (topology.cpus <= kvm->cpu_max && last >= max)
		return log_error(EINVAL, "option --cpus: the last APIC id is %u, but KVM's end at %u (powers of two leave no holes)", last,
				 max - 1);
	return 0;
}

static int vm_choose_model(const struct kvm *kvm, struct x86_vm *vm)
{
	const char *text = config_string(kvm->config, "cpu");
	int result = text ? cpu_model_choose(text, vm->host_cpuid, &vm->model) : 0;

	if (!result)
		cpu_model_apply(&vm->model, vm->host_cpuid);
	return result;
}

int arch_vm_init(struct kvm *kvm)
{
	struct x86_vm *vm;
	int result = vm_check_topology(kvm);

	if (result)
		return result;
	vm = calloc(1, sizeof(*vm));
	if (!vm)
		return log_errno(ENOMEM, "machine");
	vm->host_cpuid = cpuid_host(kvm);
	result = vm->host_cpuid ? vm_choose_model(kvm, vm) : -EIO;
	if (!result)
		result = vm_make_chips(kvm);
	if (!result)
		result = vm_take_power_on_state(kvm, vm);
	if (!result)
		result = kvm_set_state(kvm, x86_vm_key, vm);
	if (result) {
		vm_free(vm);
		return result;
	}
	vm_lay_out(kvm, vm);
	return 0;
}
