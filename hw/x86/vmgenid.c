/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The virtual machine generation ID (Microsoft's "Virtual Machine Generation ID", and QEMU's docs/specs/vmgenid.rst):
 * 16 random bytes in guest memory that are others whenever the guest goes on from a state that it may have gone on from
 * before. Its kernel mixes them into its random pool; it hears of the change by a general purpose event.
 *
 * They stay through pauses and resets. x86 only: an arm64 guest would find it by a device tree since Linux 6.10, and
 * that is not told yet. Main thread.
 */
#include <string.h>
#include <sys/random.h>

#include "kvm/acpi-power.h"
#include "kvm/device.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/x86.h"

static const char vmgenid_key[] = "vmgenid";

struct vmgenid {
	struct device device;
	struct firmware firmware;
	uint8_t id[16];
};

static int vmgenid_put(struct kvm *kvm)
{
	const struct vmgenid *vmgenid = kvm_get_state(kvm, vmgenid_key);

	return memory_write(&kvm->memory, gpa(X86_VMGENID), vmgenid->id, sizeof(vmgenid->id));
}

static int vmgenid_renew(struct vmgenid *vmgenid)
{
	return getrandom(vmgenid->id, sizeof(vmgenid->id), 0) == sizeof(vmgenid->id) ? 0 : log_errno(errno, "vmgenid: no random bytes");
}

/* ---- device ---- */

static const struct state_field vmgenid_fields[] = {
	STATE_BYTES(struct vmgenid, id),
};
STATE_TABLE(vmgenid_state, "vmgenid", 1, vmgenid_fields);

static void vmgenid_save(struct device *device, struct state_writer *writer)
{
	state_save(writer, &vmgenid_state, container_of(device, struct vmgenid, device));
}

static int vmgenid_load(struct device *device, struct state_reader *reader)
{
	struct vmgenid *vmgenid = container_of(device, struct vmgenid, device);
	int result = state_load(reader, &vmgenid_state, vmgenid);

	/* What is moved is the only one of its kind still; what a file was made of need not be. */
	if (result || !device->kvm->restore || device->kvm->incoming)
		return result;
	result = vmgenid_renew(vmgenid);
	if (!result)
		result = vmgenid_put(device->kvm);
	/* acpi-power has been loaded before, by its name */
	acpi_gpe_raise(device->kvm, ACPI_GPE_VMGENID);
	return result;
}

static const struct device_ops vmgenid_device_ops = {
	.save	= vmgenid_save,
	.load	= vmgenid_load,
};

static int vmgenid_init(struct kvm *kvm)
{
	struct vmgenid *vmgenid;
	int result;

	/* as the tables that name it */
	if (kvm->ram[0].size < X86_TABLES_END)
		return INIT_SKIP;
	vmgenid = calloc(1, sizeof(*vmgenid));
	if (!vmgenid)
		return log_errno(ENOMEM, "vmgenid");
	result = vmgenid_renew(vmgenid);
	if (!result)
		result = device_add(kvm, &vmgenid->device, &vmgenid_device_ops, "vmgenid");
	if (!result)
		result = kvm_set_state(kvm, vmgenid_key, vmgenid);
	if (result) {
		device_del(&vmgenid->device);
		free(vmgenid);
		return result;
	}
	vmgenid->firmware = (struct firmware){ .name = "vmgenid", .load = vmgenid_put };
	kvm_add_firmware(kvm, &vmgenid->firmware);
	return 0;
}
dev_init(vmgenid_init);

static void vmgenid_exit(struct kvm *kvm)
{
	struct vmgenid *vmgenid = kvm_get_state(kvm, vmgenid_key);

	device_del(&vmgenid->device);
	/* Taking state away can't fail: only a new key needs memory. */
	if (!kvm_set_state(kvm, vmgenid_key, NULL))
		free(vmgenid);
}
dev_exit(vmgenid_exit);
