/* SPDX-License-Identifier: BSD-2-Clause */
/* The plan of `lkvm run -- COMMAND`: its options, shares, kernel, user and initramfs. Before the VM; one thread. */
#include "guest/plan.h"

#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "guest/modules.h"
#include "kvm/boot.h"
#include "kvm/log.h"

/* ---- shares ---- */

static int add_share(struct config *config, bool virtiofs, const char *option, const char *folder, const char *tag, const char *rest)
{
	_cleanup_free_ char *text = NULL;

	if (strchr(folder, ','))
		return log_error(EUSAGE, "option --%s: '%s': a comma can't be in it", option, folder);
	if (asprintf(&text, "%s,%s%s", folder, tag, rest) < 0)
		return log_errno(ENOMEM, "--");
	return config_set(config, virtiofs ? "fs" : "9p", text);
}

static bool is_folder(const char *path)
{
	struct stat status;

	return stat(path, &status) == 0 && S_ISDIR(status.st_mode);
}

static bool root_has(const char *root, const char *path)
{
	_cleanup_free_ char *full = NULL;
	struct stat status;

	/* Not through the last link, which may lead elsewhere seen from there. */
	return asprintf(&full, "%s%s", root, path) > 0 && lstat(full, &status) == 0;
}

/* The folder of a root that `lkvm setup` made, or NULL */
static char *find_made(const char *name)
{
	_cleanup_free_ char *made = NULL;
	const char *home = getenv("HOME");

	if (!home || !*name || *name == '.' || strchr(name, '/') || asprintf(&made, "%s/" GUEST_ROOTS "/%s", home, name) < 0)
		return NULL;
	return is_folder(made) ? realpath(made, NULL) : NULL;
}

bool guest_root_named(const char *name)
{
	_cleanup_free_ char *made = access(name, F_OK) < 0 ? find_made(name) : NULL;

	return made != NULL;
}

char *guest_root_find(const char *name)
{
	char *path = access(name, F_OK) == 0 ? realpath(name, NULL) : find_made(name);

	if (!path)
		log_error(ENOENT, "option --root: '%s': no such folder or image, nor a root that `lkvm setup` made", name);
	return path;
}

const char *guest_root_cwd(const char *root)
{
	return is_folder(root) ? NULL : "/";
}

static int add_mount(struct guest_plan *plan, const char *option, const char *folder, enum guest_mount_kind kind)
{
	char *path;

	if (plan->mount_count == GUEST_MOUNTS_MAX)
		return log_error(EUSAGE, "option --%s: %d folders are the most", option, GUEST_MOUNTS_MAX);
	path = realpath(folder, NULL);
	if (!path)
		return log_errno(errno, "option --%s: '%s'", option, folder);
	if (!is_folder(path)) {
		free(path);
		return log_error(ENOTDIR, "option --%s: '%s' is no folder", option, folder);
	}
	plan->mounts[plan->mount_count++] = (struct guest_mount){ .folder = path, .path = path, .kind = kind };
	return 0;
}

static int add_mounts(struct guest_plan *plan, const struct config *config, const char *option,
		      enum guest_mount_kind kind)
{
	int result = 0;

	for (size_t i = 0; i < config_count(config, option) && !result; i++)
		result = add_mount(plan, option, config_item(config, option, i), kind);
	return result;
}

/* A folder stands in front of what is beneath it, which would be hidden otherwise. */
static int compare_mounts(const void *a, const void *b)
{
	return strcmp(((const struct guest_mount *)a)->path, ((const struct guest_mount *)b)->path);
}

/* What a root of `lkvm setup` is made of is the host's. */
static int add_host(struct guest_plan *plan)
{
	char *path;

	if (!guest_root_below(plan->root))
		return 0;
	path = strdup(GUEST_ROOT_HOST);
	if (!path)
		return log_errno(ENOMEM, "--");
	plan->mounts[plan->mount_count++] = (struct guest_mount){ .folder = "/", .path = path, .kind = GUEST_MOUNT_READ };
	return 0;
}

static int find_mounts(struct guest_plan *plan, const struct config *config)
{
	int result = add_host(plan);

	if (!result)
		result = add_mounts(plan, config, "rw", GUEST_MOUNT_WRITABLE);
	if (!result && config_flag(config, "cwd-rw"))
		result = add_mount(plan, "cwd-rw", ".", GUEST_MOUNT_WRITABLE);
	return result ? result : add_mounts(plan, config, "overlay", GUEST_MOUNT_LAYERED);
}

static int plan_root(struct guest_plan *plan, struct config *config)
{
	const char *root = config_string(config, "root");
	bool writable = config_flag(config, "root-rw");
	_cleanup_free_ char *disk = NULL;

	if (writable && !root)
		return log_error(EUSAGE, "option --root-rw: for which root? (say --root; --rw shares folders of the host's)");
	plan->root = root ? guest_root_find(root) : strdup("/");
	if (!plan->root)
		return -ENOENT;
	plan->image = !is_folder(plan->root);
	if (!plan->image)
		return add_share(config, plan->virtiofs, "root", plan->root, GUEST_ROOT_TAG, writable ? "" : ",ro");
	if (strchr(plan->root, ','))
		return log_error(EUSAGE, "option --root: '%s': a comma can't be in it", plan->root);
	if (asprintf(&disk, "%s,serial=" GUEST_ROOT_SERIAL "%s", plan->root, writable ? "" : ",snapshot=on") < 0)
		return log_errno(ENOMEM, "--");
	return config_set(config, "disk", disk);
}

static int plan_shares(struct guest_plan *plan, struct config *config)
{
	int result = plan_root(plan, config);

	if (!result)
		result = find_mounts(plan, config);
	qsort(plan->mounts, plan->mount_count, sizeof(plan->mounts[0]), compare_mounts);
	for (size_t i = 0; i < plan->mount_count && !result; i++) {
		const struct guest_mount *mount = &plan->mounts[i];
		char tag[32];

		guest_mount_tag(tag, i);
		result = mount->kind == GUEST_MOUNT_WRITABLE ? add_share(config, plan->virtiofs, "rw", mount->folder, tag, "")
							     : add_share(config, plan->virtiofs, "overlay", mount->folder, tag, ",ro");
	}
	return result;
}

/* ---- the kernel ---- */

static int plan_kernel(struct guest_plan *plan, struct config *config)
{
	const char *folder = config_string(config, "modules");
	_cleanup_free_ char *found = NULL;

	if (!config_string(config, "kernel")) {
		found = boot_find_kernel();
		if (found && config_set(config, "kernel", found) < 0)
			return -EUSAGE;
	}
	if (folder)
		plan->modules = strdup(folder);
	else if (config_string(config, "kernel"))
		plan->modules = modules_find(config_string(config, "kernel"));
	if (folder && !plan->modules)
		return log_errno(ENOMEM, "--");
	plan->virtiofs = modules_want_virtiofs(plan->modules, config_string(config, "kernel"));
	return 0;
}

/* ---- the command ---- */

const char *guest_root_below(const char *root)
{
	return root_has(root, GUEST_ROOT_MARK) ? GUEST_ROOT_HOST : NULL;
}

char *guest_shell(const struct guest_user *user, const char *root)
{
	char *shell = user->shell ? user->shell : getenv("SHELL");

	return shell && *shell && root_has(root, shell) ? shell : (char *)"/bin/sh";
}

/* The init of a root that can be told to run a command: a link to systemd. */
static bool root_has_systemd(const char *root)
{
	return root_has(root, "/usr/lib/systemd/systemd") || root_has(root, "/lib/systemd/systemd");
}

static int check_init(const struct guest_plan *plan)
{
	if (!plan->systemd || plan->image)
		return 0;
	if (!root_has(plan->root, "/sbin/init"))
		return log_error(ENOENT, "option --systemd: '%s' has no /sbin/init", plan->root);
	if (!plan->login && !root_has_systemd(plan->root))
		return log_error(ENOENT, "option --systemd: '%s' has an init, but no systemd, which could run the command", plan->root);
	return 0;
}

static int plan_image(struct guest_plan *plan, const struct config *config, char **words)
{
	struct guest_setup setup = {
		.name = config_string(config, "name"), .modules = plan->modules, .mounts = plan->mounts, .mount_count = plan->mount_count,
		.init = plan->systemd ? "/sbin/init" : NULL, .script = plan->script, .virtiofs = plan->virtiofs, .image = plan->image,
		.root_writable = config_flag(config, "root-rw"),
		.task = { .user = &plan->user, .words = words, .cwd_below = guest_root_below(plan->root),
			  .cwd = guest_root_cwd(plan->root), .tty = plan->tty,
			  .stderr_apart = plan->stderr_apart, .heartbeat = config_uint(config, "watchdog-timeout") != 0 },
	};
	struct winsize window;

	if (!setup.name)
		setup.name = "lkvm";
	if (plan->tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0) {
		setup.task.rows = window.ws_row;
		setup.task.columns = window.ws_col;
	}
	plan->initrd = guest_setup_image(&setup);
	return plan->initrd < 0 ? plan->initrd : 0;
}

/* The script of --sandbox in front of its arguments */
static int plan_script(struct guest_plan *plan, const struct config *config, char ***words)
{
	const char *script = config_string(config, "sandbox");
	size_t count = 0;

	if (!script)
		return 0;
	plan->script = realpath(script, NULL);
	if (!plan->script)
		return log_errno(errno, "option --sandbox: '%s'", script);
	while (*words && (*words)[count])
		count++;
	plan->words = calloc(count + 2, sizeof(*plan->words));
	if (!plan->words)
		return log_errno(ENOMEM, "--");
	plan->words[0] = (char *)GUEST_SCRIPT;
	for (size_t i = 0; i < count; i++)
		plan->words[i + 1] = (*words)[i];
	*words = plan->words;
	return 0;
}

int guest_plan_make(struct guest_plan *plan, struct config *config, char **words)
{
	const char *user = config_string(config, "user");
	int result;

	*plan = (struct guest_plan){ .initrd = -1, .systemd = config_flag(config, "systemd") };
	if (config_given(config, "initrd"))
		return log_error(EUSAGE, "--: the command needs an initrd of lkvm's own (leave --initrd out)");
	result = plan_script(plan, config, &words);
	plan->login = !words;
	if (!result)
		result = plan_kernel(plan, config);
	if (!result)
		result = plan_shares(plan, config);
	if (!result)
		result = check_init(plan);
	if (!result)
		result = user ? guest_user_find(&plan->user, plan->root, user) : guest_user_caller(&plan->user);
	if (result)
		return result;
	if (words && !words[0]) {
		plan->shell[0] = guest_shell(&plan->user, plan->root);
		words = plan->shell;
	}
	plan->tty = !plan->login && isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	plan->stderr_apart = !plan->tty || !isatty(STDERR_FILENO);
	return plan_image(plan, config, words);
}

void guest_plan_free(struct guest_plan *plan)
{
	if (plan->initrd >= 0)
		close(plan->initrd);
	for (size_t i = 0; i < plan->mount_count; i++)
		free((char *)plan->mounts[i].path);
	guest_user_free(&plan->user);
	free(plan->script);
	free(plan->words);
	free(plan->modules);
	free(plan->root);
}

static const struct option_def plan_options[] = {
	{ .name = "rw", .type = OPTION_LIST, .argument = "DIR", .help = "A folder of the host's that the command may write to" },
	{ .name = "cwd-rw", .type = OPTION_FLAG, .help = "It may write to the current folder" },
	{ .name = "overlay", .type = OPTION_LIST, .argument = "DIR",
	  .help = "A folder of the host's that it may write to as it likes: what it writes is thrown away" },
	{ .name = "root", .type = OPTION_STRING, .argument = "DIR|IMAGE",
	  .help = "Another root than the host's own: a folder, the name of one that lkvm setup made, or a disk's image" },
	{ .name = "root-rw", .type = OPTION_FLAG, .help = "What is written to that root is kept" },
	{ .name = "sandbox", .type = OPTION_STRING, .argument = "SCRIPT", .help = "Run that file; what stands behind -- are its arguments" },
	{ .name = "user", .type = OPTION_STRING, .argument = "USER", .help = "Run it as that user of the root's (default: who calls)" },
	{ .name = "systemd", .type = OPTION_FLAG, .help = "Boot the root's own init, which runs the command, or a login on the console" },
	{ .name = "modules", .type = OPTION_STRING, .argument = "DIR",
	  .help = "The kernel's modules: a folder with modules.dep (default: where the kernel's are)" },
	{ .name = "verbose", .type = OPTION_FLAG, .help = "Print what the kernel says, on stderr" },
};
RUN_OPTIONS(plan_options_group, "Options for a command (behind --)", plan_options);
