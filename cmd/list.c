/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm list: the VMs of this user, as a table or as JSON.
 */
#include <stdio.h>
#include <string.h>

#include "kvm/command.h"
#include "kvm/control.h"

#define LIST_TIMEOUT_MS 2000

static const struct option_def list_options[] = {
	{ .name = "json", .type = OPTION_FLAG, .help = "Print a JSON array" },
	{ .name = "run", .letter = 'i', .type = OPTION_FLAG,
	  .help = "Running and paused VMs, which is the default" },
	{ .name = "rootfs", .letter = 'r', .type = OPTION_FLAG,
	  .help = "Root file systems made by lkvm setup",
	  .pending = "the kernel developer's day issue" },
};

/* A VM that listens and doesn't answer is shown all the same: it is there, and wants looking after. */
static void list_one(const char *name, void *opaque)
{
	json_t *vms = opaque, *info = NULL;
	struct qmp_client *client;

	if (control_connect(name, LIST_TIMEOUT_MS, &client) == 0) {
		(void)!control_call(client, "x-lkvm-info", NULL, &info);
		control_disconnect(client);
	}
	if (!json_is_object(info)) {
		json_decref(info);
		info = json_pack("{s:s,s:s}", "name", name, "state", "unreachable");
	}
	json_array_append_new(vms, info);
}

static const char *text_of(json_t *info, const char *key)
{
	const char *text = json_string_value(json_object_get(info, key));

	return text ? text : "-";
}

static const char *uptime_text(double seconds, char *buffer, size_t size)
{
	unsigned long long s = seconds > 0 ? (unsigned long long)seconds : 0;

	if (s >= 86400)
		snprintf(buffer, size, "%llud%02lluh", s / 86400, s / 3600 % 24);
	else if (s >= 3600)
		snprintf(buffer, size, "%lluh%02llum", s / 3600, s / 60 % 60);
	else if (s >= 60)
		snprintf(buffer, size, "%llum%02llus", s / 60, s % 60);
	else
		snprintf(buffer, size, "%.1fs", seconds);
	return buffer;
}

/* Of a VM that was forked; that of the others is nobody. */
static const char *parent_of(json_t *info)
{
	return json_string_value(json_object_get(info, "parent"));
}

static void print_row(json_t *info)
{
	const char *parent = parent_of(info);

	double memory =
		(double)json_integer_value(json_object_get(info, "memory")) / (double)MIB(1);
	char uptime[32];

	if (!json_object_get(info, "pid")) {
		printf("%8s  %-20s %-11s %5s %8s %8s\n", "-", text_of(info, "name"),
		       text_of(info, "state"), "-", "-", "-");
		return;
	}
	printf("%8lld  %-20s %-11s %5lld %7.0fM %8s%s%s\n",
	       (long long)json_integer_value(json_object_get(info, "pid")), text_of(info, "name"),
	       text_of(info, "state"),
	       (long long)json_integer_value(json_object_get(info, "vcpus")), memory,
	       uptime_text(json_number_value(json_object_get(info, "uptime")), uptime,
			   sizeof(uptime)),
	       parent ? "  " : "", parent ? parent : "");
}

static bool has_forks(json_t *vms)
{
	json_t *info;
	size_t index;

	json_array_foreach(vms, index, info)
		if (parent_of(info))
			return true;
	return false;
}

static int list_run(struct config *config, int argc, char **argv)
{
	json_t *vms, *info;
	size_t index;

	(void)argc;
	(void)argv;
	vms = json_array();
	if (!vms || control_for_each(list_one, vms) < 0) {
		json_decref(vms);
		return LKVM_STATUS_ERROR;
	}
	if (config_flag(config, "json")) {
		json_dumpf(vms, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(15));
		printf("\n");
	} else {
		printf("%8s  %-20s %-11s %5s %8s %8s%s\n", "PID", "NAME", "STATE", "VCPUS", "MEMORY",
		       "UPTIME", has_forks(vms) ? "  PARENT" : "");
		json_array_foreach(vms, index, info)
			print_row(info);
	}
	json_decref(vms);
	return fflush(stdout) == 0 ? 0 : LKVM_STATUS_ERROR;
}

static struct command list_command = {
	.name = "list",
	.help = "List the VMs that run",
	.options = list_options,
	.option_count = ARRAY_SIZE(list_options),
	.run = list_run,
};
COMMAND(list_command);
