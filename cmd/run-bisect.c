/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm run --bisect: the end of a VM as `git bisect run` wants to be told of it. A kernel is bad if it was seen to fail,
 * and can't be judged where something else did; a signal, as of Ctrl-C, ends the bisection.
 */
#include <string.h>

#include "run.h"

#define BISECT_GOOD	0
#define BISECT_BAD	1
#define BISECT_SKIP	125
#define JUDGED		0x100	/* above all statuses */

/* Of a command: 125 is git's own word, 126 and 127 are those of shells (and of lkvm) that could not run it. */
static int command_status(int status)
{
	if (status >= 125 && status <= 127)
		return BISECT_SKIP;
	return status ? BISECT_BAD : BISECT_GOOD;
}

int run_bisect_status(enum kvm_end end, int status)
{
	switch (end) {
	case KVM_END_COMMAND:
		return command_status(status);
	case KVM_END_POWEROFF:
	case KVM_END_REBOOT:
		/* with a command: before it had ended */
		return status ? BISECT_BAD : BISECT_GOOD;
	case KVM_END_PANIC:
	case KVM_END_OOPS:
	case KVM_END_HANG:
	case KVM_END_BOOT_TIMEOUT:
	case KVM_END_TRIPLE_FAULT:
		return BISECT_BAD;
	case KVM_END_SIGNAL:
		return status;
	default:
		return BISECT_SKIP;
	}
}

int run_judge(const struct kvm *kvm, int status)
{
	run_print_trouble(kvm);
	return config_flag(kvm->config, "bisect") ? run_bisect_status(atomic_load(&kvm->end), status) | JUDGED : status;
}

int run_judged(const struct config *config, int status)
{
	if (status & JUDGED)
		return status & ~JUDGED;
	return status && config_flag(config, "bisect") ? BISECT_SKIP : status;
}

/* git would take 2 for a bad commit. */
int run_usage_status(int argc, char **argv)
{
	for (int i = 0; i < argc && strcmp(argv[i], "--") != 0; i++)
		if (strcmp(argv[i], "--bisect") == 0)
			return BISECT_SKIP;
	return LKVM_STATUS_USAGE;
}

static const struct option_def bisect_options[] = {
	{ .name = "bisect", .type = OPTION_FLAG,
	  .help = "End with 0, 1 or 125, for git bisect run: the guest did well, it failed, or it can't be said" },
};
RUN_OPTIONS(bisect_options_group, "Options for scripts", bisect_options);
