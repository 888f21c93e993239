/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Exits that only arm64 has. Runs on the vCPU's thread.
 *
 * A load or store that faults outside RAM comes with a syndrome that says register and size, unless the
 * instruction was one of those that have none (a pair, a vector, one with write-back). Such an access is the
 * guest's mistake: it gets the external abort that a bus gives when nobody answers.
 */
#include "arm64.h"

#include <sys/ioctl.h>

#include "kvm/log.h"

static int cpu_inject_external_abort(struct kvm_cpu *cpu)
{
	struct kvm_vcpu_events events = { .exception.ext_dabt_pending = 1 };

	if (ioctl(cpu->fd, KVM_SET_VCPU_EVENTS, &events) < 0)
		return log_errno(errno, "vCPU %u: KVM can't inject an abort", cpu->index);
	return 0;
}

int arch_cpu_handle_exit(struct kvm_cpu *cpu)
{
	const struct kvm_run *run = cpu->run;
	int error;

	if (run->exit_reason != KVM_EXIT_ARM_NISV)
		return 0;
	log_guest(&arm64_vm(cpu->kvm)->nisv_log,
		  "vCPU %u: an access to 0x%llx by an instruction that can't be emulated "
		  "(syndrome 0x%llx): the guest gets an abort",
		  cpu->index, (unsigned long long)run->arm_nisv.fault_ipa,
		  (unsigned long long)run->arm_nisv.esr_iss);
	error = cpu_inject_external_abort(cpu);
	return error < 0 ? error : 1;
}
