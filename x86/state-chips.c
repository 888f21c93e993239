/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The chips that KVM has in the kernel, saved and loaded: both PICs, the IOAPIC, the PIT.
 *
 * A level line's eventfds are made anew by whoever loads, so that KVM would wait for an end of interrupt that nobody
 * hears of: such lines are down when the chip is loaded, and go up again as devices with a cause are. Main thread,
 * vCPUs parked.
 */
#include <linux/kvm.h>
#include <string.h>
#include <sys/ioctl.h>

#include "kvm/arch.h"
#include "kvm/log.h"
#include "kvm/state.h"

struct chips_saved {
	struct kvm_pic_state pics[2];
	struct kvm_ioapic_state ioapic;
	uint64_t pins[KVM_IOAPIC_NUM_PINS];	/* of the IOAPIC: redirection entries */
	struct kvm_pit_state2 pit;
};

#define B(m)	STATE_U8(struct chips_saved, m)
#define PIC(m)													\
	B(m.last_irr), B(m.irr), B(m.imr), B(m.isr), B(m.priority_add), B(m.irq_base), B(m.read_reg_select),	\
	B(m.poll), B(m.special_mask), B(m.init_state), B(m.auto_eoi), B(m.rotate_on_auto_eoi),			\
	B(m.special_fully_nested_mode), B(m.init4), B(m.elcr), B(m.elcr_mask)
#define TIMER(m)												\
	STATE_U32(struct chips_saved, m.count), STATE_U16(struct chips_saved, m.latched_count),			\
	B(m.count_latched), B(m.status_latched), B(m.status), B(m.read_state), B(m.write_state),		\
	B(m.write_latch), B(m.rw_mode), B(m.mode), B(m.bcd), B(m.gate)

static const struct state_field chips_fields[] = {
	PIC(pics[0]), PIC(pics[1]),
	STATE_U64(struct chips_saved, ioapic.base_address), STATE_U32(struct chips_saved, ioapic.ioregsel),
	STATE_U32(struct chips_saved, ioapic.id), STATE_U32(struct chips_saved, ioapic.irr),
	STATE_U64_ARRAY(struct chips_saved, pins),
	TIMER(pit.channels[0]), TIMER(pit.channels[1]), TIMER(pit.channels[2]),
	STATE_U32(struct chips_saved, pit.flags),
};
#undef B
STATE_TABLE(chips_table, "x86-chips", 1, chips_fields);

static int vm_ioctl(struct kvm *kvm, unsigned long request, void *argument, const char *name)
{
	return ioctl(kvm->vm_fd, request, argument) < 0 ? log_errno(errno, "%s", name) : 0;
}

int arch_vm_save(struct kvm *kvm, struct state_writer *writer)
{
	struct chips_saved saved;
	struct kvm_irqchip chip;
	int result = 0;

	memset(&saved, 0, sizeof(saved));
	for (uint32_t id = 0; id < 3 && !result; id++) {
		memset(&chip, 0, sizeof(chip));
		chip.chip_id = id;
		result = vm_ioctl(kvm, KVM_GET_IRQCHIP, &chip, "KVM_GET_IRQCHIP");
		if (id == KVM_IRQCHIP_IOAPIC)
			saved.ioapic = chip.chip.ioapic;
		else
			saved.pics[id] = chip.chip.pic;
	}
	for (size_t i = 0; i < KVM_IOAPIC_NUM_PINS; i++)
		saved.pins[i] = saved.ioapic.redirtbl[i].bits;
	if (!result)
		result = vm_ioctl(kvm, KVM_GET_PIT2, &saved.pit, "KVM_GET_PIT2");
	state_save(writer, &chips_table, &saved);
	return result;
}

/* See the top of this file. */
static void lower_level_lines(struct chips_saved *saved)
{
	for (size_t i = 0; i < KVM_IOAPIC_NUM_PINS; i++) {
		saved->ioapic.redirtbl[i].bits = saved->pins[i];
		if (saved->ioapic.redirtbl[i].fields.trig_mode)
			saved->ioapic.irr &= ~(1U << i);
	}
	for (size_t i = 0; i < ARRAY_SIZE(saved->pics); i++) {
		saved->pics[i].irr &= (uint8_t)~saved->pics[i].elcr;
		saved->pics[i].last_irr &= (uint8_t)~saved->pics[i].elcr;
	}
}

int arch_vm_load(struct kvm *kvm, struct state_reader *reader)
{
	struct chips_saved saved;
	struct kvm_irqchip chip;
	int result;

	memset(&saved, 0, sizeof(saved));
	result = state_load(reader, &chips_table, &saved);
	lower_level_lines(&saved);
	for (uint32_t id = 0; id < 3 && !result; id++) {
		memset(&chip, 0, sizeof(chip));
		chip.chip_id = id;
		if (id == KVM_IRQCHIP_IOAPIC)
			chip.chip.ioapic = saved.ioapic;
		else
			chip.chip.pic = saved.pics[id];
		result = vm_ioctl(kvm, KVM_SET_IRQCHIP, &chip, "KVM_SET_IRQCHIP");
	}
	return result ? result : vm_ioctl(kvm, KVM_SET_PIT2, &saved.pit, "KVM_SET_PIT2");
}
