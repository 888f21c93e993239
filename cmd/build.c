/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm build: make, in a kernel's source tree, with a configuration that has what lkvm wants. A .config that has it
 * already is left alone, so that a second call costs what make costs.
 */
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>
#include <sys/wait.h>

#include "kvm/command.h"
#include "kvm/kernel-config.h"
#include "kvm/kvm.h"
#include "kvm/log.h"

#define WORDS_MAX	256

struct build {
	enum kernel_arch arch;
	char *config_path;
	const char *make;
	/* for make's configurations: NAME=VALUE of the command line only */
	const char *settings[WORDS_MAX];
	size_t setting_count;
};

/* ---- what is to be built ---- */

/* NAME=VALUE of make's command line, else of the environment, else NULL. */
static const char *setting(int argc, char **argv, const char *name)
{
	size_t length = strlen(name);
	const char *value = getenv(name);

	for (int i = 0; i < argc; i++)
		if (strncmp(argv[i], name, length) == 0 && argv[i][length] == '=')
			value = argv[i] + length + 1;
	return value && *value ? value : NULL;
}

static bool is_setting(const char *word)
{
	size_t length = strspn(word, "ABCDEFGHIJKLMNOPQRSTUVWXYZ_0123456789");

	return length && word[length] == '=';
}

static int find_arch(struct build *build, int argc, char **argv)
{
	const char *name = setting(argc, argv, "ARCH");
	struct utsname host;

	if (!name && uname(&host) == 0)
		name = host.machine;
	build->arch = name ? kernel_arch_of(name) : 0;
	if (!build->arch)
		return log_error(EINVAL, "build: ARCH=%s: lkvm has x86_64 and arm64", name ? name : "");
	return 0;
}

static int find_tree(struct build *build, int argc, char **argv)
{
	const char *folder = setting(argc, argv, "O");

	if (!folder)
		folder = setting(argc, argv, "KBUILD_OUTPUT");
	if (access("Kbuild", R_OK) || access("Makefile", R_OK) || access("scripts/kconfig/Makefile", R_OK))
		return log_error(ENOENT, "build: this is no kernel's source tree (cd there first; O=FOLDER builds elsewhere)");
	if (asprintf(&build->config_path, "%s/.config", folder ? folder : ".") < 0) {
		build->config_path = NULL;
		return log_errno(ENOMEM, "build");
	}
	build->make = setting(0, NULL, "MAKE");
	if (!build->make)
		build->make = "make";
	for (int i = 0; i < argc; i++)
		if (is_setting(argv[i]) && build->setting_count < WORDS_MAX)
			build->settings[build->setting_count++] = argv[i];
	return find_arch(build, argc, argv);
}

/* ---- the configuration ---- */

static int make_target(const struct build *build, const char *target)
{
	const char *words[WORDS_MAX + 4] = { build->make, "-s" };
	size_t count = 2;
	int status = 0;
	pid_t pid;

	for (size_t i = 0; i < build->setting_count; i++)
		words[count++] = build->settings[i];
	words[count] = target;
	pid = fork();
	if (!pid) {
		execvp(words[0], (char **)words);
		log_errno(errno, "build: '%s' can't be started", words[0]);
		_exit(127);
	}
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		return log_errno(errno, "build: '%s' can't be started", words[0]);
	return status ? log_error(EIO, "build: '%s %s' failed (its message is above)", words[0], target) : 0;
}

/* What make olddefconfig took out again, as it depends on something else, or this kernel hasn't got it. */
static void say_missing(const struct build *build, const struct kernel_config *config)
{
	for (const struct kernel_option *option = NULL; (option = kernel_option_next(option, build->arch));)
		if (!kernel_config_has(config, option))
			log_warn("build: CONFIG_%s can't be had in this kernel (it is for: %s)", option->name, option->why);
}

/* Reads the .config anew; *@complete: it has all. */
static int look(const struct build *build, struct kernel_config *config, bool *complete)
{
	int result;

	kernel_config_free(config);
	result = kernel_config_read(config, build->config_path);
	*complete = true;
	for (const struct kernel_option *option = NULL; !result && (option = kernel_option_next(option, build->arch));)
		*complete &= kernel_config_has(config, option);
	return result;
}

static int complete_config(const struct build *build, struct kernel_config *config)
{
	bool complete;
	int result = access(build->config_path, F_OK) ? make_target(build, "defconfig") : 0;

	if (!result)
		result = look(build, config, &complete);
	if (result || complete)
		return result;
	result = kernel_config_merge(config, build->arch, build->config_path);
	if (!result)
		result = make_target(build, "olddefconfig");
	if (!result)
		result = look(build, config, &complete);
	if (!result)
		say_missing(build, config);
	return result;
}

static int build_run(struct config *options, int argc, char **argv)
{
	struct build build = { .arch = 0 };
	struct kernel_config config = { .has = NULL };
	int result = find_tree(&build, argc, argv);

	(void)options;
	if (!result)
		result = complete_config(&build, &config);
	kernel_config_free(&config);
	free(build.config_path);
	if (result)
		return LKVM_STATUS_ERROR;
	/* argv[-1] is "build", whose place make takes. */
	argv[-1] = (char *)build.make;
	execvp(build.make, argv - 1);
	log_errno(errno, "build: '%s' can't be started", build.make);
	return LKVM_STATUS_ERROR;
}

static struct command build_command = {
	.name = "build",
	.operands = "[MAKE-ARGUMENT...]",
	.help = "Build a kernel, in its source tree, with what lkvm wants of one",
	.raw = true,
	.run = build_run,
};
COMMAND(build_command);
