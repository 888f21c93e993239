/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm config: what lkvm wants of a Linux kernel's configuration. */
#include <stdio.h>
#include <sys/utsname.h>

#include "kvm/command.h"
#include "kvm/kernel-config.h"
#include "kvm/kvm.h"
#include "kvm/log.h"

static const char *const arches[] = { "x86_64", "arm64", NULL };

static const struct option_def config_options[] = {
	{ .name = "check", .letter = 'c', .type = OPTION_STRING, .argument = "FILE",
	  .help = "Print what this .config lacks, and for what; exit status 1 if there is something" },
	{ .name = "fragment", .letter = 'f', .type = OPTION_FLAG,
	  .help = "Print all that is to be enabled, for scripts/kconfig/merge_config.sh" },
	{ .name = "arch", .letter = 'a', .type = OPTION_CHOICE, .argument = "ARCH", .choices = arches,
	  .help = "The kernel's architecture (default: what the .config says, or the host's)" },
};

static enum kernel_arch wanted_arch(const struct config *options, enum kernel_arch said)
{
	const char *name = config_string(options, "arch");
	struct utsname host;

	if (name)
		return kernel_arch_of(name);
	return said || uname(&host) < 0 ? said : kernel_arch_of(host.machine);
}

static int check(const struct config *options, const char *path)
{
	struct kernel_config config;
	enum kernel_arch arch;
	unsigned int missing = 0;
	int result = kernel_config_read(&config, path);

	if (!result) {
		arch = wanted_arch(options, config.arch);
		if (!arch)
			result = log_error(EINVAL, "%s: of which architecture? (say --arch x86_64 or arm64)", path);
		else
			missing = kernel_config_print(stdout, arch, &config);
	}
	kernel_config_free(&config);
	if (missing)
		log_error(ENOENT, "%s: lacks %u option%s that lkvm has a use for (lkvm build adds them)", path, missing,
			  missing == 1 ? "" : "s");
	return result || missing || fflush(stdout) ? LKVM_STATUS_ERROR : 0;
}

static int fragment(const struct config *options)
{
	enum kernel_arch arch = wanted_arch(options, 0);

	if (!arch) {
		log_error(EINVAL, "option --fragment: for which architecture? (say --arch x86_64 or arm64)");
		return LKVM_STATUS_USAGE;
	}
	kernel_config_print(stdout, arch, NULL);
	return fflush(stdout) ? LKVM_STATUS_ERROR : 0;
}

static int config_run(struct config *options, int argc, char **argv)
{
	const char *path = config_string(options, "check");

	(void)argc;
	(void)argv;
	if (!path == !config_flag(options, "fragment")) {
		log_error(EINVAL, "config: say --check FILE, or --fragment");
		return LKVM_STATUS_USAGE;
	}
	return path ? check(options, path) : fragment(options);
}

static struct command config_command = {
	.name = "config",
	.help = "Say what lkvm wants of a kernel's configuration",
	.options = config_options,
	.option_count = ARRAY_SIZE(config_options),
	.run = config_run,
};
COMMAND(config_command);
