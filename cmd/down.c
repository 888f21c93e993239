/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm down: shuts down the VMs of a file, all at the same time, and waits for them. One that doesn't run is down. */
#include <string.h>

#include "kvm/command.h"
#include "kvm/config-file.h"
#include "kvm/log.h"
#include "stop.h"
#include "vm-names.h"

static const struct option_def down_options[] = {
	STOP_OPTIONS,
};

struct down {
	struct config *config;
	const struct config_file_names *names;
	void (*visit)(struct down *down, const char *name);
	int status;
};

static void each_running(const char *name, void *opaque)
{
	struct down *down = opaque;

	for (size_t i = 0; i < down->names->count; i++)
		if (strcmp(down->names->names[i], name) == 0)
			down->visit(down, name);
}

/* The button only, so that none waits for another. What fails is said by who waits. */
static void ask(struct down *down, const char *name)
{
	struct qmp_client *client;

	if (config_flag(down->config, "force") || control_connect(name, CONTROL_TIMEOUT_MS, &client) < 0)
		return;
	if (control_call(client, "cont", NULL, NULL) < 0 || control_call(client, "system_powerdown", NULL, NULL) < 0)
		down->status = LKVM_STATUS_ERROR;
	control_disconnect(client);
}

static void wait_for(struct down *down, const char *name)
{
	struct qmp_client *client;

	/* It may have gone by now. */
	if (control_connect(name, CONTROL_TIMEOUT_MS, &client) < 0)
		return;
	if (stop_one(name, client, down->config) < 0)
		down->status = LKVM_STATUS_ERROR;
	control_disconnect(client);
}

static int down_run(struct config *config, int argc, char **argv)
{
	struct config_file_names names;
	struct down down = { .config = config, .names = &names };

	if (argc != 1) {
		log_error(EINVAL, "down: which file? (say one FILE)");
		return LKVM_STATUS_USAGE;
	}
	down.status = config_file_names(&names, argv[0]) ? LKVM_STATUS_ERROR : 0;
	down.visit = ask;
	if (!down.status && control_for_each(each_running, &down) < 0)
		down.status = LKVM_STATUS_ERROR;
	down.visit = wait_for;
	if (!down.status && control_for_each(each_running, &down) < 0)
		down.status = LKVM_STATUS_ERROR;
	config_file_names_free(&names);
	return down.status;
}

static struct command down_command = {
	.name = "down",
	.operands = "FILE",
	.help = "Shut down all VMs of a file, and wait",
	.options = down_options,
	.option_count = ARRAY_SIZE(down_options),
	.run = down_run,
};
COMMAND(down_command);
