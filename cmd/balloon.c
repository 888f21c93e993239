/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm balloon: how much memory a guest is to keep; the rest goes to the host. kvmtool's --inflate and --deflate
 * change that by mebibytes.
 */
#include <stdio.h>

#include "kvm/command.h"
#include "kvm/log.h"
#include "vm-names.h"

static const struct option_def balloon_options[] = {
	VM_NAME_OPTIONS,
	{ .name = "size", .letter = 's', .type = OPTION_SIZE, .argument = "SIZE", .unit = MIB(1), .min = 1,
	  .max = INT64_MAX, .help = "Memory that the guest is to keep, in MiB; SIZE as the last operand says the same" },
	{ .name = "inflate", .letter = 'i', .type = OPTION_SIZE, .argument = "SIZE", .unit = MIB(1), .max = INT64_MAX,
	  .help = "Take so many MiB more from the guest" },
	{ .name = "deflate", .letter = 'd', .type = OPTION_SIZE, .argument = "SIZE", .unit = MIB(1), .max = INT64_MAX,
	  .help = "Give so many MiB back to the guest" },
	{ .name = "json", .type = OPTION_FLAG, .help = "Print a JSON object a line for each VM" },
};

/* Changes *@target, which is what the guest was to keep so far. */
static int balloon_target(struct config *config, json_int_t *target)
{
	json_int_t wished = config_given(config, "size") ? (json_int_t)config_uint(config, "size") : *target;

	if (__builtin_add_overflow(wished, (json_int_t)config_uint(config, "deflate"), &wished))
		wished = INT64_MAX;
	*target = wished - (json_int_t)config_uint(config, "inflate");
	if (*target > 0)
		return 0;
	return log_error(EINVAL, "option --inflate: the guest is to keep %lld MiB, so that nothing would be left of it",
			 (long long)(wished >> 20));
}

static void balloon_print(const char *name, struct config *config, json_int_t actual, json_int_t target)
{
	json_t *line;

	if (!config_flag(config, "json")) {
		printf("Guest %s has %lld MiB and is to keep %lld MiB\n", name, (long long)actual >> 20,
		       (long long)target >> 20);
		return;
	}
	line = json_pack("{s:s,s:I,s:I}", "name", name, "actual", actual, "target", target);
	json_dumpf(line, stdout, 0);
	printf("\n");
	json_decref(line);
}

static int balloon_one(const char *name, struct qmp_client *client, struct config *config)
{
	json_t *now = NULL;
	json_int_t target;
	int r = control_call(client, "query-balloon", NULL, &now);

	if (r < 0)
		return r;
	target = json_integer_value(json_object_get(now, "x-target"));
	if (config_given(config, "size") || config_given(config, "inflate") || config_given(config, "deflate")) {
		r = balloon_target(config, &target);
		if (r == 0)
			r = control_call(client, "balloon", json_pack("{s:I}", "value", target), NULL);
	}
	if (r == 0)
		balloon_print(name, config, json_integer_value(json_object_get(now, "actual")), target);
	json_decref(now);
	return r;
}

static int balloon_run(struct config *config, int argc, char **argv)
{
	uint64_t size;
	int status;

	/* A VM whose name is a number is meant by -n. */
	if (argc && !parse_size(argv[argc - 1], MIB(1), &size)) {
		if (config_set(config, "size", argv[argc - 1]))
			return LKVM_STATUS_USAGE;
		argc--;
	}
	status = vm_names_each(config, argc, argv, balloon_one);
	return fflush(stdout) == 0 ? status : LKVM_STATUS_ERROR;
}

static struct command balloon_command = {
	.name = "balloon",
	.operands = "[NAME...] [SIZE]",
	.help = "Take memory from VMs, or give it back",
	.options = balloon_options,
	.option_count = ARRAY_SIZE(balloon_options),
	.run = balloon_run,
};
COMMAND(balloon_command);
