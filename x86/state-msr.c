/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * MSRs of a vCPU, saved and loaded: those that this host's KVM lists (KVM_GET_MSR_INDEX_LIST), less those of time, which
 * go in an order of their own (state-clock.c), of other hypervisors' interfaces, and what writes into guest memory.
 *
 * A value that the loading KVM doesn't take is no matter if it is what the vCPU has anyway, or 0, which an absent
 * feature has; any other is a difference that the guest would notice. Main thread, the vCPU parked.
 */
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/log.h"
#include "x86/state.h"

#define MSRS_MAX	768

struct msrs_saved {
	uint32_t count;
	uint32_t index[MSRS_MAX];
	uint64_t value[MSRS_MAX];
};

static const struct state_field msrs_fields[] = {
	STATE_U32_MAX(struct msrs_saved, count, MSRS_MAX),
	STATE_U32_ARRAY(struct msrs_saved, index),
	STATE_U64_ARRAY(struct msrs_saved, value),
};
STATE_TABLE(msrs_table, "x86-msrs", 1, msrs_fields);

static int msr_transfer(const struct kvm_cpu *cpu, unsigned long request, uint32_t index, uint64_t *value)
{
	struct {
		struct kvm_msrs head;
		struct kvm_msr_entry entry;
	} msr = { .head.nmsrs = 1, .entry = { .index = index, .data = *value } };
	int done = ioctl(cpu->fd, request, &msr);

	*value = msr.entry.data;
	return done == 1 ? 0 : done < 0 ? -errno : -EINVAL;
}

int msr_read(const struct kvm_cpu *cpu, uint32_t index, uint64_t *value)
{
	*value = 0;
	return msr_transfer(cpu, KVM_GET_MSRS, index, value);
}

int msr_write(const struct kvm_cpu *cpu, uint32_t index, uint64_t value)
{
	return msr_transfer(cpu, KVM_SET_MSRS, index, &value);
}

static bool msr_is_kept(uint32_t index)
{
	switch (index) {
	case MSR_TSC:
	case MSR_TSC_DEADLINE:
	case 0x11:		/* the wall clock: a write makes KVM write it into guest memory */
	case 0x12:		/* KVM's clock by its old number: the new one has it */
	case 0x4b564d00:
		return false;
	}
	return index < 0x40000000 || index > 0x400001ff;	/* Hyper-V's, which no guest of ours is offered */
}

static struct kvm_msr_list *msr_list(const struct kvm *kvm)
{
	struct kvm_msr_list *list = calloc(1, sizeof(*list) + MSRS_MAX * sizeof(list->indices[0]));

	if (!list)
		return NULL;
	list->nmsrs = MSRS_MAX;
	if (!ioctl(kvm->dev_fd, KVM_GET_MSR_INDEX_LIST, list))
		return list;
	free(list);
	return NULL;
}

int state_msrs_save(struct kvm_cpu *cpu, struct state_writer *writer)
{
	_cleanup_free_ struct kvm_msr_list *list = msr_list(cpu->kvm);
	_cleanup_free_ struct msrs_saved *saved = calloc(1, sizeof(*saved));

	if (!list || !saved)
		return log_errno(errno, "vCPU %u: KVM's list of MSRs", cpu->index);
	for (uint32_t i = 0; i < list->nmsrs; i++) {
		uint64_t value;

		/* the list is of all CPUs; what this vCPU hasn't can't be read */
		if (!msr_is_kept(list->indices[i]) || msr_read(cpu, list->indices[i], &value))
			continue;
		saved->index[saved->count] = list->indices[i];
		saved->value[saved->count++] = value;
	}
	state_save(writer, &msrs_table, saved);
	return 0;
}

int state_msrs_load(struct kvm_cpu *cpu, struct state_reader *reader)
{
	_cleanup_free_ struct msrs_saved *saved = calloc(1, sizeof(*saved));
	int result;

	if (!saved)
		return log_errno(ENOMEM, "vCPU %u: MSRs", cpu->index);
	result = state_load(reader, &msrs_table, saved);
	for (uint32_t i = 0; !result && i < saved->count; i++) {
		uint64_t now;

		if (!msr_is_kept(saved->index[i]) || !msr_write(cpu, saved->index[i], saved->value[i]))
			continue;
		if (saved->value[i] && (msr_read(cpu, saved->index[i], &now) || now != saved->value[i]))
			result = log_error(ENOTSUP, "saved state: this host doesn't take 0x%llx for MSR 0x%x",
					   (unsigned long long)saved->value[i], saved->index[i]);
	}
	return result;
}
