/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * QMP's query-memory-devices, query-memory-size-summary, and qom-set as far as it says what a memory device is to have. The event
 * MEMORY_DEVICE_SIZE_CHANGE comes from the device itself.
 */
#include "kvm/memory-device.h"

#include <string.h>

#include "kvm/control.h"

static int query_memory_devices(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	struct memory_device_info info;

	(void)arguments;
	(void)error;
	if (memory_device_query(kvm, &info))
		*result = json_pack("[{s:s,s:{s:s,s:I,s:I,s:I,s:I,s:I,s:i,s:s,s:b}}]", "type", "virtio-mem", "data", "id", MEMORY_DEVICE_ID,
				    "memaddr", (json_int_t)info.base, "requested-size", (json_int_t)info.requested, "size",
				    (json_int_t)info.plugged, "max-size", (json_int_t)info.max, "block-size", (json_int_t)info.block,
				    "node", (int)0, "memdev", "/objects/ram", "x-driven", info.driven);
	else
		*result = json_array();
	return *result ? 0 : -ENOMEM;
}

static struct qmp_command query_memory_devices_command = {
	.name = "query-memory-devices", .help = "Memory that can grow and shrink", .returns = "[any]",
	.run = query_memory_devices };
QMP_COMMAND(query_memory_devices_command);

static int query_memory_size_summary(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	(void)arguments;
	(void)error;
	*result = json_pack("{s:I}", "base-memory", (json_int_t)kvm_boot_ram(kvm));
	if (kvm->ram_more)
		json_object_set_new(*result, "plugged-memory", json_integer((json_int_t)atomic_load(&kvm->ram_plugged)));
	return *result ? 0 : -ENOMEM;
}

static struct qmp_command query_memory_size_summary_command = {
	.name = "query-memory-size-summary", .help = "Memory that the guest began with, and what it has beside", .returns = "any",
	.run = query_memory_size_summary };
QMP_COMMAND(query_memory_size_summary_command);

static bool argument_is(const json_t *arguments, const char *name, const char *text)
{
	const char *given = json_string_value(json_object_get(arguments, name));

	return given && strcmp(given, text) == 0;
}

static int qom_set(struct kvm *kvm, const json_t *arguments, json_t **result, char **error)
{
	const json_t *value = json_object_get(arguments, "value");
	struct memory_device_info info;

	(void)result;
	/* a path's last part stands for it */
	if ((!argument_is(arguments, "path", MEMORY_DEVICE_PATH) && !argument_is(arguments, "path", MEMORY_DEVICE_ID)) ||
	    !argument_is(arguments, "property", "requested-size"))
		return qmp_fail(error, EINVAL, "All that can be set is 'requested-size' of '%s'", MEMORY_DEVICE_PATH);
	if (!memory_device_query(kvm, &info))
		return qmp_fail(error, ENODEV, "The VM's memory doesn't grow (lkvm run --mem SIZE,max=SIZE)");
	if (!json_is_integer(value) || json_integer_value(value) < 0 ||
	    memory_device_request(kvm, (uint64_t)json_integer_value(value)))
		return qmp_fail(error, EINVAL, "Parameter 'value' has to be a multiple of %llu, at most %llu",
				(unsigned long long)info.block, (unsigned long long)info.max);
	return 0;
}

static const char *const qom_set_arguments[] = { "path:str", "property:str", "value:int", NULL };
static struct qmp_command qom_set_command = {
	.name = "qom-set", .help = "How much memory the guest is to have beside what it began with", .arguments = qom_set_arguments,
	.run = qom_set };
QMP_COMMAND(qom_set_command);
