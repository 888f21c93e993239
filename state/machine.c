/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The machine as a stream. Time is saved first, since it goes on, and loaded before the devices: they raise interrupts
 * when they are, which chips and vCPUs must be there for. Main thread, vCPUs parked.
 */
#include "state/machine.h"

#include "kvm/arch.h"
#include "kvm/device.h"
#include "kvm/kvm-cpu.h"
#include "kvm/log.h"
#include "kvm/ram-blocks.h"

#define CLOCK_MAX	KIB(512)	/* of 4096 vCPUs */

struct machine {
	uint32_t cpus;
	uint64_t memory;
};

static const struct state_field machine_fields[] = {
	STATE_U32(struct machine, cpus), STATE_U64(struct machine, memory),
};
STATE_TABLE(machine_table, "machine", 1, machine_fields);

int machine_save(struct kvm *kvm, struct state_writer *writer)
{
	const struct machine machine = { .cpus = kvm_cpus_present(kvm), .memory = kvm->ram_size };
	struct state_writer clock = { .data = NULL };
	int result = arch_clock_save(kvm, &clock);

	state_save(writer, &machine_table, &machine);
	/* the first of all that is loaded: chips, vCPUs and rings may have their pages there */
	ram_blocks_save(kvm, writer);
	state_save_blob(writer, "clock", clock.data, clock.length);
	if (!result)
		result = clock.error;
	state_writer_free(&clock);
	if (!result)
		result = arch_vm_save(kvm, writer);
	for (unsigned int i = 0; i < kvm->cpu_possible && !result; i++)
		if (kvm_cpu_find(kvm, i))
			result = arch_cpu_save(kvm_cpu_find(kvm, i), writer);
	if (!result)
		devices_save(kvm, writer);
	if (!result && writer->error)
		result = log_errno(writer->error, "saved state");
	return result;
}

static int clock_load(struct kvm *kvm, const uint8_t *data, size_t length)
{
	struct state_reader reader = { .data = data, .length = length };

	return arch_clock_load(kvm, &reader);
}

static int machine_load_paused(struct kvm *kvm, struct state_reader *reader)
{
	_cleanup_free_ uint8_t *clock = malloc(CLOCK_MAX);
	struct machine machine = { 0 };
	size_t length = 0;
	int result;

	if (!clock)
		return log_errno(ENOMEM, "saved state");
	result = state_load(reader, &machine_table, &machine);
	if (!result && (machine.cpus != kvm_cpus_present(kvm) || machine.memory != kvm->ram_size))
		result = log_error(EINVAL, "saved state: of a machine with %u vCPUs and %llu bytes of memory, not %u and %llu",
				   machine.cpus, (unsigned long long)machine.memory, kvm_cpus_present(kvm),
				   (unsigned long long)kvm->ram_size);
	if (!result)
		result = ram_blocks_load(kvm, reader);
	if (!result)
		result = state_load_blob(reader, "clock", clock, CLOCK_MAX, &length);
	if (!result)
		result = arch_vm_load(kvm, reader);
	for (unsigned int i = 0; i < kvm->cpu_possible && !result; i++)
		if (kvm_cpu_find(kvm, i))
			result = arch_cpu_load(kvm_cpu_find(kvm, i), reader);
	if (!result)
		result = clock_load(kvm, clock, length);
	if (!result)
		result = devices_load(kvm, reader);
	if (!result && reader->position != reader->length)
		result = log_error(EINVAL, "saved state: has more than this machine's devices");
	return result;
}

int machine_load(struct kvm *kvm, struct state_reader *reader)
{
	int result = kvm_pause(kvm);

	if (result)
		return result;
	result = machine_load_paused(kvm, reader);
	kvm_resume(kvm);
	return result;
}

uint64_t machine_set_discards(struct kvm *kvm, uint64_t page)
{
	uint64_t before = kvm->ram_regions[0].discard_page;

	for (unsigned int i = 0; i < kvm->ram_count + ram_block_count(kvm); i++)
		__atomic_store_n(&kvm->ram_regions[i].discard_page, page, __ATOMIC_RELAXED);
	return before;
}
