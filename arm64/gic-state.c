/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The GIC, saved and loaded: distributor, each vCPU's redistributor and CPU interface, the ITS.
 *
 * Documentation/virt/kvm/devices/arm-vgic*.rst. What an ITS and its LPIs know lies in tables in guest memory, which KVM
 * brings up to date when it is told, and reads again. The levels of lines are left out: a line's eventfds are made anew
 * by whoever loads, and who has a cause raises it again; a vCPU's own lines are its timers', which KVM works out. Main
 * thread, vCPUs parked.
 */
#include "arm64.h"

#include <string.h>
#include <sys/ioctl.h>

#include "kvm/log.h"
#include "kvm/state.h"

#define GICD_CTLR		0x0000
#define GICD_IIDR		0x0008
#define GICD_IGROUPR		0x0080
#define GICD_ISENABLER		0x0100
#define GICD_ICENABLER		0x0180
#define GICD_ISPENDR		0x0200
#define GICD_ICPENDR		0x0280
#define GICD_ISACTIVER		0x0300
#define GICD_ICACTIVER		0x0380
#define GICD_IPRIORITYR		0x0400
#define GICD_ITARGETSR		0x0800
#define GICD_ICFGR		0x0c00
#define GICD_SPENDSGIR		0x0f20
#define GICD_IROUTER		0x6000

#define GICR_CTLR		0x00000
#define GICR_PROPBASER		0x00070
#define GICR_PENDBASER		0x00078
#define GICR_SGI		0x10000		/* second frame, a bank like GICD's first */

#define GITS_CTLR		0x0000
#define GITS_IIDR		0x0004
#define GITS_CBASER		0x0080
#define GITS_CWRITER		0x0088
#define GITS_CREADR		0x0090
#define GITS_BASER		0x0100

#define INTERRUPTS		ARM64_SPI_INTID(ARM64_SPI_COUNT)
#define WORDS(bits)		(INTERRUPTS * (bits) / 32)

/* ICC_*_EL1, as KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS wants them; which active priorities there are depends on the host */
#define ICC_REGISTER(op0, op1, crn, crm, op2) \
	(ARM64_SYS_REG(op0, op1, crn, crm, op2) & KVM_DEV_ARM_VGIC_SYSREG_INSTR_MASK)
static const uint64_t icc_registers[] = {
	ICC_REGISTER(3, 0, 12, 12, 5),	/* SRE */
	ICC_REGISTER(3, 0, 12, 12, 4),	/* CTLR */
	ICC_REGISTER(3, 0, 12, 12, 6),	/* IGRPEN0 */
	ICC_REGISTER(3, 0, 12, 12, 7),	/* IGRPEN1 */
	ICC_REGISTER(3, 0, 4, 6, 0),	/* PMR */
	ICC_REGISTER(3, 0, 12, 8, 3),	/* BPR0 */
	ICC_REGISTER(3, 0, 12, 12, 3),	/* BPR1 */
	ICC_REGISTER(3, 0, 12, 8, 4), ICC_REGISTER(3, 0, 12, 8, 5),	/* AP0R0 to 3 */
	ICC_REGISTER(3, 0, 12, 8, 6), ICC_REGISTER(3, 0, 12, 8, 7),
	ICC_REGISTER(3, 0, 12, 9, 0), ICC_REGISTER(3, 0, 12, 9, 1),	/* AP1R0 to 3 */
	ICC_REGISTER(3, 0, 12, 9, 2), ICC_REGISTER(3, 0, 12, 9, 3),
};

static const uint64_t gicc_registers[] = {
	0x00, 0x04, 0x08, 0x1c, 0xd0, 0xd4, 0xd8, 0xdc,	/* CTLR, PMR, BPR, ABPR, APR0 to 3 */
};

/* struct gic_bank - interrupts and what is set for each; a vCPU's own use the first words only */
struct gic_bank {
	uint32_t group[WORDS(1)], enabled[WORDS(1)], pending[WORDS(1)], active[WORDS(1)];
	uint32_t config[WORDS(2)], priority[WORDS(8)];
};

struct gic_saved {
	uint8_t kind;
	uint32_t ctlr, iidr;
	struct gic_bank bank;
	uint32_t target[WORDS(8)];	/* GICv2 */
	uint64_t router[INTERRUPTS];	/* GICv3 */
};

struct gic_cpu_saved {
	uint32_t ctlr;
	uint64_t propbaser, pendbaser;
	struct gic_bank bank;
	uint32_t sgi[4];		/* GICv2: who sent what */
	uint64_t interface[ARRAY_SIZE(icc_registers)];
	uint8_t present[ARRAY_SIZE(icc_registers)];
};

struct its_saved {
	uint64_t ctlr, iidr, cbaser, cwriter, creadr, baser[8];
};

#define BANK(s)												\
	STATE_U32_ARRAY(s, bank.group), STATE_U32_ARRAY(s, bank.enabled), STATE_U32_ARRAY(s, bank.pending),	\
	STATE_U32_ARRAY(s, bank.active), STATE_U32_ARRAY(s, bank.config), STATE_U32_ARRAY(s, bank.priority)

static const struct state_field gic_fields[] = {
	STATE_U8_MAX(struct gic_saved, kind, GIC_V3_ITS), STATE_U32(struct gic_saved, ctlr),
	STATE_U32(struct gic_saved, iidr), BANK(struct gic_saved), STATE_U32_ARRAY(struct gic_saved, target),
	STATE_U64_ARRAY(struct gic_saved, router),
};
STATE_TABLE(gic_table, "arm64-gic", 1, gic_fields);

static const struct state_field gic_cpu_fields[] = {
	STATE_U32(struct gic_cpu_saved, ctlr), STATE_U64(struct gic_cpu_saved, propbaser),
	STATE_U64(struct gic_cpu_saved, pendbaser), BANK(struct gic_cpu_saved),
	STATE_U32_ARRAY(struct gic_cpu_saved, sgi), STATE_U64_ARRAY(struct gic_cpu_saved, interface),
	STATE_BYTES(struct gic_cpu_saved, present),
};
STATE_TABLE(gic_cpu_table, "arm64-gic-cpu", 1, gic_cpu_fields);

static const struct state_field its_fields[] = {
	STATE_U64(struct its_saved, ctlr), STATE_U64(struct its_saved, iidr), STATE_U64(struct its_saved, cbaser),
	STATE_U64(struct its_saved, cwriter), STATE_U64(struct its_saved, creadr), STATE_U64_ARRAY(struct its_saved, baser),
};
STATE_TABLE(its_table, "arm64-its", 1, its_fields);

/* ---- registers, either way ---- */

/* struct gic_access - a run of accesses in one direction; the first failure sticks */
struct gic_access {
	int fd;
	bool load;
	uint32_t group;
	uint64_t target;	/* the upper half of the attribute: which vCPU */
	uint64_t base;
	int error;
	uint64_t failed;	/* at which offset */
};

static int attribute(struct gic_access *gic, uint64_t at, void *value)
{
	struct kvm_device_attr attr = { .group = gic->group, .attr = gic->target | at, .addr = (uintptr_t)value };

	return ioctl(gic->fd, gic->load ? KVM_SET_DEVICE_ATTR : KVM_GET_DEVICE_ATTR, &attr) < 0 ? -errno : 0;
}

static void access32(struct gic_access *gic, uint64_t offset, uint32_t *value)
{
	if (gic->error)
		return;
	gic->failed = gic->base + offset;
	gic->error = attribute(gic, gic->base + offset, value);
}

/* A register of 64 bits that is accessed by halves. */
static void access64(struct gic_access *gic, uint64_t offset, uint64_t *value)
{
	uint32_t low = (uint32_t)*value, high = (uint32_t)(*value >> 32);

	access32(gic, offset, &low);
	access32(gic, offset + 4, &high);
	*value = (uint64_t)high << 32 | low;
}

/* @interrupts of @bits each, from interrupt @first on; the array begins with interrupt 0 */
static void access_run(struct gic_access *gic, uint64_t offset, unsigned int bits, unsigned int first,
		       unsigned int interrupts, uint32_t *words)
{
	for (unsigned int at = first * bits / 32; at < (first + interrupts) * bits / 32; at++)
		access32(gic, offset + at * 4ULL, &words[at]);
}

/* Bits that are set by one register and cleared by another: loaded, all are cleared first. */
static void access_bits(struct gic_access *gic, uint64_t set, uint64_t clear, unsigned int first,
			unsigned int interrupts, uint32_t *words)
{
	for (unsigned int at = first / 32; gic->load && at < (first + interrupts) / 32; at++) {
		uint32_t all = UINT32_MAX;

		access32(gic, clear + at * 4ULL, &all);
	}
	access_run(gic, set, 1, first, interrupts, words);
}

/* The configuration comes before what is pending, since level and edge differ in that. */
static void access_bank(struct gic_access *gic, unsigned int first, unsigned int interrupts, struct gic_bank *bank)
{
	access_run(gic, GICD_IGROUPR, 1, first, interrupts, bank->group);
	/* The configuration of SGIs is fixed. */
	access_run(gic, GICD_ICFGR, 2, MAX(first, 16U), first ? interrupts : interrupts - 16, bank->config);
	access_bits(gic, GICD_ISENABLER, GICD_ICENABLER, first, interrupts, bank->enabled);
	access_bits(gic, GICD_ISPENDR, GICD_ICPENDR, first, interrupts, bank->pending);
	access_bits(gic, GICD_ISACTIVER, GICD_ICACTIVER, first, interrupts, bank->active);
	access_run(gic, GICD_IPRIORITYR, 8, first, interrupts, bank->priority);
}

static void access_distributor(struct gic_access *gic, bool v3, struct gic_saved *saved)
{
	gic->group = KVM_DEV_ARM_VGIC_GRP_DIST_REGS;
	/* first: it says which revision of KVM's GIC this is */
	access32(gic, GICD_IIDR, &saved->iidr);
	access32(gic, GICD_CTLR, &saved->ctlr);
	for (unsigned int i = 32; v3 && i < INTERRUPTS; i++)
		access64(gic, GICD_IROUTER + 8 * i, &saved->router[i]);
	if (!v3)
		access_run(gic, GICD_ITARGETSR, 8, 32, ARM64_SPI_COUNT, saved->target);
	access_bank(gic, 32, ARM64_SPI_COUNT, &saved->bank);
}

/* ---- a vCPU's part ---- */

static void access_interface(struct gic_access *gic, const uint64_t *registers, size_t count, bool v3,
			     struct gic_cpu_saved *saved)
{
	for (size_t i = 0; i < count && !gic->error; i++) {
		uint32_t half = (uint32_t)saved->interface[i];
		int error;

		if (gic->load && !saved->present[i])
			continue;
		error = attribute(gic, registers[i], v3 ? (void *)&saved->interface[i] : (void *)&half);
		gic->failed = registers[i];
		if (gic->load) {
			gic->error = error;
			continue;
		}
		saved->present[i] = !error;
		if (!v3)
			saved->interface[i] = half;
	}
}

static void access_v2_cpu(struct gic_access *gic, const struct kvm_cpu *cpu, struct gic_cpu_saved *saved)
{
	gic->target = (uint64_t)cpu->index << KVM_DEV_ARM_VGIC_CPUID_SHIFT;
	gic->group = KVM_DEV_ARM_VGIC_GRP_DIST_REGS;
	access_bank(gic, 0, 32, &saved->bank);
	for (unsigned int i = 0; i < ARRAY_SIZE(saved->sgi); i++)
		access32(gic, GICD_SPENDSGIR + 4 * i, &saved->sgi[i]);
	gic->group = KVM_DEV_ARM_VGIC_GRP_CPU_REGS;
	access_interface(gic, gicc_registers, ARRAY_SIZE(gicc_registers), false, saved);
	gic->target = 0;
}

static void access_v3_cpu(struct gic_access *gic, const struct kvm_cpu *cpu, struct gic_cpu_saved *saved)
{
	gic->target = gic_affinity(cpu);
	gic->group = KVM_DEV_ARM_VGIC_GRP_REDIST_REGS;
	/* the tables before LPIs are switched on */
	access64(gic, GICR_PROPBASER, &saved->propbaser);
	access64(gic, GICR_PENDBASER, &saved->pendbaser);
	access32(gic, GICR_CTLR, &saved->ctlr);
	gic->base = GICR_SGI;
	access_bank(gic, 0, 32, &saved->bank);
	gic->base = 0;
	gic->group = KVM_DEV_ARM_VGIC_GRP_CPU_SYSREGS;
	access_interface(gic, icc_registers, ARRAY_SIZE(icc_registers), true, saved);
	gic->target = 0;
}

/* ---- the ITS ---- */

static void its_access(struct gic_access *its, struct its_saved *saved)
{
	struct { uint64_t offset; uint64_t *value; } registers[] = {
		{ GITS_IIDR, &saved->iidr }, { GITS_CBASER, &saved->cbaser }, { GITS_CREADR, &saved->creadr },
		{ GITS_CWRITER, &saved->cwriter },
	};

	its->group = KVM_DEV_ARM_VGIC_GRP_ITS_REGS;
	for (size_t i = 0; i < ARRAY_SIZE(registers) && !its->error; i++) {
		its->failed = registers[i].offset;
		its->error = attribute(its, registers[i].offset, registers[i].value);
	}
	for (unsigned int i = 0; i < ARRAY_SIZE(saved->baser) && !its->error; i++) {
		its->failed = GITS_BASER + 8 * i;
		its->error = attribute(its, GITS_BASER + 8 * i, &saved->baser[i]);
	}
}

static int its_save(const struct gic *gic, struct state_writer *writer)
{
	struct gic_access its = { .fd = gic->its_fd };
	struct its_saved saved = { 0 };

	its_access(&its, &saved);
	if (!its.error)
		its.error = attribute(&its, GITS_CTLR, &saved.ctlr);
	if (!its.error)
		its.error = gic_set_attribute(gic->its_fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_ITS_SAVE_TABLES, NULL);
	if (!its.error)
		its.error = gic_set_attribute(gic->fd, KVM_DEV_ARM_VGIC_GRP_CTRL,
					      KVM_DEV_ARM_VGIC_SAVE_PENDING_TABLES, NULL);
	state_save(writer, &its_table, &saved);
	return its.error ? log_errno(its.error, "ITS: KVM can't save it (register 0x%llx)", (unsigned long long)its.failed) : 0;
}

/* Behind the redistributors: the tables name LPIs, whose own are found by those. */
static int its_load(const struct gic *gic, struct state_reader *reader)
{
	struct gic_access its = { .fd = gic->its_fd, .load = true };
	struct its_saved saved = { 0 };
	int result = state_load(reader, &its_table, &saved);

	if (result)
		return result;
	its_access(&its, &saved);
	if (!its.error)
		its.error = gic_set_attribute(gic->its_fd, KVM_DEV_ARM_VGIC_GRP_CTRL, KVM_DEV_ARM_ITS_RESTORE_TABLES, NULL);
	if (!its.error)
		its.error = attribute(&its, GITS_CTLR, &saved.ctlr);
	return its.error ? log_errno(its.error, "ITS: KVM can't load it (register 0x%llx)", (unsigned long long)its.failed) : 0;
}

/* ---- all of it ---- */

static int gic_said(const struct gic *gic, const struct gic_access *run)
{
	return log_errno(run->error, "%s: KVM can't %s it (register 0x%llx of group %u)", gic_name(gic->kind),
			 run->load ? "load" : "save", (unsigned long long)run->failed, run->group);
}

int gic_save(struct kvm *kvm, struct gic *gic, struct state_writer *writer)
{
	bool v3 = gic->kind >= GIC_V3;
	struct gic_access run = { .fd = gic->fd };
	struct gic_saved saved = { .kind = (uint8_t)gic->kind };

	access_distributor(&run, v3, &saved);
	state_save(writer, &gic_table, &saved);
	for (unsigned int i = 0; i < kvm->cpu_count; i++) {
		struct gic_cpu_saved cpu = { 0 };

		if (v3)
			access_v3_cpu(&run, kvm->cpus[i], &cpu);
		else
			access_v2_cpu(&run, kvm->cpus[i], &cpu);
		state_save(writer, &gic_cpu_table, &cpu);
	}
	if (run.error)
		return gic_said(gic, &run);
	return gic->kind == GIC_V3_ITS ? its_save(gic, writer) : 0;
}

int gic_load(struct kvm *kvm, struct gic *gic, struct state_reader *reader)
{
	bool v3 = gic->kind >= GIC_V3;
	struct gic_access run = { .fd = gic->fd, .load = true };
	struct gic_saved saved = { 0 };
	int result = state_load(reader, &gic_table, &saved);

	if (!result && saved.kind != gic->kind)
		result = log_error(ENOTSUP, "saved state: the guest has a %s, this host offers a %s (--irqchip says which)",
				   gic_name(saved.kind), gic_name(gic->kind));
	if (result)
		return result;
	access_distributor(&run, v3, &saved);
	for (unsigned int i = 0; i < kvm->cpu_count && !result; i++) {
		struct gic_cpu_saved cpu = { 0 };

		result = state_load(reader, &gic_cpu_table, &cpu);
		if (!result && v3)
			access_v3_cpu(&run, kvm->cpus[i], &cpu);
		else if (!result)
			access_v2_cpu(&run, kvm->cpus[i], &cpu);
	}
	if (result)
		return result;
	if (run.error)
		return gic_said(gic, &run);
	return gic->kind == GIC_V3_ITS ? its_load(gic, reader) : 0;
}
