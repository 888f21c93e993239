/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm snapshot: saves a running VM's state to a file, and says what is in such a file.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kvm/command.h"
#include "kvm/control.h"
#include "kvm/log.h"
#include "kvm/snapshot.h"
#include "vm-names.h"

#define POLL_MS	20

static const struct option_def snapshot_options[] = {
	{ .name = "info", .type = OPTION_FLAG, .help = "Say what the snapshot FILE is of" },
	{ .name = "check", .type = OPTION_FLAG, .help = "Read all of the snapshot FILE and compare its checksums" },
	{ .name = "json", .type = OPTION_FLAG, .help = "With --info: as JSON" },
	{ .name = "pause", .type = OPTION_FLAG, .help = "The guest stays paused afterwards" },
	{ .name = "stop", .type = OPTION_FLAG, .help = "End the VM behind the snapshot, so that its disks stay as they are" },
};

/* The VM may be anywhere, and has a folder of its own. */
static char *absolute_path(const char *path)
{
	_cleanup_free_ char *folder = *path == '/' ? NULL : getcwd(NULL, 0);
	char *whole = NULL;

	if (*path == '/')
		return strdup(path);
	return folder && asprintf(&whole, "%s/%s", folder, path) >= 0 ? whole : NULL;
}

static int wait_done(struct qmp_client *client, double *paused)
{
	for (;;) {
		const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
		const char *status;
		json_t *reply;
		bool running, good;
		int r = control_call(client, "x-lkvm-query-snapshot", NULL, &reply);

		if (r < 0)
			return r;
		status = json_string_value(json_object_get(reply, "status"));
		running = status && strcmp(status, "running") == 0;
		good = status && strcmp(status, "completed") == 0;
		*paused = json_number_value(json_object_get(reply, "paused"));
		json_decref(reply);
		if (!running)
			return good ? 0 : log_error(EIO, "the snapshot failed (the VM's own messages say why)");
		nanosleep(&pause, NULL);
	}
}

static int take(struct qmp_client *client, const char *name, const char *path, bool stop, bool pause)
{
	double paused = 0;
	int r = control_call(client, "x-lkvm-snapshot", json_pack("{s:s,s:b}", "file", path, "pause", stop || pause), NULL);

	if (r == 0)
		r = wait_done(client, &paused);
	if (r < 0)
		return r;
	if (!stop) {
		printf("Guest %s saved to %s", name, path);
		if (!pause)
			printf(", after a pause of %.1f ms", paused * 1e3);
		printf("\n");
		return 0;
	}
	r = control_call(client, "quit", NULL, NULL);
	if (r == 0)
		printf("Guest %s saved to %s and ended\n", name, path);
	return r;
}

static int snapshot_take(const struct config *config, const char *name, const char *path)
{
	_cleanup_free_ char *whole = absolute_path(path);
	struct qmp_client *client;
	int r;

	if (!whole)
		return log_errno(ENOMEM, "%s", path);
	r = control_connect(name, CONTROL_TIMEOUT_MS, &client);
	if (r < 0)
		return r;
	r = take(client, name, whole, config_flag(config, "stop"), config_flag(config, "pause"));
	control_disconnect(client);
	return r;
}

static int snapshot_run(struct config *config, int argc, char **argv)
{
	bool info = config_flag(config, "info"), check = config_flag(config, "check");
	int wanted = info || check ? 1 : 2, r = 0;

	if (argc != wanted) {
		log_error(EUSAGE, info || check ? "which file? (lkvm snapshot --info FILE)" :
			  "which VM, and to which file? (lkvm snapshot NAME FILE; lkvm list shows the VMs)");
		return LKVM_STATUS_USAGE;
	}
	if (!info && !check)
		r = snapshot_take(config, argv[0], argv[1]);
	if (check)
		r = snapshot_check(argv[0]);
	if (info && r == 0)
		r = snapshot_print_info(argv[0], config_flag(config, "json"));
	return r < 0 ? LKVM_STATUS_ERROR : 0;
}

static struct command snapshot_command = {
	.name = "snapshot",
	.operands = "NAME FILE | --info FILE",
	.help = "Save a VM's state to a file",
	.options = snapshot_options,
	.option_count = ARRAY_SIZE(snapshot_options),
	.run = snapshot_run,
};
COMMAND(snapshot_command);
