/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine's map: guest physical addresses and interrupts.
 *
 *	0x00010000	PCI I/O window, 64 KiB (ports 0 to 0xffff)
 *	0x01000000	16550 UARTs
 *	0x01010000	PL031 RTC
 *	0x01020000	stolen time, 64 bytes a vCPU
 *	0x01030000	PL061 GPIO (the power key)
 *	0x02000000	flash (later)
 *	0x03000000	virtio-mmio, 16 MiB
 *	    ...		GICv3 ITS and redistributors, downwards from the distributor
 *	0x3ffc0000	GICv2m frame
 *	0x3ffd0000	GICv2 CPU interface
 *	0x3fff0000	GIC distributor
 *	0x40000000	PCI ECAM, 256 MiB
 *	0x50000000	PCI memory, 768 MiB
 *	0x80000000	RAM (--mem SIZE@ADDRESS: from there on), and behind it the 64-bit PCI window
 */
#ifndef ARM64_MAP_H
#define ARM64_MAP_H

#define ARM64_PCI_IO_WINDOW	0x10000ULL
#define ARM64_RTC_BASE		0x1010000ULL
#define ARM64_PVTIME_BASE	0x1020000ULL
#define ARM64_PVTIME_SIZE	0x10000ULL
#define ARM64_GPIO_BASE		0x1030000ULL
#define ARM64_VIRTIO_MMIO_BASE	0x3000000ULL
#define ARM64_VIRTIO_MMIO_SIZE	0x1000000ULL
#define ARM64_PCI_ECAM_BASE	0x40000000ULL
#define ARM64_PCI_ECAM_SIZE	0x10000000ULL
#define ARM64_PCI_MMIO_BASE	0x50000000ULL
#define ARM64_PCI_MMIO_SIZE	0x30000000ULL
#define ARM64_RAM_BASE		0x80000000ULL

/* SPIs by their GSI: PCI's four lines, then what irq_line_alloc() gives out, then GICv2m's messages. */
#define ARM64_SPI_PCI		0
#define ARM64_SPI_ALLOC		4
#define ARM64_SPI_V2M		128
#define ARM64_SPI_COUNT		256
#define ARM64_SPI_INTID(spi)	((spi) + 32)

/* PPIs, as INTIDs less 16, which is how device trees count them */
#define ARM64_PPI_TIMER_SECURE	13
#define ARM64_PPI_TIMER_PHYS	14
#define ARM64_PPI_TIMER_VIRT	11
#define ARM64_PPI_TIMER_HYP	10
#define ARM64_PPI_PMU		7

#endif
