/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Which vCPUs a VM has: those that it begins with, and where --cpus says max=, those that come and go while it runs.
 *
 * KVM makes vCPUs and never lets go of one, so one that is taken out stays in kvm->cpus with its thread, parked by
 * CPU_REQUEST_OFF, its registers as at power-on, and is the same again when the machine has it again. The list has room for all
 * that there may be and only grows: other threads read cpu_count first. Main thread, but for kvm_cpu_find() and the like.
 *
 * --cpus says which there are and is changed with that, so that a snapshot, a fork and a moved machine begin with the same.
 */
#include "kvm/kvm-cpu.h"

#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>

#include "kvm/arch.h"
#include "kvm/log.h"
#include "kvm/topology.h"

/* ---- which there are ---- */

bool kvm_cpu_is_off(const struct kvm_cpu *cpu)
{
	return atomic_load(&cpu->requests) & CPU_REQUEST_OFF;
}

static struct kvm_cpu *cpu_made(const struct kvm *kvm, unsigned int number)
{
	unsigned int count = kvm->cpu_count;

	if (number < count && kvm->cpus[number]->index == number)
		return kvm->cpus[number];
	for (unsigned int i = 0; i < count; i++)
		if (kvm->cpus[i]->index == number)
			return kvm->cpus[i];
	return NULL;
}

struct kvm_cpu *kvm_cpu_find(const struct kvm *kvm, unsigned int number)
{
	struct kvm_cpu *cpu = cpu_made(kvm, number);

	return cpu && !kvm_cpu_is_off(cpu) ? cpu : NULL;
}

unsigned int kvm_cpus_present(const struct kvm *kvm)
{
	unsigned int count = 0;

	for (unsigned int i = 0; i < kvm->cpu_count; i++)
		count += !kvm->cpu_plug || !kvm_cpu_is_off(kvm->cpus[i]);
	return count;
}

bool kvm_cpu_is_there(const struct kvm *kvm, unsigned int number)
{
	return kvm->cpu_plug ? kvm_cpu_find(kvm, number) != NULL : number < kvm->cpu_count;
}

unsigned int kvm_cpus_possible(const struct kvm *kvm)
{
	return kvm->cpu_plug ? kvm->cpu_possible : kvm->cpu_count;
}

/* ---- made and freed ---- */

static void cpu_free(struct kvm_cpu *cpu)
{
	arch_cpu_exit(cpu);
	if (cpu->run)
		munmap(cpu->run, cpu->kvm->run_size);
	if (cpu->fd >= 0)
		close(cpu->fd);
	free(cpu->affinity);
	free(cpu);
}

static int cpu_set_debug(struct kvm_cpu *cpu)
{
	struct kvm_guest_debug debug = { .control = KVM_GUESTDBG_ENABLE | KVM_GUESTDBG_SINGLESTEP };

	if (ioctl(cpu->fd, KVM_SET_GUEST_DEBUG, &debug) < 0)
		return log_errno(errno, "option --debug-single-step: KVM can't");
	return 0;
}

static int cpu_make(struct kvm_cpu *cpu)
{
	struct kvm *kvm = cpu->kvm;
	void *run;

	cpu->fd = ioctl(kvm->vm_fd, KVM_CREATE_VCPU, arch_cpu_id(kvm, cpu->index));
	if (cpu->fd < 0)
		return log_errno(errno, "vCPU %u", cpu->index);
	run = mmap(NULL, kvm->run_size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, cpu->fd, 0);
	if (run == MAP_FAILED)
		return log_errno(errno, "vCPU %u: can't map its kvm_run", cpu->index);
	cpu->run = run;
	return arch_cpu_init(cpu);
}

/* Not in the list yet. */
static int cpu_create(struct kvm *kvm, unsigned int number, struct kvm_cpu **made)
{
	struct kvm_cpu *cpu = calloc(1, sizeof(*cpu));
	int result;

	if (!cpu)
		return log_errno(ENOMEM, "vCPU %u", number);
	cpu->kvm = kvm;
	cpu->index = number;
	cpu->place = kvm->cpu_count;
	result = cpu_make(cpu);
	if (!result && config_flag(kvm->config, "debug-single-step"))
		result = cpu_set_debug(cpu);
	if (result)
		cpu_free(cpu);
	else
		*made = cpu;
	return result;
}

static void cpu_list(struct kvm_cpu *cpu)
{
	cpu->kvm->cpus[cpu->place] = cpu;
	atomic_store(&cpu->kvm->cpu_count, cpu->place + 1);
}

/* ---- while the VM runs ---- */

static int cpus_record(struct kvm *kvm)
{
	_cleanup_free_ bool *present = calloc(kvm->cpu_possible, sizeof(*present));

	for (unsigned int i = 0; present && i < kvm->cpu_possible; i++)
		present[i] = kvm_cpu_find(kvm, i);
	return present ? cpus_present_set(kvm->config, kvm->cpu_possible, present) : -ENOMEM;
}

/* KVM has it for good from here on, so that it is in the list even if more of this fails: the next time will go on. */
static int cpu_add(struct kvm *kvm, unsigned int number, struct kvm_cpu **added)
{
	int result = cpu_create(kvm, number, added);

	if (result)
		return result;
	atomic_store(&(*added)->requests, CPU_REQUEST_OFF);
	cpu_list(*added);
	return cpu_affinity_init(*added);
}

static void cpu_set_off(struct kvm_cpu *cpu, bool off)
{
	/* who has parked the others will let go of this one with them; and what was asked of it while it was off is past */
	pthread_mutex_lock(&cpu->kvm->pause_lock);
	atomic_fetch_or(&cpu->requests, off ? CPU_REQUEST_OFF : CPU_REQUEST_PAUSE);
	if (!off)
		atomic_fetch_and(&cpu->requests, CPU_REQUEST_PAUSE | CPU_REQUEST_STOP);
	pthread_mutex_unlock(&cpu->kvm->pause_lock);
}

int kvm_cpu_plug(struct kvm *kvm, unsigned int number)
{
	struct kvm_cpu *cpu = cpu_made(kvm, number);
	int result = cpu ? 0 : cpu_add(kvm, number, &cpu);

	/* its thread parks at once */
	if (!result && !cpu->started)
		result = kvm_cpu_start(cpu);
	if (!result)
		result = arch_cpu_reset(cpu);
	if (result)
		return result;
	arch_clock_join(cpu);
	cpu_set_off(cpu, false);
	result = cpus_record(kvm);
	if (result)
		cpu_set_off(cpu, true);
	return result;
}

void kvm_cpu_unplug(struct kvm_cpu *cpu)
{
	cpu_set_off(cpu, true);
	/* its clock's and steal time's pages are the guest's to use again */
	if (arch_cpu_reset(cpu) || cpus_record(cpu->kvm))
		log_warn("vCPU %u: is out, but may leave traces", cpu->index);
}

/* ---- registration ---- */

static void cpus_find_coalesced(struct kvm *kvm)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int offset = kvm_check_extension(kvm, KVM_CAP_COALESCED_MMIO);

	if (offset <= 0 || ((size_t)offset + 1) * page > kvm->run_size)
		return;
	kvm->coalesced = (void *)((char *)kvm->cpus[0]->run + (size_t)offset * page);
	kvm->coalesced_max = (unsigned int)((page - sizeof(struct kvm_coalesced_mmio_ring)) /
					    sizeof(struct kvm_coalesced_mmio));
}

static void cpus_exit(struct kvm *kvm)
{
	kvm->coalesced = NULL;
	if (kvm->process_ends)
		return;
	while (kvm->cpus && kvm->cpu_count)
		cpu_free(kvm->cpus[--kvm->cpu_count]);
	free(kvm->cpus);
	kvm->cpus = NULL;
}

static int cpus_create(struct kvm *kvm)
{
	_cleanup_free_ bool *present = calloc(kvm->cpu_possible, sizeof(*present));
	struct kvm_cpu *cpu;
	int result;

	kvm->cpus = calloc(kvm->cpu_possible, sizeof(struct kvm_cpu *));
	if (!present || !kvm->cpus)
		return log_errno(ENOMEM, "vCPUs");
	result = cpus_present_parse(kvm->config, kvm->cpu_possible, present);
	for (unsigned int i = 0; i < kvm->cpu_possible && !result; i++) {
		if (!present[i])
			continue;
		result = cpu_create(kvm, i, &cpu);
		if (!result)
			cpu_list(cpu);
	}
	return result;
}

static int cpus_init(struct kvm *kvm)
{
	struct cpu_topology topology;
	int result = cpu_topology_parse(kvm->config, &topology);

	if (result)
		return result;
	if (topology.may_change && !arch_has_cpu_plug)
		return log_error(EOPNOTSUPP, "option --cpus: max=%u: KVM has no vCPUs that come later on this architecture", topology.cpus);
	if (topology.cpus > kvm->cpu_max)
		return log_error(EINVAL, "option --cpus: %u, but KVM allows at most %u", topology.cpus, kvm->cpu_max);
	kvm->cpu_possible = topology.cpus;
	kvm->cpu_plug = topology.may_change;
	result = cpus_create(kvm);
	if (!result) {
		cpus_find_coalesced(kvm);
		result = arch_cpus_ready(kvm);
	}
	if (result)
		cpus_exit(kvm);
	return result;
}
base_init(cpus_init);
base_exit(cpus_exit);
