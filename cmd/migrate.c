/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm migrate: moves a running VM to another process, which lkvm run --incoming has started.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kvm/command.h"
#include "kvm/control.h"
#include "kvm/log.h"
#include "vm-names.h"

#define POLL_MS		20
#define PROGRESS_MS	500

static const struct option_def migrate_options[] = {
	{ .name = "bandwidth", .type = OPTION_SIZE, .argument = "SIZE", .unit = MIB(1),
	  .help = "At most so many bytes a second, while the guest runs (default: as many as go)" },
	{ .name = "downtime", .type = OPTION_UINT, .argument = "MS", .min = 1, .max = 2000000,
	  .help = "How long the guest may stand still (default: 300)" },
	{ .name = "slow-down", .type = OPTION_FLAG, .fallback = "true",
	  .help = "Slow vCPUs down that write faster than can be sent, which is the default (--no-slow-down: don't)" },
	{ .name = "compress", .type = OPTION_FLAG, .help = "Send memory compressed by zstd" },
	{ .name = "postcopy", .type = OPTION_UINT, .argument = "ROUNDS", .max = UINT32_MAX,
	  .help = "Let the guest go over after so many rounds, and its memory behind it (0: when --switch says so)" },
	{ .name = "switch", .type = OPTION_FLAG, .help = "The guest of a migration that was begun with --postcopy goes over now" },
	{ .name = "recover", .type = OPTION_FLAG, .help = "Connect again, where post-copy has lost its connection" },
	{ .name = "detach", .type = OPTION_FLAG, .help = "Don't wait for it; the VM stays, paused, when its guest has gone" },
	{ .name = "status", .type = OPTION_FLAG, .help = "Say how far it is" },
	{ .name = "cancel", .type = OPTION_FLAG, .help = "The guest stays where it is after all" },
	{ .name = "json", .type = OPTION_FLAG, .help = "Print JSON" },
};

static const char *status_of(const json_t *reply)
{
	const char *status = json_string_value(json_object_get(reply, "status"));

	return status ? status : "none";
}

static double number(const json_t *object, const char *name)
{
	return json_number_value(json_object_get(object, name));
}

static void print_json(const json_t *reply)
{
	json_dumpf(reply, stdout, JSON_INDENT(2) | JSON_REAL_PRECISION(6));
	printf("\n");
}

static void print_status(const json_t *reply)
{
	const json_t *ram = json_object_get(reply, "ram");
	const char *error = json_string_value(json_object_get(reply, "error-desc"));

	printf("status\t\t%s%s%s\n", status_of(reply), error ? ": " : "", error ? error : "");
	if (!ram)
		return;
	printf("sent\t\t%.1f MiB in %.1f s, %.0f rounds\n", number(ram, "transferred") / (double)MIB(1), number(reply, "total-time") / 1e3,
	       number(ram, "dirty-sync-count"));
	printf("remaining\t%.1f MiB\n", number(ram, "remaining") / (double)MIB(1));
	if (json_object_get(reply, "cpu-throttle-percentage"))
		printf("slowed down\t%.0f %%\n", number(reply, "cpu-throttle-percentage"));
	if (json_object_get(reply, "x-downtime-us"))
		printf("stood still\t%.1f ms\n", number(reply, "x-downtime-us") / 1e3);
}

static void print_progress(const json_t *reply)
{
	const json_t *ram = json_object_get(reply, "ram");

	fprintf(stderr, "\r%s: %.0f MiB sent, %.0f MiB remaining, round %.0f \033[K", status_of(reply),
		number(ram, "transferred") / (double)MIB(1), number(ram, "remaining") / (double)MIB(1), number(ram, "dirty-sync-count") + 1);
}

static bool is_over(const char *status)
{
	return strcmp(status, "completed") == 0 || strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0 || strcmp(status, "postcopy-paused") == 0 ||
	       strcmp(status, "none") == 0;
}

static int wait_over(struct qmp_client *client, json_t **reply)
{
	bool shows = isatty(STDERR_FILENO);

	for (unsigned int ms = 0;; ms += POLL_MS) {
		const struct timespec pause = { .tv_nsec = POLL_MS * 1000000L };
		int r = control_call(client, "query-migrate", NULL, reply);
		bool over = r < 0 || is_over(status_of(*reply));

		if (shows && r == 0 && !over && ms % PROGRESS_MS == 0)
			print_progress(*reply);
		if (over && shows && ms >= POLL_MS)
			fprintf(stderr, "\r\033[K");
		if (over)
			return r;
		json_decref(*reply);
		nanosleep(&pause, NULL);
	}
}

/* The VM's folder may be another one. */
static char *absolute(const char *address)
{
	_cleanup_free_ char *folder = NULL;
	char *whole = NULL;

	if (strncmp(address, "unix:", 5) != 0 || address[5] == '/')
		return strdup(address);
	folder = getcwd(NULL, 0);
	return folder && asprintf(&whole, "unix:%s/%s", folder, address + 5) >= 0 ? whole : NULL;
}

static json_t *parameters_of(const struct config *config)
{
	json_t *parameters = json_pack("{s:b,s:b,s:I,s:b,s:I}", "x-compress", config_flag(config, "compress"), "x-auto-converge",
				       config_flag(config, "slow-down"), "max-bandwidth", (json_int_t)config_uint(config, "bandwidth"),
				       "x-postcopy", config_given(config, "postcopy"), "x-postcopy-after",
				       (json_int_t)config_uint(config, "postcopy"));

	if (config_given(config, "downtime"))
		json_object_set_new(parameters, "downtime-limit", json_integer((json_int_t)config_uint(config, "downtime")));
	return parameters;
}

static int finish(const struct config *config, struct qmp_client *client, const char *name, const char *address)
{
	const char *error;
	json_t *reply;
	int r = wait_over(client, &reply);
	bool gone;

	if (r < 0)
		return r;
	gone = strcmp(status_of(reply), "completed") == 0;
	error = json_string_value(json_object_get(reply, "error-desc"));
	/* nobody will need what is left here */
	if (gone)
		r = control_call(client, "quit", NULL, NULL);
	if (config_flag(config, "json"))
		print_json(reply);
	else if (gone)
		printf("Guest %s moved to %s: %.1f MiB in %.0f ms, of which it stood still for %.1f ms\n", name, address,
		       number(json_object_get(reply, "ram"), "transferred") / (double)MIB(1), number(reply, "total-time"),
		       number(reply, "x-downtime-us") / 1e3);
	if (strcmp(status_of(reply), "postcopy-paused") == 0)
		r = log_error(EIO, "%s: the guest runs at %s and needs the memory that is still here: the connection is lost, %s (lkvm migrate "
			      "--recover %s ADDRESS)", name, address, error ? error : "", name);
	else if (!gone)
		r = log_error(EIO, "%s: the migration has %s%s%s (lkvm list shows whether the guest runs here)", name,
			      error ? "failed" : "been cancelled", error ? ": " : "", error ? error : "");
	json_decref(reply);
	return r;
}

/* The parameters that are about to be set would be those of the one that is under way. */
static int check_idle(struct qmp_client *client, const char *name)
{
	json_t *reply;
	int r = control_call(client, "query-migrate", NULL, &reply);
	bool over;

	if (r < 0)
		return r;
	over = is_over(status_of(reply));
	json_decref(reply);
	return over ? 0 : log_error(EBUSY, "%s: is being migrated already (lkvm migrate --status or --cancel)", name);
}

static int move(const struct config *config, struct qmp_client *client, const char *name, const char *address)
{
	_cleanup_free_ char *whole = absolute(address);
	bool recover = config_flag(config, "recover");
	int r;

	if (!whole)
		return log_errno(ENOMEM, "%s", address);
	r = recover ? 0 : check_idle(client, name);
	if (r == 0 && !recover)
		r = control_call(client, "migrate-set-parameters", parameters_of(config), NULL);
	if (r == 0)
		r = control_call(client, "migrate", json_pack("{s:s,s:b}", "uri", whole, "resume", recover), NULL);
	return r || config_flag(config, "detach") ? r : finish(config, client, name, address);
}

static int say_status(const struct config *config, struct qmp_client *client)
{
	json_t *reply;
	int r = control_call(client, "query-migrate", NULL, &reply);

	if (r < 0)
		return r;
	if (config_flag(config, "json"))
		print_json(reply);
	else
		print_status(reply);
	json_decref(reply);
	return 0;
}

static int migrate_run(struct config *config, int argc, char **argv)
{
	bool status = config_flag(config, "status"), cancel = config_flag(config, "cancel"), go = config_flag(config, "switch");
	struct qmp_client *client;
	int r = 0;

	if (argc != (status || cancel || go ? 1 : 2)) {
		log_error(EUSAGE, status || cancel || go ? "which VM? (lkvm list shows them)" :
			  "which VM, and where to? (lkvm migrate NAME tcp:HOST:PORT|unix:PATH|exec:COMMAND|fd:N)");
		return LKVM_STATUS_USAGE;
	}
	r = control_connect(argv[0], CONTROL_TIMEOUT_MS, &client);
	if (r < 0)
		return LKVM_STATUS_ERROR;
	if (cancel)
		r = control_call(client, "migrate_cancel", NULL, NULL);
	if (go && r == 0)
		r = control_call(client, "migrate-start-postcopy", NULL, NULL);
	if (status && r == 0)
		r = say_status(config, client);
	if (!cancel && !status && !go)
		r = move(config, client, argv[0], argv[1]);
	control_disconnect(client);
	return r < 0 ? LKVM_STATUS_ERROR : 0;
}

static struct command migrate_command = {
	.name = "migrate",
	.operands = "NAME ADDRESS | --recover NAME ADDRESS | --status NAME | --switch NAME | --cancel NAME",
	.help = "Move a VM to another process or host while it runs",
	.options = migrate_options,
	.option_count = ARRAY_SIZE(migrate_options),
	.run = migrate_run,
};
COMMAND(migrate_command);
