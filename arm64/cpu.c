/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * vCPUs of an arm64 VM: which features they have, and what is in their registers when they start.
 *
 * The features are the host's, less what options take away; KVM wants the same set at every
 * KVM_ARM_VCPU_INIT, which is the reset too. Power states are PSCI's and live in KVM: vCPU 0 starts, the
 * others wait for its CPU_ON. Main thread, the vCPU not running.
 */
#include "arm64.h"

#include <string.h>
#include <sys/ioctl.h>

#include "kvm/boot.h"
#include "kvm/log.h"

#define PVTIME_CPU_SIZE		64	/* Arm DEN0057, 3.2 */
#define MPIDR_AFFINITY		0xff00ffffffULL
#define SVE_QUADWORD_BITS	128

/* ---- registers and attributes ---- */

int cpu_get_register(const struct kvm_cpu *cpu, uint64_t id, uint64_t *value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)value };

	return ioctl(cpu->fd, KVM_GET_ONE_REG, &reg) < 0 ? -errno : 0;
}

int cpu_set_register(const struct kvm_cpu *cpu, uint64_t id, uint64_t value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)&value };

	return ioctl(cpu->fd, KVM_SET_ONE_REG, &reg) < 0 ? -errno : 0;
}

int cpu_set_attribute(const struct kvm_cpu *cpu, uint32_t group, uint64_t attribute,
		      const void *value)
{
	struct kvm_device_attr attr = { .group = group,
					.attr = attribute,
					.addr = (uintptr_t)value };

	return ioctl(cpu->fd, KVM_SET_DEVICE_ATTR, &attr) < 0 ? -errno : 0;
}

bool cpu_has_attribute(const struct kvm_cpu *cpu, uint32_t group, uint64_t attribute)
{
	struct kvm_device_attr attr = { .group = group, .attr = attribute };

	return ioctl(cpu->fd, KVM_HAS_DEVICE_ATTR, &attr) == 0;
}

/* ---- features ---- */

static void feature_set(struct kvm_vcpu_init *init, unsigned int feature)
{
	init->features[feature / 32] |= (uint32_t)BIT(feature % 32);
}

static bool feature_has(const struct kvm_vcpu_init *init, unsigned int feature)
{
	return init->features[feature / 32] & (uint32_t)BIT(feature % 32);
}

/* features_add_optional() - what is there is given, unless an option forbids it */
static void features_add_optional(const struct kvm *kvm, struct kvm_vcpu_init *init)
{
	if (kvm_check_extension(kvm, KVM_CAP_ARM_SVE) > 0)
		feature_set(init, KVM_ARM_VCPU_SVE);
	/* KVM gives both kinds of pointer authentication or none. */
	if (kvm_check_extension(kvm, KVM_CAP_ARM_PTRAUTH_ADDRESS) > 0 &&
	    kvm_check_extension(kvm, KVM_CAP_ARM_PTRAUTH_GENERIC) > 0) {
		feature_set(init, KVM_ARM_VCPU_PTRAUTH_ADDRESS);
		feature_set(init, KVM_ARM_VCPU_PTRAUTH_GENERIC);
	}
}

static int features_choose(const struct kvm_cpu *cpu, struct kvm_vcpu_init *init)
{
	const struct kvm *kvm = cpu->kvm;

	if (kvm_check_extension(kvm, KVM_CAP_ARM_PSCI_0_2) <= 0)
		return log_error(ENOTSUP, "this host's KVM has no PSCI 0.2");
	feature_set(init, KVM_ARM_VCPU_PSCI_0_2);
	if (cpu->index > 0)
		feature_set(init, KVM_ARM_VCPU_POWER_OFF);
	if (config_flag(kvm->config, "pmu")) {
		if (kvm_check_extension(kvm, KVM_CAP_ARM_PMU_V3) <= 0)
			return log_error(ENOTSUP, "option --pmu: this host's KVM can't give a "
						  "guest a PMU");
		feature_set(init, KVM_ARM_VCPU_PMU_V3);
	}
	if (config_flag(kvm->config, "aarch32")) {
		if (kvm_check_extension(kvm, KVM_CAP_ARM_EL1_32BIT) <= 0)
			return log_error(ENOTSUP, "option --aarch32: this host's CPUs can't run "
						  "a 32-bit kernel");
		feature_set(init, KVM_ARM_VCPU_EL1_32BIT);
	} else {
		features_add_optional(kvm, init);
	}
	return 0;
}

/* sve_limit() - takes the vector lengths past --sve-max-vl away; the set is fixed by KVM_ARM_VCPU_FINALIZE */
static int sve_limit(const struct kvm_cpu *cpu)
{
	uint64_t lengths[KVM_ARM64_SVE_VLS_WORDS] = { 0 };
	struct kvm_one_reg reg = { .id = KVM_REG_ARM64_SVE_VLS, .addr = (uintptr_t)lengths };
	uint64_t max = config_uint(cpu->kvm->config, "sve-max-vl"),
		 quadwords = max / SVE_QUADWORD_BITS;

	if (!max)
		return 0;
	if (max % SVE_QUADWORD_BITS || quadwords > KVM_ARM64_SVE_VQ_MAX)
		return log_error(EINVAL,
				 "option --sve-max-vl: %llu is no vector length (a multiple of "
				 "128 up to %u bits)",
				 (unsigned long long)max, KVM_ARM64_SVE_VQ_MAX * SVE_QUADWORD_BITS);
	if (ioctl(cpu->fd, KVM_GET_ONE_REG, &reg) < 0)
		return log_errno(errno, "vCPU %u: SVE vector lengths", cpu->index);
	/* Bit n stands for n + 1 quadwords. */
	for (uint64_t n = quadwords; n < KVM_ARM64_SVE_VQ_MAX; n++)
		lengths[n / 64] &= ~BIT(n % 64);
	if (ioctl(cpu->fd, KVM_SET_ONE_REG, &reg) < 0)
		return log_errno(errno,
				 "option --sve-max-vl: this host can't limit vectors to %llu bits",
				 (unsigned long long)max);
	return 0;
}

static int sve_finalize(const struct kvm_cpu *cpu)
{
	int feature = KVM_ARM_VCPU_SVE, error;

	if (!feature_has(&cpu->arch->init, KVM_ARM_VCPU_SVE)) {
		if (config_given(cpu->kvm->config, "sve-max-vl") && cpu->index == 0)
			log_warn("option --sve-max-vl: this guest has no SVE");
		return 0;
	}
	error = sve_limit(cpu);
	if (error < 0)
		return error;
	if (ioctl(cpu->fd, KVM_ARM_VCPU_FINALIZE, &feature) < 0)
		return log_errno(errno, "vCPU %u: KVM can't set up SVE", cpu->index);
	return 0;
}

/* ---- life ---- */

static int cpu_set_init(const struct kvm_cpu *cpu)
{
	if (ioctl(cpu->fd, KVM_ARM_VCPU_INIT, &cpu->arch->init) < 0)
		return log_errno(errno, "vCPU %u: KVM can't initialise it", cpu->index);
	return 0;
}

bool arch_answers(const struct config *config)
{
	(void)config;
	return false;
}

unsigned long arch_cpu_id(const struct kvm *kvm, unsigned int index)
{
	(void)kvm;
	return index;
}

int arch_cpu_init(struct kvm_cpu *cpu)
{
	struct kvm_cpu_arch *arch = calloc(1, sizeof(*arch));
	int error;

	if (!arch)
		return log_errno(ENOMEM, "vCPU %u", cpu->index);
	cpu->arch = arch;
	if (ioctl(cpu->kvm->vm_fd, KVM_ARM_PREFERRED_TARGET, &arch->init) < 0)
		return log_errno(errno, "vCPU %u: KVM has no CPU model for this host", cpu->index);
	error = features_choose(cpu, &arch->init);
	if (error == 0)
		error = cpu_set_init(cpu);
	if (error == 0)
		error = sve_finalize(cpu);
	if (error < 0)
		return error;
	error = cpu_get_register(cpu, CPU_MPIDR_EL1, &arch->mpidr);
	if (error < 0)
		return log_errno(-error, "vCPU %u: MPIDR_EL1", cpu->index);
	arch->mpidr &= MPIDR_AFFINITY;
	return 0;
}

void arch_cpu_exit(struct kvm_cpu *cpu)
{
	free(cpu->arch);
	cpu->arch = NULL;
}

static int pmu_init(const struct kvm_cpu *cpu)
{
	int interrupt = ARM64_PPI_PMU + 16;
	int error;

	if (!feature_has(&cpu->arch->init, KVM_ARM_VCPU_PMU_V3))
		return 0;
	error = cpu_set_attribute(cpu, KVM_ARM_VCPU_PMU_V3_CTRL, KVM_ARM_VCPU_PMU_V3_IRQ,
				  &interrupt);
	if (error == 0)
		error = cpu_set_attribute(cpu, KVM_ARM_VCPU_PMU_V3_CTRL, KVM_ARM_VCPU_PMU_V3_INIT,
					  NULL);
	if (error < 0)
		return log_errno(-error, "vCPU %u: KVM can't set up its PMU", cpu->index);
	return 0;
}

static int pvtime_init(const struct kvm_cpu *cpu)
{
	uint64_t address = ARM64_PVTIME_BASE + (uint64_t)cpu->index * PVTIME_CPU_SIZE;
	int error;

	if (!arm64_vm(cpu->kvm)->pvtime ||
	    address + PVTIME_CPU_SIZE > ARM64_PVTIME_BASE + ARM64_PVTIME_SIZE ||
	    !cpu_has_attribute(cpu, KVM_ARM_VCPU_PVTIME_CTRL, KVM_ARM_VCPU_PVTIME_IPA))
		return 0;
	error = cpu_set_attribute(cpu, KVM_ARM_VCPU_PVTIME_CTRL, KVM_ARM_VCPU_PVTIME_IPA, &address);
	if (error < 0)
		return log_errno(-error, "vCPU %u: stolen time", cpu->index);
	return 0;
}

/* The timers' PPIs are KVM's defaults (27 and 30), which the device tree tells. */
int arch_cpus_ready(struct kvm *kvm)
{
	int error = gic_finish(&arm64_vm(kvm)->gic);

	/* A PMU's interrupt needs a GIC that is complete. */
	for (unsigned int i = 0; i < kvm->cpu_count && error == 0; i++) {
		error = pmu_init(kvm->cpus[i]);
		if (error == 0)
			error = pvtime_init(kvm->cpus[i]);
	}
	return error < 0 ? error : irq_chip_ready(kvm);
}

static int cpu_set_entry(const struct kvm_cpu *cpu, const struct boot_entry *entry)
{
	int error = cpu_set_register(cpu, CPU_CORE_REGISTER(regs.pstate), entry->pstate);

	for (unsigned int i = 0; i < ARRAY_SIZE(entry->x) && error == 0; i++)
		error = cpu_set_register(cpu, CPU_REGISTER_X(i), entry->x[i]);
	if (error == 0)
		error = cpu_set_register(cpu, CPU_CORE_REGISTER(regs.pc), entry->pc);
	if (error < 0)
		return log_errno(-error, "vCPU %u: KVM can't set its registers", cpu->index);
	return 0;
}

int arch_cpu_reset(struct kvm_cpu *cpu)
{
	const struct boot *boot = boot_get(cpu->kvm);
	int error = cpu_set_init(cpu);

	if (error < 0 || cpu->index > 0 || !boot)
		return error;
	return cpu_set_entry(cpu, boot->private);
}

int arch_cpu_nmi(struct kvm_cpu *cpu)
{
	(void)cpu;
	return -EOPNOTSUPP;
}

static const char *const irqchip_choices[] = {
	"auto", "gicv2", "gicv2m", "gicv3", "gicv3-its", NULL
};

static const struct option_def arm64_options[] = {
	{ .name = "irqchip",
	  .type = OPTION_CHOICE,
	  .choices = irqchip_choices,
	  .fallback = "auto",
	  .help = "Interrupt controller (auto: the best that the host has)" },
	{ .name = "aarch32", .type = OPTION_FLAG, .help = "A 32-bit guest: boots an ARM zImage" },
	{ .name = "pmu",
	  .type = OPTION_FLAG,
	  .help = "Give the guest a performance monitor (PMUv3)" },
	{ .name = "disable-mte",
	  .type = OPTION_FLAG,
	  .help = "No memory tagging, even if the host has it" },
	{ .name = "sve-max-vl",
	  .type = OPTION_UINT,
	  .argument = "BITS",
	  .min = 128,
	  .max = 2048,
	  .help = "Longest SVE vector the guest may use" },
	{ .name = "pvtime",
	  .type = OPTION_FLAG,
	  .fallback = "true",
	  .help = "Tell the guest of stolen time" },
	{ .name = "override-bad-firmware-cntfrq",
	  .type = OPTION_UINT,
	  .argument = "HZ",
	  .max = UINT32_MAX,
	  .help = "Timer frequency in the device tree, for firmware that leaves CNTFRQ_EL0 wrong" },
	{ .name = "force-pci",
	  .type = OPTION_FLAG,
	  .same_as = "virtio-transport=pci",
	  .help = "As --virtio-transport pci, for kvmtool's scripts" },
	{ .name = "firmware-address",
	  .type = OPTION_STRING,
	  .argument = "ADDRESS",
	  .help = "Where the firmware goes",
	  .pending = "firmware and flash come later" },
	{ .name = "nested",
	  .type = OPTION_FLAG,
	  .help = "A guest with an EL2 of its own",
	  .pending = "nested virtualisation" },
	{ .name = "counter-offset",
	  .type = OPTION_UINT,
	  .argument = "TICKS",
	  .help = "What the guest's counter is behind the host's",
	  .pending = "nested virtualisation" },
	{ .name = "e2h0",
	  .type = OPTION_FLAG,
	  .help = "Nested guest without VHE",
	  .pending = "nested virtualisation" },
};
RUN_OPTIONS(arm64_options_group, "Architecture options", arm64_options);

/* Never called: vCPUs don't come later. */
void arch_clock_join(struct kvm_cpu *cpu)
{
	(void)cpu;
}

void arch_cpu_event(struct kvm *kvm)
{
	(void)kvm;
}
