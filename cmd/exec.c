/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * lkvm exec, lkvm shell: one more command in a guest that is up, which lkvm run -- COMMAND started.
 *
 * The connection to the VM's control socket becomes the command's; guest/attach.c does the rest.
 */
#include <jansson.h>
#include <sys/ioctl.h>

#include "guest/attach.h"
#include "guest/plan.h"
#include "kvm/command.h"
#include "kvm/control.h"
#include "kvm/log.h"
#include "vm-names.h"

static const struct option_def exec_options[] = {
	{ .name = "user", .letter = 'u', .type = OPTION_STRING, .argument = "USER",
	  .help = "Run it as that user of the guest's root (default: who calls)" },
};

/* Says what the task is; @words: NULL for a shell */
static void make_task(struct guest_task *task, struct guest_user *user, char **shell, char **words, const char *root)
{
	struct winsize window;

	task->user = user;
	if (!words) {
		shell[0] = guest_shell(user, root);
		words = shell;
	}
	task->words = words;
	task->cwd_below = guest_root_below(root);
	task->cwd = guest_root_cwd(root);
	task->tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	task->stderr_apart = !task->tty || !isatty(STDERR_FILENO);
	if (task->tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0) {
		task->rows = window.ws_row;
		task->columns = window.ws_col;
	}
}

/* Takes @client */
static int run_in(struct qmp_client *client, struct config *config, const char *name, char **words, const char *root)
{
	const char *user_name = config_string(config, "user");
	_cleanup_free_ char *text = NULL;
	struct attach_options options = { .name = name };
	struct guest_task task = { .rows = 0 };
	struct guest_user user;
	char *shell[2] = { NULL };
	int result = user_name ? guest_user_find(&user, root, user_name) : guest_user_caller(&user);

	if (!result) {
		make_task(&task, &user, shell, words, root);
		result = guest_task_text(&task, &text, &options.setup_length);
	}
	guest_user_free(&user);
	if (result) {
		control_disconnect(client);
		return result == -EUSAGE ? LKVM_STATUS_USAGE : LKVM_STATUS_ERROR;
	}
	options.setup = text;
	options.tty = task.tty;
	return attach_run(control_take(client), &options);
}

static int exec_in(struct config *config, const char *name, char **words)
{
	struct qmp_client *client;
	const char *root;
	json_t *reply;
	int status;

	if (control_connect(name, CONTROL_TIMEOUT_MS, &client) < 0)
		return LKVM_STATUS_ERROR;
	if (control_call(client, "x-lkvm-exec", NULL, &reply) < 0) {
		control_disconnect(client);
		return LKVM_STATUS_ERROR;
	}
	root = json_string_value(json_object_get(reply, "root"));
	status = run_in(client, config, name, words, root ? root : "/");
	json_decref(reply);
	return status;
}

static int exec_run(struct config *config, int argc, char **argv)
{
	size_t split = config_split(config);

	if (split != 1 || argc < 2) {
		log_error(EINVAL, "which VM, and which command? (lkvm exec NAME -- COMMAND; lkvm list shows the names)");
		return LKVM_STATUS_USAGE;
	}
	return exec_in(config, argv[0], argv + 1);
}

static int shell_run(struct config *config, int argc, char **argv)
{
	if (argc != 1) {
		log_error(EINVAL, "which VM? (say one NAME; lkvm list shows them; lkvm exec runs other commands than a shell)");
		return LKVM_STATUS_USAGE;
	}
	return exec_in(config, argv[0], NULL);
}

static struct command exec_command = {
	.name = "exec",
	.operands = "NAME -- COMMAND...",
	.help = "Run a command in a guest that lkvm run -- COMMAND started",
	.options = exec_options,
	.option_count = ARRAY_SIZE(exec_options),
	.run = exec_run,
};
COMMAND(exec_command);

static struct command shell_command = {
	.name = "shell",
	.operands = "NAME",
	.help = "A shell in a guest that lkvm run -- COMMAND started",
	.options = exec_options,
	.option_count = ARRAY_SIZE(exec_options),
	.run = shell_run,
};
COMMAND(shell_command);
