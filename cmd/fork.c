/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm fork: starts copies of a running VM as it is now.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kvm/command.h"
#include "kvm/control.h"
#include "kvm/fork.h"
#include "kvm/log.h"
#include "vm-names.h"

#define START_MS	30000		/* until the VM has been copied */
#define FORKS_MS	120000		/* until the copies run */

static const struct option_def fork_options[] = {
	{ .name = "name", .type = OPTION_STRING, .argument = "PREFIX", .help = "They are called PREFIX-1 and on (default: the VM's name)" },
	{ .name = "log", .type = OPTION_STRING, .argument = "DIR",
	  .help = "What they print goes to NAME.log in DIR (default: where the control sockets are)" },
	{ .name = "network", .letter = 'n', .type = OPTION_LIST, .argument = "mode=user|tap|stream|none[,KEY=VALUE...]",
	  .help = "What they have behind the guest's network devices, as for lkvm run; repeat for each device" },
	{ .name = "json", .type = OPTION_FLAG, .help = "Print JSON" },
};

static json_t *arguments_of(const struct config *config, uint64_t count)
{
	const char *name = config_string(config, "name"), *log = config_string(config, "log");
	json_t *arguments = json_pack("{s:I,s:s*}", "count", (json_int_t)count, "name", name), *networks;
	char folder[PATH_MAX];

	if (log && !realpath(log, folder)) {
		log_errno(errno, "option --log: '%s'", log);
		json_decref(arguments);
		return NULL;
	}
	if (log)
		json_object_set_new(arguments, "log", json_string(folder));
	if (config_count(config, "network")) {
		networks = json_array();
		for (size_t i = 0; i < config_count(config, "network"); i++)
			json_array_append_new(networks, json_string(config_item(config, "network", i)));
		json_object_set_new(arguments, "network", networks);
	}
	return arguments;
}

static void print_forks(const struct config *config, const char *parent, const json_t *reply)
{
	const json_t *names = json_object_get(reply, "names"), *pids = json_object_get(reply, "pids");

	if (config_flag(config, "json")) {
		json_dumpf(reply, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
		printf("\n");
		return;
	}
	for (size_t i = 0; i < json_array_size(names); i++)
		printf("%-20s runs, PID %lld\n", json_string_value(json_array_get(names, i)),
		       (long long)json_integer_value(json_array_get(pids, i)));
	printf("%s forked %zu times in %.1f ms, after a pause of %.1f ms\n", parent, json_array_size(names),
	       json_number_value(json_object_get(reply, "took")) * 1e3, json_number_value(json_object_get(reply, "paused")) * 1e3);
}

/* Only its state counts: the event says when to look. */
static int wait_done(const struct config *config, struct qmp_client *client, const char *parent)
{
	const char *status, *error;
	json_t *reply;
	int result = control_wait_event(client, "X_LKVM_FORK", FORKS_MS);

	if (result)
		return log_error(result, "%s: its forks: %s", parent, strerrordesc_np(-result));
	result = control_call(client, "x-lkvm-query-fork", NULL, &reply);
	if (result)
		return result;
	status = json_string_value(json_object_get(reply, "status"));
	error = json_string_value(json_object_get(reply, "error"));
	if (status && strcmp(status, "completed") == 0)
		print_forks(config, parent, reply);
	else
		result = log_error(ECHILD, "%s: no fork runs: %s", parent, error ? error : "another was begun since");
	json_decref(reply);
	return result;
}

static int fork_vm(const struct config *config, const char *parent, uint64_t count)
{
	json_t *arguments = arguments_of(config, count);
	struct qmp_client *client;
	int result;

	if (!arguments)
		return -EINVAL;
	result = control_connect(parent, START_MS, &client);
	if (result) {
		json_decref(arguments);
		return result;
	}
	result = control_call(client, "x-lkvm-fork", arguments, NULL);
	if (!result)
		result = wait_done(config, client, parent);
	control_disconnect(client);
	return result;
}

static int fork_command_run(struct config *config, int argc, char **argv)
{
	uint64_t count = 1;

	if (argc < 1 || argc > 2) {
		log_error(EUSAGE, "which VM, and how often? (lkvm fork NAME [N]; lkvm list shows the VMs)");
		return LKVM_STATUS_USAGE;
	}
	if (argc == 2 && (parse_uint(argv[1], &count) || count < 1 || count > FORKS_MAX)) {
		log_error(EUSAGE, "%s: no number of forks (1 to %d)", argv[1], FORKS_MAX);
		return LKVM_STATUS_USAGE;
	}
	return fork_vm(config, argv[0], count) || fflush(stdout) ? LKVM_STATUS_ERROR : 0;
}

static struct command fork_command = {
	.name = "fork",
	.operands = "NAME [N]",
	.help = "Start copies of a running VM",
	.options = fork_options,
	.option_count = ARRAY_SIZE(fork_options),
	.run = fork_command_run,
};
COMMAND(fork_command);
