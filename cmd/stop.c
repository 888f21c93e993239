/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm stop: asks the guest to shut down by its power button, and waits for it.
 *
 * The power is cut only where that was asked for: at once with --force, after --timeout seconds without
 * success. A guest that is left running after a plain `lkvm stop` is a failure (exit status 1), not data
 * loss. A paused guest is let go on first: it can't shut down while it stands still.
 */
#include <stdio.h>

#include "kvm/command.h"
#include "kvm/log.h"
#include "stop.h"
#include "vm-names.h"

#define WAIT_SECONDS	STOP_WAIT_SECONDS
#define QUIT_WAIT_MS	10000

static const struct option_def stop_options[] = {
	VM_NAME_OPTIONS,
	STOP_OPTIONS,
};

/* The VM says SHUTDOWN, then its socket closes; either will do, and after both the name is free. */
static int wait_end(struct qmp_client *client, int timeout_ms)
{
	int r = control_wait_event(client, "SHUTDOWN", timeout_ms);

	if (r == 0)
		r = control_wait_event(client, "", QUIT_WAIT_MS);
	return r == -EPIPE ? 0 : r;
}

static int cut_power(const char *name, struct qmp_client *client)
{
	int r = control_call(client, "quit", NULL, NULL);

	if (r == 0)
		r = wait_end(client, QUIT_WAIT_MS);
	if (r == -ETIMEDOUT)
		log_error(ETIMEDOUT,
			  "%s: doesn't end (kill its lkvm process; lkvm list shows the PID)", name);
	return r;
}

int stop_one(const char *name, struct qmp_client *client, struct config *config)
{
	bool cut = config_given(config, "timeout");
	uint64_t seconds = cut ? config_uint(config, "timeout") : strtoull(WAIT_SECONDS, NULL, 10);
	int r;

	if (config_flag(config, "force"))
		return cut_power(name, client);
	r = control_call(client, "cont", NULL, NULL);
	if (r == 0)
		r = control_call(client, "system_powerdown", NULL, NULL);
	if (r == 0)
		r = wait_end(client, (int)seconds * 1000);
	/* no power button, or nobody listens to it */
	if (r < 0 && r != -EPIPE && cut) {
		log_warn("%s: has not shut down, so its power is cut", name);
		return cut_power(name, client);
	}
	if (r == -ETIMEDOUT)
		log_error(ETIMEDOUT, "%s: has not shut down in %s seconds and runs on (--force cuts "
			  "its power)", name, WAIT_SECONDS);
	return r;
}

static int stop_run(struct config *config, int argc, char **argv)
{
	return vm_names_each(config, argc, argv, stop_one);
}

static struct command stop_command = {
	.name = "stop",
	.operands = "[NAME...]",
	.help = "Shut VMs down: press the power button and wait",
	.options = stop_options,
	.option_count = ARRAY_SIZE(stop_options),
	.run = stop_run,
};
COMMAND(stop_command);
