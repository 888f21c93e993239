/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The x86 machine's map, and what the files of x86/ share.
 *
 * Below 1 MiB everything that boot protocols and firmware tables put into RAM has its place here, so that no
 * two of them meet. All of it lies in one RAM region: a hole for VGA would cost another memory slot.
 */
#ifndef KVM_X86_H
#define KVM_X86_H

#include <linux/kvm.h>

#include "kvm/kvm-cpu.h"
#include "kvm/kvm.h"

/* RAM below 1 MiB */
#define X86_BOOT_GDT		0x00500ULL	/* 64 bytes */
#define X86_HVM_START_INFO	0x06000ULL	/* PVH: start info, modules, memory map: 4 KiB */
#define X86_ZERO_PAGE		0x07000ULL	/* struct boot_params, 4 KiB */
#define X86_BOOT_STACK		0x08ff0ULL	/* grows down to 0x8000 */
#define X86_BOOT_PML4		0x09000ULL	/* PML4, PDPT, four page directories: 24 KiB */
#define X86_SETUP_DATA		0x0f000ULL	/* rng seed */
#define X86_FLAT_BASE		0x10000ULL	/* flat binaries: 1000:0000 */
#define X86_COMMAND_LINE	0x20000ULL	/* 64 KiB */
#define X86_COMMAND_LINE_MAX	0x10000ULL
#define X86_EBDA		0x9fc00ULL	/* up to 0xa0000, reserved */
#define X86_LOW_RAM_END		0x9fc00ULL
#define X86_TABLES		0xe0000ULL	/* ACPI; the RSDP first, since kernels look for it here */
#define X86_VMGENID		0xf7000ULL	/* 16 bytes, alone in their page */
#define X86_MP_TABLE		0xf8000ULL	/* the floating pointer first, likewise */
#define X86_BIOS		0xfc000ULL	/* real-mode services, --boot=bios16 */
#define X86_TABLES_END		0x100000ULL

/* Physical addresses */
#define X86_PCI_HOLE		0xc0000000ULL	/* RAM ends here and goes on at 4 GiB */
#define X86_PCI_MMIO32_SIZE	0x20000000ULL
#define X86_ECAM		0xe0000000ULL
/* Room for 256 buses, but Linux probes all 32 slots of each that MCFG names through conf1, an exit apiece. */
#define X86_ECAM_SIZE		(X86_PCI_BUSES * 0x100000ULL)
#define X86_PCI_BUSES		1
#define X86_PLATFORM_MMIO	0xf0000000ULL	/* virtio-mmio */
#define X86_PLATFORM_MMIO_SIZE	0x00010000ULL
#define X86_IOAPIC		0xfec00000ULL
#define X86_LAPIC		0xfee00000ULL
#define X86_IDENTITY_MAP	0xfffbc000ULL	/* a page; the TSS's three follow */
#define X86_TSS			0xfffbd000ULL

/* Ports of PCI's I/O BARs */
#define X86_PCI_IO		0xc000ULL
#define X86_PCI_IO_SIZE		0x4000ULL

#define X86_IRQ_LINES		24
#define X86_INTX_GSI		16		/* INTA to INTD of slot 0 are 16 to 19 */
#define X86_PLATFORM_GSI	5		/* platform devices: those from here on that no other device has */
#define X86_PLATFORM_GSIS	(X86_IRQ_LINES - X86_PLATFORM_GSI)

/** enum x86_mode - the mode in which vCPU 0 begins */
enum x86_mode {
	X86_REAL,		/* @cs:@rip, the other segments @ds */
	X86_PROTECTED,		/* 32 bits, flat, paging off: PVH */
	X86_LONG,		/* 64 bits, identity map at X86_BOOT_PML4, GDT at X86_BOOT_GDT */
};

/** struct x86_entry - how vCPU 0 begins; written by the boot protocol's load, used by arch_cpu_reset() */
struct x86_entry {
	enum x86_mode mode;
	uint16_t cs, ds;
	uint64_t rip, rsp, rsi, rbx;
};

/** x86_entry() - the VM's; valid once core_init is done */
struct x86_entry *x86_entry(const struct kvm *kvm);

/** x86_load_long_mode() - GDT and identity map of the first @map_size bytes (at most 4 GiB) into RAM; for X86_LONG */
int __must_check x86_load_long_mode(struct kvm *kvm);

/** struct x86_memory - one range of the memory map as firmware tells it; types as in e820 */
struct x86_memory {
	uint64_t base, size;
	uint32_t type;
};
#define X86_MEMORY_RAM		1
#define X86_MEMORY_RESERVED	2
#define X86_MEMORY_MAX		16

/** x86_memory_map() - fills @map, sorted; returns how many */
size_t x86_memory_map(const struct kvm *kvm, struct x86_memory map[X86_MEMORY_MAX]);

/**
 * x86_place_initrd() - where @size bytes may lie: the highest page-aligned address in RAM, at or below
 * @last, outside [@kernel, @kernel + @kernel_size) and above 1 MiB. Returns 0 if there is none.
 */
uint64_t x86_place_initrd(const struct kvm *kvm, uint64_t size, uint64_t last, uint64_t kernel, uint64_t kernel_size);

/**
 * x86_apic_id() - of vCPU @index, which KVM knows it by: where it is in --cpus' topology, each level in bits of its own
 * (Intel SDM volume 3, 9.9.3; AMD APM volume 2, 16.12). There are holes where a level's number is no power of two.
 */
uint32_t x86_apic_id(const struct kvm *kvm, unsigned int index);

#endif
