/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What the device tree is to say of this VM. Called by boot.c on the main thread, at every reset again, for
 * the seeds must be fresh.
 */
#include <sys/random.h>

#include "arm64.h"
#include "fdt.h"
#include "kvm/log.h"
#include "kvm/pci.h"

static int fill_seeds(const struct kvm *kvm, struct fdt_machine *machine)
{
	/* Of the seeds, 0 asks for none. */
	if (getrandom(machine->rng_seed, sizeof(machine->rng_seed), 0) !=
		    sizeof(machine->rng_seed) ||
	    getrandom(&machine->kaslr_seed, sizeof(machine->kaslr_seed), 0) !=
		    sizeof(machine->kaslr_seed))
		return log_errno(errno, "device tree: no random bytes for the seeds");
	if (config_given(kvm->config, "kaslr-seed"))
		machine->kaslr_seed = config_uint(kvm->config, "kaslr-seed");
	return 0;
}

int fdt_machine_fill(const struct kvm *kvm, struct fdt_machine *machine)
{
	const struct arm64_vm *vm = arm64_vm(kvm);

	*machine = (struct fdt_machine){
		.ram			= kvm->ram,
		.ram_count		= kvm->ram_count,
		.cpu_count		= kvm->cpu_count,
		.mpidr			= calloc(kvm->cpu_count, sizeof(uint64_t)),
		.numa			= kvm->numa,
		.pmu			= config_flag(kvm->config, "pmu"),
		.timer_frequency	= (uint32_t)config_uint(kvm->config, "override-bad-firmware-cntfrq"),
		.gic			= vm->gic.kind,
		.gic_redist_base	= vm->gic.redist_base,
		.gic_redist_size	= vm->gic.redist_size,
		.gic_its_base		= vm->gic.its_base,
		.pci			= pci_bus((struct kvm *)kvm) != NULL,
		.layout			= &vm->layout,
		.devices		= platform_devices((struct kvm *)kvm),
	};
	if (!machine->mpidr)
		return log_errno(ENOMEM, "device tree");
	if (cpu_topology_parse(kvm->config, &machine->topology))
		return -EUSAGE;
	for (unsigned int i = 0; i < kvm->cpu_count; i++)
		machine->mpidr[i] = kvm->cpus[i]->arch->mpidr;
	return fill_seeds(kvm, machine);
}

void fdt_machine_free(struct fdt_machine *machine)
{
	free(machine->mpidr);
	machine->mpidr = NULL;
}
