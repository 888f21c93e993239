/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm sandbox: a command in a guest that can write to nothing of the host's.
 *
 * It is `lkvm run -- COMMAND` with fewer options: those here, all of which leave the host as it is. The shares of such a
 * machine are read-only on the host's side, there is no disk, no network and no port to anywhere.
 */
#include "kvm/command.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "run.h"

/* Texts, but for what is a flag or a list: lkvm run's own tables know what is right. */
static const struct option_def sandbox_options[] = {
	{ .name = "kernel", .letter = 'k', .type = OPTION_STRING, .argument = "FILE", .help = "The kernel (may stand alone)" },
	{ .name = "params", .letter = 'p', .type = OPTION_STRING, .argument = "PARAMS", .help = "Kernel command line" },
	{ .name = "modules", .type = OPTION_STRING, .argument = "DIR", .help = "The kernel's modules: a folder with modules.dep" },
	{ .name = "name", .type = OPTION_STRING, .argument = "NAME", .help = "Name of the VM" },
	{ .name = "cpus", .letter = 'c', .type = OPTION_STRING, .argument = "N", .help = "Number of vCPUs" },
	{ .name = "mem", .letter = 'm', .type = OPTION_STRING, .argument = "SIZE", .help = "Guest memory" },
	{ .name = "root", .type = OPTION_STRING, .argument = "DIR",
	  .help = "Another root than the host's own: a folder, or the name of one that lkvm setup made" },
	{ .name = "overlay", .type = OPTION_LIST, .argument = "DIR", .help = "A folder of the host's over the same one of that root" },
	{ .name = "user", .type = OPTION_STRING, .argument = "USER", .help = "Run it as that user of the root's (default: who calls)" },
	{ .name = "verbose", .type = OPTION_FLAG, .help = "Print what the kernel says, on stderr" },
	{ .name = "dev", .type = OPTION_STRING, .argument = "FILE", .help = "KVM's device file" },
};

static int copy_option(struct config *to, const struct config *from, const struct option_def *option)
{
	int result = 0;

	if (option->type == OPTION_FLAG)
		return config_set(to, option->name, config_flag(from, option->name) ? "true" : "false");
	if (option->type == OPTION_STRING)
		return config_given(from, option->name) ? config_set(to, option->name, config_string(from, option->name)) : 0;
	for (size_t i = 0; i < config_count(from, option->name) && !result; i++)
		result = config_set(to, option->name, config_item(from, option->name, i));
	return result;
}

static int sandbox_run(struct config *config, int argc, char **argv)
{
	size_t operands = config_split(config);
	struct config *machine;
	int result, status = LKVM_STATUS_USAGE;

	if (operands == SIZE_MAX) {
		log_error(EINVAL, "which command? (lkvm sandbox [KERNEL] -- COMMAND; none behind -- is a shell)");
		return LKVM_STATUS_USAGE;
	}
	result = config_new(&machine, run_options());
	if (result)
		return LKVM_STATUS_ERROR;
	for (size_t i = 0; i < ARRAY_SIZE(sandbox_options) && !result; i++)
		result = copy_option(machine, config, &sandbox_options[i]);
	if (!result)
		result = config_set(machine, "network", "mode=none");
	if (!result)
		status = run_machine(machine, (int)MIN(operands, (size_t)argc), argv, argv + operands);
	config_free(machine);
	return status;
}

static struct command sandbox_command = {
	.name = "sandbox",
	.operands = "[KERNEL] -- [COMMAND...]",
	.help = "Run a command in a guest that can write to nothing of the host's",
	.options = sandbox_options,
	.option_count = ARRAY_SIZE(sandbox_options),
	.run = sandbox_run,
};
COMMAND(sandbox_command);
