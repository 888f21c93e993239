/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm memory: how much memory a guest is to have, between what it began with and the max= of --mem. Unlike a balloon's, such
 * memory is none at all while it is away.
 */
#include <stdio.h>

#include "kvm/command.h"
#include "kvm/log.h"
#include "kvm/memory-device.h"
#include "vm-names.h"

static const struct option_def memory_options[] = {
	VM_NAME_OPTIONS,
	{ .name = "size", .letter = 's', .type = OPTION_SIZE, .argument = "SIZE", .unit = MIB(1), .min = 1, .max = INT64_MAX,
	  .help = "Memory that the guest is to have, in MiB; SIZE as the last operand says the same" },
	{ .name = "json", .type = OPTION_FLAG, .help = "Print a JSON object a line for each VM" },
};

struct memory {
	json_int_t base, size, requested, max, block;	/* bytes; all but base beside that */
	bool driven;
};

static json_int_t number(const json_t *object, const char *name)
{
	return json_integer_value(json_object_get(object, name));
}

static int memory_fetch(const char *name, struct qmp_client *client, struct memory *memory)
{
	json_t *summary = NULL, *devices = NULL;
	const json_t *device;
	int r = control_call(client, "query-memory-size-summary", NULL, &summary);

	if (r >= 0)
		r = control_call(client, "query-memory-devices", NULL, &devices);
	device = json_object_get(json_array_get(devices, 0), "data");
	*memory = (struct memory){
		.base = number(summary, "base-memory"), .size = number(device, "size"), .requested = number(device, "requested-size"),
		.max = number(device, "max-size"), .block = number(device, "block-size"),
		.driven = json_is_true(json_object_get(device, "x-driven")),
	};
	json_decref(summary);
	json_decref(devices);
	if (r >= 0 && !memory->max)
		return log_error(ENODEV, "VM '%s': its memory doesn't grow (lkvm run --mem SIZE,max=SIZE)", name);
	if (r >= 0 && (memory->base < 0 || memory->max < 0 || memory->block <= 0))
		return log_error(EPROTO, "VM '%s': what it says of its memory makes no sense", name);
	return r;
}

static int memory_ask(const char *name, struct qmp_client *client, struct memory *memory, json_int_t size)
{
	json_int_t wished = size - memory->base;

	if (wished < 0 || wished > memory->max || wished % memory->block)
		return log_error(EINVAL, "VM '%s': can have %lld MiB, and up to %lld more in steps of %lld", name, (long long)memory->base >> 20,
				 (long long)memory->max >> 20, (long long)memory->block >> 20);
	memory->requested = wished;
	return control_call(client, "qom-set", json_pack("{s:s,s:s,s:I}", "path", MEMORY_DEVICE_PATH, "property", "requested-size",
							 "value", wished), NULL);
}

static void memory_print(const char *name, struct config *config, const struct memory *memory)
{
	json_t *line;

	if (!config_flag(config, "json")) {
		printf("Guest %s has %lld MiB and is to have %lld MiB, of at most %lld MiB%s\n", name,
		       (long long)(memory->base + memory->size) >> 20, (long long)(memory->base + memory->requested) >> 20,
		       (long long)(memory->base + memory->max) >> 20, memory->driven ? "" : " (it has no driver for that yet)");
		return;
	}
	line = json_pack("{s:s,s:I,s:I,s:I,s:I,s:b}", "name", name, "actual", memory->base + memory->size, "target",
			 memory->base + memory->requested, "max", memory->base + memory->max, "block", memory->block, "driven",
			 memory->driven);
	json_dumpf(line, stdout, 0);
	printf("\n");
	json_decref(line);
}

static int memory_one(const char *name, struct qmp_client *client, struct config *config)
{
	struct memory memory;
	int r = memory_fetch(name, client, &memory);

	if (r >= 0 && config_given(config, "size"))
		r = memory_ask(name, client, &memory, (json_int_t)config_uint(config, "size"));
	if (r >= 0)
		memory_print(name, config, &memory);
	return r;
}

static int memory_run(struct config *config, int argc, char **argv)
{
	uint64_t size;
	int status;

	/* A VM whose name is a number is meant by -n. */
	if (argc && !parse_size(argv[argc - 1], MIB(1), &size)) {
		if (config_set(config, "size", argv[argc - 1]))
			return LKVM_STATUS_USAGE;
		argc--;
	}
	status = vm_names_each(config, argc, argv, memory_one);
	return fflush(stdout) == 0 ? status : LKVM_STATUS_ERROR;
}

static struct command memory_command = {
	.name = "memory",
	.operands = "[NAME...] [SIZE]",
	.help = "Let the memory of VMs grow and shrink",
	.options = memory_options,
	.option_count = ARRAY_SIZE(memory_options),
	.run = memory_run,
};
COMMAND(memory_command);
