/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The VM's devices, sorted by name, so that saved state doesn't depend on the order of the init callbacks.
 *
 * The list belongs to the main thread; the operations are called there while every vCPU is parked.
 */
#include "kvm/device.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "kvm/kvm.h"
#include "kvm/log.h"

int device_add(struct kvm *kvm, struct device *device, const struct device_ops *ops, const char *name_format, ...)
{
	struct device **at = &kvm->devices;
	va_list arguments;
	char *name;
	int length;

	va_start(arguments, name_format);
	length = vasprintf(&name, name_format, arguments);
	va_end(arguments);
	if (length < 0)
		return log_errno(ENOMEM, "device");
	while (*at && strcmp((*at)->name, name) < 0)
		at = &(*at)->next;
	if (*at && !strcmp((*at)->name, name)) {
		int result = log_error(EEXIST, "device %s exists already", name);

		free(name);
		return result;
	}
	device->name = name;
	device->ops = ops;
	device->kvm = kvm;
	device->next = *at;
	*at = device;
	return 0;
}

void device_del(struct device *device)
{
	struct device **at;

	if (!device->kvm)
		return;
	for (at = &device->kvm->devices; *at && *at != device; at = &(*at)->next)
		;
	if (*at)
		*at = device->next;
	free((char *)device->name);
	device->name = NULL;
	device->kvm = NULL;
}

struct device *device_find(struct kvm *kvm, const char *name)
{
	struct device *device = kvm->devices;

	while (device && strcmp(device->name, name))
		device = device->next;
	return device;
}

void device_for_each(struct kvm *kvm, void (*each)(struct device *device, void *opaque), void *opaque)
{
	for (struct device *device = kvm->devices, *next; device; device = next) {
		next = device->next;
		each(device, opaque);
	}
}

void devices_reset(struct kvm *kvm)
{
	for (struct device *device = kvm->devices; device; device = device->next)
		if (device->ops->reset)
			device->ops->reset(device);
}

static void devices_resume_until(struct kvm *kvm, const struct device *end)
{
	for (struct device *device = kvm->devices; device != end; device = device->next)
		if (device->ops->resume)
			device->ops->resume(device);
}

int devices_quiesce(struct kvm *kvm)
{
	for (struct device *device = kvm->devices; device; device = device->next) {
		int result = device->ops->quiesce ? device->ops->quiesce(device) : 0;

		if (result) {
			devices_resume_until(kvm, device);
			return log_errno(result, "device %s can't be quiesced", device->name);
		}
	}
	return 0;
}

void devices_resume(struct kvm *kvm)
{
	devices_resume_until(kvm, NULL);
}

void devices_save(struct kvm *kvm, struct state_writer *writer)
{
	for (struct device *device = kvm->devices; device; device = device->next) {
		if (!device->ops->save)
			continue;
		state_save_blob(writer, device->name, NULL, 0);
		device->ops->save(device, writer);
	}
}

int devices_load(struct kvm *kvm, struct state_reader *reader)
{
	for (struct device *device = kvm->devices; device; device = device->next) {
		size_t length;
		int result;

		if (!device->ops->load)
			continue;
		result = state_load_blob(reader, device->name, NULL, 0, &length);
		if (!result)
			result = device->ops->load(device, reader);
		if (result)
			return result;
	}
	return 0;
}
