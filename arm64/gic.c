/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The interrupt controller: creates KVM's GICv2 or GICv3 (Documentation/virt/kvm/devices/arm-vgic*.rst) with
 * what makes messages out of it, an ITS (GICv3) or a GICv2m frame (Server Base System Architecture, appendix
 * E), which is ours: it tells the guest which SPIs are messages, and each message becomes a route to a line.
 *
 * Main thread. The frame's registers are constant; a CPU that writes to it pulses a line.
 */
#include "arm64.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/log.h"

#define V2M_TYPER		0x008
#define V2M_SETSPI_NS		0x040
#define V2M_IIDR		0xfcc
#define V2M_SPI_COUNT		(ARM64_SPI_COUNT - ARM64_SPI_V2M)
/* Revision 0 of the frame; implementer: 0x43b is Arm's */
#define V2M_IIDR_VALUE		0x0000043b
#define GITS_TRANSLATER		0x10040

#define GIC_V2_CPUS_MAX		8

static const struct gic_type {
	const char *name;
	uint32_t device;
	bool its;
} gic_types[] = {
	[GIC_V2]	= { "gicv2", KVM_DEV_TYPE_ARM_VGIC_V2, false },
	[GIC_V2M]	= { "gicv2m", KVM_DEV_TYPE_ARM_VGIC_V2, false },
	[GIC_V3]	= { "gicv3", KVM_DEV_TYPE_ARM_VGIC_V3, false },
	[GIC_V3_ITS]	= { "gicv3-its", KVM_DEV_TYPE_ARM_VGIC_V3, true },
};

const char *gic_name(enum gic_kind kind)
{
	return gic_types[kind].name;
}

int gic_set_attribute(int fd, uint32_t group, uint64_t attribute, const void *value)
{
	struct kvm_device_attr attr = { .group = group,
					.attr = attribute,
					.addr = (uintptr_t)value };

	return ioctl(fd, KVM_SET_DEVICE_ATTR, &attr) < 0 ? -errno : 0;
}

/* ---- which kind ---- */

static bool gic_device_possible(const struct kvm *kvm, uint32_t type)
{
	struct kvm_create_device device = { .type = type, .flags = KVM_CREATE_DEVICE_TEST };

	return ioctl(kvm->vm_fd, KVM_CREATE_DEVICE, &device) == 0;
}

static bool gic_possible(const struct kvm *kvm, enum gic_kind kind)
{
	return gic_device_possible(kvm, gic_types[kind].device) &&
	       (!gic_types[kind].its || gic_device_possible(kvm, KVM_DEV_TYPE_ARM_VGIC_ITS));
}

/* gic_list_possible() - "gicv3, gicv3-its": what this host's KVM has, for a message */
static void gic_list_possible(const struct kvm *kvm, char *text, size_t size)
{
	size_t used = 0;

	text[0] = '\0';
	for (size_t i = 0; i < ARRAY_SIZE(gic_types); i++) {
		int n = gic_possible(kvm, i) ? snprintf(text + used, size - used, "%s%s",
							used ? ", " : "", gic_types[i].name)
					     : 0;

		if (n < 0 || (size_t)n >= size - used)
			return;
		used += n;
	}
}

static int gic_choose(const struct kvm *kvm, enum gic_kind *kind)
{
	static const enum gic_kind best_first[] = { GIC_V3_ITS, GIC_V3, GIC_V2M };
	const char *wanted = config_string(kvm->config, "irqchip");
	char possible[64];

	if (!wanted || strcmp(wanted, "auto") == 0) {
		for (size_t i = 0; i < ARRAY_SIZE(best_first); i++) {
			*kind = best_first[i];
			if (gic_possible(kvm, *kind))
				return 0;
		}
		return log_error(ENODEV, "this host's KVM has no interrupt controller to offer "
					 "(no GICv2, no GICv3)");
	}
	for (size_t i = 0; i < ARRAY_SIZE(gic_types); i++) {
		if (strcmp(wanted, gic_types[i].name) != 0)
			continue;
		*kind = i;
		if (gic_possible(kvm, i))
			return 0;
		gic_list_possible(kvm, possible, sizeof(possible));
		return log_error(ENODEV,
				 "option --irqchip: this host's KVM can't do %s (it can: %s)",
				 wanted, *possible ? possible : "none");
	}
	return log_error(EINVAL,
			 "option --irqchip: '%s' is unknown (auto, gicv2, gicv2m, gicv3 or "
			 "gicv3-its)",
			 wanted);
}

/* ---- GICv2m ---- */

static uint64_t v2m_read(struct gic *gic, uint64_t offset, unsigned int size)
{
	(void)gic;
	(void)size;
	switch (offset) {
	case V2M_TYPER:
		return ARM64_SPI_INTID(ARM64_SPI_V2M) << 16 | V2M_SPI_COUNT;
	case V2M_IIDR:
		return V2M_IIDR_VALUE;
	default:
		return 0;
	}
}

static bool v2m_intid_valid(uint32_t intid)
{
	return intid >= ARM64_SPI_INTID(ARM64_SPI_V2M) && intid < ARM64_SPI_INTID(ARM64_SPI_COUNT);
}

static void v2m_write(struct gic *gic, uint64_t offset, uint64_t value, unsigned int size)
{
	struct kvm_irq_level level = {
		.irq = KVM_ARM_IRQ_TYPE_SPI << KVM_ARM_IRQ_TYPE_SHIFT | (uint32_t)value,
		.level = 1,
	};

	(void)size;
	if (offset != V2M_SETSPI_NS || !v2m_intid_valid((uint32_t)value))
		return;
	if (ioctl(gic->kvm->vm_fd, KVM_IRQ_LINE, &level) < 0)
		log_guest(&gic->v2m_log, "gicv2m: SPI %u can't be raised", (uint32_t)value);
	level.level = 0;
	if (ioctl(gic->kvm->vm_fd, KVM_IRQ_LINE, &level) < 0)
		log_guest(&gic->v2m_log, "gicv2m: SPI %u can't be lowered", (uint32_t)value);
}

IO_OPS(v2m_ops, struct gic, v2m_read, v2m_write, 4, 4);

/* ---- routes ---- */

size_t arch_irq_route_lines(struct kvm *kvm, struct kvm_irq_routing_entry *entries, size_t max)
{
	size_t count = MIN(max, (size_t)ARM64_SPI_COUNT);

	(void)kvm;
	memset(entries, 0, count * sizeof(*entries));
	for (size_t spi = 0; spi < count; spi++) {
		entries[spi].gsi = spi;
		entries[spi].type = KVM_IRQ_ROUTING_IRQCHIP;
		entries[spi].u.irqchip.pin = spi;
	}
	return count;
}

int arch_irq_route_message(struct kvm *kvm, uint64_t address, uint32_t data, uint32_t device_id,
			   struct kvm_irq_routing_entry *entry)
{
	const struct arm64_vm *vm = arm64_vm(kvm);
	const struct gic *gic = vm ? &vm->gic : NULL;

	memset(entry, 0, sizeof(*entry));
	if (!gic)
		return -EINVAL;
	if (gic->kind == GIC_V3_ITS && address == gic->its_base + GITS_TRANSLATER) {
		entry->type = KVM_IRQ_ROUTING_MSI;
		entry->flags = KVM_MSI_VALID_DEVID;
		entry->u.msi.address_lo = (uint32_t)address;
		entry->u.msi.address_hi = (uint32_t)(address >> 32);
		entry->u.msi.data = data;
		entry->u.msi.devid = device_id;
		return 0;
	}
	if (gic->kind == GIC_V2M && address == GIC_V2M_BASE + V2M_SETSPI_NS &&
	    v2m_intid_valid(data)) {
		entry->type = KVM_IRQ_ROUTING_IRQCHIP;
		entry->u.irqchip.pin = data - ARM64_SPI_INTID(0);
		return 0;
	}
	return -EINVAL;
}

uint32_t arch_irq_lines(void)
{
	return ARM64_SPI_COUNT;
}

void arch_irq_alloc_range(uint32_t *first, uint32_t *count)
{
	*first = ARM64_SPI_ALLOC;
	*count = ARM64_SPI_V2M - ARM64_SPI_ALLOC;
}

/* ---- life ---- */

static int gic_create_device(const struct kvm *kvm, uint32_t type, const char *name)
{
	struct kvm_create_device device = { .type = type };

	if (ioctl(kvm->vm_fd, KVM_CREATE_DEVICE, &device) < 0)
		return log_errno(errno, "KVM can't create a %s", name);
	return (int)device.fd;
}

static int gic_set_address(const struct gic *gic, int fd, uint64_t type, uint64_t address)
{
	int error = gic_set_attribute(fd, KVM_DEV_ARM_VGIC_GRP_ADDR, type, &address);

	if (error < 0)
		return log_errno(-error, "%s: KVM refuses the address 0x%llx", gic_name(gic->kind),
				 (unsigned long long)address);
	return 0;
}

static int gic_v2_create(struct kvm *kvm, struct gic *gic)
{
	int error = gic_set_address(gic, gic->fd, KVM_VGIC_V2_ADDR_TYPE_DIST, GIC_DIST_BASE);

	if (error == 0)
		error = gic_set_address(gic, gic->fd, KVM_VGIC_V2_ADDR_TYPE_CPU, GIC_V2_CPU_BASE);
	if (error < 0 || gic->kind != GIC_V2M)
		return error;
	region_init_io(&gic->v2m_region, "gicv2m", &v2m_ops, gic, GIC_V2M_SIZE);
	return region_add(&kvm->memory, &gic->v2m_region, GIC_V2M_BASE, 1);
}

static int gic_v3_create(struct kvm *kvm, struct gic *gic, unsigned int cpus)
{
	int error;

	/*
	 * One region holds them all: between virtio-mmio and the distributor is room for more redistributors
	 * than KVM has vCPUs, so KVM_VGIC_V3_ADDR_TYPE_REDIST_REGION's pieces are not needed.
	 */
	gic->redist_size = GIC_REDIST_SIZE * cpus;
	gic->redist_base = GIC_DIST_BASE - gic->redist_size;
	gic->its_base = gic->redist_base - GIC_ITS_SIZE;
	error = gic_set_address(gic, gic->fd, KVM_VGIC_V3_ADDR_TYPE_DIST, GIC_DIST_BASE);
	if (error == 0)
		error = gic_set_address(gic, gic->fd, KVM_VGIC_V3_ADDR_TYPE_REDIST,
					gic->redist_base);
	if (error < 0 || gic->kind != GIC_V3_ITS)
		return error;
	gic->its_fd = gic_create_device(kvm, KVM_DEV_TYPE_ARM_VGIC_ITS, "GICv3 ITS");
	if (gic->its_fd < 0)
		return gic->its_fd;
	return gic_set_address(gic, gic->its_fd, KVM_VGIC_ITS_ADDR_TYPE, gic->its_base);
}

int gic_create(struct kvm *kvm, struct gic *gic, unsigned int cpus)
{
	int error;

	gic->kvm = kvm;
	gic->fd = gic->its_fd = -1;
	error = gic_choose(kvm, &gic->kind);
	if (error < 0)
		return error;
	if (gic->kind <= GIC_V2M && cpus > GIC_V2_CPUS_MAX)
		return log_error(EINVAL,
				 "option --cpus: %u, but a %s serves at most %d (--irqchip=gicv3 "
				 "takes more, where the host has it)",
				 cpus, gic_name(gic->kind), GIC_V2_CPUS_MAX);
	gic->fd = gic_create_device(kvm, gic_types[gic->kind].device, gic_name(gic->kind));
	if (gic->fd < 0)
		return gic->fd;
	return gic->kind <= GIC_V2M ? gic_v2_create(kvm, gic) : gic_v3_create(kvm, gic, cpus);
}

void gic_destroy(struct gic *gic)
{
	if (gic->v2m_region.space)
		region_del(&gic->v2m_region);
	if (gic->kvm && gic->its_fd >= 0)
		close(gic->its_fd);
	if (gic->kvm && gic->fd >= 0)
		close(gic->fd);
	gic->fd = gic->its_fd = -1;
}

int gic_finish(struct gic *gic)
{
	/* SPIs and the 32 private ones; KVM wants a multiple of 32 */
	uint32_t interrupts = ARM64_SPI_INTID(ARM64_SPI_COUNT);
	int error;

	error = gic_set_attribute(gic->fd, KVM_DEV_ARM_VGIC_GRP_NR_IRQS, 0, &interrupts);
	if (error == 0)
		error = gic_set_attribute(gic->fd, KVM_DEV_ARM_VGIC_GRP_CTRL,
					  KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
	if (error == 0 && gic->its_fd >= 0)
		error = gic_set_attribute(gic->its_fd, KVM_DEV_ARM_VGIC_GRP_CTRL,
					  KVM_DEV_ARM_VGIC_CTRL_INIT, NULL);
	if (error < 0)
		return log_errno(-error, "%s: KVM can't set it up", gic_name(gic->kind));
	return 0;
}
