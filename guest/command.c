/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * `lkvm run -- COMMAND`, on the host's side: guest/init runs the command, and talks with us over ports, whose
 * language stands in guest/init/init.h.
 *
 * The host's files come by 9p, read-only, and the guest puts a layer over them that goes with it. The kernel's console
 * is kept for when something goes wrong. The VM ends when the command has, and its exit status is ours.
 */
#include "kvm/guest-command.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#include "guest/console-log.h"
#include "guest/modules.h"
#include "guest/outlet.h"
#include "guest/setup.h"
#include "kvm/boot.h"
#include "kvm/guest-life.h"
#include "kvm/kvm.h"
#include "kvm/log.h"
#include "kvm/port.h"
#include "kvm/terminal.h"
#include "kvm/tty.h"

#define SHARES_MAX	16
#define LINE_MAX_	1024	/* that the guest may say */
#define KERNEL_PARAMS	"quiet panic=-1"
#define KERNEL_PARAMS_VERBOSE "panic=-1"

struct sink {
	struct guest_command *command;
	const char *name;
	struct port *port;
	struct outlet outlet;
	uint64_t expected;		/* bytes that it will have got when the command is over */
};

struct guest_command {
	struct kvm *kvm;
	char *shell[2];			/* the words where none were given */
	char *modules;
	char *writable[SHARES_MAX + 1];
	bool tty, stderr_apart;
	int initrd;
	struct boot_given given;
	struct terminal_fds console;
	struct console_log *log;

	struct port *control, *input_port;	/* input: stdin, or with tty the terminal, both ways */
	struct terminal *input;
	struct sink output, error;

	char line[LINE_MAX_];
	size_t line_length;
	char pending[512];		/* for the guest's ear, until the port has room */
	size_t pending_length;
	uint64_t sent;			/* bytes of standard input */
	bool ended_input, started, over;
	int status;
};

static const char command_key;

/* ---- what we say ---- */

static void control_push(struct guest_command *command)
{
	size_t n = port_write(command->control, command->pending, command->pending_length);

	command->pending_length -= n;
	memmove(command->pending, command->pending + n, command->pending_length);
}

/* A line that finds no room is one of many that say the same. */
static void control_say(struct guest_command *command, const char *format, ...) printf_like(2, 3);
static void control_say(struct guest_command *command, const char *format, ...)
{
	size_t room = sizeof(command->pending) - command->pending_length;
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(command->pending + command->pending_length, room, format, arguments);
	va_end(arguments);
	if (n > 0 && (size_t)n < room)
		command->pending_length += (size_t)n;
	control_push(command);
}

static void control_ready(struct port *port, void *opaque)
{
	(void)port;
	control_push(opaque);
}

/* ---- the end ---- */

static void maybe_over(struct guest_command *command)
{
	if (!command->over || command->output.outlet.taken < command->output.expected ||
	    command->error.outlet.taken < command->error.expected)
		return;
	atomic_store(&command->kvm->command_status, command->status);
	kvm_end_request(command->kvm, KVM_END_COMMAND);
}

/* @numbers: "N OUT ERR" */
static void command_over(struct guest_command *command, const char *numbers, int base)
{
	char *end;

	if (command->over)
		return;
	command->over = true;
	command->status = (base + (int)strtoul(numbers, &end, 10)) & 0xff;
	command->output.expected = strtoull(end, &end, 10);
	command->error.expected = strtoull(end, &end, 10);
	maybe_over(command);
}

/* ---- what the guest says ---- */

static void printable(char *text)
{
	for (; *text; text++)
		if (*text < ' ' || *text > '~')
			*text = '?';
}

static void obey(struct guest_command *command, char *line)
{
	if (strcmp(line, "started") == 0) {
		command->started = true;
		guest_life_booted(command->kvm);
	} else if (strncmp(line, "exit ", 5) == 0) {
		command_over(command, line + 5, 0);
	} else if (strncmp(line, "signal ", 7) == 0) {
		command_over(command, line + 7, 128);
	} else if (strncmp(line, "error ", 6) == 0) {
		printable(line + 6);
		log_error(EIO, "in the guest: %s", line + 6);
		kvm_end_request(command->kvm, KVM_END_SETUP);
	}
}

static size_t control_receive(struct port *port, void *opaque, const void *data, size_t length)
{
	struct guest_command *command = opaque;
	const char *bytes = data;

	(void)port;
	guest_life_sign(command->kvm);
	for (size_t i = 0; i < length; i++) {
		if (bytes[i] != '\n') {
			if (command->line_length < sizeof(command->line) - 1)
				command->line[command->line_length++] = bytes[i];
			continue;
		}
		command->line[command->line_length] = '\0';
		command->line_length = 0;
		obey(command, command->line);
	}
	return length;
}

static const struct port_ops control_ops = {
	.opened = control_ready, .receive = control_receive, .writable = control_ready,
};

/* ---- input ---- */

static void input_push(void *opaque)
{
	struct guest_command *command = opaque;
	char bytes[4096];
	size_t room, n;

	while ((room = MIN(port_room(command->input_port), sizeof(bytes))) && (n = terminal_read(command->input, bytes, room)))
		command->sent += port_write(command->input_port, bytes, n);
	if (!command->ended_input && !command->tty && terminal_at_end(command->input)) {
		command->ended_input = true;
		control_say(command, "eof %llu\n", (unsigned long long)command->sent);
	}
}

static void input_ready(struct port *port, void *opaque)
{
	(void)port;
	input_push(opaque);
}

static void input_resized(void *opaque)
{
	struct guest_command *command = opaque;
	uint16_t columns, rows;

	if (terminal_size(command->input, &columns, &rows))
		control_say(command, "size %u %u\n", rows, columns);
}

/* ---- output ---- */

static size_t sink_receive(struct port *port, void *opaque, const void *data, size_t length)
{
	struct sink *sink = opaque;
	size_t n = outlet_write(&sink->outlet, data, length);

	(void)port;
	guest_life_sign(sink->command->kvm);
	maybe_over(sink->command);
	return n;
}

static void sink_ready(struct outlet *outlet)
{
	port_resume(container_of(outlet, struct sink, outlet)->port);
}

static void sink_gone(struct outlet *outlet)
{
	struct sink *sink = container_of(outlet, struct sink, outlet);

	control_say(sink->command, "closed %s\n", sink->name);
}

static const struct port_ops sink_ops = { .receive = sink_receive };
static const struct port_ops input_ops = { .opened = input_ready, .writable = input_ready };

/* The terminal's port goes both ways. */
static size_t tty_receive(struct port *port, void *opaque, const void *data, size_t length)
{
	return sink_receive(port, &((struct guest_command *)opaque)->output, data, length);
}

static const struct port_ops tty_ops = { .opened = input_ready, .writable = input_ready, .receive = tty_receive };

/* ---- with the VM ---- */

static int sink_open(struct guest_command *command, struct sink *sink, const char *name, const char *port, int fd)
{
	int result;

	sink->command = command;
	sink->name = name;
	sink->outlet.ready = sink_ready;
	sink->outlet.gone = sink_gone;
	result = outlet_open(&sink->outlet, command->kvm->loop, fd);
	if (result)
		return log_errno(result, "the command's %s", name);
	return port ? port_create(command->kvm, port, &sink_ops, sink, &sink->port) : 0;
}

static int open_ports(struct guest_command *command)
{
	struct kvm *kvm = command->kvm;
	int result = port_create(kvm, "lkvm.control", &control_ops, command, &command->control);

	if (!result)
		result = port_create(kvm, command->tty ? "lkvm.tty" : "lkvm.stdin", command->tty ? &tty_ops : &input_ops, command,
				     &command->input_port);
	if (!result)
		result = sink_open(command, &command->output, "stdout", command->tty ? NULL : "lkvm.stdout", STDOUT_FILENO);
	if (!result && command->tty)
		command->output.port = command->input_port;
	if (!result && command->stderr_apart)
		result = sink_open(command, &command->error, "stderr", "lkvm.stderr", STDERR_FILENO);
	/* With a terminal it is terminal 0 to the user: raw, and with the escape keys. */
	if (!result)
		result = terminal_open(kvm, command->tty ? 0 : 1, STDIN_FILENO, command->tty ? STDOUT_FILENO : -1, &command->input);
	if (result)
		return result;
	terminal_set_reader(command->input, input_push, command);
	if (command->tty) {
		tty_raw_output(STDIN_FILENO);
		terminal_set_resize(command->input, input_resized, command);
		/* It may have changed since the setup was written. */
		input_resized(command);
	}
	port_open(command->control);
	port_open(command->input_port);
	if (command->output.port != command->input_port)
		port_open(command->output.port);
	if (command->error.port)
		port_open(command->error.port);
	return 0;
}

static void close_ports(struct guest_command *command)
{
	terminal_close(command->input);
	command->input = NULL;
	if (command->output.port != command->input_port)
		port_destroy(command->output.port);
	port_destroy(command->error.port);
	port_destroy(command->input_port);
	port_destroy(command->control);
	command->control = command->input_port = command->output.port = command->error.port = NULL;
	if (command->output.command)
		outlet_close(&command->output.outlet);
	if (command->error.command)
		outlet_close(&command->error.outlet);
}

static int command_init(struct kvm *kvm)
{
	struct guest_command *command = kvm_get_state(kvm, &command_key);
	int result;

	if (!command)
		return INIT_SKIP;
	result = open_ports(command);
	if (result)
		close_ports(command);
	return result;
}
dev_init(command_init);

static void command_exit(struct kvm *kvm)
{
	close_ports(kvm_get_state(kvm, &command_key));
}
dev_exit(command_exit);

int guest_command_attach(struct guest_command *command, struct kvm *kvm)
{
	int result = console_log_open(&command->log, kvm->loop, config_flag(kvm->config, "verbose"), &command->console.out);

	if (result)
		return log_errno(result, "--: the console");
	command->kvm = kvm;
	command->console.in = -1;
	command->given.fd = command->initrd;
	command->given.params = config_flag(kvm->config, "verbose") ? KERNEL_PARAMS_VERBOSE : KERNEL_PARAMS;
	result = kvm_set_state(kvm, &command_key, command);
	if (!result)
		result = boot_give_initrd(kvm, &command->given);
	if (!result)
		result = terminal_redirect(kvm, &command->console);
	return result ? log_errno(result, "--") : 0;
}

int guest_command_status(struct guest_command *command, int status)
{
	enum kvm_end end = atomic_load(&command->kvm->end);

	if (end == KVM_END_COMMAND || end == KVM_END_SETUP)
		return status;
	console_log_print(command->log);
	if (status)
		return status;
	log_error(EIO, "--: the machine turned itself off before the command %s", command->started ? "ended" : "was started");
	return LKVM_STATUS_ERROR;
}

void guest_command_free(struct guest_command *command)
{
	if (!command)
		return;
	console_log_close(command->log);
	if (command->initrd >= 0)
		close(command->initrd);
	for (size_t i = 0; command->writable[i]; i++)
		free(command->writable[i]);
	free(command->modules);
	free(command);
}

/* ---- before the VM ---- */

static int add_share(struct config *config, const char *folder, const char *tag, const char *rest)
{
	_cleanup_free_ char *text = NULL;

	if (strchr(folder, ','))
		return log_error(EUSAGE, "option --rw: '%s': a comma can't be in it", folder);
	if (asprintf(&text, "%s,%s%s", folder, tag, rest) < 0)
		return log_errno(ENOMEM, "--");
	return config_set(config, "9p", text);
}

static int add_writable(struct guest_command *command, struct config *config, const char *folder)
{
	size_t count = 0;
	char tag[32], *path;
	struct stat status;

	while (command->writable[count])
		count++;
	if (count == SHARES_MAX)
		return log_error(EUSAGE, "option --rw: %d folders are the most", SHARES_MAX);
	path = realpath(folder, NULL);
	if (!path)
		return log_errno(errno, "option --rw: '%s'", folder);
	command->writable[count] = path;
	if (stat(path, &status) < 0 || !S_ISDIR(status.st_mode))
		return log_error(ENOTDIR, "option --rw: '%s' is no folder", folder);
	guest_writable_tag(tag, count);
	return add_share(config, path, tag, "");
}

static int prepare_shares(struct guest_command *command, struct config *config)
{
	const char *root = config_string(config, "root");
	int result = add_share(config, root ? root : "/", GUEST_ROOT_TAG, ",ro");

	for (size_t i = 0; i < config_count(config, "rw") && !result; i++)
		result = add_writable(command, config, config_item(config, "rw", i));
	if (!result && config_flag(config, "cwd-rw"))
		result = add_writable(command, config, ".");
	return result;
}

static int prepare_kernel(struct guest_command *command, struct config *config)
{
	const char *folder = config_string(config, "modules");
	_cleanup_free_ char *found = NULL;

	if (!config_string(config, "kernel")) {
		found = boot_find_kernel();
		if (found && config_set(config, "kernel", found) < 0)
			return -EUSAGE;
	}
	if (folder)
		command->modules = strdup(folder);
	else if (config_string(config, "kernel"))
		command->modules = modules_find(config_string(config, "kernel"));
	return folder && !command->modules ? log_errno(ENOMEM, "--") : 0;
}

static char **words_or_shell(struct guest_command *command, char **words)
{
	if (words[0])
		return words;
	command->shell[0] = getenv("SHELL");
	if (!command->shell[0] || !*command->shell[0])
		command->shell[0] = (char *)"/bin/sh";
	return command->shell;
}

static int prepare(struct guest_command *command, struct config *config, char **words)
{
	struct guest_setup setup = { .words = words_or_shell(command, words), .writable = (const char *const *)command->writable };
	struct winsize window;
	int result;

	if (config_given(config, "initrd"))
		return log_error(EUSAGE, "--: the command needs an initrd of lkvm's own (leave --initrd out)");
	result = prepare_shares(command, config);
	if (!result)
		result = prepare_kernel(command, config);
	if (result)
		return result;
	command->tty = isatty(STDIN_FILENO) && isatty(STDOUT_FILENO);
	command->stderr_apart = !command->tty || !isatty(STDERR_FILENO);
	setup.name = config_string(config, "name");
	setup.name = setup.name ? setup.name : "lkvm";
	setup.modules = command->modules;
	setup.tty = command->tty;
	setup.stderr_apart = command->stderr_apart;
	setup.heartbeat = config_uint(config, "watchdog-timeout") != 0;
	if (command->tty && ioctl(STDOUT_FILENO, TIOCGWINSZ, &window) == 0) {
		setup.rows = window.ws_row;
		setup.columns = window.ws_col;
	}
	command->initrd = guest_setup_image(&setup);
	return command->initrd < 0 ? command->initrd : 0;
}

int guest_command_prepare(struct guest_command **out, struct config *config, char **words)
{
	struct guest_command *command = calloc(1, sizeof(*command));
	int result;

	if (!command)
		return log_errno(ENOMEM, "--");
	command->initrd = -1;
	command->output.outlet.stream.fd = command->error.outlet.stream.fd = -1;
	result = prepare(command, config, words);
	if (result) {
		guest_command_free(command);
		return result;
	}
	*out = command;
	return 0;
}

static const struct option_def command_options[] = {
	{ .name = "rw", .type = OPTION_LIST, .argument = "DIR", .help = "A folder of the host's that the command may write to" },
	{ .name = "cwd-rw", .type = OPTION_FLAG, .help = "It may write to the current folder" },
	{ .name = "root", .type = OPTION_STRING, .argument = "DIR", .help = "Another root than the host's own" },
	{ .name = "modules", .type = OPTION_STRING, .argument = "DIR",
	  .help = "The kernel's modules: a folder with modules.dep (default: where the kernel's are)" },
	{ .name = "verbose", .type = OPTION_FLAG, .help = "Print what the kernel says, on stderr" },
};
RUN_OPTIONS(command_options_group, "Options for a command (behind --)", command_options);
