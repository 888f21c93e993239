/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm device: devices of a VM that runs come and go, in the slots of its root ports, and vCPUs.
 */
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kvm/command.h"
#include "kvm/log.h"
#include "vm-names.h"

#define ANSWER_MS	100
#define OPEN_TIMEOUT_MS	60000		/* an image may be at the other end of a network */

static int with_vm(int argc, char **argv, const char *operands, int most, struct qmp_client **client)
{
	if (argc < 1 || argc > most)
		return log_error(EUSAGE, "lkvm device: say %s", operands);
	return control_connect(argv[0], OPEN_TIMEOUT_MS, client);
}

static int status_of(int result)
{
	return result == -EUSAGE ? LKVM_STATUS_USAGE : result < 0 ? LKVM_STATUS_ERROR : 0;
}

/* ---- add ---- */

static const struct option_def add_options[] = {
	{ .name = "disk", .letter = 'd', .type = OPTION_LIST, .argument = "IMAGE[,...]", .help = "A disk, as lkvm run's -d says it; id=NAME names the device" },
	{ .name = "network", .letter = 'n', .type = OPTION_LIST, .argument = "mode=...[,...]", .help = "A network device, as lkvm run's -n says it" },
	{ .name = "rng", .type = OPTION_FLAG, .help = "An entropy source" },
};

/* The VM may run in another folder. */
static char *absolute(const char *option, const char *text)
{
	size_t length = strcspn(text, ",");
	_cleanup_free_ char *path = strndup(text, length), *real = NULL;
	char *whole;

	if (strcmp(option, "disk") != 0 || text[length + !!text[length]] == ',' || !path || !(real = realpath(path, NULL)) || strchr(real, ','))
		return strdup(text);
	return asprintf(&whole, "%s%s", real, text + length) < 0 ? NULL : whole;
}

static int add_one(struct qmp_client *client, const char *vm, const char *option, const char *text)
{
	_cleanup_free_ char *whole = absolute(option, text);
	json_t *arguments = whole ? json_pack("{s:s,s:s}", "option", option, "text", whole) : NULL, *result = NULL;
	int r = arguments ? control_call(client, "x-lkvm-device-add", arguments, &result) :
			    log_error(EINVAL, "option --%s: '%s' is no UTF-8", option, text);

	if (r < 0)
		return r;
	printf(strcmp(option, "cpu") ? "Guest %s has device %s in slot %lld\n" : "Guest %s has device %s, vCPU %lld\n", vm,
	       json_string_value(json_object_get(result, "id")), (long long)json_integer_value(json_object_get(result, "port")));
	json_decref(result);
	return 0;
}

/* The vCPU's number that "cpu,id=N" says; "": any. NULL: it is no such word. */
static const char *cpu_text(const char *operand)
{
	if (strncmp(operand, "cpu", 3) != 0 || (operand[3] && strncmp(operand + 3, ",id=", 4) != 0))
		return NULL;
	return operand[3] ? operand + 7 : "";
}

static int add_run(struct config *config, int argc, char **argv)
{
	static const char *const lists[] = { "disk", "network" };
	struct qmp_client *client;
	int r;

	for (int i = 1; i < argc; i++) {
		if (cpu_text(argv[i]))
			continue;
		log_error(EUSAGE, "lkvm device add: '%s' is no device (cpu and cpu,id=N are)", argv[i]);
		return LKVM_STATUS_USAGE;
	}
	if (argc < 2 && !config_given(config, "disk") && !config_given(config, "network") && !config_flag(config, "rng")) {
		log_error(EUSAGE, "lkvm device add: which one? (say -d IMAGE, -n MODE, --rng or cpu)");
		return LKVM_STATUS_USAGE;
	}
	r = with_vm(argc, argv, "NAME", INT_MAX, &client);
	if (r < 0)
		return status_of(r);
	for (size_t i = 0; i < ARRAY_SIZE(lists); i++)
		for (size_t n = 0; n < config_count(config, lists[i]) && !r; n++)
			r = add_one(client, argv[0], lists[i], config_item(config, lists[i], n));
	if (!r && config_flag(config, "rng"))
		r = add_one(client, argv[0], "rng", "");
	for (int i = 1; i < argc && !r; i++)
		r = add_one(client, argv[0], "cpu", cpu_text(argv[i]));
	control_disconnect(client);
	return status_of(r);
}

static struct command device_add_command = {
	.name = "device add",
	.operands = "NAME [cpu[,id=N]...]",
	.help = "Put a device into a slot of a VM that runs, or give it a vCPU",
	.options = add_options,
	.option_count = ARRAY_SIZE(add_options),
	.run = add_run,
};
COMMAND(device_add_command);

/* ---- remove ---- */

static const struct option_def remove_options[] = {
	{ .name = "timeout", .letter = 't', .type = OPTION_UINT, .argument = "SECONDS", .fallback = "30", .min = 1, .max = 3600,
	  .help = "How long the guest may take to let go of it" },
	{ .name = "force", .letter = 'f', .type = OPTION_FLAG, .help = "Tear it out, without asking the guest" },
};

/* What has become of @id: "gone", or the VM's word for it; NULL: nobody tells. */
static const char *device_state(struct qmp_client *client, const char *id, json_t **devices)
{
	const json_t *device;
	size_t i;

	if (control_call(client, "x-lkvm-query-devices", NULL, devices) < 0)
		return NULL;
	json_array_foreach(*devices, i, device) {
		const char *name = json_string_value(json_object_get(device, "id")), *state = json_string_value(json_object_get(device, "state"));

		if (name && state && !strcmp(name, id))
			return state;
	}
	return "gone";
}

static int remove_wait(struct qmp_client *client, const char *id)
{
	for (;;) {
		json_t *devices = NULL;
		const char *state = device_state(client, id, &devices);
		int r = !state ? -EIO : !strcmp(state, "gone") ? 0 : 1;

		if (r == 1 && !strcmp(state, "refused"))
			r = log_error(EBUSY, "device %s: the guest does not let go of it (--force tears it out)", id);
		else if (r == 1 && strcmp(state, "asked") != 0)
			r = log_error(ETIMEDOUT, "device %s: the guest did not answer in time; it is there still (--timeout; --force tears it out)", id);
		json_decref(devices);
		if (r <= 0)
			return r;
		poll(NULL, 0, ANSWER_MS);
	}
}

static int remove_run(struct config *config, int argc, char **argv)
{
	struct qmp_client *client;
	int r = argc < 2 ? log_error(EUSAGE, "lkvm device remove: say NAME ID...") : with_vm(argc, argv, "NAME ID...", INT_MAX, &client);

	if (r < 0)
		return status_of(r);
	/* all are asked before any answer is waited for: a guest takes seconds */
	for (int i = 1; i < argc && !r; i++)
		r = control_call(client, "device_del", json_pack("{s:s,s:I,s:b}", "id", argv[i], "x-timeout-ms",
				 (json_int_t)config_uint(config, "timeout") * 1000, "x-force", config_flag(config, "force")), NULL);
	for (int i = 1; i < argc && !r; i++) {
		r = remove_wait(client, argv[i]);
		if (!r)
			printf("Guest %s has no device %s any more\n", argv[0], argv[i]);
	}
	control_disconnect(client);
	return status_of(r);
}

static struct command device_remove_command = {
	.name = "device remove",
	.operands = "NAME ID...",
	.help = "Take devices out of a VM that runs",
	.options = remove_options,
	.option_count = ARRAY_SIZE(remove_options),
	.run = remove_run,
};
COMMAND(device_remove_command);

/* ---- list ---- */

static const struct option_def list_options[] = {
	{ .name = "json", .type = OPTION_FLAG, .help = "Print JSON" },
};

static void list_print(const json_t *devices)
{
	const json_t *device;
	size_t i;

	printf("%-16s %-5s %-11s %s\n", "ID", "SLOT", "STATE", "OPTION");
	json_array_foreach((json_t *)devices, i, device) {
		const char *id = json_string_value(json_object_get(device, "id")), *node = json_string_value(json_object_get(device, "node"));
		const char *option = json_string_value(json_object_get(device, "option"));
		const json_t *port = json_object_get(device, "port");
		char slot[16] = "-";

		if (port)
			snprintf(slot, sizeof(slot), "%lld", (long long)json_integer_value(port));
		/* a vCPU is by no option of its own, and its number is what it is */
		printf(strcmp(option, "cpu") ? "%-16s %-5s %-11s --%s %s\n" : "%-16s %-5s %-11s %s\n", id ? id : node ? node : "-", slot,
		       json_string_value(json_object_get(device, "state")), option, json_string_value(json_object_get(device, "text")));
	}
}

static int list_run(struct config *config, int argc, char **argv)
{
	struct qmp_client *client;
	json_t *devices = NULL;
	int r = with_vm(argc, argv, "NAME", 1, &client);

	if (r < 0)
		return status_of(r);
	r = control_call(client, "x-lkvm-query-devices", NULL, &devices);
	control_disconnect(client);
	if (r < 0)
		return status_of(r);
	if (config_flag(config, "json")) {
		json_dumpf(devices, stdout, 0);
		printf("\n");
	} else {
		list_print(devices);
	}
	json_decref(devices);
	return fflush(stdout) == 0 ? 0 : LKVM_STATUS_ERROR;
}

static struct command device_list_command = {
	.name = "device list",
	.operands = "NAME",
	.help = "Show what is in a VM's slots, and vCPUs that may go",
	.options = list_options,
	.option_count = ARRAY_SIZE(list_options),
	.run = list_run,
};
COMMAND(device_list_command);

static struct command device_command = {
	.name = "device",
	.help = "Put devices into a VM that runs, and take them out",
	.family = true,
};
COMMAND(device_command);
