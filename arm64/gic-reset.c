/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The GIC back to power-on: KVM has no call for it, so its registers are written as the architecture (IHI
 * 0048 and IHI 0069) has them at reset. Linux sets up most of them itself, but not all: it refuses to trust
 * LPI tables that it finds enabled, and a pending interrupt would hit a driver that isn't there.
 *
 * Main thread, vCPUs parked.
 */
#include "arm64.h"

#define GICD_CTLR		0x0000
#define GICD_IGROUPR		0x0080
#define GICD_ICENABLER		0x0180
#define GICD_ISPENDR		0x0200
#define GICD_ICPENDR		0x0280
#define GICD_ICACTIVER		0x0380
#define GICD_IPRIORITYR		0x0400
#define GICD_ITARGETSR		0x0800
#define GICD_ICFGR		0x0c00
#define GICD_IROUTER		0x6000

#define GICR_CTLR		0x00000
#define GICR_PROPBASER		0x00070
#define GICR_PENDBASER		0x00078
#define GICR_SGI		0x10000		/* second frame, a bank like GICD's first */

#define GICC_CTLR		0x00
#define GICC_PMR		0x04
#define GICC_BPR		0x08
#define GICC_ABPR		0x1c
#define GICC_APR		0xd0

/* ICC_*_EL1, as KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS wants them: without the size and type bits */
#define ICC_REGISTER(op0, op1, crn, crm, op2) \
	(ARM64_SYS_REG(op0, op1, crn, crm, op2) & KVM_DEV_ARM_VGIC_SYSREG_INSTR_MASK)
static const uint64_t icc_registers[] = {
	ICC_REGISTER(3, 0, 4, 6, 0),	/* PMR: nothing gets through */
	ICC_REGISTER(3, 0, 12, 8, 3),	/* BPR0 */
	ICC_REGISTER(3, 0, 12, 8, 4),	/* AP0R0 */
	ICC_REGISTER(3, 0, 12, 9, 0),	/* AP1R0 */
	ICC_REGISTER(3, 0, 12, 12, 3),	/* BPR1 */
	ICC_REGISTER(3, 0, 12, 12, 6),	/* IGRPEN0 */
	ICC_REGISTER(3, 0, 12, 12, 7),	/* IGRPEN1 */
};

/* struct gic_writer - where a run of register writes goes; the first failure sticks */
struct gic_writer {
	int fd;
	uint32_t group;
	uint64_t target;	/* the upper half of the attribute: which vCPU */
	uint64_t base;
	int error;
};

static void gic_write(struct gic_writer *writer, uint64_t offset, uint32_t value)
{
	if (writer->error == 0)
		writer->error = gic_set_attribute(writer->fd, writer->group,
						  writer->target | (writer->base + offset), &value);
}

/* gic_fill() - @interrupts of @bits each, from interrupt @first on, all set to @value */
static void gic_fill(struct gic_writer *writer, uint64_t offset, unsigned int bits,
		     unsigned int first, unsigned int interrupts, uint32_t value)
{
	for (unsigned int at = first * bits / 8; at < (first + interrupts) * bits / 8; at += 4)
		gic_write(writer, offset + at, value);
}

static void gic_reset_bank(struct gic_writer *writer, unsigned int first, unsigned int interrupts)
{
	gic_fill(writer, GICD_ICENABLER, 1, first, interrupts, UINT32_MAX);
	gic_fill(writer, GICD_ICACTIVER, 1, first, interrupts, UINT32_MAX);
	/* A GICv2 clears by the one, a GICv3 by zeroes in the other; each ignores the wrong one. */
	gic_fill(writer, GICD_ICPENDR, 1, first, interrupts, UINT32_MAX);
	gic_fill(writer, GICD_ISPENDR, 1, first, interrupts, 0);
	gic_fill(writer, GICD_IPRIORITYR, 8, first, interrupts, 0);
	/* The configuration of SGIs is fixed. */
	gic_fill(writer, GICD_ICFGR, 2, MAX(first, 16U), first ? interrupts : interrupts - 16, 0);
}

static int gic_v2_reset(const struct kvm *kvm, const struct gic *gic)
{
	struct gic_writer writer = { .fd = gic->fd, .group = KVM_DEV_ARM_VGIC_GRP_DIST_REGS };

	gic_write(&writer, GICD_CTLR, 0);
	gic_reset_bank(&writer, 32, ARM64_SPI_COUNT);
	gic_fill(&writer, GICD_ITARGETSR, 8, 32, ARM64_SPI_COUNT, 0);
	for (unsigned int i = 0; i < kvm->cpu_count; i++) {
		writer.target = (uint64_t)i << KVM_DEV_ARM_VGIC_CPUID_SHIFT;
		writer.group = KVM_DEV_ARM_VGIC_GRP_DIST_REGS;
		gic_reset_bank(&writer, 0, 32);
		writer.group = KVM_DEV_ARM_VGIC_GRP_CPU_REGS;
		gic_write(&writer, GICC_CTLR, 0);
		gic_write(&writer, GICC_PMR, 0);
		gic_write(&writer, GICC_BPR, 0);
		gic_write(&writer, GICC_ABPR, 0);
		gic_write(&writer, GICC_APR, 0);
	}
	return writer.error;
}

uint64_t gic_affinity(const struct kvm_cpu *cpu)
{
	uint64_t mpidr = cpu->arch->mpidr;

	/* Aff3 lies 8 bits higher in MPIDR_EL1 than in the attribute. */
	return ((mpidr >> 32 & 0xff) << 24 | (mpidr & 0xffffff)) << KVM_DEV_ARM_VGIC_V3_MPIDR_SHIFT;
}

static void gic_v3_reset_cpu(struct gic_writer *writer, const struct kvm_cpu *cpu)
{
	uint64_t zero = 0;

	writer->target = gic_affinity(cpu);
	writer->group = KVM_DEV_ARM_VGIC_GRP_REDIST_REGS;
	gic_write(writer, GICR_CTLR, 0);
	for (unsigned int half = 0; half < 8; half += 4) {
		gic_write(writer, GICR_PROPBASER + half, 0);
		gic_write(writer, GICR_PENDBASER + half, 0);
	}
	writer->base = GICR_SGI;
	gic_reset_bank(writer, 0, 32);
	gic_write(writer, GICD_IGROUPR, 0);
	writer->base = 0;
	for (size_t i = 0; i < ARRAY_SIZE(icc_registers) && writer->error == 0; i++)
		writer->error = gic_set_attribute(writer->fd, KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS,
						  writer->target | icc_registers[i], &zero);
}

static int gic_v3_reset(const struct kvm *kvm, const struct gic *gic)
{
	struct gic_writer writer = { .fd = gic->fd, .group = KVM_DEV_ARM_VGIC_GRP_DIST_REGS };

	/* The ITS first: it must not translate into tables that are going away. */
	if (gic->its_fd >= 0)
		writer.error = gic_set_attribute(gic->its_fd, KVM_DEV_ARM_VGIC_GRP_CTRL,
						 KVM_DEV_ARM_ITS_CTRL_RESET, NULL);
	gic_write(&writer, GICD_CTLR, 0);
	gic_fill(&writer, GICD_IGROUPR, 1, 32, ARM64_SPI_COUNT, 0);
	gic_reset_bank(&writer, 32, ARM64_SPI_COUNT);
	for (unsigned int spi = 32; spi < ARM64_SPI_INTID(ARM64_SPI_COUNT); spi++) {
		gic_write(&writer, GICD_IROUTER + 8 * spi, 0);
		gic_write(&writer, GICD_IROUTER + 8 * spi + 4, 0);
	}
	for (unsigned int i = 0; i < kvm->cpu_count; i++)
		gic_v3_reset_cpu(&writer, kvm->cpus[i]);
	return writer.error;
}

int gic_reset(struct kvm *kvm, struct gic *gic)
{
	int error = gic->kind <= GIC_V2M ? gic_v2_reset(kvm, gic) : gic_v3_reset(kvm, gic);

	if (error < 0)
		return log_errno(-error, "%s: KVM can't reset it", gic_name(gic->kind));
	return 0;
}
