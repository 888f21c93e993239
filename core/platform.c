/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The list of a VM's platform devices: those that firmware tables must describe because no bus finds them.
 *
 * Written by init and exit callbacks on the main thread, read by the firmware level. Sorted by address, so
 * that the tables don't depend on the order of the init callbacks.
 */
#include "kvm/arch.h"

void platform_device_add(struct kvm *kvm, struct platform_device *device)
{
	struct platform_device **at = &kvm->platform_devices;

	while (*at && (*at)->base < device->base)
		at = &(*at)->next;
	device->next = *at;
	*at = device;
}

void platform_device_del(struct kvm *kvm, struct platform_device *device)
{
	struct platform_device **at = &kvm->platform_devices;

	while (*at && *at != device)
		at = &(*at)->next;
	if (*at)
		*at = device->next;
	device->next = NULL;
}

struct platform_device *platform_devices(struct kvm *kvm)
{
	return kvm->platform_devices;
}
