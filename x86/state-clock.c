/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A PC's clocks, saved and loaded: KVM's own (kvmclock), and each vCPU's TSC with its deadline.
 *
 * What is saved holds at one moment, whose wall-clock time goes with it. A guest that is loaded finds its clocks as
 * if it had run since then, so that its wall clock is right at once, whichever of them it goes by. The TSCs keep their
 * distances from each other: where KVM has offsets (Linux 5.16) exactly, else by writes that it takes to be meant as one.
 * A guest that watches for lockups is told that it stood still (KVM_KVMCLOCK_CTRL). Main thread, vCPUs parked.
 */
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <x86intrin.h>

#include "kvm/arch.h"
#include "kvm/log.h"
#include "x86/state.h"

#define NS_PER_S	1000000000ULL
#define KHZ_NEAR	4000		/* a part in this many: what NTP itself corrects */

struct clock_saved {
	uint64_t wall_ns;	/* CLOCK_REALTIME */
	uint64_t kvmclock_ns;
	uint64_t host_tsc;	/* at that moment */
	uint32_t tsc_khz;	/* of the guest; 0: KVM doesn't say */
	uint8_t has_offsets;
};

static const struct state_field clock_fields[] = {
	STATE_U64(struct clock_saved, wall_ns), STATE_U64(struct clock_saved, kvmclock_ns),
	STATE_U64(struct clock_saved, host_tsc), STATE_U32(struct clock_saved, tsc_khz),
	STATE_U8_MAX(struct clock_saved, has_offsets, 1),
};
STATE_TABLE(clock_table, "x86-clock", 1, clock_fields);

struct tsc_saved {
	uint64_t tsc, offset, deadline;
};

static const struct state_field tsc_fields[] = {
	STATE_U64(struct tsc_saved, tsc), STATE_U64(struct tsc_saved, offset), STATE_U64(struct tsc_saved, deadline),
};
STATE_TABLE(tsc_table, "x86-tsc", 1, tsc_fields);

static uint64_t wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static int tsc_offset(const struct kvm_cpu *cpu, unsigned long request, uint64_t *offset)
{
	struct kvm_device_attr attribute = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)offset,
	};

	return ioctl(cpu->fd, request, &attribute) < 0 ? -errno : 0;
}

static uint32_t tsc_khz(const struct kvm_cpu *cpu)
{
	int khz = ioctl(cpu->fd, KVM_GET_TSC_KHZ, 0);

	return khz > 0 ? (uint32_t)khz : 0;
}

/* ---- saving ---- */

static int kvmclock_save(struct kvm *kvm, struct clock_saved *saved)
{
	struct kvm_clock_data clock = { 0 };

	saved->host_tsc = __rdtsc();
	saved->wall_ns = wall_ns();
	if (kvm_check_extension(kvm, KVM_CAP_ADJUST_CLOCK) <= 0)
		return 0;
	if (ioctl(kvm->vm_fd, KVM_GET_CLOCK, &clock) < 0)
		return log_errno(errno, "KVM_GET_CLOCK");
	saved->kvmclock_ns = clock.clock;
	return 0;
}

int arch_clock_save(struct kvm *kvm, struct state_writer *writer)
{
	struct clock_saved saved = { .tsc_khz = tsc_khz(kvm->cpus[0]) };
	uint64_t offset;
	int result = kvmclock_save(kvm, &saved);

	saved.has_offsets = !tsc_offset(kvm->cpus[0], KVM_GET_DEVICE_ATTR, &offset);
	state_save(writer, &clock_table, &saved);
	for (unsigned int i = 0; i < kvm->cpu_possible && !result; i++) {
		const struct kvm_cpu *cpu = kvm_cpu_find(kvm, i);
		struct tsc_saved tsc = { 0 };

		if (!cpu)
			continue;
		if (saved.has_offsets)
			result = tsc_offset(cpu, KVM_GET_DEVICE_ATTR, &tsc.offset);
		if (!result && msr_read(cpu, MSR_TSC, &tsc.tsc))
			log_debug("vCPU %u: KVM doesn't tell its TSC", i);
		/* no guest has one where it can't be read */
		if (!result && msr_read(cpu, MSR_TSC_DEADLINE, &tsc.deadline))
			tsc.deadline = 0;
		state_save(writer, &tsc_table, &tsc);
	}
	return result ? log_errno(result, "KVM's clocks") : 0;
}

/* ---- joining ---- */

void arch_clock_join(struct kvm_cpu *cpu)
{
	const struct kvm_cpu *first = cpu->kvm->cpus[0];
	uint32_t khz = tsc_khz(first);
	uint64_t offset;

	if (khz && khz != tsc_khz(cpu) && ioctl(cpu->fd, KVM_SET_TSC_KHZ, (unsigned long)khz) < 0)
		log_warn("vCPU %u: its TSC doesn't count as fast as the others'", cpu->index);
	/* where KVM has no offsets, it has brought them together by itself */
	if (!tsc_offset(first, KVM_GET_DEVICE_ATTR, &offset) && tsc_offset(cpu, KVM_SET_DEVICE_ATTR, &offset))
		log_warn("vCPU %u: its TSC doesn't show the same as the others'", cpu->index);
}

/* ---- loading ---- */

/* What is loaded into has been made for that: the vCPUs that the machine has, in the order of their numbers, and no others. */

/* The guest counts as fast as it did, or this host can't have it. */
static int frequency_load(struct kvm *kvm, uint32_t khz)
{
	for (unsigned int i = 0; khz && i < kvm->cpu_count; i++) {
		uint32_t now = tsc_khz(kvm->cpus[i]);

		if (!now || now == khz || (uint64_t)MAX(now, khz) - MIN(now, khz) <= khz / KHZ_NEAR)
			continue;
		if (kvm_check_extension(kvm, KVM_CAP_TSC_CONTROL) <= 0 ||
		    ioctl(kvm->cpus[i]->fd, KVM_SET_TSC_KHZ, (unsigned long)khz) < 0)
			return log_error(ENOTSUP, "saved state: the guest's TSC counts at %u kHz, and this host has %u and can't scale it",
					 khz, now);
	}
	return 0;
}

static uint64_t ticks(uint64_t ns, uint32_t khz)
{
	return (uint64_t)((unsigned __int128)ns * khz / 1000000);
}

static int tsc_load_offset(const struct kvm_cpu *cpu, const struct tsc_saved *tsc, uint64_t shift)
{
	uint64_t offset = tsc->offset + shift;
	int result = tsc_offset(cpu, KVM_SET_DEVICE_ATTR, &offset);

	return result ? log_errno(result, "vCPU %u: its TSC's offset", cpu->index) : 0;
}

static void deadlines_load(struct kvm *kvm, const struct tsc_saved *tscs)
{
	for (unsigned int i = 0; i < kvm->cpu_count; i++) {
		if (tscs[i].deadline && msr_write(kvm->cpus[i], MSR_TSC_DEADLINE, tscs[i].deadline))
			log_warn("vCPU %u: KVM doesn't take its timer's deadline", i);
		/* only a guest with kvmclock can be told */
		if (ioctl(kvm->cpus[i]->fd, KVM_KVMCLOCK_CTRL, 0) < 0)
			log_debug("vCPU %u: it isn't told that it stood still", i);
	}
}

static int clocks_set(struct kvm *kvm, const struct clock_saved *saved, const struct tsc_saved *tscs)
{
	bool offsets = saved->has_offsets && tsc_khz(kvm->cpus[0]) == saved->tsc_khz;
	uint64_t now_tsc = __rdtsc(), now = wall_ns(), elapsed = now > saved->wall_ns ? now - saved->wall_ns : 0;
	/* what the host's own counter has gone on by and the guest's must not, or the other way round */
	uint64_t shift = saved->host_tsc + ticks(elapsed, saved->tsc_khz) - now_tsc, unused;
	struct kvm_clock_data clock = { .clock = saved->kvmclock_ns + elapsed };
	int result = 0;

	offsets = offsets && !tsc_offset(kvm->cpus[0], KVM_GET_DEVICE_ATTR, &unused);
	for (unsigned int i = 0; i < kvm->cpu_count && !result; i++) {
		if (offsets)
			result = tsc_load_offset(kvm->cpus[i], &tscs[i], shift);
		else if (msr_write(kvm->cpus[i], MSR_TSC, tscs[i].tsc + ticks(elapsed, saved->tsc_khz)))
			log_debug("vCPU %u: KVM doesn't take its TSC", i);
	}
	if (!result && kvm_check_extension(kvm, KVM_CAP_ADJUST_CLOCK) > 0 && ioctl(kvm->vm_fd, KVM_SET_CLOCK, &clock) < 0)
		return log_errno(errno, "KVM_SET_CLOCK");
	return result;
}

int arch_clock_load(struct kvm *kvm, struct state_reader *reader)
{
	_cleanup_free_ struct tsc_saved *tscs = calloc(kvm->cpu_count, sizeof(*tscs));
	struct clock_saved saved = { 0 };
	int result;

	if (!tscs)
		return log_errno(ENOMEM, "clocks");
	result = state_load(reader, &clock_table, &saved);
	for (unsigned int i = 0; i < kvm->cpu_count && !result; i++)
		result = state_load(reader, &tsc_table, &tscs[i]);
	if (!result)
		result = frequency_load(kvm, saved.tsc_khz);
	if (!result)
		result = clocks_set(kvm, &saved, tscs);
	if (!result)
		deadlines_load(kvm, tscs);
	return result;
}
