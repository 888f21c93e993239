/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The interrupt controller: KVM's in-kernel GIC, of the kind that --irqchip names.
 */
#ifndef ARM64_GIC_H
#define ARM64_GIC_H

#include <stdint.h>

#include "kvm/log.h"
#include "kvm/memory.h"

struct kvm;

enum gic_kind { GIC_V2, GIC_V2M, GIC_V3, GIC_V3_ITS };

#define GIC_DIST_BASE		0x3fff0000ULL
#define GIC_DIST_SIZE		0x10000ULL
#define GIC_V2_CPU_BASE		0x3ffd0000ULL
#define GIC_V2_CPU_SIZE		0x20000ULL
#define GIC_V2M_BASE		0x3ffc0000ULL
#define GIC_V2M_SIZE		0x1000ULL
#define GIC_REDIST_SIZE		0x20000ULL	/* of one vCPU */
#define GIC_ITS_SIZE		0x20000ULL

struct gic {
	enum gic_kind kind;
	int fd;				/* KVM's device, or -1 */
	int its_fd;			/* GIC_V3_ITS, or -1 */
	uint64_t redist_base, redist_size;
	uint64_t its_base;
	/* GIC_V2M: the frame that we emulate */
	struct kvm *kvm;
	struct region v2m_region;
	struct log_limit v2m_log;
};

/** gic_create() - before the vCPUs; gic_destroy() - after them; *@gic is zero before and after */
int __must_check gic_create(struct kvm *kvm, struct gic *gic, unsigned int cpus);
void gic_destroy(struct gic *gic);

/** gic_finish() - all vCPUs exist: no more lines, the GIC works from here on */
int __must_check gic_finish(struct gic *gic);

/** gic_reset() - power-on state; vCPUs are parked */
int __must_check gic_reset(struct kvm *kvm, struct gic *gic);

/** gic_save(), gic_load() - all that KVM holds of it; vCPUs are parked; 0 or negative errno (said) */
struct state_reader;
struct state_writer;
int __must_check gic_save(struct kvm *kvm, struct gic *gic, struct state_writer *writer);
int __must_check gic_load(struct kvm *kvm, struct gic *gic, struct state_reader *reader);

/** gic_affinity() - a vCPU's, where attributes of a GICv3 want it */
struct kvm_cpu;
uint64_t gic_affinity(const struct kvm_cpu *cpu);

/** gic_name() - as --irqchip calls it */
const char *gic_name(enum gic_kind kind);

/** gic_set_attribute() - an attribute of one of the GIC's devices; 0, or negative errno without a message */
int __must_check gic_set_attribute(int fd, uint32_t group, uint64_t attribute, const void *value);

#endif
