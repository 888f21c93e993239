/* SPDX-License-Identifier: BSD-2-Clause */
/* lkvm run --config, --profile and --print-config: a VM's options from files, and as a file. */
#include <stdio.h>

#include "kvm/config-file.h"
#include "kvm/log.h"
#include "libraries.h"
#include "run.h"

static const struct option_def config_options[] = {
	{ .name = "config", .type = OPTION_STRING, .argument = "FILE",
	  .help = "Take options from FILE; what the command line says goes before" },
	{ .name = "profile", .type = OPTION_STRING, .argument = "PROFILE",
	  .help = "Take options from ~/.config/lkvm/PROFILE.conf; what --config says goes before" },
	{ .name = "print-config", .type = OPTION_FLAG, .help = "Print what was said as a file for --config, and exit" },
};
RUN_OPTIONS(config_options_group, "Basic options", config_options);

#ifdef HAVE_INIH
int run_config_files(struct config *config)
{
	const char *path = config_string(config, "config"), *profile = config_string(config, "profile");

	if (path && config_file_read(config, CONFIG_FILE, path) < 0)
		return -EUSAGE;
	return profile && config_file_profile(config, CONFIG_PROFILE, profile) < 0 ? -EUSAGE : 0;
}
#else
int run_config_files(struct config *config)
{
	if (!config_given(config, "config") && !config_given(config, "profile"))
		return 0;
	return log_error(EUSAGE, "option --%s: this lkvm was built without libinih (make config says more)",
			 config_given(config, "config") ? "config" : "profile");
}
#endif

int run_print_config(const struct config *config)
{
	static const char *const except[] = { "name", "config", "profile", "print-config", NULL };
	const char *name = config_string(config, "name");

	if (name)
		dprintf(STDOUT_FILENO, "[vm \"%s\"]\n", name);
	return config_print(config, except, STDOUT_FILENO) < 0 ? LKVM_STATUS_ERROR : 0;
}
