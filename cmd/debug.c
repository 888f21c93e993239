/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm debug: looks into a VM that runs: registers and device state, and an NMI or a SysRq key for
 * its kernel.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "kvm/command.h"
#include "kvm/log.h"
#include "vm-names.h"

static const struct option_def debug_options[] = {
	VM_NAME_OPTIONS,
	{ .name = "dump", .letter = 'd', .type = OPTION_FLAG,
	  .help = "Print every vCPU's registers and code, and the devices' state; the default" },
	{ .name = "nmi", .letter = 'm', .type = OPTION_UINT, .argument = "CPU", .max = 4095,
	  .help = "Send an NMI to this vCPU" },
	{ .name = "sysrq", .letter = 's', .type = OPTION_STRING, .argument = "KEY",
	  .help = "Send a SysRq key, by a break on the serial console" },
};

static int print_dump(const char *name, struct qmp_client *client)
{
	const char *text;
	json_t *result;
	int r = control_call(client, "x-lkvm-debug", NULL, &result);

	if (r < 0)
		return r;
	text = json_string_value(json_object_get(result, "text"));
	printf("# %s\n%s", name, text ? text : "");
	json_decref(result);
	return 0;
}

static int debug_one(const char *name, struct qmp_client *client, struct config *config)
{
	bool nmi = config_given(config, "nmi"), sysrq = config_given(config, "sysrq");
	int r = 0;

	if (nmi)
		r = control_call(client, "inject-nmi",
				 json_pack("{s:I}", "cpu", (json_int_t)config_uint(config, "nmi")),
				 NULL);
	if (r == 0 && sysrq)
		r = control_call(client, "x-lkvm-sysrq",
				 json_pack("{s:s}", "key", config_string(config, "sysrq")), NULL);
	if (r == 0 && ((!nmi && !sysrq) || config_flag(config, "dump")))
		r = print_dump(name, client);
	return r;
}

static int debug_run(struct config *config, int argc, char **argv)
{
	const char *key = config_string(config, "sysrq");
	int status;

	if (key && (strlen(key) != 1 || !isgraph((unsigned char)*key))) {
		log_error(EINVAL, "option --sysrq: '%s' is no key (say one letter or digit)", key);
		return LKVM_STATUS_USAGE;
	}
	status = vm_names_each(config, argc, argv, debug_one);
	return fflush(stdout) == 0 ? status : LKVM_STATUS_ERROR;
}

static struct command debug_command = {
	.name = "debug",
	.operands = "[NAME...]",
	.help = "Print registers and device state of VMs, send an NMI or a SysRq key",
	.options = debug_options,
	.option_count = ARRAY_SIZE(debug_options),
	.run = debug_run,
};
COMMAND(debug_command);
