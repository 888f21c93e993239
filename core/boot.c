/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What to boot: finds the kernel, opens it and the initrd, puts the command line together, and hands them to
 * the boot protocol that knows them (include/kvm/boot.h). All on the main thread.
 */
#include "kvm/boot.h"

#include <stdio.h>
#include <string.h>

#include "kvm/arch.h"
#include "kvm/disk.h"
#include "kvm/log.h"
#include "kvm/share.h"

static const char boot_key, given_key;

/* ---- the command line ---- */

/* has_parameter() - whether a word of @line starts with @name, which ends in '=' */
static bool has_parameter(const char *line, const char *name)
{
	for (const char *at = strstr(line, name); at; at = strstr(at + 1, name))
		if (at == line || at[-1] == ' ')
			return true;
	return false;
}

char *boot_command_line(const char *defaults, const char *root, const char *params)
{
	char *line;

	if (!params)
		params = "";
	if (!root || has_parameter(params, "root="))
		root = "";
	if (asprintf(&line, "%s%s%s%s%s", defaults, *defaults && *root ? " " : "",
		     root, (*defaults || *root) && *params ? " " : "", params) < 0)
		return NULL;
	return line;
}

/* ---- protocols ---- */

static REGISTRY struct boot_protocol_item *boot_protocols;

REGISTERS void boot_protocol_register(struct boot_protocol_item *item)
{
	struct boot_protocol_item **at = &boot_protocols;

	/* By priority, then by name, so that the order doesn't depend on the linker. */
	while (*at && ((*at)->protocol->priority > item->protocol->priority ||
		       ((*at)->protocol->priority == item->protocol->priority &&
			strcmp((*at)->protocol->name, item->protocol->name) < 0)))
		at = &(*at)->next;
	item->next = *at;
	*at = item;
}

/* protocol_list() - "a, b, c": the names, or the kinds, of all */
static void protocol_list(char *text, size_t size, bool kinds)
{
	size_t used = 0;

	text[0] = '\0';
	for (const struct boot_protocol_item *item = boot_protocols; item; item = item->next) {
		int n;

		/* One kind may be booted by several protocols. */
		if (kinds && (item->protocol->explicit_only || strstr(text, item->protocol->kind)))
			continue;
		n = snprintf(text + used, size - used, "%s%s", used ? ", " : "",
			     kinds ? item->protocol->kind : item->protocol->name);
		if (n < 0 || (size_t)n >= size - used)
			return;
		used += n;
	}
}

static int protocol_choose_named(struct kvm *kvm, struct boot *boot, const char *name)
{
	const struct boot_protocol_item *item = boot_protocols;
	char names[256];
	int is;

	while (item && strcmp(item->protocol->name, name) != 0)
		item = item->next;
	if (!item) {
		protocol_list(names, sizeof(names), false);
		return log_error(EUSAGE, "option --boot: '%s' is no boot protocol (there are: %s)",
				 name, names);
	}
	is = item->protocol->any_file ? 1 : item->protocol->probe(kvm, boot);
	if (is < 0)
		return is;
	if (is == 0)
		return log_error(EINVAL, "kernel '%s': is not %s, which --boot=%s boots",
				 boot->kernel.path, item->protocol->kind, name);
	boot->protocol = item->protocol;
	return 0;
}

static int protocol_choose(struct kvm *kvm, struct boot *boot)
{
	const char *name = config_string(kvm->config, "boot");
	char kinds[256];

	if (name)
		return protocol_choose_named(kvm, boot, name);
	for (const struct boot_protocol_item *item = boot_protocols; item; item = item->next) {
		int is = item->protocol->explicit_only ? 0 : item->protocol->probe(kvm, boot);

		if (is < 0)
			return is;
		if (is > 0) {
			boot->protocol = item->protocol;
			return 0;
		}
	}
	protocol_list(kinds, sizeof(kinds), true);
	return log_error(EINVAL,
			 "kernel '%s': not a kernel that an %s machine can boot (it takes: %s)",
			 boot->kernel.path, arch_name, kinds);
}

/* ---- the VM's ---- */

struct boot *boot_get(const struct kvm *kvm)
{
	return kvm_get_state(kvm, &boot_key);
}


static int kernel_open(struct boot *boot, const struct config *config)
{
	const char *path = config_string(config, "kernel");
	_cleanup_free_ char *found = NULL;

	if (path)
		return boot_file_open(&boot->kernel, "kernel", path);
	found = boot_find_kernel();
	if (!found)
		return log_error(ENOENT,
				 "no kernel to boot: say -k FILE (looked for ./%s, "
				 "arch/*/boot/%s and a readable /boot/vmlinuz-*)",
				 arch_kernel_names[0], arch_kernel_names[0]);
	log_info("booting '%s'", found);
	return boot_file_open(&boot->kernel, "kernel", found);
}

int boot_give_initrd(struct kvm *kvm, struct boot_given *given)
{
	return kvm_set_state(kvm, &given_key, given);
}

static int initrd_open(struct kvm *kvm, struct boot *boot, const struct boot_given *given)
{
	const char *path = config_string(kvm->config, "initrd");
	int error = 0;

	if (path)
		error = boot_file_open(&boot->initrd, "initrd", path);
	else if (given)
		error = boot_file_take(&boot->initrd, "initrd", "lkvm's own", given->fd);
	if (error < 0 || boot->initrd.size <= kvm_boot_ram(kvm))
		return error;
	return log_error(EFBIG, "initrd '%s': its %llu bytes are more than the machine's RAM, %llu MiB (give it more with --mem)",
			 boot->initrd.path, (unsigned long long)boot->initrd.size, (unsigned long long)(kvm_boot_ram(kvm) >> 20));
}

/* The only default that there is on each architecture: all else the kernel finds out from the tables. */
static const char *console_param(const struct config *config)
{
	const char *console = config_string(config, "console");

	return console && strcmp(console, "serial") != 0 ? "console=hvc0" : "console=ttyS0";
}

/* What the kernel mounts: the folder that --disk names, or the first disk; NULL without either. */
static const char *root_params(const struct config *config)
{
	if (share_root_option(config))
		return "root=" SHARE_ROOT_TAG " rw rootflags=trans=virtio,version=9p2000.L rootfstype=9p";
	return disks_root(config);
}

static int boot_open(struct kvm *kvm, struct boot *boot)
{
	const struct config *config = kvm->config;
	const struct boot_given *given = kvm_get_state(kvm, &given_key);
	const char *own = given && given->params ? given->params : "", *params = config_string(config, "params");
	bool defaults = !config_flag(config, "nodefaults");
	_cleanup_free_ char *both = NULL;
	int error;

	error = kernel_open(boot, config);
	if (!error)
		error = initrd_open(kvm, boot, given);
	if (error < 0)
		return error;
	if (asprintf(&both, "%s%s%s", own, *own && params ? " " : "", params ? params : "") < 0)
		return log_errno(ENOMEM, "command line");
	boot->command_line = boot_command_line(defaults ? console_param(config) : "",
					       defaults ? root_params(config) : NULL, both);
	return boot->command_line ? 0 : log_errno(ENOMEM, "command line");
}

static int boot_prepare(struct kvm *kvm, struct boot *boot)
{
	int error = boot_open(kvm, boot);

	if (!error)
		error = protocol_choose(kvm, boot);
	if (!error)
		error = boot->protocol->init(kvm, boot);
	if (error)
		boot->protocol = NULL;
	return error;
}

static int boot_load(struct kvm *kvm)
{
	struct boot *boot = boot_get(kvm);
	/* A restored machine needs its kernel if it is ever reset, and not before. */
	int error = boot->protocol ? 0 : boot_prepare(kvm, boot);

	return error ? error : boot->protocol->load(kvm, boot);
}

static void boot_free(struct boot *boot)
{
	boot_file_close(&boot->initrd);
	boot_file_close(&boot->kernel);
	free(boot->command_line);
	free(boot);
}

static int boot_init(struct kvm *kvm)
{
	struct boot *boot = calloc(1, sizeof(*boot));
	int error;

	if (!boot)
		return log_errno(ENOMEM, "boot");
	error = kvm->restore ? 0 : boot_prepare(kvm, boot);
	if (!error)
		error = kvm_set_state(kvm, &boot_key, boot);
	if (error) {
		if (boot->protocol)
			boot->protocol->exit(kvm, boot);
		boot_free(boot);
		return error;
	}
	boot->firmware = (struct firmware){ .name = boot->protocol ? boot->protocol->name : "kernel", .load = boot_load };
	kvm_add_firmware(kvm, &boot->firmware);
	return 0;
}

static void boot_exit(struct kvm *kvm)
{
	struct boot *boot = boot_get(kvm);

	if (boot->protocol)
		boot->protocol->exit(kvm, boot);
	/* Taking state away can't fail: only a new key needs memory. */
	if (kvm_set_state(kvm, &boot_key, NULL) == 0)
		boot_free(boot);
}

static const struct option_def boot_options[] = {
	{ .name = "kernel", .letter = 'k', .type = OPTION_STRING, .argument = "FILE",
	  .help = "Kernel to boot (default: one that was built here, or the newest in /boot)" },
	{ .name = "initrd", .letter = 'i', .type = OPTION_STRING, .argument = "FILE",
	  .help = "Initial RAM disk" },
	{ .name = "params", .letter = 'p', .type = OPTION_STRING, .argument = "PARAMS",
	  .help = "Kernel command line, behind the defaults (--nodefaults: without them)" },
	{ .name = "boot", .type = OPTION_STRING, .argument = "PROTOCOL",
	  .help = "Boot protocol, see lkvm(1) (default: the best for the kernel's kind)" },
};
RUN_OPTIONS(boot_options_group, "Kernel options", boot_options);

firmware_init(boot_init);
firmware_exit(boot_exit);
