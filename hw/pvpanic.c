/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * pvpanic on PCI: the guest's kernel says that it panics, before it does what it was told to do then (QEMU,
 * docs/specs/pvpanic.rst).
 *
 * One byte: a read tells which events are known, a write is events. A panic ends the VM with the status that a panic
 * has, also when the kernel would have stood still for ever. A kernel that is going to start a crash kernel is let
 * do so; clients hear of it, and --oops=fail does. Writes come on vCPU threads. Nothing is kept: config space is the bus's to reset and save.
 */

#include "kvm/control.h"
#include "kvm/guest-life.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/pci.h"

#define EVENT_PANICKED		BIT(0)
#define EVENT_CRASH_LOADED	BIT(1)
#define EVENTS			(EVENT_PANICKED | EVENT_CRASH_LOADED)

#define PVPANIC_VENDOR		0x1b36
#define PVPANIC_DEVICE		0x0011
#define PVPANIC_CLASS		0x088000	/* a system peripheral of no other kind */
#define PVPANIC_BAR_SIZE	16		/* the smallest that there is */

static const char pvpanic_key[] = "pvpanic";

struct pvpanic {
	struct kvm *kvm;
	struct pci_device pci;
	struct region region;
	struct event_work crash_work;
};

static void pvpanic_crash_loaded(struct event_work *work)
{
	struct pvpanic *pvpanic = container_of(work, struct pvpanic, crash_work);

	control_event(pvpanic->kvm, "GUEST_CRASHLOADED", json_pack("{s:s}", "action", "run"));
}

static uint64_t pvpanic_read(struct pvpanic *pvpanic, uint64_t offset, unsigned int size)
{
	(void)pvpanic;
	(void)size;
	return offset ? 0 : EVENTS;
}

static void pvpanic_write(struct pvpanic *pvpanic, uint64_t offset, uint64_t value, unsigned int size)
{
	struct kvm *kvm = pvpanic->kvm;

	(void)size;
	if (offset)
		return;
	if (value & EVENT_PANICKED) {
		kvm_panic_seen(kvm);
		kvm_end_request(kvm, KVM_END_PANIC);
	} else if (value & EVENT_CRASH_LOADED) {
		event_work_post(&pvpanic->crash_work);
		guest_life_oops(kvm);
	}
}
IO_OPS(pvpanic_io_ops, struct pvpanic, pvpanic_read, pvpanic_write, 1, 1);

static void pvpanic_exit(struct kvm *kvm)
{
	struct pvpanic *pvpanic = kvm_get_state(kvm, pvpanic_key);

	pci_device_del(&pvpanic->pci);
	event_work_cancel(&pvpanic->crash_work);
	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, pvpanic_key, NULL))
		free(pvpanic);
}

static int pvpanic_add(struct kvm *kvm, struct pvpanic *pvpanic)
{
	int result;

	pvpanic->pci = (struct pci_device){
		.name = "pvpanic", .vendor_id = PVPANIC_VENDOR, .device_id = PVPANIC_DEVICE,
		.subsystem_vendor_id = PVPANIC_VENDOR, .subsystem_id = PVPANIC_DEVICE, .class_code = PVPANIC_CLASS,
		.revision = 1, .bars[0] = { .kind = PCI_BAR_MEM32, .region = &pvpanic->region },
	};
	result = pci_device_add(pci_bus(kvm), &pvpanic->pci, -1, 0, 0);
	if (result)
		return result;
	result = kvm_set_state(kvm, pvpanic_key, pvpanic);
	if (result)
		pci_device_del(&pvpanic->pci);
	return result;
}

static int pvpanic_init(struct kvm *kvm)
{
	struct pvpanic *pvpanic;
	int result;

	if (!config_flag(kvm->config, "pvpanic"))
		return INIT_SKIP;
	if (!pci_bus(kvm))
		return log_error(EUSAGE, "option --pvpanic: this machine has no PCI bus");
	pvpanic = calloc(1, sizeof(*pvpanic));
	if (!pvpanic)
		return log_errno(ENOMEM, "pvpanic");
	pvpanic->kvm = kvm;
	event_work_init(kvm->loop, &pvpanic->crash_work, pvpanic_crash_loaded);
	region_init_io(&pvpanic->region, "pvpanic", &pvpanic_io_ops, pvpanic, PVPANIC_BAR_SIZE);
	result = pvpanic_add(kvm, pvpanic);
	if (result)
		free(pvpanic);
	return result;
}

static const struct option_def pvpanic_options[] = {
	{ .name = "pvpanic", .type = OPTION_FLAG,
	  .help = "Give the guest a pvpanic device: a kernel that panics ends the VM at once" },
};
RUN_OPTIONS(pvpanic_options_group, "Device options", pvpanic_options);

dev_init(pvpanic_init);
dev_exit(pvpanic_exit);
