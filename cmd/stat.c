/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm stat: a VM's memory, exits and I/O; with --watch again and again, with what changed a second.
 */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kvm/command.h"
#include "kvm/log.h"
#include "vm-names.h"

#define ANSWER_TRIES	10
#define ANSWER_WAIT_NS	50000000L

static const struct option_def stat_options[] = {
	VM_NAME_OPTIONS,
	{ .name = "memory", .letter = 'm', .type = OPTION_FLAG, .help = "Memory only" },
	{ .name = "watch", .letter = 'w', .type = OPTION_UINT, .argument = "SECONDS", .min = 1, .max = 86400,
	  .optional_argument = true, .help = "Go on until the VM ends, every second or so many; one VM only" },
	{ .name = "json", .type = OPTION_FLAG, .help = "Print a JSON object a line each time" },
};

/* ---- asking ---- */

static json_int_t number(const json_t *object, const char *key)
{
	return json_integer_value(json_object_get(object, key));
}

static const json_t *balloon_of(const json_t *stats)
{
	return json_object_get(json_object_get(stats, "memory"), "balloon");
}

/* The guest answers for itself a moment later than it is asked, if at all. */
static int stat_fetch_answered(struct qmp_client *client, json_t **stats)
{
	static const struct timespec pause = { .tv_nsec = ANSWER_WAIT_NS };
	json_int_t round;
	int r = control_call(client, "x-lkvm-stats", NULL, stats);

	if (r < 0 || !json_is_true(json_object_get(balloon_of(*stats), "driven")))
		return r;
	round = number(balloon_of(*stats), "stats-round");
	for (int i = 0; i < ANSWER_TRIES && r >= 0 && number(balloon_of(*stats), "stats-round") == round; i++) {
		nanosleep(&pause, NULL);
		json_decref(*stats);
		*stats = NULL;
		r = control_call(client, "x-lkvm-stats", NULL, stats);
	}
	return r;
}

/* ---- printing ---- */

static void print_size(const char *label, const json_t *object, const char *key)
{
	if (json_object_get(object, key))
		printf("  %-30s %14.1fM\n", label, (double)number(object, key) / (double)MIB(1));
}

static void print_memory(const json_t *stats)
{
	static const struct { const char *key, *label; } rows[] = {
		{ "total-memory", "guest: total" }, { "free-memory", "guest: free" },
		{ "available-memory", "guest: available" }, { "disk-caches", "guest: disk caches" },
		{ "swap-in", "guest: swapped in" }, { "swap-out", "guest: swapped out" },
	};
	const json_t *memory = json_object_get(stats, "memory"), *balloon = balloon_of(stats);

	printf("memory\n");
	print_size("size", memory, "size");
	print_size("to be had", memory, "requested");
	print_size("at most", memory, "max");
	print_size("held by the host", memory, "held");
	print_size("balloon: left to the guest", balloon, "actual");
	print_size("balloon: to be left", balloon, "target");
	print_size("given back so far", balloon, "given-back");
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++)
		print_size(rows[i].label, json_object_get(balloon, "guest"), rows[i].key);
}

/* @seconds since @before was the number; 0: there is no rate yet. */
static void print_rate(const char *label, json_int_t now, json_int_t before, double seconds)
{
	printf("  %-30s %15lld", label, (long long)now);
	if (seconds > 0)
		printf(" %13.0f/s", (double)(now - before) / seconds);
	printf("\n");
}

static json_int_t exits_sum(const json_t *stats)
{
	const json_t *exits = json_object_get(stats, "exits"), *one;
	json_int_t sum = 0;
	size_t i;

	json_array_foreach((json_t *)exits, i, one)
		sum += json_integer_value(one);
	return sum;
}

static bool is_exits(const char *name)
{
	size_t length = strlen(name);

	return length >= 5 && strcmp(name + length - 5, "exits") == 0;
}

static void print_exits(const json_t *stats, const json_t *before, double seconds)
{
	json_t *vcpus = json_object_get(stats, "vcpus");
	const json_t *value, *then = json_object_get(before, "vcpus");
	const char *name;

	printf("exits\n");
	print_rate("to lkvm", exits_sum(stats), exits_sum(before), seconds);
	json_object_foreach(vcpus, name, value)
		if (is_exits(name) && json_integer_value(value))
			print_rate(name, json_integer_value(value), number(then, name), seconds);
}

static void print_devices(const json_t *stats, const json_t *before, double seconds)
{
	json_t *devices = json_object_get(stats, "devices");
	const json_t *device, *then = json_object_get(before, "devices");
	size_t i;

	/* They stand in the order of their names, both times. */
	json_array_foreach(devices, i, device) {
		static const char *const keys[] = { "requests", "from-guest", "to-guest" };
		static const char *const labels[] = { "requests", "bytes from the guest", "bytes to the guest" };
		const json_t *old = json_array_get(then, i);

		printf("%s\n", json_string_value(json_object_get(device, "name")));
		for (size_t k = 0; k < ARRAY_SIZE(keys); k++)
			print_rate(labels[k], number(device, keys[k]), number(old, keys[k]), seconds);
	}
}

static void stat_print(const char *name, struct config *config, json_t *stats, const json_t *before)
{
	double now = json_number_value(json_object_get(stats, "time"));
	double seconds = before ? now - json_number_value(json_object_get(before, "time")) : 0;

	if (config_flag(config, "json")) {
		json_object_set_new(stats, "name", json_string(name));
		json_dumpf(stats, stdout, JSON_REAL_PRECISION(15));
		printf("\n");
		return;
	}
	if (before && isatty(STDOUT_FILENO))
		printf("\033[H\033[J");
	printf("# %s\n", name);
	print_memory(stats);
	if (config_flag(config, "memory"))
		return;
	print_exits(stats, before, seconds);
	print_devices(stats, before, seconds);
}

/* ---- the command ---- */

static int stat_watch(const char *name, struct qmp_client *client, struct config *config, json_t **stats)
{
	uint64_t seconds = config_uint(config, "watch");
	int r;

	for (;;) {
		json_t *before = *stats;

		if (fflush(stdout))
			return -EIO;
		r = control_wait_event(client, "SHUTDOWN", (int)(seconds ? seconds : 1) * 1000);
		if (r != -ETIMEDOUT)
			return r == -EPIPE ? 0 : r;
		*stats = NULL;
		r = control_call(client, "x-lkvm-stats", NULL, stats);
		if (r >= 0)
			stat_print(name, config, *stats, before);
		json_decref(before);
		if (r < 0)
			return r;
	}
}

static int stat_one(const char *name, struct qmp_client *client, struct config *config)
{
	json_t *stats = NULL;
	int r = stat_fetch_answered(client, &stats);

	if (r >= 0) {
		stat_print(name, config, stats, NULL);
		if (config_given(config, "watch"))
			r = stat_watch(name, client, config, &stats);
	}
	json_decref(stats);
	return r;
}

static int stat_run(struct config *config, int argc, char **argv)
{
	int status;

	if (config_given(config, "watch") && (config_flag(config, "all") || config_count(config, "name") + (size_t)argc > 1)) {
		log_error(EINVAL, "option --watch: one VM at a time");
		return LKVM_STATUS_USAGE;
	}
	status = vm_names_each(config, argc, argv, stat_one);
	return fflush(stdout) == 0 ? status : LKVM_STATUS_ERROR;
}

static struct command stat_command = {
	.name = "stat",
	.operands = "[NAME...]",
	.help = "Memory, exits and I/O of VMs",
	.options = stat_options,
	.option_count = ARRAY_SIZE(stat_options),
	.run = stat_run,
};
COMMAND(stat_command);
