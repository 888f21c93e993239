/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What KVM holds of a vCPU and of time, saved and loaded.
 *
 * KVM_GET_REG_LIST names every register, and each is read and written by the same call
 * (Documentation/virt/kvm/api.rst): so they are one list of numbers and values, of which the loading vCPU must have each.
 * The virtual counter is the VM's: it goes on as if the guest had run, so that its wall clock is right at once. The
 * physical counter stays the host's, which no guest's clock goes by. Main thread, the vCPUs parked.
 */
#include "arm64.h"

#include <string.h>
#include <sys/ioctl.h>
#include <time.h>

#include "kvm/log.h"
#include "kvm/state.h"

#define REGISTERS_MAX	4096
#define REGISTER_BYTES	256		/* KVM_REG_SIZE_U2048, of SVE's */
#define NS_PER_S	1000000000ULL

static size_t register_size(uint64_t id)
{
	return 1UL << (id >> KVM_REG_SIZE_SHIFT & 0xf);
}

/* What belongs to time, and what is fixed before a vCPU exists */
static bool register_is_kept(uint64_t id)
{
	return id != KVM_REG_ARM_TIMER_CNT && id != KVM_REG_ARM_PTIMER_CNT && id != KVM_REG_ARM64_SVE_VLS &&
	       register_size(id) <= REGISTER_BYTES;
}

static struct kvm_reg_list *register_list(const struct kvm_cpu *cpu)
{
	struct kvm_reg_list *list = calloc(1, sizeof(*list) + REGISTERS_MAX * sizeof(list->reg[0]));

	if (!list)
		return NULL;
	list->n = REGISTERS_MAX;
	if (!ioctl(cpu->fd, KVM_GET_REG_LIST, list))
		return list;
	free(list);
	return NULL;
}

static int register_transfer(const struct kvm_cpu *cpu, unsigned long request, uint64_t id, void *value)
{
	struct kvm_one_reg reg = { .id = id, .addr = (uintptr_t)value };

	return ioctl(cpu->fd, request, &reg) < 0 ? -errno : 0;
}

/* ---- what is no register ---- */

struct cpu_saved {
	uint32_t mp_state;
	uint8_t serror_pending, serror_has_esr;
	uint64_t serror_esr;
	uint32_t registers;		/* how many follow */
};

static const struct state_field cpu_fields[] = {
	STATE_U32_MAX(struct cpu_saved, mp_state, 15),
	STATE_U8_MAX(struct cpu_saved, serror_pending, 1), STATE_U8_MAX(struct cpu_saved, serror_has_esr, 1),
	STATE_U64(struct cpu_saved, serror_esr),
	STATE_U32_MAX(struct cpu_saved, registers, REGISTERS_MAX),
};
STATE_TABLE(cpu_table, "arm64-vcpu", 1, cpu_fields);

static int cpu_get(struct kvm_cpu *cpu, struct cpu_saved *saved)
{
	struct kvm_vcpu_events events = { .exception = { 0 } };
	struct kvm_mp_state state = { 0 };

	if (ioctl(cpu->fd, KVM_GET_MP_STATE, &state) < 0)
		return log_errno(errno, "vCPU %u: KVM_GET_MP_STATE", cpu->index);
	saved->mp_state = state.mp_state;
	if (kvm_check_extension(cpu->kvm, KVM_CAP_VCPU_EVENTS) <= 0)
		return 0;
	if (ioctl(cpu->fd, KVM_GET_VCPU_EVENTS, &events) < 0)
		return log_errno(errno, "vCPU %u: KVM_GET_VCPU_EVENTS", cpu->index);
	saved->serror_pending = events.exception.serror_pending;
	saved->serror_has_esr = events.exception.serror_has_esr;
	saved->serror_esr = events.exception.serror_esr;
	return 0;
}

static int cpu_set(struct kvm_cpu *cpu, const struct cpu_saved *saved)
{
	struct kvm_vcpu_events events = { .exception = {
		.serror_pending = saved->serror_pending, .serror_has_esr = saved->serror_has_esr,
		.serror_esr = saved->serror_esr } };
	struct kvm_mp_state state = { saved->mp_state };

	if (saved->serror_pending && ioctl(cpu->fd, KVM_SET_VCPU_EVENTS, &events) < 0)
		return log_errno(errno, "vCPU %u: KVM_SET_VCPU_EVENTS", cpu->index);
	if (ioctl(cpu->fd, KVM_SET_MP_STATE, &state) < 0)
		return log_errno(errno, "vCPU %u: KVM_SET_MP_STATE", cpu->index);
	return 0;
}

/* ---- registers ---- */

int arch_cpu_save(struct kvm_cpu *cpu, struct state_writer *writer)
{
	_cleanup_free_ struct kvm_reg_list *list = register_list(cpu);
	size_t room = REGISTERS_MAX * (sizeof(le64) + REGISTER_BYTES), used = 0;
	_cleanup_free_ uint8_t *bytes = malloc(room);
	struct cpu_saved saved = { 0 };
	int result;

	if (!list || !bytes)
		return log_errno(errno, "vCPU %u: KVM's list of registers", cpu->index);
	result = cpu_get(cpu, &saved);
	for (uint64_t i = 0; i < list->n && !result; i++) {
		le64 id = le64_of(list->reg[i]);

		/* some of those that KVM lists it can't read: what it keeps for other CPUs */
		if (!register_is_kept(list->reg[i]) ||
		    register_transfer(cpu, KVM_GET_ONE_REG, list->reg[i], bytes + used + sizeof(id)))
			continue;
		memcpy(bytes + used, &id, sizeof(id));
		used += sizeof(id) + register_size(list->reg[i]);
		saved.registers++;
	}
	state_save(writer, &cpu_table, &saved);
	state_save_blob(writer, "arm64-registers", bytes, used);
	return result;
}

static int register_load(struct kvm_cpu *cpu, uint64_t id, void *value)
{
	uint8_t now[REGISTER_BYTES];
	int result = register_is_kept(id) ? register_transfer(cpu, KVM_SET_ONE_REG, id, value) : -EINVAL;

	if (!result)
		return 0;
	/* one that can't be written, and is as it has to be */
	if (register_is_kept(id) && !register_transfer(cpu, KVM_GET_ONE_REG, id, now) &&
	    !memcmp(now, value, register_size(id)))
		return 0;
	return log_error(ENOTSUP, "saved state: this host's KVM or CPU doesn't take what the guest has in register 0x%llx",
			 (unsigned long long)id);
}

int arch_cpu_load(struct kvm_cpu *cpu, struct state_reader *reader)
{
	size_t room = REGISTERS_MAX * (sizeof(le64) + REGISTER_BYTES), length, at = 0;
	_cleanup_free_ uint8_t *bytes = malloc(room);
	struct cpu_saved saved = { 0 };
	int result;

	if (!bytes)
		return log_errno(ENOMEM, "vCPU %u", cpu->index);
	result = state_load(reader, &cpu_table, &saved);
	if (!result)
		result = state_load_blob(reader, "arm64-registers", bytes, room, &length);
	for (uint32_t i = 0; i < saved.registers && !result; i++) {
		uint8_t value[REGISTER_BYTES];
		le64 id;

		if (length - at < sizeof(id))
			return log_error(EINVAL, "saved state: vCPU %u: its registers are cut off", cpu->index);
		memcpy(&id, bytes + at, sizeof(id));
		at += sizeof(id);
		if (register_size(le64_get(id)) > MIN(sizeof(value), length - at))
			return log_error(EINVAL, "saved state: vCPU %u: its registers are cut off", cpu->index);
		memcpy(value, bytes + at, register_size(le64_get(id)));
		at += register_size(le64_get(id));
		result = register_load(cpu, le64_get(id), value);
	}
	return result ? result : cpu_set(cpu, &saved);
}

/* ---- the chip and stolen time ---- */

int arch_vm_save(struct kvm *kvm, struct state_writer *writer)
{
	struct arm64_vm *vm = arm64_vm(kvm);

	if (vm->mte)
		return log_error(ENOTSUP, "saved state: the guest's memory has tags, which can't be saved (run it with --disable-mte)");
	state_save_blob(writer, "arm64-pvtime", vm->pvtime, vm->pvtime ? ARM64_PVTIME_SIZE : 0);
	return gic_save(kvm, &vm->gic, writer);
}

int arch_vm_load(struct kvm *kvm, struct state_reader *reader)
{
	_cleanup_free_ uint8_t *pvtime = calloc(1, ARM64_PVTIME_SIZE);
	struct arm64_vm *vm = arm64_vm(kvm);
	size_t length;
	int result;

	if (!pvtime)
		return log_errno(ENOMEM, "stolen time");
	result = state_load_blob(reader, "arm64-pvtime", pvtime, ARM64_PVTIME_SIZE, &length);
	if (!result && length != (vm->pvtime ? ARM64_PVTIME_SIZE : 0))
		result = log_error(ENOTSUP, "saved state: the guest is %s of stolen time, and this host can't say the same",
				   length ? "told" : "not told");
	if (!result && length)
		memcpy(vm->pvtime, pvtime, length);
	return result ? result : gic_load(kvm, &vm->gic, reader);
}

/* ---- time ---- */

struct clock_saved {
	uint64_t wall_ns;		/* CLOCK_REALTIME */
	uint64_t counter;		/* CNTVCT_EL0 at that moment */
	uint64_t frequency;
};

static const struct state_field clock_fields[] = {
	STATE_U64(struct clock_saved, wall_ns), STATE_U64(struct clock_saved, counter),
	STATE_U64(struct clock_saved, frequency),
};
STATE_TABLE(clock_table, "arm64-clock", 1, clock_fields);

static uint64_t wall_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

static uint64_t counter_frequency(void)
{
	uint64_t hz;

	__asm__("mrs %0, cntfrq_el0" : "=r"(hz));
	return hz;
}

int arch_clock_save(struct kvm *kvm, struct state_writer *writer)
{
	struct clock_saved saved = { .frequency = counter_frequency() };
	int result = cpu_get_register(kvm->cpus[0], KVM_REG_ARM_TIMER_CNT, &saved.counter);

	saved.wall_ns = wall_ns();
	state_save(writer, &clock_table, &saved);
	return result ? log_errno(result, "the guest's counter") : 0;
}

int arch_clock_load(struct kvm *kvm, struct state_reader *reader)
{
	struct clock_saved saved = { 0 };
	uint64_t now, elapsed;
	int result = state_load(reader, &clock_table, &saved);

	if (result)
		return result;
	if (saved.frequency != counter_frequency())
		return log_error(ENOTSUP, "saved state: the guest's counter runs at %llu Hz, this host's at %llu",
				 (unsigned long long)saved.frequency, (unsigned long long)counter_frequency());
	now = wall_ns();
	elapsed = now > saved.wall_ns ? now - saved.wall_ns : 0;
	saved.counter += (uint64_t)((unsigned __int128)elapsed * saved.frequency / NS_PER_S);
	/* by one vCPU for all: KVM keeps their counters the same */
	result = cpu_set_register(kvm->cpus[0], KVM_REG_ARM_TIMER_CNT, saved.counter);
	return result ? log_errno(result, "the guest's counter") : 0;
}
